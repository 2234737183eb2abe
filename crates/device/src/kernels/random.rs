//! `random.wgsl`: draws of a Philox stream.

use super::common::{Scalar, at_width};
use super::map::workgroup;
use crate::caps::Caps;
use crate::error::Result;
use crate::philox::Stream;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// 32 random bits, u32.
    Words,
    /// Uniform in [0, 1), multiples of 2⁻²⁴.
    Uniform,
    /// Standard normal.
    Normal,
    /// 1 with this probability, else 0.
    Bernoulli(f32),
}

/// `n` draws, in slot `store(v: V, i)`: element i at width 1, elements 4 i .. 4 i + 3 at width 4. The stream is a
/// parameter, unless the slot `stream() -> vec4<u32>` is filled.
///
/// # Errors
/// None today; launchers return `Result` alike.
pub fn launch(caps: &Caps, draw: Draw, stream: Stream, n: u32, width: u32) -> Result<Launch> {
    let (wg, work) = (workgroup(caps), n.div_ceil(width));
    let (name, ty, call) = match draw {
        Draw::Words => ("random_words", Scalar::U32, "word"),
        Draw::Uniform => ("random_uniform", Scalar::F32, "uniform"),
        Draw::Normal => ("random_normal", Scalar::F32, "normal"),
        Draw::Bernoulli(_) => ("random_bernoulli", Scalar::F32, "uniform"),
    };
    let call = format!("philox_{call}{}(i, s.x, s.y, s.z, s.w)", if width == 4 { "s_" } else { "1_" });
    let body = match draw {
        Draw::Bernoulli(_) => format!("    return select(F(0.0), F(1.0), {call} < F(sizes.p));"),
        _ => format!("    return {call};"),
    };
    let p = if let Draw::Bernoulli(p) = draw { p } else { 0.0 };
    let source = at_width(Source::new(name, kiln_shaders::RANDOM), width)
        .constant("WG", format!("{wg}u"))
        .alias("V", ty.vector(width))
        .slot("draw", body);
    let params =
        Params::new().u32(work).u32(stream.key[0]).u32(stream.key[1]).u32(stream.id[0]).u32(stream.id[1]).f32(p);
    // ten rounds of Philox
    Ok(Launch::new(source, params, fold_groups(u64::from(work.div_ceil(wg)))).wide(width).costing([work, 200]))
}
