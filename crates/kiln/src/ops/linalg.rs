//! Equations and factors of small matrices, alone or in batches: what `torch.linalg` has for training.
//!
//! Two factorisations and a substitution are kernels. The rest is made of them, and so are the gradients, which have gradients
//! again.

use super::custom::{Custom, CustomLaunch};
use crate::node::composed;
use crate::{DType, Lit, Shape, Tensor};
use kiln_device::Launch;
use kiln_device::kernels::linalg::{self, MAX_ROWS, Square, Triangular};
use std::sync::Arc;

/// A kernel for matrices `[matrices, n, n]`.
#[derive(Clone, Copy)]
enum Kernel {
    /// → `[matrices, n + 2, n]`: both factors, the order of the rows, its sign.
    Lu,
    /// → `[matrices, n, n]`.
    Cholesky,
    /// With `[matrices, n, columns]` → the same.
    Triangular { upper: bool, unit: bool },
}

impl Custom for Kernel {
    fn name(&self) -> &'static str {
        match self {
            Kernel::Lu => "lu",
            Kernel::Cholesky => "cholesky",
            Kernel::Triangular { .. } => "solve_triangular",
        }
    }

    fn inputs(&self) -> &[&'static str] {
        match self {
            Kernel::Triangular { .. } => &["a", "b"],
            _ => &["x"],
        }
    }

    fn output(&self, shapes: &[Shape], _dtypes: &[DType]) -> Result<(Shape, DType), &'static str> {
        let [matrices, n] = [shapes[0][0], shapes[0][2]];
        let shape = match self {
            Kernel::Lu => Shape::of(&[matrices, n + 2, n]),
            Kernel::Cholesky => shapes[0],
            Kernel::Triangular { .. } => shapes[1],
        };
        Ok((shape, DType::F32))
    }

    fn launch(&self, shapes: &[Shape]) -> CustomLaunch {
        let of = Square { matrices: shapes[0][0] as u32, n: shapes[0][2] as u32 };
        let Launch { source, params, groups, .. } = match *self {
            Kernel::Lu => linalg::lu(&of),
            Kernel::Cholesky => linalg::cholesky(&of),
            Kernel::Triangular { upper, unit } => {
                linalg::triangular(&Triangular { of, columns: shapes[1][2] as u32, upper, unit })
            }
        };
        CustomLaunch { source, params, groups }
    }

    fn vjp(&self, dy: &Tensor, inputs: &[Tensor], y: &Tensor) -> Vec<Option<Tensor>> {
        match *self {
            Kernel::Lu => vec![Some(lu_vjp(dy, y))],
            Kernel::Cholesky => vec![Some(cholesky_vjp(dy, y))],
            Kernel::Triangular { upper, unit } => {
                let db = triangular(&inputs[0].mt(), dy, !upper, unit);
                let da = -db.matmul(&y.mt());
                let beside = i64::from(unit);
                vec![Some(if upper { da.triu(beside) } else { da.tril(-beside) }), Some(db)]
            }
        }
    }

    fn key(&self) -> u64 {
        match *self {
            Kernel::Triangular { upper, unit } => u64::from(upper) | u64::from(unit) << 1,
            _ => 0,
        }
    }
}

/// With L and U of the factors: dx = Pᵀ L⁻ᵀ (strictly lower part of Lᵀ dL + upper part of dU Uᵀ) U⁻ᵀ.
///
/// Source: de Hoog, Anderssen & Lukas 2011, "Differentiation of matrix functionals using triangular factorization".
#[track_caller]
fn lu_vjp(dy: &Tensor, y: &Tensor) -> Tensor {
    let n = y.shape_or_scalar()[2];
    let (d, both) = (dy.narrow(1, 0, n), y.narrow(1, 0, n));
    let lower = both.tril(-1) + Tensor::eye(y.device(), [n]);
    let inner = lower.mt().matmul(&d.tril(-1)).tril(-1) + d.triu(0).matmul(&both.triu(0).mt()).triu(0);
    let left = triangular(&both.mt(), &inner, true, true);
    let turned = triangular(&both, &left.mt(), true, false).mt();
    reordered(&turned, &row_order(y, n).argsort(-1, false))
}

/// dx = L⁻ᵀ · (symmetric part of the lower triangle of Lᵀ dL) · L⁻¹.
///
/// Source: Murray 2016, "Differentiation of the Cholesky decomposition", §4.1.
#[track_caller]
fn cholesky_vjp(dy: &Tensor, y: &Tensor) -> Tensor {
    let inner = y.mt().matmul(dy);
    let even = (inner.tril(0) + inner.tril(-1).mt()) * Lit(0.5);
    let left = triangular(&y.mt(), &even, true, false);
    triangular(&y.mt(), &left.mt(), true, false).mt()
}

#[track_caller]
fn triangular(a: &Tensor, b: &Tensor, upper: bool, unit: bool) -> Tensor {
    if b.numel() == 0 { b.current() } else { Tensor::custom(Arc::new(Kernel::Triangular { upper, unit }), &[a, b]) }
}

/// Which row of the matrix stands where in its factors: `[matrices, n]`.
#[track_caller]
fn row_order(factors: &Tensor, n: usize) -> Tensor {
    factors.narrow(1, n as i64, 1).squeeze(1).cast(DType::I32).detach()
}

/// The rows of matrices in another order.
#[track_caller]
fn reordered(x: &Tensor, order: &Tensor) -> Tensor {
    x.gather(1, &order.unsqueeze(-1).expand(x.shape_or_scalar()))
}

/// Square matrices as one batch.
struct Matrices {
    /// `[matrices, n, n]`.
    all: Tensor,
    /// The axes before those of a matrix.
    batch: Vec<usize>,
    n: usize,
}

impl Matrices {
    /// Matrices that a kernel can take.
    #[track_caller]
    fn of(op: &'static str, x: &Tensor) -> Result<Matrices, Tensor> {
        match Self::any(op, x) {
            Ok(of) if of.n > MAX_ROWS as usize => Err(Tensor::bad_shape(op, &[x], "matrices of at most 192 rows")),
            checked => checked,
        }
    }

    #[track_caller]
    fn any(op: &'static str, x: &Tensor) -> Result<Matrices, Tensor> {
        if x.error().is_some() {
            return Err(x.current());
        }
        let shape = x.shape_or_scalar();
        let [batch @ .., rows, n] = &shape[..] else {
            return Err(Tensor::bad_shape(op, &[x], "a matrix or more axes"));
        };
        if rows != n {
            return Err(Tensor::bad_shape(op, &[x], "square matrices"));
        }
        if x.dtype() != DType::F32 {
            return Err(Tensor::bad_dtype(op, &[x], "matrices of f32; cast first"));
        }
        let count = batch.iter().product::<usize>();
        Ok(Matrices { all: x.reshape([count, *n, *n]), batch: batch.to_vec(), n: *n })
    }

    /// A result for each matrix, with its axes.
    #[track_caller]
    fn each(&self, result: &Tensor, own: &[usize]) -> Tensor {
        result.reshape([&self.batch, own].concat())
    }

    fn is_empty(&self) -> bool {
        self.all.numel() == 0
    }

    #[track_caller]
    fn lu(&self) -> Tensor {
        Tensor::custom(Arc::new(Kernel::Lu), &[&self.all])
    }

    /// Diagonal of U `[matrices, n]` and sign of the order of the rows `[matrices]`.
    #[track_caller]
    fn pivots(&self) -> (Tensor, Tensor) {
        let lu = self.lu();
        let sign = lu.narrow(1, self.n as i64 + 1, 1).narrow(2, 0, 1).reshape([-1i64]).detach();
        (lu.narrow(1, 0, self.n).diagonal(0, 1, 2), sign)
    }
}

/// `a` and `b` as batches `[matrices, n, n]` and `[matrices, n, columns]` with what broadcasts repeated, and the shape of
/// the result.
#[track_caller]
fn equations(op: &'static str, a: &Tensor, b: &Tensor) -> Result<(Matrices, Tensor, Shape), Tensor> {
    let of = Matrices::of(op, a)?;
    if b.error().is_some() {
        return Err(b.current());
    }
    if b.dtype() != DType::F32 {
        return Err(Tensor::bad_dtype(op, &[a, b], "matrices of f32; cast first"));
    }
    let (shape, why) = (b.shape_or_scalar(), "[.., n, n] and [.., n, columns], whose first axes broadcast");
    let wrong = || Tensor::bad_shape(op, &[a, b], why);
    let [batch @ .., rows, columns] = &shape[..] else { return Err(wrong()) };
    let both = match (Shape::new(&of.batch), Shape::new(batch)) {
        (Some(x), Some(y)) if *rows == of.n => x.broadcast(&y).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    let wide = |t: &Tensor, columns: usize| t.expand([&both[..], &[of.n, columns]].concat());
    let a = Matrices::of(op, &wide(a, of.n))?;
    let (b, result) = (wide(b, *columns), Shape::of(&[&both[..], &[of.n, *columns]].concat()));
    Ok((a, b.reshape([both.iter().product(), of.n, *columns]), result))
}

impl Tensor {
    /// x with A x = b, for square matrices `A [.., n, n]` (this tensor) of at most 192 rows: `b [.., n, columns]` → the same,
    /// where the first axes broadcast, or `b [n]`, or one vector for each matrix, `[.., n]` → the same. Of a singular matrix it
    /// is not finite.
    ///
    /// Source: `torch.linalg.solve`.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let a = Tensor::new(&device, [[2.0, 1.0], [1.0, 3.0]]);
    /// let x = a.solve(&Tensor::new(&device, [3.0, 5.0]));
    /// assert!(a.mv(&x).allclose(&Tensor::new(&device, [3.0, 5.0]), 1e-5, 1e-6, false).item_as::<bool>()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn solve(&self, b: &Tensor) -> Tensor {
        composed("solve", || {
            let (own, other) = (self.shape_or_scalar(), b.shape_or_scalar());
            let vectors = other.rank() == 1 || (own.rank() == other.rank() + 1 && own[..other.rank()] == other[..]);
            if vectors && self.error().is_none() && b.error().is_none() {
                return self.solve(&b.unsqueeze(-1)).squeeze(-1);
            }
            let (a, b, shape) = match equations("solve", self, b) {
                Ok(equations) => equations,
                Err(invalid) => return invalid,
            };
            if b.numel() == 0 {
                return b.reshape(shape);
            }
            let lu = a.lu();
            let (both, b) = (lu.narrow(1, 0, a.n), reordered(&b, &row_order(&lu, a.n)));
            triangular(&both, &triangular(&both, &b, false, true), true, false).reshape(shape)
        })
    }

    /// X with A X = b, or X A = b where A stands on the right (not `left`), for triangular matrices `A [.., n, n]` (this tensor)
    /// of at most 192 rows, of which the other triangle is not read, nor the diagonal if it is taken for 1 (`unitriangular`).
    /// `b [.., n, columns]`, or `[.., rows, n]`, → the same; the first axes broadcast.
    ///
    /// Source: `torch.linalg.solve_triangular`.
    #[track_caller]
    pub fn solve_triangular(&self, b: &Tensor, upper: bool, left: bool, unitriangular: bool) -> Tensor {
        composed("solve_triangular", || {
            if !left {
                let matrices = [self, b].iter().all(|t| t.error().is_none() && t.rank() >= 2);
                if matrices {
                    return self.mt().solve_triangular(&b.mt(), !upper, true, unitriangular).mt();
                }
            }
            match equations("solve_triangular", self, b) {
                Ok((a, b, shape)) => triangular(&a.all, &b, upper, unitriangular).reshape(shape),
                Err(invalid) => invalid,
            }
        })
    }

    /// The inverses of square matrices `[.., n, n]` of at most 192 rows; of a singular one it is not finite. To multiply by it,
    /// [`Tensor::solve`] is faster and more exact.
    ///
    /// Source: `torch.linalg.inv`.
    #[track_caller]
    pub fn inv(&self) -> Tensor {
        composed("inv", || match Matrices::of("inv", self) {
            Ok(of) => self.solve(&Tensor::eye(self.device(), [of.n])),
            Err(invalid) => invalid,
        })
    }

    /// The determinants of square matrices `[.., n, n]` → `[..]`, of at most 192 rows. Of a singular matrix it is 0, and its
    /// gradient not finite.
    ///
    /// Source: `torch.linalg.det`.
    #[track_caller]
    pub fn det(&self) -> Tensor {
        composed("det", || match Matrices::of("det", self) {
            Ok(of) if of.is_empty() => of.each(&Tensor::ones(self.device(), [of.batch.iter().product::<usize>()]), &[]),
            Ok(of) => {
                let (diagonal, sign) = of.pivots();
                of.each(&(diagonal.prod_axes(-1, false) * sign), &[])
            }
            Err(invalid) => invalid,
        })
    }

    /// Sign and logarithm of the absolute value of the determinants of square matrices `[.., n, n]` → `[..]` each, of at most
    /// 192 rows; 0 and −∞ for a singular matrix.
    ///
    /// Source: `torch.linalg.slogdet`.
    #[track_caller]
    pub fn slogdet(&self) -> (Tensor, Tensor) {
        let of = match Matrices::of("slogdet", self) {
            Ok(of) => of,
            Err(invalid) => return (invalid.clone(), invalid),
        };
        if of.is_empty() {
            let ones = of.each(&Tensor::ones(self.device(), [of.batch.iter().product::<usize>()]), &[]);
            return (ones.clone(), ones.zeros_like());
        }
        let (diagonal, sign) = of.pivots();
        let sign = diagonal.detach().sign().prod_axes(-1, false) * sign;
        let size = composed("slogdet", || diagonal.abs().ln().sum_axes(-1, false));
        (of.each(&sign, &[]), of.each(&size, &[]))
    }

    /// L with L Lᵀ the symmetric positive definite matrices `[.., n, n]` of at most 192 rows, of which only the lower triangle is
    /// read; with `upper`, Uᵀ U is, and only the upper triangle is read. What is not positive definite becomes NaN.
    ///
    /// Source: `torch.linalg.cholesky`.
    #[track_caller]
    pub fn cholesky(&self, upper: bool) -> Tensor {
        composed("cholesky", || match Matrices::of("cholesky", self) {
            Ok(of) if of.is_empty() => self.current(),
            Ok(_) if upper => self.mt().cholesky(false).mt(),
            Ok(of) => of.each(&Tensor::custom(Arc::new(Kernel::Cholesky), &[&of.all]), &[of.n, of.n]),
            Err(invalid) => invalid,
        })
    }

    /// e to the power of square matrices `[.., n, n]`, Σ Aᵏ/k!, to f32's accuracy for norms up to 500; NaN beyond 4096.
    ///
    /// The sum is taken to A⁸ of A/2ˢ, whose norm is at most ½, and squared s times, at most 13.
    ///
    /// Source: `torch.linalg.matrix_exp`; Higham 2008, "Functions of matrices", §10.3.
    #[track_caller]
    pub fn matrix_exp(&self) -> Tensor {
        composed("matrix_exp", || {
            let n = match Matrices::any("matrix_exp", self) {
                Ok(of) if of.is_empty() => return self.current(),
                Ok(of) => of.n,
                Err(invalid) => return invalid,
            };
            const MOST: i32 = 13;
            let norm = self.detach().abs().sum_axes([-1i64], true).amax(-2, true);
            let squarings = (norm.log2() + Lit(1.0)).ceil().clamp(Lit(0.0), Lit(MOST as f32));
            let x = self * (-&squarings).exp2();
            let one = Tensor::eye(self.device(), [n]);
            let mut sum = &one + &x * Lit(1.0 / 8.0);
            for k in (1..8).rev() {
                sum = &one + x.matmul(&sum) * Lit(1.0 / k as f32);
            }
            for done in 0..MOST {
                sum = Tensor::where_(&squarings.gt(Lit(done as f32)), sum.matmul(&sum), &sum);
            }
            Tensor::where_(&norm.le(Lit(4096.0)), sum, f32::NAN)
        })
    }
}
