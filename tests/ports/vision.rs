//! ConvNeXt, MobileNetV3, a U-Net that upsamples.

use kiln::nn::Interpolation;
use kiln::prelude::*;
use kiln::schedule::{CosineAnnealingLr, Schedule, StepLr};

use super::Port;

/// A norm of the channels of an image `[batch, channels, h, w]`.
#[derive(Module)]
struct LayerNorm2d(LayerNorm);

impl LayerNorm2d {
    fn new(channels: usize, init: &mut Init) -> Self {
        Self(LayerNorm::new(channels, init).eps(1e-6))
    }
}

impl Forward for LayerNorm2d {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.0.forward(&x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
    }
}

#[derive(Module)]
struct CnBlock {
    block: Sequential,
    layer_scale: Param,
}

impl CnBlock {
    fn new(width: usize, init: &mut Init) -> Self {
        let block = Sequential::new()
            .push(Conv2d::grouped(width, width, 7, width, init).padding(3))
            .then(|x| x.permute([0, 2, 3, 1]))
            .push(LayerNorm::new(width, init).eps(1e-6))
            .push(Linear::new(width, 4 * width, init))
            .push(Gelu)
            .push(Linear::new(4 * width, width, init))
            .then(|x| x.permute([0, 3, 1, 2]));
        Self { block, layer_scale: init.constant(&[width, 1, 1], 0.1) }
    }
}

impl Forward for CnBlock {
    fn forward(&self, x: &Tensor) -> Tensor {
        x + &self.layer_scale * self.block.forward(x)
    }
}

#[derive(Module)]
struct ConvNext {
    features: Sequential,
    classifier: Sequential,
}

impl ConvNext {
    fn new(classes: usize, init: &mut Init) -> Self {
        let stem = Sequential::new().push(Conv2d::new(3, 6, 4, init).stride(4)).push(LayerNorm2d::new(6, init));
        let first = Sequential::new().push(CnBlock::new(6, init)).push(CnBlock::new(6, init));
        let down = Sequential::new().push(LayerNorm2d::new(6, init)).push(Conv2d::new(6, 10, 2, init).stride(2));
        let last = Sequential::new().push(CnBlock::new(10, init));
        let head = Sequential::new().push(LayerNorm2d::new(10, init)).push(Flatten::default());
        Self {
            features: Sequential::new().push(stem).push(first).push(down).push(last),
            classifier: head.push(Linear::new(10, classes, init)),
        }
    }
}

impl Forward for ConvNext {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.classifier.forward(&self.features.forward(x).global_avg_pool())
    }
}

#[test]
fn convnext() {
    let port = Port::open("convnext");
    let [x, y] = port.given(["x", "y"]);
    let model = port.model(|init| ConvNext::new(5, init));
    let mut adam =
        AdamW::new(&model, 4e-3).each(|slot| slot.weight_decay = if slot.param.rank() > 1 { 0.05 } else { 0.0 });
    let (schedule, criterion) =
        (CosineAnnealingLr::new(5), CrossEntropy { label_smoothing: 0.1, ..Default::default() });
    port.train(&model, |t| {
        schedule.apply(&mut adam, t);
        let loss = criterion.loss(&model.forward(&x), &y);
        adam.step(&loss)?;
        Ok([loss])
    });
}

/// torchvision's `Conv2dNormActivation`.
fn conv_norm(sizes: (usize, usize), kernel: usize, stride: usize, groups: usize, init: &mut Init) -> Sequential {
    let conv =
        Conv2d::grouped(sizes.0, sizes.1, kernel, groups, init).stride(stride).padding((kernel - 1) / 2).no_bias();
    Sequential::new().push(conv).push(BatchNorm2d::new(sizes.1, init).eps(0.001).momentum(Some(0.01)))
}

#[derive(Module)]
struct SqueezeExcitation {
    fc1: Conv2d,
    fc2: Conv2d,
}

impl Forward for SqueezeExcitation {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.fc2.forward(&self.fc1.forward(&x.global_avg_pool()).relu()).hardsigmoid() * x
    }
}

#[derive(Module)]
struct InvertedResidual {
    block: Sequential,
    residual: bool,
}

impl InvertedResidual {
    fn new(
        [inputs, inner, outputs]: [usize; 3],
        kernel: usize,
        stride: usize,
        squeeze: bool,
        hard: bool,
        init: &mut Init,
    ) -> Self {
        let activation = |layers: Sequential| if hard { layers.push(Hardswish) } else { layers.push(Relu) };
        let mut block = Sequential::new();
        if inner != inputs {
            block = block.push(activation(conv_norm((inputs, inner), 1, 1, 1, init)));
        }
        block = block.push(activation(conv_norm((inner, inner), kernel, stride, inner, init)));
        if squeeze {
            let less = (inner / 4).max(2);
            block = block.push(SqueezeExcitation {
                fc1: Conv2d::new(inner, less, 1, init),
                fc2: Conv2d::new(less, inner, 1, init),
            });
        }
        block = block.push(conv_norm((inner, outputs), 1, 1, 1, init));
        Self { block, residual: stride == 1 && inputs == outputs }
    }
}

impl Forward for InvertedResidual {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.block.forward(x);
        if self.residual { y + x } else { y }
    }
}

#[derive(Module)]
struct MobileNetV3 {
    features: Sequential,
    classifier: Sequential,
}

#[test]
fn mobilenet_v3() {
    let port = Port::open("mobilenet_v3");
    let [x, y] = port.given(["x", "y"]);
    let model = port.model(|init| MobileNetV3 {
        features: Sequential::new()
            .push(conv_norm((3, 6), 3, 2, 1, init).push(Hardswish))
            .push(InvertedResidual::new([6, 6, 6], 3, 2, true, false, init))
            .push(InvertedResidual::new([6, 12, 8], 5, 1, false, false, init))
            .push(InvertedResidual::new([8, 16, 8], 3, 1, true, true, init))
            .push(conv_norm((8, 16), 1, 1, 1, init).push(Hardswish)),
        classifier: Sequential::new()
            .push(Linear::new(16, 12, init))
            .push(Hardswish)
            .push(Dropout::new(0.0, init))
            .push(Linear::new(12, 4, init)),
    });
    let mut rmsprop = RmsProp::new(&model, 0.01).momentum(0.9).alpha(0.9).eps(0.0316).weight_decay(1e-5);
    let schedule = StepLr::new(2, 0.973);
    port.train(&model, |t| {
        schedule.apply(&mut rmsprop, t);
        let features = model.features.forward(&x).global_avg_pool().flatten(1, -1);
        let loss = cross_entropy(&model.classifier.forward(&features), &y);
        rmsprop.step(&loss)?;
        Ok([loss])
    });
}

#[derive(Module)]
struct DoubleConv {
    net: Sequential,
}

impl DoubleConv {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let mut net = Sequential::new();
        for inputs in [inputs, outputs] {
            let conv = Conv2d::new(inputs, outputs, 3, init).padding(1).no_bias();
            net = net.push(conv).push(BatchNorm2d::new(outputs, init)).push(LeakyRelu(0.1));
        }
        Self { net }
    }
}

#[derive(Module)]
struct UNet {
    down1: DoubleConv,
    down2: DoubleConv,
    bottom: DoubleConv,
    up2: DoubleConv,
    up1: DoubleConv,
    head: Conv2d,
}

impl Forward for UNet {
    fn forward(&self, x: &Tensor) -> Tensor {
        let pool = MaxPool2d::new(2);
        let upsample = Upsample::by(2.0).mode(Interpolation::Linear).align_corners();
        let a = self.down1.net.forward(x);
        let b = self.down2.net.forward(&pool.forward(&a));
        let c = self.bottom.net.forward(&pool.forward(&b));
        let y = self.up2.net.forward(&Tensor::cat(&[&upsample.forward(&c), &b], 1));
        let y = self.up1.net.forward(&Tensor::cat(&[&upsample.forward(&y), &a], 1));
        self.head.forward(&y)
    }
}

/// 1 − the mean of (2 |p ∩ y| + 1) / (|p| + |y| + 1) over images and classes.
fn dice_loss(logits: &Tensor, y: &Tensor, classes: usize) -> Tensor {
    let p = logits.softmax(1);
    let y = y.one_hot(classes).permute([0, 3, 1, 2]);
    let shared = (&p * &y).sum_axes([2, 3], false);
    let all = p.sum_axes([2, 3], false) + y.sum_axes([2, 3], false);
    1.0 - ((2.0 * shared + 1.0) / (all + 1.0)).mean()
}

#[test]
fn unet() {
    let port = Port::open("unet");
    let [x, y, weight] = port.given(["x", "y", "weight"]);
    let model = port.model(|init| UNet {
        down1: DoubleConv::new(1, 4, init),
        down2: DoubleConv::new(4, 8, init),
        bottom: DoubleConv::new(8, 8, init),
        up2: DoubleConv::new(16, 4, init),
        up1: DoubleConv::new(8, 4, init),
        head: Conv2d::new(4, 3, 1, init),
    });
    let mut sgd = Sgd::new(&model, 0.1).momentum(0.9).nesterov();
    let criterion = CrossEntropy { weight: Some(weight), ignore_index: 255, ..Default::default() };
    port.train(&model, |_| {
        let logits = model.forward(&x);
        let (ce, dice) = (criterion.loss(&logits, &y), dice_loss(&logits, &y.clamp_max(2), 3));
        sgd.step(&(&ce + 0.5 * &dice))?;
        Ok([ce, dice])
    });
}
