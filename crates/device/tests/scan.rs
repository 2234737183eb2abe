//! Running sums and their kin against f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::scan::{self, Rows};
use kiln_device::kernels::{Kind, Scalar};
use kiln_device::{Caps, Device};
use support::{close, device, empty, floats, ints, normal, upload, variants};

fn run<T: Copy + Into<support::Word>>(device: &Device, caps: &Caps, p: &Rows, x: &[T]) -> kiln_device::Buffer {
    let (input, out) = (upload(device, x), empty(device, x.len()));
    let steps = scan::rows(caps, p).unwrap().steps(device, &[("x", &input), ("out", &out)]).unwrap();
    device.run(steps).unwrap();
    out
}

#[test]
fn rows_match_f64() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for [r, c] in [[1, 1], [3, 2], [5, 127], [2, 128], [3, 129], [100, 300], [7, 1000], [2, 5000], [1, 100_000]] {
            for kind in [Kind::Sum, Kind::Prod, Kind::Max, Kind::Min] {
                let x: Vec<f32> =
                    normal(r * c, 4).iter().map(|v| if kind == Kind::Prod { 1.0 + 0.005 * v } else { *v }).collect();
                // Relative to the sum of |terms| so far.
                let (mut want, mut scale) = (Vec::new(), Vec::new());
                for row in x.chunks(c) {
                    let (mut acc, mut sum) = (None, 0.0f64);
                    for &v in row {
                        let v = f64::from(v);
                        let a = acc.map_or(v, |a: f64| match kind {
                            Kind::Sum => a + v,
                            Kind::Prod => a * v,
                            Kind::Max => a.max(v),
                            Kind::Min => a.min(v),
                        });
                        sum += v.abs();
                        acc = Some(a);
                        want.push(a);
                        scale.push(if kind == Kind::Sum { sum } else { 1.0 });
                    }
                }
                let p = Rows { kind, ty: Scalar::F32, rows: r as u32, cols: c as u32 };
                let got = floats(&device, &run(&device, &caps, &p, &x));
                let got: Vec<f32> = got.iter().zip(&scale).map(|(g, s)| (f64::from(*g) / s) as f32).collect();
                let want: Vec<f64> = want.iter().zip(&scale).map(|(w, s)| w / s).collect();
                // The rounding errors of a product of c factors.
                let tolerance = match kind {
                    Kind::Sum => 1e-6,
                    Kind::Prod => 1e-7 * (c as f64).sqrt().max(4.0),
                    _ => 0.0,
                };
                close(&format!("{variant} {kind:?} [{r}, {c}]"), &got, &want, tolerance);
            }
        }
    }
}

#[test]
fn integers_are_exact_over_many_levels() {
    let device = device();
    for (r, c) in [(1usize, 3_000_000usize), (3, 70_001), (2000, 130)] {
        let x: Vec<i32> = (0..(r * c) as i32).map(|i| i.wrapping_mul(7919) % 23 - 11).collect();
        let want: Vec<i32> = x
            .chunks(c)
            .flat_map(|row| {
                row.iter()
                    .scan(0, |a, v| {
                        *a += v;
                        Some(*a)
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        let p = Rows { kind: Kind::Sum, ty: Scalar::I32, rows: r as u32, cols: c as u32 };
        let out = run(&device, device.caps(), &p, &x);
        assert!(ints(&device, &out) == want, "[{r}, {c}]");
    }
}

#[test]
fn nan_stays() {
    let device = device();
    let mut x = vec![1.0f32; 1000];
    x[400] = f32::NAN;
    for kind in [Kind::Sum, Kind::Max, Kind::Prod] {
        let p = Rows { kind, ty: Scalar::F32, rows: 1, cols: 1000 };
        let got = floats(&device, &run(&device, device.caps(), &p, &x));
        assert!(got.iter().enumerate().all(|(i, v)| v.is_nan() == (i >= 400)), "{kind:?}");
    }
}
