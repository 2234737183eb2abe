//! A small GPT learns Shakespeare's *Coriolanus* letter by letter, then writes on by itself, with a cache.
//!
//!     cargo run --release --example chars

use kiln::data::tokens::{Chars, Windows};
use kiln::prelude::*;

/// How many nats a letter it needs less than a table of pairs, on the part of the text held out.
pub(crate) const BAR: f64 = 0.3;

pub(crate) const TEXT: &str = include_str!("data/coriolanus.txt");
pub(crate) const LENGTH: usize = 128;

/// The loss of a table of pairs, counted on `train` with one added to each, on `test`.
fn pairs(train: &[i32], test: &[i32], letters: usize) -> f64 {
    let mut counts = vec![vec![1.0f64; letters]; letters];
    train.windows(2).for_each(|w| counts[w[0] as usize][w[1] as usize] += 1.0);
    let loss = |w: &[i32]| {
        let row = &counts[w[0] as usize];
        (row.iter().sum::<f64>() / row[w[1] as usize]).ln()
    };
    test.windows(2).map(loss).sum::<f64>() / (test.len() - 1) as f64
}

fn loss(model: &nn::Gpt2, x: &Tensor, y: &Tensor) -> Tensor {
    cross_entropy(&model.forward(x).flatten(0, 1), &y.flatten(0, 1))
}

/// The untrained network: letters [batch, time] → logits [batch, time, `letters`].
pub(crate) fn gpt(letters: usize, init: &mut Init) -> nn::Gpt2 {
    let sizes = nn::Gpt2Options { vocabulary: letters, context: LENGTH, width: 64, layers: 2, heads: 4, dropout: 0.0 };
    nn::Gpt2::new(sizes, init)
}

/// Trains from `seed` and gives how many nats a letter it needs less than a table of pairs.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let letters = Chars::new(TEXT);
    let text = letters.encode(TEXT)?;
    let (train, test) = text.split_at(text.len() * 9 / 10);

    let model = gpt(letters.vocab_size(), &mut Init::new(device, seed));
    let mut adam = AdamW::new(&model, 3e-3).weight_decay(0.1);
    let set = Windows::new(device, train.to_vec(), LENGTH)?.stride(7);
    let held_out = Windows::new(device, test.to_vec(), LENGTH)?.stride(LENGTH);
    let steps = if quick { 10 } else { 800 };
    let mut learn = adam.capture(|(x, y): &(Tensor, Tensor)| loss(&model, x, y));
    let passes = (0..).flat_map(|pass| set.batches(8, seed << 32 | pass).drop_last());
    for (step, batch) in passes.take(steps).enumerate() {
        learn.set_lr(schedule::one_cycle(5e-3, step, steps));
        let loss = learn.step(&batch)?;
        if step % 100 == 0 {
            println!("step {step:4}: {:.3} nats a letter", loss.item()?);
        }
    }
    let (x, y) = held_out.batch(&(0..held_out.len()).collect::<Vec<_>>());
    let (reached, table) = (f64::from(loss(&model, &x, &y).item()?), pairs(train, test, letters.vocab_size()));
    println!("{reached:.3} nats a letter on the part held out; a table of pairs {table:.3}");

    let caches = model.caches(1);
    let prompt = letters.encode("MENENIUS:\n")?;
    let mut sampler = nn::Sampling { temperature: 0.8, seed, ..Default::default() }.sampler()?;
    let count = if quick { 8 } else { LENGTH - prompt.len() };
    let written = nn::generate(device, &prompt, count, None, &mut sampler, |tokens, position| {
        model.forward_cached(tokens, &caches, position)
    })?;
    println!("\nMENENIUS:\n{}", letters.decode(&written)?);
    Ok(table - reached)
}

fn main() -> Result<()> {
    let gain = run(&Device::open()?, 42, false)?;
    assert!(gain >= BAR, "{gain} is less than {BAR}");
    Ok(())
}
