//! Losses of numbers: squared, absolute, and between the two.

use super::{Reduction, compare};
use crate::{Lit, Tensor};

/// Mean of (x − y)². `x` and `y` must have the same shape.
#[track_caller]
pub fn mse_loss(x: &Tensor, y: &Tensor) -> Tensor {
    mse_loss_with(x, y, Reduction::Mean)
}

/// (x − y)², reduced as asked.
#[track_caller]
pub fn mse_loss_with(x: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
    compare("mse_loss", x, y, || reduction.of(&(x - y).square()))
}

/// Mean of |x − y|. `x` and `y` must have the same shape.
#[track_caller]
pub fn l1_loss(x: &Tensor, y: &Tensor) -> Tensor {
    l1_loss_with(x, y, Reduction::Mean)
}

/// |x − y|, reduced as asked.
#[track_caller]
pub fn l1_loss_with(x: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
    compare("l1_loss", x, y, || reduction.of(&(x - y).abs()))
}

/// With d = |x − y|: mean of d²/(2·beta) where d < beta, of d − beta/2 elsewhere. PyTorch's default
/// for beta is 1; at 0 this is [`l1_loss`]. For other reductions: [`SmoothL1`].
#[track_caller]
pub fn smooth_l1_loss(x: &Tensor, y: &Tensor, beta: f64) -> Tensor {
    SmoothL1 { beta, ..Default::default() }.loss(x, y)
}

/// With d = |x − y|: mean of d²/2 where d < delta, of delta·(d − delta/2) elsewhere. PyTorch's
/// default for delta is 1. For other reductions: [`Huber`].
#[track_caller]
pub fn huber_loss(x: &Tensor, y: &Tensor, delta: f64) -> Tensor {
    Huber { delta, ..Default::default() }.loss(x, y)
}

/// [`smooth_l1_loss`] with its settings, PyTorch's by default.
#[derive(Debug, Clone, Copy)]
pub struct SmoothL1 {
    /// Where the parabola ends; 1. At 0 there is none.
    pub beta: f64,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl Default for SmoothL1 {
    fn default() -> Self {
        Self { beta: 1.0, reduction: Reduction::Mean }
    }
}

impl SmoothL1 {
    /// The loss of `x` against `y`, which have the same shape.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ,
    /// [`Error::Argument`](crate::Error::Argument) if beta is negative.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        compare("smooth_l1_loss", x, y, || {
            if self.beta.is_nan() || self.beta < 0.0 {
                return x.bad_argument("smooth_l1_loss", "beta", self.beta, "at least 0");
            }
            if self.beta == 0.0 {
                return self.reduction.of(&(x - y).abs());
            }
            self.reduction.of(&(huber(x, y, self.beta) / self.beta))
        })
    }
}

/// [`huber_loss`] with its settings, PyTorch's by default.
#[derive(Debug, Clone, Copy)]
pub struct Huber {
    /// Where the parabola ends; 1.
    pub delta: f64,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl Default for Huber {
    fn default() -> Self {
        Self { delta: 1.0, reduction: Reduction::Mean }
    }
}

impl Huber {
    /// The loss of `x` against `y`, which have the same shape.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ,
    /// [`Error::Argument`](crate::Error::Argument) if delta is not positive.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        compare("huber_loss", x, y, || {
            if self.delta.is_nan() || self.delta <= 0.0 {
                return x.bad_argument("huber_loss", "delta", self.delta, "above 0");
            }
            self.reduction.of(&huber(x, y, self.delta))
        })
    }
}

/// With c = min(|x − y|, delta): c·(|x − y| − c/2), which is both branches in one.
#[track_caller]
fn huber(x: &Tensor, y: &Tensor, delta: f64) -> Tensor {
    let d = (x - y).abs();
    let near = d.clamp_max(delta);
    &near * (&d - &near * Lit(0.5))
}
