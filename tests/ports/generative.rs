//! A normalising flow, two adversarial pairs, diffusion.

use kiln::distributions::Normal;
use kiln::nn::{Interpolation, Size, interpolate};
use kiln::prelude::*;

use super::Port;

#[derive(Module)]
struct Coupling {
    mask: State,
    s: Sequential,
    t: Sequential,
    scale: Param,
}

impl Coupling {
    fn new(width: usize, hidden: usize, parity: i32, init: &mut Init) -> Self {
        let net = |init: &mut Init| {
            Sequential::new()
                .push(Linear::new(width, hidden, init))
                .push(LeakyRelu::default())
                .push(Linear::new(hidden, width, init))
        };
        let mask = (Tensor::arange(init.device(), 0, width as i32, 1) + parity) % 2;
        Self { mask: init.state(&mask.cast(DType::F32)), s: net(init), t: net(init), scale: init.zeros(&[width]) }
    }

    /// What the flow makes of `x`, and the logarithm of its volume.
    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (masked, others) = (x * &self.mask, 1.0 - &self.mask);
        let s = self.s.forward(&masked).tanh() * self.scale.exp() * &others;
        let t = self.t.forward(&masked) * &others;
        (masked + others * ((x - t) * (-&s).exp()), -s.sum_axes(1, false))
    }
}

#[derive(Module)]
struct RealNvp {
    layers: Vec<Coupling>,
    loc: State,
}

impl RealNvp {
    fn log_prob(&self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        let mut volume = Tensor::zeros(x.device(), [1]);
        for layer in &self.layers {
            let (next, more) = layer.forward(&x);
            (x, volume) = (next, volume + more);
        }
        Normal::new(&self.loc, 1.0).log_prob(&x).sum_axes(-1, false) + volume
    }
}

#[test]
fn realnvp() {
    let port = Port::open("realnvp");
    let [x] = port.given(["x"]);
    let model = port.model(|init| RealNvp {
        layers: (0..4).map(|i| Coupling::new(4, 10, i, init)).collect(),
        loc: init.state(&Tensor::zeros(init.device(), [4])),
    });
    let mut adam = Adam::new(&model, 5e-3);
    port.train(&model, |_| {
        let loss = -model.log_prob(&x).mean();
        adam.step(&loss)?;
        Ok([loss])
    });
}

#[derive(Module)]
struct Gan {
    generator: Sequential,
    discriminator: Sequential,
}

impl Gan {
    fn new(init: &mut Init) -> Result<Self> {
        let generator = Sequential::new()
            .push(ConvTranspose2d::new(5, 8, 2, init).no_bias())
            .push(BatchNorm2d::new(8, init))
            .push(Relu)
            .push(ConvTranspose2d::new(8, 4, 4, init).stride(2).padding(1).no_bias())
            .push(BatchNorm2d::new(4, init))
            .push(Relu)
            .push(ConvTranspose2d::new(4, 1, 4, init).stride(2).padding(1).no_bias())
            .push(Tanh);
        let (first, second) = (Conv2d::new(1, 4, 4, init), Conv2d::new(4, 8, 4, init));
        let last = Linear::new(32, 1, init);
        let discriminator = Sequential::new()
            .push(SpectralNorm::new(first.stride(2).padding(1), init)?)
            .push(LeakyRelu(0.2))
            .push(SpectralNorm::new(second.stride(2).padding(1), init)?)
            .push(LeakyRelu(0.2))
            .push(Flatten::default())
            .push(SpectralNorm::new(last, init)?);
        Ok(Self { generator, discriminator })
    }
}

#[test]
fn gan() {
    let port = Port::open("gan");
    let [real, noise] = port.given(["real", "noise"]);
    let model = port.model(|init| Gan::new(init).unwrap());
    let Gan { generator, discriminator } = &model;
    let mut adam_g = Adam::new(generator, 2e-3).betas(0.5, 0.999).eps(1e-6);
    let mut adam_d = Adam::new(discriminator, 2e-3).betas(0.5, 0.999).eps(1e-6);
    let (ones, zeros) = (Tensor::ones(&port.device, [4, 1]), Tensor::zeros(&port.device, [4, 1]));
    port.train(&model, |t| {
        let fake = generator.forward(&noise.select(0, t as i64));
        let on_real = binary_cross_entropy_with_logits(&discriminator.forward(&real), &ones);
        let on_fake = binary_cross_entropy_with_logits(&discriminator.forward(&fake.detach()), &zeros);
        let loss_d = on_real + on_fake;
        adam_d.step(&loss_d)?;
        let loss_g = binary_cross_entropy_with_logits(&discriminator.forward(&fake), &ones);
        adam_g.step(&loss_g)?;
        Ok([loss_d, loss_g])
    });
}

#[derive(Module)]
struct Wgan {
    generator: Sequential,
    critic: Sequential,
}

/// The mean of (‖∇ critic(x)‖ − 1)² between real and generated examples (Gulrajani et al. 2017).
fn gradient_penalty(critic: &Sequential, real: &Tensor, fake: &Tensor, mix: &Tensor) -> Result<Tensor> {
    let x = mix * real + (1.0 - mix) * fake;
    let slopes = critic.forward(&x).sum().grad(&[&x])?;
    Ok((slopes[0].norm(2.0, 1, false) - 1.0).square().mean())
}

#[test]
fn wgan_gp() {
    let port = Port::open("wgan_gp");
    let [real, z, mix] = port.given(["real", "z", "mix"]);
    let model = port.model(|init| Wgan {
        generator: Sequential::new().push(Linear::new(3, 12, init)).push(LeakyRelu(0.2)).push(Linear::new(12, 2, init)),
        critic: Sequential::new()
            .push(Linear::new(2, 16, init))
            .push(LeakyRelu(0.2))
            .push(LayerNorm::new(16, init))
            .push(Linear::new(16, 16, init))
            .push(LeakyRelu(0.2))
            .push(Linear::new(16, 1, init)),
    });
    let Wgan { generator, critic } = &model;
    let mut adam_g = Adam::new(generator, 1e-3).betas(0.0, 0.9).eps(1e-6);
    let mut adam_c = Adam::new(critic, 1e-3).betas(0.0, 0.9).eps(1e-4);
    port.train(&model, |t| {
        let (z, mix) = (z.select(0, t as i64), mix.select(0, t as i64));
        let fake = generator.forward(&z).detach();
        let penalty = gradient_penalty(critic, &real, &fake, &mix)?;
        let loss_c = critic.forward(&fake).mean() - critic.forward(&real).mean() + 10.0 * &penalty;
        adam_c.step_with(&loss_c, &[&penalty])?;
        let loss_g = -critic.forward(&generator.forward(&z)).mean();
        adam_g.step(&loss_g)?;
        Ok([loss_c, penalty, loss_g])
    });
}

fn timestep_embedding(t: &Tensor, width: usize) -> Tensor {
    let half = width / 2;
    let rates = (Tensor::arange(t.device(), 0, half as i32, 1) * (-(10000f64).ln() / half as f64)).exp();
    let angles = t.unsqueeze(1) * rates;
    Tensor::cat(&[angles.cos(), angles.sin()], -1)
}

#[derive(Module)]
struct ResBlock {
    in_layers: Sequential,
    emb_layers: Sequential,
    out_norm: GroupNorm,
    out_rest: Sequential,
    skip: Option<Conv2d>,
}

impl ResBlock {
    fn new(inputs: usize, outputs: usize, time: usize, init: &mut Init) -> Self {
        Self {
            in_layers: Sequential::new()
                .push(GroupNorm::new(2, inputs, init))
                .push(Silu)
                .push(Conv2d::new(inputs, outputs, 3, init).padding(1)),
            emb_layers: Sequential::new().push(Silu).push(Linear::new(time, 2 * outputs, init)),
            out_norm: GroupNorm::new(2, outputs, init),
            out_rest: Sequential::new().push(Silu).push(Conv2d::new(outputs, outputs, 3, init).padding(1)),
            skip: (inputs != outputs).then(|| Conv2d::new(inputs, outputs, 1, init)),
        }
    }

    fn forward(&self, x: &Tensor, embedding: &Tensor) -> Tensor {
        let h = self.in_layers.forward(x);
        let [scale, shift] = self.emb_layers.forward(embedding).unsqueeze(-1).unsqueeze(-1).chunk_into(1);
        let h = self.out_rest.forward(&(self.out_norm.forward(&h) * (1.0 + scale) + shift));
        match &self.skip {
            Some(conv) => conv.forward(x) + h,
            None => x + h,
        }
    }
}

#[derive(Module)]
struct Denoiser {
    time_embed: Sequential,
    input: Conv2d,
    down: ResBlock,
    middle: ResBlock,
    up: ResBlock,
    out: Sequential,
    width: usize,
}

impl Denoiser {
    fn new(width: usize, time: usize, init: &mut Init) -> Self {
        Self {
            time_embed: Sequential::new()
                .push(Linear::new(width, time, init))
                .push(Silu)
                .push(Linear::new(time, time, init)),
            input: Conv2d::new(1, width, 3, init).padding(1),
            down: ResBlock::new(width, 8, time, init),
            middle: ResBlock::new(8, 8, time, init),
            up: ResBlock::new(8 + width, width, time, init),
            out: Sequential::new()
                .push(GroupNorm::new(2, width, init))
                .push(Silu)
                .push(Conv2d::new(width, 1, 3, init).padding(1)),
            width,
        }
    }

    fn forward(&self, x: &Tensor, t: &Tensor) -> Tensor {
        let embedding = self.time_embed.forward(&timestep_embedding(t, self.width));
        let a = self.input.forward(x);
        let b = self.down.forward(&AvgPool2d::new(2).forward(&a), &embedding);
        let b = self.middle.forward(&b, &embedding);
        let b = interpolate(&b, &Size::By(vec![2.0]), Interpolation::Nearest, false);
        self.out.forward(&self.up.forward(&Tensor::cat(&[b, a], 1), &embedding))
    }
}

#[derive(Module)]
struct Diffusion {
    model: Denoiser,
    ema: AveragedModel,
}

#[test]
fn ddpm() {
    let port = Port::open("ddpm");
    let [x0, noise, times] = port.given(["x0", "noise", "times"]);
    let both = port.model(|init| {
        let model = Denoiser::new(4, 8, init);
        Diffusion { ema: AveragedModel::ema(&model, 0.9), model }
    });
    let Diffusion { model, ema } = &both;
    let bars = (1.0 - Tensor::linspace(&port.device, 1e-4, 0.02, 100)).cumprod(0);
    let extract = |a: Tensor, t: &Tensor| a.gather(0, t).reshape([-1, 1, 1, 1]);
    let mut adam = Adam::new(model, 2e-3);
    port.train(&both, |i| {
        let (t, noise) = (times.select(0, i as i64), noise.select(0, i as i64));
        let xt = extract(bars.sqrt(), &t) * &x0 + extract((1.0 - &bars).sqrt(), &t) * &noise;
        let loss = mse_loss(&model.forward(&xt, &t), &noise);
        adam.step(&loss)?;
        ema.update()?;
        Ok([loss])
    });
}
