//! Steps by the sign of the gradient: Rprop, Lion.

use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, no_share, setters};
use crate::{Lit, Tensor};

/// Resilient backpropagation, as PyTorch has it; for full batches. Each element has a step size s, `lr` at first:
/// ```text
/// g · g_before > 0: s = min(s · η⁺, max)       < 0: s = max(s · η⁻, min), and g = 0
/// p = p − sign(g) · s
/// ```
///
/// Source: Riedmiller & Braun 1993, "A direct adaptive method for faster backpropagation learning".
pub type Rprop = Method<RpropRule>;

/// The settings of [`Rprop`].
#[derive(Debug, Clone)]
pub struct RpropRule {
    /// η⁻ and η⁺; (0.5, 1.2).
    pub etas: (f64, f64),
    /// The least and the greatest step; (1e-6, 50).
    pub step_sizes: (f64, f64),
}

impl Rprop {
    /// For the parameters of `model`; PyTorch's learning rate is 1e-2.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, RpropRule { etas: (0.5, 1.2), step_sizes: (1e-6, 50.0) })
    }
}

setters! { Rprop:
    /// Sets η⁻ and η⁺.
    etas: (f64, f64),
    /// Sets the least and the greatest step.
    step_sizes: (f64, f64),
}

impl Rule for RpropRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        let (less, more) = self.etas;
        (!(less > 0.0 && less < 1.0 && more > 1.0)).then_some(("etas", less, "0 < η⁻ < 1 < η⁺"))
    }

    fn memory(&self, value: &Tensor, lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("prev", value.zeros_like()), ("step_size", value.full_like(lr))]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        // signs are multiplied, not the gradients, whose product may vanish
        let along = turn.gradient.sign() * turn.memory[0].sign();
        let (back, on) = (along.lt(Lit(0.0)), along.gt(Lit(0.0)));
        let factor = Tensor::where_(&on, self.etas.1, Tensor::where_(&back, self.etas.0, Lit(1.0)));
        let size = (&turn.memory[1] * factor).clamp(self.step_sizes.0, self.step_sizes.1);
        let g = Tensor::where_(&back, Lit(0.0), &turn.gradient);
        (&turn.value - g.sign() * &size, vec![g, size])
    }
}

/// Lion: the sign of a momentum that is interpolated twice.
/// ```text
/// u = sign(β₁ m + (1 − β₁) g)
/// p = p · (1 − lr · weight_decay) − lr · u
/// m = β₂ m + (1 − β₂) g
/// ```
/// Its learning rate is three to ten times smaller than Adam's, its weight decay as many times larger.
///
/// Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", alg. 2.
pub type Lion = Method<LionRule>;

/// The settings of [`Lion`].
#[derive(Debug, Clone)]
pub struct LionRule {
    /// What is kept of m for the step, and in m; (0.9, 0.99).
    pub betas: (f64, f64),
}

impl Lion {
    /// For the parameters of `model`, with β = (0.9, 0.99); the paper's learning rate is 1e-4.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, LionRule { betas: (0.9, 0.99) })
    }
}

setters! { Lion:
    /// Sets what is kept of m for the step, and in m.
    betas: (f64, f64),
}

impl Rule for LionRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        no_share(self.betas)
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("exp_avg", value.zeros_like())]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let (m, g) = (&turn.memory[0], &turn.gradient);
        let u = (m * self.betas.0 + g * (1.0 - self.betas.0)).sign();
        let m = m * self.betas.1 + g * (1.0 - self.betas.1);
        (turn.decayed_value() - u * turn.lr, vec![m])
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.betas.0 = momentum;
    }
}
