//! The algorithms for convolutions as data: what there is, what each is called, what it needs.

use std::fmt;

use super::{Direction, Elem, Problem};
use crate::{Caps, CoopShape};

/// A way to compute a convolution or one of its gradients: an algorithm, and into how many slices its sums are cut.
/// Its [`Display`](fmt::Display) is its name, which is stable: tables of measurements and tuned choices are kept
/// under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// What a workgroup does.
    pub algorithm: Algorithm,
    /// Slices of the sum; 1 for none. With more, `store` gets partial sums, to be summed over the slices afterwards:
    /// y and dx under the image `slice * images + image`, dw under its first index.
    pub split: u32,
}

/// What a workgroup does; each variant of this enum is a shader file for y and dx, and one for dw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// An invocation for four positions or one weight: runs everywhere, and is the plain one that others are judged by.
    Direct,
    /// CPU adapters whose subgroups have 8 lanes or more: an implicit matrix product in registers, `rows` channels of
    /// the result by 4 columns to a lane, `rows` being 8, 16 or 32.
    Subgroup {
        /// Channels of the result that a workgroup owns.
        rows: u32,
    },
    /// GPUs: an implicit matrix product by tiles in workgroup memory.
    Tile(Tile),
    /// GPUs with matrix units, f16 operands.
    Coop(Coop),
    /// One channel of x in each group: nothing to multiply matrices for.
    Depthwise,
}

/// The sizes of [`Algorithm::Coop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of a fragment: 8 or 16.
    pub size: u32,
    /// Fragments of a subgroup along channels and columns, 2 or 4 each, 1 in self-tests; 2x2 subgroups are a workgroup.
    pub fragments: [u32; 2],
}

impl Coop {
    /// Channels and columns that a workgroup owns.
    fn block(&self) -> [u32; 2] {
        self.fragments.map(|n| 2 * n * self.size)
    }

    /// Links of the sum that are in workgroup memory at a time.
    const STEP: u32 = 32;

    /// Invocations of a workgroup: enough for four subgroups, however large the driver makes them.
    pub(super) fn invocations(&self, caps: &Caps) -> u32 {
        4 * caps.fragment_lanes()
    }

    /// Bytes of workgroup memory: a fragment's f32 for each subgroup, f16 lines that are 8 longer than a step, and the ways
    /// of columns or of links.
    fn shared(&self) -> u32 {
        let [rows, columns] = self.block();
        16 * self.size * self.size
            + 2 * (rows + columns) * (Self::STEP + 8)
            + 16 * columns.max(Self::STEP + columns / 8)
    }

    fn fits(&self, caps: &Caps, p: &Problem) -> bool {
        let shape = CoopShape { size: self.size, f16_operands: true, f16_accumulator: false };
        p.elem == Elem::F16
            && caps.has_coop(shape)
            && caps.f16
            && caps.subgroup.is_some()
            && self.invocations(caps) <= caps.max_invocations
            // an invocation always brings windows of the same four positions, or of the same place of a step
            && self.invocations(caps).is_multiple_of(self.block()[1] / 4)
            && self.invocations(caps).is_multiple_of(Self::STEP)
            && self.shared() <= caps.workgroup_memory
    }
}

/// Fragments of a subgroup, the largest tile first: 4x4 are loaded 8 times for 16 products, 2x2 4 times for 4; tall and
/// wide ones waste less where channels are many or few.
const FRAGMENTS: &[[u32; 2]] = &[[4, 4], [4, 2], [2, 4], [2, 2]];

/// The sizes of [`Algorithm::Tile`]; 16 links of the sum are in workgroup memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Channels of the result that a workgroup owns.
    pub rows: u32,
    /// Positions, or weights of a channel, that a workgroup owns.
    pub columns: u32,
    /// Rows and columns that an invocation owns, 4 or 8 each.
    pub own: [u32; 2],
}

impl Tile {
    const fn new(rows: u32, columns: u32, own: [u32; 2]) -> Tile {
        Tile { rows, columns, own }
    }

    /// Invocations of a workgroup.
    pub(super) fn invocations(&self) -> u32 {
        self.rows / self.own[0] * (self.columns / self.own[1])
    }

    /// Bytes of workgroup memory: the tile, its lines 16 bytes longer, and the ways of weights.
    fn shared(&self) -> u32 {
        (self.rows + self.columns + 4) * 16 * 4 + self.columns * 16
    }
}

/// Every tile, the largest first. Channels are few in the first layers of a network, and positions many: wide tiles
/// waste nothing there. Blocks of 8x8 do 64 multiply-adds for 4 vector loads from workgroup memory, 4x4 does 16 for 2.
const TILES: &[Tile] = &[
    Tile::new(128, 128, [8, 8]),
    Tile::new(128, 64, [8, 8]),
    Tile::new(64, 128, [8, 8]),
    Tile::new(64, 64, [8, 8]),
    Tile::new(64, 64, [8, 4]),
    Tile::new(32, 128, [4, 8]),
    Tile::new(32, 64, [4, 4]),
    Tile::new(32, 32, [4, 4]),
];

/// Weights of a channel that the depthwise weight gradient keeps in registers.
const DEPTHWISE_TAPS: u32 = 64;

impl Algorithm {
    /// Channels and columns of the result that a workgroup computes; `None` where it owns neither.
    pub(super) fn block(&self) -> Option<[u32; 2]> {
        match *self {
            Algorithm::Subgroup { rows } => Some([rows, 32]),
            Algorithm::Tile(tile) => Some([tile.rows, tile.columns]),
            Algorithm::Coop(coop) => Some(coop.block()),
            Algorithm::Direct | Algorithm::Depthwise => None,
        }
    }

    /// The class that a self-test judges as one; `None` for the plain algorithm.
    pub fn class(&self) -> Option<&'static str> {
        match self {
            Algorithm::Direct => None,
            Algorithm::Subgroup { .. } => Some("subgroup"),
            Algorithm::Tile(_) => Some("tile"),
            Algorithm::Coop(_) => Some("coop"),
            Algorithm::Depthwise => Some("depthwise"),
        }
    }

    /// Whether the sums of y and dx can be cut, too; those of dw always can.
    pub(super) fn splits(&self) -> bool {
        matches!(self, Algorithm::Tile(_) | Algorithm::Coop(_))
    }

    /// Whether this device can run it for this problem.
    pub(super) fn fits(&self, caps: &Caps, p: &Problem) -> bool {
        match *self {
            Algorithm::Direct => true,
            Algorithm::Subgroup { .. } => caps.subgroup.is_some_and(|(least, _)| least >= 8),
            Algorithm::Tile(tile) => {
                tile.invocations() <= caps.max_invocations && tile.shared() <= caps.workgroup_memory
            }
            Algorithm::Coop(coop) => coop.fits(caps, p),
            // what an invocation keeps is in registers, by the window
            Algorithm::Depthwise => {
                let span = u64::from(p.kernel[2] - 1) * u64::from(p.dilation[2]) + 3 * u64::from(p.stride[2]);
                p.c_in == p.groups
                    && match p.direction {
                        Direction::Forward | Direction::Input => span < 64,
                        Direction::Weight => p.taps() <= DEPTHWISE_TAPS,
                    }
            }
        }
    }
}

/// Every algorithm that this device can run for this problem, the plain one first.
pub(super) fn algorithms(caps: &Caps, p: &Problem) -> Vec<Algorithm> {
    let mut all = vec![Algorithm::Direct, Algorithm::Depthwise];
    all.extend([8, 16, 32].map(|rows| Algorithm::Subgroup { rows }));
    all.extend(TILES.iter().map(|&tile| Algorithm::Tile(tile)));
    for size in [16, 8] {
        all.extend(FRAGMENTS.iter().map(|&fragments| Algorithm::Coop(Coop { size, fragments })));
    }
    all.retain(|algorithm| algorithm.fits(caps, p));
    all
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            Algorithm::Direct => f.write_str("direct")?,
            Algorithm::Subgroup { rows } => write!(f, "subgroup{rows}x4")?,
            Algorithm::Tile(Tile { rows, columns, own }) => write!(f, "tile{rows}x{columns}_{}x{}", own[0], own[1])?,
            Algorithm::Coop(coop) => {
                let [rows, columns] = coop.block();
                write!(f, "coop{0}x{0}_{rows}x{columns}", coop.size)?;
            }
            Algorithm::Depthwise => f.write_str("depthwise")?,
        }
        if self.split > 1 { write!(f, "_split{}", self.split) } else { Ok(()) }
    }
}
