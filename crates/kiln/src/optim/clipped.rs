//! Optimizers that keep gradients within bounds in every step.

use super::taken::Taken;
use super::{Optimizer, Slots, Updates, clip_grad_norm, clip_grad_value};
use crate::nn::StateDict;
use crate::{Gradients, Result, State, Tensor};

/// An optimizer that clips the gradients of every step: by value first, then by norm.
///
/// A step on a loss does what [`Optimizer::backward`], [`clip_grad_value`], [`clip_grad_norm`] and a step on the gradients
/// do, to the bit. But the optimizer knows the whole of it, so a step on a loss of a structure that it has met makes
/// neither gradients nor an update anew. Gradients that are given to [`step`](Optimizer::step) are taken as they are.
///
/// ```
/// # use kiln::prelude::*; use kiln::optim::Clipped;
/// # let device = Device::open()?;
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut adam = Clipped::new(Adam::new(&model, 1e-2)).norm(1.0);
/// let loss = model.forward(&Tensor::ones(&device, &[8, 3])).square().mean();
/// adam.step(&loss)?;
/// # assert!(loss.item()?.is_finite());
/// # Ok::<(), Error>(())
/// ```
pub struct Clipped<O> {
    inner: O,
    value: Option<f64>,
    norm: Option<f64>,
    taken: Taken,
}

impl<O: Optimizer> Clipped<O> {
    /// Without bounds yet.
    pub fn new(inner: O) -> Self {
        Self { inner, value: None, norm: None, taken: Taken::default() }
    }

    /// Scales the gradients so that their common 2-norm is at most this: [`clip_grad_norm`].
    #[must_use]
    pub fn norm(self, max_norm: impl Into<Option<f64>>) -> Self {
        Self { norm: max_norm.into(), taken: Taken::default(), ..self }
    }

    /// Brings every element into −bound..=bound, before the norm is looked at: [`clip_grad_value`].
    #[must_use]
    pub fn value(self, bound: impl Into<Option<f64>>) -> Self {
        Self { value: bound.into(), taken: Taken::default(), ..self }
    }

    /// The optimizer inside.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// Clips gradients as a step on a loss does: for a loop that adds up those of several batches.
    pub fn clip(&self, gradients: &mut Gradients) {
        if let Some(bound) = self.value {
            clip_grad_value(gradients, bound);
        }
        if let Some(bound) = self.norm {
            clip_grad_norm(gradients, bound);
        }
    }
}

impl<O: Optimizer> Optimizer for Clipped<O> {
    fn slots(&self) -> &Slots {
        self.inner.slots()
    }

    fn slots_mut(&mut self) -> &mut Slots {
        self.taken.change();
        self.inner.slots_mut()
    }

    fn taken(&mut self) -> Option<&mut Taken> {
        self.inner.taken().is_some().then_some(&mut self.taken)
    }

    fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        let mut gradients = self.inner.backward(loss)?;
        self.clip(&mut gradients);
        Ok(gradients)
    }

    fn update(&self, gradients: &Gradients) -> Updates {
        self.inner.update(gradients)
    }

    fn formulas(&self, gradients: &Gradients) -> Result<(Vec<u64>, Vec<Tensor>)> {
        self.inner.formulas(gradients)
    }

    fn states(&self) -> Vec<(String, State)> {
        self.inner.states()
    }

    fn adapt(&self, dict: StateDict) -> Result<StateDict> {
        self.inner.adapt(dict)
    }

    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn lr(&self) -> f64 {
        self.inner.lr()
    }

    fn set_lr(&mut self, lr: f64) {
        self.taken.change();
        self.inner.set_lr(lr);
    }

    fn present_momentum(&self) -> Option<f64> {
        self.inner.present_momentum()
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.taken.change();
        self.inner.set_momentum(momentum);
    }
}
