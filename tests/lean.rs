//! What a step may cost once it is warm: no new pipeline, bind group or buffer, flat memory, few dispatches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use kiln::gpu::{Counters, Options};
use kiln::loss::cross_entropy;
use kiln::nn::Init;
use kiln::optim::{Adam, Optimizer};
use kiln::prelude::*;
use std::time::Duration;

#[derive(Module)]
struct Mlp {
    first: Linear,
    second: Linear,
    third: Linear,
}

impl Mlp {
    fn new(sizes: [usize; 4], init: &mut Init) -> Self {
        let [a, b, c, d] = sizes;
        Self { first: Linear::new(a, b, init), second: Linear::new(b, c, init), third: Linear::new(c, d, init) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.third.forward(&self.second.forward(&self.first.forward(x).relu()).relu())
    }
}

/// A device that cuts no dispatch, so that what is counted are kernels and not how busy the machine is.
fn device() -> Device {
    Device::open_with(&Options { slice: Duration::MAX, ..Options::from_env().unwrap() }).unwrap()
}

/// A fresh batch each time, as from a loader.
fn batch(device: &Device, rows: usize, inputs: usize, classes: usize, seed: usize) -> (Tensor, Tensor) {
    let number = |i: usize| ((i * 2_654_435_761 + seed * 40_503) % 1000) as f32 / 500.0 - 1.0;
    let x = Tensor::from_vec(device, (0..rows * inputs).map(number).collect(), &[rows, inputs]);
    let y = Tensor::from_vec(device, (0..rows).map(|i| ((i + seed) % classes) as i32).collect(), &[rows]);
    (x, y)
}

/// What was made between two readings.
fn made(before: &Counters, after: &Counters) -> [u64; 3] {
    [after.pipelines - before.pipelines, after.bind_groups - before.bind_groups, after.buffers - before.buffers]
}

#[test]
fn a_thousand_steps_make_nothing_new() {
    let device = device();
    let model = Mlp::new([16, 32, 32, 4], &mut Init::new(&device, 1));
    let mut adam = Adam::new(&model, 1e-3);
    let mut losses = Vec::with_capacity(1100);
    let mut before = device.counters();
    for i in 0..1040 {
        if i == 40 {
            before = device.counters();
        }
        let (x, y) = batch(&device, if i % 2 == 0 { 32 } else { 24 }, 16, 4, i);
        let loss = cross_entropy(&model.forward(&x), &y);
        adam.set_lr(1e-3 / (1.0 + i as f64));
        adam.step(&loss).unwrap();
        losses.push(loss);
    }
    assert_eq!(made(&before, &device.counters()), [0, 0, 0]);
    assert!(losses.iter().all(|l| l.item().unwrap().is_finite()));
}

#[test]
fn memory_is_flat_over_ten_thousand_steps() {
    let device = device();
    let model = Mlp::new([4, 8, 8, 2], &mut Init::new(&device, 1));
    let mut adam = Adam::new(&model, 1e-3);
    let mut live = 0;
    for i in 0..10_000 {
        let (x, y) = batch(&device, 8, 4, 2, i);
        adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
        if i == 100 {
            live = device.counters().live_bytes;
        } else if i % 1000 == 999 {
            assert_eq!(device.counters().live_bytes, live, "after {i} steps");
        }
        if i % 64 == 0 {
            device.wait().unwrap();
        }
    }
}

#[test]
fn new_sizes_compile_little() {
    let sizes: Vec<usize> = (0..50).map(|i| 2 + (i * 37) % 253).collect();
    // the pipelines of the first step, of all sizes, and of sizes whose classes were all seen: multiples of four, and odd ones
    let compiled = || {
        let device = device();
        let model = Mlp::new([16, 32, 32, 4], &mut Init::new(&device, 1));
        let mut adam = Adam::new(&model, 1e-3);
        let start = device.counters().pipelines;
        let mut after = |sizes: &[usize]| {
            for &rows in sizes {
                let (x, y) = batch(&device, rows, 16, 4, rows);
                adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
            }
            device.counters().pipelines - start
        };
        [after(&[64]), after(&sizes), after(&[68, 132, 67, 131, 200, 201, 68])]
    };
    // where a class of kernels is used for the first time, self-tests compile too: their verdicts are kept
    compiled();
    let [first, all, again] = compiled();
    assert!(all <= 2 * first, "{first} pipelines at first, {all} after 50 sizes");
    assert_eq!(again, all, "a size in a class already seen compiles nothing");
}

#[test]
fn a_step_is_few_dispatches() {
    let device = device();
    let model = Mlp::new([784, 512, 256, 10], &mut Init::new(&device, 1));
    let mut adam = Adam::new(&model, 1e-3);
    let mut count = 0;
    for i in 0..3 {
        let (x, y) = batch(&device, 128, 784, 10, i);
        x.eval().unwrap();
        let before = device.counters().dispatches;
        adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
        count = device.counters().dispatches - before;
    }
    let fused = std::env::var("KILN_FUSE").map_or(true, |v| v != "0");
    assert!(!fused || count <= 20, "{count} dispatches in a step of an MLP with Adam");
}

#[test]
fn a_step_of_a_gpt_is_few_dispatches() {
    let device = device();
    let options = nn::Gpt2Options { vocabulary: 256, context: 64, width: 128, layers: 4, heads: 4, dropout: 0.0 };
    let model = nn::Gpt2::new(options, &mut Init::new(&device, 1));
    let mut adam = AdamW::new(&model, 1e-3);
    let tokens = Tensor::from_vec(&device, (0..8 * 64).map(|i| i * 7919 % 256).collect(), &[8, 64]);
    let mut count = 0;
    for _ in 0..3 {
        let before = device.counters().dispatches;
        adam.step(&cross_entropy(&model.forward(&tokens).flatten(0, 1), &tokens.reshape([-1]))).unwrap();
        count = device.counters().dispatches - before;
    }
    let fused = std::env::var("KILN_FUSE").map_or(true, |v| v != "0");
    // with a GPU's kernels, gradients of weights are sums of parts that fill the machine, and one dispatch more
    let most = if device.caps().is_cpu() { 160 } else { 176 };
    assert!(!fused || count <= most, "{count} dispatches in a step of a GPT of 4 layers");
}

#[derive(Module)]
struct Deep(Vec<Linear>);

/// However small parameters are, a dispatch updates as many as its bindings allow, and nothing is computed apart for it.
#[test]
fn many_small_parameters_are_few_dispatches() {
    let device = device();
    let count = |width: usize| {
        let init = &mut Init::new(&device, 1);
        let model = Deep((0..8).map(|_| Linear::new(width, width, init)).collect());
        let mut adam = Adam::new(&model, 1e-3);
        let (x, y) = batch(&device, 4, width, width, 1);
        x.eval().unwrap();
        let before = device.counters().dispatches;
        let out = model.0.iter().fold(x, |x, layer| layer.forward(&x).relu());
        adam.step(&cross_entropy(&out, &y)).unwrap();
        device.counters().dispatches - before
    };
    count(16); // self-tests run where a class of kernels is used for the first time
    let (small, large) = (count(8), count(16));
    assert!(small <= large, "{small} dispatches with 8 elements in a bias, {large} with 16");
}

/// A user's softmax and layer norm, written in plain operations.
#[test]
fn plain_formulas_are_three_kernels() {
    if std::env::var("KILN_FUSE").is_ok_and(|v| v == "0") {
        return;
    }
    let device = device();
    let x = Tensor::from_vec(&device, (0..64 * 48).map(|i| (i % 31) as f32).collect(), &[64, 48]);
    let count = |y: Tensor| {
        let before = device.counters().dispatches;
        y.eval().unwrap();
        device.counters().dispatches - before
    };
    let e = (&x - x.amax(-1, true)).exp();
    let softmax = &e / e.sum_axes(-1, true);
    assert!(count(softmax) <= 3, "softmax from plain operations");
    let centered = &x - x.mean_axes(-1, true);
    let norm = &centered / (centered.square().mean_axes(-1, true) + 1e-5).sqrt();
    assert!(count(norm) <= 3, "layer norm from plain operations");
}

/// A gradient of ten thousand operations deep, and its dropping, must not use up the stack.
#[test]
fn deep_graphs_do_not_recurse() {
    let device = device();
    let x = Tensor::ones(&device, [4]);
    x.eval().unwrap();
    let mut y = x.clone();
    for _ in 0..20_000 {
        y = y + 1.0;
    }
    drop(y);
    let mut y = x.clone();
    for _ in 0..400 {
        y = y * 1.01;
    }
    let g = y.sum().grad(&[&x]).unwrap();
    assert!((g[0].to_vec::<f32>().unwrap()[0] - 1.01f32.powi(400)).abs() < 1e-2);
}
