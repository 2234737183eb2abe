//! WaveNet.

use kiln::nn::WeightNorm;
use kiln::prelude::*;

use super::Port;

/// Gated convolutions that look back 2, 4, 8, … samples (van den Oord et al. 2016).
#[derive(Module)]
struct ResidualBlock {
    dilated: WeightNorm<Conv1d>,
    residual: Conv1d,
    skip: Conv1d,
    dilation: usize,
}

impl ResidualBlock {
    fn new(channels: usize, skip: usize, dilation: usize, init: &mut Init) -> Self {
        Self {
            dilated: WeightNorm::new(Conv1d::new(channels, 2 * channels, 2, init).dilation(dilation), init),
            residual: Conv1d::new(channels, channels, 1, init),
            skip: Conv1d::new(channels, skip, 1, init),
            dilation,
        }
    }

    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let causal = x.pad(&[(self.dilation as i64, 0)], PadMode::Constant(0.0));
        let [a, b] = self.dilated.forward(&causal).chunk_into(1);
        let y = a.tanh() * b.sigmoid();
        (x + self.residual.forward(&y), self.skip.forward(&y))
    }
}

#[derive(Module)]
struct WaveNet {
    embed: Conv1d,
    blocks: Vec<ResidualBlock>,
    out: Sequential,
}

#[test]
fn wavenet() {
    let port = Port::open("wavenet");
    let [wave] = port.given(["wave"]);
    let model = port.model(|init| WaveNet {
        embed: Conv1d::new(8, 6, 1, init),
        blocks: (0..4).map(|i| ResidualBlock::new(6, 6, 1 << i, init)).collect(),
        out: Sequential::new().push(Relu).push(Conv1d::new(6, 6, 1, init)).push(Relu).push(Conv1d::new(6, 8, 1, init)),
    });
    // the µ-law in 8 steps
    let mu = 7.0;
    let pressed = wave.sign() * (mu * wave.abs()).log1p() / f32::ln_1p(mu);
    let samples = ((pressed + 1.0) / 2.0 * mu + 0.5).cast(DType::I32);
    let mut adam = Adam::new(&model, 3e-3);
    port.train(&model, |_| {
        let mut x = model.embed.forward(&samples.one_hot(8).cast(DType::F32).transpose(1, 2));
        let mut skips = Vec::new();
        for block in &model.blocks {
            let (next, skip) = block.forward(&x);
            x = next;
            skips.push(skip);
        }
        let skips = Tensor::stack(&skips, 0).sum_axes(0, false);
        let loss = cross_entropy(&model.out.forward(&skips).range(2, ..-1), &samples.range(1, 1..));
        adam.step(&loss)?;
        Ok([loss])
    });
}
