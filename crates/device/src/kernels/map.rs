//! `map.wgsl`: elementwise code over flat indices.

use super::common::at_width;
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// Invocations in a workgroup of elementwise work.
pub(crate) fn workgroup(caps: &Caps) -> u32 {
    if caps.is_cpu() { 64 } else { 256.min(caps.max_invocations) }
}

/// `body(i)` for i in 0..n, where i counts elements (width 1) or vectors of four (width 4).
///
/// # Errors
/// None today; launchers return `Result` alike.
pub fn launch(caps: &Caps, n: u32, width: u32) -> Result<Launch> {
    let wg = workgroup(caps);
    let source = at_width(Source::new("map", kiln_shaders::MAP), width)
        .constant("WIDTH", format!("{width}u"))
        .constant("WG", format!("{wg}u"));
    Ok(Launch::new(source, Params::new().u32(n), fold_groups(u64::from(n.div_ceil(wg)))).wide(width))
}

/// The same where an operand lies the other way round: what the body loads for neighbours among rows of `across` is next to each
/// other in memory, and what it loads for neighbours in a row is not. A GPU's workgroup then has a block of some rows, so that it
/// uses all of each line of memory that it brings; elsewhere it is [`launch`].
///
/// # Errors
/// As [`launch`].
pub fn turned(caps: &Caps, n: u32, across: u32, width: u32) -> Result<Launch> {
    let launch = launch(caps, n, width)?;
    let wg = workgroup(caps);
    // 128 bytes of a row, or 64 where it goes by single elements: whole sectors are written too
    let lanes = if width == 4 { 8 } else { 16 };
    if caps.is_cpu() || !wg.is_multiple_of(lanes) || across == 0 {
        return Ok(launch);
    }
    let down = wg / lanes;
    let place = format!(
        "    let blocks = (sizes.across + {lanes}u - 1u) / {lanes}u;
    let row = at / WG / blocks * {down}u + at % WG / {lanes}u;
    let col = at / WG % blocks * {lanes}u + at % {lanes}u;
    return select(sizes.n, row * sizes.across + col, col < sizes.across);"
    );
    let groups = u64::from((n / across).div_ceil(down)) * u64::from(across.div_ceil(lanes));
    let source = launch.source.param("across", "u32").slot("place", place);
    Ok(Launch::new(source, launch.params.u32(across), fold_groups(groups)).wide(width))
}
