//! ConvNeXt.

use kiln::prelude::*;
use kiln::schedule::{CosineAnnealingLr, Schedule};

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
