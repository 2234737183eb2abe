//! A policy by PPO, learning to learn, splines by L-BFGS.

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
