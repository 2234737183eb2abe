//! What the layers of the draw are called here.

use super::call::{Call, Text};
use kiln::nn::*;
use kiln::prelude::{Attention, Patches, RecurrentOptions, Tensor};

/// What is made of the inputs.
type Run<'a> = dyn Fn(&[Tensor]) -> Vec<Tensor> + 'a;

/// A layer, and how it is called.
pub struct Layer<'a> {
    pub module: Box<dyn Module + 'a>,
    run: Box<Run<'a>>,
}

impl Layer<'_> {
    pub fn run(&self, x: &[Tensor]) -> Vec<Tensor> {
        (self.run)(x)
    }
}

/// Any module, and what it makes of the inputs.
pub fn with<'a, M: Module + 'a>(module: M, run: impl Fn(&M, &[Tensor]) -> Vec<Tensor> + 'a) -> Layer<'a> {
    let module = std::rc::Rc::new(module);
    Layer { module: Box::new(Shared(module.clone())), run: Box::new(move |x| run(&module, x)) }
}

struct Shared<M>(std::rc::Rc<M>);

impl<M: Module> Module for Shared<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.0.visit(visitor);
    }
}

fn layer<'a>(layer: impl Forward + 'a) -> Layer<'a> {
    with(layer, |layer, x| vec![layer.forward(&x[0])])
}

/// The layer with what `call` sets: builder methods of these names, with a list or without argument.
macro_rules! set {
    ($layer:expr, $c:ident, [$($list:ident)*], [$($flag:ident)*]) => {{
        let layer = $layer;
        $(let layer = if $c.has(stringify!($list)) { layer.$list($c.list(stringify!($list))) } else { layer };)*
        $(let layer = if $c.flag(stringify!($flag)) { layer.$flag() } else { layer };)*
        layer
    }};
}

macro_rules! conv {
    ($name:ident, $c:ident, $init:ident) => {{
        let conv = $name::grouped($c.size("inputs"), $c.size("outputs"), $c.list("kernel"), $c.size("groups"), $init);
        let mode = match $c.text("padding_mode") {
            "reflect" => PaddingMode::Reflect,
            "replicate" => PaddingMode::Replicate,
            "circular" => PaddingMode::Circular,
            _ => PaddingMode::Zeros,
        };
        layer(set!(conv, $c, [stride dilation padding], [same no_bias]).padding_mode(mode))
    }};
}

macro_rules! conv_transpose {
    ($name:ident, $c:ident, $init:ident) => {{
        let conv = $name::grouped($c.size("inputs"), $c.size("outputs"), $c.list("kernel"), $c.size("groups"), $init);
        let conv = set!(conv, $c, [stride dilation padding output_padding], [no_bias]);
        with(conv, |conv, x| {
            vec![if $c.has("output") { conv.forward_to(&x[0], $c.list("output")) } else { conv.forward(&x[0]) }]
        })
    }};
}

/// The result, and where the maxima are if that is asked for.
macro_rules! with_index {
    ($pool:expr, $c:ident) => {
        with($pool, |pool, x| {
            if $c.flag("index") {
                let (y, index) = pool.with_index(&x[0]);
                return vec![y, index];
            }
            vec![pool.forward(&x[0])]
        })
    };
}

macro_rules! max_pool {
    ($name:ident, $c:ident) => {
        with_index!(set!($name::new($c.list("kernel")), $c, [stride padding dilation], [ceil_mode]), $c)
    };
}

macro_rules! avg_pool {
    ($name:ident, $c:ident) => {{
        let pool = set!($name::new($c.list("kernel")), $c, [stride padding], [ceil_mode without_padding]);
        layer(if $c.has("divisor") { pool.divisor($c.size("divisor")) } else { pool })
    }};
}

macro_rules! unpool {
    ($name:ident, $c:ident) => {
        with(set!($name::new($c.list("kernel")), $c, [stride padding], []), |pool, x| {
            let output = $c.sizes("output");
            vec![pool.forward(&x[0], &x[1], Some(&output[..]).filter(|o| !o.is_empty()))]
        })
    };
}

macro_rules! fractional {
    ($name:ident, $n:literal, $c:ident, $init:ident) => {{
        let pool = if $c.has("output") {
            $name::new($c.list("kernel"), $c.list("output"), $init)
        } else {
            let ratio: Vec<f64> = $c.floats("ratio");
            $name::by($c.list("kernel"), <[f64; $n]>::try_from(ratio).unwrap(), $init)
        };
        with(pool, |pool, x| {
            let (y, index) = pool.with_samples(&x[0], &x[1]);
            vec![y, index]
        })
    }};
}

/// Batch and instance norm with what both can be told.
macro_rules! norm {
    ($norm:expr, $c:ident) => {{
        let norm = $norm;
        let norm = if $c.has("eps") { norm.eps($c.float("eps")) } else { norm };
        let norm = match $c.text("momentum") {
            "" => norm,
            "none" => norm.momentum(None),
            _ => norm.momentum(Some($c.number("momentum"))),
        };
        layer(if $c.flag("no_bias") { norm.no_bias() } else { norm })
    }};
}

macro_rules! batch_norm {
    ($name:ident, $c:ident, $init:ident) => {
        norm!(set!($name::new($c.size("channels"), $init), $c, [], [no_affine no_tracking]), $c)
    };
}

macro_rules! instance_norm {
    ($name:ident, $c:ident, $init:ident) => {{
        let norm = $name::new($c.size("channels"));
        let norm = if $c.flag("affine") { norm.affine($init) } else { norm };
        norm!(if $c.flag("tracking") { norm.tracking($init) } else { norm }, $c)
    }};
}

/// Layers of a name that need nothing but one list, or nothing.
macro_rules! by_name {
    ($name:expr, [$($plain:literal $unit:ident)*] [$($key:literal $listed:ident)*], $otherwise:expr) => {
        match $name.0 {
            $($plain => layer($unit),)*
            $($key => layer($listed::new($name.1)),)*
            _ => $otherwise,
        }
    };
}

/// The layer that `c` names; `None` if that is none.
pub fn named<'a>(c: &'a Call, init: &mut Init) -> Option<Layer<'a>> {
    let name = c.name();
    let or = |key: &str, default: f32| if c.has(key) { c.float(key) } else { default };
    Some(match name {
        "Conv1d" => conv!(Conv1d, c, init),
        "Conv2d" => conv!(Conv2d, c, init),
        "Conv3d" => conv!(Conv3d, c, init),
        "ConvTranspose1d" => conv_transpose!(ConvTranspose1d, c, init),
        "ConvTranspose2d" => conv_transpose!(ConvTranspose2d, c, init),
        "ConvTranspose3d" => conv_transpose!(ConvTranspose3d, c, init),
        "MaxPool1d" => max_pool!(MaxPool1d, c),
        "MaxPool2d" => max_pool!(MaxPool2d, c),
        "MaxPool3d" => max_pool!(MaxPool3d, c),
        "AvgPool1d" => avg_pool!(AvgPool1d, c),
        "AvgPool2d" => avg_pool!(AvgPool2d, c),
        "AvgPool3d" => avg_pool!(AvgPool3d, c),
        "LPPool1d" => layer(set!(LpPool1d::new(c.float("p"), c.list("kernel")), c, [stride], [ceil_mode])),
        "LPPool2d" => layer(set!(LpPool2d::new(c.float("p"), c.list("kernel")), c, [stride], [ceil_mode])),
        "LPPool3d" => layer(set!(LpPool3d::new(c.float("p"), c.list("kernel")), c, [stride], [ceil_mode])),
        "AdaptiveMaxPool1d" => with_index!(AdaptiveMaxPool1d::new(c.list("output")), c),
        "AdaptiveMaxPool2d" => with_index!(AdaptiveMaxPool2d::new(c.list("output")), c),
        "AdaptiveMaxPool3d" => with_index!(AdaptiveMaxPool3d::new(c.list("output")), c),
        "MaxUnpool1d" => unpool!(MaxUnpool1d, c),
        "MaxUnpool2d" => unpool!(MaxUnpool2d, c),
        "MaxUnpool3d" => unpool!(MaxUnpool3d, c),
        "FractionalMaxPool2d" => fractional!(FractionalMaxPool2d, 2, c, init),
        "FractionalMaxPool3d" => fractional!(FractionalMaxPool3d, 3, c, init),
        "ConstantPad1d" => layer(ConstantPad1d::new(c.list("sides"), c.float("value"))),
        "ConstantPad2d" => layer(ConstantPad2d::new(c.list("sides"), c.float("value"))),
        "ConstantPad3d" => layer(ConstantPad3d::new(c.list("sides"), c.float("value"))),
        "BatchNorm1d" => batch_norm!(BatchNorm1d, c, init),
        "BatchNorm2d" => batch_norm!(BatchNorm2d, c, init),
        "BatchNorm3d" => batch_norm!(BatchNorm3d, c, init),
        "InstanceNorm1d" => instance_norm!(InstanceNorm1d, c, init),
        "InstanceNorm2d" => instance_norm!(InstanceNorm2d, c, init),
        "InstanceNorm3d" => instance_norm!(InstanceNorm3d, c, init),
        "LayerNorm" => {
            let norm = set!(LayerNorm::new(c.list("features"), init), c, [], [no_affine no_bias]);
            layer(norm.eps(or("eps", 1e-5)))
        }
        "RMSNorm" => {
            let norm = RmsNorm::new(c.list("features"), init);
            let norm = if c.has("eps") { norm.eps(c.float("eps")) } else { norm };
            layer(set!(norm, c, [], [no_affine]))
        }
        "GroupNorm" => {
            let norm = GroupNorm::new(c.size("groups"), c.size("channels"), init).eps(or("eps", 1e-5));
            layer(set!(norm, c, [], [no_affine no_bias]))
        }
        "LocalResponseNorm" => {
            let norm = LocalResponseNorm::new(c.size("size"));
            let (alpha, beta, k) = (or("alpha", 1e-4).into(), or("beta", norm.beta), or("k", 1.0).into());
            layer(LocalResponseNorm { alpha, beta, k, ..norm })
        }
        "GELU" if c.flag("tanh") => layer(GeluTanh),
        "LeakyReLU" => layer(LeakyRelu(c.float("p"))),
        "ELU" => layer(Elu(c.float("p"))),
        "CELU" => layer(Celu(c.float("p"))),
        "Hardshrink" => layer(Hardshrink(c.float("p"))),
        "Softshrink" => layer(Softshrink(c.float("p"))),
        "Softmax" => layer(Softmax(c.int("p"))),
        "LogSoftmax" => layer(LogSoftmax(c.int("p"))),
        "Softmin" => layer(Softmin(c.int("p"))),
        "GLU" => layer(Glu(c.int("p"))),
        "Hardtanh" => layer(Hardtanh { low: c.float("a"), high: c.float("b") }),
        "Softplus" => layer(Softplus { beta: c.float("a"), threshold: c.float("b") }),
        "Threshold" => layer(Threshold { threshold: c.float("a"), value: c.float("b") }),
        "PReLU" => layer(PRelu::new(c.size("count"), init)),
        "RReLU" => {
            let mut relu = RRelu::new(init);
            (relu.lower, relu.upper) = (c.float("a"), c.float("b"));
            layer(relu)
        }
        "Dropout" => layer(Dropout::new(c.float("p"), init)),
        "Dropout1d" => layer(Dropout1d::new(c.float("p"), init)),
        "Dropout2d" => layer(Dropout2d::new(c.float("p"), init)),
        "Dropout3d" => layer(Dropout3d::new(c.float("p"), init)),
        "AlphaDropout" => layer(AlphaDropout::new(c.float("p"), init)),
        "FeatureAlphaDropout" => layer(FeatureAlphaDropout::new(c.float("p"), init)),
        "Linear" if c.flag("no_bias") => layer(Linear::no_bias(c.size("inputs"), c.size("outputs"), init)),
        "Linear" => layer(Linear::new(c.size("inputs"), c.size("outputs"), init)),
        "Bilinear" => {
            let map = Bilinear::new(c.size("a"), c.size("b"), c.size("outputs"), init);
            with(set!(map, c, [], [no_bias]), |map, x| vec![map.forward(&x[0], &x[1])])
        }
        "PixelShuffle" => layer(PixelShuffle(c.size("n"))),
        "PixelUnshuffle" => layer(PixelUnshuffle(c.size("n"))),
        "ChannelShuffle" => layer(ChannelShuffle(c.size("n"))),
        "Flatten" => {
            let at = |key, default| if c.has(key) { c.int(key) } else { default };
            layer(Flatten { start: at("start", 1), end: at("end", -1) })
        }
        "Unflatten" => layer(Unflatten::new(c.int("axis"), c.list("extents"))),
        "Unfold" => layer(Unfold { patches: patches(c) }),
        "Fold" => layer(Fold::new(c.list("output"), patches(c))),
        _ => {
            let list = || c.list(if c.has("output") { "output" } else { "sides" });
            by_name!((name, list()), [
                "Identity" Identity "ReLU" Relu "ReLU6" Relu6 "GELU" Gelu "Tanh" Tanh "Sigmoid" Sigmoid
                "LogSigmoid" LogSigmoid "SiLU" Silu "Mish" Mish "Tanhshrink" Tanhshrink "Softsign" Softsign "SELU" Selu
                "Hardswish" Hardswish "Hardsigmoid" Hardsigmoid "Softmax2d" Softmax2d
            ] [
                "AdaptiveAvgPool1d" AdaptiveAvgPool1d "AdaptiveAvgPool2d" AdaptiveAvgPool2d
                "AdaptiveAvgPool3d" AdaptiveAvgPool3d "ZeroPad1d" ZeroPad1d "ZeroPad2d" ZeroPad2d "ZeroPad3d" ZeroPad3d
                "CircularPad1d" CircularPad1d "CircularPad2d" CircularPad2d "CircularPad3d" CircularPad3d
                "ReflectionPad1d" ReflectionPad1d "ReflectionPad2d" ReflectionPad2d "ReflectionPad3d" ReflectionPad3d
                "ReplicationPad1d" ReplicationPad1d "ReplicationPad2d" ReplicationPad2d
                "ReplicationPad3d" ReplicationPad3d
            ], return tables(c, init).or_else(|| sequences(c, init)))
        }
    })
}

fn patches(c: &Call) -> Patches {
    let list = |key: &str, default: usize| if c.has(key) { c.sizes(key) } else { vec![default] };
    Patches {
        kernel: c.sizes("kernel"),
        stride: list("stride", 1),
        padding: list("padding", 0),
        dilation: list("dilation", 1),
    }
}

fn tables<'a>(c: &'a Call, init: &mut Init) -> Option<Layer<'a>> {
    let padding = Some(c).filter(|c| c.has("padding")).map(|c| c.size("padding"));
    Some(match c.name() {
        "Embedding" => {
            let (rows, width) = (c.size("rows"), c.size("width"));
            let mut table = match padding {
                Some(row) => Embedding::padded(rows, width, row, init),
                None => Embedding::new(rows, width, init),
            };
            table.options = options(c);
            layer(table)
        }
        "EmbeddingBag" => {
            let mode = match c.text("how") {
                "sum" => BagMode::Sum,
                "mean" => BagMode::Mean,
                _ => BagMode::Max,
            };
            let bag = EmbeddingBag::new(c.size("rows"), c.size("width"), mode, init);
            let mut bag = set!(bag, c, [], [include_last_offset]);
            (bag.padding, bag.options) = (padding, options(c));
            with(bag, |bag, x| {
                let weights = x.last().filter(|_| c.flag("weighted"));
                vec![if x[0].rank() == 1 { bag.offsets(&x[0], &x[1], weights) } else { bag.weighted(&x[0], weights) }]
            })
        }
        "AdaptiveLogSoftmaxWithLoss" => {
            let (inputs, classes, div) = (c.size("inputs"), c.size("classes"), f64::from(c.float("div")));
            let map = AdaptiveLogSoftmax::with(inputs, classes, &c.sizes("cutoffs"), div, c.flag("head_bias"), init);
            with(map, |map, x| {
                let (logp, loss) = map.loss(&x[0], &x[1]);
                vec![logp, loss]
            })
        }
        _ => return None,
    })
}

fn options(c: &Call) -> TableOptions {
    TableOptions {
        max_norm: Some(c).filter(|c| c.has("max_norm")).map(|c| c.float("max_norm")),
        norm_type: if c.has("norm_type") { c.float("norm_type") } else { 2.0 },
        scale_grad_by_freq: c.flag("scale_grad_by_freq"),
    }
}

fn sequences<'a>(c: &'a Call, init: &mut Init) -> Option<Layer<'a>> {
    let nonlinearity = if c.text("nonlinearity") == "relu" { Nonlinearity::Relu } else { Nonlinearity::Tanh };
    let recurrent = || RecurrentOptions {
        num_layers: c.size("layers"),
        bias: !c.flag("no_bias"),
        batch_first: c.flag("batch_first"),
        bidirectional: c.flag("bidirectional"),
        proj_size: if c.has("proj") { c.size("proj") } else { 0 },
        nonlinearity,
        ..Default::default()
    };
    let sizes = || (c.size("inputs"), c.size("hidden"));
    let lengths = |x: &'_ [Tensor]| x.last().filter(|_| c.flag("lengths")).cloned();
    let started = |x: &'_ [Tensor], at: usize| x.get(at).filter(|_| c.flag("started")).cloned();
    Some(match c.name() {
        "RNN" => with(Rnn::with(sizes().0, sizes().1, recurrent(), init), move |m, x| {
            let (y, h) = m.run(&x[0], started(x, 1).as_ref(), lengths(x).as_ref());
            vec![y, h]
        }),
        "GRU" => with(Gru::with(sizes().0, sizes().1, recurrent(), init), move |m, x| {
            let (y, h) = m.run(&x[0], started(x, 1).as_ref(), lengths(x).as_ref());
            vec![y, h]
        }),
        "LSTM" => with(Lstm::with(sizes().0, sizes().1, recurrent(), init), move |m, x| {
            let (h, c) = (started(x, 1), started(x, 2));
            let (y, (h, c)) = m.run(&x[0], h.as_ref().zip(c.as_ref()), lengths(x).as_ref());
            vec![y, h, c]
        }),
        "RNNCell" => {
            let make = if c.flag("no_bias") { RnnCell::no_bias } else { RnnCell::new };
            let cell = make(sizes().0, sizes().1, init).nonlinearity(nonlinearity);
            with(cell, |m, x| vec![m.forward(&x[0], x.get(1))])
        }
        "GRUCell" => {
            let make = if c.flag("no_bias") { GruCell::no_bias } else { GruCell::new };
            with(make(sizes().0, sizes().1, init), |m, x| vec![m.forward(&x[0], x.get(1))])
        }
        "LSTMCell" => {
            let make = if c.flag("no_bias") { LstmCell::no_bias } else { LstmCell::new };
            with(make(sizes().0, sizes().1, init), |m, x| {
                let (h, c) = m.forward(&x[0], x.get(1).zip(x.get(2)));
                vec![h, c]
            })
        }
        _ => return attention(c, init),
    })
}

/// The masks that `c` has among its inputs, in the order of `names`.
fn masks<'x, const N: usize>(c: &Call, x: &'x [Tensor], names: [&str; N]) -> [Option<&'x Tensor>; N] {
    let mut rest = x.iter();
    names.map(|name| if c.flag(name) { rest.next() } else { None })
}

fn attention<'a>(c: &'a Call, init: &mut Init) -> Option<Layer<'a>> {
    if c.name() == "MultiheadAttention" {
        let extent = |key: &str| Some(c).filter(|c| c.has(key)).map(|c| c.size(key));
        let options = MultiheadOptions {
            no_bias: c.flag("no_bias"),
            add_bias_kv: c.flag("add_bias_kv"),
            add_zero_attn: c.flag("add_zero_attn"),
            kdim: extent("kdim"),
            vdim: extent("vdim"),
            batch_first: c.flag("batch_first"),
            ..Default::default()
        };
        let attention = MultiheadAttention::with(c.size("embed"), c.size("heads"), options, init);
        return Some(with(attention, |m, x| {
            let (qkv, rest) = x.split_at(if c.flag("self") { 1 } else { 3 });
            let [attn_mask, key_padding_mask] = masks(c, rest, ["attn_mask", "padding_mask"]);
            let args = AttentionArgs {
                attn_mask,
                key_padding_mask,
                is_causal: c.flag("causal"),
                need_weights: !c.flag("no_weights"),
                average_attn_weights: !c.flag("each_head"),
            };
            let part = |i: usize| qkv.get(i).unwrap_or(&qkv[0]);
            let (y, weights) = m.run(part(0), part(1), part(2), args);
            [Some(y), weights].into_iter().flatten().collect()
        }));
    }
    transformers(c, init)
}

fn transformers<'a>(c: &'a Call, init: &mut Init) -> Option<Layer<'a>> {
    let options = || TransformerOptions {
        dim_feedforward: c.size("inner"),
        dropout: 0.0,
        activation: match c.text("activation") {
            "gelu" => Tensor::gelu,
            "silu" => Tensor::silu,
            _ => Tensor::relu,
        },
        layer_norm_eps: if c.has("eps") { c.float("eps") } else { 1e-5 },
        batch_first: c.flag("batch_first"),
        norm_first: c.flag("norm_first"),
        bias: !c.flag("no_bias"),
    };
    let sizes = || (c.size("width"), c.size("heads"));
    let src = |x: &[Tensor], run: &dyn Fn(AttentionArgs<'_>) -> Tensor| {
        let [attn_mask, key_padding_mask] = masks(c, x, ["src_mask", "src_padding"]);
        vec![run(AttentionArgs { attn_mask, key_padding_mask, ..Default::default() })]
    };
    let both = |x: &[Tensor], run: &dyn Fn(AttentionArgs<'_>, DecoderMasks<'_>) -> Tensor| {
        let names = ["tgt_mask", "memory_mask", "tgt_padding", "memory_padding", "src_mask", "src_padding"];
        let [tgt, memory, tgt_padding, memory_padding, own, padding] = masks(c, x, names);
        let of = |attn_mask, key_padding_mask| AttentionArgs { attn_mask, key_padding_mask, ..Default::default() };
        vec![run(of(own, padding), DecoderMasks { tgt: of(tgt, tgt_padding), memory: of(memory, memory_padding) })]
    };
    let (width, heads) = if c.has("width") { sizes() } else { (1, 1) };
    let norm = |init: &mut Init| {
        let norm = LayerNorm::new(width, init).eps(options().layer_norm_eps);
        Some(if c.flag("no_bias") { norm.no_bias() } else { norm }).filter(|_| c.flag("norm"))
    };
    Some(match c.name() {
        "TransformerEncoderLayer" => {
            let layer = TransformerEncoderLayer::with(width, heads, options(), init);
            with(layer, move |m, x| src(&x[1..], &|masks| m.run(&x[0], masks)))
        }
        "TransformerDecoderLayer" => {
            let layer = TransformerDecoderLayer::with(width, heads, options(), init);
            with(layer, move |m, x| both(&x[2..], &|_, masks| m.run(&x[0], &x[1], masks)))
        }
        "TransformerEncoder" => {
            let layers = (0..c.size("layers")).map(|_| TransformerEncoderLayer::with(width, heads, options(), init));
            let stack = TransformerEncoder::new(layers.collect(), norm(init));
            with(stack, move |m, x| src(&x[1..], &|masks| m.run(&x[0], masks)))
        }
        "TransformerDecoder" => {
            let layers = (0..c.size("layers")).map(|_| TransformerDecoderLayer::with(width, heads, options(), init));
            let stack = TransformerDecoder::new(layers.collect(), norm(init));
            with(stack, move |m, x| both(&x[2..], &|_, masks| m.run(&x[0], &x[1], masks)))
        }
        "Transformer" => {
            let whole = Transformer::new(width, heads, [c.size("layers"), 1], options(), init);
            with(whole, move |m, x| both(&x[2..], &|own, masks| m.run(&x[0], &x[1], own, masks)))
        }
        _ => return None,
    })
}

/// Functions of `kiln::nn`, and attention; `None` if `c` names none of them.
pub fn function(c: &Call, x: &[Tensor]) -> Option<Tensor> {
    let or = |key: &str, default: f32| if c.has(key) { c.float(key) } else { default };
    let corners = c.flag("align_corners");
    Some(match c.name() {
        "scaled_dot_product_attention" => {
            let options = Attention {
                mask: x.get(3).cloned(),
                causal: c.flag("causal"),
                scale: Some(c).filter(|c| c.has("scale")).map(|c| c.float("scale")),
                gqa: c.flag("gqa"),
                ..Default::default()
            };
            x[0].scaled_dot_product_attention(&x[1], &x[2], &options)
        }
        "CosineSimilarity" => {
            CosineSimilarity { axis: c.int("axis"), eps: or("eps", 1e-8).into() }.forward(&x[0], &x[1])
        }
        "PairwiseDistance" => {
            let distance = PairwiseDistance { p: or("p", 2.0), eps: or("eps", 1e-6).into(), keep: c.flag("keep") };
            distance.forward(&x[0], &x[1])
        }
        "interpolate" => {
            let size = match () {
                () if c.has("size") => Size::To(c.sizes("size")),
                () if c.flag("again") => Size::Rounded(c.floats("factor")),
                () => Size::By(c.floats("factor")),
            };
            let mode = match c.text("mode") {
                "nearest" => Interpolation::Nearest,
                "nearest-exact" => Interpolation::NearestExact,
                "linear" => Interpolation::Linear,
                "bicubic" => Interpolation::Bicubic,
                _ => Interpolation::Area,
            };
            let up = Upsample { align_corners: corners, ..Upsample::with(size).mode(mode) };
            if c.flag("antialias") { up.antialias() } else { up }.forward(&x[0])
        }
        "grid_sample" => {
            let mode = match c.text("mode") {
                "nearest" => GridMode::Nearest,
                "bicubic" => GridMode::Bicubic,
                _ => GridMode::Linear,
            };
            let padding = match c.text("outside") {
                "border" => GridPadding::Border,
                "reflection" => GridPadding::Reflection,
                _ => GridPadding::Zeros,
            };
            grid_sample(&x[0], &x[1], GridOptions { mode, padding, align_corners: corners })
        }
        "affine_grid" => affine_grid(&x[0], &c.sizes("size"), corners),
        "normalize" => normalize(&x[0], or("p", 2.0), c.int("axis"), or("eps", 1e-12)),
        "pdist" => pdist(&x[0], c.float("p")),
        _ => return None,
    })
}
