//! Layers whose weight stays orthogonal while it is trained.

use super::reparam::Weighted;
use super::{Forward, Leaf, Module, Visitor};
use crate::init::{Draws, Init};
use crate::{DType, Lit, PadMode, Param, Result, State, Tensor, composed};

/// How free numbers become an orthogonal matrix. Of a tall matrix X `[n, k]` the first two take the lower triangle with zeros
/// beside it, A = X − Xᵀ, and k columns of the result; a wide one is taken for its transpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrthogonalMap {
    /// e^A.
    MatrixExp,
    /// (I + A/2)(I − A/2)⁻¹, for at most 192 rows.
    Cayley,
    /// The product of k reflections, whose axes stand below the diagonal, for at most 192 columns.
    Householder,
}

/// A layer with weight Q whose columns (or rows, where there are fewer) are orthogonal and of length 1; of a weight of more than
/// two axes, each matrix of the last two. State-dict paths are those of `torch.nn.utils.parametrizations.orthogonal`.
///
/// Source: Lezcano-Casado 2019, "Trivializations for gradient-based optimization on manifolds".
pub struct Orthogonal<L> {
    layer: L,
    original: Param,
    /// What the map's result is multiplied by: the weight at first.
    base: Option<State>,
    map: OrthogonalMap,
}

impl<L: Weighted> Orthogonal<L> {
    /// Wraps `layer`, by the matrix exponential if its weight is square, by reflections if not. An orthogonal weight stays as it
    /// is, another one becomes its orthogonal factor.
    ///
    /// # Errors
    /// As [`Orthogonal::with`].
    #[track_caller]
    pub fn new(layer: L, init: &mut Init) -> Result<Self> {
        let shape = layer.weight().shape()?;
        let square = matches!(shape[..], [.., rows, cols] if rows == cols);
        let map = if square { OrthogonalMap::MatrixExp } else { OrthogonalMap::Householder };
        Self::with(layer, map, true, init)
    }

    /// Wraps `layer`. With `trivialize` training begins at the map's origin, which stands for the weight as it is; without, the
    /// free numbers themselves stand for it, which only reflections can.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) of a weight of fewer than two axes, [`Error::Argument`](crate::Error::Argument)
    /// without `trivialize` for another map than reflections, and what the device says.
    #[track_caller]
    pub fn with(layer: L, map: OrthogonalMap, trivialize: bool, init: &mut Init) -> Result<Self> {
        let weight = layer.weight().value();
        let shape = weight.shape()?;
        let (batch, tall) = match &shape[..] {
            [batch @ .., rows, cols] => (batch, Tall::of(*rows, *cols)),
            _ => {
                let wrong = Tensor::bad_shape("orthogonal", &[&weight], "a matrix or more axes");
                return Err(wrong.shape().err().unwrap_or_else(|| unreachable!("it was just made invalid")));
            }
        };
        if !trivialize && map != OrthogonalMap::Householder {
            let why = "Householder, if not trivialized";
            weight.bad_argument("orthogonal", "map", format!("{map:?}"), why).shape()?;
        }
        let draws = &mut Draws::new(init.key(), 0);
        let (mut free, mut base) = (Vec::new(), Vec::new());
        for matrix in weight.to_vec::<f64>()?.chunks((tall.n * tall.k).max(1)) {
            let columns = tall.columns(matrix);
            if trivialize {
                let origin = (0..tall.k).map(|at| (0..tall.n).map(|row| if row == at { -1.0 } else { 0.0 }).collect());
                free.extend(tall.numbers(&origin.collect::<Vec<_>>()));
                base.extend(Tall::of(tall.n, tall.n).numbers(&whole(columns, tall.n, draws)));
            } else {
                free.extend(tall.numbers(&Reflections::of(columns).signed()));
            }
        }
        let original = init.param(&Tensor::from_vec(init.device(), free, &shape));
        original.shape()?;
        let square = [batch, &[tall.n, tall.n]].concat();
        let base = trivialize.then(|| init.state(&Tensor::from_vec(init.device(), base, &square)));
        Ok(Self { layer, original, base, map })
    }

    /// The orthogonal weight.
    #[track_caller]
    pub fn weight(&self) -> Tensor {
        composed("orthogonal", || {
            let x = self.original.value();
            let turned = x.shape().is_ok_and(|shape| matches!(shape[..], [.., rows, cols] if rows < cols));
            let x = if turned { x.mt() } else { x };
            let q = match self.map {
                OrthogonalMap::Householder => reflected(&x),
                OrthogonalMap::MatrixExp => columns_of(&skew(&x).matrix_exp(), &x),
                OrthogonalMap::Cayley => {
                    let half = skew(&x) * Lit(0.5);
                    let one = unit(&half);
                    columns_of(&(&one - &half).solve(&(&one + &half)), &x)
                }
            };
            let q = match &self.base {
                Some(base) => base.value().matmul(&q),
                None => q,
            };
            if turned { q.mt() } else { q }
        })
    }
}

impl<L: Weighted> Module for Orthogonal<L> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Layer("Orthogonal"));
        self.layer.visit_rest(visitor);
        visitor.field("parametrizations.weight.original", &self.original);
        visitor.field("parametrizations.weight.0.base", &self.base);
    }
}

impl<L: Weighted> Forward for Orthogonal<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.layer.with_weight(&self.weight(), x)
    }
}

/// Ones on the diagonal, in the shape of the last two axes of `x`.
#[track_caller]
fn unit(x: &Tensor) -> Tensor {
    match x.shape() {
        Ok(shape) if shape.len() >= 2 => Tensor::eye(x.device(), [shape[shape.len() - 2], shape[shape.len() - 1]]),
        _ => x.clone(), // it carries an error
    }
}

/// X − Xᵀ of the lower triangle of a tall matrix with zeros beside it.
#[track_caller]
fn skew(x: &Tensor) -> Tensor {
    match x.shape().as_deref() {
        Ok([.., n, k]) => {
            let lower = x.tril(0).pad(&[(0, (n - k) as i64)], PadMode::Constant(0.0));
            &lower - lower.mt()
        }
        _ => x.clone(), // it carries an error
    }
}

/// As many columns as `x` has.
#[track_caller]
fn columns_of(q: &Tensor, x: &Tensor) -> Tensor {
    match x.shape() {
        Ok(shape) => q.narrow(-1, 0, shape.last().copied().unwrap_or(0)),
        Err(_) => x.clone(),
    }
}

/// The first columns of the product of the reflections I − 2 v vᵀ/‖v‖², each with the sign that stands on the diagonal. With the
/// axes as the columns of V the product is I − V T Vᵀ, where T⁻¹ is the upper triangle of Vᵀ V with half of its diagonal.
///
/// Source: Joffrain et al. 2006, "Accumulating Householder transformations, revisited", §3.
#[track_caller]
fn reflected(x: &Tensor) -> Tensor {
    let one = unit(x);
    let axes = x.tril(-1) + &one;
    let products = axes.mt().matmul(&axes);
    let inverse = products.triu(0) - products.triu(0).tril(0) * Lit(0.5);
    let shares = inverse.solve_triangular(&axes.mt().matmul(&one), true, true, false);
    let signs = x.detach().diagonal(0, -2, -1).cast(DType::I32).cast(DType::F32);
    (one - axes.matmul(&shares)) * signs.unsqueeze(-2)
}

/// A matrix of the host as columns, of a wide one those of its transpose.
struct Tall {
    n: usize,
    k: usize,
    turned: bool,
}

impl Tall {
    fn of(rows: usize, cols: usize) -> Self {
        Self { n: rows.max(cols), k: rows.min(cols), turned: rows < cols }
    }

    /// Where row `row` of column `at` stands.
    fn place(&self, row: usize, at: usize) -> usize {
        if self.turned { at * self.n + row } else { row * self.k + at }
    }

    fn columns(&self, matrix: &[f64]) -> Vec<Vec<f64>> {
        (0..self.k).map(|at| (0..self.n).map(|row| matrix[self.place(row, at)]).collect()).collect()
    }

    fn numbers(&self, columns: &[Vec<f64>]) -> Vec<f32> {
        let mut matrix = vec![0.0; self.n * self.k];
        for (at, column) in columns.iter().enumerate() {
            for (row, value) in column.iter().enumerate() {
                matrix[self.place(row, at)] = *value as f32;
            }
        }
        matrix
    }
}

/// An orthogonal matrix of `n` columns that begins with what is orthogonal of `columns`.
fn whole(mut columns: Vec<Vec<f64>>, n: usize, draws: &mut Draws) -> Vec<Vec<f64>> {
    if columns.len() == n && is_orthogonal(&columns) {
        return columns;
    }
    columns.resize_with(n, || (0..n).map(|_| draws.gauss()).collect());
    Reflections::of(columns).product()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// As PyTorch sees it: to ten units of f32's last place for each row.
fn is_orthogonal(columns: &[Vec<f64>]) -> bool {
    let near = 10.0 * columns.len() as f64 * f64::from(f32::EPSILON);
    let wanted = |i, j| if i == j { 1.0 } else { 0.0 };
    let pairs = (0..columns.len()).flat_map(|i| (0..=i).map(move |j| (i, j)));
    pairs.into_iter().all(|(i, j)| (dot(&columns[i], &columns[j]) - wanted(i, j)).abs() <= near)
}

/// The factors Q R of a matrix: R, and below its diagonal the axes of the reflections whose product Q is.
///
/// Source: Golub & Van Loan 2013, "Matrix computations", alg. 5.2.1, with LAPACK's signs.
struct Reflections {
    columns: Vec<Vec<f64>>,
    /// 2/‖v‖² of each axis; 0 where nothing is reflected.
    scales: Vec<f64>,
}

impl Reflections {
    fn of(mut columns: Vec<Vec<f64>>) -> Self {
        let mut scales = Vec::new();
        for at in 0..columns.len() {
            let (top, rest) = (columns[at][at], dot(&columns[at][at + 1..], &columns[at][at + 1..]));
            let end = -top.signum() * (top * top + rest).sqrt();
            scales.push(if rest == 0.0 { 0.0 } else { (end - top) / end });
            if rest > 0.0 {
                columns[at][at + 1..].iter_mut().for_each(|v| *v /= top - end);
                columns[at][at] = end;
            }
            let (before, after) = columns.split_at_mut(at + 1);
            after.iter_mut().for_each(|column| reflect(column, &before[at], at, scales[at]));
        }
        Self { columns, scales }
    }

    /// Q with the signs that make the diagonal of R positive.
    fn product(&self) -> Vec<Vec<f64>> {
        let column = |at: usize| {
            let n = self.columns[at].len();
            let mut column: Vec<f64> = (0..n).map(|row| if row == at { 1.0 } else { 0.0 }).collect();
            for by in (0..self.columns.len()).rev() {
                reflect(&mut column, &self.columns[by], by, self.scales[by]);
            }
            let sign = self.columns[at][at].signum();
            column.iter().map(|v| v * sign).collect()
        };
        (0..self.columns.len()).map(column).collect()
    }

    /// The axes with the signs on the diagonal. What reflects nothing is taken for a reflection of its own row.
    fn signed(mut self) -> Vec<Vec<f64>> {
        for (at, scale) in self.scales.iter().enumerate() {
            let sign = self.columns[at][at].signum();
            self.columns[at][at] = if *scale == 0.0 { -sign } else { sign };
        }
        self.columns
    }
}

/// Reflects a column at the axis that stands below row `at` of another and is 1 in that row.
fn reflect(column: &mut [f64], axis: &[f64], at: usize, scale: f64) {
    let share = scale * (column[at] + dot(&column[at + 1..], &axis[at + 1..]));
    column[at] -= share;
    column[at + 1..].iter_mut().zip(&axis[at + 1..]).for_each(|(value, axis)| *value -= share * axis);
}
