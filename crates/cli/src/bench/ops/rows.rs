//! What is computed along rows: softmax, norms, cross-entropy.

use kiln::gpu::kernels::{lanes, softmax};
use kiln::gpu::{Caps, Step};
use kiln::loss::cross_entropy;
use kiln::prelude::*;

use super::conv::gradient;
use crate::bench::data::{Data, index, indices};
use crate::bench::op::{Case, Op, Work, any_size, dims, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::{Failure, Result};

const LADDER: &[&[usize]] = &[&[512, 1024], &[4096, 1024], &[16_384, 4096], &[32_768, 8192]];

const fn row(
    name: &'static str,
    about: &'static str,
    work: fn(&[usize]) -> Work,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let axes = &["rows", "cols"];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op { name, family: "rows", about, axes, ladder: LADDER, half: false, work, valid, variants, make }
}

pub(crate) const OPS: &[Op] = &[
    Op {
        half: true,
        variants: names,
        ..row("softmax", "exp(x - max) / Σ exp(x - max)", |s| through(s, 5.0, 2.0), softmax)
    },
    row("log_softmax", "x - max - log Σ exp(x - max)", |s| through(s, 5.0, 2.0), log_softmax),
    row("softmax_grad", "y (dy - Σ y dy)", |s| through(s, 4.0, 3.0), softmax_grad),
    Op {
        half: true,
        ..row("layer_norm", "(x - mean) / √(var + eps) · weight + bias", |s| through(s, 8.0, 2.0), layer_norm)
    },
    row("layer_norm_grad", "dx of layer norm without weights", |s| through(s, 12.0, 3.0), layer_norm_grad),
    row("rms_norm", "x / √(mean x² + eps) · weight", |s| through(s, 5.0, 2.0), rms_norm),
    Op {
        axes: &["rows", "classes"],
        ladder: &[&[512, 256], &[4096, 1024], &[4096, 16_384], &[8192, 50_304]],
        ..row("cross_entropy", "mean of log Σ exp(z) - z[label]", |s| through(s, 4.0, 1.0), entropy)
    },
    Op {
        axes: &["rows", "classes"],
        ladder: &[&[512, 256], &[4096, 1024], &[4096, 16_384], &[8192, 50_304]],
        ..row("cross_entropy_grad", "(softmax(z) - one_hot(label)) / rows", |s| through(s, 6.0, 2.0), entropy_grad)
    },
];

/// So many operations an element, and so many passes over all of them.
fn through(size: &[usize], flops: f64, passes: f64) -> Work {
    let [rows, cols] = wide(size);
    let elements = rows * cols;
    Work {
        flops: flops * elements,
        moved: passes * elements,
        moved_f32: 0.0,
        held: (passes + 1.0) * elements,
        largest: elements,
    }
}

/// A row of operand `data`, stretched to [-4, 4) so that its exponentials differ.
fn row_of(data: Data, row: usize, cols: usize) -> Vec<f64> {
    (row * cols..(row + 1) * cols).map(|i| 4.0 * data.wide(i)).collect()
}

/// Error of a result rounded to its own type.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F16 { 2e-3 } else { 1e-5 }
}

fn soft(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
    x.iter().map(|v| (v - max).exp() / sum).collect()
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::MIN, f64::max);
    max + x.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

/// Operand and twin of an operation along rows.
fn along(
    device: &Device,
    case: &Case,
    op: impl Fn(&Tensor) -> Tensor + Clone + 'static,
    twin: impl Fn(Vec<f64>) -> Vec<f64> + 'static,
) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = stretched(data.tensor(device, &[rows, cols])?)?;
    let twin = Twin::rows(rows, cols, 20 * cols, move |row| twin(row_of(data, row, cols)));
    Ok(Subject::tensor(move || op(&x), twin, tolerance(case.dtype)))
}

/// 4 x, in memory.
fn stretched(x: Tensor) -> Result<Tensor> {
    let x = x * 4.0;
    kiln::step(&[], Vec::new(), &[&x])?;
    Ok(x)
}

/// The kernel's problem.
fn problem(case: &Case) -> Option<softmax::Rows> {
    let [rows, cols] = dims(&case.size)?;
    let width = if cols % 4 == 0 { 4 } else { 1 };
    Some(softmax::Rows { log: false, rows: rows as u32, cols: cols as u32, width })
}

/// The algorithms, which are kernels of f32.
fn names(caps: &Caps, case: &Case) -> Vec<String> {
    let Some(p) = problem(case).filter(|_| case.dtype == DType::F32) else { return Vec::new() };
    lanes::variants(caps, &p.walk()).iter().map(ToString::to_string).collect()
}

fn softmax(device: &Device, case: &Case) -> Result<Subject> {
    // Thousandths of a row's sum are judged as numbers near one.
    let [rows, cols] = case.dims()?;
    let scale = (cols as f64).min(64.0);
    let Some(p) = problem(case) else { return Err(Failure::Usage(format!("rows and columns, not {}", case.shape()))) };
    let Some(wanted) = &case.variant else {
        let subject = along(device, case, |x| x.softmax(-1), |x| soft(&x))?;
        let chosen = format!("auto ({})", lanes::pick(device, "softmax", &p.walk()));
        return Ok(Subject { tolerance: subject.tolerance / scale, ..subject }.named(chosen));
    };
    let found = lanes::variants(device.caps(), &p.walk()).into_iter().find(|v| v.to_string() == *wanted);
    let found = found.filter(|_| case.dtype == DType::F32);
    let variant = found.ok_or_else(|| Failure::Usage(format!("softmax has no variant `{wanted}` here")))?;
    let data = Data::new(1, case.dtype);
    let numbers: Vec<u8> = (0..rows * cols).flat_map(|i| (4.0 * data.wide(i) as f32).to_le_bytes()).collect();
    let (x, out) = (device.upload(&numbers, "x")?, device.zeroed(4 * (rows * cols) as u64, "out")?);
    let launch = softmax::rows_with(device.caps(), &p, &variant)?;
    let steps = vec![Step::new(device, &launch, &[("x", &x), ("out", &out)])?];
    let twin = Twin::rows(rows, cols, 20 * cols, move |row| soft(&row_of(data, row, cols)));
    Ok(Subject::kernels(device, steps, &out, |v| v, (twin, tolerance(case.dtype) / scale))?.named(wanted))
}

fn log_softmax(device: &Device, case: &Case) -> Result<Subject> {
    let twin = |x: Vec<f64>| {
        let total = log_sum_exp(&x);
        x.iter().map(|v| v - total).collect()
    };
    along(device, case, |x| x.log_softmax(-1), twin)
}

fn softmax_grad(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let (data, up) = (Data::new(1, case.dtype), Data::new(2, case.dtype));
    let (x, dy) = (stretched(data.tensor(device, &[rows, cols])?)?, up.tensor(device, &[rows, cols])?);
    let twin = Twin::rows(rows, cols, 40 * cols, move |row| {
        let y = soft(&row_of(data, row, cols));
        let dy: Vec<f64> = (row * cols..(row + 1) * cols).map(|i| up.wide(i)).collect();
        let inner: f64 = y.iter().zip(&dy).map(|(y, dy)| y * dy).sum();
        y.iter().zip(&dy).map(|(y, dy)| y * (dy - inner)).collect()
    });
    // With y in memory, as it is when the gradient's turn comes.
    let y = x.softmax(-1);
    y.eval()?;
    Ok(Subject::tensor(move || gradient(&(&y * &dy), &x), twin, 1e-6))
}

fn normal(x: &[f64], center: bool) -> (Vec<f64>, f64) {
    let n = x.len() as f64;
    let mean = if center { x.iter().sum::<f64>() / n } else { 0.0 };
    let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (var + 1e-5).sqrt();
    (x.iter().map(|v| (v - mean) * scale).collect(), scale)
}

fn layer_norm(device: &Device, case: &Case) -> Result<Subject> {
    let [_, cols] = case.dims()?;
    let (w, b) = (Data::new(2, case.dtype), Data::new(3, case.dtype));
    let (weight, bias) = (w.tensor(device, &[cols])?, b.tensor(device, &[cols])?);
    let op = move |x: &Tensor| x.layer_norm(1, Some(&weight), Some(&bias), 1e-5);
    let twin = move |x: Vec<f64>| {
        let (y, _) = normal(&x, true);
        y.iter().enumerate().map(|(i, y)| y * w.wide(i) + b.wide(i)).collect()
    };
    along(device, case, op, twin)
}

fn rms_norm(device: &Device, case: &Case) -> Result<Subject> {
    let [_, cols] = case.dims()?;
    let w = Data::new(2, case.dtype);
    let weight = w.tensor(device, &[cols])?;
    let op = move |x: &Tensor| x.rms_norm(1, Some(&weight), 1e-5);
    along(device, case, op, move |x| normal(&x, false).0.iter().enumerate().map(|(i, y)| y * w.wide(i)).collect())
}

fn layer_norm_grad(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let (data, up) = (Data::new(1, case.dtype), Data::new(2, case.dtype));
    let (x, dy) = (stretched(data.tensor(device, &[rows, cols])?)?, up.tensor(device, &[rows, cols])?);
    let twin = Twin::rows(rows, cols, 30 * cols, move |row| {
        let (y, scale) = normal(&row_of(data, row, cols), true);
        let dy: Vec<f64> = (row * cols..(row + 1) * cols).map(|i| up.wide(i)).collect();
        let n = cols as f64;
        let mean = dy.iter().sum::<f64>() / n;
        let inner = dy.iter().zip(&y).map(|(dy, y)| dy * y).sum::<f64>() / n;
        dy.iter().zip(&y).map(|(dy, y)| scale * (dy - mean - y * inner)).collect()
    });
    let y = x.layer_norm(1, None, None, 1e-5);
    y.eval()?;
    Ok(Subject::tensor(move || gradient(&(&y * &dy), &x), twin, 1e-5))
}

/// Logits and labels.
fn classes(device: &Device, case: &Case) -> Result<([usize; 2], Data, Tensor, Tensor)> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let z = stretched(data.tensor(device, &[rows, cols])?)?;
    Ok(([rows, cols], data, z, indices(device, 2, &[rows], cols)?))
}

fn entropy(device: &Device, case: &Case) -> Result<Subject> {
    let ([rows, cols], data, z, labels) = classes(device, case)?;
    let twin = Twin::each(1, rows * cols, move |_| {
        let loss = |row: usize| {
            let z = row_of(data, row, cols);
            log_sum_exp(&z) - z[index(2, row, cols)]
        };
        (0..rows).map(loss).sum::<f64>() / rows as f64
    });
    Ok(Subject::tensor(move || cross_entropy(&z, &labels), twin, 1e-5))
}

fn entropy_grad(device: &Device, case: &Case) -> Result<Subject> {
    let ([rows, cols], data, z, labels) = classes(device, case)?;
    // Multiplied by the rows, or every error would be small.
    let twin = Twin::rows(rows, cols, 30 * cols, move |row| {
        let mut y = soft(&row_of(data, row, cols));
        y[index(2, row, cols)] -= 1.0;
        y
    });
    let expression = move || gradient(&(cross_entropy(&z, &labels) * rows as f32), &z);
    Ok(Subject::tensor(expression, twin, 1e-6))
}
