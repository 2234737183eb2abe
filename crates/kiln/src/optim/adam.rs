//! Adam and AdamW.

use super::{Optimizer, Slots, Updates, settings};
use crate::nn::Module;
use crate::{Gradients, Lit, State, Tensor};

/// Adaptive moments, as PyTorch has it. With g the gradient (plus `weight_decay · p`):
/// ```text
/// m = β₁ m + (1 − β₁) g         v = β₂ v + (1 − β₂) g²
/// p = p − lr · (m / c₁) / (√v / √c₂ + eps),       c = 1 − βᵗ in step t
/// ```
/// Step count and corrections are those of the optimizer: a parameter that has no gradient in some
/// step is left alone then, but its corrections go on.
///
/// Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", alg. 1.
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
pub struct Adam(Moments);

/// Adam with the weight decay apart from the gradient: first `p = p · (1 − lr · weight_decay)`,
/// 0.01 by default, then Adam's step.
///
/// Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization", alg. 2.
pub struct AdamW(Moments);

/// What both are made of.
struct Moments {
    slots: Slots,
    betas: (f64, f64),
    eps: f64,
    first: Vec<State>,
    second: Vec<State>,
    /// t, 1/c₁ and 1/√c₂ of the coming step, so that the parameters need only to read them; empty
    /// for an optimizer of nothing.
    counts: Vec<State>,
}

/// Adam's builder methods and its `Optimizer`, which differ only in where the decay goes.
macro_rules! adam {
    ($name:ident, decoupled: $decoupled:literal, weight_decay: $decay:literal) => {
        impl $name {
            /// For the parameters of `model`, with β = (0.9, 0.999) and eps 1e-8.
            pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
                Self(Moments::new(model, lr)).weight_decay($decay)
            }

            settings!(0.slots);

            /// Sets how much of the moments is kept in each step.
            #[must_use]
            pub fn betas(mut self, first: f64, second: f64) -> Self {
                self.0.start((first, second));
                self
            }

            /// Sets the number added to the root.
            #[must_use]
            pub fn eps(mut self, eps: f64) -> Self {
                self.0.eps = eps;
                self
            }
        }

        impl Optimizer for $name {
            fn slots(&self) -> &Slots {
                &self.0.slots
            }

            fn slots_mut(&mut self) -> &mut Slots {
                &mut self.0.slots
            }

            fn update(&self, gradients: &Gradients) -> Updates {
                self.0.update(gradients, $decoupled)
            }

            fn states(&self) -> Vec<(String, State)> {
                self.0.states()
            }
        }
    };
}

adam!(Adam, decoupled: false, weight_decay: 0.0);
adam!(AdamW, decoupled: true, weight_decay: 0.01);

impl Moments {
    fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let slots = Slots::new(model, lr);
        let (first, second) = (slots.zeros(), slots.zeros());
        let mut moments = Self { slots, betas: (0.0, 0.0), eps: 1e-8, first, second, counts: Vec::new() };
        moments.start((0.9, 0.999));
        moments
    }

    /// Before the first step, with these β.
    fn start(&mut self, betas: (f64, f64)) {
        self.betas = betas;
        let values = [1.0, 1.0 / (1.0 - betas.0), 1.0 / (1.0 - betas.1).sqrt()];
        self.counts = self.slots.numbers(&values);
    }

    /// The counts of the step after. c = 1 − βᵗ = −expm1(t ln β), which has no cancellation; it is 1
    /// from t ln β = −100 on, so β = 0 needs no care.
    fn counted(&self, t: &Tensor) -> [Tensor; 3] {
        let t = t + Lit(1.0);
        let [c1, c2] = [self.betas.0, self.betas.1].map(|beta| -(&t * beta.ln().max(-100.0)).expm1());
        [t, c1.recip(), c2.rsqrt()]
    }

    fn update(&self, gradients: &Gradients, decoupled: bool) -> Updates {
        let mut updates = Updates::new();
        let [t, inverse_c1, inverse_root_c2] = &self.counts[..] else { return updates };
        let (beta1, beta2) = self.betas;

        for (index, slot, mut g) in self.slots.with_gradients(gradients) {
            let lr = self.slots.lr * slot.lr_scale;
            let mut p = slot.param.value();
            if slot.weight_decay != 0.0 {
                if decoupled {
                    p = p * (1.0 - lr * slot.weight_decay);
                } else {
                    g = g + &p * slot.weight_decay;
                }
            }
            let (m, v) = (self.first[index].value(), self.second[index].value());
            let m = &m + (&g - &m) * (1.0 - beta1);
            let v = v * beta2 + &g * &g * (1.0 - beta2);
            let p = p - &m * (inverse_c1 * lr) / (v.sqrt() * inverse_root_c2 + self.eps);
            updates.push((State::clone(&slot.param), p));
            updates.push((self.first[index].clone(), m));
            updates.push((self.second[index].clone(), v));
        }
        updates.extend(self.counts.iter().cloned().zip(self.counted(t)));
        updates
    }

    fn states(&self) -> Vec<(String, State)> {
        let names = ["step", "inverse_c1", "inverse_root_c2"];
        let counts = names.iter().map(ToString::to_string).zip(self.counts.iter().cloned());
        let moments = self.slots.named("exp_avg", &self.first).chain(self.slots.named("exp_avg_sq", &self.second));
        counts.chain(moments).collect()
    }
}
