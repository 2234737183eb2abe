//! Some of the elements along an axis, as views: ranges with a step, single ones, the reverse; and windows.

use super::view::Extents;
use crate::layout::ViewOp;
use crate::node::composed;
use crate::shape::MAX_RANK;
use crate::{Shape, Tensor};
use std::ops::{Bound, RangeBounds};

impl Tensor {
    /// The elements of `axis` in a range: `x[:, 1:]` is `x.range(1, 1..)`, `x[..., :-1]` is `x.range(-1, ..-1)`. Negative
    /// positions count from the end and all are cut to the axis, as in Python; for steps see [`Tensor::slice`], and
    /// for `x[1:-1]`: `1..-1` does what it says there, but clippy takes two such literals for a mistake.
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

/// The gradient of a slice: the elements back in their places, zeros elsewhere.
pub(crate) fn slice_vjp(dy: &Tensor, own: Shape, axis: usize, start: usize, step: isize, len: usize) -> Tensor {
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
