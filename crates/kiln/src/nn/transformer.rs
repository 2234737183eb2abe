//! The transformer's layers and stacks.

use super::{AttentionArgs, Dropout, Forward, LayerNorm, Linear, Module, MultiheadAttention, MultiheadOptions};
use crate::init::Init;
use crate::{Tensor, in_module};

/// Settings of transformer layers, with PyTorch's defaults.
#[derive(Debug, Clone)]
pub struct TransformerOptions {
    /// The extent between the two linear maps of each layer; 2048.
    pub dim_feedforward: usize,
    /// The probability of a zero, while training; 0.1.
    pub dropout: f32,
    /// What stands between the two linear maps; relu. `Tensor::gelu` is the usual other.
    pub activation: fn(&Tensor) -> Tensor,
    /// Added to the variance of the norms; 1e-5.
    pub layer_norm_eps: f32,
    /// Whether batches are the first axis rather than the second; false.
    pub batch_first: bool,
    /// Whether each part is normalised before it rather than after; false.
    pub norm_first: bool,
    /// Whether linear maps and norms have biases; true.
    pub bias: bool,
}

impl Default for TransformerOptions {
    fn default() -> Self {
        Self {
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: Tensor::relu,
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
        }
    }
}

impl TransformerOptions {
    fn attention(&self, width: usize, heads: usize, init: &mut Init) -> MultiheadAttention {
        let options = MultiheadOptions {
            dropout: self.dropout,
            no_bias: !self.bias,
            batch_first: self.batch_first,
            ..Default::default()
        };
        MultiheadAttention::with(width, heads, options, init)
    }

    fn linear(&self, inputs: usize, outputs: usize, init: &mut Init) -> Linear {
        if self.bias { Linear::new(inputs, outputs, init) } else { Linear::no_bias(inputs, outputs, init) }
    }

    fn norm(&self, width: usize, init: &mut Init) -> LayerNorm {
        let norm = LayerNorm::new(width, init).eps(self.layer_norm_eps);
        if self.bias { norm } else { norm.no_bias() }
    }
}

/// Self-attention, then two linear maps with an activation between; each with a residual and a norm.
///
/// Shapes: `x [time, batch, width]`, or batch first as set → the same.
///
/// Source: Vaswani et al. 2017, "Attention is all you need", §3.1; norm first: Xiong et al. 2020, "On layer
/// normalization in the transformer architecture".
#[derive(Module)]
pub struct TransformerEncoderLayer {
    /// Attention of the sequence to itself.
    pub self_attn: MultiheadAttention,
    /// To the inner extent.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the linear maps.
    pub norm2: LayerNorm,
    dropout: Dropout,
    dropout1: Dropout,
    dropout2: Dropout,
    #[module(skip)]
    options: TransformerOptions,
}

impl TransformerEncoderLayer {
    /// Over `width` numbers with `heads` heads, with PyTorch's defaults.
    pub fn new(width: usize, heads: usize, init: &mut Init) -> Self {
        Self::with(width, heads, TransformerOptions::default(), init)
    }

    /// The same with other settings.
    pub fn with(width: usize, heads: usize, options: TransformerOptions, init: &mut Init) -> Self {
        Self {
            self_attn: options.attention(width, heads, init),
            linear1: options.linear(width, options.dim_feedforward, init),
            linear2: options.linear(options.dim_feedforward, width, init),
            norm1: options.norm(width, init),
            norm2: options.norm(width, init),
            dropout: Dropout::new(options.dropout, init),
            dropout1: Dropout::new(options.dropout, init),
            dropout2: Dropout::new(options.dropout, init),
            options,
        }
    }

    /// The layer with masks as in [`AttentionArgs`]: `x [time, batch, width]`, or batch first as set → the same shape. Weights
    /// are not given.
    ///
    /// # Errors
    /// On evaluation, as [`MultiheadAttention::run`](super::MultiheadAttention::run).
    #[track_caller]
    pub fn run(&self, x: &Tensor, masks: AttentionArgs<'_>) -> Tensor {
        let attend = |x: &Tensor| {
            let (y, _) = self.self_attn.run(x, x, x, AttentionArgs { need_weights: false, ..masks });
            self.dropout1.forward(&y)
        };
        let feed = |x: &Tensor| {
            let inner = (self.options.activation)(&self.linear1.forward(x));
            self.dropout2.forward(&self.linear2.forward(&self.dropout.forward(&inner)))
        };
        let x = residual(x, &self.norm1, self.options.norm_first, attend);
        residual(&x, &self.norm2, self.options.norm_first, feed)
    }
}

/// x + part(norm(x)) with the norm first, norm(x + part(x)) else.
fn residual(x: &Tensor, norm: &LayerNorm, first: bool, part: impl Fn(&Tensor) -> Tensor) -> Tensor {
    if first { x + part(&norm.forward(x)) } else { norm.forward(&(x + part(x))) }
}

impl Forward for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, AttentionArgs::default())
    }
}

/// The masks of a decoder layer: `tgt` for its attention to itself, `memory` for that to the encoder's output.
#[derive(Clone, Copy, Default)]
pub struct DecoderMasks<'a> {
    /// Of the sequence itself.
    pub tgt: AttentionArgs<'a>,
    /// Of the encoder's output.
    pub memory: AttentionArgs<'a>,
}

/// Self-attention, attention to the encoder's output, then two linear maps; each with a residual and a norm.
///
/// Shapes: `x [time, batch, width]` and `memory [time', batch, width]`, or batch first as set → as `x`.
///
/// Source: Vaswani et al. 2017, "Attention is all you need", §3.1.
#[derive(Module)]
pub struct TransformerDecoderLayer {
    /// Attention of the sequence to itself.
    pub self_attn: MultiheadAttention,
    /// Attention to the encoder's output.
    pub multihead_attn: MultiheadAttention,
    /// To the inner extent.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the self-attention.
    pub norm1: LayerNorm,
    /// Of the attention to the encoder's output.
    pub norm2: LayerNorm,
    /// Of the linear maps.
    pub norm3: LayerNorm,
    dropout: Dropout,
    dropout1: Dropout,
    dropout2: Dropout,
    dropout3: Dropout,
    #[module(skip)]
    options: TransformerOptions,
}

impl TransformerDecoderLayer {
    /// Over `width` numbers with `heads` heads, which divide it, and PyTorch's other settings, those of
    /// [`TransformerOptions::default`].
    pub fn new(width: usize, heads: usize, init: &mut Init) -> Self {
        Self::with(width, heads, TransformerOptions::default(), init)
    }

    /// The same with other settings.
    pub fn with(width: usize, heads: usize, options: TransformerOptions, init: &mut Init) -> Self {
        let [dropout, dropout1, dropout2, dropout3] = [(); 4].map(|()| Dropout::new(options.dropout, init));
        Self {
            self_attn: options.attention(width, heads, init),
            multihead_attn: options.attention(width, heads, init),
            linear1: options.linear(width, options.dim_feedforward, init),
            linear2: options.linear(options.dim_feedforward, width, init),
            norm1: options.norm(width, init),
            norm2: options.norm(width, init),
            norm3: options.norm(width, init),
            dropout,
            dropout1,
            dropout2,
            dropout3,
            options,
        }
    }

    /// The layer: `x [time, batch, width]`, and `memory [time', batch, width]`, the encoder's output, or both batch first as set
    /// → as `x`.
    ///
    /// # Errors
    /// On evaluation, as [`MultiheadAttention::run`](super::MultiheadAttention::run).
    #[track_caller]
    pub fn run(&self, x: &Tensor, memory: &Tensor, masks: DecoderMasks<'_>) -> Tensor {
        let to_itself = |x: &Tensor| {
            let (y, _) = self.self_attn.run(x, x, x, AttentionArgs { need_weights: false, ..masks.tgt });
            self.dropout1.forward(&y)
        };
        let to_memory = |x: &Tensor| {
            let args = AttentionArgs { need_weights: false, ..masks.memory };
            self.dropout2.forward(&self.multihead_attn.run(x, memory, memory, args).0)
        };
        let feed = |x: &Tensor| {
            let inner = (self.options.activation)(&self.linear1.forward(x));
            self.dropout3.forward(&self.linear2.forward(&self.dropout.forward(&inner)))
        };
        let x = residual(x, &self.norm1, self.options.norm_first, to_itself);
        let x = residual(&x, &self.norm2, self.options.norm_first, to_memory);
        residual(&x, &self.norm3, self.options.norm_first, feed)
    }
}

/// Encoder layers on top of each other, and a norm at the end if there is one.
#[derive(Module)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// After the last.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// The given layers.
    pub fn new(layers: Vec<TransformerEncoderLayer>, norm: Option<LayerNorm>) -> Self {
        Self { layers, norm }
    }

    /// All layers with the same masks: shapes and errors as for [`TransformerEncoderLayer::run`].
    #[track_caller]
    pub fn run(&self, x: &Tensor, masks: AttentionArgs<'_>) -> Tensor {
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = in_module(&format!("layers.{index}"), || layer.run(&x, masks));
        }
        self.norm.iter().fold(x, |x, norm| norm.forward(&x))
    }
}

impl Forward for TransformerEncoder {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, AttentionArgs::default())
    }
}

/// Decoder layers on top of each other, and a norm at the end if there is one.
#[derive(Module)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// After the last.
    pub norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// The given layers.
    pub fn new(layers: Vec<TransformerDecoderLayer>, norm: Option<LayerNorm>) -> Self {
        Self { layers, norm }
    }

    /// All layers with the same masks: shapes and errors as for [`TransformerDecoderLayer::run`].
    #[track_caller]
    pub fn run(&self, x: &Tensor, memory: &Tensor, masks: DecoderMasks<'_>) -> Tensor {
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = in_module(&format!("layers.{index}"), || layer.run(&x, memory, masks));
        }
        self.norm.iter().fold(x, |x, norm| norm.forward(&x))
    }
}

/// An encoder and a decoder that attends to its output.
///
/// Shapes: `src [time', batch, width]`, `tgt [time, batch, width]`, or batch first as set → as `tgt`.
///
/// Source: Vaswani et al. 2017, "Attention is all you need".
#[derive(Module)]
pub struct Transformer {
    /// Of the source.
    pub encoder: TransformerEncoder,
    /// Of the target.
    pub decoder: TransformerDecoder,
}

impl Transformer {
    /// PyTorch's defaults are width 512, 8 heads and 6 layers each. All matrices are drawn by Glorot's rule.
    pub fn new(
        width: usize,
        heads: usize,
        [encoder_layers, decoder_layers]: [usize; 2],
        options: TransformerOptions,
        init: &mut Init,
    ) -> Self {
        let encoder =
            (0..encoder_layers).map(|_| TransformerEncoderLayer::with(width, heads, options.clone(), init)).collect();
        let encoder = TransformerEncoder::new(encoder, Some(options.norm(width, init)));
        let decoder =
            (0..decoder_layers).map(|_| TransformerDecoderLayer::with(width, heads, options.clone(), init)).collect();
        let decoder = TransformerDecoder::new(decoder, Some(options.norm(width, init)));
        let mut all = Self { encoder, decoder };
        for layer in &mut all.encoder.layers {
            glorot(&mut [&mut layer.linear1, &mut layer.linear2, &mut layer.self_attn.out_proj], init);
        }
        for layer in &mut all.decoder.layers {
            let attention = [&mut layer.self_attn.out_proj, &mut layer.multihead_attn.out_proj];
            let [one, two] = attention;
            glorot(&mut [&mut layer.linear1, &mut layer.linear2, one, two], init);
        }
        all
    }

    /// The decoder's output for `tgt`, in its shape; `src_masks` are the encoder's.
    ///
    /// # Errors
    /// On evaluation, as [`MultiheadAttention::run`](super::MultiheadAttention::run).
    #[track_caller]
    pub fn run(&self, src: &Tensor, tgt: &Tensor, src_masks: AttentionArgs<'_>, masks: DecoderMasks<'_>) -> Tensor {
        let memory = in_module("encoder", || self.encoder.run(src, src_masks));
        in_module("decoder", || self.decoder.run(tgt, &memory, masks))
    }
}

/// Draws the weights of linear maps anew, by Glorot's rule.
fn glorot(linears: &mut [&mut Linear], init: &mut Init) {
    for linear in linears {
        if let Ok(shape) = linear.weight.shape() {
            linear.weight = init.xavier_uniform(&shape, 1.0);
        }
    }
}
