//! What a step costs the host: processor time of the calling thread per dispatch and per node, for models so small
//! that the adapter's work hardly counts, beside the same number of dispatches in plain wgpu; and what it costs to make
//! a plan. `cargo bench -p kiln --bench host -- mlp gpt plan-gpt plan-recurrence plan-ctc plan-resnet`, or `cold`.
//!
//! The time is read from the scheduler (Linux), so a busy machine disturbs it little. What does is the driver's threads on
//! other processors: each submission wakes them, and in a virtual machine that costs the caller up to 40 µs, or nothing,
//! as the machine has it. On one processor it is the same in every run: `taskset -c 0 cargo bench …`.

#![allow(missing_docs)]

#[path = "host/floor.rs"]
mod floor;
#[path = "host/plans.rs"]
mod plans;

use floor::{Floor, Sizes};
use kiln::optim::{Adam, AdamW, Clipped, Optimizer};
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

impl Gpt {
    fn new(length: usize, width: usize, layers: usize, init: &mut Init) -> Self {
        Self {
            tokens: Embedding::new(16, width, init),
            places: Embedding::new(length, width, init),
            blocks: (0..layers).map(|_| Block::new(width, init)).collect(),
            norm: LayerNorm::new([width], init),
            head: Linear::new(width, 16, init),
        }
    }
}

/// The loss of a model of `ids` [batch, length] that predicts them.
fn gpt_loss(model: &Gpt, ids: &Tensor) -> Result<Tensor> {
    let device = ids.device();
    let [_, length] = ids.dims()?;
    let mask = Tensor::full(device, [length, length], -1e9).triu(1);
    let mut x = model.tokens.forward(ids) + model.places.forward(&Tensor::arange(device, 0, length as i32, 1));
    for block in &model.blocks {
        x = block.forward(&x, 2, &mask)?;
    }
    let logits = model.head.forward(&model.norm.forward(&x));
    Ok(cross_entropy(&logits.reshape([-1, 16]), &ids.reshape([-1])))
}

/// Processor time of this thread so far, in nanoseconds.
fn cpu() -> u64 {
    std::thread::yield_now(); // the scheduler counts when it is entered
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Steps in a repetition: so many that the wait at its end, and the reading of the time, hardly count.
const STEPS: usize = 400;

/// Runs steps and prints what one costs the host; how many dispatches it has.
fn time(device: &Device, name: &str, mut step: impl FnMut() -> Result<()>) -> Result<usize> {
    for _ in 0..20 {
        step()?;
    }
    device.wait()?;
    let before = device.counters();
    let mut costs = Vec::new();
    for _ in 0..9 {
        let start = cpu();
        for _ in 0..STEPS {
            step()?;
        }
        device.wait()?;
        costs.push((cpu() - start) as f64 / (1e3 * STEPS as f64));
    }
    let dispatches = (device.counters().dispatches - before.dispatches) as usize / (9 * STEPS);
    report(name, costs, dispatches);
    Ok(dispatches)
}

fn report(name: &str, mut costs: Vec<f64>, dispatches: usize) {
    costs.sort_by(f64::total_cmp);
    let each = match dispatches {
        0 => String::new(),
        n => format!("; {n} dispatches, {:.2} µs each", costs[4] / n as f64),
    };
    println!("{name:24} {:7.1} µs a step, least {:7.1}{each}", costs[4], costs[0]);
}

/// The same for as many dispatches in plain wgpu, as Kiln makes them and with sizes as immediates.
fn time_floors(device: &Device, floors: &[Floor], dispatches: usize) -> Result<()> {
    for (floor, name) in floors.iter().zip(["the same in plain wgpu", "and with immediates"]) {
        let mut costs = Vec::new();
        for round in 0..10 {
            let start = cpu();
            for _ in 0..STEPS {
                floor.step(device, dispatches);
            }
            device.wait()?;
            if round > 0 {
                costs.push((cpu() - start) as f64 / (1e3 * STEPS as f64));
            }
        }
        report(name, costs, dispatches);
    }
    Ok(())
}

/// What it takes from the start of the program to a first result; to be run alone.
fn cold() -> Result<()> {
    let start = std::time::Instant::now();
    let ms = || 1e3 * start.elapsed().as_secs_f64();
    let device = Device::open()?;
    let open = ms();
    let sum = (Tensor::new(&device, [1.0, 2.0, 3.0]) + 1.0).to_vec::<f32>()?;
    println!("{sum:?} after {:.1} ms, {open:.1} of them to open the device", ms());
    Ok(())
}

fn main() -> Result<()> {
    if std::env::args().any(|a| a == "cold") {
        return cold();
    }
    let device = Device::open()?;
    let init = &mut Init::new(&device, 0);
    let wanted = |name: &str| {
        let mut names = std::env::args().skip(1).filter(|a| !a.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|a| a == name)
    };
    let immediates = (device.caps().max_immediates >= 48).then_some(Sizes::Immediate);
    let floors: Vec<Floor> = [Sizes::Uniform].into_iter().chain(immediates).map(|s| Floor::new(&device, s)).collect();
    if wanted("mlp") {
        let model = Mlp(Linear::new(16, 16, init), Linear::new(16, 16, init), Linear::new(16, 4, init));
        let mut adam = Adam::new(&model, 1e-3);
        let (x, y) = (Tensor::ones(&device, [4, 16]), Tensor::new(&device, [0, 1, 2, 3]));
        x.eval()?; // a batch is in memory, as it comes from a loader
        let loss = |x: &Tensor| {
            let h = model.1.forward(&model.0.forward(x).relu()).relu();
            cross_entropy(&model.2.forward(&h), &y)
        };
        time(&device, "mlp, expressions only", || {
            loss(&x);
            Ok(())
        })?;
        let dispatches = time(&device, "mlp", || adam.step(&loss(&x)))?;
        let mut lr = 1e-3;
        time(&device, "mlp, set_lr", || {
            lr *= 0.999;
            adam.set_lr(lr);
            adam.step(&loss(&x))
        })?;
        let mut train = adam.capture(|x: &Tensor| loss(x));
        time(&device, "mlp, captured", || train.step(&x).map(|_| ()))?;
        time_floors(&device, &floors, dispatches)?;
        drop(train);
        let mut clipped = Clipped::new(&mut adam).norm(1.0);
        let dispatches = time(&device, "mlp, clipped", || clipped.step(&loss(&x)))?;
        time_floors(&device, &floors, dispatches)?;
        if device.caps().f16 {
            let mut mixed = adam.mixed_precision();
            let dispatches = time(&device, "mlp, mixed", || mixed.step(&loss(&x)))?;
            time_floors(&device, &floors, dispatches)?;
        }
    }
    if wanted("gpt") {
        let model = Gpt::new(4, 8, 4, init);
        let ids = Tensor::new(&device, [[0, 1, 2, 3], [4, 5, 6, 7]]);
        let mut adam = AdamW::new(&model, 1e-3);
        let loss = |ids: &Tensor| gpt_loss(&model, ids);
        time(&device, "gpt, expressions only", || loss(&ids).map(|_| ()))?;
        time(&device, "gpt, and backward", || loss(&ids)?.backward().map(|_| ()))?;
        time(&device, "gpt, and update", || {
            let gradients = loss(&ids)?.backward()?;
            drop(adam.update(&gradients));
            Ok(())
        })?;
        let dispatches = time(&device, "gpt", || adam.step(&loss(&ids)?))?;
        let mut lr = 1e-3;
        time(&device, "gpt, set_lr", || {
            lr *= 0.999;
            adam.set_lr(lr);
            adam.step(&loss(&ids)?)
        })?;
        time(&device, "gpt, made in full", || adam.step(&loss(&ids)?.backward()?))?;
        let mut train = adam.capture(|ids: &Tensor| loss(ids));
        time(&device, "gpt, captured", || train.step(&ids).map(|_| ()))?;
        let mut lr = 1e-3;
        time(&device, "gpt, captured, set_lr", || {
            lr *= 0.999;
            train.set_lr(lr);
            train.step(&ids).map(|_| ())
        })?;
        time_floors(&device, &floors, dispatches)?;
        drop(train);
        let mut clipped = Clipped::new(&mut adam).norm(1.0);
        let dispatches = time(&device, "gpt, clipped", || clipped.step(&loss(&ids)?))?;
        time_floors(&device, &floors, dispatches)?;
        if device.caps().f16 {
            let mut mixed = adam.mixed_precision();
            let dispatches = time(&device, "gpt, mixed", || mixed.step(&loss(&ids)?))?;
            time_floors(&device, &floors, dispatches)?;
        }
    }
    plans::all(&device, init, wanted)
}
