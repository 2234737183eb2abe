//! Sorts of rows against the host's stable sort.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::Scalar;
use kiln_device::kernels::sort::{self, Rows};
use kiln_device::{Caps, Device};
use std::cmp::Ordering;
use support::{Word, device, empty, ints, normal, upload, variants, words};

/// Sorted words and their indices.
fn run<T: Copy + Into<Word>>(device: &Device, caps: &Caps, p: &Rows, x: &[T]) -> (Vec<u32>, Vec<i32>) {
    let (input, out, indices) = (upload(device, x), empty(device, x.len()), empty(device, x.len()));
    let bindings = [("x", &input), ("out", &out), ("indices", &indices)];
    device.run(sort::rows(caps, p).unwrap().steps(device, &bindings).unwrap()).unwrap();
    (words(device, &out), ints(device, &indices))
}

/// What `run` should give: a stable sort by `order`, its complement when descending.
fn twin<T: Copy + Into<Word>>(
    x: &[T],
    cols: usize,
    descending: bool,
    order: impl Fn(T, T) -> Ordering,
) -> (Vec<u32>, Vec<i32>) {
    let rows = x.chunks(cols).map(|row| {
        let mut index: Vec<usize> = (0..cols).collect();
        index.sort_by(|&a, &b| if descending { order(row[b], row[a]) } else { order(row[a], row[b]) });
        (
            index.iter().map(|&i| row[i].into().0).collect::<Vec<u32>>(),
            index.iter().map(|&i| i as i32).collect::<Vec<i32>>(),
        )
    });
    let (values, indices): (Vec<_>, Vec<_>) = rows.unzip();
    (values.concat(), indices.concat())
}

/// NaN is the greatest; -0 equals 0.
fn float_order(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

const SHAPES: [[usize; 2]; 9] =
    [[1, 1], [5, 2], [3, 17], [100, 65], [3, 256], [3, 257], [20, 700], [2, 5000], [1, 40_000]];

#[test]
fn floats_with_edges() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for [r, c] in SHAPES {
            // Rounded, so that many are equal.
            let mut x: Vec<f32> = normal(r * c, 6).iter().map(|v| (v * 8.0).round() / 8.0).collect();
            let edges = [f32::NAN, f32::INFINITY, -f32::INFINITY, 0.0, -0.0, -f32::NAN, f32::MAX, f32::MIN, 1e-40];
            for (i, v) in edges.iter().cycle().take(2 * edges.len()).enumerate() {
                let at = (i * 37) % x.len();
                x[at] = *v;
            }
            for descending in [false, true] {
                let p = Rows { ty: Scalar::F32, rows: r as u32, cols: c as u32, descending, bits: 32 };
                assert!(
                    run(&device, &caps, &p, &x) == twin(&x, c, descending, float_order),
                    "{variant} [{r}, {c}] {descending}"
                );
            }
        }
    }
}

#[test]
fn integers() {
    let device = device();
    let caps = device.caps();
    for [r, c] in SHAPES {
        let x: Vec<i32> = (0..(r * c) as i32).map(|i| i.wrapping_mul(1_234_567_891) >> (i % 20)).collect();
        for descending in [false, true] {
            let p = Rows { ty: Scalar::I32, rows: r as u32, cols: c as u32, descending, bits: 32 };
            assert!(
                run(&device, caps, &p, &x) == twin(&x, c, descending, |a, b| a.cmp(&b)),
                "i32 [{r}, {c}] {descending}"
            );
            let y: Vec<u32> = x.iter().map(|&v| v as u32).collect();
            let p = Rows { ty: Scalar::U32, ..p };
            assert!(
                run(&device, caps, &p, &y) == twin(&y, c, descending, |a, b| a.cmp(&b)),
                "u32 [{r}, {c}] {descending}"
            );
            // Few bits: fewer passes, the same order.
            let z: Vec<i32> = x.iter().map(|&v| v & 0x3ff).collect();
            let p = Rows { ty: Scalar::I32, bits: 10, ..p };
            assert!(
                run(&device, caps, &p, &z) == twin(&z, c, descending, |a, b| a.cmp(&b)),
                "10 bits [{r}, {c}] {descending}"
            );
        }
    }
}
