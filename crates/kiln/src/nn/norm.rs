//! Normalisation: over the batch, over features, over groups of channels.

use super::{Forward, Mode, Module, sizes};
use crate::init::Init;
use crate::{Extents, Param, Result, State, Tensor};

/// Brings each channel to mean 0 and variance 1 over the batch and the positions, then scales and
/// shifts it: `y = (x − mean) / √(var + eps) · weight + bias`.
///
/// In training mode the statistics are the batch's, and the running ones move towards them:
/// `running = (1 − momentum) · running + momentum · batch`, with the unbiased variance. In
/// evaluation mode the running ones are used. The update belongs to the step: if the step is
/// refused (a loss that is not finite), the running statistics stay as they were.
///
/// Shapes: `x [batch, channels, ..]` → the same.
///
/// Source: Ioffe & Szegedy 2015, "Batch normalization", alg. 1 and 2.
#[derive(Module)]
pub struct BatchNorm {
    /// Scale of each channel, 1 at first; `None` without affine map.
    pub weight: Option<Param>,
    /// Shift of each channel, 0 at first; `None` without affine map.
    pub bias: Option<Param>,
    /// Running mean of each channel.
    pub running_mean: State,
    /// Running unbiased variance of each channel.
    pub running_var: State,
    /// How many batches have been seen.
    pub num_batches_tracked: State,
    /// Added to the variance; 1e-5.
    pub eps: f32,
    /// The share of the new batch; 0.1. `None` averages all batches alike.
    pub momentum: Option<f64>,
    mode: Mode,
}

/// Batch norm of `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNorm;
/// Batch norm of `[batch, channels, h, w]`.
pub type BatchNorm2d = BatchNorm;

impl BatchNorm {
    /// For `channels` channels, with eps 1e-5 and momentum 0.1.
    pub fn new(channels: usize, init: &mut Init) -> Self {
        Self {
            weight: Some(init.ones(&[channels])),
            bias: Some(init.zeros(&[channels])),
            running_mean: init.state(&Tensor::zeros(init.device(), [channels])),
            running_var: init.state(&Tensor::ones(init.device(), [channels])),
            num_batches_tracked: init.state(&Tensor::new(init.device(), 0i32)),
            eps: 1e-5,
            momentum: Some(0.1),
            mode: Mode::default(),
        }
    }

    /// Leaves scale and shift out.
    #[must_use]
    pub fn no_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }

    /// Sets the constant added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Sets the share of the new batch in the running statistics; `None` averages all batches alike.
    #[must_use]
    pub fn momentum(mut self, momentum: Option<f64>) -> Self {
        self.momentum = momentum;
        self
    }

    /// Moves the running statistics; `count` values of each channel were seen.
    #[track_caller]
    fn track(&self, mean: &Tensor, var: &Tensor, count: usize) -> Result<()> {
        let seen = self.num_batches_tracked.value() + 1;
        let unbiased = var.detach() * (count as f64 / (count as f64 - 1.0));
        for (running, batch) in [(&self.running_mean, mean.detach()), (&self.running_var, unbiased)] {
            let old = running.value();
            let new = match self.momentum.filter(|_| !self.mode.averaging()) {
                Some(share) => &old * (1.0 - share) + batch * share,
                None => &old + (batch - &old) / seen.cast(old.dtype()),
            };
            running.set_with(&new, &[mean])?;
        }
        self.num_batches_tracked.set_with(&seen, &[mean])
    }
}

impl Forward for BatchNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (mean, var) = if self.mode.training() {
            let (mean, var) = x.batch_statistics();
            let count = x.numel() / mean.numel().max(1);
            if count < 2 {
                return Tensor::bad_shape("batch_norm", &[x], "training needs more than one value of each channel");
            }
            if let Err(error) = self.track(&mean, &var, count) {
                return Tensor::invalid(x.device(), error);
            }
            (mean, var)
        } else {
            (self.running_mean.value(), self.running_var.value())
        };
        x.batch_norm(&mean, &var, tensor(&self.weight), tensor(&self.bias), self.eps)
    }
}

/// Brings the last axes of each row to mean 0 and variance 1, then scales and shifts each element:
/// `y = (x − mean) / √(var + eps) · weight + bias`.
///
/// Shapes: `x [.., features..]` → the same; `weight`, `bias [features..]`.
///
/// Source: Ba, Kiros & Hinton 2016, "Layer normalization", eq. 4.
#[derive(Module)]
pub struct LayerNorm {
    /// Scale of each feature, 1 at first; `None` without affine map.
    pub weight: Option<Param>,
    /// Shift of each feature, 0 at first; `None` without affine map or bias.
    pub bias: Option<Param>,
    /// Added to the variance; 1e-5.
    pub eps: f32,
    features: Vec<usize>,
}

impl LayerNorm {
    /// Over the last axes, whose extents are `features`: `64` or `[8, 8]`.
    pub fn new(features: impl Extents, init: &mut Init) -> Self {
        let features = sizes(&features);
        let (weight, bias) = (Some(init.ones(&features)), Some(init.zeros(&features)));
        Self { weight, bias, eps: 1e-5, features }
    }

    /// Sets the constant added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Leaves the shift out.
    #[must_use]
    pub fn no_bias(mut self) -> Self {
        self.bias = None;
        self
    }
}

impl Forward for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.features.len(), tensor(&self.weight), tensor(&self.bias), self.eps)
    }
}

/// Divides the last axes of each row by their root mean square: `y = x / √(mean(x²) + eps) · weight`.
///
/// Shapes: `x [.., features..]` → the same; `weight [features..]`.
///
/// Source: Zhang & Sennrich 2019, "Root mean square layer normalization", eq. 4.
#[derive(Module)]
pub struct RmsNorm {
    /// Scale of each feature, 1 at first.
    pub weight: Param,
    /// Added to the mean square; 2⁻²³ by default, as in PyTorch.
    pub eps: f32,
    features: Vec<usize>,
}

impl RmsNorm {
    /// Over the last axes, whose extents are `features`: `64` or `[8, 8]`.
    pub fn new(features: impl Extents, init: &mut Init) -> Self {
        let features = sizes(&features);
        Self { weight: init.ones(&features), eps: f32::EPSILON, features }
    }

    /// Sets the constant added to the mean square.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }
}

impl Forward for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.rms_norm(self.features.len(), Some(&self.weight), self.eps)
    }
}

/// Brings each group of channels of each example to mean 0 and variance 1, then scales and shifts
/// each channel.
///
/// Shapes: `x [batch, channels, ..]` → the same; `weight`, `bias [channels]`.
///
/// Source: Wu & He 2018, "Group normalization", eq. 1 and 7.
#[derive(Module)]
pub struct GroupNorm {
    /// Scale of each channel, 1 at first.
    pub weight: Option<Param>,
    /// Shift of each channel, 0 at first.
    pub bias: Option<Param>,
    /// How many groups the channels fall into.
    pub groups: usize,
    /// Added to the variance; 1e-5.
    pub eps: f32,
}

impl GroupNorm {
    /// `channels` channels in `groups` groups.
    pub fn new(groups: usize, channels: usize, init: &mut Init) -> Self {
        let (weight, bias) = (Some(init.ones(&[channels])), Some(init.zeros(&[channels])));
        Self { weight, bias, groups, eps: 1e-5 }
    }

    /// Sets the constant added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Leaves scale and shift out.
    #[must_use]
    pub fn no_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }
}

impl Forward for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, tensor(&self.weight), tensor(&self.bias), self.eps)
    }
}

fn tensor(param: &Option<Param>) -> Option<&Tensor> {
    param.as_deref().map(|param| &**param)
}
