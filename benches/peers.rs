//! Kiln's side of a comparison with other frameworks: the same cases, data, initial weights and numbers of steps as
//! `scripts/compare-peers` runs there. One JSON line a case.
//!
//!     cargo bench --bench peers                    # all of them
//!     cargo bench --bench peers -- matmul train    # those whose names contain a word
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

    /// The case `name`: results of one evaluation, of which the first is checked.
    fn case(&self, name: &str, size: &str, results: impl Fn() -> Result<Vec<Tensor>>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let first = results()?.swap_remove(0).to_vec::<f32>()?;
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
        self.tell(name, size, median, least, &format!("\"check\": {check:.9}"));
        Ok(())
    }

    /// A training whose losses after the first step and after all of them are told.
    fn train(&self, name: &str, size: &str, inner: usize, make: impl Fn(&Device) -> Stepper) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let mut step = make(&self.device);
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
        self.tell(name, size, all[3], all[0], &more);
        Ok(())
    }

    fn tell(&self, name: &str, size: &str, median: f64, least: f64, more: &str) {
        let caps = self.device.caps();
        println!(
            "{{\"peer\": \"kiln\", \"case\": \"{name}\", \"size\": \"{size}\", \"dtype\": \"f32\", \"median_ms\": {median:.5}, \
             \"min_ms\": {least:.5}, {more}, \"adapter\": \"{}\", \"driver\": \"{}\"}}",
            caps.name, caps.driver
        );
    }
}

fn main() -> Result<()> {
    let device = Device::open()?;
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let bench = Bench { device: device.clone(), words };
    let ten = |shape: &[usize], seed: u32, scale: f32| -> Result<Tensor> {
        let x = ten(&device, shape, seed, scale);
        x.eval()?;
        Ok(x)
    };

    for n in [256, 512, 1024] {
        let (a, b) = (ten(&[n, n], 1, 1.0)?, ten(&[n, n], 2, 1.0)?);
        bench.case("matmul", &format!("{n}x{n}x{n}"), || Ok(vec![a.matmul(&b)]))?;
        if n > 256 {
            bench.case("matmul_tb", &format!("{n}x{n}x{n}"), || Ok(vec![a.matmul(&b.t())]))?;
        }
    }
    let (a, b) = (ten(&[64, 1024], 1, 1.0)?, ten(&[1024, 1024], 2, 1.0)?);
    bench.case("matmul_skinny", "64x1024x1024", || Ok(vec![a.matmul(&b)]))?;
    let (q, k) = (ten(&[8, 128, 64], 1, 1.0)?, ten(&[8, 128, 64], 2, 1.0)?);
    bench.case("matmul_batched_qkt", "8x128x128x64", || Ok(vec![q.matmul(&k.mt())]))?;
    let (p, v) = (ten(&[8, 128, 128], 1, 1.0)?, ten(&[8, 128, 64], 2, 1.0)?);
    bench.case("matmul_batched_pv", "8x128x64x128", || Ok(vec![p.matmul(&v)]))?;

    let n = 1 << 20;
    let (a, b, c) = (ten(&[n], 1, 1.0)?, ten(&[n], 2, 1.0)?, ten(&[n], 3, 1.0)?);
    bench.case("elementwise_gelu", "1048576", || Ok(vec![(&a * &b + &c).gelu()]))?;
    bench.case("copy_scale", "1048576", || Ok(vec![&a * 1.5]))?;
    let (x, wide) = (ten(&[512, 1024], 1, 1.0)?, ten(&[512, 1024], 1, 4.0)?);
    let (weight, bias) = (ten(&[1024], 2, 1.0)?, ten(&[1024], 3, 1.0)?);
    bench.case("softmax", "512x1024", || Ok(vec![wide.softmax(1)]))?;
    bench.case("layer_norm", "512x1024", || Ok(vec![wide.layer_norm(1, Some(&weight), Some(&bias), 1e-5)]))?;
    bench.case("sum_last", "512x1024", || Ok(vec![x.sum_axes([1], true)]))?;
    bench.case("sum_all", "512x1024", || Ok(vec![x.sum()]))?;

    let (x, w, b) = (ten(&[8, 16, 32, 32], 1, 1.0)?, ten(&[32, 16, 3, 3], 2, 0.1)?, ten(&[32], 3, 0.1)?);
    let conv = Conv { padding: vec![1], ..Conv::default() };
    bench.case("conv2d_fwd", "n8_c16-32_32x32_k3", || Ok(vec![x.conv2d(&w, Some(&b), &conv)]))?;
    bench.case("conv2d_fwd_bwd", "n8_c16-32_32x32_k3", || {
        let y = x.conv2d(&w, Some(&b), &conv);
        let gradients = y.sum().grad(&[&x, &w, &b])?;
        Ok(std::iter::once(y).chain(gradients).collect())
    })?;

    bench.train("train_mlp", "784-512-256-10_b128_adam", 10, |device| models::mlp(device, 128))?;
    bench.train("train_cnn", "28x28_c16-32_b64_adam", 4, |device| models::cnn(device, 64))?;
    let size = GptSize { layers: 2, width: 128, heads: 4, length: 64, vocabulary: 256, batch: 8 };
    bench.train("train_gpt", "L2_d128_h4_t64_v256_b8_adamw", 2, |device| models::gpt(device, size))
}
