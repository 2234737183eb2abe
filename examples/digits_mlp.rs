//! Learns to read handwritten digits with a two-layer network and Adam.
//!
//!     cargo run --release --example digits_mlp

use kiln::prelude::*;

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    fn new(init: &mut Init) -> Self {
        Self { hidden: Linear::new(64, 128, init), out: Linear::new(128, 10, init) }
    }

    /// `x` [batch, 64] → logits [batch, 10].
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(x).relu())
    }
}

fn main() -> Result<()> {
    let device = Device::open()?;
    let (train, test) = data::digits::split(&device)?;
    let model = Mlp::new(&mut Init::new(&device, 42));
    let mut adam = Adam::new(&model, 5e-3);

    let epochs = 30;
    for epoch in 0..epochs {
        adam.set_lr(schedule::cosine(5e-3, epoch, epochs, 0.0));
        for (x, y) in train.batches(64, epoch as u64) {
            adam.step(&cross_entropy(&model.forward(&x), &y))?;
        }
        let (x, y) = test.all();
        let right = accuracy(&model.forward(&x), &y).item()?;
        println!("epoch {:2}: {:.2} % of the held-out digits", epoch + 1, 100.0 * right);
    }
    Ok(())
}
