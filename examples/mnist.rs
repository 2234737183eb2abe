//! Reads MNIST's handwritten digits with a convolutional network, from files that you have.
//!
//!     cargo run --release --example mnist -- path/to/mnist
//!
//! The folder holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
//! t10k-labels-idx1-ubyte, with or without `.gz`. Fashion-MNIST's clothes have the same names and sizes.

use std::path::Path;

use kiln::data::augment::random_crop;
use kiln::data::{Last, files::idx};
use kiln::prelude::*;

/// The share of the test digits that is read right; networks like this one are known to read 99.1 to 99.5 %.
pub(crate) const BAR: f64 = 0.99;

/// The same of Fashion-MNIST's clothes, whose kinds overlap: 91 to 93 %.
#[allow(dead_code)] // `kiln train fashion`
pub(crate) const FASHION_BAR: f64 = 0.9;

#[derive(Module)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    fc1: Linear,
    dropout: Dropout,
    fc2: Linear,
    pool: MaxPool2d,
}

impl Cnn {
    pub(crate) fn new(init: &mut Init) -> Self {
        Self {
            conv1: Conv2d::new(1, 32, 3, init).padding(1).no_bias(),
            bn1: BatchNorm2d::new(32, init),
            conv2: Conv2d::new(32, 64, 3, init).padding(1).no_bias(),
            bn2: BatchNorm2d::new(64, init),
            fc1: Linear::new(64 * 7 * 7, 128, init),
            dropout: Dropout::new(0.3, init),
            fc2: Linear::new(128, 10, init),
            pool: MaxPool2d::new(2),
        }
    }
}

impl Forward for Cnn {
    /// `x` [batch, 1, 28, 28] → logits [batch, 10].
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.pool.forward(&self.bn1.forward(&self.conv1.forward(x)).relu()); // [batch, 32, 14, 14]
        let x = self.pool.forward(&self.bn2.forward(&self.conv2.forward(&x)).relu()); // [batch, 64, 7, 7]
        self.fc2.forward(&self.dropout.forward(&self.fc1.forward(&x.flatten(1, -1)).relu()))
    }
}

/// Trains from `seed` on the files in `folder`, in captured steps, and gives the share of the test images that is read
/// right.
pub(crate) fn run(device: &Device, seed: u64, quick: bool, folder: &Path) -> Result<f64> {
    let few = |set: TensorDataset| if quick { set.subset(&Vec::from_iter(0..1280)) } else { set };
    let (train, test) = idx::mnist(folder, device).map(|(train, test)| (few(train), few(test)))?;
    let (epochs, batch) = if quick { (2, 32) } else { (5, 128) };
    let model = Cnn::new(&mut Init::new(device, seed));
    // two threads move each image by up to two pixels
    let batches = DataLoader::images(train, |image, draw| random_crop(&image, 28, 28, 2, draw));
    let batches = batches.batch_size(batch).shuffle(true).seed(seed).workers(2).last(Last::Drop);
    let steps = epochs * batches.steps();
    let mut adam = AdamW::new(&model, 4e-3).weight_decay(0.05);
    let mut learn = adam.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
    let mut matrix = ConfusionMatrix::new(10);
    for epoch in 0..epochs {
        for (step, batch) in batches.epoch(epoch as u64).enumerate() {
            learn.set_lr(schedule::one_cycle(4e-3, epoch * batches.steps() + step, steps));
            learn.step(&batch?.content)?;
        }
        model.eval();
        matrix = ConfusionMatrix::new(10);
        for (x, y) in test.in_order(500) {
            matrix.add_logits(&y, &model.forward(&x))?;
        }
        model.train();
        println!("epoch {}: {:.2} % of the test images", epoch + 1, 100.0 * matrix.accuracy());
    }
    Ok(matrix.accuracy())
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or("data/mnist".into());
    let right = run(&Device::open()?, 42, false, Path::new(&folder))?;
    assert!(right >= BAR, "{right} is less than {BAR}");
    Ok(())
}
