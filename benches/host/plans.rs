//! What it costs to make a plan, kernels known: how it grows with the graph.

use super::{Gpt, cpu, gpt_loss};
use kiln::loss::ctc_loss;
use kiln::prelude::*;
use std::time::Instant;

#[derive(Module)]
struct Basic {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Conv2d>,
}

impl Basic {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let stride = outputs / inputs;
        Self {
            conv1: Conv2d::new(inputs, outputs, 3, init).stride(stride).padding(1).no_bias(),
            bn1: BatchNorm2d::new(outputs, init),
            conv2: Conv2d::new(outputs, outputs, 3, init).padding(1).no_bias(),
            bn2: BatchNorm2d::new(outputs, init),
            downsample: (stride > 1).then(|| Conv2d::new(inputs, outputs, 1, init).stride(stride).no_bias()),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x)).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y));
        (y + self.downsample.as_ref().map_or_else(|| x.clone(), |d| d.forward(x))).relu()
    }
}

#[derive(Module)]
struct Recurrent(Linear, Linear);

#[derive(Module)]
struct ResNet {
    stem: Conv2d,
    blocks: Vec<Basic>,
    head: Linear,
}

/// Makes the plan of a step three times, with all kernels compiled, and prints the least time, and that of the first
/// step, which compiles them.
fn plan(device: &Device, name: &str, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    device.clear_plans();
    let (known, start) = (device.counters().pipelines, Instant::now());
    step()?;
    device.wait()?;
    let (pipelines, first) = (device.counters().pipelines - known, start.elapsed().as_secs_f64());
    let mut costs = Vec::new();
    for _ in 0..3 {
        device.clear_plans();
        let start = cpu();
        step()?;
        device.wait()?;
        costs.push((cpu() - start) as f64 / 1e6);
    }
    costs.sort_by(f64::total_cmp);
    let (nodes, dispatches) = device.plans().iter().fold((0, 0), |(n, d), p| (n + p.nodes, d + p.dispatches));
    let each = 1e3 * costs[0] / nodes as f64;
    println!(
        "plan of {name:18} {:8.1} ms: {nodes:5} nodes, {each:5.1} µs each; {dispatches:4} dispatches; \
         the first in {first:.2} s with {pipelines} new pipelines",
        costs[0]
    );
    Ok(())
}

/// Plans of growing graphs.
pub(crate) fn all(device: &Device, init: &mut Init, wanted: impl Fn(&str) -> bool) -> Result<()> {
    if wanted("plan-gpt") {
        for layers in [2, 4, 12, 24] {
            let model = Gpt::new(4, 8, layers, init);
            let mut adam = Adam::new(&model, 1e-3);
            let ids = Tensor::new(device, [[0, 1, 2, 3], [4, 5, 6, 7]]);
            plan(device, &format!("gpt, {layers} layers"), || adam.step(&gpt_loss(&model, &ids)?))?;
        }
    }
    if wanted("plan-recurrence") {
        for steps in [50, 200] {
            let model = Recurrent(Linear::new(4, 4, init), Linear::new(4, 2, init));
            let mut adam = Adam::new(&model, 1e-3);
            let x = Tensor::ones(device, [2, steps, 4]);
            let labels = Tensor::new(device, [0, 1]);
            plan(device, &format!("recurrence, {steps}"), || {
                let mut h = Tensor::zeros(device, [2, 4]);
                for t in 0..steps {
                    h = (model.0.forward(&h) + x.select(1, t as i64)).tanh();
                }
                adam.step(&cross_entropy(&model.1.forward(&h), &labels))
            })?;
        }
    }
    if wanted("plan-ctc") {
        for steps in [20, 80] {
            let model = Linear::new(4, 5, init);
            let mut adam = Adam::new(&model, 1e-3);
            let x = Tensor::ones(device, [steps, 2, 4]);
            let labels = Tensor::new(device, [[1, 2, 3], [4, 4, 1]]);
            let lengths = (Tensor::new(device, [steps; 2]), Tensor::new(device, [3, 3]));
            plan(device, &format!("ctc, {steps}"), || {
                let logp = model.forward(&x).log_softmax(-1);
                adam.step(&ctc_loss(&logp, &labels, &lengths.0, &lengths.1))
            })?;
        }
    }
    if wanted("plan-resnet") {
        let widths = [4, 4, 4, 8, 8, 16, 16, 32, 32];
        let model = ResNet {
            stem: Conv2d::new(3, 4, 3, init).padding(1),
            blocks: widths.windows(2).map(|w| Basic::new(w[0], w[1], init)).collect(),
            head: Linear::new(32, 10, init),
        };
        let mut adam = Adam::new(&model, 1e-3);
        let (x, labels) = (Tensor::ones(device, [2, 3, 8, 8]), Tensor::new(device, [0, 1]));
        plan(device, "resnet-18", || {
            let x = model.blocks.iter().fold(model.stem.forward(&x), |x, block| block.forward(&x));
            adam.step(&cross_entropy(&model.head.forward(&x.mean_axes([2, 3], false)), &labels))
        })?;
    }
    Ok(())
}
