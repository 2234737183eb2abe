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
