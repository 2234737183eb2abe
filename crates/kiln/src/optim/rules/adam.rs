//! Adam and AdamW.

use super::moments::inverse_c1;
use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, correction, negative, no_share};
use crate::{Lit, Tensor};

/// Adaptive moments, as PyTorch has it. With g the gradient (plus `weight_decay · p`):
/// ```text
/// m = β₁ m + (1 − β₁) g         v = β₂ v + (1 − β₂) g²
/// p = p − lr · (m / c₁) / (√v / √c₂ + eps),       c = 1 − βᵗ in step t
/// AMSGrad: the largest v so far in place of v
/// ```
///
/// Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", alg. 1; Reddi, Kale & Kumar 2018, "On the
/// convergence of Adam and beyond", alg. 2.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let adam = Adam::new(&model, 1e-3).betas(0.9, 0.95).each(|slot| {
///     if slot.name.ends_with("bias") { slot.lr_scale = 2.0 }
/// });
/// # Ok::<(), Error>(())
/// ```
pub type Adam = Method<AdamRule>;

/// Adam with the weight decay apart from the gradient: first `p = p · (1 − lr · weight_decay)`,
/// 0.01 by default, then Adam's step.
///
/// Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization", alg. 2.
///
/// ```
/// use kiln::prelude::*;
///
/// let device = Device::open()?;
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// // as most people have it: matrices decay, biases and the like do not
/// let mut adam = AdamW::new(&model, 1e-2).each(|slot| {
///     slot.weight_decay = if slot.param.rank() < 2 { 0.0 } else { 0.1 };
/// });
/// let (x, y) = (Tensor::ones(&device, [8, 3]), Tensor::zeros(&device, [8, 1]));
/// let loss = || mse_loss(&model.forward(&x), &y);
/// let before = loss().item()?;
/// for _ in 0..20 {
///     adam.step(&loss())?;
/// }
/// assert!(loss().item()? < before);
/// # Ok::<(), Error>(())
/// ```
pub type AdamW = Method<AdamWRule>;

/// What [`Adam`] and [`AdamW`] share.
#[derive(Debug, Clone)]
pub struct Moments {
    /// How much of the moments is kept in each step; (0.9, 0.999).
    pub betas: (f64, f64),
    /// The number added to the root; 1e-8.
    pub eps: f64,
    /// Whether the largest second moment so far counts.
    pub amsgrad: bool,
    /// β₁ changes from step to step, so that the corrections cannot be made ahead.
    pub(super) cycled: bool,
}

impl Default for Moments {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, amsgrad: false, cycled: false }
    }
}

impl Moments {
    pub(super) fn memory(&self, value: &Tensor) -> Vec<(&'static str, Tensor)> {
        let names = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
        names[..if self.amsgrad { 3 } else { 2 }].iter().map(|name| (*name, value.zeros_like())).collect()
    }

    /// t, 1/c₁ and 1/√c₂ of the coming step, so that the parameters need only to read them.
    pub(super) fn counts(&self) -> Vec<(&'static str, f64)> {
        let (c1, c2) = (1.0 - self.betas.0, 1.0 - self.betas.1);
        vec![("step", 1.0), ("inverse_c1", 1.0 / c1), ("inverse_root_c2", 1.0 / c2.sqrt())]
    }

    pub(super) fn count(&self, counts: &[Tensor]) -> Vec<Tensor> {
        let t = &counts[0] + Lit(1.0);
        let (c1, c2) = (correction(self.betas.0, &t), correction(self.betas.1, &t));
        vec![t, c1.recip(), c2.rsqrt()]
    }

    /// The step from `p` with the gradient `g`.
    fn step(&self, turn: &Turn<'_>, p: &Tensor, g: &Tensor) -> (Tensor, Vec<Tensor>) {
        let (beta1, beta2) = self.betas;
        let (m, v) = (&turn.memory[0], &turn.memory[1]);
        let inverse_c1 = inverse_c1(self.cycled, beta1, turn.counts);
        let m = m + (g - m) * (1.0 - beta1);
        let v = v * beta2 + g * g * (1.0 - beta2);
        let largest = turn.memory.get(2).map(|max| max.maximum(&v));
        let root = largest.as_ref().unwrap_or(&v).sqrt() * &turn.counts[2];
        let p = p - &m * (inverse_c1 * turn.lr) / (root + self.eps);
        (p, [m, v].into_iter().chain(largest).collect())
    }
}

/// Adam's builder methods and its rule, which differ only in where the decay goes.
macro_rules! adam {
    ($alias:ident, $rule:ident, decoupled: $decoupled:literal, weight_decay: $decay:literal) => {
        #[doc = concat!("The settings of [`", stringify!($alias), "`].")]
        #[derive(Debug, Clone, Default)]
        pub struct $rule(Moments);

        impl std::ops::Deref for $rule {
            type Target = Moments;
            fn deref(&self) -> &Moments {
                &self.0
            }
        }

        impl std::ops::DerefMut for $rule {
            fn deref_mut(&mut self) -> &mut Moments {
                &mut self.0
            }
        }

        impl $alias {
            /// For the parameters of `model`, with β = (0.9, 0.999) and eps 1e-8.
            pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
                Self::with_rule(model, lr, $rule::default()).weight_decay($decay)
            }

            /// Sets how much of the moments is kept in each step.
            #[must_use]
            pub fn betas(self, first: f64, second: f64) -> Self {
                self.rule(|rule| rule.betas = (first, second))
            }

            /// Sets the number added to the root.
            #[must_use]
            pub fn eps(self, eps: f64) -> Self {
                self.rule(|rule| rule.eps = eps)
            }

            /// Divides by the largest second moment so far.
            #[must_use]
            pub fn amsgrad(self) -> Self {
                self.rule(|rule| rule.amsgrad = true)
            }
        }

        impl Rule for $rule {
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
                self.0.memory(value)
            }

            fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
                self.0.counts()
            }

            fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
                self.0.count(counts)
            }

            fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
                if $decoupled {
                    self.0.step(turn, &turn.decayed_value(), &turn.gradient)
                } else {
                    self.0.step(turn, &turn.value, &turn.decayed_gradient())
                }
            }

            fn momentum(&self) -> Option<f64> {
                Some(self.betas.0)
            }

            fn set_momentum(&mut self, momentum: f64) {
                (self.0.betas.0, self.0.cycled) = (momentum, true);
            }
        }
    };
}

adam!(Adam, AdamRule, decoupled: false, weight_decay: 0.0);
adam!(AdamW, AdamWRule, decoupled: true, weight_decay: 0.01);
