//! Diagonals of matrices, and what lies above or below them.

use super::Lit;
use crate::layout::ViewOp;
use crate::node::composed;
use crate::shape::MAX_RANK;
use crate::{Shape, Tensor};

/// No diagonal lies further out: half of the 32-bit numbers, so that sums with coordinates stay in range.
const LAST: i64 = 1 << 30;

impl Tensor {
    /// The matrices of the last two axes with what lies above diagonal `k` set to zero: 0 is the main diagonal, 1 the one above it.
    #[track_caller]
    pub fn tril(&self, k: i64) -> Tensor {
        self.triangle("tril", |row, col| row.add(k.clamp(-LAST, LAST) as i32).ge(col))
    }

    /// The matrices of the last two axes with what lies below diagonal `k` set to zero: 0 is the main diagonal, 1 the one above it.
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

    /// The last axis as the diagonal `offset` of square matrices of zeros, whose axes are the last two of the result.
    #[track_caller]
    pub fn diag_embed(&self, offset: i64) -> Tensor {
        composed("diag_embed", || {
            if self.error().is_some() {
                return self.current();
            }
            let own = self.shape_or_scalar();
            if own.rank() == 0 || own.rank() == MAX_RANK || offset.unsigned_abs() > i32::MAX as u64 {
                return self.bad_argument("diag_embed", "offset", format!("{offset} of {own}"), "1 to 7 axes");
            }
            let len = own.extent_from_end(1);
            let side = len + offset.unsigned_abs() as usize;
            let dims: Vec<usize> = own[..own.rank() - 1].iter().copied().chain([side, side]).collect();
            on_diagonal(self, Shape::of(&dims), own.rank() - 1, own.rank(), offset as isize, len)
        })
    }

    /// The diagonal `offset` of a matrix; of a vector, the matrix with it as this diagonal.
    #[track_caller]
    pub fn diag(&self, offset: i64) -> Tensor {
        composed("diag", || match self.rank() {
            1 => self.diag_embed(offset),
            2 => self.diagonal(offset, 0, 1),
            _ => Tensor::bad_shape("diag", &[self], "a vector or a matrix"),
        })
    }
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
