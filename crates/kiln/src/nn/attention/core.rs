//! The arithmetic of attention, and masks as what is added to scores.

use crate::nn::Dropout;
use crate::{Attention, DType, Lit, Tensor};

/// softmax(q·kᵀ/√width + bias)·v by [`Tensor::scaled_dot_product_attention`]: a query that may see no key gives zero.
///
/// Shapes: `q [.., heads, queries, width]`, `k [.., kv_heads, keys, width]`, `v [.., kv_heads, keys, values]`; `bias`
/// broadcasts to `[.., heads, queries, keys]`. With `causal` query i sees keys 0..=i.
#[track_caller]
pub(in crate::nn) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    causal: bool,
    dropout: Option<&Dropout>,
) -> Tensor {
    let (Ok(queries), Ok(keys)) = (q.shape(), k.shape()) else {
        return if q.error().is_some() { q.clone() } else { k.clone() };
    };
    let mut scores = queries.to_vec();
    if let (Some(last), [.., keys, _]) = (scores.last_mut(), &keys[..]) {
        *last = *keys;
    }
    let dropout = match dropout.map_or(Ok(None), |dropout| dropout.factors(q, &scores)) {
        Ok(factors) => factors,
        Err(bad) => return bad,
    };
    let heads = |shape: &[usize]| shape.iter().rev().nth(2).copied();
    let gqa = heads(&queries) != heads(&keys);
    q.scaled_dot_product_attention(k, v, &Attention { mask: bias.cloned(), dropout, causal, scale: None, gqa })
}

/// softmax(q·kᵀ/√width + bias)·v, and the weights: NaN for a query that may see no key, as in PyTorch.
///
/// Shapes as of [`attend`].
///
/// Source: Vaswani et al. 2017, "Attention is all you need", eq. 1.
#[track_caller]
pub(in crate::nn) fn attend_weights(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    dropout: &Dropout,
) -> (Tensor, Tensor) {
    let width = q.shape().ok().and_then(|shape| shape.last().copied()).unwrap_or(1);
    let scores = q.matmul(&k.mt()) * Lit((1.0 / (width as f64).sqrt()) as f32);
    let scores = match bias {
        None => scores,
        Some(bias) => scores + bias,
    };
    let weights = crate::nn::Forward::forward(dropout, &scores.softmax(-1));
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
