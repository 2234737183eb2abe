//! Orders, draws and splits of the numbers 0..n, each a function of a seed.

use std::collections::BTreeMap;

use kiln_device::philox::philox;

use crate::error::At;
use crate::{Error, Result};

/// 64 random bits for a place and a seed.
fn bits(place: u64, purpose: u32, seed: u64) -> u64 {
    let words = philox([place as u32, (place >> 32) as u32, 0, purpose], [seed as u32, (seed >> 32) as u32]);
    u64::from(words[0]) << 32 | u64::from(words[1])
}

/// The numbers 0..n in an order drawn from `seed` (Durstenfeld 1964, algorithm 235).
pub(super) fn permutation(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        // 64 random bits: the remainder's bias is below 2⁻³⁰.
        order.swap(last, (bits(last as u64, 0x5EED, seed) % (last as u64 + 1)) as usize);
    }
    order
}

/// The seed of an epoch of a run.
pub(super) fn epoch_seed(seed: u64, epoch: u64) -> u64 {
    bits(epoch, 0xE90C, seed)
}

/// `count` numbers, each drawn from 0..weights.len() in proportion to its weight, with replacement. The weights add up to
/// more than 0.
pub(super) fn weighted(weights: &[f64], count: usize, seed: u64) -> Vec<usize> {
    let sums: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let total = sums.last().copied().unwrap_or(0.0);
    let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
    (0..count)
        .map(|draw| {
            let uniform = (bits(draw as u64, 0x3E16, seed) >> 11) as f64 / (1u64 << 53) as f64;
            // The first whose sum is above: one of weight 0 never is. Rounding may lead past the last one.
            sums.partition_point(|&sum| sum <= uniform * total).min(last)
        })
        .collect()
}

/// `part` of `n`, to the nearest; `part` is from 0 to 1.
fn share(n: usize, part: f64) -> usize {
    ((n as f64 * part).round() as usize).min(n)
}

/// A share to be held out.
pub(super) fn check_share(op: &'static str, held_out: f64, at: At) -> Result<()> {
    match (0.0..=1.0).contains(&held_out) {
        true => Ok(()),
        false => Err(argument(op, "held_out", held_out.to_string(), "a share from 0 to 1", at)),
    }
}

/// The numbers 0..n in two parts in random order, the second with the share `held_out` of them.
pub(super) fn random_parts(n: usize, held_out: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut first = permutation(n, seed);
    let second = first.split_off(n - share(n, held_out));
    (first, second)
}

/// The numbers 0..labels.len() in two parts, the second with the share `held_out` of each class.
pub(super) fn stratified_parts(labels: &[i32], held_out: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for rows in by_class(labels, seed).values() {
        let kept = rows.len() - share(rows.len(), held_out);
        first.extend_from_slice(&rows[..kept]);
        second.extend_from_slice(&rows[kept..]);
    }
    first.sort_unstable();
    second.sort_unstable();
    (first, second)
}

/// The rows of each class, in an order drawn from `seed`.
fn by_class(labels: &[i32], seed: u64) -> BTreeMap<i32, Vec<usize>> {
    let mut classes: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for row in permutation(labels.len(), seed) {
        classes.entry(labels[row]).or_default().push(row);
    }
    classes
}

/// The numbers 0..n in random order, cut into one part for each of `shares`, which add up to 1. The sizes are the shares
/// rounded down; what is left goes to the first parts, one each, as in PyTorch's `random_split`.
///
/// # Errors
/// [`Error::Argument`] if the shares are negative or do not add up to 1.
#[track_caller]
pub fn parts(n: usize, shares: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let sum: f64 = shares.iter().sum();
    if shares.is_empty() || shares.iter().any(|&share| share.is_nan() || share < 0.0) || (sum - 1.0).abs() > 1e-6 {
        return Err(argument("parts", "shares", format!("{shares:?}"), "shares from 0 that add up to 1", At::here()));
    }
    let mut sizes: Vec<usize> = shares.iter().map(|share| ((n as f64 * share) as usize).min(n)).collect();
    let left = n.saturating_sub(sizes.iter().sum());
    for i in 0..left {
        let at = i % sizes.len();
        sizes[at] += 1;
    }
    let mut order = permutation(n, seed).into_iter();
    Ok(sizes.into_iter().map(|size| order.by_ref().take(size).collect()).collect())
}

/// `k` pairs of numbers to train on and numbers held out; every number of 0..n is held out once.
///
/// # Errors
/// [`Error::Argument`] if `k` is under 2 or more than `n`.
#[track_caller]
pub fn folds(n: usize, k: usize, seed: u64) -> Result<Vec<(Vec<usize>, Vec<usize>)>> {
    check_folds(n, k, At::here())?;
    Ok(deal(permutation(n, seed).into_iter(), n, k))
}

/// The same with each class spread over the folds: for each class, and in all, the folds differ by at most one.
///
/// # Errors
/// As for [`folds`].
#[track_caller]
pub fn stratified_folds(labels: &[i32], k: usize, seed: u64) -> Result<Vec<(Vec<usize>, Vec<usize>)>> {
    check_folds(labels.len(), k, At::here())?;
    // Dealt like cards, class after class.
    Ok(deal(by_class(labels, seed).into_values().flatten(), labels.len(), k))
}

fn check_folds(n: usize, k: usize, at: At) -> Result<()> {
    if k < 2 || k > n {
        return Err(argument("folds", "k", format!("{k} of {n}"), "at least 2 and at most as many as examples", at));
    }
    Ok(())
}

fn deal(rows: impl Iterator<Item = usize>, n: usize, k: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut fold_of = vec![0; n];
    rows.enumerate().for_each(|(card, row)| fold_of[row] = card % k);
    (0..k).map(|fold| (0..n).partition(|&row| fold_of[row] != fold)).collect()
}

pub(super) fn argument(op: &'static str, name: &'static str, value: String, why: &'static str, at: At) -> Error {
    Error::Argument { op, name, value, why, at }
}

#[cfg(test)]
mod tests {
    use super::{permutation, share, weighted};

    #[test]
    fn a_permutation_has_every_number_once_and_follows_its_seed() {
        for n in [0, 1, 2, 17, 1000] {
            let mut order = permutation(n, 3);
            assert_eq!(order, permutation(n, 3));
            assert!(n < 17 || order != permutation(n, 4));
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shares_are_within_the_whole() {
        assert_eq!([share(10, 0.2), share(10, 1.0), share(10, 0.0), share(0, 0.5), share(3, 0.5)], [2, 10, 0, 0, 2]);
    }

    #[test]
    fn draws_follow_their_weights() {
        let draws = weighted(&[0.0, 1.0, 3.0, 0.0], 40_000, 5);
        let count = |which| draws.iter().filter(|&&draw| draw == which).count();
        assert_eq!((count(0), count(3)), (0, 0));
        // 10,000 expected, the deviation is 87
        assert!(count(1).abs_diff(10_000) < 350, "{}", count(1));
    }
}
