//! Stochastic gradient descent.

use crate::Tensor;
use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, negative, setters};

/// Gradient descent with momentum, as PyTorch has it:
/// ```text
/// g = gradient + weight_decay · p
/// v = momentum · v + (1 − dampening) · g       v = g in the first step
/// p = p − lr · v                               Nesterov: p − lr · (g + momentum · v)
/// ```
///
/// Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep
/// learning", in PyTorch's form.
pub type Sgd = Method<SgdRule>;

/// The settings of [`Sgd`].
#[derive(Debug, Clone, Default)]
pub struct SgdRule {
    /// The share of the last step that is kept; 0 without momentum.
    pub momentum: f64,
    /// The share of the gradient that does not join the momentum.
    pub dampening: f64,
    /// Whether to look ahead by one step of the momentum.
    pub nesterov: bool,
}

impl Sgd {
    /// Plain gradient descent for the parameters of `model`.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, SgdRule::default())
    }

    /// Looks ahead by one step of the momentum.
    #[must_use]
    pub fn nesterov(self) -> Self {
        self.rule(|rule| rule.nesterov = true)
    }
}

setters! { Sgd:
    /// Keeps this share of the last step.
    momentum: f64,
    /// Takes this share off the gradient that joins the momentum, from the second step on.
    dampening: f64,
}

impl Rule for SgdRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            let why = "without dampening, with a momentum above 0";
            return Some(("nesterov", self.momentum, why));
        }
        negative(&[("momentum", self.momentum)])
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        if self.momentum == 0.0 { Vec::new() } else { vec![("momentum_buffer", value.zeros_like())] }
    }

    /// 0 before the first step, then 1: whether dampening applies yet.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        if self.dampening == 0.0 { Vec::new() } else { vec![("begun", 0.0)] }
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        counts.iter().map(Tensor::ones_like).collect()
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = turn.decayed_gradient();
        let Some(v) = turn.memory.first() else { return (&turn.value - g * turn.lr, Vec::new()) };
        let joins = match turn.counts.first() {
            Some(begun) => &g * (1.0 - begun * self.dampening),
            None => g.clone(),
        };
        let v = v * self.momentum + joins;
        let g = if self.nesterov { g + &v * self.momentum } else { v.clone() };
        (&turn.value - g * turn.lr, vec![v])
    }

    fn momentum(&self) -> Option<f64> {
        (self.momentum != 0.0).then_some(self.momentum)
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.momentum = momentum.max(f64::MIN_POSITIVE); // 0 would mean that there is none, and no memory of it
    }
}
