//! Attention by matrix units: how large its fragments, subgroups and blocks are, and what a device allows.

use super::{Part, Place, Problem};
use crate::kernels::matmul::Elem;
use crate::{Caps, CoopShape};

/// The sizes of [`Variant::Coop`](super::Variant::Coop). A workgroup owns rows, which are queries, or keys in
/// [`Part::Keys`], and walks the others, a block at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of a fragment: 8 or 16.
    pub size: u32,
    /// Subgroups of a workgroup along its rows, and along the others and the columns of the result.
    pub subgroups: [u32; 2],
    /// Fragments of rows of a subgroup: 1 or 2.
    pub own: u32,
    /// Fragments of the others that a subgroup takes at once: 1, 2, or 4 in [`Part::Forward`].
    pub at_once: u32,
    /// Whether operands lie in workgroup memory: forward a block of keys and values, else what the workgroup owns. Their
    /// fragments cost a tenth of the instructions there, and a workgroup takes up to twice the memory.
    pub staged: bool,
}

/// What a workgroup may be like: subgroups, fragments of rows of each, others in a block, and how many fragments of columns a
/// subgroup has at most. The first is the best guess: more subgroups own more rows, so that the others are read less often;
/// more others at once have fewer barriers. The last is the smallest.
const FORWARD: [[u32; 4]; 6] =
    [[4, 2, 64, 4], [4, 2, 32, 4], [2, 2, 64, 4], [2, 2, 32, 4], [8, 2, 64, 4], [2, 1, 16, 2]];

/// The same for gradients, which have two products of a block in workgroup memory, and for keys two results in fragments.
const GRADIENT: [[u32; 4]; 7] =
    [[4, 2, 32, 2], [4, 2, 32, 4], [2, 2, 32, 4], [4, 2, 16, 4], [2, 2, 32, 2], [8, 2, 32, 4], [2, 1, 16, 2]];

impl Coop {
    /// Those for a problem, with fragments of `size`: as few subgroups along the columns as get along with that many
    /// fragments each, and give every row an invocation.
    pub(super) fn all(caps: &Caps, p: &Problem, part: Part, size: u32) -> Vec<Coop> {
        let lanes = caps.fragment_lanes();
        let columns = columns(p, part).into_iter().max().unwrap_or(0);
        let coop = |[subgroups, own, others, most]: [u32; 4]| {
            let across = columns.div_ceil(most * size).max((own * size).div_ceil(lanes)).next_power_of_two();
            let at_once = (others / across / size).max(1);
            Coop { size, subgroups: [subgroups / across, across], own, at_once, staged: true }
        };
        let list = if part == Part::Forward { &FORWARD[..] } else { &GRADIENT };
        let mut all: Vec<Coop> = Vec::new();
        for (n, staged) in list.iter().map(|&sizes| coop(sizes)).enumerate() {
            let direct = Coop { staged: false, ..staged };
            let fits = staged.fits(caps, p, part);
            if fits && !all.contains(&staged) {
                all.push(staged);
            }
            // the best guess and the smallest both ways, others as they fit
            if (!fits || n == 0 || n + 1 == list.len()) && direct.fits(caps, p, part) && !all.contains(&direct) {
                all.push(direct);
            }
        }
        all
    }

    /// Queries of a workgroup, or keys in [`Part::Keys`].
    pub(super) fn rows(&self) -> u32 {
        self.subgroups[0] * self.own * self.size
    }

    /// Keys of a block, or queries in [`Part::Keys`].
    pub(super) fn block(&self) -> u32 {
        self.subgroups[1] * self.at_once * self.size
    }

    /// Fragments of columns that a subgroup owns of a result of so many.
    pub(super) fn fragments(&self, columns: u32) -> u32 {
        columns.div_ceil(self.subgroups[1] * self.size)
    }

    /// Invocations of a workgroup: enough for every subgroup, however large the driver makes them.
    pub(super) fn invocations(&self, caps: &Caps) -> u32 {
        self.subgroups[0] * self.subgroups[1] * caps.fragment_lanes()
    }

    /// Bytes of workgroup memory. Lines of f32 are four longer than what they hold, those of f16 eight.
    pub(super) fn shared(&self, caps: &Caps, p: &Problem, part: Part) -> u32 {
        let (rows, block) = (self.rows(), self.block());
        let lines = match (self.staged, part) {
            (true, Part::Forward) => block,
            (true, _) => rows,
            (false, _) => 1,
        };
        let operands = lines * 2 * (p.e + p.ev + 16);
        let block_of = |lines: u32, cols: u32, floats: u32, halves: u32| {
            lines * (4 * floats * (cols + 4) + 2 * halves * (cols + 8))
        };
        let blocks = match part {
            // scores, weights; a number for each invocation, a count
            Part::Forward => block_of(rows, block, 1, 1) + 4 * self.invocations(caps) + 4,
            // scores and dp, ds; two numbers for each query
            Part::Query => block_of(rows, block, 2, 1) + 8 * rows,
            Part::Keys => block_of(block, rows, 2, 2) + 8 * block,
        };
        blocks + operands
    }

    fn fits(&self, caps: &Caps, p: &Problem, part: Part) -> bool {
        let shape = CoopShape { size: self.size, f16_operands: true, f16_accumulator: false };
        let able = caps.has_coop(shape)
            && self.subgroups[0] > 0
            && matches!((self.at_once, part), (1 | 2, _) | (4, Part::Forward))
            && caps.f16
            && caps.subgroup.is_some()
            && self.invocations(caps) <= caps.max_invocations
            && (part == Part::Keys || self.invocations(caps).is_multiple_of(self.rows()))
            && self.shared(caps, p, part) <= caps.workgroup_memory;
        // 16 bytes, as Vulkan asks of what fragments are loaded from
        let aligned = |s: &Place| s.row > 0 && [s.offset, s.batch, s.head, s.row].iter().all(|n| n.is_multiple_of(8));
        let whole = [p.e, p.ev].iter().all(|n| n.is_multiple_of(self.size)) && p.length.min(p.keys) >= self.size;
        let few = columns(p, part).into_iter().all(|n| self.fragments(n) <= 4);
        able && whole && few && p.elem == Elem::F16 && [p.q, p.k, p.v].iter().all(aligned)
    }
}

/// Columns of the results that are sums of fragments.
fn columns(p: &Problem, part: Part) -> Vec<u32> {
    match part {
        Part::Forward => vec![p.ev],
        Part::Query => vec![p.e],
        Part::Keys => vec![p.e, p.ev],
    }
}
