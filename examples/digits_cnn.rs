//! Learns to read handwritten digits with a small convolutional network, and saves it.
//!
//!     cargo run --release --example digits_cnn

use kiln::prelude::*;

/// The convolutions have no bias: batch norm takes the mean out again.
#[derive(Module)]
struct Cnn {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    out: Linear,
    pool: MaxPool2d,
}

impl Cnn {
    fn new(init: &mut Init) -> Self {
        Self {
            conv1: Conv2d::new(1, 16, 3, init).padding(1).no_bias(),
            norm1: BatchNorm2d::new(16, init),
            conv2: Conv2d::new(16, 32, 3, init).padding(1).no_bias(),
            norm2: BatchNorm2d::new(32, init),
            out: Linear::new(32 * 2 * 2, 10, init),
            pool: MaxPool2d::new(2),
        }
    }

    /// `x` [batch, 64] → logits [batch, 10].
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x.reshape([-1, 1, 8, 8]);
        let x = self.pool.forward(&self.norm1.forward(&self.conv1.forward(&x)).relu()); // [batch, 16, 4, 4]
        let x = self.pool.forward(&self.norm2.forward(&self.conv2.forward(&x)).relu()); // [batch, 32, 2, 2]
        self.out.forward(&x.flatten(1, -1))
    }
}

fn main() -> Result<()> {
    let device = Device::open()?;
    let (train, test) = data::digits::split(&device)?;
    let model = Cnn::new(&mut Init::new(&device, 42));
    let mut adam = Adam::new(&model, 5e-3);

    let trainer = Trainer::new(15).schedule(|step, steps| schedule::cosine(5e-3, step, steps, 0.0));
    let history =
        trainer.fit(&model, &mut adam, &train, Some(&test), |(x, y)| Outcome::classification(&model.forward(x), y))?;
    for epoch in history.epochs {
        let right = epoch.validation.and_then(|figures| figures.metric).unwrap_or_default();
        println!("epoch {:2}: {:.2} % of the held-out digits", epoch.epoch, 100.0 * right);
    }
    store::save(&model, "digits_cnn.safetensors")
}
