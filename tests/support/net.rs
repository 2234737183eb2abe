//! A small network with all that a step may change: weights, running statistics, the counter of a dropout.

use kiln::prelude::*;

#[derive(Module)]
pub(crate) struct Net {
    pub(crate) first: Linear,
    pub(crate) norm: BatchNorm1d,
    pub(crate) dropout: Dropout,
    pub(crate) last: Linear,
}

impl Net {
    /// From 6 numbers to 4 classes.
    pub(crate) fn new(device: &Device) -> Self {
        let init = &mut Init::new(device, 3);
        Self {
            first: Linear::new(6, 16, init),
            norm: BatchNorm1d::new(16, init),
            dropout: Dropout::new(0.25, init),
            last: Linear::new(16, 4, init),
        }
    }

    pub(crate) fn hidden(&self, x: &Tensor) -> Tensor {
        self.norm.forward(&self.first.forward(x)).relu()
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.last.forward(&self.dropout.forward(&self.hidden(x)))
    }
}

/// Every parameter, buffer and moment, by name: the bits of its numbers.
pub(crate) fn bits(model: &impl Module, optimizer: &impl Optimizer) -> Vec<(String, Vec<u32>)> {
    let all = model.state_dict().into_iter().chain(optimizer.state_dict());
    let bits = |t: Tensor| t.cast(DType::F32).to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    all.map(|(name, t)| (name, bits(t))).collect()
}
