//! Steps scaled by running squares of the gradients: RMSprop, Adagrad, Adadelta.

use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, negative, setters};
use crate::{Lit, Tensor};

/// RMSprop, as PyTorch has it. With g the gradient plus `weight_decay · p`:
/// ```text
/// v = alpha · v + (1 − alpha) · g²
/// centered: a = alpha · a + (1 − alpha) · g,  v − a² in place of v
/// p = p − lr · g / (√v + eps);       with momentum: b = momentum · b + g / (√v + eps),  p = p − lr · b
/// ```
///
/// Source: Tieleman & Hinton 2012, lecture 6.5; centered: Graves 2013, "Generating sequences with recurrent neural
/// networks", eq. 38-45.
pub type RmsProp = Method<RmsPropRule>;

/// The settings of [`RmsProp`].
#[derive(Debug, Clone)]
pub struct RmsPropRule {
    /// How much of the mean square is kept; 0.99.
    pub alpha: f64,
    /// The number added to the root; 1e-8.
    pub eps: f64,
    /// The share of the last step that is kept; 0.
    pub momentum: f64,
    /// Whether the variance is estimated, not the mean square.
    pub centered: bool,
}

impl RmsProp {
    /// For the parameters of `model`, with alpha 0.99 and eps 1e-8; PyTorch's learning rate is 1e-2.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, RmsPropRule { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false })
    }

    /// Divides by the deviation of the gradients, not by the root of their mean square.
    #[must_use]
    pub fn centered(self) -> Self {
        self.rule(|rule| rule.centered = true)
    }
}

setters! { RmsProp:
    /// Sets how much of the mean square is kept.
    alpha: f64,
    /// Sets the number added to the root.
    eps: f64,
    /// Keeps this share of the last step.
    momentum: f64,
}

impl Rule for RmsPropRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        negative(&[("alpha", self.alpha), ("eps", self.eps), ("momentum", self.momentum)])
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        let mut names = vec!["square_avg"];
        names.extend((self.momentum != 0.0).then_some("momentum_buffer"));
        names.extend(self.centered.then_some("grad_avg"));
        names.into_iter().map(|name| (name, value.zeros_like())).collect()
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = turn.decayed_gradient();
        let v = &turn.memory[0] * self.alpha + &g * &g * (1.0 - self.alpha);
        let mean = self.centered.then(|| &turn.memory[turn.memory.len() - 1]);
        let mean = mean.map(|a| a + (&g - a) * (1.0 - self.alpha));
        let root = match &mean {
            Some(a) => (&v - a * a).sqrt(),
            None => v.sqrt(),
        };
        let mut way = &g / (root + self.eps);
        let mut memory = vec![v];
        if turn.memory.len() > 1 + usize::from(self.centered) {
            way = &turn.memory[1] * self.momentum + way;
            memory.push(way.clone());
        }
        memory.extend(mean);
        (&turn.value - way * turn.lr, memory)
    }

    fn momentum(&self) -> Option<f64> {
        (self.momentum != 0.0).then_some(self.momentum)
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.momentum = momentum.max(f64::MIN_POSITIVE); // 0 would mean that there is none, and no memory of it
    }
}

/// Adagrad, as PyTorch has it. With g the gradient plus `weight_decay · p`, in step t:
/// ```text
/// s = s + g²
/// p = p − lr / (1 + (t − 1) · lr_decay) · g / (√s + eps)
/// ```
///
/// Source: Duchi, Hazan & Singer 2011, "Adaptive subgradient methods for online learning and stochastic optimization",
/// §1.3.
pub type Adagrad = Method<AdagradRule>;

/// The settings of [`Adagrad`].
#[derive(Debug, Clone)]
pub struct AdagradRule {
    /// How fast the learning rate falls; 0.
    pub lr_decay: f64,
    /// The sums of squares before the first step; 0.
    pub initial_accumulator_value: f64,
    /// The number added to the root; 1e-10.
    pub eps: f64,
}

impl Adagrad {
    /// For the parameters of `model`, with eps 1e-10; PyTorch's learning rate is 1e-2.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, AdagradRule { lr_decay: 0.0, initial_accumulator_value: 0.0, eps: 1e-10 })
    }
}

setters! { Adagrad:
    /// Sets how fast the learning rate falls.
    lr_decay: f64,
    /// Sets the sums of squares before the first step.
    initial_accumulator_value: f64,
    /// Sets the number added to the root.
    eps: f64,
}

impl Rule for AdagradRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        let first = self.initial_accumulator_value;
        negative(&[("lr_decay", self.lr_decay), ("initial_accumulator_value", first), ("eps", self.eps)])
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("sum", value.full_like(self.initial_accumulator_value))]
    }

    /// How many steps were taken.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        if self.lr_decay == 0.0 { Vec::new() } else { vec![("step", 0.0)] }
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        counts.iter().map(|t| t + Lit(1.0)).collect()
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = turn.decayed_gradient();
        let s = &turn.memory[0] + &g * &g;
        let way = g / (s.sqrt() + self.eps) * turn.lr;
        let way = match turn.counts.first() {
            Some(before) => way / (before * self.lr_decay + Lit(1.0)),
            None => way,
        };
        (&turn.value - way, vec![s])
    }
}

/// Adadelta, as PyTorch has it. With g the gradient plus `weight_decay · p`:
/// ```text
/// v = rho · v + (1 − rho) · g²
/// d = √(u + eps) / √(v + eps) · g
/// u = rho · u + (1 − rho) · d²
/// p = p − lr · d
/// ```
///
/// Source: Zeiler 2012, "ADADELTA: an adaptive learning rate method", alg. 1.
pub type Adadelta = Method<AdadeltaRule>;

/// The settings of [`Adadelta`].
#[derive(Debug, Clone)]
pub struct AdadeltaRule {
    /// How much of the mean squares is kept; 0.9.
    pub rho: f64,
    /// The number added under the roots; 1e-6.
    pub eps: f64,
}

impl Adadelta {
    /// For the parameters of `model`, with rho 0.9 and eps 1e-6; PyTorch's learning rate is 1.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, AdadeltaRule { rho: 0.9, eps: 1e-6 })
    }
}

setters! { Adadelta:
    /// Sets how much of the mean squares is kept.
    rho: f64,
    /// Sets the number added under the roots.
    eps: f64,
}

impl Rule for AdadeltaRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        let no_share = (!(0.0..=1.0).contains(&self.rho)).then_some(("rho", self.rho, "between 0 and 1"));
        no_share.or_else(|| negative(&[("eps", self.eps)]))
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("square_avg", value.zeros_like()), ("acc_delta", value.zeros_like())]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = turn.decayed_gradient();
        let v = &turn.memory[0] * self.rho + &g * &g * (1.0 - self.rho);
        let d = (&turn.memory[1] + self.eps).sqrt() / (&v + self.eps).sqrt() * g;
        let u = &turn.memory[1] * self.rho + &d * &d * (1.0 - self.rho);
        (&turn.value - d * turn.lr, vec![v, u])
    }
}
