//! The choice of a variant where nothing was tuned: one rule for CPU adapters, one estimate for GPUs.

use super::variant::{Algorithm, Variant, algorithms};
use super::{Direction, LONGEST, Problem};
use crate::Caps;
use crate::adapter::AdapterKind;
use crate::kernels::common::fed;

/// The variant that should be fastest on this device, and is never known to be: `kiln tune` measures.
pub fn choose(caps: &Caps, p: &Problem) -> Variant {
    choose_among(caps, p, |_| true)
}

/// The same among the algorithms that are `trusted`. It is asked about the best first; the plain one always is.
pub(super) fn choose_among(caps: &Caps, p: &Problem, trusted: impl Fn(&Algorithm) -> bool) -> Variant {
    let p = &p.plain();
    let with_split = |algorithm| Variant { algorithm, split: split(caps, p, algorithm) };
    let plain = with_split(Algorithm::Direct);
    if caps.is_cpu() {
        return Some(on_cpu(caps, p)).filter(trusted).map_or(plain, with_split);
    }
    let depthwise = Algorithm::Depthwise;
    if depthwise.fits(caps, p) && trusted(&depthwise) {
        return with_split(depthwise);
    }
    // a tile of two channels or fewer is nearly all padding
    let tiled = |a: &Algorithm| matches!(a, Algorithm::Tile(_) | Algorithm::Coop(_)) && p.rows() > 2;
    let all = algorithms(caps, p).into_iter().filter(tiled).map(with_split);
    let mut by_cost: Vec<(f64, Variant)> = all.map(|v| (cost(caps, p, v.algorithm, v.split), v)).collect();
    by_cost.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    by_cost.into_iter().map(|(_, variant)| variant).find(|v| trusted(&v.algorithm)).unwrap_or(plain)
}

/// CPU adapters: blocks of the subgroup's lanes, fewer channels a lane for thin groups.
fn on_cpu(caps: &Caps, p: &Problem) -> Algorithm {
    let depthwise = Algorithm::Depthwise;
    match caps.subgroup {
        _ if depthwise.fits(caps, p) && p.c_out == p.groups => depthwise,
        Some((least, _)) if least >= 8 && p.rows() > 2 => Algorithm::Subgroup {
            rows: match p.rows() {
                0..=8 => 8,
                9..=16 => 16,
                _ => 32,
            },
        },
        _ => Algorithm::Direct,
    }
}

/// Into how many slices an algorithm should cut its sums: more than 1 when the result is too small to keep the device
/// busy, or a sum too long for one invocation.
pub(super) fn split(caps: &Caps, p: &Problem, algorithm: Algorithm) -> u32 {
    if p.direction == Direction::Weight {
        return weight_split(caps, p, algorithm);
    }
    if caps.is_cpu() || !algorithm.splits() {
        return 1;
    }
    let chain = p.chain();
    let fits = |split: &u32| *split == 1 || chain / split >= 128;
    let costs = [1, 2, 4, 8, 16].into_iter().filter(fits).map(|split| (cost(caps, p, algorithm, split), split));
    costs.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(1, |(_, split)| split)
}

/// The weight gradient sums over all images and positions, and has few elements: it is nearly always cut.
fn weight_split(caps: &Caps, p: &Problem, algorithm: Algorithm) -> u32 {
    let (wanted, shortest) = if caps.is_cpu() { (8, 1024) } else { (256, 512) };
    // a slice of at least `shortest` positions
    let most = (p.lines() / (shortest / p.output[2]).max(1)).max(1);
    let busy = (wanted / p.groups_of_a_slice(algorithm).max(1)).clamp(1, u64::from(most.min(256))) as u32;
    busy.max(p.lines().div_ceil(longest_share(p, algorithm)))
}

/// Lines of dy that one invocation can walk.
pub(super) fn longest_share(p: &Problem, algorithm: Algorithm) -> u32 {
    let rounds = match algorithm {
        Algorithm::Direct => p.output[2] + 1,
        Algorithm::Subgroup { .. } | Algorithm::Tile(_) | Algorithm::Coop(_) => p.output[2].div_ceil(4) + 1,
        // each lane of a subgroup takes its part, and walks all taps for each
        Algorithm::Depthwise => (p.output[2] * (p.taps() + 1)).div_ceil(8) + 1,
    };
    (LONGEST / rounds).max(1)
}

/// What a convolution costs on a GPU, in multiply-adds of one core at its peak: the work of a workgroup, times the
/// rounds in which the cores get through all workgroups, as for matrix products.
fn cost(caps: &Caps, p: &Problem, algorithm: Algorithm, split: u32) -> f64 {
    let Some([rows, columns]) = algorithm.block() else { return f64::INFINITY };
    let cores = match caps.kind {
        AdapterKind::Discrete => 64.0,
        AdapterKind::Integrated => 16.0,
        _ => 32.0,
    };
    let (rate, threads) = match algorithm {
        Algorithm::Tile(tile) => (fed(caps, tile.own), tile.invocations()),
        // matrix units do some four times as much, if fragments are used often enough
        Algorithm::Coop(coop) if coop.fragments == [2, 2] => (2.4, coop.invocations(caps)),
        Algorithm::Coop(coop) => (4.0, coop.invocations(caps)),
        _ => return f64::INFINITY,
    };
    // a step of the sum: the products, and finding the windows, which costs about as much as 8 products an element
    let step = f64::from(rows * columns) / rate + 8.0 * f64::from(columns);
    let groups = p.groups_of_a_slice(algorithm) as f64 * f64::from(split);
    let length = match p.direction {
        Direction::Weight => f64::from(p.lines()) * f64::from(p.output[2]),
        Direction::Forward | Direction::Input => f64::from(p.chain()),
    };
    // starting, filling the first tile and storing cost about as much as 64 steps
    let work = step * (length / f64::from(split) + 64.0);
    let rounds = (groups / cores).ceil();
    let busy = (rounds * f64::from(threads) / 256.0).min(1.0);
    // a second launch is some 5 µs on all cores; partial sums are written and read once more
    let finish = if split > 1 { 1e6 + 80.0 * p.results() as f64 * f64::from(split) / cores } else { 0.0 };
    rounds * work / busy + finish
}
