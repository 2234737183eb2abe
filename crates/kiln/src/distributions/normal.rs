//! The normal distribution.

use super::drawn;
use crate::ops::Operand;
use crate::{Extents, Lit, Rng, Tensor, composed};

/// ln √(2π).
const HALF_LOG_TAU: f32 = 0.918_938_5;

/// N(loc, scale²), in each element of what the two broadcast to.
#[derive(Debug, Clone)]
pub struct Normal {
    /// The mean.
    pub loc: Tensor,
    /// The standard deviation, which is above 0.
    pub scale: Tensor,
}

impl Normal {
    /// With mean `loc` and deviation `scale`, a tensor or a number.
    #[track_caller]
    pub fn new(loc: &Tensor, scale: impl Operand) -> Self {
        composed("normal", || {
            let scale = scale.tensor(loc);
            let both = loc + &scale;
            Self { loc: loc.expand_as(&both), scale: scale.expand_as(&both) }
        })
    }

    /// −(x − loc)² / (2 scale²) − ln scale − ln √(2π).
    #[track_caller]
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        composed("normal", || {
            ((x - &self.loc) / &self.scale).square() * Lit(-0.5) - self.scale.log() - Lit(HALF_LOG_TAU)
        })
    }

    /// ½ + ln √(2π) + ln scale.
    #[track_caller]
    pub fn entropy(&self) -> Tensor {
        composed("normal", || self.scale.log() + Lit(0.5 + HALF_LOG_TAU))
    }

    /// The probability of less than `x`.
    #[track_caller]
    pub fn cdf(&self, x: &Tensor) -> Tensor {
        let z = (x - &self.loc) / &self.scale;
        composed("normal", || ((z * Lit(std::f32::consts::FRAC_1_SQRT_2)).erf() + Lit(1.0)) * Lit(0.5))
    }

    /// The number below which the share `p` lies.
    #[track_caller]
    pub fn icdf(&self, p: &Tensor) -> Tensor {
        composed("normal", || {
            &self.loc + &self.scale * (p * Lit(2.0) - Lit(1.0)).erfinv() * Lit(std::f32::consts::SQRT_2)
        })
    }

    /// Draws `[shape.., batch..]`, through which no gradient flows.
    #[track_caller]
    pub fn sample(&self, shape: impl Extents, rng: &Rng) -> Tensor {
        self.rsample(shape, rng).detach()
    }

    /// The same as loc + scale · ε, whose gradient reaches both.
    ///
    /// Source: Kingma & Welling 2014, "Auto-encoding variational Bayes", §2.4.
    #[track_caller]
    pub fn rsample(&self, shape: impl Extents, rng: &Rng) -> Tensor {
        composed("normal", || &self.loc + &self.scale * rng.normal(drawn(&shape, &self.loc)))
    }

    /// KL(self ‖ other) of each normal of the batch, which broadcasts: ln(σ₂/σ₁) + (σ₁² + (μ₁ − μ₂)²) / (2 σ₂²) − ½.
    #[track_caller]
    pub fn kl_divergence(&self, other: &Self) -> Tensor {
        composed("normal", || {
            let ratio = (&self.scale / &other.scale).square();
            let apart = ((&self.loc - &other.loc) / &other.scale).square();
            (&ratio + apart - Lit(1.0) - ratio.log()) * Lit(0.5)
        })
    }
}
