//! Running sums and products, sorting, and the largest elements.

use super::reduce::some_zero;
use crate::node::{Op, composed};
use crate::{DType, Tensor};

impl Tensor {
    /// The last-axis form of an operation that runs along `axis`.
    #[track_caller]
    fn along(&self, op: &'static str, axis: i64, run: impl Fn(&Tensor) -> Tensor) -> Tensor {
        match self.axis(op, axis) {
            Ok(_) if self.rank() == 0 => run(&self.reshape([1])).reshape([0i64; 0]),
            Ok(at) if at + 1 == self.rank() => run(self),
            Ok(at) => run(&self.transpose(at as i64, -1)).transpose(at as i64, -1),
            Err(invalid) => invalid,
        }
    }

    /// Running sums along `axis`.
    #[track_caller]
    pub fn cumsum(&self, axis: i64) -> Tensor {
        self.scan("cumsum", axis, false)
    }

    /// Running products along `axis`.
    #[track_caller]
    pub fn cumprod(&self, axis: i64) -> Tensor {
        self.scan("cumprod", axis, true)
    }

    /// ln Σ eˣ of all elements so far along `axis`, safe for large x.
    #[track_caller]
    pub fn logcumsumexp(&self, axis: i64) -> Tensor {
        if self.error().is_none() && !self.dtype().is_float() {
            return Tensor::bad_dtype("logcumsumexp", &[self], "floats only; cast first");
        }
        composed("logcumsumexp", || self.along("logcumsumexp", axis, |x| in_rounds(x, |a, b| a.logaddexp(b))))
    }

    /// The largest element so far along `axis`, and where it was last; the last NaN once there is one.
    #[track_caller]
    pub fn cummax(&self, axis: i64) -> (Tensor, Tensor) {
        composed("cummax", || self.best_so_far("cummax", axis, |before, now| before.gt(now)))
    }

    /// The smallest element so far along `axis`, and where it was last; the last NaN once there is one.
    #[track_caller]
    pub fn cummin(&self, axis: i64) -> (Tensor, Tensor) {
        composed("cummin", || self.best_so_far("cummin", axis, |before, now| before.lt(now)))
    }

    /// `better` says whether an element stays the best one against a later one.
    #[track_caller]
    fn best_so_far(
        &self,
        op: &'static str,
        axis: i64,
        better: impl Fn(&Tensor, &Tensor) -> Tensor,
    ) -> (Tensor, Tensor) {
        let place = self.detach().along(op, axis, |x| {
            let own = x.shape_or_scalar();
            let extent = own.extent_from_end(1);
            let places = Tensor::iota(&x.0.device, extent).expand_to(own);
            in_rounds(&places, |before, now| {
                let (a, b) = (x.gather(-1, before), x.gather(-1, now));
                let stays = better(&a, &b).logical_or(a.isnan()).logical_and(b.isnan().logical_not());
                Tensor::where_(&stays, before, now)
            })
        });
        (self.gather(axis, &place), place)
    }

    #[track_caller]
    fn scan(&self, op: &'static str, axis: i64, product: bool) -> Tensor {
        let x = if self.dtype() == DType::Bool { self.cast(DType::I32) } else { self.current() };
        x.along(op, axis, |x| Tensor::make(Op::Scan { product }, &[x], x.shape_or_scalar(), x.dtype()))
    }

    /// The elements along `axis` in order, and where each was (`I32`). Equal elements keep their order; NaN is largest.
    #[track_caller]
    pub fn sort(&self, axis: i64, descending: bool) -> (Tensor, Tensor) {
        let at = match self.axis("sort", axis) {
            Ok(at) => at as i64,
            Err(invalid) => return (invalid.clone(), invalid),
        };
        if self.rank() == 0 {
            let (values, places) = self.reshape([1]).sort(0, descending);
            return (values.reshape([0i64; 0]), places.reshape([0i64; 0]));
        }
        let keyed = match self.dtype() {
            DType::Bool => self.cast(DType::I32),
            DType::F16 => self.cast(DType::F32),
            _ => self.current(),
        };
        let x = keyed.transpose(at, -1);
        let values = Tensor::make(Op::Sort { descending }, &[&x], x.shape_or_scalar(), x.dtype());
        let places = Tensor::make(Op::Second, &[&values], x.shape_or_scalar(), DType::I32);
        (values.transpose(at, -1).cast(self.dtype()), places.transpose(at, -1))
    }

    /// The places along `axis` that bring the elements into order, as `I32`: the second result of [`Tensor::sort`].
    #[track_caller]
    pub fn argsort(&self, axis: i64, descending: bool) -> Tensor {
        composed("argsort", || self.sort(axis, descending).1)
    }

    /// The `k` largest (or smallest) elements along `axis`, in order, and where each was (`I32`). Of equal elements the first
    /// come first; NaN is largest.
    ///
    /// # Errors
    /// On evaluation, [`Error::Argument`](crate::Error::Argument) if `k` is more than the extent.
    #[track_caller]
    pub fn topk(&self, k: usize, axis: i64, largest: bool) -> (Tensor, Tensor) {
        composed("topk", || {
            let at = match self.axis("topk", axis) {
                Ok(at) => at,
                Err(invalid) => return (invalid.clone(), invalid),
            };
            let extent = if self.rank() == 0 { 1 } else { self.shape_or_scalar()[at] };
            if k > extent {
                let bad = self.bad_argument("topk", "k", format!("{k} of {extent}"), "at most the extent of the axis");
                return (bad.clone(), bad);
            }
            let (values, places) = self.sort(axis, largest);
            if self.rank() == 0 {
                return (values, places);
            }
            (values.narrow(at as i64, 0, k), places.narrow(at as i64, 0, k))
        })
    }
}

/// The gradient of a running sum is a running sum from the other end; that of a running product is the gradient of the
/// product taken in rounds, which divides by nothing that may be zero. Where that matters, among infinities and NaN, it is
/// PyTorch's quotient of the running sum of dy · y by x, unless the tensor has a zero.
pub(crate) fn scan_vjp(product: bool, dy: &Tensor, x: &Tensor, y: &Tensor) -> crate::Result<Tensor> {
    let to_the_end = |t: &Tensor| t.flip(-1).cumsum(-1).flip(-1);
    if !product {
        return Ok(to_the_end(dy));
    }
    let exact = crate::grad::of_formula(x, dy, |x| in_rounds(x, |a, b| a * b))?;
    if x.shape_or_scalar().extent_from_end(1) < 2 {
        return Ok(exact);
    }
    let quotient = (to_the_end(&(dy * y)) / x).detach();
    let divided = quotient.isfinite().logical_or(some_zero(x)).logical_not();
    Ok(Tensor::where_(&divided, quotient, exact))
}

/// Running combinations along the last axis in ⌈log₂ n⌉ rounds: each element takes in the one 1, 2, 4, … places before.
///
/// Source: Hillis & Steele 1986, "Data parallel algorithms".
fn in_rounds(x: &Tensor, join: impl Fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
    let Some((n, axis)) = x.shape_or_scalar().last().map(|&n| (n, x.rank() - 1)) else { return x.clone() };
    let (mut y, mut step) = (x.clone(), 1);
    while step < n {
        let joined = join(&y.slice_op(axis, 0, 1, n - step), &y.slice_op(axis, step, 1, n - step));
        y = Tensor::cat(&[&y.slice_op(axis, 0, 1, step), &joined], -1);
        step *= 2;
    }
    y
}

/// The gradient of a sort: each element's gradient goes back to where the element was.
pub(crate) fn sort_vjp(dy: &Tensor, y: &Tensor) -> Tensor {
    let places = Tensor::make(Op::Second, &[y], y.shape_or_scalar(), DType::I32);
    let (_, back) = places.sort(-1, false);
    dy.gather(-1, &back)
}
