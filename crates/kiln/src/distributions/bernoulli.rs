//! Yes or no.

use super::{clamped, drawn};
use crate::loss::{BinaryCrossEntropy, Reduction};
use crate::{DType, Extents, Lit, Rng, Tensor, composed};

/// 1 with a probability, else 0, in each element of its parameter.
#[derive(Debug, Clone)]
pub struct Bernoulli {
    /// ln(p / (1 − p)).
    pub logits: Tensor,
    /// p.
    pub probs: Tensor,
}

impl Bernoulli {
    /// With probability σ(`logits`).
    #[track_caller]
    pub fn of_logits(logits: &Tensor) -> Self {
        composed("bernoulli", || Self { logits: logits.clone(), probs: logits.sigmoid() })
    }

    /// With probability `probs`, in 0..=1.
    #[track_caller]
    pub fn of_probs(probs: &Tensor) -> Self {
        composed("bernoulli", || {
            let inside = clamped(probs);
            Self { logits: inside.log() - (-inside).log1p(), probs: probs.clone() }
        })
    }

    /// The logarithm of the probability of `value`, 0 or 1, which broadcasts with the batch.
    #[track_caller]
    pub fn log_prob(&self, value: &Tensor) -> Tensor {
        composed("bernoulli", || {
            let both = &self.logits + value;
            -cross_entropy(&self.logits.expand_as(&both), &value.cast(both.dtype()).expand_as(&both))
        })
    }

    /// −p ln p − (1 − p) ln(1 − p).
    #[track_caller]
    pub fn entropy(&self) -> Tensor {
        composed("bernoulli", || cross_entropy(&self.logits, &self.probs))
    }

    /// Draws 0 and 1, `[shape.., batch..]`, as floats, through which no gradient flows.
    #[track_caller]
    pub fn sample(&self, shape: impl Extents, rng: &Rng) -> Tensor {
        composed("bernoulli", || {
            let even = rng.uniform(drawn(&shape, &self.probs));
            even.lt(self.probs.detach()).cast(DType::F32)
        })
    }

    /// KL(self ‖ other), infinite where `other` rules out what may happen.
    #[track_caller]
    pub fn kl_divergence(&self, other: &Self) -> Tensor {
        composed("bernoulli", || {
            let (p, q) = (&self.probs, &other.probs);
            let yes = p * ((-&other.logits).softplus() - (-&self.logits).softplus());
            let no = (Lit(1.0) - p) * (other.logits.softplus() - self.logits.softplus());
            ruled_out(yes, p, q, 0.0) + ruled_out(no, p, q, 1.0)
        })
    }
}

/// `part`, but infinite where q is `end`, and 0 where p is.
fn ruled_out(part: Tensor, p: &Tensor, q: &Tensor, end: f32) -> Tensor {
    let part = Tensor::where_(&q.eq(Lit(end)), f32::INFINITY, part);
    Tensor::where_(&p.eq(Lit(end)), Lit(0.0), part)
}

#[track_caller]
fn cross_entropy(logits: &Tensor, y: &Tensor) -> Tensor {
    BinaryCrossEntropy { reduction: Reduction::None, ..Default::default() }.loss(logits, y)
}
