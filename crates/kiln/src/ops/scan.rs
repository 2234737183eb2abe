//! Running sums and products, sorting, and the largest elements.

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

    /// Where the elements along `axis` are in order.
    #[track_caller]
    pub fn argsort(&self, axis: i64, descending: bool) -> Tensor {
        composed("argsort", || self.sort(axis, descending).1)
    }

    /// The `k` largest (or smallest) elements along `axis`, in order, and where each was.
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

/// The gradient of a running sum is a running sum from the other end; that of a product divides it by x, and where
/// an x is zero the product is taken anew without it.
pub(crate) fn scan_vjp(product: bool, dy: &Tensor, x: &Tensor, y: &Tensor) -> Tensor {
    let backwards = |t: &Tensor| t.flip(-1).cumsum(-1).flip(-1);
    if !product {
        return backwards(dy);
    }
    let zero = x.eq(super::Lit(0.0));
    // Σ_{j≥i} dyⱼ yⱼ / xᵢ is right up to the first zero; at the first zero itself y is rebuilt with a one there
    let plain = backwards(&(dy * y)) / Tensor::where_(&zero, super::Lit(1.0), x);
    let zeros_before = zero.cast(DType::I32).cumsum(-1);
    let first = zero.logical_and(zeros_before.eq(1));
    let rebuilt = Tensor::where_(&first, super::Lit(1.0), x).cumprod(-1);
    // gradients beyond the first zero vanish but for the first zero itself
    let past = zeros_before.ge(1).logical_and(first.logical_not());
    let at_zero = backwards(&(dy * &rebuilt));
    let value = Tensor::where_(&first, at_zero, plain);
    Tensor::where_(&past, super::Lit(0.0), value)
}

/// The gradient of a sort: each element's gradient goes back to where the element was.
pub(crate) fn sort_vjp(dy: &Tensor, y: &Tensor) -> Tensor {
    let places = Tensor::make(Op::Second, &[y], y.shape_or_scalar(), DType::I32);
    let (_, back) = places.sort(-1, false);
    dy.gather(-1, &back)
}
