//! Products of vectors and matrices by their usual names.

use super::{Lit, Number};
use crate::node::composed;
use crate::shape::MAX_RANK;
use crate::{Shape, Tensor};

impl Tensor {
    /// A product of two tensors of the given ranks.
    #[track_caller]
    fn product_of(&self, op: &'static str, ranks: (usize, usize), other: &Tensor, why: &'static str) -> Tensor {
        if let Some(bad) = [self, other].into_iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        if (self.rank(), other.rank()) != ranks {
            return Tensor::bad_shape(op, &[self, other], why);
        }
        composed(op, || self.matmul(other))
    }

    /// The product of two matrices.
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Tensor {
        self.product_of("mm", (2, 2), other, "two matrices")
    }

    /// The product of a matrix and a vector.
    #[track_caller]
    pub fn mv(&self, other: &Tensor) -> Tensor {
        self.product_of("mv", (2, 1), other, "a matrix and a vector")
    }

    /// The products of matrices `[batch, m, k]` and `[batch, k, n]`.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Tensor {
        let batches = |t: &Tensor| t.shape_or_scalar().first().copied();
        if self.error().is_none() && other.error().is_none() && batches(self) != batches(other) {
            return Tensor::bad_shape("bmm", &[self, other], "as many matrices on the left as on the right");
        }
        self.product_of("bmm", (3, 3), other, "[batch, m, k] and [batch, k, n]")
    }

    /// All products of an element of one vector and one of the other: `[m]` and `[n]` → `[m, n]`.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Tensor {
        if self.error().is_none() && other.error().is_none() && (self.rank(), other.rank()) != (1, 1) {
            return Tensor::bad_shape("outer", &[self, other], "two vectors");
        }
        composed("outer", || self.unsqueeze(1) * other.unsqueeze(0))
    }

    /// `beta` · this + `alpha` · a · b, for matrices a and b; this tensor broadcasts.
    #[track_caller]
    pub fn addmm(&self, a: &Tensor, b: &Tensor, beta: impl Number, alpha: impl Number) -> Tensor {
        composed("addmm", || self.plus_product("addmm", &a.mm(b), beta, alpha))
    }

    /// `beta` · this + `alpha` · a · b, for a `[batch, m, k]` and b `[batch, k, n]`; this tensor broadcasts.
    #[track_caller]
    pub fn baddbmm(&self, a: &Tensor, b: &Tensor, beta: impl Number, alpha: impl Number) -> Tensor {
        composed("baddbmm", || self.plus_product("baddbmm", &a.bmm(b), beta, alpha))
    }

    /// `beta` · this + `alpha` · m · v, for a matrix and a vector; this tensor broadcasts.
    #[track_caller]
    pub fn addmv(&self, m: &Tensor, v: &Tensor, beta: impl Number, alpha: impl Number) -> Tensor {
        composed("addmv", || self.plus_product("addmv", &m.mv(v), beta, alpha))
    }

    #[track_caller]
    fn plus_product(&self, op: &'static str, product: &Tensor, beta: impl Number, alpha: impl Number) -> Tensor {
        let shape = product.shape_or_scalar();
        if self.error().is_none()
            && product.error().is_none()
            && self.shape_or_scalar().broadcast(&shape) != Some(shape)
        {
            return Tensor::bad_shape(op, &[self, product], "what is added broadcasts to the product");
        }
        self * beta + product * alpha
    }

    /// Kronecker's product: each element of this tensor times the whole of `other`. At most 4 axes.
    #[track_caller]
    pub fn kron(&self, other: &Tensor) -> Tensor {
        composed("kron", || {
            if let Some(bad) = [self, other].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            let rank = self.rank().max(other.rank());
            if 2 * rank > MAX_RANK {
                return Tensor::bad_shape("kron", &[self, other], "at most 4 axes");
            }
            let extents =
                |t: &Tensor| (1..=rank).rev().map(|b| t.shape_or_scalar().extent_from_end(b)).collect::<Vec<_>>();
            let (a, b) = (extents(self), extents(other));
            let outer: Vec<usize> = a.iter().flat_map(|&d| [d, 1]).collect();
            let inner: Vec<usize> = b.iter().flat_map(|&d| [1, d]).collect();
            let dims: Vec<i64> = a.iter().zip(&b).map(|(&a, &b)| (a * b) as i64).collect();
            (self.to_shape(Shape::of(&outer)) * other.to_shape(Shape::of(&inner))).reshape(dims)
        })
    }

    /// The cross product of vectors of 3 elements along `axis`; the other axes broadcast.
    #[track_caller]
    pub fn cross(&self, other: &Tensor, axis: i64) -> Tensor {
        composed("cross", || {
            for t in [self, other] {
                match t.axis("cross", axis) {
                    Ok(at) if t.shape_or_scalar().get(at) == Some(&3) => {}
                    Ok(_) => return Tensor::bad_shape("cross", &[self, other], "3 elements along the axis"),
                    Err(invalid) => return invalid,
                }
            }
            if self.rank() != other.rank() {
                return Tensor::bad_shape("cross", &[self, other], "the ranks differ");
            }
            self.roll(-1, axis) * other.roll(-2, axis) - self.roll(-2, axis) * other.roll(-1, axis)
        })
    }

    /// The product summed over the last `axes` axes of this tensor and the first of `other`.
    #[track_caller]
    pub fn tensordot(&self, other: &Tensor, axes: usize) -> Tensor {
        composed("tensordot", || {
            if let Some(bad) = [self, other].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            let (a, b) = (self.shape_or_scalar(), other.shape_or_scalar());
            if axes > a.rank().min(b.rank()) || a[a.rank() - axes..] != b[..axes] {
                return Tensor::bad_shape("tensordot", &[self, other], "the summed axes agree");
            }
            let (rows, cols) = (&a[..a.rank() - axes], &b[axes..]);
            let inner: usize = b[..axes].iter().product();
            let dims: Vec<usize> = rows.iter().chain(cols).copied().collect();
            let Some(shape) = Shape::new(&dims) else {
                return Tensor::bad_shape("tensordot", &[self, other], "at most 8 axes");
            };
            let left = self.to_shape(Shape::of(&[rows.iter().product(), inner]));
            let right = other.to_shape(Shape::of(&[inner, cols.iter().product()]));
            left.matmul(&right).reshape(shape)
        })
    }

    /// The sum of the diagonal of a matrix.
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        composed("trace", || match self.rank() {
            2 => self.diagonal(0, 0, 1).sum(),
            _ => Tensor::bad_shape("trace", &[self], "a matrix"),
        })
    }

    /// The matrices of the last two axes multiplied `n` times with themselves; the identity for 0.
    #[track_caller]
    pub fn matrix_power(&self, n: u32) -> Tensor {
        composed("matrix_power", || {
            let own = self.shape_or_scalar();
            if self.error().is_some() || own.rank() < 2 || own.extent_from_end(1) != own.extent_from_end(2) {
                return Tensor::bad_shape("matrix_power", &[self], "square matrices");
            }
            let (mut result, mut square, mut left) = (None, self.current(), n);
            while left > 0 {
                if left % 2 == 1 {
                    result = Some(result.map_or(square.clone(), |r: Tensor| r.matmul(&square)));
                }
                left /= 2;
                if left > 0 {
                    square = square.matmul(&square);
                }
            }
            let one = || Tensor::eye(&self.0.device, own.extent_from_end(1)).cast(self.dtype()).expand_to(own);
            result.unwrap_or_else(one)
        })
    }

    /// The p-norms of the differences of all rows: `[.., m, width]` and `[.., n, width]` → `[.., m, n]`; p is at least 0. Every
    /// difference is formed, so that near points do not cancel. Rows that are equal have no gradient; of p = ∞, each of
    /// several largest differences has all of it.
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f32) -> Tensor {
        composed("cdist", || {
            if let Some(bad) = [self, other].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            let width = |t: &Tensor| t.shape_or_scalar().extent_from_end(1);
            if self.rank() < 2 || other.rank() < 2 || width(self) != width(other) {
                return Tensor::bad_shape("cdist", &[self, other], "[.., rows, width], of one width");
            }
            if p.is_nan() || p < 0.0 {
                return self.bad_argument("cdist", "p", p, "at least 0");
            }
            length(&(self.unsqueeze(-2) - other.unsqueeze(-3)), p)
        })
    }
}

/// The p-norm of the last axis, as distances have it.
#[track_caller]
fn length(apart: &Tensor, p: f32) -> Tensor {
    if p == f32::INFINITY {
        let size = apart.abs();
        let most = size.detach().amax([-1i64], false);
        let hit = size.detach().eq(most.unsqueeze(-1));
        let sum = Tensor::where_(&hit, size, Lit(0.0)).sum_axes([-1i64], false);
        return Tensor::where_(&most.isfinite(), &most + (&sum - sum.detach()), &most);
    }
    apart.norm(p, -1, false)
}
