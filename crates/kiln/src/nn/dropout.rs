//! Dropout.

use super::module::Leaf;
use super::{Forward, Mode, Module, Visitor};
use crate::init::Init;
use crate::{State, Tensor, dropout_mask};

/// Sets each element to zero with probability `p` while training and scales the others by
/// 1/(1 − p), so that the mean stays; does nothing in evaluation mode.
///
/// The layer owns a stream of random numbers: its key comes from `init` at construction, its
/// counter is a cell on the device that moves on with each training step. The same seed draws the
/// same masks on every adapter, and a step that is refused draws nothing.
///
/// Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
/// overfitting", §4.
pub struct Dropout {
    /// The probability of a zero.
    pub p: f32,
    key: u64,
    counter: State,
    mode: Mode,
}

impl Dropout {
    /// Drops with probability `p`, in 0..=1.
    pub fn new(p: f32, init: &mut Init) -> Self {
        let counter = init.state(&Tensor::new(init.device(), 0u32));
        Self { p, key: init.key(), counter, mode: Mode::default() }
    }
}

impl Module for Dropout {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Counter(&self.counter));
        visitor.leaf(Leaf::Mode(&self.mode));
    }
}

impl Forward for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        if !self.mode.training() || self.p == 0.0 {
            return x.clone();
        }
        let call = self.counter.value();
        let mask = dropout_mask(x.device(), self.key, &call, self.p, shape);
        match self.counter.set_with(&(&call + 1u32), &[&mask]) {
            Ok(()) => x * mask,
            Err(error) => Tensor::invalid(x.device(), error),
        }
    }
}
