//! Normalisation over features, groups of channels and neighbouring channels.

use super::{Forward, Module, sizes};
use crate::init::Init;
use crate::{Extents, Param, Tensor, composed};

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

    /// Leaves scale and shift out.
    #[must_use]
    pub fn no_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }
}

impl Forward for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if let Some(error) = other_features("layer_norm", x, &self.features) {
            return error;
        }
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
    /// Scale of each feature, 1 at first; `None` leaves it out.
    pub weight: Option<Param>,
    /// Added to the mean square; 2⁻²³ by default, as in PyTorch.
    pub eps: f32,
    features: Vec<usize>,
}

impl RmsNorm {
    /// Over the last axes, whose extents are `features`: `64` or `[8, 8]`.
    pub fn new(features: impl Extents, init: &mut Init) -> Self {
        let features = sizes(&features);
        Self { weight: Some(init.ones(&features)), eps: f32::EPSILON, features }
    }

    /// Sets the constant added to the mean square.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Leaves the scale out.
    #[must_use]
    pub fn no_affine(mut self) -> Self {
        self.weight = None;
        self
    }
}

impl Forward for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if let Some(error) = other_features("rms_norm", x, &self.features) {
            return error;
        }
        x.rms_norm(self.features.len(), tensor(&self.weight), self.eps)
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

    /// Leaves the shift out.
    #[must_use]
    pub fn no_bias(mut self) -> Self {
        self.bias = None;
        self
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

/// Divides each element by (k + alpha · mean of squares over `size` neighbouring channels)^beta.
///
/// Shapes: `x [batch, channels, ..]` → the same.
///
/// Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural
/// networks", §3.3, with PyTorch's mean for the sum.
#[derive(Module, Debug, Clone, Copy)]
pub struct LocalResponseNorm {
    /// How many channels count, the own one in the middle.
    pub size: usize,
    /// Weight of the squares; 1e-4.
    pub alpha: f64,
    /// The exponent; 0.75.
    pub beta: f32,
    /// Added to the squares; 1.
    pub k: f64,
}

impl LocalResponseNorm {
    /// Over `size` channels, with PyTorch's constants.
    pub fn new(size: usize) -> Self {
        Self { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

impl Forward for LocalResponseNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        composed("local_response_norm", || {
            let Ok(shape) = x.shape() else { return x.clone() };
            if shape.rank() < 3 {
                return Tensor::bad_shape("local_response_norm", &[x], "[batch, channels, length, ..]");
            }
            if self.size == 0 {
                return x.bad_argument("local_response_norm", "size", self.size, "at least 1");
            }
            let squares = x.square().transpose(1, -1);
            let sides = (self.size as i64 / 2, (self.size as i64 - 1) / 2);
            let near = squares.pad(&[sides], crate::PadMode::Constant(0.0)).unfold(-1, self.size, 1);
            let mean = near.mean_axes(-1, false).transpose(1, -1);
            x / (mean * self.alpha + self.k).powf(self.beta)
        })
    }
}

/// The error of an input whose last axes are not `features`.
#[track_caller]
fn other_features(op: &'static str, x: &Tensor, features: &[usize]) -> Option<Tensor> {
    let shape = x.shape().ok()?;
    let fits = shape.ends_with(features) && !features.is_empty();
    if fits {
        return None;
    }
    Some(Tensor::bad_shape(op, &[x], "the last axes are those that the layer was made for"))
}

pub(super) fn tensor(param: &Option<Param>) -> Option<&Tensor> {
    param.as_deref().map(|param| &**param)
}
