//! Text in images by CTC, WaveNet, an ordinary differential equation.

use kiln::nn::WeightNorm;
use kiln::prelude::*;

use super::Port;

#[derive(Module)]
struct Crnn {
    cnn: Sequential,
    rnn: Lstm,
    fc: Linear,
}

impl Crnn {
    fn new(classes: usize, init: &mut Init) -> Self {
        let cnn = Sequential::new()
            .push(Conv2d::new(1, 4, 3, init).padding(1))
            .push(Relu)
            .push(MaxPool2d::new(2))
            .push(Conv2d::new(4, 6, 3, init).padding(1).no_bias())
            .push(BatchNorm2d::new(6, init))
            .push(Relu)
            .push(MaxPool2d::new([2, 1]).stride([2, 1]));
        let options = RecurrentOptions { bidirectional: true, ..Default::default() };
        Self { cnn, rnn: Lstm::with(12, 8, options, init), fc: Linear::new(16, classes, init) }
    }
}

impl Forward for Crnn {
    /// `x [batch, 1, height, width]` → log-probabilities `[time, batch, classes]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let columns = self.cnn.forward(x).permute([3, 0, 1, 2]).flatten(2, 3);
        let (y, _) = self.rnn.run(&columns, None, None);
        self.fc.forward(&y).log_softmax(2)
    }
}

#[test]
fn crnn() {
    let port = Port::open("crnn");
    let [x, labels, lengths, label_lengths] = port.given(["x", "labels", "lengths", "label_lengths"]);
    let model = port.model(|init| Crnn::new(6, init));
    let mut adam = Adam::new(&model, 3e-3).eps(1e-6);
    let criterion = Ctc { zero_infinity: true, ..Default::default() };
    port.train(&model, |_| {
        let loss = criterion.loss(&model.forward(&x), &labels, &lengths, &label_lengths);
        let mut gradients = loss.backward()?;
        clip_grad_value(&mut gradients, 0.1);
        adam.step(&gradients)?;
        Ok([loss])
    });
}

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
    let pressed = wave.sign() * (mu * wave.abs()).log1p() / f64::ln_1p(mu);
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

/// One step of the classical Runge-Kutta method for each interval of `times`: the states at all of them.
fn odeint_rk4(slope: impl Fn(&Tensor) -> Tensor, y0: &Tensor, times: &[f64]) -> Tensor {
    let mut ys = vec![y0.clone()];
    for interval in times.windows(2) {
        let (dt, y) = (interval[1] - interval[0], &ys[ys.len() - 1]);
        let k1 = slope(y);
        let k2 = slope(&(y + dt * &k1 / 2.0));
        let k3 = slope(&(y + dt * &k2 / 2.0));
        let k4 = slope(&(y + dt * &k3));
        ys.push(y + dt * (k1 + 2.0 * k2 + 2.0 * k3 + k4) / 6.0);
    }
    Tensor::stack(&ys, 0)
}

#[derive(Module)]
struct Dynamics {
    net: Sequential,
}

#[test]
fn neural_ode() {
    let port = Port::open("neural_ode");
    let [y0, a, times] = port.given(["y0", "a", "ts"]);
    let times = times.to_vec::<f64>().unwrap();
    let model = port.model(|init| Dynamics {
        net: Sequential::new().push(Linear::new(2, 16, init)).push(Tanh).push(Linear::new(16, 2, init)),
    });
    let truth = odeint_rk4(|y| y.powf(3.0).mm(&a), &y0, &times);
    let mut rmsprop = RmsProp::new(&model, 1e-2);
    port.train(&model, |_| {
        let states = odeint_rk4(|y| model.net.forward(&y.powf(3.0)), &y0, &times);
        let loss = (states - &truth).abs().mean();
        rmsprop.step(&loss)?;
        Ok([loss])
    });
}
