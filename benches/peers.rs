//! Kiln's side of a comparison with other frameworks: the same cases, data, initial weights and numbers of steps as
//! `scripts/compare-peers` runs there. One JSON line a case.
//!
//!     cargo bench --bench peers                    # all of them
//!     cargo bench --bench peers -- matmul train    # those whose names contain a word
//!     cargo bench --bench peers -- --scale gpu     # at the sizes of a discrete GPU, half floats too
//!
//! Wall time, as a program sees it: the expression is written down, its plan found and run, and the result waited for
//! at the end of each repetition. `check` is the mean magnitude of a result and `loss_last` the loss after `steps`: they
//! have to agree between frameworks.

#![allow(missing_docs)]

use kiln::prelude::*;
use models::{GptSize, Stepper, ten};
use std::time::Instant;

#[path = "../crates/cli/src/bench/models.rs"]
mod models;

const REPEATS: usize = 9;

/// A repetition is timed over so many runs that it takes about this long.
const REPETITION_MS: f64 = 60.0;

struct Bench {
    device: Device,
    words: Vec<String>,
}

/// Median and least of the repetitions, in ms.
fn time(mut repetition: impl FnMut() -> Result<f64>) -> Result<(f64, f64)> {
    let mut all = (0..REPEATS).map(|_| repetition()).collect::<Result<Vec<f64>>>()?;
    all.sort_by(f64::total_cmp);
    Ok((all[REPEATS / 2], all[0]))
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    /// Whether there are cases of half floats.
    fn halves(&self, scale: &Scale) -> bool {
        scale.halves && self.device.caps().f16
    }

    /// The case `name`: results of one evaluation, of which the first is checked.
    fn case(&self, name: &str, size: &str, results: impl Fn() -> Result<Vec<Tensor>>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let first = results()?.swap_remove(0);
        let dtype = first.dtype();
        let first = first.cast(DType::F32).to_vec::<f32>()?;
        let check = first.iter().map(|v| f64::from(v.abs())).sum::<f64>() / first.len() as f64;
        let once = || -> Result<Vec<Tensor>> {
            let made = results()?;
            Tensor::eval_all(&made)?;
            Ok(made)
        };
        let run = |inner: usize| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..inner {
                once()?;
            }
            self.device.wait()?;
            Ok(start.elapsed().as_secs_f64() * 1e3 / inner as f64)
        };
        run(1)?;
        let single = run(1)?.min(run(1)?);
        let inner = ((REPETITION_MS / single) as usize).clamp(1, 16);
        let (median, least) = time(|| run(inner))?;
        self.tell(name, size, dtype, [median, least], &format!("\"check\": {check:.9}"));
        Ok(())
    }

    /// A training whose losses after the first step and after all of them are told.
    fn train(
        &self,
        name: &str,
        size: &str,
        dtype: DType,
        inner: usize,
        make: impl Fn(&Device, DType) -> Stepper,
    ) -> Result<()> {
        if !self.wants(name) || dtype == DType::F16 && !self.device.caps().f16 {
            return Ok(());
        }
        let mut step = make(&self.device, dtype);
        let loss_first = step()?.item()?;
        for _ in 0..4 + inner {
            step()?;
        }
        self.device.wait()?;
        // The other frameworks repeat seven times; so many steps are timed here, and the loss is read after the last.
        let mut last = None;
        let mut all = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            for _ in 0..inner {
                last = Some(step()?);
            }
            self.device.wait()?;
            all.push(start.elapsed().as_secs_f64() * 1e3 / inner as f64);
        }
        all.sort_by(f64::total_cmp);
        let loss_last = match last {
            Some(loss) => loss.item()?,
            None => loss_first,
        };
        let steps = 5 + 8 * inner;
        let more = format!("\"loss_first\": {loss_first:.6}, \"loss_last\": {loss_last:.6}, \"steps\": {steps}");
        self.tell(name, size, dtype, [all[3], all[0]], &more);
        Ok(())
    }

    fn tell(&self, name: &str, size: &str, dtype: DType, [median, least]: [f64; 2], more: &str) {
        let caps = self.device.caps();
        let dtype = if dtype == DType::F16 { "f16" } else { "f32" };
        println!(
            "{{\"peer\": \"kiln\", \"case\": \"{name}\", \"size\": \"{size}\", \"dtype\": \"{dtype}\", \"median_ms\": {median:.5}, \
             \"min_ms\": {least:.5}, {more}, \"adapter\": \"{}\", \"driver\": \"{}\"}}",
            caps.name, caps.driver
        );
    }
}

/// Sizes of the cases.
struct Scale {
    /// Of which the last two are also tried with the second operand turned.
    squares: &'static [usize],
    skinny: &'static [[usize; 3]],
    batched: [usize; 4],
    elements: usize,
    rows: [usize; 2],
    /// Images, channels before and after, side.
    conv: [usize; 4],
    /// Batch, heads, length, width of a head.
    attention: [usize; 4],
    gpt: GptSize,
    /// Steps in a repetition of the MLP, the CNN and the GPT.
    inner: [usize; 3],
    halves: bool,
}

const SMALL: Scale = Scale {
    squares: &[256, 512, 1024],
    skinny: &[[64, 1024, 1024]],
    batched: [8, 128, 128, 64],
    elements: 1 << 20,
    rows: [512, 1024],
    conv: [8, 16, 32, 32],
    attention: [2, 4, 256, 64],
    gpt: GptSize { layers: 2, width: 128, heads: 4, length: 64, vocabulary: 256, batch: 8 },
    inner: [10, 4, 2],
    halves: false,
};

const GPU: Scale = Scale {
    squares: &[1024, 2048, 4096, 8192],
    skinny: &[[64, 1024, 1024], [64, 4096, 4096]],
    batched: [96, 512, 512, 64],
    elements: 64 << 20,
    rows: [16_384, 4096],
    conv: [64, 64, 128, 56],
    attention: [4, 16, 2048, 64],
    gpt: GptSize { layers: 12, width: 768, heads: 12, length: 512, vocabulary: 50_304, batch: 8 },
    inner: [50, 50, 5],
    halves: true,
};

/// Operands whose elements are hashes of the index.
fn operand(device: &Device, shape: &[usize], seed: u32, scale: f32, dtype: DType) -> Result<Tensor> {
    let x = ten(device, shape, seed, scale).cast(dtype);
    x.eval()?;
    Ok(x)
}

fn products(bench: &Bench, scale: &Scale) -> Result<()> {
    products_of(bench, scale, DType::F32)?;
    if bench.halves(scale) { products_of(bench, scale, DType::F16) } else { Ok(()) }
}

fn products_of(bench: &Bench, scale: &Scale, dtype: DType) -> Result<()> {
    let ten = |shape: &[usize], seed: u32| operand(&bench.device, shape, seed, 1.0, dtype);
    for (at, &n) in scale.squares.iter().enumerate() {
        let size = format!("{n}x{n}x{n}");
        let (a, b) = (ten(&[n, n], 1)?, ten(&[n, n], 2)?);
        bench.case("matmul", &size, || Ok(vec![a.matmul(&b)]))?;
        if at + 2 >= scale.squares.len() {
            bench.case("matmul_tb", &size, || Ok(vec![a.matmul(&b.t())]))?;
        }
    }
    for &[m, n, k] in scale.skinny {
        let (a, b) = (ten(&[m, k], 1)?, ten(&[k, n], 2)?);
        bench.case("matmul_skinny", &format!("{m}x{n}x{k}"), || Ok(vec![a.matmul(&b)]))?;
    }
    let [heads, queries, keys, d] = scale.batched;
    let (q, k) = (ten(&[heads, queries, d], 1)?, ten(&[heads, keys, d], 2)?);
    bench.case("matmul_batched_qkt", &format!("{heads}x{queries}x{keys}x{d}"), || Ok(vec![q.matmul(&k.mt())]))?;
    let (p, v) = (ten(&[heads, queries, keys], 1)?, ten(&[heads, keys, d], 2)?);
    bench.case("matmul_batched_pv", &format!("{heads}x{queries}x{d}x{keys}"), || Ok(vec![p.matmul(&v)]))
}

/// Causal attention, forward and with gradients, and written out of products and a softmax.
fn attention(bench: &Bench, scale: &Scale) -> Result<()> {
    let dtype = if bench.halves(scale) { DType::F16 } else { DType::F32 };
    let [batch, heads, length, d] = scale.attention;
    let size = format!("{batch}x{heads}x{length}x{d}");
    let ten = |seed: u32| operand(&bench.device, &[batch, heads, length, d], seed, 1.0, dtype);
    let (q, k, v, dy) = (ten(1)?, ten(2)?, ten(3)?, ten(4)?);
    let causal = Attention { causal: true, ..Attention::default() };
    let fused = || q.scaled_dot_product_attention(&k, &v, &causal);
    bench.case("attention_fwd", &size, || Ok(vec![fused()]))?;
    bench.case("attention_fwd_bwd", &size, || {
        let y = fused();
        let gradients = (&y * &dy).sum().grad(&[&q, &k, &v])?;
        Ok(std::iter::once(y).chain(gradients).collect())
    })?;
    let mask = Tensor::full(&bench.device, [length, length], f32::NEG_INFINITY).triu(1).cast(dtype);
    mask.eval()?;
    bench.case("attention_unfused", &size, || {
        let scores = q.matmul(&k.mt()) * (1.0 / (d as f32).sqrt());
        Ok(vec![(scores + &mask).softmax(-1).matmul(&v)])
    })
}

fn elementwise(bench: &Bench, scale: &Scale) -> Result<()> {
    let n = scale.elements;
    let [a, b, c] = [1, 2, 3].map(|seed| operand(&bench.device, &[n], seed, 1.0, DType::F32));
    let (a, b, c) = (a?, b?, c?);
    bench.case("elementwise_gelu", &n.to_string(), || Ok(vec![(&a * &b + &c).gelu()]))?;
    bench.case("copy_scale", &n.to_string(), || Ok(vec![&a * 1.5]))
}

fn rows(bench: &Bench, scale: &Scale) -> Result<()> {
    let [rows, cols] = scale.rows;
    let size = format!("{rows}x{cols}");
    let ten = |shape: &[usize], seed: u32, by: f32| operand(&bench.device, shape, seed, by, DType::F32);
    let (x, wide) = (ten(&[rows, cols], 1, 1.0)?, ten(&[rows, cols], 1, 4.0)?);
    let (weight, bias) = (ten(&[cols], 2, 1.0)?, ten(&[cols], 3, 1.0)?);
    bench.case("softmax", &size, || Ok(vec![wide.softmax(1)]))?;
    bench.case("layer_norm", &size, || Ok(vec![wide.layer_norm(1, Some(&weight), Some(&bias), 1e-5)]))?;
    bench.case("sum_last", &size, || Ok(vec![x.sum_axes([1], true)]))?;
    bench.case("sum_all", &size, || Ok(vec![x.sum()]))
}

fn convolution(bench: &Bench, scale: &Scale) -> Result<()> {
    let [images, before, after, side] = scale.conv;
    let size = format!("n{images}_c{before}-{after}_{side}x{side}_k3");
    let ten = |shape: &[usize], seed: u32, by: f32| operand(&bench.device, shape, seed, by, DType::F32);
    let (x, w) = (ten(&[images, before, side, side], 1, 1.0)?, ten(&[after, before, 3, 3], 2, 0.1)?);
    let b = ten(&[after], 3, 0.1)?;
    let conv = Conv { padding: vec![1], ..Conv::default() };
    bench.case("conv2d_fwd", &size, || Ok(vec![x.conv2d(&w, Some(&b), &conv)]))?;
    bench.case("conv2d_fwd_bwd", &size, || {
        let y = x.conv2d(&w, Some(&b), &conv);
        let gradients = y.sum().grad(&[&x, &w, &b])?;
        Ok(std::iter::once(y).chain(gradients).collect())
    })
}

/// Cases that share their operands, and what measures them.
type Group = (&'static [&'static str], fn(&Bench, &Scale) -> Result<()>);

const GROUPS: [Group; 5] = [
    (&["matmul", "matmul_tb", "matmul_skinny", "matmul_batched_qkt", "matmul_batched_pv"], products),
    (&["elementwise_gelu", "copy_scale"], elementwise),
    (&["softmax", "layer_norm", "sum_last", "sum_all"], rows),
    (&["conv2d_fwd", "conv2d_fwd_bwd"], convolution),
    (&["attention_fwd", "attention_fwd_bwd", "attention_unfused"], attention),
];

fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let scale = match words.iter().position(|word| word == "--scale") {
        Some(at) => match words.drain(at..(at + 2).min(words.len())).nth(1).as_deref() {
            Some("gpu") => &GPU,
            Some("small") => &SMALL,
            _ => {
                eprintln!("--scale takes small or gpu");
                std::process::exit(2);
            }
        },
        None => &SMALL,
    };
    let bench = Bench { device: Device::open()?, words };
    for (cases, measure) in GROUPS {
        if cases.iter().any(|case| bench.wants(case)) {
            measure(&bench, scale)?;
        }
    }
    let [mlp, cnn, gpt] = scale.inner;
    let f32 = DType::F32;
    bench.train("train_mlp", "784-512-256-10_b128_adam", f32, mlp, |device, dtype| models::mlp(device, 128, dtype))?;
    bench.train("train_cnn", "28x28_c16-32_b64_adam", f32, cnn, |device, dtype| models::cnn(device, 64, dtype))?;
    let GptSize { layers, width, heads, length, vocabulary, batch } = scale.gpt;
    let size = format!("L{layers}_d{width}_h{heads}_t{length}_v{vocabulary}_b{batch}_adamw");
    for dtype in [DType::F32, DType::F16] {
        bench.train("train_gpt", &size, dtype, gpt, |device, dtype| models::gpt(device, scale.gpt, dtype))?;
    }
    Ok(())
}
