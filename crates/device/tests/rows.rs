//! Every way to walk rows, of every kernel that has rows, against f64: sizes around the lanes and what they hold,
//! single rows, NaN, infinities and large numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::lanes::{self, Variant, Walk, Way};
use kiln_device::kernels::{Kind, Scalar, norm, reduce, softmax};
use kiln_device::{AdapterKind, Caps, Device, Error};
use std::collections::HashMap;
use support::{close, device, empty, floats, ints, normal, run, upload};

const INF: f32 = f32::INFINITY;

/// Rows and columns; four elements to a load where the columns allow.
fn shapes() -> Vec<[usize; 2]> {
    let short = [1, 3, 4, 16, 17, 64, 65, 68, 129, 132];
    let long = [256, 511, 512, 1024, 1028, 4096];
    let shape = |rows: &'static [usize], cols: usize| rows.iter().map(move |&r| [r, cols]);
    short.iter().flat_map(|&c| shape(&[1, 3, 70], c)).chain(long.iter().flat_map(|&c| shape(&[1, 5], c))).collect()
}

/// Rows of a width of loads, large ones in every second shape, and one of special values where there are several.
fn data(at: usize, [rows, cols]: [usize; 2]) -> Vec<f32> {
    let wide = if at.is_multiple_of(2) { 1.0 } else { 60.0 };
    let mut x: Vec<f32> = normal(rows * cols, 7).iter().map(|v| v * wide).collect();
    if rows > 1 {
        let row = &mut x[cols..2 * cols];
        match at % 5 {
            0 => row.fill(-INF),
            1 => row[cols / 2] = f32::NAN,
            2 => row[cols - 1] = INF,
            3 => row[..cols / 2].fill(-INF),
            _ => row.fill(f32::MAX),
        }
    }
    x
}

fn width(cols: usize) -> u32 {
    if cols.is_multiple_of(4) { 4 } else { 1 }
}

/// Runs `check` for every variant and shape, and asks for 40 shapes of every variant that holds nothing.
fn every(walk: impl Fn([usize; 2]) -> Walk, check: impl Fn(&Device, &Caps, usize, [usize; 2], &Variant)) {
    let device = device();
    let caps = device.caps();
    let mut counts: HashMap<Variant, usize> = HashMap::new();
    for (at, shape) in shapes().into_iter().enumerate() {
        let walk = walk(shape);
        let variants = lanes::variants(caps, &walk);
        assert!(variants.contains(&lanes::choose(caps, &walk)));
        assert_eq!((variants[0].way, variants[0].held), (Way::Tree, 0));
        for variant in variants {
            *counts.entry(variant).or_default() += 1;
            check(&device, caps, at, shape, &variant);
        }
    }
    println!("{} variants", counts.len());
    let least = counts.iter().filter(|(v, _)| v.held == 0).map(|(_, &n)| n).min();
    assert!(least >= Some(40), "{counts:?}");
}

/// Maximum and Σ exp(x - max) of a row, as PyTorch has them: NaN is the greatest.
fn parts(row: &[f32]) -> (f64, f64) {
    let max = row.iter().fold(-INF, |a, &b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }) as f64;
    (max, row.iter().map(|&v| (f64::from(v) - max).exp()).sum())
}

#[test]
fn softmax_by_every_variant() {
    let problem = |[rows, cols]: [usize; 2]| softmax::Rows {
        log: false,
        rows: rows as u32,
        cols: cols as u32,
        width: width(cols),
    };
    every(
        |shape| problem(shape).walk(),
        |device, caps, at, [rows, cols], variant| {
            let x = data(at, [rows, cols]);
            let want: Vec<f64> = x
                .chunks(cols)
                .flat_map(|row| {
                    let (max, sum) = parts(row);
                    row.iter().map(move |&v| (f64::from(v) - max).exp() / sum)
                })
                .collect();
            let (input, out) = (upload(device, &x), empty(device, x.len()));
            let launch = softmax::rows_with(caps, &problem([rows, cols]), variant).unwrap();
            run(device, &launch, &[("x", &input), ("out", &out)]).unwrap();
            close(&format!("softmax {variant} [{rows}, {cols}]"), &floats(device, &out), &want, 1e-6);
        },
    );
}

#[test]
fn logsumexp_by_every_variant() {
    let problem =
        |[rows, cols]: [usize; 2]| softmax::LogSumExp { rows: rows as u32, cols: cols as u32, width: width(cols) };
    every(
        |shape| problem(shape).walk(),
        |device, caps, at, [rows, cols], variant| {
            let x = data(at, [rows, cols]);
            let total = |row: &[f32]| {
                let (max, sum) = parts(row);
                if max.is_infinite() { max } else { max + sum.ln() }
            };
            let want: Vec<f64> = x.chunks(cols).map(total).collect();
            let (input, out) = (upload(device, &x), empty(device, rows));
            let launch = softmax::logsumexp_with(caps, &problem([rows, cols]), variant).unwrap();
            run(device, &launch, &[("x", &input), ("out", &out)]).unwrap();
            close(&format!("logsumexp {variant} [{rows}, {cols}]"), &floats(device, &out), &want, 1e-6);
        },
    );
}

/// The norm and its gradient; centred in every second shape.
#[test]
fn norms_by_every_variant() {
    const EPS: f32 = 1e-5;
    let problem = |[rows, cols]: [usize; 2], center| norm::Rows {
        center,
        rows: rows as u32,
        cols: cols as u32,
        width: width(cols),
        eps: EPS,
    };
    every(
        |shape| problem(shape, true).walk(),
        |device, caps, at, [rows, cols], variant| {
            let center = cols != 64; // a class of pipelines of its own
            let x = normal(rows * cols, at as u64);
            let n = cols as f64;
            let (mut want, mut want_rstd) = (Vec::new(), Vec::new());
            for row in x.chunks(cols) {
                let mean = if center { row.iter().map(|&v| f64::from(v)).sum::<f64>() / n } else { 0.0 };
                let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
                let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
                want.extend(row.iter().map(|&v| (f64::from(v) - mean) * rstd));
                want_rstd.push(rstd);
            }
            let (input, xhat, rstd) = (upload(device, &x), empty(device, x.len()), empty(device, rows));
            let launch = norm::rows_with(caps, &problem([rows, cols], center), variant).unwrap();
            run(device, &launch, &[("x", &input), ("out", &xhat), ("rstd", &rstd)]).unwrap();
            let name = format!("norm {variant} [{rows}, {cols}]");
            close(&name, &floats(device, &xhat), &want, 2e-6);
            close(&name, &floats(device, &rstd), &want_rstd, 2e-6);

            let g = normal(x.len(), 21);
            let want: Vec<f64> = want
                .chunks(cols)
                .zip(g.chunks(cols))
                .zip(&want_rstd)
                .flat_map(|((xhat, g), rstd)| {
                    let mean = if center { g.iter().map(|&v| f64::from(v)).sum::<f64>() / n } else { 0.0 };
                    let along = g.iter().zip(xhat).map(|(&g, h)| f64::from(g) * h).sum::<f64>() / n;
                    g.iter().zip(xhat).map(move |(&g, h)| rstd * (f64::from(g) - mean - h * along)).collect::<Vec<_>>()
                })
                .collect();
            let grad = norm::Grad { center, rows: rows as u32, cols: cols as u32, width: width(cols) };
            let (up, dx) = (upload(device, &g), empty(device, x.len()));
            let launch = norm::grad_with(caps, &grad, variant).unwrap();
            run(device, &launch, &[("xhat", &xhat), ("rstd", &rstd), ("g", &up), ("out", &dx)]).unwrap();
            close(&format!("{name} gradient"), &floats(device, &dx), &want, 2e-5);
        },
    );
}

#[test]
fn reductions_by_every_variant() {
    let problem = |kind, [rows, cols]: [usize; 2]| reduce::Rows {
        kind,
        ty: Scalar::F32,
        rows: rows as u32,
        cols: cols as u32,
        width: width(cols),
        chunks: 1,
    };
    every(
        |shape| problem(Kind::Sum, shape).walk(),
        |device, caps, at, [rows, cols], variant| {
            let x = data(at, [rows, cols]);
            let input = upload(device, &x);
            let sum = |row: &[f32]| row.iter().map(|&v| f64::from(v)).sum::<f64>();
            let max = |row: &[f32]| parts(row).0;
            for (kind, want) in [(Kind::Sum, &sum as &dyn Fn(&[f32]) -> f64), (Kind::Max, &max)] {
                // sums of numbers near f32::MAX are infinite in f32
                let want: Vec<f64> = x.chunks(cols).map(want).map(|v| f64::from(v as f32)).collect();
                let out = empty(device, rows);
                let launch = reduce::rows_with(caps, &problem(kind, [rows, cols]), variant).unwrap();
                run(device, &launch, &[("x", &input), ("out", &out)]).unwrap();
                // sums that cancel keep the rounding of their terms, which are 60 times as large in every second shape
                let tolerance = if at.is_multiple_of(2) { 1e-5 } else { 6e-4 };
                close(&format!("{kind:?} {variant} [{rows}, {cols}]"), &floats(device, &out), &want, tolerance);
            }
            let p = reduce::Arg { max: true, ty: Scalar::F32, rows: rows as u32, cols: cols as u32 };
            let first = |row: &[f32]| {
                let max = row.iter().copied().fold(-INF, f32::max);
                row.iter().position(|v| v.is_nan()).or(row.iter().position(|&v| v == max)).unwrap() as i32
            };
            let out = empty(device, rows);
            let launch = reduce::arg_rows_with(caps, &p, variant).unwrap();
            run(device, &launch, &[("x", &input), ("out", &out)]).unwrap();
            let want: Vec<i32> = x.chunks(cols).map(first).collect();
            assert_eq!(ints(device, &out), want, "arg {variant} [{rows}, {cols}]");
        },
    );
}

/// What the heuristics take for GPUs with subgroups of one size, of several, and without, and for CPU adapters.
#[test]
fn the_choice_depends_on_the_adapter() {
    let own = device().caps().clone();
    let gpu = Caps { kind: AdapterKind::Discrete, subgroup: Some((32, 32)), max_invocations: 1024, ..own };
    let name = |caps: &Caps, steps| {
        let walk = Walk { kernel: "softmax", rows: 512, steps, width: 4, passes: 2 };
        lanes::choose(caps, &walk).to_string()
    };
    let names = |caps: &Caps| [3, 60, 256, 1024, 4096, 100_000].map(|steps| name(caps, steps));
    let short = "alone1x64_held4";
    let expected = [short, "subgroup32x4_held4", "subgroup32x4_held8", "joined256x1_held4", "joined256x1_held16"];
    assert_eq!(names(&gpu)[..5], expected);
    assert_eq!(names(&gpu)[5], "joined256x1");
    let plain = [short, "tree32x4_held4", "tree256x1_held4", "tree256x1_held4", "tree256x1_held16", "tree256x1"];
    for subgroup in [None, Some((16, 32))] {
        assert_eq!(names(&Caps { subgroup, ..gpu.clone() }), plain);
    }
    let cpu = Caps { kind: AdapterKind::Cpu, subgroup: Some((8, 8)), ..gpu.clone() };
    assert_eq!(names(&cpu)[..3], ["alone1x64", "alone1x64", "subgroup8x1"]);
    let narrow = Caps { max_invocations: 128, subgroup: None, ..gpu };
    assert_eq!(name(&narrow, 4096), "tree128x1");
}

#[test]
fn a_variant_that_is_not_for_the_rows_is_an_error() {
    let device = device();
    let p = |cols| softmax::Rows { log: false, rows: 2, cols, width: 1 };
    let tree = Variant { way: Way::Tree, lanes: 256, rows: 1, held: 4 };
    assert!(softmax::rows_with(device.caps(), &p(1024), &tree).is_ok());
    let refused = softmax::rows_with(device.caps(), &p(1025), &tree);
    assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
    let other = Variant { way: Way::Subgroup, lanes: 64, rows: 1, held: 0 };
    assert!(softmax::rows_with(&Caps { subgroup: Some((32, 32)), ..device.caps().clone() }, &p(64), &other).is_err());
    let long = softmax::rows_with(device.caps(), &p(u32::MAX), &Variant { held: 0, ..tree });
    assert!(matches!(long, Err(Error::Limit { .. })), "{long:?}");
}
