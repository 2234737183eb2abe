//! Other ways of looking at the same elements, and putting tensors together. Views cost nothing by themselves:
//! the kernel that reads one computes where its elements lie.

use super::Lit;
use crate::layout::ViewOp;
use crate::node::{Op, composed};
use crate::shape::MAX_RANK;
use crate::{Shape, Tensor};
use std::ops::{Bound, RangeBounds};

/// Lists of extents or axes: slices, arrays and vectors of `i32`, `i64` or `usize`, shapes, or one number.
pub trait Extents {
    /// As signed numbers.
    fn list(&self) -> Vec<i64>;
}

macro_rules! extents {
    ($($t:ty)*) => {$(
        impl Extents for $t { fn list(&self) -> Vec<i64> { vec![*self as i64] } }
        impl Extents for [$t] { fn list(&self) -> Vec<i64> { self.iter().map(|&v| v as i64).collect() } }
        impl<const N: usize> Extents for [$t; N] { fn list(&self) -> Vec<i64> { self[..].list() } }
        impl Extents for Vec<$t> { fn list(&self) -> Vec<i64> { self[..].list() } }
    )*};
}
extents! { i32 i64 usize }

impl Extents for Shape {
    fn list(&self) -> Vec<i64> {
        self[..].list()
    }
}

impl<T: Extents + ?Sized> Extents for &T {
    fn list(&self) -> Vec<i64> {
        (**self).list()
    }
}

/// No diagonal lies further out: half of the 32-bit numbers, so that sums with coordinates stay in range.
const LAST: i64 = 1 << 30;

impl Tensor {
    #[track_caller]
    pub(crate) fn view_op(&self, op: ViewOp, shape: Shape) -> Tensor {
        Tensor::make(Op::View(op), &[self], shape, self.dtype())
    }

    /// The same elements in the same order with other extents; one extent may be −1 and is worked out.
    #[track_caller]
    pub fn reshape(&self, extents: impl Extents) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let mut list = extents.list();
        let known = list.iter().filter(|&&d| d != -1).try_fold(1i64, |n, &d| n.checked_mul(d)).unwrap_or(i64::MAX);
        let total = self.numel() as i64;
        if list.iter().any(|&d| d < -1) || list.iter().filter(|&&d| d == -1).count() > 1 || list.len() > MAX_RANK {
            return self.bad_argument(
                "reshape",
                "extents",
                format!("{list:?}"),
                "extents are at least 0, one may be -1, and there are at most 8",
            );
        }
        if let Some(unknown) = list.iter_mut().find(|d| **d == -1) {
            if known == 0 || total % known != 0 {
                return Tensor::bad_shape("reshape", &[self], "the elements do not fill the given extents evenly");
            }
            *unknown = total / known;
        }
        let dims: Vec<usize> = list.iter().map(|&d| d as usize).collect();
        match Shape::new(&dims).filter(|s| known != i64::MAX && s.numel() as i64 == total) {
            Some(shape) if shape == self.shape_or_scalar() => self.current(),
            Some(shape) => self.view_op(ViewOp::Reshape(shape), shape),
            None => self.bad_argument(
                "reshape",
                "extents",
                format!("{list:?} of {}", self.shape_or_scalar()),
                "the number of elements differs",
            ),
        }
    }

    /// PyTorch's name for [`Tensor::reshape`].
    #[track_caller]
    pub fn view(&self, extents: impl Extents) -> Tensor {
        self.reshape(extents)
    }

    #[track_caller]
    pub(crate) fn to_shape(&self, shape: Shape) -> Tensor {
        if shape == self.shape_or_scalar() { self.current() } else { self.view_op(ViewOp::Reshape(shape), shape) }
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor.
    #[track_caller]
    pub fn permute(&self, axes: impl Extents) -> Tensor {
        let axes = axes.list();
        let mut order = Vec::with_capacity(axes.len());
        for axis in axes {
            match self.axis("permute", axis) {
                Ok(axis) => order.push(axis as u8),
                Err(invalid) => return invalid,
            }
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != order.len() || order.len() != self.rank() {
            return self.bad_argument("permute", "axes", format!("{order:?}"), "every axis must appear once");
        }
        if order.iter().enumerate().all(|(i, &a)| i == a as usize) {
            return self.current();
        }
        let own = self.shape_or_scalar();
        let shape = order.iter().enumerate().fold(own, |shape, (i, &a)| shape.with(i, own[a as usize]));
        self.view_op(ViewOp::Permute(order), shape)
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn transpose(&self, first: i64, second: i64) -> Tensor {
        let (a, b) = match (self.axis("transpose", first), self.axis("transpose", second)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(invalid), _) | (_, Err(invalid)) => return invalid,
        };
        if a == b {
            return self.current();
        }
        let own = self.shape_or_scalar();
        let mut order: Vec<u8> = (0..self.rank() as u8).collect();
        order.swap(a, b);
        self.view_op(ViewOp::Permute(order), own.with(a, own[b]).with(b, own[a]))
    }

    /// The transpose of a matrix; vectors and numbers stay as they are.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        match self.rank() {
            0 | 1 => self.current(),
            2 => self.transpose(0, 1),
            _ => Tensor::bad_shape("t", &[self], "only matrices; use transpose"),
        }
    }

    /// The last two axes exchanged: PyTorch's `mT`.
    #[track_caller]
    pub fn mt(&self) -> Tensor {
        self.transpose(-2, -1)
    }

    /// Axes of extent 1 repeated to `extents`; new axes come first, −1 keeps an extent.
    #[track_caller]
    pub fn expand(&self, extents: impl Extents) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let list = extents.list();
        let own = self.shape_or_scalar();
        let mut dims = Vec::new();
        for (i, &d) in list.iter().enumerate() {
            let back = list.len() - i;
            let kept = own.extent_from_end(back);
            if d < -1 || (d == -1 && back > own.rank()) {
                return self.bad_argument("expand", "extents", format!("{list:?}"), "-1 needs an axis to keep");
            }
            let d = if d == -1 { kept } else { d as usize };
            if kept != d && kept != 1 {
                return self.bad_argument(
                    "expand",
                    "extents",
                    format!("{list:?} of {own}"),
                    "only axes of extent 1 can be repeated",
                );
            }
            dims.push(d);
        }
        match Shape::new(&dims).filter(|s| s.rank() >= own.rank()) {
            Some(shape) => self.expand_to(shape),
            None => self.bad_argument(
                "expand",
                "extents",
                format!("{list:?} of {own}"),
                "at least as many axes as the tensor has, at most 8",
            ),
        }
    }

    #[track_caller]
    pub(crate) fn expand_to(&self, shape: Shape) -> Tensor {
        if shape == self.shape_or_scalar() { self.current() } else { self.view_op(ViewOp::Broadcast(shape), shape) }
    }

    /// [`Tensor::expand`] under NumPy's name.
    #[track_caller]
    pub fn broadcast_to(&self, extents: impl Extents) -> Tensor {
        self.expand(extents)
    }

    /// Without `axis` if its extent is 1; unchanged otherwise.
    #[track_caller]
    pub fn squeeze(&self, axis: i64) -> Tensor {
        match self.axis("squeeze", axis) {
            Ok(axis) if self.rank() > 0 && self.shape_or_scalar()[axis] == 1 => {
                self.to_shape(self.shape_or_scalar().without(axis))
            }
            Ok(_) => self.current(),
            Err(invalid) => invalid,
        }
    }

    /// A new axis of extent 1 before `axis`.
    #[track_caller]
    pub fn unsqueeze(&self, axis: i64) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let own = self.shape_or_scalar();
        let at = if axis < 0 { axis + own.rank() as i64 + 1 } else { axis };
        if at < 0 || at > own.rank() as i64 || own.rank() == MAX_RANK {
            return self.bad_argument("unsqueeze", "axis", axis, "at most the rank, and at most 8 axes");
        }
        let mut dims = own.to_vec();
        dims.insert(at as usize, 1);
        self.to_shape(Shape::of(&dims))
    }

    /// The axes from `start` to `end`, both included, as one.
    #[track_caller]
    pub fn flatten(&self, start: i64, end: i64) -> Tensor {
        let (a, b) = match (self.axis("flatten", start), self.axis("flatten", end)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(invalid), _) | (_, Err(invalid)) => return invalid,
        };
        let own = self.shape_or_scalar();
        if own.rank() == 0 {
            return self.reshape([1]);
        }
        if a > b {
            return self.bad_argument("flatten", "start", start, "not after end");
        }
        let mut dims = own[..a].to_vec();
        dims.push(own[a..=b].iter().product());
        dims.extend_from_slice(&own[b + 1..]);
        self.to_shape(Shape::of(&dims))
    }

    /// The elements of `axis` in a range: `x[:, 1:]` is `x.range(1, 1..)`, `x[..., :-1]` is `x.range(-1, ..-1)`. Negative
    /// positions count from the end and all are cut to the axis, as in Python; for steps see [`Tensor::slice`].
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let tokens = Tensor::new(&device, [[1i32, 2, 3, 4]]);
    /// let (inputs, labels) = (tokens.range(1, ..-1), tokens.range(1, 1..));
    /// assert_eq!((inputs.to_vec::<i32>()?, labels.to_vec::<i32>()?), (vec![1, 2, 3], vec![2, 3, 4]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn range(&self, axis: i64, range: impl RangeBounds<i64>) -> Tensor {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&-1) | Bound::Unbounded => i64::MAX, // what follows the last is no negative position
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
        };
        self.slice(axis, start, end, 1)
    }

    /// Elements `start, start + step, …` of `axis` before `end`. Negative positions count from the end and
    /// both are cut to the axis, as in Python; `step` may be negative, then `end` is −1−len for "to the first".
    #[track_caller]
    pub fn slice(&self, axis: i64, start: i64, end: i64, step: i64) -> Tensor {
        let axis = match self.axis("slice", axis) {
            Ok(axis) if self.rank() > 0 => axis,
            Ok(_) => return Tensor::bad_shape("slice", &[self], "a single number has no axes"),
            Err(invalid) => return invalid,
        };
        if step == 0 {
            return self.bad_argument("slice", "step", step, "not 0");
        }
        let extent = self.shape_or_scalar()[axis] as i64;
        let wrap = |p: i64| if p < 0 { p.saturating_add(extent) } else { p };
        let (start, len) = if step > 0 {
            let (a, b) = (wrap(start).clamp(0, extent), wrap(end).clamp(0, extent));
            (a, if b > a { (b - a - 1) / step + 1 } else { 0 })
        } else {
            let (a, b) = (wrap(start).clamp(-1, extent - 1), wrap(end).clamp(-1, extent - 1));
            (a, if a > b { (a - b - 1) / step.saturating_neg() + 1 } else { 0 })
        };
        self.slice_op(axis, start.max(0) as usize, step as isize, len.max(0) as usize)
    }

    #[track_caller]
    pub(crate) fn slice_op(&self, axis: usize, start: usize, step: isize, len: usize) -> Tensor {
        let own = self.shape_or_scalar();
        if start == 0 && step == 1 && len == own[axis] {
            return self.current();
        }
        self.view_op(ViewOp::Slice { axis, start, step, len }, own.with(axis, len))
    }

    /// `len` elements of `axis` from `start`.
    #[track_caller]
    pub fn narrow(&self, axis: i64, start: i64, len: usize) -> Tensor {
        let at = match self.axis("narrow", axis) {
            Ok(at) if self.rank() > 0 => at,
            Ok(_) => return Tensor::bad_shape("narrow", &[self], "a single number has no axes"),
            Err(invalid) => return invalid,
        };
        let extent = self.shape_or_scalar()[at] as i64;
        let from = if start < 0 { start + extent } else { start };
        if from < 0 || i64::try_from(len).map_or(i64::MAX, |len| from.saturating_add(len)) > extent {
            return self.bad_argument("narrow", "start, len", format!("{start}, {len} of {extent}"), "within the axis");
        }
        self.slice_op(at, from as usize, 1, len)
    }

    /// Element `index` of `axis`, which disappears. Negative indices count from the end.
    #[track_caller]
    pub fn select(&self, axis: i64, index: i64) -> Tensor {
        composed("select", || self.narrow(axis, index, 1).squeeze_at(axis))
    }

    #[track_caller]
    fn squeeze_at(&self, axis: i64) -> Tensor {
        match self.axis("select", axis) {
            Ok(axis) => self.to_shape(self.shape_or_scalar().without(axis)),
            Err(invalid) => invalid,
        }
    }

    /// The order of the elements of `axes` reversed.
    #[track_caller]
    pub fn flip(&self, axes: impl Extents) -> Tensor {
        let mut out = self.current();
        for axis in axes.list() {
            match out.axis("flip", axis) {
                Ok(at) if out.rank() > 0 => {
                    let extent = out.shape_or_scalar()[at];
                    if extent > 1 {
                        out = out.slice_op(at, extent - 1, -1, extent);
                    }
                }
                Ok(_) => {}
                Err(invalid) => return invalid,
            }
        }
        out
    }

    /// The matrices of the last two axes with what lies above diagonal `k` set to zero.
    #[track_caller]
    pub fn tril(&self, k: i64) -> Tensor {
        self.triangle("tril", |row, col| row.add(k.clamp(-LAST, LAST) as i32).ge(col))
    }

    /// The matrices of the last two axes with what lies below diagonal `k` set to zero.
    #[track_caller]
    pub fn triu(&self, k: i64) -> Tensor {
        self.triangle("triu", |row, col| row.add(k.clamp(-LAST, LAST) as i32).le(col))
    }

    #[track_caller]
    fn triangle(&self, op: &'static str, keep: impl Fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
        if self.error().is_none() && self.rank() < 2 {
            return Tensor::bad_shape(op, &[self], "a matrix or more axes");
        }
        let own = self.shape_or_scalar();
        let (rows, cols) = (own.extent_from_end(2), own.extent_from_end(1));
        let row = Tensor::iota(&self.0.device, rows).to_shape(Shape::of(&[rows, 1]));
        let col = Tensor::iota(&self.0.device, cols);
        Tensor::where_(&keep(&row, &col), self, Tensor::zero_of(&self.0.device, self.dtype()))
    }

    /// The elements whose coordinates on `first` and `second` differ by `offset` (second − first), as a new last axis.
    #[track_caller]
    pub fn diagonal(&self, offset: i64, first: i64, second: i64) -> Tensor {
        let (a, b) = match (self.axis("diagonal", first), self.axis("diagonal", second)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(invalid), _) | (_, Err(invalid)) => return invalid,
        };
        if a == b || self.rank() < 2 {
            return self.bad_argument("diagonal", "axes", format!("{first}, {second}"), "two different axes");
        }
        let own = self.shape_or_scalar();
        let (rows, cols) = (own[a] as i64, own[b] as i64);
        let len = if offset >= 0 { rows.min(cols - offset) } else { (rows + offset).min(cols) }.max(0) as usize;
        let mut dims: Vec<usize> = (0..own.rank()).filter(|&x| x != a && x != b).map(|x| own[x]).collect();
        dims.push(len);
        self.view_op(ViewOp::Diagonal { first: a, second: b, offset: offset as isize, len }, Shape::of(&dims))
    }

    /// Windows of `size` elements of `axis`, `step` apart, as a new last axis.
    #[track_caller]
    pub fn unfold(&self, axis: i64, size: usize, step: usize) -> Tensor {
        composed("unfold", || {
            let at = match self.axis("unfold", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("unfold", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            let extent = self.shape_or_scalar()[at];
            if size > extent || step == 0 || self.rank() == MAX_RANK {
                return self.bad_argument(
                    "unfold",
                    "size, step",
                    format!("{size}, {step}"),
                    "a window within the axis, a step of at least 1, at most 7 axes",
                );
            }
            let count = (extent - size) / step + 1;
            let starts = (Tensor::iota(&self.0.device, count) * step).to_shape(Shape::of(&[count, 1]));
            let places = (starts + Tensor::iota(&self.0.device, size)).to_shape(Shape::of(&[count * size]));
            let taken = self.index_select(at as i64, &places);
            let own = self.shape_or_scalar();
            let mut dims = own.to_vec();
            dims[at] = count;
            dims.insert(at + 1, size);
            let mut order: Vec<usize> = (0..dims.len()).filter(|&x| x != at + 1).collect();
            order.push(at + 1);
            taken.to_shape(Shape::of(&dims)).permute(order)
        })
    }
}

/// The gradient of a view: the elements go back to where they came from.
pub(crate) fn vjp(op: &ViewOp, dy: &Tensor, x: &Tensor) -> Tensor {
    let own = x.shape_or_scalar();
    match op {
        ViewOp::Reshape(_) => dy.to_shape(own),
        ViewOp::Permute(axes) => {
            let mut back = vec![0usize; axes.len()];
            axes.iter().enumerate().for_each(|(i, &a)| back[a as usize] = i);
            dy.permute(back)
        }
        ViewOp::Broadcast(_) => dy.sum_to(own),
        ViewOp::Slice { axis, start, step, len } => slice_vjp(dy, own, *axis, *start, *step, *len),
        ViewOp::Pad(sides) => {
            sides.iter().enumerate().fold(dy.clone(), |d, (axis, s)| d.slice_op(axis, s.0, 1, own[axis]))
        }
        ViewOp::Diagonal { first, second, offset, len } => on_diagonal(dy, own, *first, *second, *offset, *len),
    }
}

fn slice_vjp(dy: &Tensor, own: Shape, axis: usize, start: usize, step: isize, len: usize) -> Tensor {
    let mut dy = dy.clone();
    let mut first = start as isize;
    if step < 0 && len > 0 {
        dy = dy.slice_op(axis, len - 1, -1, len);
        first = start as isize + step * (len as isize - 1);
    }
    let gap = step.unsigned_abs();
    if gap > 1 && len > 0 {
        // spread: [len] → [len, 1] → [len, gap] with zeros → [len · gap], cut after the last element
        let shape = dy.shape_or_scalar();
        let mut split = shape.to_vec();
        split.insert(axis + 1, 1);
        let mut sides = vec![(0, 0); split.len()];
        sides[axis + 1] = (0, gap - 1);
        let spread = dy.to_shape(Shape::of(&split)).pad_op(sides);
        dy = spread.to_shape(shape.with(axis, len * gap)).slice_op(axis, 0, 1, (len - 1) * gap + 1);
    }
    let covered = dy.shape_or_scalar()[axis];
    let mut sides = vec![(0, 0); own.rank()];
    sides[axis] = if len == 0 { (0, own[axis]) } else { (first as usize, own[axis] - first as usize - covered) };
    dy.pad_op(sides)
}

/// Zeros of shape `own` with `dy [.., len]` on a diagonal: where(row + offset = col, dy at the row, 0).
pub(crate) fn on_diagonal(dy: &Tensor, own: Shape, first: usize, second: usize, offset: isize, len: usize) -> Tensor {
    let (rows, cols) = (own[first], own[second]);
    // one element per row; rows before and after the diagonal get zeros
    let skip = ((-offset).max(0) as usize).min(rows - len);
    let mut sides = vec![(0, 0); dy.rank()];
    sides[dy.rank() - 1] = (skip, rows - skip - len);
    let by_row = dy.pad_op(sides).unsqueeze(-1);
    let mut dims = by_row.shape_or_scalar().to_vec();
    let last = dims.len() - 1;
    dims[last] = cols;
    let device = &dy.0.device;
    let row = Tensor::iota(device, rows).to_shape(Shape::of(&[rows, 1]));
    let on = (row + offset as i32).eq(Tensor::iota(device, cols));
    let full = Tensor::where_(&on, by_row.expand_to(Shape::of(&dims)), Lit(0.0));
    // the two last axes back to their places
    let mut order: Vec<usize> = (0..own.rank() - 2).collect();
    let (low, high) = if first < second { (last - 1, last) } else { (last, last - 1) };
    order.insert(first.min(second), low);
    order.insert(first.max(second), high);
    full.permute(order)
}
