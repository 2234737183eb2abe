//! Elementwise work: copies, single functions, fused chains, random numbers, an optimizer's update.

use kiln::prelude::*;

use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, any_size, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::{Failure, Result};

const fn row(
    name: &'static str,
    about: &'static str,
    work: fn(&[usize]) -> Work,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let ladder: &[&[usize]] = &[&[1 << 18], &[1 << 20], &[1 << 22], &[1 << 24], &[1 << 26]];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op { name, family: "elementwise", about, axes: &["n"], ladder, half: false, work, valid, variants, make }
}

/// Operands over `n` elements.
const MATRIX: &[&[usize]] = &[&[512, 512], &[1024, 1024], &[2048, 2048], &[4096, 4096], &[8192, 8192]];

pub(crate) const OPS: &[Op] = &[
    Op {
        half: true,
        ..row("scale", "1.5 x", |s| flat(s, 1.0, 1.0), |d, c| map(d, c, |[x, ..]| x * 1.5, |[x, ..]| 1.5 * x))
    },
    Op {
        half: true,
        ..row("add", "x + y", |s| flat(s, 1.0, 2.0), |d, c| map(d, c, |[x, y, _]| x + y, |[x, y, _]| x + y))
    },
    row("gelu", "gelu(x), exact", |s| flat(s, 20.0, 1.0), |d, c| map(d, c, |[x, ..]| x.gelu(), |[x, ..]| gelu(x))),
    row(
        "mul_add_gelu",
        "gelu(x · y + z), fused",
        |s| flat(s, 22.0, 3.0),
        |d, c| map(d, c, |[x, y, z]| (x * y + z).gelu(), |[x, y, z]| gelu(x * y + z)),
    ),
    row(
        "chain",
        "sigmoid(x) · tanh(y) + √(z² + 1) · exp(-x²), fused",
        |s| flat(s, 60.0, 3.0),
        |d, c| {
            let want = |[x, y, z]: [f64; 3]| y.tanh() / (1.0 + (-x).exp()) + (z * z + 1.0).sqrt() * (-x * x).exp();
            map(d, c, |[x, y, z]| x.sigmoid() * y.tanh() + (z.square() + 1.0).sqrt() * (-x.square()).exp(), want)
        },
    ),
    Op {
        axes: &["rows", "cols"],
        ladder: MATRIX,
        work: |size| matrix(size, 3.0, 3.0),
        ..row("bias_relu_residual", "relu(x + bias) + y, fused", |s| matrix(s, 3.0, 3.0), residual)
    },
    Op { axes: &["rows", "cols"], ladder: MATRIX, ..row("transpose", "1.5 xᵀ", |s| matrix(s, 1.0, 2.0), transpose) },
    row("random_uniform", "Philox words as floats in [0, 1)", |s| flat(s, 0.0, 0.0), |d, c| random(d, c, false)),
    row(
        "random_normal",
        "the same through Box and Muller's transform",
        |s| flat(s, 20.0, 0.0),
        |d, c| random(d, c, true),
    ),
    Op {
        family: "optimizer",
        ..row("adam", "Adam's update of n weights with given gradients", |s| flat(s, 15.0, 6.0), adam)
    },
    Op { family: "optimizer", ..row("sgd", "SGD with momentum, n weights", |s| flat(s, 4.0, 4.0), sgd) },
];

/// So many operations an element; so many operands beside the result.
fn flat(size: &[usize], flops: f64, operands: f64) -> Work {
    let [n] = wide(size);
    Work { flops: flops * n, moved: (operands + 1.0) * n, moved_f32: 0.0, held: (operands + 2.0) * n, largest: n }
}

fn matrix(size: &[usize], flops: f64, passes: f64) -> Work {
    let [rows, cols] = wide(size);
    let n = rows * cols;
    Work { flops: flops * n, moved: passes * n, moved_f32: 0.0, held: (passes + 1.0) * n, largest: n }
}

/// Abramowitz & Stegun 1964, 7.1.5 (series) and 7.1.14 (continued fraction), to 1e-15.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 2.5 {
        let mut term = a;
        let mut sum = a;
        for n in 1..80 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return (sum * 2.0 / std::f64::consts::PI.sqrt()).copysign(x);
    }
    let fraction = (1..=60).rev().fold(0.0, |rest, n| f64::from(n) / 2.0 / (a + rest));
    (1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + fraction)).copysign(x)
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

fn map(
    device: &Device,
    case: &Case,
    op: impl Fn([&Tensor; 3]) -> Tensor + Clone + 'static,
    twin: impl Fn([f64; 3]) -> f64 + 'static,
) -> Result<Subject> {
    let [n] = case.dims()?;
    let data = [1, 2, 3].map(|seed| Data::new(seed, case.dtype));
    let [x, y, z] = [data[0].tensor(device, &[n])?, data[1].tensor(device, &[n])?, data[2].tensor(device, &[n])?];
    let twin = Twin::each(n, 40, move |i| twin(data.map(|data| data.wide(i))));
    let tolerance = if case.dtype == DType::F16 { 1e-3 } else { 1e-6 };
    Ok(Subject::tensor(move || op([&x, &y, &z]), twin, tolerance))
}

fn residual(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = [1, 2, 3].map(|seed| Data::new(seed, case.dtype));
    let (x, y) = (data[0].tensor(device, &[rows, cols])?, data[1].tensor(device, &[rows, cols])?);
    let bias = data[2].tensor(device, &[cols])?;
    let twin =
        Twin::each(rows * cols, 10, move |i| (data[0].wide(i) + data[2].wide(i % cols)).max(0.0) + data[1].wide(i));
    Ok(Subject::tensor(move || (&x + &bias).relu() + &y, twin, 1e-6))
}

fn transpose(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let twin = Twin::each(rows * cols, 4, move |i| 1.5 * data.wide(i % rows * cols + i / rows));
    Ok(Subject::tensor(move || x.t() * 1.5, twin, 1e-6))
}

/// A generator's twin is Kiln's own Philox on the host; what it makes of the words is as in Salmon et al. 2011 and
/// Box & Muller 1958. Here it is judged by its moments and, for uniforms, by the grid of 2⁻²⁴ that it lives on.
fn random(device: &Device, case: &Case, normal: bool) -> Result<Subject> {
    let [n] = case.dims()?;
    let rng = Rng::new(device, 7);
    let device = device.clone();
    let draw = move || if normal { rng.normal([n]) } else { rng.uniform([n]) };
    let verify = move || {
        let again = Rng::new(&device, 11);
        let x: Vec<f32> = if normal { again.normal([n]) } else { again.uniform([n]) }.to_vec()?;
        Ok(moments(&x, normal))
    };
    Ok(Subject {
        run: Box::new(move || Ok(draw().eval()?)),
        verify: Box::new(verify),
        // Five standard deviations of a mean of n draws.
        tolerance: 5.0 / (n as f64).sqrt(),
        variant: "auto".into(),
    })
}

/// How far mean and second moment are from theory, in units of a draw's standard deviation; infinite for a number
/// that cannot be drawn.
fn moments(x: &[f32], normal: bool) -> f64 {
    let n = x.len() as f64;
    let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|&v| f(f64::from(v))).sum::<f64>() / n;
    let fits =
        |v: &f32| if normal { v.is_finite() } else { (0.0..1.0).contains(v) && (v * 16_777_216.0).fract() == 0.0 };
    if !x.iter().all(fits) {
        return f64::INFINITY;
    }
    if normal {
        return mean(&|v| v).abs().max((mean(&|v| v * v) - 1.0).abs() / 2f64.sqrt());
    }
    let (first, second) = ((mean(&|v| v) - 0.5) * 12f64.sqrt(), (mean(&|v| v * v) - 1.0 / 3.0) / (4.0 / 45f64).sqrt());
    first.abs().max(second.abs())
}

/// The weights, their gradients as a tensor, and what they start from.
#[derive(Module)]
struct Weights {
    w: Param,
}

fn weights(device: &Device, case: &Case) -> Result<(Weights, Tensor, [Data; 2], usize)> {
    let [n] = case.dims()?;
    let data = [1, 2].map(|seed| Data::new(seed, case.dtype));
    let weights = Weights { w: kiln::init::Init::new(device, 0).param(&data[0].tensor(device, &[n])?) };
    Ok((weights, data[1].tensor(device, &[n])?, data, n))
}

/// Runs an optimizer on Σ g w, whose gradient is g; judges the weights after the first step.
fn updates<O: Optimizer + 'static>(
    device: &Device,
    case: &Case,
    make: impl Fn(&Weights) -> O,
    twin: impl Fn(f64, f64) -> f64 + 'static,
) -> Result<Subject> {
    let (weights, g, data, n) = weights(device, case)?;
    let mut optimizer = make(&weights);
    let gradients = (&*weights.w * &g).sum().backward()?;
    optimizer.step(&gradients)?;
    let after = weights.w.to_vec::<f32>()?;
    let twin = Twin::each(n, 20, move |i| twin(data[0].wide(i), data[1].wide(i)));
    let error = twin.error(&after);
    if after.len() != n {
        return Err(Failure::Usage("an update of nothing".into()));
    }
    let run = move || {
        // The weights are other ones at every step, and so are the gradients.
        let gradients = (&*weights.w * &g).sum().backward()?;
        Ok(optimizer.step(&gradients)?)
    };
    Ok(Subject { run: Box::new(run), verify: Box::new(move || Ok(error)), tolerance: 1e-6, variant: "auto".into() })
}

fn adam(device: &Device, case: &Case) -> Result<Subject> {
    // The first step of Adam (Kingma & Ba 2015, algorithm 1): m̂ = g, v̂ = g².
    updates(device, case, |w| Adam::new(w, 1e-2), |w, g| w - 1e-2 * g / (g.abs() + 1e-8))
}

fn sgd(device: &Device, case: &Case) -> Result<Subject> {
    updates(device, case, |w| Sgd::new(w, 1e-2).momentum(0.9), |w, g| w - 1e-2 * g)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_knows_the_error_function() {
        let known = [(0.1, 0.112_462_916_018_284_89), (1.0, 0.842_700_792_949_714_9), (2.4, 0.999_311_486_103_354_9)];
        for (x, want) in known.into_iter().chain([(2.6, 0.999_763_965_583_470_7), (4.0, 0.999_999_984_582_742_1)]) {
            assert!((erf(x) - want).abs() < 1e-14 && erf(-x) == -erf(x), "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn numbers_that_are_not_random_are_noticed() {
        let even: Vec<f32> = (0..4096).map(|i| i as f32 / 4096.0).collect();
        assert!(moments(&even, false) < 5.0 / 64.0);
        assert!(moments(&[0.25; 4096], false) > 5.0 / 64.0 && moments(&[1.5; 4], false) == f64::INFINITY);
        assert!(moments(&[1.0; 4096], true) > 5.0 / 64.0 && moments(&[f32::NAN; 4], true) == f64::INFINITY);
    }
}
