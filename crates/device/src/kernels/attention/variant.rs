//! The algorithms of attention as data: what there is, what each is called and needs, and the choice where nothing was
//! tuned.

use std::fmt;

use super::{Coop, MAX_HEAD, Part, Problem};
use crate::kernels::common::few_registers;
use crate::{AdapterKind, Caps};

/// The algorithms, each a file for every launch. Its [`Display`](fmt::Display) is its name, which is stable: tuned
/// choices are kept under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// CPU adapters whose subgroups have 8 lanes or more: a query or key a lane, its partners by broadcast.
    Broadcast,
    /// The same without subgroup operations: the plain variant that others are judged by.
    Plain,
    /// GPUs: blocks of 32 x 32 or 64 x 64 scores through workgroup memory, of which an invocation has one or two fours of rows
    /// and four columns. Two have fewer loads, and registers for heads up to 128.
    Tile(u32, u32),
    /// Matrix units, where the device has them for f16 operands and f32 sums.
    Coop(Coop),
}

impl Variant {
    /// The class that a self-test judges as one; `None` for what needs no more than shared memory.
    pub fn class(&self) -> Option<&'static str> {
        matches!(self, Variant::Coop(_)).then_some("coop")
    }
}

/// Heads up to this leave room for the scores of [`Variant::Tile`] of two fours in an invocation's registers.
const TALL_HEAD: u32 = 128;

/// The variants that this device and problem allow for a launch, the plain one first.
pub fn variants(caps: &Caps, p: &Problem, part: Part) -> Vec<Variant> {
    let mut all = vec![Variant::Plain];
    if caps.subgroup.is_some_and(|(least, _)| least >= 8) {
        all.push(Variant::Broadcast);
    }
    for (size, fours) in [(32, 1), (64, 1), (64, 2)] {
        let invocations = size * size / 16 / fours;
        let registers = fours == 1 || p.e.max(p.ev) <= TALL_HEAD;
        if registers && caps.workgroup_memory >= tile_bytes(size) && caps.max_invocations >= invocations {
            all.push(Variant::Tile(size, fours));
        }
    }
    if p.e.max(p.ev) <= MAX_HEAD {
        all.extend([16, 8].into_iter().flat_map(|size| Coop::all(caps, p, part, size)).map(Variant::Coop));
    }
    all
}

/// The variant that a launch takes where nothing was tuned. It is never known to be the fastest: `kiln tune` measures.
pub fn choose(caps: &Caps, p: &Problem, part: Part) -> Variant {
    choose_among(caps, p, part, |_| true)
}

/// The same among the variants that are `trusted`.
pub(super) fn choose_among(caps: &Caps, p: &Problem, part: Part, trusted: impl Fn(&Variant) -> bool) -> Variant {
    // emulated matrix units are many times slower than what they are made of
    let coop = if caps.is_cpu() { None } else { coop(caps, p, part) };
    coop.filter(trusted).unwrap_or_else(|| without_coop(caps, p, part))
}

/// The first sizes that have enough blocks for a whole GPU and leave room for two workgroups beside each other where
/// workgroup memory is short (100 KiB, of which a workgroup gets 48); those that are staged first, and those with two fragments of
/// rows, since the others read twice as much.
fn coop(caps: &Caps, p: &Problem, part: Part) -> Option<Variant> {
    let all: Vec<Coop> = [16, 8].into_iter().map(|size| Coop::all(caps, p, part, size)).find(|all| !all.is_empty())?;
    let (rows, heads) = part.rows(p);
    let blocks = |c: &Coop| u64::from(rows.div_ceil(c.rows())) * u64::from(heads) * u64::from(p.batch);
    let few = |c: &Coop| c.shared(caps, p, part) <= 48 << 10 && c.subgroups.iter().product::<u32>() <= 4;
    let best = |staged| all.iter().find(|c| c.staged == staged && c.own == 2 && few(c) && blocks(c) >= 128);
    let least = |c: &&Coop| (c.own != 2, c.rows());
    best(true).or_else(|| best(false)).or(all.iter().min_by_key(least)).map(|c| Variant::Coop(*c))
}

/// The choice among those that every device of the kind has.
fn without_coop(caps: &Caps, p: &Problem, part: Part) -> Variant {
    let all = variants(caps, p, part);
    let has = |variant: Variant| all.contains(&variant);
    let longest = p.length.min(p.keys);
    // Two fours of rows take an invocation 112 registers forward, heads of 64, and 160 and 176 for gradients, on NAK: GPUs that have no
    // more than 128, which are mostly integrated ones, would spill. And their blocks have half the invocations to fill a GPU with.
    let most = match (part, caps.kind) {
        _ if few_registers(caps) => 0,
        (Part::Forward, AdapterKind::Discrete) => 128,
        (Part::Forward, _) | (_, AdapterKind::Discrete) => 64,
        _ => 0,
    };
    let (rows, heads) = part.rows(p);
    let two = p.e.max(p.ev) <= most && u64::from(rows.div_ceil(64)) * u64::from(heads) * u64::from(p.batch) >= 128;
    match caps.is_cpu() {
        true if has(Variant::Broadcast) => Variant::Broadcast,
        true => Variant::Plain,
        // a block of 64 x 64 has half the loads, but wants as many rows, and enough blocks for a whole GPU
        false if has(Variant::Tile(64, 2)) && longest > 128 && two => Variant::Tile(64, 2),
        false if has(Variant::Tile(64, 1)) && longest > 128 => Variant::Tile(64, 1),
        false if has(Variant::Tile(32, 1)) => Variant::Tile(32, 1),
        false => Variant::Plain,
    }
}

/// Workgroup memory of a tile: the staged operands or the probabilities, and a maximum for each row and column of threads.
fn tile_bytes(size: u32) -> u32 {
    16 * (size * size / 4).max(8 * size) + size * size
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variant::Broadcast => f.write_str("broadcast"),
            Variant::Plain => f.write_str("plain"),
            Variant::Tile(size, 1) => write!(f, "tile{size}"),
            Variant::Tile(size, fours) => write!(f, "tile{size}x{fours}"),
            Variant::Coop(c) => {
                let [rows, cols] = c.subgroups;
                write!(f, "coop{0}x{0}_{1}x{2}_{rows}x{cols}", c.size, c.rows(), c.block())?;
                f.write_str(if c.staged { "" } else { "_direct" })
            }
        }
    }
}
