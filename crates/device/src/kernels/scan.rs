//! `scan.wgsl`: running sums, products and extremes.

use super::common::{Kind, Scalar, count};
use super::map::workgroup;
use super::reduce;
use super::stages::Stages;
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// Elements that one invocation walks.
const BLOCK: u32 = 128;
/// Rows up to this length are walked by one invocation each where there are many rows.
const SHORT: u32 = 512;

/// Inclusive scan of the rows of [rows, cols]; slots `load(row, col) -> Acc`, `store(v: Acc, row, col)`. Both the
/// launches that load call `load` once for each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The operation.
    pub kind: Kind,
    /// Type of the elements.
    pub ty: Scalar,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
}

/// The launches of a scan.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for too many elements.
pub fn rows(caps: &Caps, p: &Rows) -> Result<Stages> {
    let mut stages = Stages::default();
    add(caps, p, &mut stages, None)?;
    Ok(stages)
}

/// Adds the launches of a scan, of the operand into the result, or of one scratch buffer into another.
pub(crate) fn add(caps: &Caps, p: &Rows, stages: &mut Stages, scratch: Option<(usize, usize)>) -> Result<()> {
    count("scan", &[p.rows, p.cols])?;
    let ends = |more: &[(&'static str, usize)]| match scratch {
        Some((x, out)) => [&[("x", x), ("out", out)], more].concat(),
        None => more.to_vec(),
    };
    let outside = scratch.is_none();
    let short = p.cols <= BLOCK || (p.cols <= SHORT && p.rows >= 64);
    if short {
        stages.push(launch(caps, p, 1, p.cols), ends(&[]), outside, outside);
        return Ok(());
    }
    let blocks = p.cols.div_ceil(BLOCK);
    let size = count("scan", &[p.rows, blocks])?;
    let (totals, before) = (stages.scratch(size), stages.scratch(size));
    let total = reduce::Rows { kind: p.kind, ty: p.ty, rows: p.rows, cols: p.cols, width: 1, chunks: blocks };
    let mut reads = vec![("out", totals)];
    reads.extend(scratch.map(|(x, _)| ("x", x)));
    stages.push(reduce::blocks(caps, &total, BLOCK)?, reads, outside, false);
    add(caps, &Rows { cols: blocks, ..*p }, stages, Some((totals, before)))?;
    stages.push(launch(caps, p, blocks, BLOCK), ends(&[("totals", before)]), outside, outside);
    Ok(())
}

fn launch(caps: &Caps, p: &Rows, blocks: u32, block: u32) -> Launch {
    let wg = workgroup(caps).min(64);
    let source = Source::new("scan", kiln_shaders::SCAN)
        .constant("WG", format!("{wg}u"))
        .alias("Acc", p.ty.name())
        .alias("V", p.ty.name());
    let source = p.kind.fill(p.ty, source);
    let source = if blocks == 1 { source.slot("before", "    return identity();") } else { source };
    let groups = fold_groups((u64::from(p.rows) * u64::from(blocks)).div_ceil(u64::from(wg)));
    Launch::new(source, Params::new().u32(p.rows).u32(p.cols).u32(blocks).u32(block), groups)
}
