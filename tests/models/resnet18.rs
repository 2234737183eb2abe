//! torchvision's ResNet-18, under its names.

use kiln::prelude::*;

/// torchvision's `BasicBlock`.
#[derive(Module)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, init: &mut Init) -> Self {
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let conv = Conv2d::new(inputs, outputs, 1, init).stride(stride).no_bias();
            Sequential::new().push(conv).push(BatchNorm2d::new(outputs, init))
        });
        Self {
            conv1: Conv2d::new(inputs, outputs, 3, init).stride(stride).padding(1).no_bias(),
            bn1: BatchNorm2d::new(outputs, init),
            conv2: Conv2d::new(outputs, outputs, 3, init).padding(1).no_bias(),
            bn2: BatchNorm2d::new(outputs, init),
            downsample,
        }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x)).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y));
        (y + self.downsample.as_ref().map_or_else(|| x.clone(), |d| d.forward(x))).relu()
    }
}

/// torchvision's `resnet18`, with `width` in the place of 64.
#[derive(Module)]
pub(crate) struct ResNet18 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Sequential,
    layer2: Sequential,
    layer3: Sequential,
    layer4: Sequential,
    fc: nn::Linear,
}

impl ResNet18 {
    pub(crate) fn new(width: usize, classes: usize, init: &mut Init) -> Self {
        let mut stage = |inputs: usize, outputs: usize, stride: usize| {
            Sequential::new()
                .push(Block::new(inputs, outputs, stride, init))
                .push(Block::new(outputs, outputs, 1, init))
        };
        let (layer1, layer2) = (stage(width, width, 1), stage(width, 2 * width, 2));
        let (layer3, layer4) = (stage(2 * width, 4 * width, 2), stage(4 * width, 8 * width, 2));
        Self {
            conv1: Conv2d::new(3, width, 7, init).stride(2).padding(3).no_bias(),
            bn1: BatchNorm2d::new(width, init),
            layer1,
            layer2,
            layer3,
            layer4,
            fc: nn::Linear::new(8 * width, classes, init),
        }
    }

    /// `x [batch, 3, h, w]` → `[batch, classes]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.bn1.forward(&self.conv1.forward(x)).relu();
        let x = MaxPool2d::new(3).stride(2).padding(1).forward(&x);
        let x = self.layer4.forward(&self.layer3.forward(&self.layer2.forward(&self.layer1.forward(&x))));
        self.fc.forward(&x.global_avg_pool().flatten(1, -1))
    }
}
