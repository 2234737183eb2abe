//! Softmax, log-softmax and logsumexp against f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::softmax::{self, LogSumExp, Rows};
use support::{close, device, empty, floats, normal, run, upload, variants};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// Maximum and Σ exp(x - max) of a row, as PyTorch has them: NaN is the greatest.
fn parts(row: &[f32]) -> (f64, f64) {
    let max = row.iter().fold(-INF, |a, &b| if a.is_nan() || b.is_nan() { NAN } else { a.max(b) }) as f64;
    (max, row.iter().map(|&v| (f64::from(v) - max).exp()).sum())
}

fn softmax(x: &[f32], cols: usize, log: bool) -> Vec<f64> {
    x.chunks(cols)
        .flat_map(|row| {
            let (max, sum) = parts(row);
            row.iter().map(move |&v| {
                let d = f64::from(v) - max;
                if log { d - sum.ln() } else { d.exp() / sum }
            })
        })
        .collect()
}

fn logsumexp(x: &[f32], cols: usize) -> Vec<f64> {
    x.chunks(cols)
        .map(|row| {
            let (max, sum) = parts(row);
            if max.is_infinite() { max } else { max + sum.ln() }
        })
        .collect()
}

fn check(x: &[f32], [rows, cols]: [usize; 2], what: &str) {
    let device = device();
    for (variant, caps) in variants(&device) {
        for width in [1, 4].into_iter().filter(|w| cols % w == 0) {
            let [r, c, w] = [rows, cols, width].map(|v| v as u32);
            let (input, out, sums) = (upload(&device, x), empty(&device, x.len()), empty(&device, rows));
            for log in [false, true] {
                let launch = softmax::rows(&caps, &Rows { log, rows: r, cols: c, width: w }).unwrap();
                run(&device, &launch, &[("x", &input), ("out", &out)]).unwrap();
                let name = format!("{variant} {what} log {log} [{rows}, {cols}] width {width}");
                close(&name, &floats(&device, &out), &softmax(x, cols, log), 1e-6);
            }
            let launch = softmax::logsumexp(&caps, &LogSumExp { rows: r, cols: c, width: w }).unwrap();
            run(&device, &launch, &[("x", &input), ("out", &sums)]).unwrap();
            let name = format!("{variant} {what} logsumexp [{rows}, {cols}] width {width}");
            close(&name, &floats(&device, &sums), &logsumexp(x, cols), 1e-6);
        }
    }
}

#[test]
fn rows_match_f64() {
    for [rows, cols] in [
        [1, 1],
        [3, 3],
        [70, 4],
        [5, 10],
        [3, 17],
        [2, 65],
        [5, 127],
        [5, 128],
        [3, 129],
        [4, 512],
        [2, 5000],
        [1, 20000],
    ] {
        let x = normal(rows * cols, 7);
        check(&x, [rows, cols], "normal");
        // exp(x) alone overflows
        check(&x.iter().map(|v| 50.0 * v).collect::<Vec<_>>(), [rows, cols], "wide");
    }
}

#[test]
fn infinities_and_nan_are_as_in_pytorch() {
    for c in [4, 40, 300] {
        let mut x = normal(7 * c, 8);
        x[..c].fill(-INF);
        x[c + 1] = INF;
        x[2 * c + 1] = NAN;
        x[3 * c..3 * c + c / 2].fill(-INF);
        x[4 * c..5 * c].fill(f32::MIN);
        (x[5 * c], x[5 * c + 2]) = (INF, INF);
        x[6 * c..].fill(f32::MAX);
        check(&x, [7, c], "edges");
    }
}

#[test]
fn rows_past_65535_workgroups() {
    let device = device();
    let [rows, cols] = [70_000usize, 65]; // too long for one invocation a row
    let x = normal(rows * cols, 9);
    let (input, out) = (upload(&device, &x), empty(&device, x.len()));
    let launch =
        softmax::rows(device.caps(), &Rows { log: false, rows: rows as u32, cols: cols as u32, width: 1 }).unwrap();
    assert!(launch.groups[1] > 1);
    run(&device, &launch, &[("x", &input), ("out", &out)]).unwrap();
    close("folded", &floats(&device, &out), &softmax(&x, cols, false), 1e-6);
}
