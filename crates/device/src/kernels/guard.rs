//! `guard.wgsl` and `finite.wgsl`: are values finite?

use crate::caps::Caps;
use crate::error::{Error, Result};
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// The key that a fault record keeps for a fault at `row` of `node`; the greatest key is the fault to tell of.
pub fn key(node: u32, row: u32) -> u32 {
    u32::MAX - ((node << 20) | row.min(0xf_ffff))
}

/// Node and row of a key; `None` for 0, a clean record.
pub fn fault(key: u32) -> Option<(u32, u32)> {
    let packed = u32::MAX - key;
    (key != 0).then_some((packed >> 20, packed & 0xf_ffff))
}

/// The word of a fault record in which the guard of this number leaves what it looked at, for as many as there is room.
pub fn place(number: usize) -> Option<u32> {
    (number < 3).then(|| 1 + number as u32)
}

/// Checks the `n` elements of `x`, `half` or f32; records a fault of `node` (below 4096) in `fault`, and the first element in its word
/// `place`.
///
/// # Errors
/// [`Error::Limit`] for a node or a length that is too great.
pub fn launch(_caps: &Caps, n: u32, half: bool, node: u32, place: Option<u32>) -> Result<Launch> {
    for (what, needs, has) in [("nodes", node, 4094), ("elements", n, 64 * 65_000)] {
        if needs > has {
            return Err(Error::Limit { kernel: "guard".into(), what, needs: needs.into(), has: has.into() });
        }
    }
    let params = Params::new().u32(n).u32(node).u32(place.unwrap_or(0));
    Ok(Launch::new(Source::new("guard", kiln_shaders::GUARD).constant("HALF", half), params, [1, 1, 1]))
}

/// Marks `flags[node]` with 1 if one of the `n` elements of `x` is infinite, and with 2 if one is NaN; they are `half`
/// or f32.
///
/// # Errors
/// None today; launchers return `Result` alike.
pub fn mark(_caps: &Caps, n: u32, half: bool, node: u32) -> Result<Launch> {
    let words = u64::from(if half { n.div_ceil(2) } else { n });
    let source = Source::new("finite", kiln_shaders::FINITE).constant("HALF", half);
    Ok(Launch::new(source, Params::new().u32(n).u32(node), fold_groups(words.div_ceil(64))))
}
