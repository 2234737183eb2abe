//! Scatter-add by sorted keys against f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::Scalar;
use kiln_device::kernels::segment::{self, Sum};
use support::{Numbers, close, device, empty, floats, normal, upload, variants, words};

/// Sums `src` [n, cols] by `keys`; gives the words of the result.
fn check(keys: &[i32], rows: usize, cols: usize) {
    let device = device();
    let n = keys.len();
    let src = normal(n * cols, 13);
    let mut perm: Vec<i32> = (0..n as i32).collect();
    perm.sort_by_key(|&i| keys[i as usize]);
    let sorted: Vec<i32> = perm.iter().map(|&i| keys[i as usize]).collect();
    let (mut want, mut scale) = (vec![0.0; rows * cols], vec![1.0; rows * cols]);
    for (i, &key) in keys.iter().enumerate() {
        if (0..rows as i32).contains(&key) {
            for c in 0..cols {
                let v = f64::from(src[i * cols + c]);
                want[key as usize * cols + c] += v;
                scale[key as usize * cols + c] += v.abs();
            }
        }
    }
    for (at, s) in scale.iter().enumerate() {
        want[at] /= s;
    }
    let [x, s, p] = [upload(&device, &src), upload(&device, &sorted), upload(&device, &perm)];
    for (variant, caps) in variants(&device) {
        for width in [1, 4].into_iter().filter(|&w| cols.is_multiple_of(w)) {
            let out = empty(&device, rows * cols);
            let problem = Sum {
                n: n as u32,
                rows: rows as u32,
                cols: cols as u32,
                width: width as u32,
                ty: Scalar::F32,
                key: Scalar::I32,
            };
            let stages = segment::sum(&caps, &problem).unwrap();
            let bindings = [("src", &x), ("sorted", &s), ("perm", &p), ("out", &out)];
            device.run(stages.steps(&device, &bindings).unwrap()).unwrap();
            let got: Vec<f32> =
                floats(&device, &out).iter().zip(&scale).map(|(g, s)| (f64::from(*g) / s) as f32).collect();
            close(&format!("{variant} {n} keys [{rows}, {cols}] width {width}"), &got, &want, 1e-6);
            let first = words(&device, &out);
            device.run(stages.steps(&device, &bindings).unwrap()).unwrap();
            assert!(words(&device, &out) == first, "{variant}: not the same bits twice");
        }
    }
}

#[test]
fn random_keys() {
    for (n, rows, cols) in [(1, 1, 1), (3, 5, 3), (17, 4, 4), (129, 65, 12), (5000, 37, 5), (20_000, 1000, 8)] {
        let mut numbers = Numbers(9);
        let keys: Vec<i32> = (0..n).map(|_| numbers.below(rows as u64) as i32).collect();
        check(&keys, rows, cols);
    }
}

#[test]
fn empty_segments_and_keys_outside() {
    check(&[-1, 7, 2, 2, 100, -5, 2], 8, 4);
}

#[test]
fn one_segment_longer_than_a_loop_may_be() {
    let mut keys = vec![3; 200_000];
    keys[77] = 0;
    keys[150_000] = 5;
    check(&keys, 6, 4);
}
