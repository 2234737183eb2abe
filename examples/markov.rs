//! A GPT learns a random source of letters in which each depends on the two before it, up to the source's entropy.
//!
//!     cargo run --release --example markov

use kiln::prelude::*;

/// The entropy rate of the source less the loss, in nats a letter: 0 is perfect.
pub(crate) const BAR: f64 = -0.03;

const LETTERS: usize = 5;
pub(crate) const LENGTH: usize = 32;

/// p[a][b][c]: how likely c follows a, b.
type Source = [[[f64; LETTERS]; LETTERS]; LETTERS];

/// Likelihoods drawn from a seed: the softmax of normals of width 1.5.
fn source(device: &Device, seed: u64) -> Result<Source> {
    let p = (Rng::new(device, seed).normal([LETTERS; 3]) * 1.5).softmax(-1).to_vec::<f32>()?;
    let p = |a: usize, b: usize, c: usize| f64::from(p[(a * LETTERS + b) * LETTERS + c]);
    Ok(std::array::from_fn(|a| std::array::from_fn(|b| std::array::from_fn(|c| p(a, b, c)))))
}

/// Σ π(a, b) Σ p ln 1/p in nats a letter, with π the pairs' stationary distribution.
fn entropy_rate(source: &Source) -> f64 {
    let mut pairs = [[1.0 / (LETTERS * LETTERS) as f64; LETTERS]; LETTERS];
    let mut rate = 0.0;
    for _ in 0..1000 {
        let mut next = [[0.0; LETTERS]; LETTERS];
        rate = 0.0;
        for (a, row) in source.iter().enumerate() {
            for (b, p) in row.iter().enumerate() {
                for (c, p) in p.iter().enumerate() {
                    next[b][c] += pairs[a][b] * p;
                    rate -= pairs[a][b] * p * p.ln();
                }
            }
        }
        pairs = next;
    }
    rate
}

/// `count` pieces [count, LENGTH + 1] of the source's texts.
fn texts(device: &Device, source: &Source, count: usize, seed: u64) -> Result<Tensor> {
    let warm_up = 32; // letters until the pairs are distributed as they will be
    let chance = Rng::new(device, seed).uniform([count, warm_up + LENGTH + 1]).to_vec::<f32>()?;
    let mut texts = Vec::with_capacity(count * (LENGTH + 1));
    for chance in chance.chunks(warm_up + LENGTH + 1) {
        let [mut a, mut b] = [0, 0];
        for (i, &chance) in chance.iter().enumerate() {
            let mut left = f64::from(chance);
            let likely = |p: &f64| {
                left -= p;
                left < 0.0
            };
            let c = source[a][b].iter().position(likely).unwrap_or(LETTERS - 1);
            [a, b] = [b, c];
            texts.extend((i >= warm_up).then_some(c as i32));
        }
    }
    Ok(Tensor::from_vec(device, texts, &[count, LENGTH + 1]))
}

/// The mean of −ln p over letters 2..=LENGTH of `text` [count, LENGTH + 1], each after all that come before it.
fn loss(model: &nn::Gpt2, text: &Tensor) -> Tensor {
    let logits = model.forward(&text.narrow(1, 0, LENGTH)).narrow(1, 1, LENGTH - 1);
    cross_entropy(&logits.flatten(0, 1), &text.narrow(1, 2, LENGTH - 1).flatten(0, 1))
}

/// The untrained network: letters [batch, time] → logits [batch, time, LETTERS].
pub(crate) fn gpt(init: &mut Init) -> nn::Gpt2 {
    let sizes = nn::Gpt2Options { vocabulary: LETTERS, context: LENGTH, width: 32, layers: 2, heads: 2, dropout: 0.0 };
    nn::Gpt2::new(sizes, init)
}

/// Trains from `seed` and gives the entropy rate less the loss on texts that it has not seen.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let source = source(device, seed)?;
    let model = gpt(&mut Init::new(device, seed));
    let mut adam = AdamW::new(&model, 1e-2);
    let steps = if quick { 30 } else { 300 };
    let mut train = adam.capture(|text: &Tensor| loss(&model, text));
    for step in 0..steps {
        train.set_lr(schedule::one_cycle(1e-2, step, steps));
        train.step(&texts(device, &source, 64, seed << 32 | step as u64)?)?;
    }
    let loss = f64::from(loss(&model, &texts(device, &source, 1000, u64::MAX)?).item()?);
    let rate = entropy_rate(&source);
    println!("{loss:.4} nats a letter; the source has {rate:.4}");
    Ok(rate - loss)
}

fn main() -> Result<()> {
    let gap = run(&Device::open()?, 42, false)?;
    assert!(gap >= BAR, "{gap} is less than {BAR}");
    Ok(())
}
