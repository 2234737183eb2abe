//! BLEU: n-grams that a translation shares with its references.

use std::collections::HashMap;
use std::hash::Hash;

/// Corpus BLEU with up to four words in a row, each candidate against one or more references.
///
/// BLEU = e^min(0, 1 − r/c) · (Π pₙ)^(1/4), with pₙ the clipped precision of the n-grams, c the length of the candidates
/// and r that of the references closest in length (the shorter one of two). 0 if an n-gram order has no match.
///
/// Source: Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation", §2.
///
/// ```
/// # use kiln::prelude::*;
/// let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
/// let mut bleu = metrics::Bleu::default();
/// bleu.add(&words("the cat is on the mat"), &[words("the cat is on the mat")]);
/// assert_eq!(bleu.value(), 1.0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bleu {
    matches: [f64; ORDERS],
    totals: [f64; ORDERS],
    candidate: f64,
    reference: f64,
}

const ORDERS: usize = 4;

impl Bleu {
    /// Adds a candidate and its references, as words or token numbers. Without a reference nothing matches.
    pub fn add<T: Eq + Hash>(&mut self, candidate: &[T], references: &[impl AsRef<[T]>]) {
        for n in 1..=ORDERS {
            let mut allowed: HashMap<&[T], u64> = HashMap::new();
            for reference in references {
                for (gram, count) in counts(reference.as_ref(), n) {
                    let most = allowed.entry(gram).or_default();
                    *most = count.max(*most);
                }
            }
            for (gram, count) in counts(candidate, n) {
                self.totals[n - 1] += count as f64;
                self.matches[n - 1] += count.min(allowed.get(gram).copied().unwrap_or(0)) as f64;
            }
        }
        self.candidate += candidate.len() as f64;
        let lengths = references.iter().map(|r| r.as_ref().len());
        let closest = lengths.min_by_key(|&len| (len.abs_diff(candidate.len()), len));
        self.reference += closest.unwrap_or(0) as f64;
    }

    /// The score so far, in 0..1.
    pub fn value(&self) -> f64 {
        if self.matches.contains(&0.0) {
            return 0.0;
        }
        let precision: f64 = self.matches.iter().zip(&self.totals).map(|(m, t)| (m / t).ln()).sum();
        let brevity = (1.0 - self.reference / self.candidate).min(0.0);
        (brevity + precision / ORDERS as f64).exp()
    }
}

fn counts<T: Eq + Hash>(words: &[T], n: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for gram in words.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}
