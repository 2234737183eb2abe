//! Taking and putting elements by index.

use super::Lit;
use crate::node::{Op, composed};
use crate::{DType, Shape, Tensor};

impl Tensor {
    /// `out[.., i, ..] = self[.., index[.., i, ..], ..]` along `axis`: PyTorch's `gather`. `index` has the rank of
    /// this tensor and is nowhere longer, but along `axis`.
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn gather(&self, axis: i64, index: &Tensor) -> Tensor {
        let at = match self.axis("gather", axis) {
            Ok(at) => at,
            Err(invalid) => return invalid,
        };
        if index.error().is_some() {
            return index.current();
        }
        if !index.dtype().is_int() {
            return Tensor::bad_dtype("gather", &[self, index], "indices are i32 or u32");
        }
        let (own, shape) = (self.shape_or_scalar(), index.shape_or_scalar());
        if own.rank() == 0 && shape.rank() == 0 {
            return self.reshape([1]).gather(0, &index.reshape([1])).reshape([0i64; 0]);
        }
        let fits = own.rank() == shape.rank() && (0..own.rank()).all(|a| a == at || shape[a] <= own[a]);
        if !fits {
            return Tensor::bad_shape(
                "gather",
                &[self, index],
                "the index has the same rank and is nowhere longer but along the axis",
            );
        }
        if own[at] == 0 && shape.numel() > 0 {
            return Tensor::bad_shape("gather", &[self, index], "there is no element to take");
        }
        let mut x = self.current();
        for a in (0..own.rank()).filter(|&a| a != at && shape[a] < own[a]) {
            x = x.slice_op(a, 0, 1, shape[a]);
        }
        x.take_slices(at, index)
    }

    /// The gather node itself: `index` broadcasts to the result's shape.
    #[track_caller]
    fn take_slices(&self, axis: usize, index: &Tensor) -> Tensor {
        let extent = index.shape_or_scalar()[axis];
        Tensor::make(Op::Gather(axis), &[self, index], self.shape_or_scalar().with(axis, extent), self.dtype())
    }

    /// [`Tensor::gather`] with the other axes of `index` broadcast, and negative indices counted from the end: PyTorch's
    /// `take_along_dim`.
    #[track_caller]
    pub fn take_along(&self, axis: i64, index: &Tensor) -> Tensor {
        composed("take_along", || {
            let at = match self.axis("take_along", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return self.gather(axis, index),
                Err(invalid) => return invalid,
            };
            if index.error().is_some() || index.rank() != self.rank() {
                return Tensor::bad_shape("take_along", &[self, index], "the ranks differ");
            }
            let (own, given) = (self.shape_or_scalar(), index.shape_or_scalar());
            let Some(full) = own.with(at, 1).broadcast(&given.with(at, 1)) else {
                return Tensor::bad_shape("take_along", &[self, index], "the other axes do not broadcast");
            };
            let index = from_end(index, own[at]);
            self.expand_to(full.with(at, own[at])).gather(axis, &index.expand_to(full.with(at, given[at])))
        })
    }

    /// The slices of `axis` named by the vector `index`: PyTorch's `index_select`.
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn index_select(&self, axis: i64, index: &Tensor) -> Tensor {
        composed("index_select", || {
            let at = match self.axis("index_select", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return self.reshape([1]).index_select(0, index).reshape([0i64; 0]),
                Err(invalid) => return invalid,
            };
            if index.error().is_some() {
                return index.current();
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("index_select", &[self, index], "indices are i32 or u32");
            }
            if index.rank() > 1 {
                return Tensor::bad_shape("index_select", &[self, index], "the index is a vector");
            }
            let count = index.numel();
            let own = self.shape_or_scalar();
            if own[at] == 0 && count > 0 {
                return Tensor::bad_shape("index_select", &[self, index], "there is no element to take");
            }
            let mut lifted = vec![1; own.rank()];
            lifted[at] = count;
            self.take_slices(at, &index.to_shape(Shape::of(&lifted)))
        })
    }

    /// Rows of the table `self [rows, width]` named by `index [..]` → `[.., width]`.
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn embedding(&self, index: &Tensor) -> Tensor {
        composed("embedding", || {
            if self.error().is_none() && self.rank() != 2 {
                return Tensor::bad_shape("embedding", &[self, index], "the table is a matrix");
            }
            if index.error().is_none() && !index.dtype().is_int() {
                return Tensor::bad_dtype("embedding", &[self, index], "indices are i32 or u32");
            }
            let taken = self.index_select(0, &index.reshape([-1i64]));
            if taken.error().is_some() {
                return taken;
            }
            let dims: Vec<usize> = index.shape_or_scalar().iter().copied().chain([self.shape_or_scalar()[1]]).collect();
            match Shape::new(&dims) {
                Some(shape) => taken.to_shape(shape),
                None => Tensor::bad_shape("embedding", &[self, index], "at most 8 axes"),
            }
        })
    }

    /// This tensor with `source` added at the places that `index` names along `axis`: with axis 0 of three, element
    /// `[index[i, j, k], j, k]` gets `source[i, j, k]`. PyTorch's `scatter_add`. Sums are taken in the order of `source`, so the
    /// result is the same every time.
    ///
    /// Shapes: of equal rank; `index` nowhere longer than `source`, nor than this tensor but along the axis → as this tensor.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] for other shapes, [`crate::Error::DType`] if `index` is of floats,
    /// [`crate::Error::Index`] for an index out of range.
    #[track_caller]
    pub fn scatter_add(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        composed("scatter_add", || {
            let at = match self.axis("scatter_add", axis) {
                Ok(at) => at,
                Err(invalid) => return invalid,
            };
            if let Some(bad) = [index, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("scatter_add", &[self, index, source], "indices are i32 or u32");
            }
            let (own, shape, given) = (self.shape_or_scalar(), index.shape_or_scalar(), source.shape_or_scalar());
            if own.rank() == 0 {
                return self.reshape([1]).scatter_add(0, &index.reshape([1]), &source.reshape([1])).reshape([0i64; 0]);
            }
            let fits = own.rank() == shape.rank()
                && own.rank() == given.rank()
                && (0..own.rank()).all(|a| shape[a] <= given[a] && (a == at || shape[a] <= own[a]));
            if !fits {
                return Tensor::bad_shape(
                    "scatter_add",
                    &[self, index, source],
                    "index fits into source, and into the tensor but along the axis",
                );
            }
            if shape.numel() == 0 {
                return self.current();
            }
            let mut source = source.cast(self.dtype());
            for a in 0..own.rank() {
                source = source.slice_op(a, 0, 1, shape[a]);
            }
            self + scatter(own, at, index, &source)
        })
    }

    /// This tensor with the slices of `source` added to the slices of `axis` that the vector `index` names: PyTorch's
    /// `index_add`. Sums are taken in the order of `source`. Errors as for [`Tensor::scatter_add`].
    #[track_caller]
    pub fn index_add(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        composed("index_add", || {
            let at = match self.axis("index_add", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("index_add", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            if let Some(bad) = [index, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("index_add", &[self, index, source], "indices are i32 or u32");
            }
            let own = self.shape_or_scalar();
            if index.rank() > 1 || source.shape_or_scalar() != own.with(at, index.numel()) {
                return Tensor::bad_shape(
                    "index_add",
                    &[self, index, source],
                    "a vector of as many indices as source has slices",
                );
            }
            if index.numel() == 0 {
                return self.current();
            }
            self + rows_to(own, at, &index.reshape([-1i64]), &source.cast(self.dtype()))
        })
    }

    /// One where the last new axis equals the index, zero elsewhere: `[..]` → `[.., classes]`, as `I32`.
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        composed("one_hot", || {
            if self.error().is_none() && !self.dtype().is_int() {
                return Tensor::bad_dtype("one_hot", &[self], "indices are i32 or u32");
            }
            if self.error().is_some() || self.numel() == 0 {
                return self.unsqueeze(-1).eq(Tensor::iota(&self.0.device, classes)).cast(DType::I32);
            }
            if classes == 0 || classes > i32::MAX as usize {
                return self.bad_argument("one_hot", "classes", classes, "at least 1, at most 2147483647");
            }
            checked(self, classes).unsqueeze(-1).eq(Tensor::iota(&self.0.device, classes)).cast(DType::I32)
        })
    }

    /// This tensor with `value` wherever `mask` is true; both broadcast.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl super::Number) -> Tensor {
        composed("masked_fill", || Tensor::where_(mask, value.beside(self).cast(self.dtype()), self))
    }
}

/// Zeros of shape `own` with slices of `source` added at `index [n]` along `axis`: sort by index, sum the runs.
fn rows_to(own: Shape, axis: usize, index: &Tensor, source: &Tensor) -> Tensor {
    let front = |rank: usize| {
        let mut order: Vec<usize> = (0..rank).filter(|&a| a != axis).collect();
        order.insert(0, axis);
        order
    };
    let order = front(own.rank());
    let moved = source.permute(order.clone());
    let dims: Vec<usize> = order.iter().map(|&a| own[a]).collect();
    let mut back = vec![0usize; order.len()];
    order.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    segment_sum(index, &moved, Shape::of(&dims)).permute(back)
}

/// Zeros of shape `own` with each element of `source` added where `index`, of the same shape, says.
fn scatter(own: Shape, axis: usize, index: &Tensor, source: &Tensor) -> Tensor {
    // every element is a row of one: its place in the flattened result
    let place = flat_places(own, axis, index);
    let total = Shape::of(&[own.numel()]);
    segment_sum(&place.reshape([-1i64]), &source.reshape([-1i64]), total).to_shape(own)
}

/// Where in a flattened tensor of shape `own` each element of `index` points.
pub(crate) fn flat_places(own: Shape, axis: usize, index: &Tensor) -> Tensor {
    let shape = index.shape_or_scalar();
    let strides = own.strides();
    let mut place = checked(index, own[axis]).cast(DType::I32) * strides[axis] as i32;
    for a in (0..own.rank()).filter(|&a| a != axis) {
        let mut lifted = vec![1; own.rank()];
        lifted[a] = shape[a];
        place = place + Tensor::iota(&index.0.device, shape[a]).to_shape(Shape::of(&lifted)) * strides[a] as i32;
    }
    place
}

/// The index with negative ones counted from the end.
pub(crate) fn from_end(index: &Tensor, extent: usize) -> Tensor {
    match index.dtype() {
        DType::I32 => Tensor::where_(&index.lt(0), index + extent, index),
        _ => index.current(),
    }
}

/// The index itself, where a value out of range is noticed: taken from 0, 1, … by itself.
pub(crate) fn checked(index: &Tensor, extent: usize) -> Tensor {
    let flat = index.reshape([-1i64]);
    Tensor::iota(&index.0.device, extent).index_select(0, &flat).to_shape(index.shape_or_scalar())
}

/// out[r, ..] = Σ source[j, ..] over the j with index[j] = r.
fn segment_sum(index: &Tensor, source: &Tensor, shape: Shape) -> Tensor {
    let index = checked(index, shape[0]);
    if source.dtype() == DType::Bool {
        // a sum of truths is whether there is one
        return segment_sum(&index, &source.cast(DType::I32), shape).cast(DType::Bool);
    }
    let (keys, order) = index.cast(DType::I32).sort(0, false);
    Tensor::make(Op::SegmentSum, &[&keys, &order, source], shape, source.dtype())
}

/// The gradient of a gather: a scatter-add, by slices where the index is the same for all of a slice.
pub(crate) fn gather_vjp(axis: usize, dy: &Tensor, x: &Tensor, index: &Tensor) -> Tensor {
    let (own, shape) = (x.shape_or_scalar(), index.shape_or_scalar());
    if shape[axis] == 1 && dy.shape_or_scalar() == shape {
        // one element of each row: the others get zeros
        let mut lifted = vec![1; own.rank()];
        lifted[axis] = own[axis];
        let places = Tensor::iota(&dy.0.device, own[axis]).to_shape(Shape::of(&lifted));
        Tensor::where_(&places.eq(index), dy, Lit(0.0))
    } else if (0..shape.rank()).all(|a| a == axis || shape[a] == 1) {
        rows_to(own, axis, &index.reshape([-1i64]), dy)
    } else {
        scatter(own, axis, &index.expand_to(dy.shape_or_scalar()), dy)
    }
}

/// The gradient of a segment sum with respect to its source: each row gets its segment's gradient.
pub(crate) fn segment_vjp(dy: &Tensor, keys: &Tensor, order: &Tensor) -> Tensor {
    // order[i] is the source row of sorted place i; its inverse sorts back
    let (_, back) = order.sort(0, false);
    dy.index_select(0, &keys.gather(0, &back))
}

/// A helper of several families: 1 where the condition holds.
pub(crate) fn indicator(condition: &Tensor) -> Tensor {
    condition.cast(DType::F32)
}
