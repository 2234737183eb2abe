//! The same elements under other shapes. Views cost nothing by themselves: the kernel that reads one computes where its
//! elements lie. Those that leave elements out are in `slice.rs` and `diagonal.rs`.

use super::diagonal::on_diagonal;
use super::slice::slice_vjp;
use crate::layout::ViewOp;
use crate::node::Op;
use crate::shape::MAX_RANK;
use crate::{Shape, Tensor};

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

    /// The transpose of a matrix; vectors and numbers stay as they are. Of more axes it is an
    /// [`Error::Shape`](crate::Error::Shape): [`Tensor::mt`] is for those.
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
