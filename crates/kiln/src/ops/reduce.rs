//! Reductions over axes: sums, products, extremes and what is made of them.

use super::view::Extents;
use super::{Lit, NUMBERS, Number};
use crate::node::{Op, Reduction, composed};
use crate::{DType, Shape, Tensor};

impl Tensor {
    /// The axes of `axes` as a mask; an empty list means all.
    #[track_caller]
    fn axes_mask(&self, op: &'static str, axes: &[i64]) -> Result<u8, Tensor> {
        if self.error().is_some() {
            return Err(self.current());
        }
        if axes.is_empty() {
            return Ok(((1u16 << self.rank()) - 1) as u8);
        }
        let mut mask = 0u8;
        for &axis in axes {
            let at = self.axis(op, axis)?;
            if mask & (1 << at) != 0 {
                return Err(self.bad_argument(op, "axes", format!("{axes:?}"), "each axis once"));
            }
            mask |= 1 << at;
        }
        Ok(if self.rank() == 0 { 0 } else { mask })
    }

    #[track_caller]
    fn reduce(&self, kind: Reduction, axes: &[i64], keep: bool) -> Tensor {
        let name = Op::Reduce(kind, 0).name();
        let mask = match self.axes_mask(name, axes) {
            Ok(mask) => mask,
            Err(invalid) => return invalid,
        };
        let x = if self.dtype() == DType::Bool { self.cast(DType::I32) } else { self.current() };
        let own = x.shape_or_scalar();
        let reduced = |axis: usize| mask & (1 << axis) != 0;
        let count: usize = (0..own.rank()).filter(|&a| reduced(a)).map(|a| own[a]).product();
        let needs_one = !matches!(kind, Reduction::Sum | Reduction::Prod | Reduction::LogSumExp);
        let dims: Vec<usize> = (0..own.rank()).filter(|&a| !reduced(a)).map(|a| own[a]).collect();
        let shape = Shape::of(&dims);
        if count == 0 && needs_one && shape.numel() > 0 {
            return Tensor::bad_shape(name, &[self], "there is no element to take");
        }
        let out = if mask == 0 && kind.of_itself() {
            x
        } else {
            let dtype = if matches!(kind, Reduction::ArgMax | Reduction::ArgMin) { DType::I32 } else { x.dtype() };
            Tensor::make(Op::Reduce(kind, mask), &[&x], shape, dtype)
        };
        // the greatest truth value is one
        let truth = self.dtype() == DType::Bool && kind.is_extreme();
        let out = if truth { out.cast(DType::Bool) } else { out };
        if keep { out.keep_axes(own, mask) } else { out }
    }

    /// Reduced axes put back with extent 1.
    #[track_caller]
    fn keep_axes(&self, own: Shape, mask: u8) -> Tensor {
        if self.error().is_some() {
            return self.clone();
        }
        let kept: Vec<usize> = own.iter().enumerate().map(|(a, &d)| if mask & (1 << a) != 0 { 1 } else { d }).collect();
        self.to_shape(Shape::of(&kept))
    }

    /// The sum of all elements, of rank 0; of none it is 0. Truth values and integers give `I32` (`U32` of `U32`), f16 is
    /// summed in f32.
    #[track_caller]
    pub fn sum(&self) -> Tensor {
        self.reduce(Reduction::Sum, &[], false)
    }

    /// Sums over `axes` (all, if none are given), which disappear or, with `keep`, stay with extent 1. Types as for
    /// [`Tensor::sum`].
    ///
    /// # Errors
    /// On evaluation, [`Error::Axis`](crate::Error::Axis) for an axis that there is not,
    /// [`Error::Argument`](crate::Error::Argument) for one that is named twice.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let x = Tensor::ones(&device, [2, 3, 4]);
    /// assert_eq!(x.sum_axes([0, -1], false).to_vec::<f32>()?, [8.0, 8.0, 8.0]);
    /// assert_eq!(x.sum_axes(1, true).shape()?, [2, 1, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum_axes(&self, axes: impl Extents, keep: bool) -> Tensor {
        self.reduce(Reduction::Sum, &axes.list(), keep)
    }

    /// The product of all elements, of rank 0; of none it is 1. Types as for [`Tensor::sum`].
    #[track_caller]
    pub fn prod(&self) -> Tensor {
        self.reduce(Reduction::Prod, &[], false)
    }

    /// Products over `axes`; arguments and errors as for [`Tensor::sum_axes`].
    #[track_caller]
    pub fn prod_axes(&self, axes: impl Extents, keep: bool) -> Tensor {
        self.reduce(Reduction::Prod, &axes.list(), keep)
    }

    /// The mean of all elements, of rank 0; NaN of none.
    ///
    /// # Errors
    /// On evaluation, [`Error::DType`](crate::Error::DType) of integers and truth values: cast them first, as in PyTorch.
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        self.mean_axes([0i64; 0], false)
    }

    /// Means over `axes`; arguments as for [`Tensor::sum_axes`], and the errors of both.
    #[track_caller]
    pub fn mean_axes(&self, axes: impl Extents, keep: bool) -> Tensor {
        composed("mean", || {
            if self.error().is_none() && !self.dtype().is_float() {
                return Tensor::bad_dtype("mean", &[self], "a mean is of floats; cast first");
            }
            self.in_single(|x| {
                let sum = x.sum_axes(axes, keep);
                let count = x.numel() as f64 / sum.numel().max(1) as f64;
                if x.numel() == 0 { sum.full_like(f32::NAN) } else { sum * (1.0 / count) }
            })
        })
    }

    /// The largest element; NaN if there is one. Equal ones share the gradient, and so do NaNs.
    #[track_caller]
    pub fn max(&self) -> Tensor {
        self.reduce(Reduction::Max, &[], false)
    }

    /// The smallest element; NaN if there is one. Equal ones share the gradient, and so do NaNs.
    #[track_caller]
    pub fn min(&self) -> Tensor {
        self.reduce(Reduction::Min, &[], false)
    }

    /// Largest elements over `axes`, PyTorch's `amax`: equal ones share the gradient. The gradient of NaN is NaN for all that
    /// it was the largest of.
    #[track_caller]
    pub fn amax(&self, axes: impl Extents, keep: bool) -> Tensor {
        self.reduce(Reduction::Amax, &axes.list(), keep)
    }

    /// Smallest elements over `axes`, PyTorch's `amin`: equal ones share the gradient. The gradient of NaN is NaN for all that
    /// it was the smallest of.
    #[track_caller]
    pub fn amin(&self, axes: impl Extents, keep: bool) -> Tensor {
        self.reduce(Reduction::Amin, &axes.list(), keep)
    }

    /// Largest elements along one axis and where the first of each was, PyTorch's `max(dim)`: that one gets the gradient.
    #[track_caller]
    pub fn max_with_index(&self, axis: i64, keep: bool) -> (Tensor, Tensor) {
        composed("max", || self.extreme(axis, keep, true))
    }

    /// Smallest elements along one axis and where the first of each was, PyTorch's `min(dim)`.
    #[track_caller]
    pub fn min_with_index(&self, axis: i64, keep: bool) -> (Tensor, Tensor) {
        composed("min", || self.extreme(axis, keep, false))
    }

    #[track_caller]
    fn extreme(&self, axis: i64, keep: bool, max: bool) -> (Tensor, Tensor) {
        let ordered = if self.dtype() == DType::Bool { &self.cast(DType::I32) } else { self };
        let index = if max { ordered.argmax(axis, true) } else { ordered.argmin(axis, true) };
        let value = if self.rank() == 0 { self.current() } else { self.gather(axis, &index) };
        if keep || self.rank() == 0 { (value, index) } else { (value.squeeze(axis), index.squeeze(axis)) }
    }

    /// Where along `axis` the first largest element is, as `I32`; the first NaN counts as largest.
    #[track_caller]
    pub fn argmax(&self, axis: i64, keep: bool) -> Tensor {
        self.arg(Reduction::ArgMax, axis, keep)
    }

    /// Where along `axis` the first smallest element is, as `I32`; the first NaN counts as smallest.
    #[track_caller]
    pub fn argmin(&self, axis: i64, keep: bool) -> Tensor {
        self.arg(Reduction::ArgMin, axis, keep)
    }

    #[track_caller]
    fn arg(&self, kind: Reduction, axis: i64, keep: bool) -> Tensor {
        match self.axis(Op::Reduce(kind, 0).name(), axis) {
            Ok(_) if self.dtype() == DType::Bool => Tensor::bad_dtype(Op::Reduce(kind, 0).name(), &[self], NUMBERS),
            Ok(_) if self.rank() == 0 => Tensor::full_of(&self.0.device, Shape::SCALAR, DType::I32, Lit(0.0)),
            Ok(_) => self.reduce(kind, &[axis], keep),
            Err(invalid) => invalid,
        }
    }

    /// Whether some element of `axes` is not zero.
    #[track_caller]
    pub fn any(&self, axes: impl Extents, keep: bool) -> Tensor {
        composed("any", || self.cast(DType::Bool).sum_axes(axes, keep).gt(0))
    }

    /// Whether no element of `axes` is zero.
    #[track_caller]
    pub fn all(&self, axes: impl Extents, keep: bool) -> Tensor {
        composed("all", || self.logical_not().sum_axes(axes, keep).eq(0))
    }

    /// ln Σ exp(x) over `axes`, safe for large x; −∞ where all are, and then the gradient is NaN.
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Extents, keep: bool) -> Tensor {
        let x = if self.dtype().is_float() { self.current() } else { self.cast(DType::F32) };
        x.reduce(Reduction::LogSumExp, &axes.list(), keep)
    }

    /// The variance over `axes`: squared deviations from the mean over n − `correction` (1 is PyTorch's default).
    #[track_caller]
    pub fn var(&self, axes: impl Extents, correction: usize, keep: bool) -> Tensor {
        composed("var", || self.in_single(|x| x.variance(&axes.list(), correction, keep)))
    }

    #[track_caller]
    fn variance(&self, axes: &[i64], correction: usize, keep: bool) -> Tensor {
        let mean = self.mean_axes(axes, true);
        let count = self.numel() as f64 / mean.numel().max(1) as f64;
        let over = count - correction as f64;
        let apart = |mean: Tensor| (self - mean).square().sum_axes(axes, keep);
        if over > 0.0 {
            // what becomes of the mean of infinities is nothing to the others
            let mean = Tensor::where_(&mean.isfinite(), &mean, mean.detach());
            return apart(mean) * (1.0 / over);
        }
        let sum = apart(mean.detach());
        // x/0 and 0/0, written out: drivers fold them as they like. The product is for the gradient
        let wild = &sum * Tensor::where_(&sum.gt(Lit(0.0)), f32::INFINITY, f32::NAN);
        if over == 0.0 {
            return wild;
        }
        // PyTorch's value is that over 0, its gradient that over the negative count
        let slope = sum * (1.0 / over);
        wild.detach() + (&slope - slope.detach())
    }

    /// The standard deviation over `axes`: the root of [`Tensor::var`].
    #[track_caller]
    pub fn std(&self, axes: impl Extents, correction: usize, keep: bool) -> Tensor {
        composed("std", || self.in_single(|x| root(&x.var(axes, correction, keep))))
    }

    /// The p-norm over `axes`: (Σ |x|ᵖ)^(1/p). p = ∞ is the largest |x|, −∞ the smallest, 0 the number of non-zeros.
    /// Elements that are 0 get no gradient, nor does anything where the norm is 0.
    #[track_caller]
    pub fn norm(&self, p: f32, axes: impl Extents, keep: bool) -> Tensor {
        composed("norm", || {
            let list = axes.list();
            if self.error().is_none() && !self.dtype().is_float() {
                return Tensor::bad_dtype("norm", &[self], "a norm is of floats; cast first");
            }
            if p == f32::INFINITY {
                self.abs().reduce(Reduction::Max, &list, keep)
            } else if p == f32::NEG_INFINITY {
                self.abs().reduce(Reduction::Min, &list, keep)
            } else if p == 0.0 {
                self.ne(0).cast(self.dtype()).sum_axes(&list, keep)
            } else if p == 1.0 {
                self.abs().sum_axes(&list, keep)
            } else if p < 0.0 && self.error().is_none() && self.numel() == 0 {
                Tensor::bad_shape("norm", &[self], "there is no element to take")
            } else {
                self.in_single(|x| x.root_of_powers(p, &list, keep))
            }
        })
    }

    #[track_caller]
    fn root_of_powers(&self, p: f32, axes: &[i64], keep: bool) -> Tensor {
        if p == 2.0 {
            return root(&self.square().sum_axes(axes, keep));
        }
        // zeros have no slope
        let size = self.abs();
        let zero = size.eq(Lit(0.0));
        let at_zero = if p > 0.0 { 0.0 } else { f32::INFINITY };
        let powers = Tensor::where_(&zero, at_zero, Tensor::where_(&zero, Lit(1.0), &size).powf(p));
        let sum = powers.sum_axes(axes, keep);
        let none = sum.eq(Lit(0.0));
        match p > 0.0 {
            true => Tensor::where_(&none, Lit(0.0), Tensor::where_(&none, Lit(1.0), &sum).powf(1.0 / p)),
            false => sum.powf(1.0 / p),
        }
    }

    /// Divided by its p-norm over `axis`, or by 1e-12 where that is smaller: `torch.nn.functional.normalize`.
    #[track_caller]
    pub fn normalize(&self, p: f32, axis: i64) -> Tensor {
        composed("normalize", || self / self.norm(p, [axis], true).maximum(Lit(1e-12)))
    }

    /// Summed down to `shape`, which broadcasts to this one's: how gradients of broadcast operands come together.
    #[track_caller]
    pub(crate) fn sum_to(&self, shape: Shape) -> Tensor {
        let own = self.shape_or_scalar();
        if own == shape {
            return self.clone();
        }
        let axes: Vec<i64> = (1..=own.rank())
            .rev()
            .filter(|&b| own.extent_from_end(b) != shape.extent_from_end(b) || b > shape.rank())
            .map(|b| (own.rank() - b) as i64)
            .collect();
        let summed = if axes.is_empty() { self.clone() } else { self.sum_axes(axes, false) };
        summed.to_shape(shape)
    }
}

/// √x with slope 0 where x is 0, as norms and deviations want it.
fn root(x: &Tensor) -> Tensor {
    let zero = x.eq(Lit(0.0));
    Tensor::where_(&zero, Lit(0.0), Tensor::where_(&zero, Lit(1.0), x).sqrt())
}

/// The gradient of a reduction.
pub(crate) fn vjp(kind: Reduction, mask: u8, dy: &Tensor, x: &Tensor, y: &Tensor) -> Option<Tensor> {
    let own = x.shape_or_scalar();
    let spread = |t: &Tensor| t.keep_axes(own, mask).expand_to(own);
    Some(match kind {
        Reduction::Sum => spread(dy),
        Reduction::Prod => prod_vjp(mask, dy, x, y),
        Reduction::Max | Reduction::Min | Reduction::Amax | Reduction::Amin => {
            let best = y.keep_axes(own, mask);
            let hit = x.eq(&best);
            let all = matches!(kind, Reduction::Max | Reduction::Min);
            let hit = if all { hit.logical_or(x.isnan().logical_and(best.isnan())) } else { hit };
            let hit = hit.cast(DType::F32);
            let axes: Vec<i64> = (0..own.rank() as i64).filter(|a| mask & (1 << a) != 0).collect();
            // NaN equals nothing, and nothing over nothing is NaN
            let share = dy / hit.sum_axes(axes, false);
            hit * share.keep_axes(own, mask)
        }
        Reduction::LogSumExp => dy.keep_axes(own, mask) * (x - y.keep_axes(own, mask)).exp(),
        Reduction::ArgMax | Reduction::ArgMin => return None,
    })
}

/// d Π xⱼ / d xᵢ = Π_{j≠i} xⱼ, which must not divide by an xᵢ that is zero: products of what comes before and after. Where
/// that matters, among infinities and NaN, it is PyTorch's quotient y / xᵢ, unless the tensor has a zero.
fn prod_vjp(mask: u8, dy: &Tensor, x: &Tensor, y: &Tensor) -> Tensor {
    let own = x.shape_or_scalar();
    let reduced: Vec<usize> = (0..own.rank()).filter(|a| mask & (1 << a) != 0).collect();
    let kept: Vec<usize> = (0..own.rank()).filter(|a| mask & (1 << a) == 0).collect();
    let order: Vec<usize> = kept.iter().chain(&reduced).copied().collect();
    let count: usize = reduced.iter().map(|&a| own[a]).product();
    let outer: Vec<usize> = kept.iter().map(|&a| own[a]).collect();
    let rows: usize = outer.iter().product();
    let flat = x.permute(order.clone()).to_shape(Shape::of(&[rows, count]));
    let ones = Tensor::full_of(&x.0.device, Shape::of(&[rows, 1]), x.dtype(), Lit(1.0));
    let before = |t: &Tensor| match count {
        0 | 1 => ones.clone(),
        n => Tensor::cat(&[&ones, &t.slice_op(1, 0, 1, n - 1).cumprod(1)], 1),
    };
    let others = before(&flat) * before(&flat.flip(1)).flip(1);
    let shape: Vec<usize> = order.iter().map(|&a| own[a]).collect();
    let mut back = vec![0usize; order.len()];
    order.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    let others = others.to_shape(Shape::of(&shape)).permute(back);
    let quotient = (y.keep_axes(own, mask) / x).detach();
    let divided = quotient.isfinite().logical_or(some_zero(x)).logical_not();
    Tensor::where_(&divided, quotient, others) * dy.keep_axes(own, mask)
}

/// Whether an element of `x` is 0: of rank 0.
pub(crate) fn some_zero(x: &Tensor) -> Tensor {
    x.eq(Lit(0.0)).any([0i64; 0], false)
}

/// The value of a reduction of nothing.
pub(crate) fn identity(kind: Reduction) -> f32 {
    match kind {
        Reduction::Sum => 0.0,
        Reduction::Prod => 1.0,
        Reduction::Max | Reduction::Amax | Reduction::LogSumExp => f32::NEG_INFINITY,
        Reduction::Min | Reduction::Amin => f32::INFINITY,
        Reduction::ArgMax | Reduction::ArgMin => 0.0,
    }
}

/// A tensor filled with one number, which needs no memory until somebody wants it stored.
impl Tensor {
    #[track_caller]
    pub(crate) fn full_of(device: &crate::Device, shape: Shape, dtype: DType, value: impl Number) -> Tensor {
        let model = Tensor::zero_of(device, dtype);
        value.beside(&model).cast(dtype).expand_to(shape)
    }
}
