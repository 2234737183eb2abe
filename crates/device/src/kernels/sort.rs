//! `sort_small.wgsl`, `sort_count.wgsl`, `sort_scatter.wgsl`: stable sorts of rows, with indices.

use super::common::{Kind, Scalar, count};
use super::map::workgroup;
use super::scan;
use super::stages::Stages;
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// Elements that one invocation walks.
const BLOCK: u32 = 128;

/// Stable sort of the rows of [rows, cols]; slots `load(row, col) -> Acc`, and `store(v: Acc, index: i32, row, col)`
/// for the sorted element and where in its row it was. NaN is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Type of the elements.
    pub ty: Scalar,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Greatest first.
    pub descending: bool,
    /// How many low bits of the elements can differ, for U32 (and I32 that are not negative): indices below 1000 have
    /// 10, and take 3 passes instead of 8. 32 always works.
    pub bits: u32,
}

/// The launches of a sort.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for too many elements.
pub fn rows(caps: &Caps, p: &Rows) -> Result<Stages> {
    let all = count("sort", &[p.rows, p.cols])?;
    let mut stages = Stages::default();
    let compares = u64::from(all) * u64::from(p.cols);
    if p.cols <= 64 || (p.cols <= 1024 && compares <= 1 << 24) {
        stages.push(small(caps, p), Vec::new(), true, true);
        return Ok(stages);
    }
    let blocks = p.cols.div_ceil(BLOCK);
    let counters = count("sort", &[p.rows, 16, blocks])?;
    let (counts, ends) = (stages.scratch(counters), stages.scratch(counters));
    let passes = if p.ty == Scalar::F32 { 8 } else { p.bits.clamp(1, 32).div_ceil(4) };
    let mut items = [stages.scratch(2 * all), stages.scratch(2 * all)];
    for pass in 0..passes {
        let (first, last) = (pass == 0, pass + 1 == passes);
        stages.push(count_digits(caps, p, blocks, pass), vec![("items", items[0]), ("counts", counts)], first, false);
        let row = scan::Rows { kind: Kind::Sum, ty: Scalar::U32, rows: p.rows, cols: 16 * blocks };
        scan::add(caps, &row, &mut stages, Some((counts, ends)))?;
        let bound = vec![("items", items[0]), ("moved", items[1]), ("ends", ends)];
        stages.push(scatter(caps, p, blocks, pass, last), bound, first || last, last);
        items.swap(0, 1);
    }
    Ok(stages)
}

/// Fills the type, the workgroup and the slot `key`.
fn fill(caps: &Caps, p: &Rows, source: Source) -> Source {
    let order = match (p.ty, p.bits < 32) {
        (Scalar::F32, _) => "order_f32_(v)",
        (Scalar::I32, false) => "order_i32_(v)",
        (Scalar::I32, true) => "bitcast<u32>(v)",
        (Scalar::U32, _) => "v",
    };
    let not = if p.descending { "~" } else { "" };
    source
        .constant("WG", format!("{}u", workgroup(caps).min(64)))
        .alias("Acc", p.ty.name())
        .slot("key", format!("    return {not}{order};"))
}

fn grid(caps: &Caps, work: u64) -> [u32; 3] {
    fold_groups(work.div_ceil(u64::from(workgroup(caps).min(64))))
}

fn small(caps: &Caps, p: &Rows) -> Launch {
    let source = fill(caps, p, Source::new("sort_small", kiln_shaders::SORT_SMALL));
    let groups = grid(caps, u64::from(p.rows) * u64::from(p.cols));
    Launch::new(source, Params::new().u32(p.rows).u32(p.cols), groups).costing([p.rows, p.cols, p.cols])
}

fn blocks_of(caps: &Caps, p: &Rows, blocks: u32, pass: u32, source: Source) -> Launch {
    let params = Params::new().u32(p.rows).u32(p.cols).u32(blocks).u32(BLOCK).u32(4 * pass);
    Launch::new(fill(caps, p, source), params, grid(caps, u64::from(p.rows) * u64::from(blocks)))
}

fn count_digits(caps: &Caps, p: &Rows, blocks: u32, pass: u32) -> Launch {
    let source = Source::new("sort_count", kiln_shaders::SORT_COUNT);
    let source = if pass == 0 { source.slot("item", "    return key(load(row, col));") } else { source };
    blocks_of(caps, p, blocks, pass, source)
}

fn scatter(caps: &Caps, p: &Rows, blocks: u32, pass: u32, last: bool) -> Launch {
    let mut source = Source::new("sort_scatter", kiln_shaders::SORT_SCATTER);
    if pass == 0 {
        source = source.slot("item", "    return vec2(key(load(row, col)), col);");
    }
    if last {
        source = source.slot("place", "    store(load(row, v.y), i32(v.y), row, col);");
    }
    blocks_of(caps, p, blocks, pass, source)
}
