//! `segment_sum.wgsl`, `segment_heads.wgsl`: scatter-add by sorted keys, in a fixed order.

use super::common::{Scalar, at_width, check_width, count};
use super::map::workgroup;
use super::stages::Stages;
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Params, fold_groups};
use crate::source::Source;

/// Longest run of additions in one loop; longer inputs are summed in slices first.
const SLICE: u32 = 1024;

/// out[r, c] = Σ over j with sorted\[j\] = r of src[perm\[j\], c]. Bindings `sorted` \[n\] (ascending) and `perm` \[n\] of i32;
/// slots `load(row, col) -> V` of src and `store(v: V, row, col)`, V being `ty` in the width. Keys outside 0..rows count nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Length of `sorted`.
    pub n: u32,
    /// Rows of the result.
    pub rows: u32,
    /// Elements in a row of the result, and of src.
    pub cols: u32,
    /// Elements that the slots handle: 1 or 4, a divisor of `cols`.
    pub width: u32,
    /// Type of the elements that are summed.
    pub ty: Scalar,
    /// Type of the keys: I32 or U32.
    pub key: Scalar,
}

/// The launches of a segmented sum.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for too many elements.
pub fn sum(caps: &Caps, p: &Sum) -> Result<Stages> {
    check_width("segment_sum", p.cols, p.width)?;
    count("segment_sum", &[p.n, 4])?; // keeps both loops within limits
    let wg = workgroup(caps).min(64);
    let fill = |name: &'static str, text: &'static str| {
        at_width(Source::new(name, text), p.width)
            .constant("WIDTH", format!("{}u", p.width))
            .constant("WG", format!("{wg}u"))
            .alias("V", p.ty.vector(p.width))
            .alias("Key", p.key.name())
    };
    let sliced = p.n > 4 * SLICE;
    // As few slices as the loop over them allows.
    let slice = if sliced { SLICE.max(p.n.div_ceil(32_768)) } else { p.n };
    let params = Params::new().u32(p.n).u32(p.rows).u32(p.cols).u32(slice);
    let grid = |work: u32| fold_groups(u64::from((work / p.width).div_ceil(wg)));
    let launch = |source, work| crate::program::Launch::new(source, params.clone(), grid(work)).wide(p.width);

    let work = count("segment_sum", &[p.rows, p.cols])?;
    let mut stages = Stages::default();
    let source = fill("segment_sum", kiln_shaders::SEGMENT_SUM);
    if !sliced {
        stages.push(launch(source.slot("head", "    return V();"), work), Vec::new(), true, true);
        return Ok(stages);
    }
    let parts = count("segment_sum", &[p.n.div_ceil(slice), p.cols])?;
    let heads = stages.scratch(parts);
    let first = fill("segment_heads", kiln_shaders::SEGMENT_HEADS);
    stages.push(launch(first, parts), vec![("heads", heads)], true, false);
    stages.push(launch(source, work), vec![("heads", heads)], true, true);
    Ok(stages)
}
