//! Elements put around a tensor.

use super::Lit;
use crate::error::{At, Error, List};
use crate::layout::ViewOp;
use crate::{DType, Shape, Tensor};

/// What stands outside of a tensor that is padded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PadMode {
    /// A number.
    Constant(f32),
    /// The tensor mirrored at its edge, the edge element not repeated.
    Reflect,
    /// The edge element, repeated.
    Replicate,
    /// The tensor again, from its other end.
    Circular,
}

impl Tensor {
    /// `sides[i]` elements put before and after axis `i`, for the last `sides.len()` axes. Negative sides cut, as in
    /// PyTorch.
    ///
    /// # Errors
    /// On evaluation, [`Error::Argument`] if there are more sides than axes, more is cut than there is, or more is mirrored or
    /// wrapped around than there is.
    #[track_caller]
    pub fn pad(&self, sides: &[(i64, i64)], mode: PadMode) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        if sides.len() > self.rank() {
            return self.bad_argument("pad", "sides", sides.len(), "at most one pair per axis");
        }
        let first = self.rank() - sides.len();
        let mut out = self.current();
        for (i, &(before, after)) in sides.iter().enumerate() {
            let (axis, more, less) = (first + i, (before.max(0), after.max(0)), (before.min(0), after.min(0)));
            out = match mode {
                PadMode::Constant(_) => out.crop(axis, less),
                // what is cut is not wrapped around, but it is mirrored
                PadMode::Circular => out.crop(axis, less).extend(axis, more, mode),
                PadMode::Reflect | PadMode::Replicate => out.extend(axis, more, mode).crop(axis, less),
            };
        }
        match mode {
            PadMode::Constant(value) => out.pad_constant(first, sides, value),
            _ => out,
        }
    }

    /// Cuts what negative sides ask for.
    #[track_caller]
    fn crop(&self, axis: usize, (before, after): (i64, i64)) -> Tensor {
        if self.error().is_some() || (before >= 0 && after >= 0) {
            return self.current();
        }
        let (from, less) = (before.saturating_neg().max(0), after.saturating_neg().max(0));
        let len = (self.shape_or_scalar()[axis] as i64).saturating_sub(from).saturating_sub(less);
        if len < 0 {
            return self.bad_argument("pad", "sides", format!("({before}, {after})"), "cannot cut more than there is");
        }
        self.slice_op(axis, from as usize, 1, len as usize)
    }

    #[track_caller]
    fn pad_constant(&self, first: usize, sides: &[(i64, i64)], value: f32) -> Tensor {
        if self.error().is_some() || sides.iter().all(|&(a, b)| a <= 0 && b <= 0) {
            return self.current();
        }
        let mut all = vec![(0, 0); first];
        all.extend(sides.iter().map(|&(a, b)| (a.max(0) as usize, b.max(0) as usize)));
        let zeroed = self.pad_op(all.clone());
        if value == 0.0 {
            return zeroed;
        }
        let ones = Tensor::full_of(&self.0.device, self.shape_or_scalar(), DType::I32, Lit(1.0));
        let value = Tensor::full_of(&self.0.device, Shape::SCALAR, self.dtype(), value);
        Tensor::where_(&ones.pad_op(all).cast(DType::Bool), zeroed, value)
    }

    #[track_caller]
    pub(crate) fn pad_op(&self, sides: Vec<(usize, usize)>) -> Tensor {
        let dims: Vec<usize> =
            self.shape_or_scalar().iter().zip(&sides).map(|(d, s)| d.saturating_add(s.0).saturating_add(s.1)).collect();
        match Shape::new(&dims) {
            Some(shape) => self.view_op(ViewOp::Pad(sides), shape),
            None => {
                let (at, has) = (Self::origin_at(At::here()), i32::MAX as u64);
                Self::invalid(
                    &self.0.device,
                    Error::Limit {
                        op: "pad",
                        shapes: List(vec![self.0.shape]),
                        what: "elements",
                        needs: u64::MAX,
                        has,
                        at,
                    },
                )
            }
        }
    }

    /// Reflection, replication and wrapping are concatenations of flipped, repeated or moved pieces.
    #[track_caller]
    fn extend(&self, axis: usize, (before, after): (i64, i64), mode: PadMode) -> Tensor {
        if self.error().is_some() || (before == 0 && after == 0) {
            return self.current();
        }
        let own = self.shape_or_scalar();
        let extent = own[axis] as i64;
        let limit = match mode {
            PadMode::Reflect => extent - 1,
            PadMode::Circular => extent,
            _ => i64::MAX,
        };
        if before > limit || after > limit || extent == 0 {
            let why = "below the extent when reflecting, at most the extent when wrapping around";
            return self.bad_argument("pad", "sides", format!("({before}, {after})"), why);
        }
        let edge = |at: i64, n: i64| match mode {
            PadMode::Circular if at == 0 => self.slice_op(axis, (extent - n) as usize, 1, n as usize),
            PadMode::Circular => self.slice_op(axis, 0, 1, n as usize),
            PadMode::Reflect if at == 0 => self.slice_op(axis, n as usize, -1, n as usize),
            PadMode::Reflect => self.slice_op(axis, (extent - 2) as usize, -1, n as usize),
            _ => self.slice_op(axis, at as usize, 1, 1).expand_to(own.with(axis, n as usize)),
        };
        let mut parts = Vec::new();
        if before > 0 {
            parts.push(edge(0, before));
        }
        parts.push(self.current());
        if after > 0 {
            parts.push(edge(extent - 1, after));
        }
        Tensor::cat(&parts, axis as i64)
    }
}
