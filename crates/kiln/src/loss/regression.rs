//! Losses of numbers: squared, absolute, and between the two.
//!
//! Shapes: `x`, `y [..]` alike → `[]`, or `[..]` without reduction. Other shapes are broadcast, as in PyTorch, and the log says
//! so once for each line of the program.

use super::{Reduction, broadcast};
use crate::{Lit, Tensor};

/// Mean of (x − y)²: `x`, `y [..]` alike → `[]`; other shapes are broadcast, and the log says so.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not broadcast.
#[track_caller]
pub fn mse_loss(x: &Tensor, y: &Tensor) -> Tensor {
    mse_loss_with(x, y, Reduction::Mean)
}

/// (x − y)², reduced as asked: `[]`, or the shape of `x` and `y` without reduction.
///
/// # Errors
/// As [`mse_loss`].
#[track_caller]
pub fn mse_loss_with(x: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
    broadcast("mse_loss", x, y, |x, y| reduction.of(&(x - y).square()))
}

/// w·(x − y)² with a weight for each element of `x`; the mean is Σ w·(x − y)² / Σ w.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if `weight` has not the shape of `x`.
#[track_caller]
pub fn mse_loss_weighted(x: &Tensor, y: &Tensor, weight: &Tensor, reduction: Reduction) -> Tensor {
    broadcast("mse_loss", x, y, |a, b| {
        weighted("mse_loss", x, (a - b).square(), weight, |l| by_weight(l, weight, reduction))
    })
}

/// Mean of |x − y|, with slope 0 where both are equal: shapes as for [`mse_loss`].
///
/// # Errors
/// As [`mse_loss`].
#[track_caller]
pub fn l1_loss(x: &Tensor, y: &Tensor) -> Tensor {
    l1_loss_with(x, y, Reduction::Mean)
}

/// |x − y|, reduced as asked: `[]`, or the shape of `x` and `y` without reduction.
///
/// # Errors
/// As [`mse_loss`].
#[track_caller]
pub fn l1_loss_with(x: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
    broadcast("l1_loss", x, y, |x, y| reduction.of(&(x - y).abs()))
}

/// w·|x − y| with a weight for each element of `x`; the mean is Σ w·|x − y| / Σ w.
///
/// # Errors
/// As [`mse_loss_weighted`].
#[track_caller]
pub fn l1_loss_weighted(x: &Tensor, y: &Tensor, weight: &Tensor, reduction: Reduction) -> Tensor {
    broadcast("l1_loss", x, y, |a, b| {
        weighted("l1_loss", x, (a - b).abs(), weight, |l| by_weight(l, weight, reduction))
    })
}

/// `losses · weight`, reduced; `weight` has the shape that `x` was given in.
#[track_caller]
fn weighted(
    op: &'static str,
    x: &Tensor,
    losses: Tensor,
    weight: &Tensor,
    reduce: impl FnOnce(&Tensor) -> Tensor,
) -> Tensor {
    match (x.shape(), weight.shape()) {
        (Ok(own), Ok(given)) if own != given => Tensor::bad_shape(op, &[x, weight], "the weight needs the shape of x"),
        _ => reduce(&(losses * weight)),
    }
}

/// `losses` reduced, where the mean is by the sum of the weights.
#[track_caller]
fn by_weight(losses: &Tensor, weight: &Tensor, reduction: Reduction) -> Tensor {
    match reduction {
        Reduction::Mean => losses.sum() / weight.sum(),
        other => other.of(losses),
    }
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
    /// The loss of `x` against `y`.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not broadcast,
    /// [`Error::Argument`](crate::Error::Argument) if beta is negative.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        broadcast("smooth_l1_loss", x, y, |x, y| {
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
    /// The loss of `x` against `y`.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not broadcast,
    /// [`Error::Argument`](crate::Error::Argument) if delta is not positive.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        broadcast("huber_loss", x, y, |x, y| self.reduction.of(&self.each(x, y)))
    }

    /// The same with a weight for each element of `x`; unlike that of [`mse_loss_weighted`], the mean is over elements, as in
    /// PyTorch.
    ///
    /// # Errors
    /// As [`Huber::loss`], and [`Error::Shape`](crate::Error::Shape) if `weight` has not the shape of `x`.
    #[track_caller]
    pub fn weighted(&self, x: &Tensor, y: &Tensor, weight: &Tensor) -> Tensor {
        broadcast("huber_loss", x, y, |a, b| {
            weighted("huber_loss", x, self.each(a, b), weight, |losses| self.reduction.of(losses))
        })
    }

    #[track_caller]
    fn each(&self, x: &Tensor, y: &Tensor) -> Tensor {
        if self.delta.is_nan() || self.delta <= 0.0 {
            return x.bad_argument("huber_loss", "delta", self.delta, "above 0");
        }
        huber(x, y, self.delta)
    }
}

/// With d = x − y and c = d between −delta and delta: c·(d − c/2), which is both branches in one, and smooth at 0.
#[track_caller]
fn huber(x: &Tensor, y: &Tensor, delta: f64) -> Tensor {
    let d = x - y;
    let near = d.clamp(-delta, delta);
    &near * (&d - &near * Lit(0.5))
}
