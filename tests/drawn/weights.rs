//! Layers of the draw whose weight is computed from other parameters.

use super::call::{Call, Text};
use super::layers::{Layer, with};
use kiln::nn::*;

/// The layer that `c` names; `None` if that is none.
pub fn named<'a>(c: &'a Call, init: &mut Init) -> Option<Layer<'a>> {
    if c.name() != "weight_norm" && c.name() != "spectral_norm" {
        return None;
    }
    let (inputs, outputs, no_bias) = (c.size("inputs"), c.size("outputs"), c.flag("no_bias"));
    macro_rules! of {
        ($kernel:expr, $name:ident) => {{
            let conv = $name::new(inputs, outputs, $kernel, init);
            normed(c, if no_bias { conv.no_bias() } else { conv }, init)
        }};
    }
    Some(match c.text("of") {
        "Conv1d" => of!(2, Conv1d),
        "Conv2d" => of!(2, Conv2d),
        "ConvTranspose2d" => of!(2, ConvTranspose2d),
        _ if no_bias => normed(c, Linear::no_bias(inputs, outputs, init), init),
        _ => normed(c, Linear::new(inputs, outputs, init), init),
    })
}

fn normed<'a, L: Weighted + 'a>(c: &'a Call, layer: L, init: &mut Init) -> Layer<'a> {
    let axis = Some(c).filter(|c| c.has("axis")).map(|c| c.size("axis"));
    if c.name() == "weight_norm" {
        let axis = if c.flag("whole") { None } else { Some(axis.unwrap_or(0)) };
        return with(WeightNorm::along(layer, axis, init), |layer, x| vec![layer.forward(&x[0])]);
    }
    let mut norm = match axis {
        Some(axis) => SpectralNorm::along(layer, axis, init),
        None => SpectralNorm::new(layer, init),
    }
    .unwrap();
    norm.iterations = if c.has("iterations") { c.size("iterations") } else { 1 };
    norm.eps = if c.has("eps") { c.float("eps") } else { 1e-12 };
    with(norm, |layer, x| vec![layer.forward(&x[0])])
}
