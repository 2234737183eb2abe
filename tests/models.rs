//! State dicts of well-known models, saved from PyTorch, load by name and give PyTorch's outputs: VGG, MobileNetV2, a
//! U-Net, BERT, ViT and an LSTM over padded sequences, in tiny widths. ResNet-18 is in nn_layers.rs, GPT-2 in
//! transformer.rs. The numbers are made by scripts/reference_models.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;

use kiln::nn::{AttentionArgs, MultiheadAttention, MultiheadOptions};
use kiln::prelude::*;
use support::{below, close, reference};

/// Loads the state dict of `name` into what `make` makes, and compares its outputs for the inputs.
fn check<M: Module>(name: &str, make: impl FnOnce(&mut Init) -> M, run: impl FnOnce(&M, &[Tensor]) -> Tensor) {
    let device = Device::open().unwrap();
    let all = reference(&device, "models");
    let model = make(&mut Init::new(&device, 1));
    let state = below(&all, &format!("{name}.state."));
    // through a file, as a user would
    let path = std::env::temp_dir().join(format!("kiln-{name}-{}.safetensors", std::process::id()));
    store::save_tensors(&state, &store::Metadata::new(), &path).unwrap();
    store::load(&model, &path).unwrap();
    std::fs::remove_file(path).unwrap();
    model.eval();
    let x: Vec<Tensor> = (0..3).map_while(|i| all.get(&format!("{name}.{i}")).cloned()).collect();
    close(name, &run(&model, &x), &all[&format!("{name}.y")], 1e-4);
}

#[test]
fn vgg() {
    #[derive(Module)]
    struct Vgg {
        features: Sequential,
        classifier: Sequential,
    }
    let conv = |inputs: usize, outputs: usize, init: &mut Init| {
        (Conv2d::new(inputs, outputs, 3, init).padding(1), BatchNorm2d::new(outputs, init))
    };
    let make = |init: &mut Init| {
        let mut features = Sequential::new();
        for (inputs, outputs, pooled) in [(3, 3, true), (3, 6, false), (6, 6, true)] {
            let (conv, norm) = conv(inputs, outputs, init);
            features = features.push(conv).push(norm).push(Relu);
            if pooled {
                features = features.push(MaxPool2d::new(2));
            }
        }
        let classifier = Sequential::new()
            .push(Linear::new(24, 12, init))
            .push(Relu)
            .push(Dropout::new(0.5, init))
            .push(Linear::new(12, 12, init))
            .push(Relu)
            .push(Dropout::new(0.5, init))
            .push(Linear::new(12, 4, init));
        Vgg { features, classifier }
    };
    check("vgg", make, |m, x| {
        let pooled = AdaptiveAvgPool2d::new(2).forward(&m.features.forward(&x[0]));
        m.classifier.forward(&pooled.flatten(1, -1))
    });
}

/// torchvision's `Conv2dNormActivation`.
fn conv_norm(
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    init: &mut Init,
) -> Sequential {
    let conv = Conv2d::grouped(inputs, outputs, kernel, groups, init).stride(stride).padding((kernel - 1) / 2);
    Sequential::new().push(conv.no_bias()).push(BatchNorm2d::new(outputs, init)).push(Relu6)
}

#[derive(Module)]
struct InvertedResidual {
    conv: Sequential,
    same: bool,
}

impl InvertedResidual {
    fn new(inputs: usize, outputs: usize, stride: usize, expand: usize, init: &mut Init) -> Self {
        let inner = inputs * expand;
        let mut conv = Sequential::new();
        if expand != 1 {
            conv = conv.push(conv_norm(inputs, inner, 1, 1, 1, init));
        }
        conv = conv
            .push(conv_norm(inner, inner, 3, stride, inner, init))
            .push(Conv2d::new(inner, outputs, 1, init).no_bias())
            .push(BatchNorm2d::new(outputs, init));
        Self { conv, same: stride == 1 && inputs == outputs }
    }
}

impl Forward for InvertedResidual {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.conv.forward(x);
        if self.same { x + y } else { y }
    }
}

#[test]
fn mobilenet_v2() {
    #[derive(Module)]
    struct MobileNet {
        features: Sequential,
        classifier: Sequential,
    }
    let make = |init: &mut Init| {
        let mut features = Sequential::new().push(conv_norm(3, 4, 3, 2, 1, init));
        for (inputs, outputs, stride, expand) in [(4, 3, 1, 1), (3, 4, 2, 3), (4, 4, 1, 3), (4, 6, 1, 2)] {
            features = features.push(InvertedResidual::new(inputs, outputs, stride, expand, init));
        }
        let features = features.push(conv_norm(6, 10, 1, 1, 1, init));
        let classifier = Sequential::new().push(Dropout::new(0.2, init)).push(Linear::new(10, 5, init));
        MobileNet { features, classifier }
    };
    check("mobilenet", make, |m, x| m.classifier.forward(&m.features.forward(&x[0]).global_avg_pool().flatten(1, -1)));
}

#[derive(Module)]
struct DoubleConv {
    double_conv: Sequential,
}

impl DoubleConv {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let mut double_conv = Sequential::new();
        for inputs in [inputs, outputs] {
            double_conv = double_conv
                .push(Conv2d::new(inputs, outputs, 3, init).padding(1).no_bias())
                .push(BatchNorm2d::new(outputs, init))
                .push(Relu);
        }
        Self { double_conv }
    }
}

impl Forward for DoubleConv {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.double_conv.forward(x)
    }
}

#[derive(Module)]
struct Down {
    maxpool_conv: Sequential,
}

impl Down {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self { maxpool_conv: Sequential::new().push(MaxPool2d::new(2)).push(DoubleConv::new(inputs, outputs, init)) }
    }
}

#[derive(Module)]
struct Up {
    up: ConvTranspose2d,
    conv: DoubleConv,
}

impl Up {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let up = ConvTranspose2d::new(inputs, inputs / 2, 2, init).stride(2);
        Self { up, conv: DoubleConv::new(inputs, outputs, init) }
    }

    fn forward(&self, x: &Tensor, skip: &Tensor) -> Tensor {
        let x = self.up.forward(x);
        let (want, is) = (skip.shape().unwrap(), x.shape().unwrap());
        let sides = [2, 3].map(|axis| {
            let more = (want[axis] - is[axis]) as i64;
            (more / 2, more - more / 2)
        });
        self.conv.forward(&Tensor::cat(&[skip, &x.pad(&sides, PadMode::Constant(0.0))], 1))
    }
}

#[test]
fn u_net() {
    #[derive(Module)]
    struct OutConv {
        conv: Conv2d,
    }
    #[derive(Module)]
    struct UNet {
        inc: DoubleConv,
        down1: Down,
        down2: Down,
        up1: Up,
        up2: Up,
        outc: OutConv,
    }
    let make = |init: &mut Init| UNet {
        inc: DoubleConv::new(1, 4, init),
        down1: Down::new(4, 8, init),
        down2: Down::new(8, 16, init),
        up1: Up::new(16, 8, init),
        up2: Up::new(8, 4, init),
        outc: OutConv { conv: Conv2d::new(4, 2, 1, init) },
    };
    check("unet", make, |m, x| {
        let a = m.inc.forward(&x[0]);
        let b = m.down1.maxpool_conv.forward(&a);
        let c = m.down2.maxpool_conv.forward(&b);
        m.outc.conv.forward(&m.up2.forward(&m.up1.forward(&c, &b), &a))
    });
}

/// A linear map and the norm of its sum with what stood before: BERT's `output`.
#[derive(Module)]
#[expect(non_snake_case)]
struct Output {
    dense: Linear,
    LayerNorm: LayerNorm,
}

impl Output {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self { dense: Linear::new(inputs, outputs, init), LayerNorm: LayerNorm::new(outputs, init).eps(1e-12) }
    }

    fn forward(&self, x: &Tensor, before: &Tensor) -> Tensor {
        self.LayerNorm.forward(&(self.dense.forward(x) + before))
    }
}

#[test]
fn bert() {
    #[derive(Module)]
    struct Projections {
        query: Linear,
        key: Linear,
        value: Linear,
    }
    #[derive(Module)]
    struct SelfAttention {
        #[module(name = "self")]
        own: Projections,
        output: Output,
    }
    #[derive(Module)]
    struct Dense {
        dense: Linear,
    }
    #[derive(Module)]
    struct Layer {
        attention: SelfAttention,
        intermediate: Dense,
        output: Output,
    }
    #[derive(Module)]
    #[expect(non_snake_case)]
    struct Embeddings {
        word_embeddings: Embedding,
        position_embeddings: Embedding,
        token_type_embeddings: Embedding,
        LayerNorm: LayerNorm,
    }
    #[derive(Module)]
    struct Bert {
        embeddings: Embeddings,
        encoder: BTreeMap<&'static str, Vec<Layer>>,
        pooler: Dense,
    }
    let (width, heads) = (8, 2);
    let make = |init: &mut Init| {
        let layer = |init: &mut Init| Layer {
            attention: SelfAttention {
                own: Projections {
                    query: Linear::new(width, width, init),
                    key: Linear::new(width, width, init),
                    value: Linear::new(width, width, init),
                },
                output: Output::new(width, width, init),
            },
            intermediate: Dense { dense: Linear::new(width, 4 * width, init) },
            output: Output::new(4 * width, width, init),
        };
        Bert {
            embeddings: Embeddings {
                word_embeddings: Embedding::padded(11, width, 0, init),
                position_embeddings: Embedding::new(8, width, init),
                token_type_embeddings: Embedding::new(2, width, init),
                LayerNorm: LayerNorm::new(width, init).eps(1e-12),
            },
            encoder: [("layer", vec![layer(init), layer(init)])].into(),
            pooler: Dense { dense: Linear::new(width, width, init) },
        }
    };
    check("bert", make, |m, x| {
        let [batch, time] = x[0].dims::<2>().unwrap();
        let e = &m.embeddings;
        let places = Tensor::arange(x[0].device(), 0, time as i32, 1);
        let sum = e.word_embeddings.forward(&x[0]) + e.token_type_embeddings.forward(&x[1]);
        let mut x = (e.LayerNorm.forward(&(sum + e.position_embeddings.forward(&places))), &x[2]);
        let seen = x.1.reshape([batch, 1, 1, time]).ne(0.0);
        for layer in &m.encoder["layer"] {
            let own = &layer.attention.own;
            let split = |y: Tensor| y.reshape([batch, time, heads, width / heads]).transpose(1, 2);
            let [q, k, v] = [&own.query, &own.key, &own.value].map(|part| split(part.forward(&x.0)));
            let attention = Attention { mask: Some(seen.clone()), ..Default::default() };
            let y = q.scaled_dot_product_attention(&k, &v, &attention).transpose(1, 2).reshape([batch, time, width]);
            let y = layer.attention.output.forward(&y, &x.0);
            x.0 = layer.output.forward(&layer.intermediate.dense.forward(&y).gelu(), &y);
        }
        let first = x.0.select(1, 0);
        Tensor::cat(&[&x.0.flatten(1, -1), &m.pooler.dense.forward(&first).tanh()], 1)
    });
}

#[test]
fn vision_transformer() {
    #[derive(Module)]
    struct Block {
        ln_1: LayerNorm,
        self_attention: MultiheadAttention,
        ln_2: LayerNorm,
        mlp: Sequential,
    }
    #[derive(Module)]
    struct Encoder {
        pos_embedding: Param,
        layers: BTreeMap<String, Block>,
        ln: LayerNorm,
    }
    #[derive(Module)]
    struct Head {
        head: Linear,
    }
    #[derive(Module)]
    struct Vit {
        class_token: Param,
        conv_proj: Conv2d,
        encoder: Encoder,
        heads: Head,
    }
    let make = |init: &mut Init| {
        let block = |init: &mut Init| Block {
            ln_1: LayerNorm::new(8, init).eps(1e-6),
            self_attention: MultiheadAttention::with(
                8,
                2,
                MultiheadOptions { batch_first: true, ..Default::default() },
                init,
            ),
            ln_2: LayerNorm::new(8, init).eps(1e-6),
            mlp: Sequential::new()
                .push(Linear::new(8, 16, init))
                .push(Gelu)
                .push(Dropout::new(0.0, init))
                .push(Linear::new(16, 8, init))
                .push(Dropout::new(0.0, init)),
        };
        Vit {
            class_token: init.zeros(&[1, 1, 8]),
            conv_proj: Conv2d::new(3, 8, 4, init).stride(4),
            encoder: Encoder {
                pos_embedding: init.zeros(&[1, 5, 8]),
                layers: (0..2).map(|i| (format!("encoder_layer_{i}"), block(init))).collect(),
                ln: LayerNorm::new(8, init).eps(1e-6),
            },
            heads: Head { head: Linear::new(8, 3, init) },
        }
    };
    check("vit", make, |m, x| {
        let patches = m.conv_proj.forward(&x[0]).flatten(2, -1).transpose(1, 2);
        let first = m.class_token.expand([2, 1, 8]);
        let mut x = Tensor::cat(&[&first, &patches], 1) + &m.encoder.pos_embedding;
        for block in m.encoder.layers.values() {
            let y = block.ln_1.forward(&x);
            let args = AttentionArgs { need_weights: false, ..Default::default() };
            x = &x + block.self_attention.run(&y, &y, &y, args).0;
            x = &x + block.mlp.forward(&block.ln_2.forward(&x));
        }
        m.heads.head.forward(&m.encoder.ln.forward(&x).select(1, 0))
    });
}

#[test]
fn lstm_over_padded_sequences() {
    #[derive(Module)]
    struct Sentiment {
        embedding: Embedding,
        lstm: Lstm,
        fc: Linear,
    }
    let make = |init: &mut Init| {
        let options = RecurrentOptions {
            num_layers: 2,
            batch_first: true,
            bidirectional: true,
            dropout: 0.3,
            ..Default::default()
        };
        Sentiment {
            embedding: Embedding::padded(11, 5, 0, init),
            lstm: Lstm::with(5, 6, options, init),
            fc: Linear::new(12, 3, init),
        }
    };
    check("sentiment", make, |m, x| {
        let (_, (h, _)) = m.lstm.run(&m.embedding.forward(&x[0]), None, Some(&x[1]));
        m.fc.forward(&Tensor::cat(&[&h.select(0, -2), &h.select(0, -1)], 1))
    });
}
