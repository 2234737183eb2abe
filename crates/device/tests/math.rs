//! `map.wgsl` and the functions of `shaders/lib`, against f64, over whole ranges and at the edges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::map;
use kiln_device::{AdapterKind, Caps, Device, Launch};
use std::f64::consts::PI;
use support::{device, empty, error, floats, ints, run, upload, words};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// A function of one argument: its WGSL, its twin, the span where it is tested densely, the error it promises.
type Unary = (&'static str, fn(f64) -> f64, [f32; 2], f64);

const UNARY: &[Unary] = &[
    ("exp_(x)", f64::exp, [-110.0, 89.0], 1e-6),
    ("exp2_(x)", f64::exp2, [-150.0, 129.0], 1e-6),
    ("expm1_(x)", f64::exp_m1, [-30.0, 89.0], 1e-6),
    ("log_(x)", f64::ln, [0.0, 3.0], 3e-7),
    ("log2_(x)", f64::log2, [0.0, 3.0], 3e-7),
    ("log10_(x)", f64::log10, [0.0, 3.0], 3e-7),
    ("log1p_(x)", f64::ln_1p, [-1.0, 3.0], 3e-7),
    ("sqrt_(x)", f64::sqrt, [0.0, 100.0], 3e-7),
    ("rsqrt_(x)", |x| if x == 0.0 { f64::INFINITY.copysign(x) } else { 1.0 / x.sqrt() }, [0.0, 100.0], 5e-7),
    ("sin_(x)", f64::sin, [-100.0, 100.0], 3e-7),
    ("cos_(x)", f64::cos, [-100.0, 100.0], 3e-7),
    ("tan_(x)", f64::tan, [-10.0, 10.0], 1e-6),
    ("asin_(x)", f64::asin, [-1.0, 1.0], 3e-7),
    ("acos_(x)", f64::acos, [-1.0, 1.0], 3e-7),
    ("atan_(x)", f64::atan, [-10.0, 10.0], 3e-7),
    ("sinh_(x)", f64::sinh, [-89.5, 89.5], 1e-6),
    ("cosh_(x)", f64::cosh, [-89.5, 89.5], 1e-6),
    ("tanh_(x)", f64::tanh, [-10.0, 10.0], 5e-7),
    ("asinh_(x)", f64::asinh, [-10.0, 10.0], 5e-7),
    ("acosh_(x)", f64::acosh, [1.0, 10.0], 5e-7),
    ("atanh_(x)", f64::atanh, [-1.0, 1.0], 5e-7),
    ("sigmoid_(x)", |x| 1.0 / (1.0 + (-x).exp()), [-110.0, 110.0], 3e-7),
    ("softplus_(x)", |x| if x > 40.0 { x } else { x.exp().ln_1p() }, [-110.0, 110.0], 5e-7),
    ("erf_(x)", |x| 1.0 - erfc(x), [-6.0, 6.0], 5e-7),
    ("erfc_(x)", erfc, [-6.0, 10.0], 5e-7),
    ("erfinv_(x)", erfinv, [-1.0, 1.0], 1e-6),
    ("gelu_(x)", |x| 0.5 * x * erfc(-x / 2f64.sqrt()), [-10.0, 10.0], 5e-7),
    ("lgamma_(x)", lgamma, [-20.0, 40.0], 1e-6),
    ("digamma_(x)", digamma, [0.0, 40.0], 1e-6),
    ("trigamma_(x)", trigamma, [0.0, 40.0], 1e-6),
    // Mesa 26 got this wrong with a copysign made of bits.
    (
        "select(copysign_(sqrt(abs(x)) + 1.0, x), x, isnan_(x))",
        |x| (x.abs().sqrt() + 1.0).copysign(x),
        [-10.0, 10.0],
        3e-7,
    ),
    ("round_(x)", f64::round_ties_even, [-10.0, 10.0], 0.0),
    ("trunc_(x)", f64::trunc, [-10.0, 10.0], 0.0),
    ("relu_(x)", |x| if x.is_nan() || x > 0.0 { x } else { 0.0 }, [-3.0, 3.0], 0.0),
    (
        "sign_(x)",
        |x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                0.0
            }
        },
        [-3.0, 3.0],
        0.0,
    ),
    ("select(F(0.0), F(1.0), isnan_(x))", |x| f64::from(x.is_nan()), [-3.0, 3.0], 0.0),
    ("select(F(0.0), F(1.0), isinf_(x))", |x| f64::from(x.is_infinite()), [-3.0, 3.0], 0.0),
    ("select(F(0.0), F(1.0), isfinite_(x))", |x| f64::from(x.is_finite()), [-3.0, 3.0], 0.0),
];

/// Where a function is promised less: at poles, and beyond the range of an argument reduction.
fn promised(name: &str, x: f32) -> bool {
    match name {
        "sin_(x)" | "cos_(x)" | "tan_(x)" => !x.is_finite() || x.abs() <= 1e5,
        // Near a negative pole the argument itself is rounded.
        "lgamma_(x)" => x.is_nan() || x >= 0.0 || x == x.round() || (x > -1e6 && (x - x.round()).abs() > 1e-3),
        _ => true,
    }
}

fn points(span: [f32; 2]) -> Vec<f32> {
    let mut x: Vec<f32> = (0..=20_000).map(|i| span[0] + (span[1] - span[0]) * (i as f32 / 20_000.0)).collect();
    for i in -1250..=1270 {
        let size = 2f32.powf(i as f32 / 10.0);
        x.extend([size, -size]);
    }
    for i in -12..=12 {
        x.extend([i as f32, i as f32 + 0.5, i as f32 * std::f32::consts::FRAC_PI_4]);
    }
    x.extend([0.0, -0.0, 1.0, -1.0, NAN, -NAN, INF, -INF, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1.0 + f32::EPSILON]);
    x.extend([
        1.0 - f32::EPSILON / 2.0,
        -1.0 + f32::EPSILON / 2.0,
        88.7,
        88.73,
        -87.4,
        1e-30,
        -1e-30,
        1e30,
        16777216.0,
    ]);
    while !x.len().is_multiple_of(4) {
        x.push(0.5);
    }
    x
}

/// `expression` of x (and y) for every element, at one width.
fn evaluate(device: &Device, expression: &str, x: &[f32], y: &[f32], width: u32) -> Vec<f32> {
    let launch = map::launch(device.caps(), x.len() as u32 / width, width).unwrap();
    let source = launch.source.clone().declare("@group(0) @binding(10) var<storage, read> in1: array<F>;").slot(
        "body",
        format!(
            "    let x = x[i];\n    let y = in1[i];\n    out[i] = {expression} + 0.0 * select(F(0.0), y, y == F(1e9));"
        ),
    );
    let (a, b, out) = (upload(device, x), upload(device, y), empty(device, x.len()));
    run(device, &Launch { source, ..launch }, &[("x", &a), ("in1", &b), ("out", &out)]).unwrap();
    floats(device, &out)
}

#[test]
fn functions_of_one_argument() {
    let device = device();
    let mut failed = Vec::new();
    for &(name, twin, span, tolerance) in UNARY {
        let x = points(span);
        for width in [1, 4] {
            let got = evaluate(&device, name, &x, &x, width);
            let errors = x
                .iter()
                .zip(&got)
                .filter(|(x, _)| promised(name, **x))
                .map(|(&x, &got)| (error(got, twin(x.into())), x, got));
            let worst = errors.fold((0.0, 0.0, 0.0), |worst, e| if e.0 > worst.0 { e } else { worst });
            println!("{name:40} width {width}: {:.1e} at {:e}", worst.0, worst.1);
            if worst.0 > tolerance {
                failed.push(format!(
                    "{name} width {width}: {:e} at {:e}: {} is not {}",
                    worst.0,
                    worst.1,
                    worst.2,
                    twin(worst.1.into())
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn rem(a: f64, b: f64) -> f64 {
    let r = a % b;
    if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
}

type Binary = (&'static str, fn(f64, f64) -> f64, f64);

const BINARY: &[Binary] = &[
    ("pow_(x, y)", f64::powf, 1e-6),
    ("atan2_(x, y)", f64::atan2, 3e-7),
    ("fmod_(x, y)", |a, b| a % b, 3e-7),
    ("rem_(x, y)", rem, 3e-7),
    ("max_(x, y)", |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }, 0.0),
    ("min_(x, y)", |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }, 0.0),
    ("copysign_(x, y)", f64::copysign, 0.0),
];

#[test]
fn functions_of_two_arguments() {
    let device = device();
    let edges = [
        0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, -7.0, 1e-20, 1e20, 0.1, 10.0, NAN, INF, -INF, 0.99,
        1.01,
    ];
    let mut pairs: Vec<(f32, f32)> = edges.iter().flat_map(|&a| edges.map(|b| (a, b))).collect();
    let mut numbers = support::Numbers(3);
    for i in 0..40_000 {
        let scale = [1.0, 10.0, 100.0, 1000.0][i % 4];
        let (a, b) = ((numbers.unit() - 0.5) * scale, (numbers.unit() - 0.5) * 20.0);
        pairs.push((a as f32, b as f32));
        pairs.push((a.abs() as f32, b as f32));
        pairs.push(((b / 10.0).exp() as f32, (a / 4.0) as f32));
        pairs.push((a as f32, (b as f32).round()));
    }
    while !pairs.len().is_multiple_of(4) {
        pairs.push((0.5, 0.5));
    }
    let (x, y): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
    let mut failed = Vec::new();
    for &(name, twin, tolerance) in BINARY {
        for width in [1, 4] {
            let got = evaluate(&device, name, &x, &y, width);
            let mut worst = (0.0, 0.0, 0.0, 0.0);
            for ((&x, &y), &got) in x.iter().zip(&y).zip(&got) {
                let want = twin(x.into(), y.into());
                // A remainder is as coarse as its quotient is large; a subnormal result may be 0.
                let skip =
                    matches!(name, "fmod_(x, y)" | "rem_(x, y)") && (x / y).abs() > 4e6 && x.is_finite() && y != 0.0;
                let e = if skip { 0.0 } else { error(got, want) };
                if e > worst.0 {
                    worst = (e, x, y, got);
                }
            }
            println!("{name:40} width {width}: {:.1e} at {:e}, {:e}", worst.0, worst.1, worst.2);
            if worst.0 > tolerance {
                let want = twin(worst.1.into(), worst.2.into());
                failed.push(format!(
                    "{name} width {width}: {:e} at {}, {}: {} is not {want}",
                    worst.0, worst.1, worst.2, worst.3
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A function of two integers, and its twin.
type IntegerTwin<'a> = (&'a str, &'a dyn Fn(i32, i32) -> i32);

#[test]
fn integers() {
    let device = device();
    let values = [0, 1, -1, 2, -2, 3, -3, 7, -7, 10, -10, 31, 100, i32::MAX, i32::MIN + 1];
    let (a, b): (Vec<i32>, Vec<i32>) = values.iter().flat_map(|&a| values.map(|b| (a, b))).unzip();
    let floor = |a: i32, b: i32| if b == 0 { 0 } else { (f64::from(a) / f64::from(b)).floor() as i32 };
    let trunc = |a: i32, b: i32| if b == 0 { 0 } else { a / b };
    let power = |a: i32, b: i32| match (a, b) {
        (_, 0..) => a.wrapping_pow(b as u32),
        (1, _) => 1,
        (-1, _) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        _ => 0,
    };
    let twins: [IntegerTwin; 5] = [
        ("idiv_floor_", &floor),
        ("idiv_trunc_", &trunc),
        ("irem_", &|a, b| if b == 0 { 0 } else { a.wrapping_sub(floor(a, b).wrapping_mul(b)) }),
        ("ifmod_", &|a, b| if b == 0 { a } else { a % b }),
        ("ipow_", &power),
    ];
    for (name, twin) in twins {
        let launch = map::launch(device.caps(), a.len() as u32, 1).unwrap();
        let source = launch
            .source
            .clone()
            .declare("@group(0) @binding(10) var<storage, read> a: array<i32>;\n@group(0) @binding(11) var<storage, read> b: array<i32>;\n@group(0) @binding(12) var<storage, read_write> y: array<i32>;")
            .slot("body", format!("    y[i] = {name}(a[i], b[i]);"));
        let (x, z, out) = (upload(&device, &a), upload(&device, &b), empty(&device, a.len()));
        run(&device, &Launch { source, ..launch }, &[("a", &x), ("b", &z), ("y", &out)]).unwrap();
        for ((&a, &b), got) in a.iter().zip(&b).zip(ints(&device, &out)) {
            assert_eq!(got, twin(a, b), "{name}({a}, {b})");
        }
    }
}

#[test]
fn work_past_65535_groups_is_folded() {
    let device = device();
    let n = 65_536 * 64 + 77;
    let launch = map::launch(device.caps(), n, 1).unwrap();
    let launch = Launch {
        source: launch
            .source
            .clone()
            .declare("@group(0) @binding(10) var<storage, read_write> y: array<u32>;")
            .slot("body", "    y[i] = i;"),
        ..launch
    };
    let out = empty(&device, n as usize);
    run(&device, &launch, &[("y", &out)]).unwrap();
    assert!(words(&device, &out).iter().enumerate().all(|(i, &w)| i as u32 == w));
}

// ---- f64 twins that std does not have ----

/// Series near 0, continued fraction (Lentz) beyond: Abramowitz & Stegun 7.1.6, 7.1.14.
fn erfc(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    let y = if a < 2.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..100 {
            term *= 2.0 * a * a / f64::from(2 * n + 1);
            sum += term;
        }
        1.0 - 2.0 / PI.sqrt() * (-a * a).exp() * sum
    } else if a > 30.0 {
        0.0
    } else {
        let mut f = a;
        for n in (1..200).rev() {
            f = a + f64::from(n) / 2.0 / f;
        }
        (-a * a).exp() / PI.sqrt() / f
    };
    if x < 0.0 { 2.0 - y } else { y }
}

/// Bisection and Newton's method on erf.
fn erfinv(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 1.0 {
        return f64::NAN;
    }
    if x.abs() == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    if x.abs() < 1e-6 {
        return x * PI.sqrt() / 2.0;
    }
    let (mut low, mut high) = (0.0, 6.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if erfc(middle) > 1.0 - x.abs() { low = middle } else { high = middle }
    }
    low.copysign(x)
}

fn lgamma(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.is_infinite() || (x <= 0.0 && x == x.floor()) {
        return f64::INFINITY;
    }
    if x < 0.5 {
        let r = x - 2.0 * (0.5 * x).round();
        return (PI / (PI * r).sin().abs()).ln() - lgamma(1.0 - x);
    }
    let (mut v, mut shift) = (x, 0.0);
    while v < 20.0 {
        shift += v.ln();
        v += 1.0;
    }
    let z = 1.0 / (v * v);
    (v - 0.5) * v.ln() - v + 0.5 * (2.0 * PI).ln() + (1.0 / 12.0 - z * (1.0 / 360.0 - z / 1260.0)) / v - shift
}

fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return -f64::INFINITY.copysign(x);
    }
    if x.is_nan() || (x < 0.0 && x == x.floor()) {
        return f64::NAN;
    }
    if x.is_infinite() {
        return x;
    }
    if x < 0.0 {
        return digamma(1.0 - x) - PI / (PI * (x - x.round())).tan();
    }
    let (mut v, mut y) = (x, 0.0);
    while v < 20.0 {
        y -= 1.0 / v;
        v += 1.0;
    }
    let z = 1.0 / (v * v);
    y + v.ln() - 0.5 / v - z * (1.0 / 12.0 - z * (1.0 / 120.0 - z / 252.0))
}

fn trigamma(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return if x.is_nan() { x } else { 0.0 };
    }
    if x < 0.0 {
        let s = PI / (PI * (x - x.round())).sin();
        return s * s - trigamma(1.0 - x);
    }
    let (mut v, mut y) = (x, 0.0);
    while v < 20.0 {
        y += 1.0 / (v * v);
        v += 1.0;
    }
    let z = 1.0 / (v * v);
    y + 1.0 / v + 0.5 * z + z / v * (1.0 / 6.0 - z * (1.0 / 30.0 - z / 42.0))
}

/// By blocks of rows, as GPUs go through operands that lie the other way round, everything has its turn, once.
#[test]
fn blocks_of_rows_reach_everything_once() {
    let device = device();
    let gpu = Caps { kind: AdapterKind::Discrete, ..device.caps().clone() };
    for [rows, across] in [[1u32, 1], [16, 4], [33, 9], [31, 8], [100, 17], [32, 1000], [1000, 16]] {
        for width in [1, 4] {
            let n = rows * across;
            let launch = map::turned(&gpu, n, across, width).unwrap();
            let source = launch.source.clone().slot("body", "    out[i] = out[i] + x[i] + 1.0;");
            let zeros = vec![0f32; (n * width) as usize];
            let (x, out) = (upload(&device, &zeros), upload(&device, &zeros));
            run(&device, &Launch { source, ..launch }, &[("x", &x), ("out", &out)]).unwrap();
            assert!(floats(&device, &out).iter().all(|&v| v == 1.0), "[{rows}, {across}] by {width}");
        }
    }
}
