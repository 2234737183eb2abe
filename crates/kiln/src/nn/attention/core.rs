//! The arithmetic of attention, and masks as what is added to scores.

use crate::nn::Dropout;
use crate::{DType, Lit, Tensor};

/// softmax(q·kᵀ/√width + bias)·v, and the weights.
///
/// Shapes: `q [.., queries, width]`, `k [.., keys, width]`, `v [.., keys, values]`; `bias` broadcasts to
/// `[.., queries, keys]`. With `safe`, a query that may see no key (all of its biases are −∞) has weights zero
/// rather than NaN.
///
/// Source: Vaswani et al. 2017, "Attention is all you need", eq. 1.
#[track_caller]
pub(in crate::nn) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    dropout: Option<&Dropout>,
    safe: bool,
) -> (Tensor, Tensor) {
    let width = q.shape().ok().and_then(|shape| shape.last().copied()).unwrap_or(1);
    let scores = q.matmul(&k.mt()) * Lit((1.0 / (width as f64).sqrt()) as f32);
    let weights = match bias {
        None => scores.softmax(-1),
        Some(bias) if !safe => (scores + bias).softmax(-1),
        Some(bias) => {
            let scores = scores + bias;
            let blind = scores.detach().amax(-1, true).eq(f32::NEG_INFINITY);
            let weights = Tensor::where_(&blind, Lit(0.0), &scores).softmax(-1);
            Tensor::where_(&blind, Lit(0.0), weights)
        }
    };
    let weights = match dropout {
        Some(dropout) => crate::nn::Forward::forward(dropout, &weights),
        None => weights,
    };
    (weights.matmul(v), weights)
}

/// A mask as what is added to scores: a truth value hides where it is true, a float is added as it is.
#[track_caller]
pub(in crate::nn) fn additive(op: &'static str, mask: &Tensor) -> Tensor {
    match mask.dtype() {
        DType::Bool => Tensor::where_(mask, f32::NEG_INFINITY, Lit(0.0)),
        dtype if dtype.is_float() || mask.shape().is_err() => mask.clone(),
        _ => Tensor::bad_dtype(op, &[mask], "a mask is truth values, or floats that are added"),
    }
}

/// True where query i, which stands at `position` + i, must not see key j: j > `position` + i. `[queries, keys]`.
#[track_caller]
pub(super) fn future(device: &crate::Device, queries: usize, keys: usize, position: usize) -> Tensor {
    let rows = Tensor::arange(device, 0, queries as i32, 1).unsqueeze(-1) + position as i32;
    Tensor::arange(device, 0, keys as i32, 1).gt(rows)
}

/// What causal attention adds to scores `[length, length]`: 0 for keys up to the query itself, −∞ after it.
/// PyTorch's `Transformer.generate_square_subsequent_mask`.
#[track_caller]
pub fn causal_mask(device: &crate::Device, length: usize) -> Tensor {
    additive("causal_mask", &future(device, length, length, 0))
}
