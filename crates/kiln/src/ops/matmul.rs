//! Matrix products and what reduces to them.

use crate::layout::ViewOp;
use crate::node::Op;
use crate::{DType, Shape, Tensor};

/// Products of integers that one sum takes.
const MOST_PRODUCTS: usize = 1 << 28;

impl Tensor {
    /// The matrix product, for every pair of ranks as PyTorch's `matmul`: vectors are rows on the left and
    /// columns on the right, leading axes are batches and broadcast.
    ///
    /// Shapes: `[.., m, k]` and `[.., k, n]` → `[.., m, n]`.
    ///
    /// Products of integers are exact (modulo 2³², as all integer arithmetic) and not fast.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if the inner extents differ or the batches do not broadcast.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let (a, b) = (self.current(), other.current());
        if let Some(bad) = [&a, &b].into_iter().find(|t| t.error().is_some()) {
            return bad.clone();
        }
        let (ra, rb) = (a.rank(), b.rank());
        if ra == 0 || rb == 0 {
            return Tensor::bad_shape("matmul", &[&a, &b], "single numbers have no matrix product; use *");
        }
        if a.shape_or_scalar().extent_from_end(1) != b.shape_or_scalar()[rb.saturating_sub(2)] {
            return Tensor::bad_shape("matmul", &[&a, &b], "inner axes differ");
        }
        if ra == 1 {
            let out = a.unsqueeze(0).matmul(&if rb == 1 { b.unsqueeze(1) } else { b });
            return if rb == 1 { out.to_scalar() } else { out.squeeze(-2) };
        }
        if rb == 1 {
            return a.matmul(&b.unsqueeze(1)).squeeze(-1);
        }
        let (sa, sb) = (a.shape_or_scalar(), b.shape_or_scalar());
        let Some(batch) = Shape::of(&sa[..ra - 2]).broadcast(&Shape::of(&sb[..rb - 2])) else {
            return Tensor::bad_shape("matmul", &[&a, &b], "the batch axes do not broadcast");
        };
        let dtype = a.dtype().promote(b.dtype());
        if !dtype.is_float() {
            let (m, n) = (sa.extent_from_end(2), sb.extent_from_end(1));
            let dtype = if dtype == DType::Bool { DType::I32 } else { dtype };
            return a.cast(dtype).whole_product(&b.cast(dtype), &batch, m, n);
        }
        let (a, b) = (a.cast(dtype), b.cast(dtype));
        if rb == 2 && ra > 2 {
            // the rows of all batches are rows of one matrix
            let (m, n) = (sa.extent_from_end(2), sb.extent_from_end(1));
            let rows = batch.numel() * m;
            let out = a.reshape([rows, sa.extent_from_end(1)]).product(&b, Shape::of(&[rows, n]));
            let dims: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
            return out.to_shape(Shape::of(&dims));
        }
        let dims = |m: usize, n: usize| Shape::of(&batch.iter().copied().chain([m, n]).collect::<Vec<_>>());
        let (m, k, n) = (sa.extent_from_end(2), sa.extent_from_end(1), sb.extent_from_end(1));
        a.expand_to(dims(m, k)).product(&b.expand_to(dims(k, n)), dims(m, n))
    }

    #[track_caller]
    fn product(&self, other: &Tensor, shape: Shape) -> Tensor {
        Tensor::make(Op::Matmul, &[self, other], shape, self.dtype())
    }

    /// The product of integers, exact modulo 2³²: all products of elements, summed in the kernel that makes them.
    #[track_caller]
    fn whole_product(&self, other: &Tensor, batch: &Shape, m: usize, n: usize) -> Tensor {
        let k = self.shape_or_scalar().extent_from_end(1);
        let count = batch.numel();
        let lift = |x: &Tensor, rows: usize, cols: usize| {
            let dims: Vec<usize> = batch.iter().copied().chain([rows, cols]).collect();
            x.expand_to(Shape::of(&dims)).to_shape(Shape::of(&[count, rows, cols]))
        };
        let (a, b) = (lift(self, m, k), lift(other, k, n));
        // an expression has fewer than 2³¹ elements, in memory or not
        let most = (MOST_PRODUCTS / (count * m * n).max(1)).max(1);
        let parts = (0..k.max(1)).step_by(most).map(|start| {
            let len = most.min(k - start);
            let (a, b) = (a.narrow(2, start as i64, len), b.narrow(1, start as i64, len));
            (a.unsqueeze(3) * b.unsqueeze(1)).sum_axes([2], false)
        });
        let sum = parts.reduce(|sum, part| sum + part).unwrap_or_else(|| self.clone());
        let dims: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
        sum.to_shape(Shape::of(&dims))
    }

    #[track_caller]
    fn to_scalar(&self) -> Tensor {
        if self.error().is_some() { self.clone() } else { self.to_shape(Shape::SCALAR) }
    }

    /// The inner product of two vectors `[n]`, of rank 0. Others are an [`Error::Shape`](crate::Error::Shape).
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        if self.error().is_none() && other.error().is_none() && (self.rank() != 1 || other.rank() != 1) {
            return Tensor::bad_shape("dot", &[self, other], "two vectors");
        }
        self.matmul(other)
    }

    /// Einstein's summation: `einsum("bij,bjk->bik", &[&a, &b])`. Each letter is an axis; letters that are not in
    /// the result are summed over; without `->` the result has the letters that appear once, in order.
    /// `...` stands for leading axes that broadcast.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Argument`] if the formula does not fit the tensors.
    #[track_caller]
    pub fn einsum(formula: &str, tensors: &[&Tensor]) -> Tensor {
        super::einsum::einsum(formula, tensors)
    }
}

/// dA = dC Bᵀ, dB = Aᵀ dC. A matrix that is used transposed, as the weight of a linear layer, gets its gradient as it lies in
/// memory: the optimizer reads both in order.
pub(crate) fn vjp(dy: &Tensor, a: &Tensor, b: &Tensor) -> (Tensor, Tensor) {
    let da = if is_transposed(a) { b.matmul(&dy.mt()).mt() } else { dy.matmul(&b.mt()) };
    let db = if is_transposed(b) { dy.mt().matmul(a).mt() } else { a.mt().matmul(dy) };
    (da, db)
}

/// Whether it is a matrix, not a batch of them, whose rows are the columns of the tensor that it is a view of.
fn is_transposed(matrix: &Tensor) -> bool {
    matches!(&matrix.0.op, Op::View(ViewOp::Permute(axes)) if axes[..] == [1, 0])
}
