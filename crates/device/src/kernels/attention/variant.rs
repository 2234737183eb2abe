//! The algorithms of attention as data: what there is, what each is called and needs, and the choice where nothing was
//! tuned.

use std::fmt;

use super::{MAX_HEAD, Place, Problem};
use crate::kernels::matmul::Elem;
use crate::{Caps, CoopShape};

/// The algorithms, each a file for every launch. Its [`Display`](fmt::Display) is its name, which is stable: tuned
/// choices are kept under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// CPU adapters whose subgroups have 8 lanes or more: a query or key a lane, its partners by broadcast.
    Broadcast,
    /// The same without subgroup operations: the plain variant that others are judged by.
    Plain,
    /// GPUs: blocks of 32 x 32 or 64 x 64 scores through workgroup memory.
    Tile(u32),
    /// Matrix units, where the device has them for f16 operands and f32 sums. Forward only.
    Coop(Coop),
}

/// The sizes of [`Variant::Coop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of a fragment: 8 or 16.
    pub size: u32,
    /// Subgroups of a workgroup along the queries, and along keys and columns. Each has two rows of fragments.
    pub subgroups: [u32; 2],
    /// Fragments of keys that a subgroup takes at once: 1, 2 or 4.
    pub keys: u32,
}

impl Coop {
    /// Subgroups of a workgroup and keys of a block. More subgroups own more queries, so that keys and values are read less
    /// often; more keys at once have fewer barriers.
    const SIZES: [(u32, u32); 5] = [(4, 64), (4, 32), (2, 64), (2, 32), (8, 64)];

    /// Those for a problem, with fragments of `size`: as few subgroups along the columns as get along with four fragments
    /// each, and give every row an invocation.
    fn all(caps: &Caps, p: &Problem, size: u32) -> Vec<Coop> {
        let lanes = caps.fragment_lanes();
        let across = p.ev.div_ceil(4 * size).max((2 * size).div_ceil(lanes)).next_power_of_two();
        let coop =
            |(subgroups, keys)| Coop { size, subgroups: [subgroups / across, across], keys: keys / across / size };
        Coop::SIZES.into_iter().map(coop).filter(|c| c.fits(caps, p)).collect()
    }

    /// Queries of a workgroup.
    pub(super) fn rows(&self) -> u32 {
        2 * self.subgroups[0] * self.size
    }

    /// Fragments of columns that a subgroup owns.
    pub(super) fn columns(&self, p: &Problem) -> u32 {
        p.ev.div_ceil(self.subgroups[1] * self.size)
    }

    /// Keys of a block.
    fn block(&self) -> u32 {
        self.subgroups[1] * self.keys * self.size
    }

    /// Invocations of a workgroup: enough for every subgroup, however large the driver makes them.
    pub(super) fn invocations(&self, caps: &Caps) -> u32 {
        self.subgroups[0] * self.subgroups[1] * caps.fragment_lanes()
    }

    /// Bytes of workgroup memory: scores, weights, a number for each invocation.
    fn shared(&self, caps: &Caps) -> u32 {
        self.rows() * (4 * (self.block() + 4) + 2 * (self.block() + 8)) + 4 * self.invocations(caps) + 4
    }

    fn fits(&self, caps: &Caps, p: &Problem) -> bool {
        let shape = CoopShape { size: self.size, f16_operands: true, f16_accumulator: false };
        let able = caps.has_coop(shape)
            && self.subgroups[0] > 0
            && matches!(self.keys, 1 | 2 | 4)
            && caps.f16
            && caps.subgroup.is_some()
            && self.invocations(caps) <= caps.max_invocations
            && self.invocations(caps).is_multiple_of(self.rows())
            && self.shared(caps) <= caps.workgroup_memory;
        // 16 bytes, as Vulkan asks of what fragments are loaded from
        let aligned = |s: &Place| s.row > 0 && [s.offset, s.batch, s.head, s.row].iter().all(|n| n.is_multiple_of(8));
        let whole = [p.e, p.ev].iter().all(|n| n.is_multiple_of(self.size)) && p.length.min(p.keys) >= self.size;
        able && whole && p.elem == Elem::F16 && self.columns(p) <= 4 && [p.q, p.k, p.v].iter().all(aligned)
    }
}

impl Variant {
    /// The class that a self-test judges as one; `None` for what needs no more than shared memory.
    pub fn class(&self) -> Option<&'static str> {
        matches!(self, Variant::Coop(_)).then_some("coop")
    }

    /// Whether it has gradients too.
    pub fn has_gradients(&self) -> bool {
        !matches!(self, Variant::Coop(_))
    }
}

/// The variants that this device and problem allow, the plain one first.
pub fn variants(caps: &Caps, p: &Problem) -> Vec<Variant> {
    let mut all = vec![Variant::Plain];
    if caps.subgroup.is_some_and(|(least, _)| least >= 8) {
        all.push(Variant::Broadcast);
    }
    for size in [32, 64] {
        let fits = caps.workgroup_memory >= tile_bytes(size) && caps.max_invocations >= (size / 4) * (size / 4);
        if fits {
            all.push(Variant::Tile(size));
        }
    }
    if p.e.max(p.ev) <= MAX_HEAD {
        all.extend([16, 8].into_iter().flat_map(|size| Coop::all(caps, p, size)).map(Variant::Coop));
    }
    all
}

/// The variant that forward takes where nothing was tuned. It is never known to be the fastest: `kiln tune` measures.
pub fn choose(caps: &Caps, p: &Problem) -> Variant {
    choose_among(caps, p, |_| true)
}

/// The same among the variants that are `trusted`.
pub(super) fn choose_among(caps: &Caps, p: &Problem, trusted: impl Fn(&Variant) -> bool) -> Variant {
    // emulated matrix units are many times slower than what they are made of
    let coop = if caps.is_cpu() { None } else { coop(caps, p) };
    coop.filter(trusted).unwrap_or_else(|| choose_grad(caps, p))
}

/// The largest tile of queries that has enough blocks for a whole GPU and leaves room for two workgroups beside each
/// other where workgroup memory is short.
fn coop(caps: &Caps, p: &Problem) -> Option<Variant> {
    let all: Vec<Coop> = [16, 8].into_iter().map(|size| Coop::all(caps, p, size)).find(|all| !all.is_empty())?;
    let blocks = |c: &Coop| u64::from(p.length.div_ceil(c.rows())) * u64::from(p.heads) * u64::from(p.batch);
    let best = |c: &&Coop| c.shared(caps) <= 32 << 10 && c.subgroups.iter().product::<u32>() <= 4 && blocks(c) >= 128;
    let least = |c: &&Coop| c.rows();
    all.iter().find(best).or(all.iter().min_by_key(least)).map(|c| Variant::Coop(*c))
}

/// The variant that the gradients take.
pub(super) fn choose_grad(caps: &Caps, p: &Problem) -> Variant {
    let all = variants(caps, p);
    let has = |variant: Variant| all.contains(&variant);
    let longest = p.length.min(p.keys);
    match caps.is_cpu() {
        true if has(Variant::Broadcast) => Variant::Broadcast,
        true => Variant::Plain,
        // a block of 64 x 64 has half the loads, but wants as many rows, and enough blocks for a whole GPU
        false if has(Variant::Tile(64)) && longest > 128 => Variant::Tile(64),
        false if has(Variant::Tile(32)) => Variant::Tile(32),
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
            Variant::Tile(size) => write!(f, "tile{size}"),
            Variant::Coop(c) => {
                let [rows, cols] = c.subgroups;
                write!(f, "coop{0}x{0}_{1}x{2}_{rows}x{cols}", c.size, c.rows(), c.block())
            }
        }
    }
}
