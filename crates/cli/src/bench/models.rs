//! Models whose data and initial weights are integer hashes of the index, so that other frameworks can run the same steps
//! and must get the same losses. `kiln bench` and `benches/steps.rs` share this file.

use kiln::loss::cross_entropy;
use kiln::nn::Init;
use kiln::prelude::*;

/// Takes a step and gives its loss, unread.
pub(crate) type Stepper = Box<dyn FnMut() -> Result<Tensor>>;

/// Steps of an optimizer on what `loss` makes; with [`DType::F16`] in mixed precision.
pub(crate) fn steps(optimizer: impl Optimizer + 'static, dtype: DType, loss: impl Fn() -> Tensor + 'static) -> Stepper {
    fn of(mut optimizer: impl Optimizer + 'static, loss: impl Fn() -> Tensor + 'static) -> Stepper {
        Box::new(move || {
            let loss = loss();
            optimizer.step(&loss)?;
            Ok(loss)
        })
    }
    if dtype == DType::F16 { of(optimizer.mixed_precision(), loss) } else { of(optimizer, loss) }
}

/// A mixing of 32 bits (C. Wellons 2018, "prospecting for hash functions", lowbias32).
pub(crate) fn hash(index: u32, seed: u32) -> u32 {
    let mut h = index.wrapping_add(seed.wrapping_mul(0x9E37_79B9));
    h = (h ^ (h >> 16)).wrapping_mul(0x7FEB_352D);
    h = (h ^ (h >> 15)).wrapping_mul(0x846C_A68B);
    h ^ (h >> 16)
}

/// Numbers in [-scale, scale).
pub(crate) fn ten(device: &Device, shape: &[usize], seed: u32, scale: f32) -> Tensor {
    let n: usize = shape.iter().product();
    let value = |i| ((hash(i, seed) >> 8) as f32 / 8_388_608.0 - 1.0) * scale;
    Tensor::from_vec(device, (0..n as u32).map(value).collect(), shape)
}

/// Whole numbers below `below`.
pub(crate) fn ids(device: &Device, shape: &[usize], seed: u32, below: u32) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_vec(device, (0..n as u32).map(|i| (hash(i, seed) % below) as i32).collect(), shape)
}

/// Weights `[outputs, inputs]` whose transpose is hashed, as in the programs this is compared with.
#[derive(Module)]
struct Lin {
    weight: Param,
    bias: Option<Param>,
}

impl Lin {
    fn new(init: &Init, inputs: usize, outputs: usize, bias: bool, seed: u32) -> Self {
        let w = ten(init.device(), &[inputs, outputs], seed, 1.0 / (inputs as f32).sqrt()).t();
        Self { weight: init.param(&w), bias: bias.then(|| init.zeros(&[outputs])) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.weight.t());
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

#[derive(Module)]
struct Mlp(Lin, Lin, Lin);

#[derive(Module)]
struct Cnn {
    w1: Param,
    b1: Param,
    w2: Param,
    b2: Param,
    fc: Lin,
}

#[derive(Module)]
struct Norm {
    weight: Param,
    bias: Param,
}

impl Norm {
    fn new(init: &Init, width: usize) -> Self {
        Self { weight: init.ones(&[width]), bias: init.zeros(&[width]) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(1, Some(&self.weight), Some(&self.bias), 1e-5)
    }
}

#[derive(Module)]
struct Block {
    norm1: Norm,
    qkv: Lin,
    proj: Lin,
    norm2: Norm,
    fc1: Lin,
    fc2: Lin,
}

#[derive(Module)]
struct Gpt {
    tok: Param,
    pos: Param,
    blocks: Vec<Block>,
    norm: Norm,
    head: Lin,
    #[module(skip)]
    heads: usize,
}

impl Gpt {
    /// Pre-norm blocks as in GPT-2, with separate input and output embeddings.
    fn new(init: &Init, layers: usize, d: usize, heads: usize, length: usize, vocabulary: usize) -> Self {
        let block = |l: usize| {
            let s = 100 + 10 * l as u32;
            Block {
                norm1: Norm::new(init, d),
                qkv: Lin::new(init, d, 3 * d, true, s),
                proj: Lin::new(init, d, d, true, s + 1),
                norm2: Norm::new(init, d),
                fc1: Lin::new(init, d, 4 * d, true, s + 2),
                fc2: Lin::new(init, 4 * d, d, true, s + 3),
            }
        };
        Self {
            tok: init.param(&ten(init.device(), &[vocabulary, d], 51, 0.035)),
            pos: init.param(&ten(init.device(), &[length, d], 52, 0.035)),
            blocks: (0..layers).map(block).collect(),
            norm: Norm::new(init, d),
            head: Lin::new(init, d, vocabulary, false, 53),
            heads,
        }
    }

    fn attention(&self, block: &Block, x: &Tensor) -> Tensor {
        let Ok([batch, length, d]) = x.dims() else { return x.clone() };
        let split =
            block.qkv.forward(x).reshape([batch, length, 3, self.heads, d / self.heads]).permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (split.select(0, 0), split.select(0, 1), split.select(0, 2));
        let causal = Attention { causal: true, ..Attention::default() };
        let mixed = q.scaled_dot_product_attention(&k, &v, &causal).permute([0, 2, 1, 3]).reshape([batch, length, d]);
        block.proj.forward(&mixed)
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let mut h = self.tok.embedding(x) + &self.pos;
        for block in &self.blocks {
            h = &h + self.attention(block, &block.norm1.forward(&h));
            h = &h + block.fc2.forward(&block.fc1.forward(&block.norm2.forward(&h)).gelu());
        }
        self.head.forward(&self.norm.forward(&h))
    }
}

/// Steps of Adam on one batch of a network of three layers, 784-512-256-10.
pub(crate) fn mlp(device: &Device, batch: usize, dtype: DType) -> Stepper {
    let init = Init::new(device, 0);
    let lin = |i, o, s| Lin::new(&init, i, o, true, s);
    let net = Mlp(lin(784, 512, 11), lin(512, 256, 12), lin(256, 10, 13));
    let (x, y) = (ten(device, &[batch, 784], 21, 1.0), ids(device, &[batch], 22, 10));
    steps(Adam::new(&net, 1e-4), dtype, move || {
        let h = net.1.forward(&net.0.forward(&x).relu()).relu();
        cross_entropy(&net.2.forward(&h), &y)
    })
}

/// Steps of Adam on one batch of images of 28 × 28, through two convolutions with pooling and a linear layer.
pub(crate) fn cnn(device: &Device, batch: usize, dtype: DType) -> Stepper {
    let init = Init::new(device, 0);
    let net = Cnn {
        w1: init.param(&ten(device, &[16, 1, 3, 3], 31, 1.0 / 3.0)),
        b1: init.zeros(&[16]),
        w2: init.param(&ten(device, &[32, 16, 3, 3], 32, 1.0 / 12.0)),
        b2: init.zeros(&[32]),
        fc: Lin::new(&init, 1568, 10, true, 33),
    };
    let (x, y) = (ten(device, &[batch, 1, 28, 28], 41, 1.0), ids(device, &[batch], 42, 10));
    let conv = Conv { padding: vec![1], ..Conv::default() };
    steps(Adam::new(&net, 1e-3), dtype, move || {
        let h = x.conv2d(&net.w1, Some(&net.b1), &conv).relu().max_pool2d(&Pool::new(2));
        let h = h.conv2d(&net.w2, Some(&net.b2), &conv).relu().max_pool2d(&Pool::new(2));
        cross_entropy(&net.fc.forward(&h.flatten(1, -1)), &y)
    })
}

/// Sizes of a GPT and of its batch.
#[derive(Clone, Copy)]
pub(crate) struct GptSize {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) length: usize,
    pub(crate) vocabulary: usize,
    pub(crate) batch: usize,
}

/// Steps of AdamW on one batch.
pub(crate) fn gpt(device: &Device, size: GptSize, dtype: DType) -> Stepper {
    let GptSize { layers, width, heads, length, vocabulary, batch } = size;
    let net = Gpt::new(&Init::new(device, 0), layers, width, heads, length, vocabulary);
    let tokens = batch * length;
    let (x, y) = (ids(device, &[batch, length], 61, vocabulary as u32), ids(device, &[tokens], 62, vocabulary as u32));
    steps(AdamW::new(&net, 3e-4), dtype, move || cross_entropy(&net.forward(&x).reshape([tokens, vocabulary]), &y))
}
