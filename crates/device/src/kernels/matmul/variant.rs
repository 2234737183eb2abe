//! The algorithms for matrix products as data: what there is, what each is called, what it needs.

use std::fmt;

use super::Problem;
use crate::Caps;

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

impl Algorithm {
    /// Rows and columns of `out` that a workgroup computes.
    pub(super) fn block(&self, p: &Problem) -> [u32; 2] {
        match *self {
            Algorithm::Block => [8, 64],
            Algorithm::Subgroup { rows } => [rows, 32],
            Algorithm::Tile(tile) => [tile.m, tile.n],
            Algorithm::Thin => [16, 4 * super::thin_columns(p)],
        }
    }

    /// The class that a self-test judges as one; `None` for the plain algorithm.
    pub fn class(&self) -> Option<&'static str> {
        match self {
            Algorithm::Block => None,
            Algorithm::Subgroup { .. } => Some("subgroup"),
            Algorithm::Tile(_) => Some("tile"),
            Algorithm::Thin => Some("thin"),
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
        }
    }
}

/// Every algorithm that this device can run for this problem, the plain one first.
pub(super) fn algorithms(caps: &Caps, p: &Problem) -> Vec<Algorithm> {
    let mut all = vec![Algorithm::Block];
    all.extend([8, 24, 32].map(|rows| Algorithm::Subgroup { rows }));
    all.push(Algorithm::Thin);
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
        }
        if self.split > 1 { write!(f, "_split{}", self.split) } else { Ok(()) }
    }
}
