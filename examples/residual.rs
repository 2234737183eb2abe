//! A small residual network reads handwritten digits: batch norm, shortcuts, a one-cycle learning rate.
//!
//!     cargo run --release --example residual

use kiln::prelude::*;

/// The share of the held-out digits that is read right.
pub(crate) const BAR: f64 = 0.985;

/// relu(x + conv(relu(conv(x)))), each convolution with its norm; a 1×1 convolution where the shape changes.
#[derive(Module)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, init: &mut Init) -> Self {
        Self {
            conv1: Conv2d::new(inputs, outputs, 3, init).stride(stride).padding(1).no_bias(),
            bn1: BatchNorm2d::new(outputs, init),
            conv2: Conv2d::new(outputs, outputs, 3, init).padding(1).no_bias(),
            bn2: BatchNorm2d::new(outputs, init),
            downsample: (inputs != outputs).then(|| {
                let narrow = Conv2d::new(inputs, outputs, 1, init).stride(stride).no_bias();
                Sequential::new().push(narrow).push(BatchNorm2d::new(outputs, init))
            }),
        }
    }

    /// `x` [batch, inputs, h, w] → [batch, outputs, h / stride, w / stride].
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x)).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y));
        match &self.downsample {
            Some(downsample) => (y + downsample.forward(x)).relu(),
            None => (y + x).relu(),
        }
    }
}

#[derive(Module)]
pub(crate) struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layers: Vec<Block>,
    fc: Linear,
}

impl ResNet {
    pub(crate) fn new(init: &mut Init) -> Self {
        Self {
            conv1: Conv2d::new(1, 16, 3, init).padding(1).no_bias(),
            bn1: BatchNorm2d::new(16, init),
            layers: vec![Block::new(16, 16, 1, init), Block::new(16, 32, 2, init), Block::new(32, 64, 2, init)],
            fc: Linear::new(64, 10, init),
        }
    }

    /// `x` [batch, 64] → logits [batch, 10].
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.bn1.forward(&self.conv1.forward(&x.reshape([-1, 1, 8, 8]))).relu();
        let x = self.layers.iter().fold(x, |x, block| block.forward(&x)); // [batch, 64, 2, 2]
        self.fc.forward(&x.mean_axes([2, 3], false))
    }
}

/// Trains from `seed` and gives the share of the held-out digits that is read right.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let (train, test) = data::digits::split(device)?;
    let model = ResNet::new(&mut Init::new(device, seed));
    let mut adam = AdamW::new(&model, 1e-2).weight_decay(0.05);
    let smooth = CrossEntropy { label_smoothing: 0.1, ..Default::default() };

    let trainer = Trainer::new(if quick { 2 } else { 15 }).seed(seed);
    let scheduled = trainer.schedule(|step, steps| schedule::one_cycle(1e-2, step, steps));
    let history = scheduled.fit(&model, &mut adam, &train, Some(&test), |(x, y)| {
        let logits = model.forward(x);
        Outcome { loss: smooth.loss(&logits, y), ..Outcome::classification(&logits, y) }
    })?;
    for epoch in &history.epochs {
        let right = epoch.validation.and_then(|figures| figures.metric).unwrap_or_default();
        println!("epoch {:2}: {:.2} % of the held-out digits", epoch.epoch, 100.0 * right);
    }
    model.eval();
    let (x, y) = test.all();
    Ok(f64::from(accuracy(&model.forward(&x), &y).item()?))
}

fn main() -> Result<()> {
    let right = run(&Device::open()?, 42, false)?;
    assert!(right >= BAR, "{right} is less than {BAR}");
    Ok(())
}
