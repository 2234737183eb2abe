//! Training steps of three small models, timed; the numbers of the README come from here.
//!
//!     cargo bench --bench steps            # all of them
//!     cargo bench --bench steps -- gpt     # one of them
//!
//! Data and initial weights are integer hashes of the index, so other frameworks can run the same steps and must get
//! the same losses. The first step includes planning and compiling; the rest is wall time per step, without reads.

#![allow(missing_docs)]

use kiln::nn::Init;
use kiln::optim::{Adam, AdamW, Optimizer};
use kiln::prelude::*;
use std::time::Instant;

fn hash(index: u32, seed: u32) -> u32 {
    let mut h = index.wrapping_add(seed.wrapping_mul(0x9E37_79B9));
    h = (h ^ (h >> 16)).wrapping_mul(0x7FEB_352D);
    h = (h ^ (h >> 15)).wrapping_mul(0x846C_A68B);
    h ^ (h >> 16)
}

fn ten(device: &Device, shape: &[usize], seed: u32, scale: f32) -> Tensor {
    let n: usize = shape.iter().product();
    let value = |i| ((hash(i, seed) >> 8) as f32 / 8_388_608.0 - 1.0) * scale;
    Tensor::from_vec(device, (0..n as u32).map(value).collect(), shape)
}

fn ids(device: &Device, shape: &[usize], seed: u32, below: u32) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_vec(device, (0..n as u32).map(|i| (hash(i, seed) % below) as i32).collect(), shape)
}

/// Weights `[outputs, inputs]` whose transpose is hashed, as in the programs this is compared with.
#[derive(Module)]
struct Lin {
    weight: Param,
    bias: Option<Param>,
}

impl Lin {
    fn new(init: &Init, inputs: usize, outputs: usize, bias: bool, seed: u32) -> Self {
        let w = ten(init.device(), &[inputs, outputs], seed, 1.0 / (inputs as f32).sqrt()).t();
        Self { weight: init.param(&w), bias: bias.then(|| init.zeros(&[outputs])) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.weight.t());
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

#[derive(Module)]
struct Mlp(Lin, Lin, Lin);

#[derive(Module)]
struct Cnn {
    w1: Param,
    b1: Param,
    w2: Param,
    b2: Param,
    fc: Lin,
}

#[derive(Module)]
struct Norm {
    weight: Param,
    bias: Param,
}

impl Norm {
    fn new(init: &Init, width: usize) -> Self {
        Self { weight: init.ones(&[width]), bias: init.zeros(&[width]) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(1, Some(&self.weight), Some(&self.bias), 1e-5)
    }
}

#[derive(Module)]
struct Block {
    norm1: Norm,
    qkv: Lin,
    proj: Lin,
    norm2: Norm,
    fc1: Lin,
    fc2: Lin,
}

#[derive(Module)]
struct Gpt {
    tok: Param,
    pos: Param,
    blocks: Vec<Block>,
    norm: Norm,
    head: Lin,
    #[module(skip)]
    heads: usize,
}

impl Gpt {
    fn new(init: &Init, layers: usize, d: usize, heads: usize, length: usize, vocabulary: usize) -> Self {
        let block = |l: usize| {
            let s = 100 + 10 * l as u32;
            Block {
                norm1: Norm::new(init, d),
                qkv: Lin::new(init, d, 3 * d, true, s),
                proj: Lin::new(init, d, d, true, s + 1),
                norm2: Norm::new(init, d),
                fc1: Lin::new(init, d, 4 * d, true, s + 2),
                fc2: Lin::new(init, 4 * d, d, true, s + 3),
            }
        };
        Self {
            tok: init.param(&ten(init.device(), &[vocabulary, d], 51, 0.035)),
            pos: init.param(&ten(init.device(), &[length, d], 52, 0.035)),
            blocks: (0..layers).map(block).collect(),
            norm: Norm::new(init, d),
            head: Lin::new(init, d, vocabulary, false, 53),
            heads,
        }
    }

    fn attention(&self, block: &Block, x: &Tensor) -> Tensor {
        let Ok([batch, length, d]) = x.dims() else { return x.clone() };
        let split =
            block.qkv.forward(x).reshape([batch, length, 3, self.heads, d / self.heads]).permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (split.select(0, 0), split.select(0, 1), split.select(0, 2));
        let scores = q.matmul(&k.mt()) * (1.0 / ((d / self.heads) as f32).sqrt());
        let future = Tensor::ones(x.device(), [length, length]).triu(1).cast(DType::Bool);
        let weights = scores.masked_fill(&future, f32::NEG_INFINITY).softmax(-1);
        let mixed = weights.matmul(&v).permute([0, 2, 1, 3]).reshape([batch, length, d]);
        block.proj.forward(&mixed)
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let mut h = self.tok.embedding(x) + &self.pos;
        for block in &self.blocks {
            h = &h + self.attention(block, &block.norm1.forward(&h));
            h = &h + block.fc2.forward(&block.fc1.forward(&block.norm2.forward(&h)).gelu());
        }
        self.head.forward(&self.norm.forward(&h))
    }
}

/// Times steps; where PyTorch's loss after so many steps of the same model is known, asks for the same.
fn time(
    device: &Device,
    name: &str,
    known: Option<(usize, f32)>,
    mut step: impl FnMut() -> Result<Tensor>,
) -> Result<()> {
    let (steps, want) = known.unwrap_or_default();
    let (count, kept) = (std::cell::Cell::new(0), std::cell::RefCell::new(None));
    let mut step = || {
        let loss = step()?;
        count.set(count.get() + 1);
        if count.get() == steps {
            kept.replace(Some(loss.clone()));
        }
        Ok::<Tensor, Error>(loss)
    };
    let start = Instant::now();
    let first_loss = step()?.item()?;
    let first = start.elapsed().as_secs_f64();
    for _ in 0..4 {
        step()?.item()?;
    }
    let before = device.counters();
    let mut times = Vec::new();
    let mut last = 0.0;
    for _ in 0..7 {
        let start = Instant::now();
        let mut loss = step()?;
        for _ in 0..3 {
            loss = step()?;
        }
        last = loss.item()?;
        times.push(start.elapsed().as_secs_f64() * 1e3 / 4.0);
    }
    let after = device.counters();
    // what a step costs the host: everything up to the submission, nothing of the adapter's work
    let mut host = Vec::new();
    for _ in 0..9 {
        device.wait()?;
        let start = Instant::now();
        step()?;
        host.push(start.elapsed().as_secs_f64() * 1e6);
    }
    device.wait()?;
    host.sort_by(f64::total_cmp);
    times.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.1} ms a step (least {:.1}), first {first:.2} s, {} dispatches ({:.0} µs on the host), loss {first_loss:.5} -> {last:.5}, new since warm-up: {} pipelines, {} bind groups, {} buffers; {:.1} MB",
        times[3],
        times[0],
        (after.dispatches - before.dispatches) / 28,
        host[4],
        after.pipelines - before.pipelines,
        after.bind_groups - before.bind_groups,
        after.buffers - before.buffers,
        after.live_bytes as f64 / 1e6,
    );
    if std::env::args().any(|a| a == "--table") {
        device.profile(true);
        step()?.item()?;
        println!("{}", device.take_profile().table());
        device.profile(false);
    }
    while count.get() < steps {
        step()?;
    }
    if let Some(loss) = kept.take() {
        let loss = loss.item()?;
        println!("{name}: loss {loss:.5} after {steps} steps, PyTorch's {want:.5}");
        assert!((loss - want).abs() < 1e-3 * want, "{name} does not learn what PyTorch does");
    }
    Ok(())
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("{} ({})", device.caps().name, device.caps().driver);
    let wanted = |name: &str| !std::env::args().skip(1).any(|a| !a.starts_with('-') && a != name);
    let init = Init::new(&device, 0);
    if wanted("mlp") {
        let lin = |i, o, s| Lin::new(&init, i, o, true, s);
        let net = Mlp(lin(784, 512, 11), lin(512, 256, 12), lin(256, 10, 13));
        let (x, y) = (ten(&device, &[128, 784], 21, 1.0), ids(&device, &[128], 22, 10));
        let mut adam = Adam::new(&net, 1e-4);
        time(&device, "mlp", Some((85, 0.32577)), || {
            let h = net.1.forward(&net.0.forward(&x).relu()).relu();
            let loss = kiln::loss::cross_entropy(&net.2.forward(&h), &y);
            adam.step(&loss)?;
            Ok(loss)
        })?;
    }
    if wanted("cnn") {
        let net = Cnn {
            w1: init.param(&ten(&device, &[16, 1, 3, 3], 31, 1.0 / 3.0)),
            b1: init.zeros(&[16]),
            w2: init.param(&ten(&device, &[32, 16, 3, 3], 32, 1.0 / 12.0)),
            b2: init.zeros(&[32]),
            fc: Lin::new(&init, 1568, 10, true, 33),
        };
        let (x, y) = (ten(&device, &[64, 1, 28, 28], 41, 1.0), ids(&device, &[64], 42, 10));
        let mut adam = Adam::new(&net, 1e-3);
        let conv = Conv { padding: vec![1], ..Conv::default() };
        time(&device, "cnn", Some((37, 0.50356)), || {
            let h = x.conv2d(&net.w1, Some(&net.b1), &conv).relu().max_pool2d(&Pool::new(2));
            let h = h.conv2d(&net.w2, Some(&net.b2), &conv).relu().max_pool2d(&Pool::new(2));
            let loss = kiln::loss::cross_entropy(&net.fc.forward(&h.flatten(1, -1)), &y);
            adam.step(&loss)?;
            Ok(loss)
        })?;
    }
    for (name, layers, known) in
        [("gpt", 2, Some((21, 2.95176))), ("gpt4", 4, None)].into_iter().filter(|(name, ..)| wanted(name))
    {
        let net = Gpt::new(&init, layers, 128, 4, 64, 256);
        let (x, y) = (ids(&device, &[8, 64], 61, 256), ids(&device, &[512], 62, 256));
        let mut adam = AdamW::new(&net, 3e-4);
        time(&device, name, known, || {
            let loss = kiln::loss::cross_entropy(&net.forward(&x).reshape([512, 256]), &y);
            adam.step(&loss)?;
            Ok(loss)
        })?;
    }
    Ok(())
}
