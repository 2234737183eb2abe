//! Attention by its kernels against the same from plain operations, in one run: causal, forward and gradients.
//!
//!     cargo bench -p kiln --bench attention
//!     cargo bench -p kiln --bench attention -- 64 256

#![allow(missing_docs)]

use kiln::prelude::*;
use std::time::Instant;

/// softmax(q kᵀ/√e, masked) v as a program would write it.
fn plain(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let [_, _, length, e] = q.dims()?;
    let future = Tensor::ones(q.device(), [length, length]).triu(1).cast(DType::Bool);
    let scores = q.matmul(&k.mt()) * (1.0 / (e as f32).sqrt());
    Ok(scores.masked_fill(&future, f32::NEG_INFINITY).softmax(-1).matmul(v))
}

fn kernel(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    Ok(q.scaled_dot_product_attention(k, v, &Attention { causal: true, ..Attention::default() }))
}

type Way = fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>;

/// Milliseconds of the result, and of it with its gradients.
fn time(way: Way, x: &[Tensor; 4]) -> Result<[f64; 2]> {
    let mut spent = [f64::INFINITY; 2];
    for (with_gradients, best) in [false, true].into_iter().zip(&mut spent) {
        for _ in 0..6 {
            let start = Instant::now();
            let y = way(&x[0], &x[1], &x[2])?;
            if with_gradients {
                let grads = (&y * &x[3]).sum().grad(&[&x[0], &x[1], &x[2]])?;
                Tensor::eval_all(&[&y, &grads[0], &grads[1], &grads[2]])?;
            } else {
                y.eval()?;
            }
            x[0].device().wait()?;
            *best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(spent)
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("{} ({}), causal, least of 6, ms", device.caps().name, device.caps().driver);
    println!("| heads, length, size | kernel | plain | ratio | with gradients | plain | ratio |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let rng = Rng::new(&device, 1);
    for (heads, length, e) in [(32, 64, 32), (8, 256, 64), (2, 1024, 64), (1, 2048, 64)] {
        if !asked.is_empty() && !asked.contains(&length) {
            continue;
        }
        let x = [0; 4].map(|_| rng.normal([1, heads, length, e]));
        x.iter().try_for_each(Tensor::eval)?;
        // the measure is the same adapter under the same load: both ways twice, in turn
        let rounds = [time(kernel, &x)?, time(plain, &x)?, time(kernel, &x)?, time(plain, &x)?];
        let least = |way: usize, what: usize| rounds[way][what].min(rounds[way + 2][what]);
        let [a, b, c, d] = [least(0, 0), least(1, 0), least(0, 1), least(1, 1)];
        println!("| {heads}, {length}, {e} | {a:.2} | {b:.2} | {:.2} | {c:.2} | {d:.2} | {:.2} |", b / a, d / c);
    }
    Ok(())
}
