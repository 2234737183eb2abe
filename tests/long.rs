//! Long inputs: past 65,535 loop passes (where a software adapter stops silently), past 65,535 workgroups, and past
//! what a plain f32 sum can hold. The twins are f64, in plain loops.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::prelude::*;
use std::sync::OnceLock;

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::open().unwrap())
}

/// Numbers in 0..1 that follow from `seed`.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / 16_777_216.0
    };
    (0..count).map(step).collect()
}

fn tensor(numbers: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(device(), numbers, shape)
}

/// |got − want| / (1 + |want|) is at most `bound`, everywhere.
fn close(name: &str, got: &Tensor, want: &[f64], bound: f64) {
    let got = got.to_vec::<f64>().unwrap();
    assert_eq!(got.len(), want.len(), "{name}");
    for (at, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs() / (1.0 + w.abs());
        assert!(error <= bound, "{name}[{at}]: {g} is not {w}, error {error:.1e}");
    }
}

fn total(numbers: &[f32]) -> f64 {
    numbers.iter().map(|&v| f64::from(v)).sum()
}

#[test]
fn sums_of_ten_million() {
    let x = noise(10_000_000, 1);
    let t = tensor(&x, &[10_000_000]);
    close("sum", &t.sum(), &[total(&x)], 1e-5);
    close("mean", &t.mean(), &[total(&x) / 1e7], 1e-6);
    close("sum of squares", &t.square().sum(), &[x.iter().map(|&v| f64::from(v).powi(2)).sum()], 1e-5);
    let gradient = t.square().sum().grad(&[&t]).unwrap().swap_remove(0);
    close(
        "gradient",
        &gradient.slice(0, 9_999_990, 10_000_000, 1),
        &x[9_999_990..].iter().map(|&v| 2.0 * f64::from(v)).collect::<Vec<_>>(),
        1e-6,
    );
}

#[test]
fn ones_are_counted_exactly() {
    for count in [65_535, 65_536, 65_537, 262_144, 1_048_577, 16_777_216] {
        assert_eq!(Tensor::ones(device(), [count]).sum().item().unwrap(), count as f32, "{count}");
        let there = tensor(&vec![1.0; count], &[count]);
        assert_eq!(there.sum().item().unwrap(), count as f32, "{count}, from memory");
        assert_eq!(there.cast(DType::I32).sum().item_as::<i32>().unwrap(), count as i32, "{count}, integers");
    }
}

#[test]
fn long_rows_and_columns() {
    let (long, short) = (1_000_003, 3);
    let x = noise(long * short, 2);
    let rows: Vec<f64> = x.chunks(long).map(total).collect();
    close("rows", &tensor(&x, &[short, long]).sum_axes([1], false), &rows, 1e-5);
    let columns: Vec<f64> = (0..short).map(|c| x.iter().skip(c).step_by(short).map(|&v| f64::from(v)).sum()).collect();
    close("columns", &tensor(&x, &[long, short]).sum_axes([0], false), &columns, 1e-5);
    let many: Vec<f64> = x.chunks(short).map(total).collect();
    close("many rows", &tensor(&x, &[long, short]).sum_axes([1], false), &many, 1e-6);
    let many: Vec<f64> = (0..long).map(|c| x.iter().skip(c).step_by(long).map(|&v| f64::from(v)).sum()).collect();
    close("many columns", &tensor(&x, &[short, long]).sum_axes([0], false), &many, 1e-6);
}

#[test]
fn extremes_at_the_end() {
    let count = 3_000_001;
    let mut x = noise(count, 3);
    (x[count - 1], x[count - 2]) = (2.0, -2.0);
    let t = tensor(&x, &[count]);
    assert_eq!(t.max().item().unwrap(), 2.0);
    assert_eq!(t.min().item().unwrap(), -2.0);
    assert_eq!(t.argmax(0, false).item_as::<i32>().unwrap(), count as i32 - 1);
    assert_eq!(t.argmin(0, false).item_as::<i32>().unwrap(), count as i32 - 2);
    let tall = tensor(&x, &[count, 1]);
    assert_eq!(tall.argmax(0, false).to_vec::<i32>().unwrap(), [count as i32 - 1]);
    x[count / 2] = f32::NAN;
    let t = tensor(&x, &[count]);
    assert!(t.max().item().unwrap().is_nan() && t.sum().item().unwrap().is_nan());
    assert_eq!(t.argmax(0, false).item_as::<i32>().unwrap(), count as i32 / 2);
}

#[test]
fn a_product_of_many() {
    let x: Vec<f32> = noise(300_001, 4).iter().map(|v| 1.0 + (v - 0.5) * 1e-3).collect();
    let want: f64 = x.iter().map(|&v| f64::from(v)).product();
    // Numbers this near to 1 do not round evenly: NumPy's f32 product is off by 4e-4 taken in pairs.
    close("prod", &tensor(&x, &[300_001]).prod(), &[want], 1e-3);
}

#[test]
fn softmax_of_a_long_row() {
    let count = 200_003;
    let x: Vec<f32> = noise(2 * count, 5).iter().map(|v| 20.0 * v).collect();
    let t = tensor(&x, &[2, count]);
    let sums: Vec<f64> = x.chunks(count).map(|row| row.iter().map(|&v| f64::from(v).exp()).sum()).collect();
    close("logsumexp", &t.logsumexp([1], false), &sums.iter().map(|s| s.ln()).collect::<Vec<_>>(), 1e-5);
    let want: Vec<f64> = x.iter().enumerate().map(|(i, &v)| f64::from(v).exp() / sums[i / count]).collect();
    // Relative to elements of 5e-6 each, which is more than is promised of them.
    close(
        "softmax, scaled up",
        &(t.softmax(1) * count as f32),
        &want.iter().map(|w| w * count as f64).collect::<Vec<_>>(),
        5e-5,
    );
    let want: Vec<f64> = x.iter().enumerate().map(|(i, &v)| f64::from(v) - sums[i / count].ln()).collect();
    close("log_softmax", &t.log_softmax(1), &want, 1e-5);
}

#[test]
fn norms_of_long_rows() {
    let count = 150_001;
    let x = noise(2 * count, 6);
    let stats = |row: &[f32]| {
        let mean = total(row) / count as f64;
        let var = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count as f64;
        (mean, (var + 1e-5).sqrt())
    };
    let want: Vec<f64> = x
        .chunks(count)
        .flat_map(|row| {
            let (mean, std) = stats(row);
            row.iter().map(move |&v| (f64::from(v) - mean) / std)
        })
        .collect();
    close("layer_norm", &tensor(&x, &[2, count]).layer_norm(1, None, None, 1e-5), &want, 1e-5);
    let var: Vec<f64> = x.chunks(count).map(|row| stats(row).1.powi(2) - 1e-5).collect();
    close("var", &tensor(&x, &[2, count]).var([1], 0, false), &var, 1e-5);
}

#[test]
fn long_scans() {
    let count = 1_000_003;
    let ones = Tensor::ones(device(), [count]).cumsum(0);
    let last = ones.slice(0, -3, i64::MAX, 1).to_vec::<f32>().unwrap();
    assert_eq!(last, [1_000_001.0, 1_000_002.0, 1_000_003.0]);
    let x = noise(count, 7);
    let mut sum = 0.0;
    let want: Vec<f64> = x
        .iter()
        .map(|&v| {
            sum += f64::from(v);
            sum
        })
        .collect();
    close("cumsum", &tensor(&x, &[count]).cumsum(0), &want, 1e-5);
}

#[test]
fn a_long_sort() {
    let count = 300_007;
    let x = noise(count, 8);
    let mut want: Vec<(f32, i32)> = x.iter().copied().zip(0..).collect();
    want.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
    let (values, places) = tensor(&x, &[count]).sort(0, false);
    assert_eq!(values.to_vec::<f32>().unwrap(), want.iter().map(|w| w.0).collect::<Vec<_>>());
    assert_eq!(places.to_vec::<i32>().unwrap(), want.iter().map(|w| w.1).collect::<Vec<_>>());
}

#[test]
fn long_inner_products() {
    let count = 300_001;
    let (a, b) = (noise(count, 9), noise(count, 10));
    let want: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    close("dot", &tensor(&a, &[count]).dot(&tensor(&b, &[count])), &[want], 1e-5);
    close("[1, k] · [k, 1]", &tensor(&a, &[1, count]).matmul(&tensor(&b, &[count, 1])), &[want], 1e-5);
    let column = tensor(&a, &[count, 1]).matmul(&tensor(&[0.5, 0.25], &[1, 2]));
    let want: Vec<f64> = a[count - 2..].iter().flat_map(|&v| [0.5 * f64::from(v), 0.25 * f64::from(v)]).collect();
    close("[m, 1] · [1, 2]", &column.slice(0, -2, i64::MAX, 1).reshape([4]), &want, 1e-6);
}

#[test]
fn many_rows_into_one_place() {
    let count = 400_001;
    let x = noise(count, 11);
    let zeros = Tensor::zeros(device(), [count]).cast(DType::I32);
    let sum = Tensor::zeros(device(), [3]).scatter_add(0, &zeros, &tensor(&x, &[count]));
    close("scatter_add", &sum, &[total(&x), 0.0, 0.0], 1e-5);
    let table = tensor(&[1.0, 2.0], &[2, 1]);
    let gradient = table.embedding(&zeros).sum().grad(&[&table]).unwrap().swap_remove(0);
    close("embedding's gradient", &gradient, &[count as f64, 0.0], 1e-6);
}

#[test]
fn long_maps_and_views() {
    // Not a multiple of a vector, and more than 65,535 workgroups of 256.
    let count = 16_777_216 + 5;
    let x = Tensor::arange(device(), 0, count, 1);
    let last = |t: &Tensor| t.slice(0, -2, i64::MAX, 1).to_vec::<i32>().unwrap();
    assert_eq!(last(&(&x * 2 + 1)), [2 * (count - 2) + 1, 2 * (count - 1) + 1]);
    assert_eq!(last(&x.flip([0])), [1, 0]);
    assert_eq!(last(&Tensor::cat(&[&x, &x.slice(0, 0, 3, 1)], 0)), [1, 2]);
    assert_eq!(last(&x.roll(1, 0)), [count - 3, count - 2]);
    let stored = (&x * 1).slice(0, 0, count as i64 - 5, 1);
    stored.eval().unwrap();
    let square = stored.reshape([4096, 4096]).t();
    assert_eq!(square.reshape([-1]).slice(0, 4095, 4097, 1).to_vec::<i32>().unwrap(), [4095 * 4096, 1]);
}
