//! Gradients of slices of a tensor, put together when all are known: a sequence that is cut into its steps would
//! otherwise be a sum of as many tensors of the size of the whole.

use crate::ops::Lit;
use crate::{Shape, Tensor};

/// The gradient of the elements of `axis` from `start` on.
pub(super) struct Piece {
    pub(super) axis: usize,
    pub(super) start: usize,
    pub(super) gradient: Tensor,
}

impl Piece {
    fn end(&self) -> usize {
        self.start + self.gradient.shape_or_scalar()[self.axis]
    }

    /// The gradient of the whole, of shape `own`, with zeros elsewhere.
    fn padded(&self, own: Shape) -> Tensor {
        let mut sides = vec![(0, 0); own.rank()];
        sides[self.axis] = (self.start, own[self.axis] - self.end());
        if sides[self.axis] == (0, 0) { self.gradient.clone() } else { self.gradient.pad_op(sides) }
    }
}

/// The gradient of `whole` from those of its pieces: side by side where they do not overlap, else a sum.
pub(super) fn assemble(whole: &Tensor, mut pieces: Vec<Piece>) -> Option<Tensor> {
    let own = whole.shape_or_scalar();
    let axis = pieces.first()?.axis;
    pieces.sort_by_key(|piece| piece.start);
    let apart = pieces.iter().all(|piece| piece.axis == axis) && pieces.windows(2).all(|p| p[0].end() <= p[1].start);
    if pieces.len() < 2 || !apart {
        return pieces.iter().map(|piece| piece.padded(own)).reduce(|a, b| a + b);
    }
    let mut parts: Vec<Tensor> = Vec::new();
    let first = pieces.first()?.start;
    let mut end = first;
    for piece in &pieces {
        if piece.start > end {
            let gap = own.with(axis, piece.start - end);
            parts.push(Tensor::full_of(&whole.0.device, gap, whole.dtype(), Lit(0.0)));
        }
        parts.push(piece.gradient.clone());
        end = piece.end();
    }
    let gradient = Tensor::cat(&parts, axis as i64);
    Some(Piece { axis, start: first, gradient }.padded(own))
}
