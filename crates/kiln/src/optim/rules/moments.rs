//! Relatives of Adam: Adamax, NAdam, RAdam.

use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, correction, negative, no_share, setters};
use crate::{Lit, Tensor};

/// Adamax, as PyTorch has it. With g the gradient plus `weight_decay · p`, in step t:
/// ```text
/// m = β₁ m + (1 − β₁) g         u = max(β₂ u, |g| + eps)
/// p = p − lr / (1 − β₁ᵗ) · m / u
/// ```
///
/// Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", alg. 2.
pub type Adamax = Method<AdamaxRule>;

/// The settings of [`Adamax`].
#[derive(Debug, Clone)]
pub struct AdamaxRule {
    /// How much of the mean and of the maximum is kept; (0.9, 0.999).
    pub betas: (f64, f64),
    /// The number added to |g|; 1e-8.
    pub eps: f64,
    /// β₁ changes from step to step, so that its correction cannot be made ahead.
    cycled: bool,
}

impl Adamax {
    /// For the parameters of `model`, with β = (0.9, 0.999) and eps 1e-8; PyTorch's learning rate is 2e-3.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, AdamaxRule { betas: (0.9, 0.999), eps: 1e-8, cycled: false })
    }
}

setters! { Adamax:
    /// Sets how much of the mean and of the maximum is kept.
    betas: (f64, f64),
    /// Sets the number added to |g|.
    eps: f64,
}

impl Rule for AdamaxRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        negative(&[("eps", self.eps)]).or_else(|| no_share(self.betas))
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("exp_avg", value.zeros_like()), ("exp_inf", value.zeros_like())]
    }

    /// t and 1 / (1 − β₁ᵗ) of the coming step.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        vec![("step", 1.0), ("inverse_c1", 1.0 / (1.0 - self.betas.0))]
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        let t = &counts[0] + Lit(1.0);
        let inverse = correction(self.betas.0, &t).recip();
        vec![t, inverse]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = turn.decayed_gradient();
        let m = &turn.memory[0] + (&g - &turn.memory[0]) * (1.0 - self.betas.0);
        let u = (&turn.memory[1] * self.betas.1).maximum(g.abs() + self.eps);
        let inverse = inverse_c1(self.cycled, self.betas.0, turn.counts);
        (&turn.value - &m * (inverse * turn.lr) / &u, vec![m, u])
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn set_momentum(&mut self, momentum: f64) {
        (self.betas.0, self.cycled) = (momentum, true);
    }
}

/// Adam with Nesterov's momentum, as PyTorch has it. With g the gradient plus `weight_decay · p` (or the decay apart,
/// `decoupled`), in step t:
/// ```text
/// μₜ = β₁ (1 − ½ · 0.96^(t · momentum_decay))           Πₜ = μ₁ · … · μₜ
/// m = β₁ m + (1 − β₁) g         v = β₂ v + (1 − β₂) g²
/// p = p − lr · ((1 − μₜ) / (1 − Πₜ) · g + μₜ₊₁ / (1 − Πₜ₊₁) · m) / (√(v / (1 − β₂ᵗ)) + eps)
/// ```
///
/// Source: Dozat 2016, "Incorporating Nesterov momentum into Adam", alg. 8.
pub type NAdam = Method<NAdamRule>;

/// The settings of [`NAdam`].
#[derive(Debug, Clone)]
pub struct NAdamRule {
    /// How much of the moments is kept; (0.9, 0.999).
    pub betas: (f64, f64),
    /// The number added to the root; 1e-8.
    pub eps: f64,
    /// How fast μ rises; 4e-3.
    pub momentum_decay: f64,
    /// Whether the weight decay is apart from the gradient.
    pub decoupled: bool,
    /// β₁ changes from step to step, so that what follows from it cannot be made ahead.
    cycled: bool,
}

impl NAdam {
    /// For the parameters of `model`, with β = (0.9, 0.999) and eps 1e-8; PyTorch's learning rate is 2e-3.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let (betas, eps, momentum_decay) = ((0.9, 0.999), 1e-8, 4e-3);
        Self::with_rule(model, lr, NAdamRule { betas, eps, momentum_decay, decoupled: false, cycled: false })
    }

    /// Decays weights apart from the gradient, as AdamW does.
    #[must_use]
    pub fn decoupled(self) -> Self {
        self.rule(|rule| rule.decoupled = true)
    }
}

setters! { NAdam:
    /// Sets how much of the moments is kept.
    betas: (f64, f64),
    /// Sets the number added to the root.
    eps: f64,
    /// Sets how fast μ rises.
    momentum_decay: f64,
}

impl NAdamRule {
    /// 0.96ˣ with x = t · momentum_decay, as the exponent of e.
    fn rate(&self) -> f64 {
        self.momentum_decay * 0.96f64.ln()
    }

    /// μ of step `t`.
    fn mu(&self, t: &Tensor) -> Tensor {
        (Lit(1.0) - (t * self.rate()).exp() * Lit(0.5)) * self.betas.0
    }

    /// The weights of g and of m in step `t`, `before` which Π was.
    fn weights(&self, t: &Tensor, before: &Tensor) -> [Tensor; 2] {
        let (now, next) = (self.mu(t), self.mu(&(t + Lit(1.0))));
        let product = before * &now;
        [(Lit(1.0) - now) / (Lit(1.0) - &product), &next / (Lit(1.0) - product * &next)]
    }
}

impl Rule for NAdamRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        negative(&[("eps", self.eps), ("momentum_decay", self.momentum_decay)]).or_else(|| no_share(self.betas))
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("exp_avg", value.zeros_like()), ("exp_avg_sq", value.zeros_like())]
    }

    /// t of the coming step, Π before it, the weights of g and of m, and 1/√c₂.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        let mu = |t: f64| self.betas.0 * (1.0 - 0.5 * (t * self.rate()).exp());
        let (now, next) = (mu(1.0), mu(2.0));
        let of_m = next / (1.0 - now * next);
        let root = (1.0 - self.betas.1).sqrt().recip();
        vec![("step", 1.0), ("mu_product", 1.0), ("of_gradient", 1.0), ("of_mean", of_m), ("inverse_root_c2", root)]
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        let (t, product) = (&counts[0] + Lit(1.0), &counts[1] * self.mu(&counts[0]));
        let [of_g, of_m] = self.weights(&t, &product);
        let root = correction(self.betas.1, &t).rsqrt();
        vec![t, product, of_g, of_m, root]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let (p, g) = if self.decoupled {
            (turn.decayed_value(), turn.gradient.clone())
        } else {
            (turn.value.clone(), turn.decayed_gradient())
        };
        let m = &turn.memory[0] + (&g - &turn.memory[0]) * (1.0 - self.betas.0);
        let v = &turn.memory[1] * self.betas.1 + &g * &g * (1.0 - self.betas.1);
        let below = v.sqrt() * &turn.counts[4] + self.eps;
        let [of_g, of_m] = if self.cycled {
            self.weights(&turn.counts[0], &turn.counts[1])
        } else {
            [turn.counts[2].clone(), turn.counts[3].clone()]
        };
        let way = (g * of_g + &m * of_m) * turn.lr;
        (p - way / below, vec![m, v])
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn set_momentum(&mut self, momentum: f64) {
        (self.betas.0, self.cycled) = (momentum, true);
    }
}

/// Adam with its variance rectified, as PyTorch has it. With g the gradient plus `weight_decay · p` (or the decay
/// apart, `decoupled`), in step t:
/// ```text
/// m = β₁ m + (1 − β₁) g         v = β₂ v + (1 − β₂) g²         c = 1 − βᵗ
/// ρ∞ = 2 / (1 − β₂) − 1         ρ = ρ∞ − 2 t β₂ᵗ / c₂
/// ρ > 5:  p = p − lr · m / c₁ · √c₂ / (√v + eps) · √((ρ − 4)(ρ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρ))
/// else:   p = p − lr · m / c₁
/// ```
///
/// Source: Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", alg. 2.
pub type RAdam = Method<RAdamRule>;

/// The settings of [`RAdam`].
#[derive(Debug, Clone)]
pub struct RAdamRule {
    /// How much of the moments is kept; (0.9, 0.999).
    pub betas: (f64, f64),
    /// The number added to the root; 1e-8.
    pub eps: f64,
    /// Whether the weight decay is apart from the gradient.
    pub decoupled: bool,
    /// β₁ changes from step to step, so that its correction cannot be made ahead.
    cycled: bool,
}

impl RAdam {
    /// For the parameters of `model`, with β = (0.9, 0.999) and eps 1e-8; PyTorch's learning rate is 1e-3.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, RAdamRule { betas: (0.9, 0.999), eps: 1e-8, decoupled: false, cycled: false })
    }

    /// Decays weights apart from the gradient, as AdamW does.
    #[must_use]
    pub fn decoupled(self) -> Self {
        self.rule(|rule| rule.decoupled = true)
    }
}

setters! { RAdam:
    /// Sets how much of the moments is kept.
    betas: (f64, f64),
    /// Sets the number added to the root.
    eps: f64,
}

impl RAdamRule {
    /// √c₂ times the rectification, or 0 where ρ ≤ 5.
    ///
    /// ρ∞ − 2t / (e^x − 1), x = −t ln β₂, loses all digits in f32 while t is small. With B = x / (e^x − 1) it is
    /// (2/(1 − β₂) − 1 − 2/−ln β₂) + 2/−ln β₂ · (1 − B), whose first part the host knows and whose second has a series.
    fn factor(&self, t: &Tensor) -> Tensor {
        let beta = self.betas.1;
        let rate = -beta.ln();
        let whole = 2.0 / (1.0 - beta) - 1.0;
        let x = t * rate;
        let square = &x * &x;
        let series = (((&square * (-1.0 / 30240.0) + 1.0 / 720.0) * &square - 1.0 / 12.0) * &x + Lit(0.5)) * &x;
        let direct = Lit(1.0) - &x / x.expm1();
        let rho = Tensor::where_(&x.lt(Lit(1.0)), series, direct) * (2.0 / rate) + (whole - 2.0 / rate);
        let above = (&rho - Lit(4.0)) * (&rho - Lit(2.0)) * (whole / ((whole - 4.0) * (whole - 2.0)));
        let rect = (above / &rho * correction(beta, t)).clamp_min(Lit(0.0)).sqrt();
        Tensor::where_(&rho.gt(Lit(5.0)), rect, Lit(0.0))
    }
}

impl Rule for RAdamRule {
    fn pure(&self) -> bool {
        true
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        negative(&[("eps", self.eps)]).or_else(|| no_share(self.betas))
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("exp_avg", value.zeros_like()), ("exp_avg_sq", value.zeros_like())]
    }

    /// t, 1/c₁ and the factor of the coming step; ρ of the first step is 1.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        vec![("step", 1.0), ("inverse_c1", 1.0 / (1.0 - self.betas.0)), ("rectified", 0.0)]
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        let t = &counts[0] + Lit(1.0);
        let (inverse, factor) = (correction(self.betas.0, &t).recip(), self.factor(&t));
        vec![t, inverse, factor]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let (p, g) = if self.decoupled {
            (turn.decayed_value(), turn.gradient.clone())
        } else {
            (turn.value.clone(), turn.decayed_gradient())
        };
        let m = &turn.memory[0] + (&g - &turn.memory[0]) * (1.0 - self.betas.0);
        let v = &turn.memory[1] * self.betas.1 + &g * &g * (1.0 - self.betas.1);
        let factor = &turn.counts[2];
        let scale = Tensor::where_(&factor.gt(Lit(0.0)), factor / (v.sqrt() + self.eps), Lit(1.0));
        let inverse = inverse_c1(self.cycled, self.betas.0, turn.counts);
        (p - &m * (inverse * turn.lr) * scale, vec![m, v])
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn set_momentum(&mut self, momentum: f64) {
        (self.betas.0, self.cycled) = (momentum, true);
    }
}

/// 1 / (1 − β₁ᵗ) in step t: the one that was made ahead (`counts[1]`), unless β₁ has changed since.
pub(super) fn inverse_c1(cycled: bool, beta: f64, counts: &[Tensor]) -> Tensor {
    if cycled { correction(beta, &counts[0]).recip() } else { counts[1].clone() }
}
