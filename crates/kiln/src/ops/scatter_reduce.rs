//! Elements that share an index, reduced to one.
//!
//! Sums are `scatter_add`. For the others the elements are sorted by index; then, in ⌈log₂ n⌉ rounds, each takes in
//! the one 1, 2, 4, … places before it if that has the same index. The last of each run holds the result. Order and
//! rounding depend on nothing but the input, and gradients come from the operations.
//!
//! Source: Hillis & Steele 1986, "Data parallel algorithms", on segments.

use super::Lit;
use crate::node::composed;
use crate::{DType, Shape, Tensor};

/// How elements that share an index become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScatterReduce {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean.
    Mean,
    /// The largest; NaN wins.
    Amax,
    /// The smallest; NaN wins.
    Amin,
}

impl Tensor {
    /// This tensor with the elements of `source` reduced into the places that `index` names along `axis`: PyTorch's
    /// `scatter_reduce`. With `include_self` what stands there takes part, else only a place that no index names
    /// keeps what it had. The gradient of a largest or smallest element is shared evenly by its equals, among which what
    /// stands there counts even if it takes no part; its part is lost then, as in PyTorch.
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn scatter_reduce(
        &self,
        axis: i64,
        index: &Tensor,
        source: &Tensor,
        reduce: ScatterReduce,
        include_self: bool,
    ) -> Tensor {
        composed("scatter_reduce", || {
            let at = match self.axis("scatter_reduce", axis) {
                Ok(at) => at,
                Err(invalid) => return invalid,
            };
            if let Some(bad) = [index, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            let (own, shape, given) = (self.shape_or_scalar(), index.shape_or_scalar(), source.shape_or_scalar());
            if own.rank() == 0 {
                let [x, index, source] = [self, index, source].map(|t| t.reshape([1]));
                return x.scatter_reduce(0, &index, &source, reduce, include_self).reshape([0i64; 0]);
            }
            let fits = own.rank() == shape.rank()
                && own.rank() == given.rank()
                && (0..own.rank()).all(|a| shape[a] <= given[a] && (a == at || shape[a] <= own[a]));
            if !fits {
                let why = "index fits into source, and into the tensor but along the axis";
                return Tensor::bad_shape("scatter_reduce", &[self, index, source], why);
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("scatter_reduce", &[self, index, source], "indices are i32 or u32");
            }
            if shape.numel() == 0 {
                return self.current();
            }
            let source = (0..own.rank()).fold(source.cast(self.dtype()), |s, a| s.slice_op(a, 0, 1, shape[a]));
            // every element is a row of one: its place in the flattened tensor
            let places = super::index::flat_places(own, at, index).reshape([-1i64]);
            let flat = self.reshape([-1i64]);
            flat.index_reduce(0, &places, &source.reshape([-1i64]), reduce, include_self).to_shape(own)
        })
    }

    /// This tensor with the slices of `source` reduced into the slices of `axis` that the vector `index` names:
    /// PyTorch's `index_reduce`, with sums too. See [`Tensor::scatter_reduce`].
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn index_reduce(
        &self,
        axis: i64,
        index: &Tensor,
        source: &Tensor,
        reduce: ScatterReduce,
        include_self: bool,
    ) -> Tensor {
        composed("index_reduce", || {
            let at = match self.axis("index_reduce", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("index_reduce", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            if let Some(bad) = [index, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("index_reduce", &[self, index, source], "indices are i32 or u32");
            }
            let own = self.shape_or_scalar();
            if index.rank() != 1 || source.shape_or_scalar() != own.with(at, index.numel()) {
                let why = "a vector of as many indices as source has slices";
                return Tensor::bad_shape("index_reduce", &[self, index, source], why);
            }
            if source.numel() == 0 {
                return self.current();
            }
            if self.dtype() == DType::Bool {
                let [x, source] = [self, &source.cast(DType::Bool)].map(|t| t.cast(DType::I32));
                return x.index_reduce(axis, index, &source, reduce, include_self).cast(DType::Bool);
            }
            let rows = |t: &Tensor| t.transpose(0, at as i64);
            let source = rows(&source.cast(self.dtype()));
            rows(&reduce_rows(&rows(self), index, &source, reduce, include_self))
        })
    }
}

/// [`Tensor::index_reduce`] of the first axis.
fn reduce_rows(own: &Tensor, index: &Tensor, source: &Tensor, reduce: ScatterReduce, include_self: bool) -> Tensor {
    let shape = own.shape_or_scalar();
    let column = |t: &Tensor| {
        let mut dims = vec![1; shape.rank()];
        dims[0] = t.numel();
        t.to_shape(Shape::of(&dims))
    };
    let zeros = own.zeros_like();
    let count = counts(index, shape[0]);
    let named = column(&count.gt(0));
    let keep = |reduced: Tensor| if include_self { reduced } else { Tensor::where_(&named, reduced, own) };
    match reduce {
        ScatterReduce::Sum if include_self => own.index_add(0, index, source),
        ScatterReduce::Sum => keep(zeros.index_add(0, index, source)),
        ScatterReduce::Mean => {
            let sum = if include_self { own.clone() } else { zeros }.index_add(0, index, source);
            let parts = if include_self { count + 1 } else { count.maximum(1) };
            let parts = column(&parts).cast(own.dtype());
            // whole numbers are rounded down, as in PyTorch
            keep(if own.dtype().is_float() { sum / parts } else { sum.floor_divide(parts) })
        }
        ScatterReduce::Prod => {
            let product = segments(&zeros.ones_like(), index, source, &count, |a, b| a * b);
            keep(if include_self { own * product } else { product })
        }
        ScatterReduce::Amax | ScatterReduce::Amin => {
            let pick = |a: &Tensor, b: &Tensor| {
                if reduce == ScatterReduce::Amax { a.maximum(b) } else { a.minimum(b) }
            };
            let (fixed, parts) = (own.detach(), source.detach());
            let found = segments(&fixed, index, &parts, &count, pick);
            let best = if include_self { Tensor::where_(&named, pick(&found, &fixed), &fixed) } else { found };
            if !own.dtype().is_float() {
                return best;
            }
            shared(own, index, source, &best, &column(&count), include_self)
        }
    }
}

/// The value `best`, with a gradient that goes evenly to all elements that are equal to it, as PyTorch has it: what stood in
/// `own` counts among them even where it takes no part, and then what is due to it is lost; that of NaN is NaN.
fn shared(own: &Tensor, index: &Tensor, source: &Tensor, best: &Tensor, count: &Tensor, include_self: bool) -> Tensor {
    let equal = |x: &Tensor, y: &Tensor| x.detach().eq(y).cast(DType::F32);
    let best_of = best.index_select(0, index);
    let (own_hit, hit) = (equal(own, best), equal(source, &best_of));
    let hits = own_hit.index_add(0, index, &hit);
    // of NaN, which equals nothing, 0/0
    let (own_share, share) = (own_hit / &hits, hit / hits.index_select(0, index));
    let own_share = if include_self {
        own_share
    } else {
        Tensor::where_(&count.gt(0).expand_to(own.shape_or_scalar()), Lit(0.0), own_share)
    };
    let part = |x: &Tensor, share: &Tensor| Tensor::where_(&share.eq(Lit(0.0)), Lit(0.0), x) * share.cast(own.dtype());
    let mean = part(own, &own_share).index_add(0, index, &part(source, &share));
    // a mean of equal numbers rounds: the number itself, with the gradient of the mean
    Tensor::where_(&best.isfinite(), best + (&mean - mean.detach()), &mean)
}

/// The largest row of `source` for each index, without gradient; zero where there is none.
pub(crate) fn largest(source: &Tensor, index: &Tensor, count: usize) -> Tensor {
    let source = source.detach();
    let empty = Tensor::full_of(&source.0.device, source.shape_or_scalar().with(0, count), source.dtype(), Lit(0.0));
    if source.error().is_some() || index.error().is_some() || source.numel() == 0 {
        return empty;
    }
    segments(&empty, index, &source, &counts(index, count), |a, b| a.maximum(b))
}

/// How often each of `count` places is named, as `I32`.
fn counts(index: &Tensor, count: usize) -> Tensor {
    let of = |shape: Shape, value: f32| Tensor::full_of(&index.0.device, shape, DType::I32, Lit(value));
    of(Shape::of(&[count]), 0.0).index_add(0, index, &of(index.shape_or_scalar(), 1.0))
}

/// Each segment of `source` combined by `join`; `empty` where there is none.
fn segments(
    empty: &Tensor,
    index: &Tensor,
    source: &Tensor,
    count: &Tensor,
    join: impl Fn(&Tensor, &Tensor) -> Tensor,
) -> Tensor {
    let n = index.numel();
    let (keys, order) = index.cast(DType::I32).sort(0, false);
    let mut values = source.index_select(0, &order);
    let mut dims = vec![1; source.rank()];
    let mut step = 1;
    while step < n {
        let (head, tail) = (values.slice_op(0, 0, 1, step), values.slice_op(0, step, 1, n - step));
        let same = keys.slice_op(0, step, 1, n - step).eq(keys.slice_op(0, 0, 1, n - step));
        dims[0] = n - step;
        let before = values.slice_op(0, 0, 1, n - step);
        let joined = Tensor::where_(&same.to_shape(Shape::of(&dims)), join(&before, &tail), &tail);
        values = Tensor::cat(&[&head, &joined], 0);
        step *= 2;
    }
    let last = (count.cumsum(0) - 1).clamp(0, n as i32 - 1).cast(DType::I32);
    dims[0] = count.numel();
    let named = count.gt(0).to_shape(Shape::of(&dims));
    Tensor::where_(&named, values.index_select(0, &last), empty)
}
