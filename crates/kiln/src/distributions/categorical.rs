//! One of several classes.

use super::{clamped, drawn};
use crate::{Extents, Lit, Rng, Tensor, composed};

/// A class 0..n, with a probability for each along the last axis of its parameters.
#[derive(Debug, Clone)]
pub struct Categorical {
    /// The logarithms of the probabilities, `[batch.., n]`.
    pub logits: Tensor,
    /// The probabilities.
    pub probs: Tensor,
}

impl Categorical {
    /// With probabilities softmax(`logits`), `[batch.., n]`.
    #[track_caller]
    pub fn of_logits(logits: &Tensor) -> Self {
        composed("categorical", || Self { logits: logits.log_softmax(-1), probs: logits.softmax(-1) })
    }

    /// With probabilities in proportion to `probs`, `[batch.., n]`, which are not negative.
    #[track_caller]
    pub fn of_probs(probs: &Tensor) -> Self {
        composed("categorical", || {
            let probs = probs / probs.sum_axes(-1, true);
            Self { logits: clamped(&probs).log(), probs }
        })
    }

    /// The logarithm of the probability of each class of `value`, which broadcasts with the batch. One out of range is an
    /// [`Error::Index`](crate::Error::Index) when the result is read.
    #[track_caller]
    pub fn log_prob(&self, value: &Tensor) -> Tensor {
        composed("categorical", || {
            // in the shape that both broadcast to
            let each = value + self.logits.select(-1, 0);
            let all = each.unsqueeze(-1) + &self.logits;
            let value = value.expand_as(&each).unsqueeze(-1);
            self.logits.expand_as(&all).gather(-1, &value).squeeze(-1)
        })
    }

    /// −Σ p ln p.
    #[track_caller]
    pub fn entropy(&self) -> Tensor {
        composed("categorical", || -(&self.probs * self.logits.clamp_min(f32::MIN)).sum_axes(-1, false))
    }

    /// The likeliest class.
    #[track_caller]
    pub fn mode(&self) -> Tensor {
        composed("categorical", || self.probs.argmax(-1, false))
    }

    /// Draws classes `[shape.., batch..]`, as `I32`.
    #[track_caller]
    pub fn sample(&self, shape: impl Extents, rng: &Rng) -> Tensor {
        composed("categorical", || {
            let batch = self.probs.select(-1, 0);
            let whole = drawn(&shape, &batch);
            let count = shape.list().iter().product::<i64>();
            if shape.list().iter().any(|&extent| extent < 0) || count * batch.numel() as i64 == 0 {
                return Tensor::zeros(batch.device(), whole).cast(crate::DType::I32);
            }
            let rows = self.probs.detach().reshape([batch.numel() as i64, -1]);
            rng.multinomial(&rows, count as usize, true).t().reshape(whole)
        })
    }

    /// KL(self ‖ other): Σ p (ln p − ln q), infinite where q alone is 0.
    #[track_caller]
    pub fn kl_divergence(&self, other: &Self) -> Tensor {
        composed("categorical", || {
            let each = &self.probs * (&self.logits - &other.logits);
            let each = Tensor::where_(&other.probs.eq(Lit(0.0)), f32::INFINITY, each);
            Tensor::where_(&self.probs.eq(Lit(0.0)), Lit(0.0), each).sum_axes(-1, false)
        })
    }
}
