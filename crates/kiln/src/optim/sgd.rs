//! Stochastic gradient descent.

use super::{Optimizer, Slots, Updates, settings};
use crate::nn::Module;
use crate::{Gradients, State};

/// Gradient descent with momentum, as PyTorch has it:
/// ```text
/// g = gradient + weight_decay · p
/// v = momentum · v + (1 − dampening) · g       v = g in the first step
/// p = p − lr · v                               Nesterov: p − lr · (g + momentum · v)
/// ```
///
/// Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep
/// learning", in PyTorch's form.
pub struct Sgd {
    slots: Slots,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    /// v of each parameter; none without momentum.
    velocity: Vec<State>,
    /// 0 before the first step, then 1: whether dampening applies yet.
    begun: Option<State>,
}

impl Sgd {
    /// Plain gradient descent for the parameters of `model`.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let slots = Slots::new(model, lr);
        Self { slots, momentum: 0.0, dampening: 0.0, nesterov: false, velocity: Vec::new(), begun: None }
    }

    settings!(slots);

    /// Keeps this share of the last step.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self.velocity = if momentum == 0.0 { Vec::new() } else { self.slots.zeros() };
        self
    }

    /// Takes this share off the gradient that joins the momentum, from the second step on.
    #[must_use]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self.begun = if dampening == 0.0 { None } else { self.slots.numbers(&[0.0]).pop() };
        self
    }

    /// Looks ahead by one step of the momentum.
    #[must_use]
    pub fn nesterov(mut self) -> Self {
        self.nesterov = true;
        self
    }
}

impl Optimizer for Sgd {
    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn update(&self, gradients: &Gradients) -> Updates {
        let mut updates = Updates::new();
        for (index, slot, mut g) in self.slots.with_gradients(gradients) {
            let p = slot.param.value();
            if slot.weight_decay != 0.0 {
                g = g + &p * slot.weight_decay;
            }
            if let Some(velocity) = self.velocity.get(index) {
                let joins = match &self.begun {
                    Some(begun) => &g * (1.0 - begun.value() * self.dampening),
                    None => g.clone(),
                };
                let v = velocity.value() * self.momentum + joins;
                g = if self.nesterov { g + &v * self.momentum } else { v.clone() };
                updates.push((velocity.clone(), v));
            }
            updates.push((State::clone(&slot.param), p - g * (self.slots.lr * slot.lr_scale)));
        }
        if let Some(begun) = &self.begun {
            updates.push((begun.clone(), begun.value().ones_like()));
        }
        updates
    }

    fn states(&self) -> Vec<(String, State)> {
        let begun = self.begun.iter().map(|state| ("begun".to_string(), state.clone()));
        self.slots.named("momentum_buffer", &self.velocity).chain(begun).collect()
    }
}
