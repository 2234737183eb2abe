//! Attention whose heads share keys and values.

use std::sync::Arc;

use super::core::{additive, attend};
use super::{KvCache, Rotary};
use crate::Tensor;
use crate::init::Init;
use crate::nn::{Forward, Linear, Module};

/// Self-attention in which groups of heads share one head of keys and values; with as many of these as heads it is
/// the ordinary one, with a single one multi-query attention. Rotary positions are optional.
///
/// Shapes: `x [batch, time, embed]` → the same; `q_proj`, `o_proj [embed, embed]`, `k_proj`, `v_proj
/// [kv_heads · embed/heads, embed]`, all without bias, as in Llama.
///
/// Source: Ainslie et al. 2023, "GQA: training generalized multi-query transformer models from multi-head
/// checkpoints", §2.2.
#[derive(Module)]
pub struct GroupedQueryAttention {
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// The result.
    pub o_proj: Linear,
    #[module(skip)]
    rotary: Option<Arc<Rotary>>,
    heads: usize,
    kv_heads: usize,
    embed: usize,
}

impl GroupedQueryAttention {
    /// `heads` heads over `embed` numbers with `kv_heads` heads of keys and values, which divides `heads`.
    pub fn new(embed: usize, heads: usize, kv_heads: usize, init: &mut Init) -> Self {
        let narrow = kv_heads * (embed / heads.max(1));
        Self {
            q_proj: Linear::no_bias(embed, embed, init),
            k_proj: Linear::no_bias(embed, narrow, init),
            v_proj: Linear::no_bias(embed, narrow, init),
            o_proj: Linear::no_bias(embed, embed, init),
            rotary: None,
            heads,
            kv_heads,
            embed,
        }
    }

    /// Turns queries and keys by their positions.
    #[must_use]
    pub fn rotary(mut self, rotary: Arc<Rotary>) -> Self {
        self.rotary = Some(rotary);
        self
    }

    /// A cache for this layer.
    pub fn cache(&self, batch: usize, capacity: usize, init: &Init) -> KvCache {
        KvCache::new(batch, self.kv_heads, capacity, self.embed / self.heads.max(1), init.device())
    }

    /// Attends; `mask` broadcasts to `[batch, heads, time, time]`: true hides, floats are added. With `is_causal`
    /// no element sees a later one.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape) or [`Error::Argument`](crate::Error::Argument) for what
    /// does not fit.
    #[track_caller]
    pub fn run(&self, x: &Tensor, mask: Option<&Tensor>, is_causal: bool) -> Tensor {
        let [q, k, v] = match self.project(x, 0) {
            Ok(parts) => parts,
            Err(bad) => return bad,
        };
        let bias = mask.map(|mask| additive("attention", mask));
        self.join(x, &attend(&q, &k, &v, bias.as_ref(), is_causal, None))
    }

    /// Attends to what the cache holds and to `x`, which stands at `position`, causally; `x` is added to the cache.
    ///
    /// # Errors
    /// As [`GroupedQueryAttention::run`] and [`KvCache::append`], on evaluation.
    #[track_caller]
    pub fn run_cached(&self, x: &Tensor, cache: &KvCache, position: usize) -> Tensor {
        let [q, k, v] = match self.project(x, position) {
            Ok(parts) => parts,
            Err(bad) => return bad,
        };
        match cache.attend(&q, &k, &v, position) {
            Ok(y) => self.join(x, &y),
            Err(error) => Tensor::invalid(x.device(), error),
        }
    }

    /// Queries, keys and values, `[batch, heads, time, width]`.
    #[track_caller]
    fn project(&self, x: &Tensor, position: usize) -> Result<[Tensor; 3], Tensor> {
        let Ok(shape) = x.shape() else { return Err(x.clone()) };
        let divides = |n: usize, by: usize| by > 0 && n > 0 && n.is_multiple_of(by);
        if !divides(self.embed, self.heads) || !divides(self.heads, self.kv_heads) {
            let value = format!("{}, {}, {}", self.embed, self.heads, self.kv_heads);
            let why = "each a multiple of the next";
            return Err(x.bad_argument("attention", "embed, heads, kv_heads", value, why));
        }
        if shape.len() != 3 || shape[2] != self.embed {
            return Err(Tensor::bad_shape("attention", &[x], "x is [batch, time, embed]"));
        }
        let width = self.embed / self.heads;
        let split = |y: Tensor, heads: usize| y.reshape([shape[0], shape[1], heads, width]).transpose(1, 2);
        let turn = |y: Tensor| match &self.rotary {
            Some(rotary) => rotary.forward_at(&y, position),
            None => y,
        };
        let q = turn(split(self.q_proj.forward(x), self.heads));
        let k = turn(split(self.k_proj.forward(x), self.kv_heads));
        Ok([q, k, split(self.v_proj.forward(x), self.kv_heads)])
    }

    /// The heads' results `y [batch, heads, time, width]` side by side, and the last map.
    #[track_caller]
    fn join(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        self.o_proj.forward(&y.transpose(1, 2).reshape([shape[0], shape[1], self.embed]))
    }
}

impl Forward for GroupedQueryAttention {
    /// Causal self-attention.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, None, true)
    }
}
