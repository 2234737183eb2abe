//! Draws from distributions: formulas of [`Rng`]'s uniform numbers and words.

use super::Lit;
use crate::ops::view::Extents;
use crate::{DType, Rng, Tensor, composed};
use std::ops::Range;

impl Rng {
    /// Integers of `range`, each as likely as the others but for 2⁻³² times its length: `I32`, as
    /// `torch.randint`. An empty range is an [`Error::Argument`](crate::Error::Argument).
    #[track_caller]
    pub fn integers(&self, range: Range<i32>, shape: impl Extents) -> Tensor {
        composed("integers", || {
            let words = self.words(shape);
            let Ok(count @ 1..) = u32::try_from(i64::from(range.end) - i64::from(range.start)) else {
                return words.bad_argument("integers", "range", format!("{range:?}"), "a range that is not empty");
            };
            words.remainder(count).cast(DType::I32) + range.start
        })
    }

    /// The integers `0..count` in a random order: `I32` `[count]`, as `torch.randperm`.
    #[track_caller]
    pub fn permutation(&self, count: usize) -> Tensor {
        composed("permutation", || self.words([count]).argsort(0, false))
    }

    /// Exponentially distributed with mean 1 / `rate`: −ln(1 − u) / rate.
    #[track_caller]
    pub fn exponential(&self, rate: f32, shape: impl Extents) -> Tensor {
        composed("exponential", || {
            let u = self.uniform(shape);
            if !(rate > 0.0 && rate.is_finite()) {
                return u.bad_argument("exponential", "rate", rate, "a number above 0");
            }
            -(-u).log1p() / rate
        })
    }

    /// Standard Gumbel: −ln(−ln u). The largest of `logits + gumbel` is a draw from softmax(logits).
    ///
    /// Source: Gumbel 1954; Maddison, Tarlow & Minka 2014, "A* sampling", §2.
    #[track_caller]
    pub fn gumbel(&self, shape: impl Extents) -> Tensor {
        composed("gumbel", || -self.exponential(1.0, shape).maximum(Lit(f32::MIN_POSITIVE)).ln())
    }

    /// `count` draws from each row of `weights`: the index of a column with a probability proportional to its weight,
    /// as `torch.multinomial`. A column of weight 0 is never drawn while there is another.
    ///
    /// Shapes: `weights` `[columns]` or `[rows, columns]`, not negative, rows of some positive weight (not checked) →
    /// `[count]` or `[rows, count]` of `I32`. Without `replacement` no column is drawn twice, and `count` may not be
    /// greater than `columns`.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape), [`Error::DType`](crate::Error::DType) or
    /// [`Error::Argument`](crate::Error::Argument) for what does not fit.
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// # let device = Device::open()?;
    /// let weights = Tensor::new(&device, [0.0, 3.0, 0.0, 1.0]);
    /// let mut both = Rng::new(&device, 0).multinomial(&weights, 2, false).to_vec::<i32>()?;
    /// both.sort();
    /// assert_eq!(both, [1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn multinomial(&self, weights: &Tensor, count: usize, replacement: bool) -> Tensor {
        composed("multinomial", || {
            let Ok(shape) = weights.shape() else { return weights.clone() };
            let (Some(&columns @ 1..), 1 | 2) = (shape.last(), shape.len()) else {
                return Tensor::bad_shape("multinomial", &[weights], "weights are [columns] or [rows, columns]");
            };
            if !weights.dtype().is_float() {
                return Tensor::bad_dtype("multinomial", &[weights], "weights are floats");
            }
            if !replacement && count > columns {
                let why = "at most one draw of each column without replacement";
                return weights.bad_argument("multinomial", "count", count, why);
            }
            let weights = weights.cast(DType::F32).detach();
            let rows = &shape[..shape.len() - 1];
            if !replacement {
                // the greatest of ln w + Gumbel, in order, is a draw without replacement (Efraimidis & Spirakis 2006)
                let noise = self.gumbel(&shape[..]);
                return (weights.ln() + noise).topk(count, -1, true).1;
            }
            // how many columns end at or below u · Σ w; rounding must not lead past the last one that has a weight
            let ends = weights.cumsum(-1).unsqueeze(-2);
            let u = self.uniform([rows, &[count, 1]].concat());
            let below = (u * ends.narrow(-1, columns as i64 - 1, 1)).ge(&ends).cast(DType::I32);
            let places = Tensor::arange(weights.device(), 0, columns as i32, 1);
            let last = (weights.gt(Lit(0.0)).cast(DType::I32) * places).amax([-1i64], true);
            below.sum_axes([-1i64], false).minimum(&last)
        })
    }
}
