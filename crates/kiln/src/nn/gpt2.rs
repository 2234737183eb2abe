//! GPT-2: a decoder of causal self-attention blocks, with the parameter names of Hugging Face's model.

use super::attention::attend;
use super::lora::Adaptable;
use super::{Dropout, Embedding, Forward, KvCache, LayerNorm, Module};
use crate::init::Init;
use crate::{Param, Tensor, in_module};

/// A linear map with its weight the other way round: `y = x·W + b`, `W [inputs, outputs]`. Hugging Face's
/// `Conv1D`.
#[derive(Module)]
pub struct Projection {
    /// W, drawn from N(0, 0.02²).
    pub weight: Param,
    /// b, zero at first.
    pub bias: Param,
    /// Room for a low-rank adapter: [`Lora`](super::Lora).
    #[module(flatten)]
    pub adapter: Adaptable,
}

impl Projection {
    /// From `inputs` to `outputs` features.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self::drawn(inputs, outputs, 0.02, init)
    }

    fn drawn(inputs: usize, outputs: usize, std: f64, init: &mut Init) -> Self {
        let (weight, bias) = (init.normal(&[inputs, outputs], 0.0, std), init.zeros(&[outputs]));
        Self { weight, bias, adapter: Adaptable::transposed() }
    }
}

impl Forward for Projection {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.adapter.adapted(x.matmul(&self.weight) + &self.bias, x)
    }
}

/// The sizes of a [`Gpt2`]; the defaults are those of the smallest published one (124 M parameters).
#[derive(Debug, Clone)]
pub struct Gpt2Options {
    /// Tokens; 50257.
    pub vocabulary: usize,
    /// The longest sequence; 1024.
    pub context: usize,
    /// Features of a token; 768.
    pub width: usize,
    /// Blocks; 12.
    pub layers: usize,
    /// Heads of each; 12.
    pub heads: usize,
    /// The probability of a zero, while training; 0.1.
    pub dropout: f32,
}

impl Default for Gpt2Options {
    fn default() -> Self {
        Self { vocabulary: 50257, context: 1024, width: 768, layers: 12, heads: 12, dropout: 0.1 }
    }
}

/// Causal self-attention with one projection for queries, keys and values.
#[derive(Module)]
struct CausalAttention {
    c_attn: Projection,
    c_proj: Projection,
    attn_dropout: Dropout,
    resid_dropout: Dropout,
    heads: usize,
}

impl CausalAttention {
    fn forward(&self, x: &Tensor, cache: Option<(&KvCache, usize)>) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        let [batch, time, width] = [shape[0], shape[1], shape[2]];
        let all = self.c_attn.forward(x).reshape([batch, time, 3, self.heads, width / self.heads]);
        let [q, k, v] = [0, 1, 2].map(|part| all.select(2, part).transpose(1, 2));
        let dropout = Some(&self.attn_dropout);
        let y = match cache {
            None => attend(&q, &k, &v, None, true, dropout),
            Some((cache, position)) => match cache.attend_with(&q, &k, &v, position, dropout) {
                Ok(y) => y,
                Err(error) => return Tensor::invalid(x.device(), error),
            },
        };
        self.resid_dropout.forward(&self.c_proj.forward(&y.transpose(1, 2).reshape([batch, time, width])))
    }
}

/// Two linear maps with a GELU (by tanh) between.
#[derive(Module)]
struct Mlp {
    c_fc: Projection,
    c_proj: Projection,
    dropout: Dropout,
}

#[derive(Module)]
struct Block {
    ln_1: LayerNorm,
    attn: CausalAttention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn new(options: &Gpt2Options, init: &mut Init) -> Self {
        let (width, dropout) = (options.width, options.dropout);
        // the residual stream grows with depth: what is added to it starts smaller
        let std = 0.02 / (2.0 * options.layers as f64).sqrt();
        let last = |inputs: usize, init: &mut Init| Projection::drawn(inputs, width, std, init);
        Self {
            ln_1: LayerNorm::new(width, init),
            attn: CausalAttention {
                c_attn: Projection::new(width, 3 * width, init),
                c_proj: last(width, init),
                attn_dropout: Dropout::new(dropout, init),
                resid_dropout: Dropout::new(dropout, init),
                heads: options.heads,
            },
            ln_2: LayerNorm::new(width, init),
            mlp: Mlp {
                c_fc: Projection::new(width, 4 * width, init),
                c_proj: last(4 * width, init),
                dropout: Dropout::new(dropout, init),
            },
        }
    }

    fn forward(&self, x: &Tensor, cache: Option<(&KvCache, usize)>) -> Tensor {
        let x = x + self.attn.forward(&self.ln_1.forward(x), cache);
        let inner = self.mlp.c_fc.forward(&self.ln_2.forward(&x)).gelu_tanh();
        &x + self.mlp.dropout.forward(&self.mlp.c_proj.forward(&inner))
    }
}

/// GPT-2. The parameters have the names of Hugging Face's `GPT2Model` (`wte.weight`, `h.0.attn.c_attn.weight`, …);
/// the head that gives the logits is the table of tokens itself.
///
/// Shapes: `tokens [batch, time]` of `I32` → logits `[batch, time, vocabulary]`.
///
/// Source: Radford et al. 2019, "Language models are unsupervised multitask learners", §2.3.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let sizes = nn::Gpt2Options { vocabulary: 11, context: 8, width: 8, layers: 1, heads: 2, dropout: 0.0 };
/// let gpt = nn::Gpt2::new(sizes, &mut Init::new(&device, 0));
/// let logits = gpt.forward(&Tensor::new(&device, [[1i32, 2, 3]]));
/// assert_eq!(logits.shape()?, [1, 3, 11]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module)]
pub struct Gpt2 {
    /// Tokens, `[vocabulary, width]`; also the head.
    pub wte: Embedding,
    /// Positions, `[context, width]`.
    pub wpe: Embedding,
    drop: Dropout,
    h: Vec<Block>,
    /// After the last block.
    pub ln_f: LayerNorm,
    #[module(skip)]
    options: Gpt2Options,
}

impl Gpt2 {
    /// A model of the given sizes; `width` is a multiple of `heads`.
    pub fn new(options: Gpt2Options, init: &mut Init) -> Self {
        let mut table = |rows: usize| Embedding::of(init.normal(&[rows, options.width], 0.0, 0.02));
        let (wte, wpe) = (table(options.vocabulary), table(options.context));
        Self {
            wte,
            wpe,
            drop: Dropout::new(options.dropout, init),
            h: (0..options.layers).map(|_| Block::new(&options, init)).collect(),
            ln_f: LayerNorm::new(options.width, init),
            options,
        }
    }

    /// A cache for each block, for `batch` sequences of up to `context` tokens.
    pub fn caches(&self, batch: usize) -> Vec<KvCache> {
        let Gpt2Options { heads, context, width, .. } = self.options;
        let of = |_| KvCache::new(batch, heads, context, width / heads.max(1), self.wte.weight.device());
        (0..self.h.len()).map(of).collect()
    }

    /// Logits for `tokens` that stand at `position`, after what the caches hold; the caches take them in when the
    /// logits are evaluated.
    ///
    /// # Errors
    /// On evaluation, [`Error::Argument`](crate::Error::Argument) past the context, or if there is not one cache
    /// for each block.
    #[track_caller]
    pub fn forward_cached(&self, tokens: &Tensor, caches: &[KvCache], position: usize) -> Tensor {
        if caches.len() != self.h.len() {
            return tokens.bad_argument("gpt2", "caches", caches.len(), "one for each block");
        }
        self.run(tokens, Some(caches), position)
    }

    #[track_caller]
    fn run(&self, tokens: &Tensor, caches: Option<&[KvCache]>, position: usize) -> Tensor {
        let Ok(shape) = tokens.shape() else { return tokens.clone() };
        let Gpt2Options { heads, width, .. } = self.options;
        if heads == 0 || !width.is_multiple_of(heads) {
            let value = format!("{width}, {heads}");
            return tokens.bad_argument("gpt2", "width, heads", value, "width is a multiple of heads");
        }
        if shape.len() != 2 || shape[1] == 0 {
            return Tensor::bad_shape("gpt2", &[tokens], "tokens are [batch, time], time at least 1");
        }
        if position.saturating_add(shape[1]) > self.options.context {
            let value = format!("{position} + {}", shape[1]);
            return tokens.bad_argument("gpt2", "position + time", value, "at most the context");
        }
        let places = Tensor::arange(tokens.device(), 0, shape[1] as i32, 1) + position as i32;
        let embedded = self.wte.forward(tokens) + self.wpe.forward(&places);
        let mut x = self.drop.forward(&embedded);
        for (index, block) in self.h.iter().enumerate() {
            let cache = caches.map(|caches| (&caches[index], position));
            x = in_module(&format!("h.{index}"), || block.forward(&x, cache));
        }
        self.ln_f.forward(&x).matmul(&self.wte.weight.t())
    }
}

impl Forward for Gpt2 {
    #[track_caller]
    fn forward(&self, tokens: &Tensor) -> Tensor {
        self.run(tokens, None, 0)
    }
}
