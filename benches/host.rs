//! What a step costs the host: processor time of the calling thread per dispatch and per node, for models so small
//! that the adapter's work hardly counts. `cargo bench --bench host`.
//!
//! The time is read from the scheduler (Linux), so a busy machine disturbs it little.

#![allow(missing_docs)]

use kiln::nn::Init;
use kiln::optim::{Adam, AdamW, Optimizer};
use kiln::prelude::*;

#[derive(Module)]
struct Mlp(Linear, Linear, Linear);

#[derive(Module)]
struct Block {
    ln1: LayerNorm,
    qkv: Linear,
    out: Linear,
    ln2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(width: usize, init: &mut Init) -> Self {
        Self {
            ln1: LayerNorm::new([width], init),
            qkv: Linear::new(width, 3 * width, init),
            out: Linear::new(width, width, init),
            ln2: LayerNorm::new([width], init),
            up: Linear::new(width, 4 * width, init),
            down: Linear::new(4 * width, width, init),
        }
    }

    fn forward(&self, x: &Tensor, heads: usize, mask: &Tensor) -> Result<Tensor> {
        let [batch, length, width] = x.dims()?;
        let shape = [batch as i64, length as i64, heads as i64, (width / heads) as i64];
        let qkv = self.qkv.forward(&self.ln1.forward(x));
        let part = |i: i64| qkv.narrow(-1, i * width as i64, width).reshape(shape).permute([0, 2, 1, 3]);
        let scores = part(0).matmul(&part(1).transpose(-2, -1)) * (1.0 / (width as f32 / heads as f32).sqrt());
        let y = (scores + mask).softmax(-1).matmul(&part(2)).permute([0, 2, 1, 3]);
        let x = x + self.out.forward(&y.reshape([batch as i64, length as i64, width as i64]));
        Ok(&x + self.down.forward(&self.up.forward(&self.ln2.forward(&x)).gelu_tanh()))
    }
}

#[derive(Module)]
struct Gpt {
    tokens: Embedding,
    places: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

/// Processor time of this thread so far, in nanoseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Runs steps and prints what one costs the host.
fn time(device: &Device, name: &str, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..20 {
        step()?;
    }
    device.wait()?;
    let before = device.counters();
    let mut costs = Vec::new();
    for _ in 0..5 {
        let start = cpu();
        for _ in 0..100 {
            step()?;
        }
        device.wait()?; // the scheduler counts in ticks: long stretches, and a wait that ends the tick
        costs.push((cpu() - start) as f64 / 1e5);
    }
    let dispatches = (device.counters().dispatches - before.dispatches) as f64 / 500.0;
    costs.sort_by(f64::total_cmp);
    println!(
        "{name:24} {:7.1} µs a step, least {:7.1}; {dispatches} dispatches, {:.2} µs each",
        costs[2],
        costs[0],
        costs[2] / dispatches
    );
    Ok(())
}

fn main() -> Result<()> {
    let device = Device::open()?;
    let init = &mut Init::new(&device, 0);
    let wanted = |name: &str| !std::env::args().skip(1).any(|a| !a.starts_with('-') && a != name);
    if wanted("mlp") {
        let model = Mlp(Linear::new(16, 16, init), Linear::new(16, 16, init), Linear::new(16, 4, init));
        let mut adam = Adam::new(&model, 1e-3);
        let (x, y) = (Tensor::ones(&device, [4, 16]), Tensor::new(&device, [0, 1, 2, 3]));
        let loss = |x: &Tensor| {
            let h = model.1.forward(&model.0.forward(x).relu()).relu();
            cross_entropy(&model.2.forward(&h), &y)
        };
        time(&device, "mlp", || adam.step(&loss(&x)))?;
        let mut train = adam.capture(|x: &Tensor| loss(x));
        time(&device, "mlp, captured", || train.step(&x).map(|_| ()))?;
    }
    if wanted("gpt") {
        let (length, width, layers) = (4, 8, 4);
        let model = Gpt {
            tokens: Embedding::new(16, width, init),
            places: Embedding::new(length, width, init),
            blocks: (0..layers).map(|_| Block::new(width, init)).collect(),
            norm: LayerNorm::new([width], init),
            head: Linear::new(width, 16, init),
        };
        let mask = Tensor::full(&device, [length, length], -1e9).triu(1);
        mask.eval()?;
        let ids = Tensor::new(&device, [[0, 1, 2, 3], [4, 5, 6, 7]]);
        let places = Tensor::new(&device, [0, 1, 2, 3]);
        let mut adam = AdamW::new(&model, 1e-3);
        let loss = |ids: &Tensor| {
            let mut x = model.tokens.forward(ids) + model.places.forward(&places);
            for block in &model.blocks {
                x = block.forward(&x, 2, &mask)?;
            }
            let logits = model.head.forward(&model.norm.forward(&x));
            Ok::<_, Error>(cross_entropy(&logits.reshape([-1, 16]), &ids.reshape([-1])))
        };
        time(&device, "gpt, expressions only", || loss(&ids).map(|_| ()))?;
        time(&device, "gpt, and backward", || loss(&ids)?.backward().map(|_| ()))?;
        time(&device, "gpt, and update", || {
            let gradients = loss(&ids)?.backward()?;
            drop(adam.update(&gradients));
            Ok(())
        })?;
        time(&device, "gpt", || adam.step(&loss(&ids)?))?;
        let mut train = adam.capture(|ids: &Tensor| loss(ids));
        time(&device, "gpt, captured", || train.step(&ids).map(|_| ()))?;
    }
    Ok(())
}
