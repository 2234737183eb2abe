//! Attention with several heads, as in the transformer.

use super::core::{additive, attend, attend_weights, future};
use crate::init::Init;
use crate::nn::{Dropout, Forward, Linear, Module};
use crate::{PadMode, Param, Tensor};

/// Settings of [`MultiheadAttention`], with PyTorch's defaults.
#[derive(Debug, Clone, Default)]
pub struct MultiheadOptions {
    /// The probability of a zero among the weights, while training; 0.
    pub dropout: f32,
    /// Leaves the biases of the projections out.
    pub no_bias: bool,
    /// Adds a learned key and value at the end.
    pub add_bias_kv: bool,
    /// Adds a key and value of zeros at the end.
    pub add_zero_attn: bool,
    /// The extent of keys, where it differs.
    pub kdim: Option<usize>,
    /// The extent of values, where it differs.
    pub vdim: Option<usize>,
    /// Whether batches are the first axis rather than the second.
    pub batch_first: bool,
}

/// What one call of [`MultiheadAttention::run`] asks for, with PyTorch's defaults.
#[derive(Clone, Copy)]
pub struct AttentionArgs<'a> {
    /// Keys that nobody sees, `[batch, keys]`: true hides; floats are added to the scores.
    pub key_padding_mask: Option<&'a Tensor>,
    /// Which queries see which keys, `[queries, keys]` or `[batch · heads, queries, keys]`: true hides; floats are
    /// added to the scores.
    pub attn_mask: Option<&'a Tensor>,
    /// Without an `attn_mask`: query i sees keys 0 to i. With one it says that the mask is that, as in PyTorch.
    pub is_causal: bool,
    /// Whether the weights are given back too; true. Then a query that sees no key gives NaN, as in PyTorch;
    /// without, it gives what a sum of no values gives.
    pub need_weights: bool,
    /// Whether the weights are the mean over the heads; true.
    pub average_attn_weights: bool,
}

impl Default for AttentionArgs<'_> {
    fn default() -> Self {
        Self {
            key_padding_mask: None,
            attn_mask: None,
            is_causal: false,
            need_weights: true,
            average_attn_weights: true,
        }
    }
}

/// Attention of `heads` heads: each projects queries, keys and values to `embed/heads` numbers and attends; the
/// heads' results are put side by side and projected once more.
///
/// Shapes: `query [queries, batch, embed]`, `key [keys, batch, kdim]`, `value [keys, batch, vdim]` →
/// `[queries, batch, embed]`; batch first with `batch_first`; all three without batch too.
///
/// Source: Vaswani et al. 2017, "Attention is all you need", §3.2.
#[derive(Module)]
pub struct MultiheadAttention {
    /// The three projections on top of each other, `[3·embed, embed]`; `None` if keys or values have their own
    /// extent.
    pub in_proj_weight: Option<Param>,
    /// `[embed, embed]`, where the projections are separate.
    pub q_proj_weight: Option<Param>,
    /// `[embed, kdim]`, where the projections are separate.
    pub k_proj_weight: Option<Param>,
    /// `[embed, vdim]`, where the projections are separate.
    pub v_proj_weight: Option<Param>,
    /// `[3·embed]`.
    pub in_proj_bias: Option<Param>,
    /// A learned key, `[1, 1, embed]`.
    pub bias_k: Option<Param>,
    /// A learned value, `[1, 1, embed]`.
    pub bias_v: Option<Param>,
    /// The projection of the result.
    pub out_proj: Linear,
    dropout: Dropout,
    #[module(skip)]
    options: MultiheadOptions,
    embed: usize,
    heads: usize,
}

impl MultiheadAttention {
    /// `heads` heads over `embed` numbers, with PyTorch's defaults.
    pub fn new(embed: usize, heads: usize, init: &mut Init) -> Self {
        Self::with(embed, heads, MultiheadOptions::default(), init)
    }

    /// The same with other settings. `embed` must be a multiple of `heads`.
    pub fn with(embed: usize, heads: usize, options: MultiheadOptions, init: &mut Init) -> Self {
        let (kdim, vdim) = (options.kdim.unwrap_or(embed), options.vdim.unwrap_or(embed));
        let whole = kdim == embed && vdim == embed;
        let bias = !options.no_bias;
        let mut own = |inputs: usize| (!whole).then(|| init.xavier_uniform(&[embed, inputs], 1.0));
        let [q_proj_weight, k_proj_weight, v_proj_weight] = [own(embed), own(kdim), own(vdim)];
        let in_proj_weight = whole.then(|| init.xavier_uniform(&[3 * embed, embed], 1.0));
        let in_proj_bias = bias.then(|| init.zeros(&[3 * embed]));
        let mut out_proj = Linear::no_bias(embed, embed, init);
        out_proj.bias = bias.then(|| init.zeros(&[embed]));
        let mut extra = || options.add_bias_kv.then(|| init.xavier_normal(&[1, 1, embed], 1.0));
        let (bias_k, bias_v) = (extra(), extra());
        Self {
            in_proj_weight,
            q_proj_weight,
            k_proj_weight,
            v_proj_weight,
            in_proj_bias,
            bias_k,
            bias_v,
            out_proj,
            dropout: Dropout::new(options.dropout, init),
            options,
            embed,
            heads,
        }
    }

    /// The result, and the weights (the mean over the heads, `[batch, queries, keys]`, or those of each,
    /// `[batch, heads, queries, keys]`) where they are asked for.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape), [`Error::DType`](crate::Error::DType) or
    /// [`Error::Argument`](crate::Error::Argument) for what does not fit.
    #[track_caller]
    pub fn run(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        args: AttentionArgs<'_>,
    ) -> (Tensor, Option<Tensor>) {
        let result = match self.checked(query, key, value) {
            Err(bad) => Err(bad),
            Ok(()) if query.rank() == 3 => self.batched([query, key, value], args),
            Ok(()) => {
                let axis = i64::from(!self.options.batch_first);
                let padding = args.key_padding_mask.map(|mask| mask.unsqueeze(0));
                let lifted = [query, key, value].map(|t| t.unsqueeze(axis));
                // one tensor thrice stays one tensor thrice
                let same = std::ptr::eq(query, key) && std::ptr::eq(key, value);
                let parts = if same { [&lifted[0]; 3] } else { [&lifted[0], &lifted[1], &lifted[2]] };
                self.batched(parts, AttentionArgs { key_padding_mask: padding.as_ref(), ..args })
                    .map(|(y, weights)| (y.squeeze(axis), weights.map(|w| w.squeeze(0))))
            }
        };
        match result {
            Ok(result) => result,
            Err(bad) => (bad.clone(), args.need_weights.then_some(bad)),
        }
    }

    #[track_caller]
    fn checked(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<(), Tensor> {
        let name = "multihead_attention";
        let shape = |t: &Tensor| t.shape().map_err(|_| t.clone());
        let (q, k, v) = (shape(query)?, shape(key)?, shape(value)?);
        if self.heads == 0 || self.embed == 0 || !self.embed.is_multiple_of(self.heads) {
            let value = format!("{}, {}", self.embed, self.heads);
            return Err(query.bad_argument(name, "embed, heads", value, "embed is a multiple of heads"));
        }
        if !(0.0..=1.0).contains(&self.options.dropout) {
            return Err(query.bad_argument(name, "dropout", self.options.dropout, "a probability"));
        }
        let separate = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
        if self.in_proj_weight.is_none() && separate.iter().any(|weight| weight.is_none()) {
            let why = "needed where q_, k_ or v_proj_weight is None";
            return Err(query.bad_argument(name, "in_proj_weight", "None", why));
        }
        let (kdim, vdim) = (self.options.kdim.unwrap_or(self.embed), self.options.vdim.unwrap_or(self.embed));
        let ends = [(&q, self.embed), (&k, kdim), (&v, vdim)];
        let rank = q.len();
        let fits = matches!(rank, 2 | 3)
            && ends.iter().all(|(shape, width)| shape.len() == rank && shape.last() == Some(width))
            && k[..rank - 1] == v[..rank - 1]
            && (rank == 2 || q[self.batch_axis()] == k[self.batch_axis()]);
        if fits {
            return Ok(());
        }
        let why = "query, key and value are [length, batch, features] (or batch first) with features as set, \
                   key and value of one length";
        Err(Tensor::bad_shape(name, &[query, key, value], why))
    }

    fn batch_axis(&self) -> usize {
        usize::from(!self.options.batch_first)
    }

    /// Queries, keys and values after their projections, `[length, batch, embed]` or batch first.
    fn project(&self, inputs: [&Tensor; 3]) -> [Tensor; 3] {
        let embed = self.embed;
        let rows = |t: &Tensor, index: usize| t.narrow(0, (index * embed) as i64, embed);
        let same = std::ptr::eq(inputs[0], inputs[1]) && std::ptr::eq(inputs[1], inputs[2]);
        if let (Some(weight), true) = (&self.in_proj_weight, same) {
            let y = inputs[0].matmul(&weight.t());
            let y = match &self.in_proj_bias {
                Some(bias) => y + bias,
                None => y,
            };
            return [0, 1, 2].map(|index| y.narrow(-1, (index * embed) as i64, embed));
        }
        let own = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
        [0, 1, 2].map(|index| {
            let weight = match (own[index], &self.in_proj_weight) {
                (Some(own), _) => own.value(),
                (None, Some(whole)) => rows(whole, index),
                (None, None) => unreachable!("`checked` has seen that projections are whole or separate"),
            };
            let y = inputs[index].matmul(&weight.t());
            match &self.in_proj_bias {
                Some(bias) => y + rows(bias, index),
                None => y,
            }
        })
    }

    fn batched(&self, inputs: [&Tensor; 3], args: AttentionArgs<'_>) -> Result<(Tensor, Option<Tensor>), Tensor> {
        let batch_axis = self.batch_axis();
        let time_axis = 1 - batch_axis;
        let shape = |t: &Tensor| t.shape().map_err(|_| t.clone());
        let (q_shape, k_shape) = (shape(inputs[0])?, shape(inputs[1])?);
        let (batch, queries, keys) = (q_shape[batch_axis], q_shape[time_axis], k_shape[time_axis]);
        // a mask that is only causal stays a word to the kernel, unless keys are added that all may see
        let added = self.bias_k.is_some() || self.options.add_zero_attn;
        let masked = args.attn_mask.is_some() || args.key_padding_mask.is_some();
        let causal = args.is_causal && !masked && !args.need_weights && !added;
        let masks = AttentionArgs { is_causal: args.is_causal && !causal, ..args };
        let mut bias = self.bias(inputs[0], batch, queries, keys, masks)?;

        let [q, mut k, mut v] = self.project(inputs);
        let mut extra = 0;
        if let (Some(bias_k), Some(bias_v)) = (&self.bias_k, &self.bias_v) {
            let mut one = [1, 1, self.embed];
            one[batch_axis] = batch;
            k = Tensor::cat(&[&k, &bias_k.expand(one)], time_axis as i64);
            v = Tensor::cat(&[&v, &bias_v.expand(one)], time_axis as i64);
            extra += 1;
        }
        let width = self.embed / self.heads;
        let split = |t: &Tensor| {
            let Ok(shape) = t.shape() else { return t.clone() };
            let parts = t.reshape([shape[0], shape[1], self.heads, width]);
            parts.permute(if batch_axis == 0 { [0, 2, 1, 3] } else { [1, 2, 0, 3] })
        };
        let (q, mut k, mut v) = (split(&q), split(&k), split(&v));
        if self.options.add_zero_attn {
            let zero = Tensor::zeros(q.device(), [batch, self.heads, 1, width]).cast(k.dtype());
            k = Tensor::cat(&[&k, &zero], 2);
            v = Tensor::cat(&[&v, &zero], 2);
            extra += 1;
        }
        if extra > 0 {
            bias = bias.map(|b| b.pad(&[(0, extra)], PadMode::Constant(0.0)));
        }
        let (y, weights) = if args.need_weights {
            let (y, weights) = attend_weights(&q, &k, &v, bias.as_ref(), &self.dropout);
            (y, Some(if args.average_attn_weights { weights.mean_axes(1, false) } else { weights }))
        } else {
            (attend(&q, &k, &v, bias.as_ref(), causal, Some(&self.dropout)), None)
        };
        let joined = y.permute(if batch_axis == 0 { [0, 2, 1, 3] } else { [2, 0, 1, 3] });
        let y = self.out_proj.forward(&joined.reshape([q_shape[0], q_shape[1], self.embed]));
        Ok((y, weights))
    }

    /// What the masks add to the scores; broadcasts to `[batch, heads, queries, keys]`.
    fn bias(
        &self,
        query: &Tensor,
        batch: usize,
        queries: usize,
        keys: usize,
        args: AttentionArgs<'_>,
    ) -> Result<Option<Tensor>, Tensor> {
        let name = "multihead_attention";
        let shape = |t: &Tensor| t.shape().map_err(|_| t.clone());
        let mut bias = None;
        if let Some(mask) = args.attn_mask {
            let given = shape(mask)?;
            bias = Some(match given[..] {
                [l, s] if (l, s) == (queries, keys) => additive(name, mask),
                [bh, l, s] if (bh, l, s) == (batch * self.heads, queries, keys) => {
                    additive(name, mask).reshape([batch, self.heads, queries, keys])
                }
                _ => {
                    let why = "attn_mask is [queries, keys] or [batch · heads, queries, keys]";
                    return Err(Tensor::bad_shape(name, &[query, mask], why));
                }
            });
        } else if args.is_causal {
            bias = Some(additive(name, &future(query.device(), queries, keys, 0)));
        }
        if let Some(mask) = args.key_padding_mask {
            if shape(mask)?[..] != [batch, keys] {
                return Err(Tensor::bad_shape(name, &[query, mask], "key_padding_mask is [batch, keys]"));
            }
            let padding = additive(name, mask).reshape([batch, 1, 1, keys]);
            bias = Some(match bias {
                Some(bias) => bias + padding,
                None => padding,
            });
        }
        match bias {
            Some(bias) => shape(&bias).map(|_| Some(bias)),
            None => Ok(None),
        }
    }
}

impl Forward for MultiheadAttention {
    /// Self-attention without masks and weights.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, x, x, AttentionArgs { need_weights: false, ..Default::default() }).0
    }
}
