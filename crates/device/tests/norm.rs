//! Layer and RMS norm with their gradient, against f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::norm::{self, Grad, Rows};
use support::{close, device, empty, floats, normal, run, upload, variants};

const EPS: f32 = 1e-5;

/// Normalised rows and 1 / deviation.
fn forward(x: &[f32], cols: usize, center: bool) -> (Vec<f64>, Vec<f64>) {
    let n = cols as f64;
    let rows = x.chunks(cols).map(|row| {
        let mean = if center { row.iter().map(|&v| f64::from(v)).sum::<f64>() / n } else { 0.0 };
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
        (row.iter().map(|&v| (f64::from(v) - mean) * rstd).collect::<Vec<_>>(), rstd)
    });
    let (rows, rstd): (Vec<_>, Vec<_>) = rows.unzip();
    (rows.concat(), rstd)
}

fn backward(xhat: &[f64], rstd: &[f64], g: &[f32], cols: usize, center: bool) -> Vec<f64> {
    let n = cols as f64;
    let rows = xhat.chunks(cols).zip(g.chunks(cols)).zip(rstd);
    rows.flat_map(|((xhat, g), rstd)| {
        let mean = if center { g.iter().map(|&v| f64::from(v)).sum::<f64>() / n } else { 0.0 };
        let along = g.iter().zip(xhat).map(|(&g, h)| f64::from(g) * h).sum::<f64>() / n;
        g.iter().zip(xhat).map(move |(&g, h)| rstd * (f64::from(g) - mean - h * along))
    })
    .collect()
}

fn check(x: &[f32], [rows, cols]: [usize; 2], tolerance: f64) {
    let device = device();
    let g = normal(x.len(), 21);
    for (variant, caps) in variants(&device) {
        for width in [1, 4].into_iter().filter(|w| cols % w == 0) {
            for center in [true, false] {
                let [r, c, w] = [rows, cols, width].map(|v| v as u32);
                let (input, xhat, rstd) = (upload(&device, x), empty(&device, x.len()), empty(&device, rows));
                let launch = norm::rows(&caps, &Rows { center, rows: r, cols: c, width: w, eps: EPS }).unwrap();
                run(&device, &launch, &[("x", &input), ("out", &xhat), ("rstd", &rstd)]).unwrap();
                let (want, want_rstd) = forward(x, cols, center);
                let name = format!("{variant} center {center} [{rows}, {cols}] width {width}");
                close(&name, &floats(&device, &xhat), &want, tolerance);
                close(&name, &floats(&device, &rstd), &want_rstd, tolerance);

                // Judged from the kernel's own xhat and rstd, whose error is known by now.
                let [h, s] = [&xhat, &rstd].map(|b| floats(&device, b).into_iter().map(f64::from).collect::<Vec<_>>());
                let (up, dx) = (upload(&device, &g), empty(&device, x.len()));
                let launch = norm::grad(&caps, &Grad { center, rows: r, cols: c, width: w }).unwrap();
                run(&device, &launch, &[("xhat", &xhat), ("rstd", &rstd), ("g", &up), ("out", &dx)]).unwrap();
                close(&format!("{name} gradient"), &floats(&device, &dx), &backward(&h, &s, &g, cols, center), 2e-6);
            }
        }
    }
}

#[test]
fn rows_match_f64() {
    for [rows, cols] in
        [[3, 3], [70, 4], [5, 10], [3, 17], [2, 65], [5, 127], [5, 128], [3, 129], [4, 512], [2, 5000], [1, 20000]]
    {
        check(&normal(rows * cols, 7), [rows, cols], 1e-6);
    }
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    // E[x²] - E[x]² would lose all digits. The mean is rounded to 1e-7 of itself, that is 1e-4 of the deviation.
    let x: Vec<f32> = normal(4 * 512, 7).iter().map(|v| 1000.0 + v).collect();
    check(&x, [4, 512], 1e-4);
}

#[test]
fn one_element_and_equal_elements_give_zero() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for cols in [1usize, 6, 40] {
            let (input, xhat, rstd) = (upload(&device, &vec![3.0f32; cols]), empty(&device, cols), empty(&device, 1));
            let launch =
                norm::rows(&caps, &Rows { center: true, rows: 1, cols: cols as u32, width: 1, eps: EPS }).unwrap();
            run(&device, &launch, &[("x", &input), ("out", &xhat), ("rstd", &rstd)]).unwrap();
            // A mean that is off by one rounding, times 1 / sqrt(eps).
            close(&format!("{variant} {cols}"), &floats(&device, &xhat), &vec![0.0; cols], 1e-4);
        }
    }
}
