//! Long dispatches are cut into parts. Cut as finely as can be, every kernel gives the same bits as whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use kiln::gpu::Options;
use kiln::prelude::*;

type Fun = fn(&Device) -> Vec<Tensor>;

fn noise(device: &Device, seed: u64, dims: &[usize]) -> Tensor {
    Rng::new(device, seed).normal(dims)
}

/// `y` and the gradients of a weighted sum of it.
fn with_grads(y: Tensor, by: &[&Tensor]) -> Vec<Tensor> {
    let weights = noise(y.device(), 99, &y.shape().unwrap());
    let mut all = (&y * weights).sum().grad(by).unwrap();
    all.push(y);
    all
}

/// Something of every kernel family, of sizes that are several workgroups each.
const ROWS: [(&str, Fun); 17] = [
    ("map", |d| vec![(noise(d, 1, &[70, 90]) * 2.0).tanh() + noise(d, 2, &[90])]),
    ("sum of rows", |d| vec![noise(d, 1, &[70, 90]).sum_axes([1], false)]),
    ("sum of columns", |d| vec![noise(d, 1, &[3, 400, 70]).sum_axes([1], false)]),
    ("long sum", |d| vec![noise(d, 1, &[300_000]).sum()]),
    ("argmax", |d| vec![noise(d, 1, &[70, 90]).argmax(1, false)]),
    ("softmax", |d| {
        let x = noise(d, 1, &[70, 90]);
        with_grads(x.softmax(1), &[&x])
    }),
    ("logsumexp", |d| vec![noise(d, 1, &[70, 90]).logsumexp([1], false)]),
    ("layer norm", |d| {
        let x = noise(d, 1, &[70, 90]);
        with_grads(x.layer_norm(1, None, None, 1e-5), &[&x])
    }),
    ("cumsum", |d| vec![noise(d, 1, &[70, 900]).cumsum(1)]),
    ("sort", |d| {
        let (a, b) = noise(d, 1, &[90, 50]).sort(1, false);
        let (e, f) = noise(d, 2, &[3, 5000]).sort(1, true);
        vec![a, b.cast(DType::F32), e, f.cast(DType::F32)]
    }),
    ("matmul", |d| {
        let (x, w) = (noise(d, 1, &[2, 70, 65]), noise(d, 2, &[65, 90]));
        with_grads(x.matmul(&w).relu(), &[&x, &w])
    }),
    ("thin matmul", |d| {
        let (x, w) = (noise(d, 1, &[3, 300]), noise(d, 2, &[300, 200]));
        with_grads(x.matmul(&w), &[&x, &w])
    }),
    ("convolution", |d| {
        let (x, w) = (noise(d, 1, &[3, 5, 11, 13]), noise(d, 2, &[9, 5, 3, 3]));
        with_grads(x.conv2d(&w, None, &Conv::default()).relu(), &[&x, &w])
    }),
    ("depthwise convolution", |d| {
        let (x, w) = (noise(d, 1, &[3, 9, 11, 13]), noise(d, 2, &[9, 1, 3, 3]));
        with_grads(x.conv2d(&w, None, &Conv { groups: 9, ..Conv::default() }), &[&x, &w])
    }),
    ("pooling", |d| {
        let x = noise(d, 1, &[3, 5, 12, 14]);
        let mut all = with_grads(x.max_pool2d(&Pool::new(2)), &[&x]);
        all.extend(with_grads(x.avg_pool2d(&Pool::new(2)), &[&x]));
        all
    }),
    ("attention", |d| {
        let [q, k, v] = [1, 2, 3].map(|seed| noise(d, seed, &[2, 2, 70, 16]));
        with_grads(
            q.scaled_dot_product_attention(&k, &v, &Attention { causal: true, ..Attention::default() }),
            &[&q, &k, &v],
        )
    }),
    ("embedding", |d| {
        let table = noise(d, 1, &[30, 20]);
        let rows = Tensor::arange(d, 0, 400, 1) * 7;
        with_grads(table.index_select(0, &rows.remainder(30)), &[&table])
    }),
];

fn open(slice: Duration, immediates: bool) -> Device {
    Device::open_with(&Options { slice, immediates, ..Options::from_env().unwrap() }).unwrap()
}

#[test]
fn parts_give_the_same_bits_as_the_whole() {
    let (whole, parts) = (open(Duration::from_secs(1), true), open(Duration::from_nanos(1), true));
    let mut cut = 0;
    for (name, run) in ROWS {
        let bits = |device: &Device| {
            let before = device.counters().dispatches;
            let all: Vec<Vec<f32>> = run(device).iter().map(|t| t.to_vec().unwrap()).collect();
            let bits: Vec<u32> = all.concat().into_iter().map(f32::to_bits).collect();
            (bits, device.counters().dispatches - before)
        };
        let ((got, many), (want, few)) = (bits(&parts), bits(&whole));
        assert!(got == want, "{name}");
        cut += usize::from(many > 2 * few);
    }
    assert!(cut >= ROWS.len() - 2, "only {cut} of {} were cut", ROWS.len());
}

/// A plan that is run again, with other numbers of the host, in as many parts.
#[test]
fn later_runs_are_cut_alike() {
    for immediates in [true, false] {
        let (whole, parts) = (open(Duration::from_secs(1), true), open(Duration::from_nanos(1), immediates));
        for step in 0..6 {
            let run = |device: &Device| {
                let x = noise(device, 1, &[70, 90]);
                ((x.matmul(&x.t()) * f64::from(step)).softmax(1)).to_vec::<f32>().unwrap()
            };
            assert_eq!(run(&parts), run(&whole), "step {step}");
        }
    }
}
