//! What describes the elements along an axis: order statistics, counts, differences, covariances.

use super::view::Extents;
use super::{Lit, Number};
use crate::node::composed;
use crate::{DType, Shape, Tensor};

impl Tensor {
    /// The sums over `axes` (all, if none are given), NaN counted as 0.
    #[track_caller]
    pub fn nansum(&self, axes: impl Extents, keep: bool) -> Tensor {
        composed("nansum", || Tensor::where_(&self.isnan(), Lit(0.0), self).sum_axes(axes, keep))
    }

    /// The means over `axes` of what is not NaN; NaN where there is nothing else.
    #[track_caller]
    pub fn nanmean(&self, axes: impl Extents, keep: bool) -> Tensor {
        composed("nanmean", || {
            if self.error().is_none() && !self.dtype().is_float() {
                return Tensor::bad_dtype("nanmean", &[self], "a mean is of floats; cast first");
            }
            let axes = axes.list();
            self.in_single(|x| x.nansum(&axes, keep) / x.isnan().logical_not().sum_axes(&axes, keep))
        })
    }

    /// How many elements over `axes` (all, if none are given) are not 0, as `I32`.
    #[track_caller]
    pub fn count_nonzero(&self, axes: impl Extents) -> Tensor {
        composed("count_nonzero", || self.cast(DType::Bool).sum_axes(axes, false))
    }

    /// The variance and the mean over `axes`: see [`Tensor::var`].
    #[track_caller]
    pub fn var_mean(&self, axes: impl Extents, correction: usize, keep: bool) -> (Tensor, Tensor) {
        let axes = axes.list();
        composed("var_mean", || (self.var(&axes, correction, keep), self.mean_axes(&axes, keep)))
    }

    /// The standard deviation and the mean over `axes`: see [`Tensor::std`].
    #[track_caller]
    pub fn std_mean(&self, axes: impl Extents, correction: usize, keep: bool) -> (Tensor, Tensor) {
        let axes = axes.list();
        composed("std_mean", || (self.std(&axes, correction, keep), self.mean_axes(&axes, keep)))
    }

    /// The smallest and the largest elements over `axes`: [`Tensor::amin`] and [`Tensor::amax`].
    #[track_caller]
    pub fn aminmax(&self, axes: impl Extents, keep: bool) -> (Tensor, Tensor) {
        let axes = axes.list();
        composed("aminmax", || (self.amin(&axes, keep), self.amax(&axes, keep)))
    }

    /// The `k`-th smallest element along `axis`, counted from 1, and where it was; NaN is largest.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, axis: i64, keep: bool) -> (Tensor, Tensor) {
        composed("kthvalue", || {
            let extent = match self.axis("kthvalue", axis) {
                Ok(at) => self.shape_or_scalar().get(at).copied().unwrap_or(1),
                Err(invalid) => return (invalid.clone(), invalid),
            };
            if self.dtype() == DType::Bool {
                let bad = Tensor::bad_dtype("kthvalue", &[self], super::NUMBERS);
                return (bad.clone(), bad);
            }
            if k == 0 || k > extent {
                let bad = self.bad_argument("kthvalue", "k", format!("{k} of {extent}"), "from 1 to the extent");
                return (bad.clone(), bad);
            }
            let (values, places) = self.sort(axis, false);
            let take = |t: &Tensor| match (t.rank(), keep) {
                (0, _) => t.clone(),
                (_, true) => t.narrow(axis, k as i64 - 1, 1),
                (_, false) => t.select(axis, k as i64 - 1),
            };
            (take(&values), take(&places))
        })
    }

    /// The median along `axis`, of an even number the lower of the two in the middle, and where it was. NaN if there is
    /// one.
    #[track_caller]
    pub fn median(&self, axis: i64, keep: bool) -> (Tensor, Tensor) {
        composed("median", || {
            let extent = match self.axis("median", axis) {
                Ok(at) => self.shape_or_scalar().get(at).copied().unwrap_or(1),
                Err(invalid) => return (invalid.clone(), invalid),
            };
            if extent == 0 {
                let bad = Tensor::bad_shape("median", &[self], "there is no element to take");
                return (bad.clone(), bad);
            }
            let (middle, place) = self.kthvalue(extent.div_ceil(2), axis, keep);
            if !self.dtype().is_float() {
                return (middle, place);
            }
            // the first NaN counts as largest
            let (last, there) = self.max_with_index(axis, keep);
            (Tensor::where_(&last.isnan(), &last, middle), Tensor::where_(&last.isnan(), there, place))
        })
    }

    /// The value below which the part `q` of the elements along `axis` lies, between two elements by a straight line. NaN
    /// if there is one, or where the line goes from or to the same infinity, as in PyTorch.
    #[track_caller]
    pub fn quantile(&self, q: f64, axis: i64, keep: bool) -> Tensor {
        composed("quantile", || {
            let extent = match self.axis("quantile", axis) {
                Ok(at) => self.shape_or_scalar().get(at).copied().unwrap_or(1),
                Err(invalid) => return invalid,
            };
            if !self.dtype().is_float() {
                return Tensor::bad_dtype("quantile", &[self], "floats only; cast first");
            }
            if !(0.0..=1.0).contains(&q) {
                return self.bad_argument("quantile", "q", q, "from 0 to 1");
            }
            if extent == 0 {
                return Tensor::bad_shape("quantile", &[self], "there is no element to take");
            }
            let place = q * (extent - 1) as f64;
            let (low, high) = (place.floor(), place.ceil());
            let element = |at: f64| self.kthvalue(at as usize + 1, axis, keep).0;
            // of infinities PyTorch's line has no points, not even where it begins
            let value = element(low).lerp(&element(high), (place - low) as f32);
            let last = element((extent - 1) as f64);
            Tensor::where_(&last.isnan(), &last, value)
        })
    }

    /// The most frequent element along `axis`, of several the smallest, and where it is last.
    #[track_caller]
    pub fn mode(&self, axis: i64, keep: bool) -> (Tensor, Tensor) {
        composed("mode", || {
            let at = match self.axis("mode", axis) {
                Ok(at) => at,
                Err(invalid) => return (invalid.clone(), invalid),
            };
            if self.rank() == 0 {
                return (self.current(), self.argmax(0, false));
            }
            let extent = self.shape_or_scalar()[at];
            let (sorted, _) = self.detach().transpose(axis, -1).sort(-1, false);
            let count = sorted.unsqueeze(-1).eq(sorted.unsqueeze(-2)).sum_axes(-1, false);
            let best = sorted.gather(-1, &count.argmax(-1, true)).transpose(axis, -1);
            let mut lifted = vec![1; self.rank()];
            lifted[at] = extent;
            let places = Tensor::iota(&self.0.device, extent).to_shape(Shape::of(&lifted));
            let place = Tensor::where_(&self.eq(&best), places, 0).amax(axis, true);
            let value = self.gather(axis, &place);
            if keep { (value, place) } else { (value.squeeze(axis), place.squeeze(axis)) }
        })
    }

    /// Differences of neighbours along `axis`, taken `n` times; of truth values, whether they differ.
    #[track_caller]
    pub fn diff(&self, n: usize, axis: i64) -> Tensor {
        composed("diff", || {
            let at = match self.axis("diff", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("diff", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            (0..n.min(self.shape_or_scalar()[at])).fold(self.current(), |x, _| {
                let len = x.shape_or_scalar()[at].saturating_sub(1);
                let (after, before) = (x.slice_op(at, 1, 1, len), x.slice_op(at, 0, 1, len));
                if x.dtype() == DType::Bool { after.ne(before) } else { after - before }
            })
        })
    }

    /// The integral along `axis` of what is known at places `dx` apart, by trapezoids.
    #[track_caller]
    pub fn trapezoid(&self, dx: impl Number, axis: i64) -> Tensor {
        composed("trapezoid", || match self.axis("trapezoid", axis) {
            Ok(at) if self.rank() > 0 => {
                let len = self.shape_or_scalar()[at].saturating_sub(1);
                let pairs = self.slice_op(at, usize::from(len > 0), 1, len) + self.slice_op(at, 0, 1, len);
                (pairs * dx * Lit(0.5)).sum_axes(axis, false)
            }
            Ok(_) => Tensor::bad_shape("trapezoid", &[self], "a single number has no axes"),
            Err(invalid) => invalid,
        })
    }

    /// The covariances `[variables, variables]` of `x [variables, observations]`, over n − `correction` (1 is PyTorch's
    /// default); a vector is one variable.
    #[track_caller]
    pub fn cov(&self, correction: usize) -> Tensor {
        composed("cov", || {
            if self.error().is_none() && (self.rank() == 0 || self.rank() > 2 || !self.dtype().is_float()) {
                return Tensor::bad_shape("cov", &[self], "[variables, observations] of floats");
            }
            let x = if self.rank() == 1 { self.unsqueeze(0) } else { self.current() };
            let count = x.shape_or_scalar().extent_from_end(1) as f32 - correction as f32;
            let cov = x.in_single(|x| {
                let centred = x - x.mean_axes(-1, true);
                centred.matmul(&centred.t()) / count.max(0.0)
            });
            if self.rank() == 1 { cov.reshape([0i64; 0]) } else { cov }
        })
    }

    /// The correlations `[variables, variables]` of `x [variables, observations]`, from −1 to 1.
    #[track_caller]
    pub fn corrcoef(&self) -> Tensor {
        composed("corrcoef", || {
            let cov = self.cov(1);
            if cov.rank() == 0 {
                let deviation = cov.sqrt();
                return cov / &deviation / deviation;
            }
            let deviation = cov.diagonal(0, 0, 1).sqrt();
            (cov / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1.0, 1.0)
        })
    }

    /// How many elements fall into each of `bins` equal parts of [`min`, `max`], as `F32`; what lies outside is not counted.
    /// If `min` equals `max`, from the smallest to the largest element.
    #[track_caller]
    pub fn histc(&self, bins: usize, min: f32, max: f32) -> Tensor {
        composed("histc", || {
            if self.error().is_none() && !self.dtype().is_float() {
                return Tensor::bad_dtype("histc", &[self], "floats only; cast first");
            }
            if bins == 0 || bins > i32::MAX as usize || !(min <= max && (max - min).is_finite()) {
                let value = format!("{bins}, {min}, {max}");
                return self.bad_argument("histc", "bins, min, max", value, "at least 1 bin, min <= max, both finite");
            }
            let x = self.detach().cast(DType::F32).reshape([-1i64]);
            if x.error().is_none() && x.numel() == 0 {
                return Tensor::zeros(&self.0.device, bins);
            }
            let (low, high) = if min == max {
                // one value has bins around it
                let (low, high) = x.aminmax(0, false);
                let same = low.eq(&high).cast(DType::F32);
                (low - &same, high + same)
            } else {
                (min.beside(&x), max.beside(&x))
            };
            let inside = x.ge(&low).logical_and(x.le(&high));
            let place = ((&x - &low) / (&high - &low) * bins as f32).floor().clamp(0, bins as i32 - 1);
            let place = Tensor::where_(&inside, place, Lit(0.0)).cast(DType::I32);
            let none = Tensor::full_of(&self.0.device, Shape::of(&[bins]), DType::I32, Lit(0.0));
            none.index_add(0, &place, &inside.cast(DType::I32)).cast(DType::F32)
        })
    }

    /// How often each of 0, 1, …, `length` − 1 is among the elements: `I32`, or with `weights` of the same shape their sums.
    /// Unlike PyTorch's, the length is given, as a result's shape does not depend on the data.
    ///
    /// An element out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn bincount(&self, weights: Option<&Tensor>, length: usize) -> Tensor {
        composed("bincount", || {
            if self.error().is_none() && !self.dtype().is_int() {
                return Tensor::bad_dtype("bincount", &[self], "integers only");
            }
            let index = self.reshape([-1i64]);
            let ones = Tensor::full_of(&self.0.device, index.shape_or_scalar(), DType::I32, Lit(1.0));
            let counted = weights.map_or(ones, |w| w.reshape([-1i64]));
            let none = match super::random::checked(&self.0.device, "bincount", &[i64::try_from(length).unwrap_or(-1)])
            {
                Ok(shape) => Tensor::full_of(&self.0.device, shape, counted.dtype(), Lit(0.0)),
                Err(invalid) => return invalid,
            };
            none.index_add(0, &index, &counted)
        })
    }
}
