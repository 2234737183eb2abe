//! Averaged gradient descent.

use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, negative, setters};
use crate::{Lit, Tensor};

/// Averaged stochastic gradient descent, as PyTorch has it. With g the gradient plus `weight_decay · p`, in step t:
/// ```text
/// p = p · (1 − lambd · η) − η · g            a = a + μ (p − a)
/// η = lr / (1 + lambd · lr · t)^alpha        μ = 1 / max(1, t − t0)        for the step after
/// ```
/// The averages are in [`states`](crate::optim::Optimizer::states) as `ax`.
///
/// Source: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging", in PyTorch's form.
pub type Asgd = Method<AsgdRule>;

/// The settings of [`Asgd`].
#[derive(Debug, Clone)]
pub struct AsgdRule {
    /// The decay; 1e-4.
    pub lambd: f64,
    /// The power by which η falls; 0.75.
    pub alpha: f64,
    /// The step from which on is averaged; 1e6.
    pub t0: f64,
}

impl Asgd {
    /// For the parameters of `model`; PyTorch's learning rate is 1e-2.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, AsgdRule { lambd: 1e-4, alpha: 0.75, t0: 1e6 })
    }
}

setters! { Asgd:
    /// Sets the decay.
    lambd: f64,
    /// Sets the power by which η falls.
    alpha: f64,
    /// Sets the step from which on is averaged.
    t0: f64,
}

impl Rule for AsgdRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        negative(&[("lambd", self.lambd), ("alpha", self.alpha)])
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("ax", value.zeros_like())]
    }

    fn counts(&self, lr: f64) -> Vec<(&'static str, f64)> {
        vec![("step", 1.0), ("eta", lr), ("mu", 1.0)]
    }

    fn count(&self, counts: &[Tensor], lr: f64) -> Vec<Tensor> {
        let t = &counts[0];
        let eta = (t * (self.lambd * lr) + Lit(1.0)).pow(-self.alpha) * lr;
        let mu = (t - self.t0).clamp_min(Lit(1.0)).recip();
        vec![t + Lit(1.0), eta, mu]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = turn.decayed_gradient();
        // in its first step η is the learning rate of then
        let first = turn.counts[0].eq(Lit(1.0));
        let eta = Tensor::where_(&first, turn.lr, &turn.counts[1] * turn.lr_scale);
        let p = &turn.value * (Lit(1.0) - &eta * self.lambd) - g * eta;
        let mean = &turn.memory[0];
        let mean = mean + (&p - mean) * &turn.counts[2];
        (p, vec![mean])
    }
}
