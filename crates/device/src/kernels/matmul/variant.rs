//! The algorithms for matrix products as data: what there is, what each is called, what it needs.

use std::fmt;

use super::{Elem, Precision, Problem, Strides};
use crate::{Caps, CoopShape};

/// A way to compute a product: an algorithm, and into how many slices `k` is cut. Its [`Display`](fmt::Display) is
/// its name, which is stable: tables of measurements and tuned choices are kept under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// What a workgroup does.
    pub algorithm: Algorithm,
    /// Slices of `k`; 1 for none. With more, `store` gets partial sums under the batch index
    /// `slice * batches + batch`, to be summed over the slices afterwards.
    pub split: u32,
}

/// What a workgroup does; each variant of this enum is a shader file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Blocks of 8x8 in registers, nothing shared: runs everywhere, and is the plain one that others are judged by.
    Block,
    /// CPU adapters whose subgroups have 8 lanes or more: `rows` x 4 to a lane, `rows` being 8, 24 or 32.
    Subgroup {
        /// Rows of `out` that a lane owns.
        rows: u32,
    },
    /// GPUs: tiles in workgroup memory.
    Tile(Tile),
    /// GPUs, at most 16 rows.
    Thin,
    /// GPUs, at most 16 columns.
    Narrow,
    /// Matrix units, where the device has them for f16 operands and f32 sums.
    Coop(Coop),
}

/// The sizes of [`Algorithm::Coop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of a fragment: 8 or 16.
    pub size: u32,
    /// Operands go through workgroup memory, which takes any sizes and strides, and rounds f32 operands; else fragments
    /// are loaded straight from storage.
    pub staged: bool,
    /// Subgroups of a workgroup along m and n.
    pub subgroups: [u32; 2],
    /// Fragments of a subgroup along m and n, 2 or 4 each; 1 in self-tests.
    pub fragments: [u32; 2],
}

/// The sizes of [`Algorithm::Tile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows of `out` that a workgroup owns.
    pub m: u32,
    /// Columns of `out` that a workgroup owns.
    pub n: u32,
    /// The part of `k` that is in workgroup memory at a time.
    pub k: u32,
    /// Rows and columns of `out` that an invocation owns, 4 or 8 each.
    pub own: [u32; 2],
    /// 2: one part of `k` is written while the other is read, which saves a barrier a step; else 1.
    pub buffers: u32,
}

impl Tile {
    const fn new(m: u32, n: u32, k: u32, own: [u32; 2]) -> Tile {
        Tile { m, n, k, own, buffers: 1 }
    }

    const fn double(self) -> Tile {
        Tile { buffers: 2, ..self }
    }

    /// Invocations of a workgroup.
    pub(super) fn invocations(&self) -> u32 {
        self.m / self.own[0] * (self.n / self.own[1])
    }

    /// Bytes of workgroup memory.
    fn shared(&self) -> u32 {
        (self.m + self.n) * self.k * 4 * self.buffers
    }
}

/// Every tile, the largest first. An invocation that owns 8x8 does 64 multiply-adds for 4 vector loads from workgroup
/// memory, 8x4 does 32 for 3, and 4x4 16 for 2: large blocks feed the arithmetic units, small ones fill a large GPU
/// with a small product. 8 of k keep two buffers of a 128x128 tile within 16 KiB, so that three groups fit a core.
const TILES: &[Tile] = &[
    Tile::new(128, 128, 16, [8, 8]),
    Tile::new(128, 128, 8, [8, 8]).double(),
    Tile::new(128, 64, 16, [8, 8]),
    Tile::new(128, 64, 16, [8, 4]),
    Tile::new(64, 128, 16, [4, 8]),
    Tile::new(64, 64, 16, [8, 8]),
    Tile::new(64, 64, 16, [8, 4]),
    Tile::new(64, 64, 16, [8, 4]).double(),
    Tile::new(64, 64, 32, [4, 4]),
    Tile::new(32, 128, 16, [4, 8]),
    Tile::new(128, 32, 16, [8, 4]),
    Tile::new(32, 64, 16, [4, 4]),
    Tile::new(32, 32, 16, [4, 4]),
    Tile::new(32, 32, 32, [4, 4]),
];

impl Coop {
    /// Rows and columns of `out` that a workgroup owns.
    fn block(&self) -> [u32; 2] {
        [0, 1].map(|axis| self.subgroups[axis] * self.fragments[axis] * self.size)
    }

    /// The part of k that is in workgroup memory at a time.
    pub(super) const STEP: u32 = 32;

    /// Invocations of a workgroup: enough for every subgroup, however large the driver makes them.
    pub(super) fn invocations(&self, caps: &Caps) -> u32 {
        self.subgroups[0] * self.subgroups[1] * caps.fragment_lanes()
    }

    /// Bytes of workgroup memory: a fragment's f32 for each subgroup, and f16 lines that are 8 longer than the tile.
    fn shared(&self) -> u32 {
        let corners = self.subgroups[0] * self.subgroups[1] * self.size * self.size * 4;
        let lines = |n: u32| 2 * (n * (Self::STEP + 8)).max(Self::STEP * (n + 8));
        let [m, n] = self.block();
        if self.staged { corners + lines(m) + lines(n) } else { corners }
    }

    fn fits(&self, caps: &Caps, p: &Problem) -> bool {
        let shape = CoopShape { size: self.size, f16_operands: true, f16_accumulator: false };
        let able = caps.has_coop(shape)
            && caps.f16
            && caps.subgroup.is_some()
            && self.invocations(caps) <= caps.max_invocations
            && self.shared() <= caps.workgroup_memory;
        let half = [p.a_elem, p.b_elem] == [Elem::F16; 2];
        if self.staged {
            return able && (half || p.precision == Precision::Fast);
        }
        let whole = |n: u32| n.is_multiple_of(self.size);
        // 16 bytes, as Vulkan asks of what fragments are loaded from
        let aligned = |s: &Strides, lead: u32| [s.offset, s.batch[0], s.batch[1], lead].iter().all(|n| n % 8 == 0);
        let straight = |s: &Strides| (s.col == 1 && aligned(s, s.row)) || (s.row == 1 && aligned(s, s.col));
        able && half && whole(p.m) && whole(p.n) && whole(p.k) && straight(&p.a) && straight(&p.b)
    }
}

/// Subgroups and their fragments, the largest tile first. 4x4 fragments are loaded 8 times for 16 products, 2x2 ones 4
/// times for 4; eight subgroups of half as many fragments hide latencies better where registers are short.
const COOPS: &[([u32; 2], [u32; 2])] = &[([2, 2], [4, 4]), ([2, 4], [4, 2]), ([2, 2], [4, 2]), ([2, 2], [2, 2])];

impl Algorithm {
    /// Rows and columns of `out` that a workgroup computes.
    pub(super) fn block(&self, p: &Problem) -> [u32; 2] {
        match *self {
            Algorithm::Block => [8, 64],
            Algorithm::Subgroup { rows } => [rows, 32],
            Algorithm::Tile(tile) => [tile.m, tile.n],
            Algorithm::Thin => [16, 4 * super::thin_columns(p)],
            Algorithm::Narrow => [4 * super::narrow_rows(p), 16],
            Algorithm::Coop(coop) => coop.block(),
        }
    }

    /// The class that a self-test judges as one; `None` for the plain algorithm.
    pub fn class(&self) -> Option<&'static str> {
        match self {
            Algorithm::Block => None,
            Algorithm::Subgroup { .. } => Some("subgroup"),
            Algorithm::Tile(_) => Some("tile"),
            Algorithm::Thin => Some("thin"),
            Algorithm::Narrow => Some("narrow"),
            Algorithm::Coop(Coop { staged: true, .. }) => Some("coop staged"),
            Algorithm::Coop(_) => Some("coop direct"),
        }
    }

    /// Whether this device can run it for this problem.
    pub(super) fn fits(&self, caps: &Caps, p: &Problem) -> bool {
        match *self {
            Algorithm::Block => true,
            Algorithm::Subgroup { .. } => caps.subgroup.is_some_and(|(least, _)| least >= 8),
            Algorithm::Tile(tile) => {
                tile.invocations() <= caps.max_invocations && tile.shared() <= caps.workgroup_memory
            }
            Algorithm::Thin => p.m <= 16 && caps.max_invocations >= 128,
            Algorithm::Narrow => p.n <= 16 && caps.max_invocations >= 128,
            Algorithm::Coop(coop) => coop.fits(caps, p),
        }
    }
}

/// Every algorithm that this device can run for this problem, the plain one first.
pub(super) fn algorithms(caps: &Caps, p: &Problem) -> Vec<Algorithm> {
    let mut all = vec![Algorithm::Block];
    all.extend([8, 24, 32].map(|rows| Algorithm::Subgroup { rows }));
    all.extend([Algorithm::Thin, Algorithm::Narrow]);
    for (size, staged) in [(16, true), (16, false), (8, true), (8, false)] {
        let coop = |&(subgroups, fragments)| Algorithm::Coop(Coop { size, staged, subgroups, fragments });
        all.extend(COOPS.iter().map(coop));
    }
    all.extend(TILES.iter().map(|&tile| Algorithm::Tile(tile)));
    all.retain(|algorithm| algorithm.fits(caps, p));
    all
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            Algorithm::Block => f.write_str("block8x8")?,
            Algorithm::Subgroup { rows } => write!(f, "subgroup{rows}x4")?,
            Algorithm::Tile(Tile { m, n, k, own: [rows, cols], buffers }) => {
                write!(f, "tile{m}x{n}x{k}_{rows}x{cols}{}", if buffers == 2 { "_double" } else { "" })?;
            }
            Algorithm::Thin => f.write_str("thin")?,
            Algorithm::Narrow => f.write_str("narrow")?,
            Algorithm::Coop(coop) => {
                let (size, [m, n], [rows, cols]) = (coop.size, coop.block(), coop.subgroups);
                let way = if coop.staged { "staged" } else { "direct" };
                write!(f, "coop{size}x{size}_{way}_{m}x{n}_{rows}x{cols}")?;
            }
        }
        if self.split > 1 { write!(f, "_split{}", self.split) } else { Ok(()) }
    }
}
