//! Reductions: along rows, along columns, of everything.

use kiln::prelude::*;

use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, any_size, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::Result;

const fn row(name: &'static str, about: &'static str, make: fn(&Device, &Case) -> Result<Subject>) -> Op {
    let ladder: &[&[usize]] = &[&[512, 1024], &[4096, 1024], &[16_384, 4096], &[32_768, 8192]];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op { name, family: "reduce", about, axes: &["rows", "cols"], ladder, half: false, work, valid, variants, make }
}

pub(crate) const OPS: &[Op] = &[
    row("sum_rows", "Σ of each row", |d, c| rows(d, c, |x| x.sum_axes([-1], false), |x| x.iter().sum())),
    row("max_rows", "greatest of each row", |d, c| {
        rows(d, c, |x| x.amax([-1], false), |x| x.iter().copied().fold(f64::MIN, f64::max))
    }),
    row("argmax", "where the greatest of each row is", |d, c| {
        let first = |x: &[f64]| (0..x.len()).rev().max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap_or(0) as f64;
        rows(d, c, |x| x.argmax(-1, false).cast(DType::F32), first)
    }),
    row("logsumexp", "log Σ exp of each row", |d, c| {
        rows(d, c, |x| x.logsumexp([-1], false), |x| x.iter().map(|v| v.exp()).sum::<f64>().ln())
    }),
    row("var_rows", "variance of each row", |d, c| rows(d, c, |x| x.var([-1], 0, false), variance)),
    row("sum_cols", "Σ of each column", columns),
    row("sum_all", "Σ of everything", everything),
];

fn work(size: &[usize]) -> Work {
    let [rows, cols] = wide(size);
    Work { flops: rows * cols, moved: rows * cols, moved_f32: 0.0, held: rows * cols, largest: rows * cols }
}

/// A sum of n numbers of either sign is right to a few roundings of its largest partial sum.
fn tolerance(n: usize) -> f64 {
    1e-6 * (n as f64).sqrt().max(10.0)
}

fn variance(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64
}

fn rows(
    device: &Device,
    case: &Case,
    op: impl Fn(&Tensor) -> Tensor + Clone + 'static,
    twin: impl Fn(&[f64]) -> f64 + 'static,
) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let of_row = move |row: usize| twin(&(row * cols..(row + 1) * cols).map(|i| data.wide(i)).collect::<Vec<_>>());
    Ok(Subject::tensor(move || op(&x), Twin::each(rows, 4 * cols, of_row), tolerance(cols)))
}

fn columns(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let of_column = move |col: usize| (0..rows).map(|row| data.wide(row * cols + col)).sum();
    Ok(Subject::tensor(move || x.sum_axes([0], false), Twin::each(cols, 4 * rows, of_column), tolerance(rows)))
}

fn everything(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let twin = Twin::each(1, rows * cols, move |_| (0..rows * cols).map(|i| data.wide(i)).sum());
    Ok(Subject::tensor(move || x.sum(), twin, tolerance(rows * cols)))
}
