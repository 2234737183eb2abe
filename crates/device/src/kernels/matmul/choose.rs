//! The choice of a variant where nothing was tuned: one rule for CPU adapters, one estimate for GPUs.

use super::variant::{Algorithm, Variant, algorithms};
use super::{LONGEST, Problem, fours};
use crate::Caps;
use crate::adapter::AdapterKind;
use crate::kernels::common::fed;

/// The variant that should be fastest on this device, and is never known to be: `kiln tune` measures.
pub fn choose(caps: &Caps, p: &Problem) -> Variant {
    choose_among(caps, p, |_| true)
}

/// The same among the algorithms that are `trusted`. It is asked about the best first, and the plain one always is.
pub(super) fn choose_among(caps: &Caps, p: &Problem, trusted: impl Fn(&Algorithm) -> bool) -> Variant {
    let p = &p.plain();
    let with_split = |algorithm| Variant { algorithm, split: split(caps, p, algorithm) };
    let plain = with_split(Algorithm::Block);
    if caps.is_cpu() {
        return Some(on_cpu(caps, p)).filter(trusted).map_or(plain, with_split);
    }
    // Some tile runs everywhere; blocks and subgroups are for CPU adapters.
    let all = algorithms(caps, p).into_iter().filter(|a| !matches!(a, Algorithm::Block | Algorithm::Subgroup { .. }));
    let mut by_cost: Vec<(f64, Variant)> =
        all.map(with_split).map(|v| (cost(caps, p, v.algorithm, v.split), v)).collect();
    by_cost.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    by_cost.into_iter().map(|(_, variant)| variant).find(|v| trusted(&v.algorithm)).unwrap_or(plain)
}

/// CPU adapters: blocks of the subgroup's lanes. Three rows a lane cost a tenth more each than four, but leave less of
/// a last block empty; one costs twice as much. Vectors along m need blocks of four rows.
fn on_cpu(caps: &Caps, p: &Problem) -> Algorithm {
    if caps.subgroup.is_none_or(|(least, _)| least < 8) {
        return Algorithm::Block;
    }
    let blocks = |rows: u32| u64::from(p.m.div_ceil(rows)) * u64::from(rows);
    let a = fours(&p.a, false);
    let rows = match () {
        () if p.m <= 8 => 8,
        () if a.width == 4 && a.down => 32,
        () if 11 * blocks(24) < 10 * blocks(32) => 24,
        () => 32,
    };
    Algorithm::Subgroup { rows }
}

/// Into how many slices an algorithm should cut `k`: more than 1 when the output is too small to keep the device
/// busy, or `k` too long for one invocation.
pub(super) fn split(caps: &Caps, p: &Problem, algorithm: Algorithm) -> u32 {
    let least = p.k.div_ceil(LONGEST).max(1);
    if caps.is_cpu() {
        let most = u64::from((p.k / 512).max(1));
        return ((8 / groups(p, algorithm).max(1)).clamp(1, most.min(64)) as u32).max(least);
    }
    // the parts of all slices are one binding of the kernel that adds them up
    let parts = 4 * u64::from(p.m) * u64::from(p.n) * p.batches();
    let fits = |split: &u32| *split == 1 || (p.k / split >= 128 && u64::from(*split) * parts <= caps.max_binding);
    let costs = [1, 2, 4, 8, 16, 32].into_iter().filter(fits).map(|split| (cost(caps, p, algorithm, split), split));
    costs.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(1, |(_, split)| split).max(least)
}

/// Blocks of `out`.
fn groups(p: &Problem, algorithm: Algorithm) -> u64 {
    let [rows, cols] = algorithm.block(p);
    u64::from(p.m.div_ceil(rows)) * u64::from(p.n.div_ceil(cols)) * p.batches()
}

/// What a product costs on a GPU, in multiply-adds of one core at its peak: the work of a workgroup, times the rounds
/// in which the cores get through all workgroups. WGSL does not say how many cores there are, nor what they can do:
/// the numbers stand for the middle of what is sold, and decide between variants, not about time.
fn cost(caps: &Caps, p: &Problem, algorithm: Algorithm, split: u32) -> f64 {
    let cores = match caps.kind {
        AdapterKind::Discrete => 64.0,
        AdapterKind::Integrated => 16.0,
        _ => 32.0,
    };
    let [rows, cols] = algorithm.block(p).map(f64::from);
    let groups = groups(p, algorithm) as f64 * f64::from(split);
    let k = f64::from(p.k.div_ceil(split));
    // What a step of k costs a workgroup, and how many invocations hide its latencies.
    let (step, threads) = match algorithm {
        Algorithm::Tile(tile) => {
            let rate = fed(caps, tile.own);
            let barriers = if tile.buffers == 2 { 0.97 } else { 1.0 } * (1.0 + 1.0 / f64::from(tile.k));
            (rows * cols / rate * barriers, tile.invocations())
        }
        // b is read once, from memory: some 13 bytes a clock for a core, which does 128 multiply-adds meanwhile.
        Algorithm::Thin => (cols * f64::from(p.m).mul_add(2.0, 40.0), 128),
        Algorithm::Narrow => (rows * f64::from(p.n).mul_add(2.0, 40.0), 128),
        // Matrix units are at least four times as fast as the others; straight from storage they wait more. Few fragments are
        // loaded more often; 4x4 of 16 take so many registers that compilers spill (ACO, NAK).
        Algorithm::Coop(coop) => {
            let fed = match (coop.fragments, coop.size) {
                ([2, 2], _) => 0.6,
                ([4, 4], 16) => 0.8,
                _ => 1.0,
            };
            let rate = if coop.staged { 4.0 * fed } else { 3.0 * fed };
            (rows * cols / rate, coop.invocations(caps))
        }
        Algorithm::Subgroup { .. } | Algorithm::Block => (rows * cols / 0.1, 8),
    };
    // Starting, filling the first tile and storing cost about as much as 64 steps.
    let work = step * (k + 64.0);
    let rounds = (groups / cores).ceil();
    let busy = (rounds * f64::from(threads) / 256.0).min(1.0);
    // A second launch is some 5 µs on all cores; partial sums are written and read once more.
    let parts = f64::from(p.m) * f64::from(p.n) * p.batches() as f64 * f64::from(split);
    let finish = if split > 1 { 1e6 + 80.0 * parts / cores } else { 0.0 };
    rounds * work / busy + finish
}
