//! Negative log-likelihoods of distributions, and the divergence between two. Shapes that differ are broadcast, as in PyTorch,
//! and the log says so once for each line of the program.

use super::{Reduction, broadcast};
use crate::{Lit, Tensor, composed};

/// The negative log-likelihood of counts `y` under Poisson distributions: eˣ − y·x for logarithms x of
/// the rates (the default), x − y·ln(x + eps) for the rates themselves.
///
/// Shapes: `x`, `y [..]` alike → `[]`, or `[..]` without reduction.
#[derive(Debug, Clone, Copy)]
pub struct PoissonNll {
    /// Whether `x` is the logarithm of the rate; true.
    pub log_input: bool,
    /// Whether Stirling's y·ln y − y + ln(2πy)/2 is added where y > 1, so that losses of other targets
    /// can be compared; false.
    pub full: bool,
    /// Added to a rate before its logarithm is taken; 1e-8.
    pub eps: f64,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl Default for PoissonNll {
    fn default() -> Self {
        Self { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

impl PoissonNll {
    /// The loss of `x` against the counts `y`.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not broadcast.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        broadcast("poisson_nll_loss", x, y, |x, y| {
            let losses = if self.log_input { x.exp() - y * x } else { x - y * (x + self.eps).ln() };
            if !self.full {
                return self.reduction.of(&losses);
            }
            let many = y.gt(Lit(1.0));
            let y = Tensor::where_(&many, y, Lit(1.0));
            let stirling = &y * y.ln() - &y + (&y * Lit(std::f32::consts::TAU)).ln() * Lit(0.5);
            self.reduction.of(&(losses + Tensor::where_(&many, stirling, Lit(0.0))))
        })
    }
}

/// Mean of eˣ − y·x: [`PoissonNll`] with PyTorch's defaults.
#[track_caller]
pub fn poisson_nll_loss(x: &Tensor, y: &Tensor) -> Tensor {
    PoissonNll::default().loss(x, y)
}

/// The negative log-likelihood of `y` under normal distributions: ½·(ln v + (x − y)²/v), where v is
/// the variance, at least eps. As in PyTorch the gradient of the variance passes where it is clamped.
///
/// Shapes: `x`, `y [.., n]`, `var` of the same shape, with 1 for one of its extents, without the last axis, or
/// a single number `[]` → `[]`, or `[.., n]` without reduction.
///
/// Source: Nix & Weigend 1994, "Estimating the mean and variance of the target probability distribution".
#[derive(Debug, Clone, Copy)]
pub struct GaussianNll {
    /// Whether the constant ½·ln 2π is added; false.
    pub full: bool,
    /// The smallest variance; 1e-6.
    pub eps: f64,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl Default for GaussianNll {
    fn default() -> Self {
        Self { full: false, eps: 1e-6, reduction: Reduction::Mean }
    }
}

impl GaussianNll {
    /// The loss of the means `x` with variances `var` against `y`.
    ///
    /// PyTorch looks for negative variances first; here nothing is read, and they count as eps.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor, var: &Tensor) -> Tensor {
        broadcast("gaussian_nll_loss", x, y, |mean, y| {
            let (Ok(own), Ok(given)) = (x.shape(), var.shape()) else { return x + var };
            let one_alike = given.rank() == own.rank() && {
                let others: Vec<usize> = (0..own.rank()).filter(|&a| own[a] != given[a]).collect();
                others.len() <= 1 && others.iter().all(|&a| given[a] == 1)
            };
            let var = if given.rank() == 0 || one_alike {
                var.clone()
            } else if given[..] == own[..own.rank().saturating_sub(1)] {
                var.unsqueeze(-1)
            } else {
                let why = "var has the shape of x, with 1 for one extent, or is without the last axis";
                return Tensor::bad_shape("gaussian_nll_loss", &[x, var], why);
            };
            let var = Tensor::where_(&var.lt(self.eps), &var - var.detach() + self.eps, &var);
            let losses = (var.ln() + (mean - y).square() / &var) * Lit(0.5);
            let constant = Lit(0.918_938_5); // ½·ln 2π
            self.reduction.of(&if self.full { losses + constant } else { losses })
        })
    }
}

/// Mean of ½·(ln v + (x − y)²/v): [`GaussianNll`] with PyTorch's defaults.
#[track_caller]
pub fn gaussian_nll_loss(x: &Tensor, y: &Tensor, var: &Tensor) -> Tensor {
    GaussianNll::default().loss(x, y, var)
}

/// Kullback-Leibler divergence of the probabilities `y` from the log-probabilities `logp`:
/// Σ y·(ln y − logp), where y = 0 adds nothing.
///
/// [`Reduction::Mean`] divides by the number of elements, as PyTorch's default does; for the mean
/// over examples, which is the mathematical one: [`KlDiv::batch_mean`].
#[track_caller]
pub fn kl_div(logp: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
    KlDiv { reduction, ..Default::default() }.loss(logp, y)
}

/// [`kl_div`] with its settings, PyTorch's by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct KlDiv {
    /// Whether the targets are log-probabilities too; false.
    pub log_target: bool,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl KlDiv {
    /// The divergence of `y` from `logp`.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not broadcast.
    #[track_caller]
    pub fn loss(&self, logp: &Tensor, y: &Tensor) -> Tensor {
        broadcast("kl_div", logp, y, |logp, y| {
            if self.log_target {
                return self.reduction.of(&(y.exp() * (y - logp)));
            }
            let none = y.eq(Lit(0.0));
            let entropy = Tensor::where_(&none, Lit(0.0), y * Tensor::where_(&none, Lit(1.0), y).ln());
            self.reduction.of(&(entropy - y * logp))
        })
    }

    /// The sum over everything, divided by the extent of the first axis: PyTorch's `batchmean`.
    /// The reduction that is set plays no part.
    #[track_caller]
    pub fn batch_mean(&self, logp: &Tensor, y: &Tensor) -> Tensor {
        composed("kl_div", || {
            let batch = logp.shape().ok().and_then(|shape| shape.first().copied()).unwrap_or(1);
            Self { reduction: Reduction::Sum, ..*self }.loss(logp, y) / batch
        })
    }
}
