//! Policies by PPO, values by DQN, learning to learn, distillation, splines, one-class anomaly detection.

use kiln::distributions::{Categorical, Normal};
use kiln::nn::{StateDict, functional_call};
use kiln::prelude::*;

use super::Port;

#[derive(Module)]
struct ActorCritic {
    shared: Sequential,
    actor: Linear,
    critic: Linear,
    log_std: Param,
    mean: Linear,
}

/// A policy of a choice and two continuous moves.
#[test]
fn ppo() {
    let port = Port::open("ppo");
    let [x, action, moved, old_logp] = port.given(["x", "action", "move", "old_logp"]);
    let [values, advantages, returns] = port.given(["values", "advantages", "returns"]);
    let model = port.model(|init| ActorCritic {
        shared: Sequential::new().push(Linear::new(4, 12, init)).push(Tanh),
        actor: Linear::new(12, 3, init),
        critic: Linear::new(12, 1, init),
        log_std: init.zeros(&[2]),
        mean: Linear::new(12, 2, init),
    });
    let values = values.range(0, ..-1);
    let mut adam = Adam::new(&model, 3e-3).eps(1e-5);
    port.train(&model, |_| {
        let h = model.shared.forward(&x);
        let choice = Categorical::of_logits(&model.actor.forward(&h));
        let moves = Normal::new(&model.mean.forward(&h), model.log_std.exp());
        let value = model.critic.forward(&h).squeeze(-1);
        let logp = choice.log_prob(&action) + moves.log_prob(&moved).sum_axes(-1, false);
        let ratio = (logp - &old_logp).exp();
        let adv = (&advantages - advantages.mean()) / (advantages.std(0, 1, false) + 1e-8);
        let surrogate = (&ratio * &adv).minimum(ratio.clamp(0.8, 1.2) * &adv).mean();
        let clipped = &values + (&value - &values).clamp(-0.2, 0.2);
        let value_loss = 0.5 * (value - &returns).square().maximum((clipped - &returns).square()).mean();
        let entropy = choice.entropy().mean() + moves.entropy().sum_axes(-1, false).mean();
        let loss = -&surrogate + 0.5 * &value_loss - 0.01 * &entropy;
        let mut gradients = loss.backward()?;
        clip_grad_norm(&mut gradients, 0.5);
        adam.step_with(&gradients, &[&surrogate, &value_loss, &entropy])?;
        Ok([surrogate, value_loss, entropy])
    });
}

fn mlp(widths: &[usize], init: &mut Init) -> Sequential {
    widths.windows(2).enumerate().fold(Sequential::new(), |net, (i, pair)| {
        let net = if i > 0 { net.push(Relu) } else { net };
        net.push(Linear::new(pair[0], pair[1], init))
    })
}

#[derive(Module)]
struct QNetworks {
    online: Sequential,
    target: Sequential,
}

/// The parameters of `slow` become `decay` of what they were and the rest of `fast`'s, in one plan.
fn follow(slow: &impl Module, fast: &impl Module, decay: f64) -> Result<()> {
    let pairs = slow.parameters().into_iter().zip(fast.parameters());
    let next = pairs.map(|(slow, fast)| (State::clone(&slow), &slow * decay + &fast * (1.0 - decay)));
    kiln::step(&[], next.collect(), &[])
}

/// Double DQN with a target network that follows slowly.
#[test]
fn dqn() {
    let port = Port::open("dqn");
    let [state, action, reward, following, done] = port.given(["state", "action", "reward", "following", "done"]);
    let model = port.model(|init| QNetworks { online: mlp(&[4, 12, 3], init), target: mlp(&[4, 12, 3], init) });
    let QNetworks { online, target } = &model;
    let mut adam = AdamW::new(online, 3e-3).amsgrad();
    port.train(&model, |_| {
        let q = online.forward(&state).gather(1, &action.unsqueeze(1)).squeeze(1);
        let best = online.forward(&following).argmax(1, true);
        let value = target.forward(&following).gather(1, &best).squeeze(1);
        let wanted = (&reward + 0.99 * (1.0 - &done) * value).detach();
        let loss = smooth_l1_loss(&q, &wanted, 1.0);
        let mut gradients = loss.backward()?;
        clip_grad_value(&mut gradients, 100.0);
        adam.step(&gradients)?;
        follow(target, online, 0.95)?;
        Ok([loss])
    });
}

/// Two inner steps, differentiated through (Finn et al. 2017).
#[test]
fn maml() {
    let port = Port::open("maml");
    let [xs, ys, xq, yq] = port.given(["xs", "ys", "xq", "yq"]);
    let model = port.model(|init| {
        Sequential::new()
            .push(Linear::new(1, 10, init))
            .push(Tanh)
            .push(Linear::new(10, 10, init))
            .push(Tanh)
            .push(Linear::new(10, 1, init))
    });
    let task_loss = |weights: &StateDict, x: &Tensor, y: &Tensor| -> Result<Tensor> {
        Ok(mse_loss(&functional_call(&model, weights, || model.forward(x))?, y))
    };
    let mut adam = Adam::new(&model, 2e-3);
    port.train(&model, |_| {
        let mut outer = Vec::new();
        for task in 0..2 {
            let [xs, ys, xq, yq] = [&xs, &ys, &xq, &yq].map(|t| t.select(0, task));
            let mut fast = model.state_dict();
            for _ in 0..2 {
                let slopes = task_loss(&fast, &xs, &ys)?.grad(&fast.values().collect::<Vec<_>>())?;
                for (weight, slope) in fast.values_mut().zip(slopes) {
                    *weight = &*weight - 0.1 * slope;
                }
            }
            outer.push(task_loss(&fast, &xq, &yq)?);
        }
        let loss = Tensor::stack(&outer, 0).mean();
        adam.step(&loss)?;
        Ok([loss])
    });
}

#[derive(Module)]
struct Distillation {
    teacher: Sequential,
    student: Sequential,
}

#[test]
fn distillation() {
    let port = Port::open("distillation");
    let [x, y] = port.given(["x", "y"]);
    let both = port.model(|init| Distillation { teacher: mlp(&[6, 16, 4], init), student: mlp(&[6, 5, 4], init) });
    let Distillation { teacher, student } = &both;
    teacher.freeze();
    let mut sgd = Sgd::new(student, 0.1).momentum(0.9);
    let (heat, alpha) = (4.0, 0.7);
    port.train(&both, |_| {
        let (wanted, logits) = (teacher.forward(&x), student.forward(&x));
        let wanted = (wanted / heat).softmax(-1);
        let soft = KlDiv::default().batch_mean(&(&logits / heat).log_softmax(-1), &wanted) * (heat * heat);
        let hard = cross_entropy(&logits, &y);
        sgd.step(&(alpha * &soft + (1.0 - alpha) * &hard))?;
        Ok([soft, hard])
    });
}

/// Cubic splines on each edge (Liu et al. 2024), in the form of efficient-kan.
#[derive(Module)]
struct KanLinear {
    grid: State,
    base_weight: Param,
    spline_weight: Param,
    spline_scaler: Param,
}

impl KanLinear {
    const ORDER: i64 = 3;

    fn new(inputs: usize, outputs: usize, cells: i32, init: &mut Init) -> Self {
        let order = Self::ORDER as i32;
        let grid = Tensor::arange(init.device(), -order, cells + order + 1, 1) * (2.0 / f64::from(cells)) - 1.0;
        Self {
            grid: init.state(&grid.repeat([inputs, 1])),
            base_weight: init.kaiming_uniform(&[outputs, inputs], 5f64.sqrt()),
            spline_weight: init.normal(&[outputs, inputs, (cells + order) as usize], 0.0, 0.1),
            spline_scaler: init.kaiming_uniform(&[outputs, inputs], 5f64.sqrt()),
        }
    }

    /// `x [batch, inputs]` → the value of each basis function, `[batch, inputs, cells + order]` (de Boor 1972).
    fn splines(&self, x: &Tensor) -> Tensor {
        let x = x.unsqueeze(-1);
        let knots =
            |from: i64, to: i64| if to == 0 { self.grid.range(1, from..) } else { self.grid.range(1, from..to) };
        let first = (x.ge(knots(0, -1)) & x.lt(knots(1, 0))).cast(DType::F32);
        (1..=Self::ORDER).fold(first, |bases, k| {
            let rising = (&x - knots(0, -(k + 1))) / (knots(k, -1) - knots(0, -(k + 1)));
            let falling = (knots(k + 1, 0) - &x) / (knots(k + 1, 0) - knots(1, -k));
            rising * bases.range(2, ..-1) + falling * bases.range(2, 1..)
        })
    }
}

impl Forward for KanLinear {
    fn forward(&self, x: &Tensor) -> Tensor {
        let weight = (&self.spline_weight * self.spline_scaler.unsqueeze(-1)).flatten(1, 2);
        x.silu().matmul(&self.base_weight.t()) + self.splines(x).flatten(1, 2).matmul(&weight.t())
    }
}

#[test]
fn kan() {
    let port = Port::open("kan");
    let [x, y] = port.given(["x", "y"]);
    let model =
        port.model(|init| Sequential::new().push(KanLinear::new(2, 5, 4, init)).push(KanLinear::new(5, 1, 4, init)));
    let mut lbfgs = Lbfgs::new(&model, 0.5).max_iter(3).history_size(4);
    port.train(&model, |_| {
        let loss = lbfgs.step(|| mse_loss(&model.forward(&x), &y))?;
        Ok([Tensor::scalar(&port.device, loss)])
    });
}

#[derive(Module)]
struct DeepSvdd {
    encoder: Lstm,
    project: Linear,
    decoder: Gru,
    out: Linear,
    c: State,
}

impl DeepSvdd {
    /// The code of a window, and the window back again.
    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (_, (h, _)) = self.encoder.run(x, None, None);
        let z = self.project.forward(&h.select(0, -1));
        let (y, _) = self.decoder.run(&z.unsqueeze(1).repeat([1, 12, 1]), None, None);
        let back = self.out.forward(&y);
        (z, back)
    }
}

/// An autoencoder of windows of a time series whose codes are drawn to a centre (Ruff et al. 2018).
#[test]
fn deep_svdd() {
    let port = Port::open("deep_svdd");
    let [x] = port.given(["x"]);
    let options = RecurrentOptions { batch_first: true, ..Default::default() };
    let model = port.model(|init| DeepSvdd {
        encoder: Lstm::with(2, 6, options.clone(), init),
        project: Linear::no_bias(6, 3, init),
        decoder: Gru::with(3, 6, options.clone(), init),
        out: Linear::new(6, 2, init),
        c: init.state(&Tensor::zeros(init.device(), [3])),
    });
    // the centre: the mean of the first codes, away from 0
    let c = model.forward(&x).0.mean_axes(0, false);
    let away = Tensor::where_(&c.lt(0.0), c.clamp_max(-0.05), c.clamp_min(0.05));
    model.c.set(&away.detach()).unwrap();
    let mut adam = Adam::new(&model, 5e-3).weight_decay(1e-4);
    port.train(&model, |_| {
        let (z, back) = model.forward(&x);
        let distance = (z - &model.c).square().sum_axes(1, false);
        let radius = distance.quantile(0.9, 0, false);
        let svdd = &radius + (distance - radius.detach()).relu().mean();
        let reconstruction = huber_loss(&back, &x.flip(1), 1.0);
        adam.step(&(&svdd + &reconstruction))?;
        Ok([svdd, reconstruction])
    });
}
