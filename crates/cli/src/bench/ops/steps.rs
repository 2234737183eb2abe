//! Whole training steps: forward, backward and update of models that people train. Their rows in f16 are in mixed precision.

use kiln::init::Init;
use kiln::loss::cross_entropy;
use kiln::prelude::*;

use crate::bench::models::{GptSize, Stepper, cnn, gpt, ids, mlp, steps, ten};
use crate::bench::op::{Case, Op, Work, any_size, no_variants, wide};
use crate::bench::subject::Subject;
use crate::failure::Result;

const fn row(
    name: &'static str,
    about: &'static str,
    work: fn(&[usize]) -> Work,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let ladder: &[&[usize]] = &[&[128]];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op { name, family: "train", about, axes: &["batch"], ladder, half: true, work, valid, variants, make }
}

pub(crate) const OPS: &[Op] = &[
    row("train_mlp", "784-512-256-10, Adam", mlp_work, |device, case| {
        let [batch] = case.dims()?;
        // PyTorch's loss after so many steps of the same weights and data.
        subject(device, case, (batch == 128).then_some((85, 0.325_77)), move |device, dtype| mlp(device, batch, dtype))
    }),
    Op {
        ladder: &[&[64]],
        ..row("train_cnn", "28×28, 16 and 32 channels, pooling, Adam", cnn_work, |device, case| {
            let [batch] = case.dims()?;
            subject(device, case, (batch == 64).then_some((37, 0.503_56)), move |device, dtype| {
                cnn(device, batch, dtype)
            })
        })
    },
    Op {
        axes: &["batch", "side", "width"],
        ladder: &[&[4, 16, 16], &[16, 32, 32], &[64, 32, 64], &[256, 32, 64]],
        valid: |size| match size {
            [_, side, _] if side % 8 != 0 => Some("the side is a multiple of 8"),
            [1, 8, _] => Some("batch norm needs more than one value of each channel"),
            _ => None,
        },
        ..row("train_resnet18", "ResNet-18 for small images (3×3 stem), Adam", resnet_work, |device, case| {
            let [batch, side, width] = case.dims()?;
            subject(device, case, None, move |device, dtype| resnet(device, [batch, side, width], dtype))
        })
    },
    Op {
        axes: &["batch", "length", "width"],
        ladder: &[&[16, 16, 64], &[32, 32, 256], &[64, 64, 512]],
        ..row("train_lstm", "an LSTM over a sequence, unrolled, and a linear layer; Adam", lstm_work, |device, case| {
            let [batch, length, width] = case.dims()?;
            subject(device, case, None, move |device, dtype| lstm(device, [batch, length, width], dtype))
        })
    },
    Op {
        axes: &["layers", "width", "heads", "length", "vocabulary", "batch"],
        ladder: &[&[2, 128, 4, 64, 256, 8], &[6, 384, 6, 256, 256, 16]],
        valid: |size| {
            size[1].checked_rem(size[2]).is_some_and(|rest| rest != 0).then_some("the heads divide the width")
        },
        ..row("train_gpt", "a GPT, AdamW", gpt_work, |device, case| {
            let [layers, width, heads, length, vocabulary, batch] = case.dims()?;
            let known = (case.size == [2, 128, 4, 64, 256, 8]).then_some((21, 2.951_76));
            let size = GptSize { layers, width, heads, length, vocabulary, batch };
            subject(device, case, known, move |device, dtype| gpt(device, size, dtype))
        })
    },
    Op {
        axes: &["length", "batch"],
        ladder: &[&[512, 1], &[512, 8], &[1024, 16]],
        ..row(
            "train_gpt_124m",
            "GPT-2 small: 12 layers, width 768, 50,304 tokens; AdamW",
            gpt_124m_work,
            |device, case| {
                let [length, batch] = case.dims()?;
                let size = GptSize { layers: 12, width: 768, heads: 12, length, vocabulary: 50_304, batch };
                subject(device, case, None, move |device, dtype| gpt(device, size, dtype))
            },
        )
    },
];

/// Why an op of this family is left out unless it is named; the others never are.
pub(crate) fn left_out(op: &Op, device: &Device) -> Option<&'static str> {
    (op.name == "train_gpt_124m" && device.caps().is_cpu())
        .then_some("124 million weights take a software adapter minutes a step; name it to run it all the same")
}

/// Costs of a step from its products (forward, and twice that backward), its weights and its activations: Adam reads
/// four numbers a weight and writes three; an activation is written and read, forward and backward.
fn step(products: f64, weights: f64, activations: f64) -> Work {
    let held = 5.0 * weights + 3.0 * activations;
    Work {
        flops: 6.0 * products,
        moved: 4.0 * activations,
        moved_f32: 7.0 * weights,
        held,
        largest: weights.max(activations) / 2.0 + 1.0,
    }
}

fn mlp_work(size: &[usize]) -> Work {
    let [batch] = wide(size);
    let weights = 784.0 * 512.0 + 512.0 * 256.0 + 256.0 * 10.0;
    step(batch * weights, weights, batch * 1562.0)
}

fn cnn_work(size: &[usize]) -> Work {
    let [batch] = wide(size);
    let products = 784.0 * 16.0 * 9.0 * 2.0 / 3.0 + 196.0 * 32.0 * 16.0 * 9.0 + 15_680.0;
    step(batch * products, 20_490.0, batch * (784.0 * 17.0 + 196.0 * 48.0 + 1568.0))
}

/// Stages of two blocks, each of two convolutions; the image is halved and the width doubled from stage to stage.
fn resnet_work(size: &[usize]) -> Work {
    let [batch, side, width] = wide(size);
    let (mut products, mut weights, mut activations) = (27.0 * width * side * side, 27.0 * width, width * side * side);
    for stage in 0..4 {
        let (area, c) = ((side / f64::from(1 << stage)).powi(2), width * f64::from(1 << stage));
        let before = if stage == 0 { c } else { c / 2.0 };
        let block = 9.0 * c * (before + 3.0 * c) + if stage == 0 { 0.0 } else { c * before };
        products += area * block;
        weights += block;
        activations += 12.0 * area * c;
    }
    step(batch * products, weights, batch * activations)
}

fn lstm_work(size: &[usize]) -> Work {
    let [batch, length, width] = wide(size);
    let weights = 8.0 * width * width + 10.0 * width;
    step(batch * length * weights, weights, batch * length * width * 8.0)
}

fn gpt_sizes(layers: f64, width: f64, length: f64, vocabulary: f64, batch: f64, heads: f64) -> Work {
    let tokens = batch * length;
    let weights = layers * 12.0 * width * width + 2.0 * vocabulary * width;
    let products = tokens * (layers * (12.0 * width * width + 2.0 * length * width) + vocabulary * width);
    step(products, weights, tokens * (layers * (16.0 * width + 2.0 * heads * length) + 2.0 * vocabulary))
}

fn gpt_work(size: &[usize]) -> Work {
    let [layers, width, heads, length, vocabulary, batch] = wide(size);
    gpt_sizes(layers, width, length, vocabulary, batch, heads)
}

fn gpt_124m_work(size: &[usize]) -> Work {
    let [length, batch] = wide(size);
    gpt_sizes(12.0, 768.0, length, 50_304.0, batch, 12.0)
}

/// Judged by PyTorch's loss after some steps where that is known, else by the first losses without fusion; mixed precision
/// by the first losses in f32, as shares of the first: where batch norm sees few values, roundings to half precision turn
/// enough units on and off to move a gradient by a tenth. And the loss has to fall.
fn subject(
    device: &Device,
    case: &Case,
    known: Option<(usize, f64)>,
    build: impl Fn(&Device, DType) -> Stepper + 'static,
) -> Result<Subject> {
    let dtype = case.dtype;
    let known = known.filter(|_| dtype == DType::F32);
    let mut run = build(device, dtype);
    let device = device.clone();
    let verify = move || {
        let mut losses = losses(&device, &build, dtype, known.map_or(6, |(steps, _)| steps))?;
        if dtype == DType::F16 {
            losses.dedup(); // a step that overflows changes nothing, but the scale of the next
        }
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        if last.is_nan() || last >= first {
            return Ok(f64::INFINITY);
        }
        if let Some((_, want)) = known {
            return Ok((last - want).abs() / want);
        }
        let other = if dtype == DType::F32 { Device::open()? } else { device.clone() };
        other.set_fusion(dtype == DType::F16);
        let pairs = losses.into_iter().zip(self::losses(&other, &build, DType::F32, 3)?);
        Ok(pairs.map(|(a, b)| (a - b).abs() / first).fold(0.0, f64::max))
    };
    let run = Box::new(move || {
        run()?;
        Ok(())
    });
    let tolerance = if dtype == DType::F16 { 2e-2 } else { 1e-3 };
    Ok(Subject { run, verify: Box::new(verify), tolerance, variant: "auto".into() })
}

/// The losses of the first steps from the first weights.
fn losses(device: &Device, build: &impl Fn(&Device, DType) -> Stepper, dtype: DType, steps: usize) -> Result<Vec<f64>> {
    let mut step = build(device, dtype);
    let losses = (0..steps).map(|_| step()).collect::<kiln::Result<Vec<Tensor>>>()?;
    losses.iter().map(|loss| Ok(f64::from(loss.item()?))).collect()
}

/// Two convolutions and a way around them (He, Zhang, Ren & Sun 2016, figure 5, left).
#[derive(Module)]
struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<(Conv2d, BatchNorm2d)>,
}

impl BasicBlock {
    fn new(inputs: usize, outputs: usize, stride: usize, init: &mut Init) -> Self {
        let conv =
            |inputs, stride, init: &mut Init| Conv2d::new(inputs, outputs, 3, init).stride(stride).padding(1).no_bias();
        Self {
            conv1: conv(inputs, stride, init),
            bn1: BatchNorm2d::new(outputs, init),
            conv2: conv(outputs, 1, init),
            bn2: BatchNorm2d::new(outputs, init),
            downsample: (inputs != outputs).then(|| {
                let conv = Conv2d::new(inputs, outputs, 1, init).stride(stride).no_bias();
                (conv, BatchNorm2d::new(outputs, init))
            }),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x)).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y));
        let around = match &self.downsample {
            Some((conv, bn)) => bn.forward(&conv.forward(x)),
            None => x.clone(),
        };
        (y + around).relu()
    }
}

#[derive(Module)]
struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    blocks: Vec<BasicBlock>,
    fc: Linear,
}

fn resnet(device: &Device, [batch, side, width]: [usize; 3], dtype: DType) -> Stepper {
    let mut init = Init::new(device, 1);
    let stages = (0..4).map(|stage| (width << stage, if stage == 0 { 1 } else { 2 }));
    let mut inputs = width;
    let mut blocks = Vec::new();
    for (outputs, stride) in stages {
        blocks.push(BasicBlock::new(inputs, outputs, stride, &mut init));
        blocks.push(BasicBlock::new(outputs, outputs, 1, &mut init));
        inputs = outputs;
    }
    let net = ResNet {
        conv1: Conv2d::new(3, width, 3, &mut init).padding(1).no_bias(),
        bn1: BatchNorm2d::new(width, &mut init),
        blocks,
        fc: Linear::new(8 * width, 10, &mut init),
    };
    let (x, y) = (ten(device, &[batch, 3, side, side], 71, 1.0), ids(device, &[batch], 72, 10));
    steps(Adam::new(&net, 1e-3), dtype, move || {
        let stem = net.bn1.forward(&net.conv1.forward(&x)).relu();
        let h = net.blocks.iter().fold(stem, |h, block| block.forward(&h));
        cross_entropy(&net.fc.forward(&h.global_avg_pool().flatten(1, -1)), &y)
    })
}

/// One layer, PyTorch's order of gates: input, forget, cell, output (Hochreiter & Schmidhuber 1997).
#[derive(Module)]
struct Recurrent {
    input: Linear,
    hidden: Linear,
    fc: Linear,
}

fn lstm(device: &Device, [batch, length, width]: [usize; 3], dtype: DType) -> Stepper {
    let mut init = Init::new(device, 2);
    let net = Recurrent {
        input: Linear::new(width, 4 * width, &mut init),
        hidden: Linear::new(width, 4 * width, &mut init),
        fc: Linear::new(width, 10, &mut init),
    };
    let (x, y) = (ten(device, &[length, batch, width], 81, 1.0), ids(device, &[batch], 82, 10));
    let start = Tensor::zeros(device, [batch, width]);
    steps(Adam::new(&net, 1e-3), dtype, move || {
        let inputs = net.input.forward(&x);
        let (mut h, mut c) = (start.clone(), start.clone());
        for t in 0..length {
            let gates = (inputs.select(0, t as i64) + net.hidden.forward(&h)).chunk(4, -1);
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| &gates[gate]);
            c = f.sigmoid() * &c + i.sigmoid() * g.tanh();
            h = o.sigmoid() * c.tanh();
        }
        cross_entropy(&net.fc.forward(&h), &y)
    })
}
