//! An LSTM learns the embedded Reber grammar: as good as anyone can be who knows its rules.
//!
//!     cargo run --release --example grammar
//!
//! The last letter but one of each word repeats its second, after a word of the inner grammar of any length: a model
//! without memory loses 2 % there. Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", §5.1.

use kiln::prelude::*;

/// The share of next letters that is guessed, less the share that is guessed by the rules.
pub(crate) const BAR: f64 = -0.01;
const LETTERS: usize = 7; // B T P S X V E
pub(crate) const LENGTH: usize = 24;
const LIKELY: f64 = 0.7; // the first of two ways

/// The ways on from a state: letter and next state. 0 begins a word; the inner grammar is 2..=8 after T, 9..=15 after
/// P; 16 and 17 repeat that letter, 18 ends the word.
fn ways(state: usize) -> Vec<(char, usize)> {
    let (inner, from) = ((state + 5) % 7, if state < 9 { 2 } else { 9 });
    let to = |ways: [(char, usize); 2]| ways.map(|(letter, next)| (letter, from + next)).to_vec();
    match (state, inner) {
        (0, _) => vec![('B', 1)],
        (1, _) => vec![('T', 2), ('P', 9)],
        (16 | 17, _) => vec![(if state == 16 { 'T' } else { 'P' }, 18)],
        (18, _) => vec![('E', 0)],
        (_, 0) => vec![('B', from + 1)],
        (_, 1) => to([('T', 2), ('P', 3)]),
        (_, 2) => to([('S', 2), ('X', 4)]),
        (_, 3) => to([('T', 3), ('V', 5)]),
        (_, 4) => to([('X', 3), ('S', 6)]),
        (_, 5) => to([('P', 4), ('V', 6)]),
        _ => vec![('E', if state == 8 { 16 } else { 17 })],
    }
}

/// How often the likeliest letter is the right one, for letters 1..=LENGTH of a text (letter 0 is given): exactly.
fn bayes_rate() -> f64 {
    let (mut at, mut rate) = ([0.0; 19], 0.0);
    at[1] = 1.0;
    for _ in 0..LENGTH {
        let mut next = [0.0; 19];
        for (state, &p) in at.iter().enumerate() {
            let ways = ways(state);
            let shares: &[f64] = if ways.len() == 1 { &[1.0] } else { &[LIKELY, 1.0 - LIKELY] };
            rate += p * shares[0] / LENGTH as f64;
            ways.iter().zip(shares).for_each(|(way, share)| next[way.1] += p * share);
        }
        at = next;
    }
    rate
}

/// Letters 0..=LENGTH of `count` texts, drawn on the device's random numbers.
fn texts(device: &Device, count: usize, seed: u64) -> Result<Tensor> {
    let chance = Rng::new(device, seed).uniform([count, LENGTH + 1]).to_vec::<f32>()?;
    let mut state = 0;
    let letter = |(i, chance): (usize, &f32)| {
        let ways = ways(if i % (LENGTH + 1) == 0 { 0 } else { state });
        let way = ways[usize::from(ways.len() > 1 && f64::from(*chance) >= LIKELY)];
        state = way.1;
        "BTPSXVE".find(way.0).unwrap_or_default() as i32
    };
    let letters: Vec<i32> = chance.iter().enumerate().map(letter).collect();
    Ok(Tensor::from_vec(device, letters, &[count, LENGTH + 1]))
}

/// An LSTM, and a linear map from its state.
pub(crate) fn model(init: &mut Init) -> (Lstm, Linear) {
    let options = RecurrentOptions { batch_first: true, ..Default::default() };
    (Lstm::with(LETTERS, 64, options, init), Linear::new(64, LETTERS, init))
}

/// `text` [batch, time] → logits of the letter after each, [batch · time, LETTERS].
pub(crate) fn logits((lstm, out): &(Lstm, Linear), text: &Tensor) -> Tensor {
    out.forward(&lstm.forward(&text.one_hot(LETTERS).cast(DType::F32))).flatten(0, 1)
}

/// Trains from `seed` and gives the share guessed right less the Bayes rate.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let (model, steps) = (model(&mut Init::new(device, seed)), if quick { 40 } else { 800 });
    let mut adam = Adam::new(&model, 2e-2);
    let read = |text: &Tensor| (logits(&model, &text.narrow(1, 0, LENGTH)), text.narrow(1, 1, LENGTH).flatten(0, 1));
    for step in 0..steps {
        adam.set_lr(schedule::one_cycle(2e-2, step, steps));
        let (logits, next) = read(&texts(device, 128, seed << 32 | step as u64)?);
        let mut gradients = cross_entropy(&logits, &next).backward()?;
        clip_grad_norm(&mut gradients, 1.0); // the way to the second letter is found suddenly
        adam.step(&gradients)?;
    }
    let (logits, next) = read(&texts(device, 2000, u64::MAX)?);
    let (right, rate) = (f64::from(accuracy(&logits, &next).item()?), bayes_rate());
    println!("{:.2} % of the next letters; by the rules {:.2} %", 100.0 * right, 100.0 * rate);
    Ok(right - rate)
}

fn main() -> Result<()> {
    let gap = run(&Device::open()?, 42, false)?;
    assert!(gap >= BAR, "{gap} is less than {BAR}");
    Ok(())
}
