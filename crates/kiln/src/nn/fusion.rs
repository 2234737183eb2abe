//! Batch norm folded into the layer before it, for inference.

use super::reparam::Weighted;
use super::{BatchNorm, Linear};
use crate::error::At;
use crate::{Error, Param, Result, Tensor};

/// A convolution, or a transposed one, that gives what `conv` and then `norm` give in evaluation: one kernel instead of two, and
/// one parameter of each channel instead of five. The running statistics are those of now.
///
/// W' = W · γ/√(var + eps) for each output channel, b' = (b − mean) · γ/√(var + eps) + β.
///
/// ```
/// # use kiln::prelude::*; use kiln::nn::fuse_conv_bn; let device = Device::open()?; let init = &mut Init::new(&device, 0);
/// let (conv, norm) = (Conv2d::new(3, 8, 3, init), BatchNorm2d::new(8, init));
/// norm.eval();
/// let x = Tensor::ones(&device, [1, 3, 5, 5]);
/// let want = norm.forward(&conv.forward(&x));
/// let fused = fuse_conv_bn(conv, &norm)?;
/// assert!(fused.forward(&x).allclose(&want, 1e-5, 1e-5, false).item_as::<bool>()?);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if `norm` is in training or keeps no running statistics, [`Error::Shape`] if its channels are not those
/// of `conv`'s output.
///
/// Source: `torch.nn.utils.fusion.fuse_conv_bn_eval`.
#[track_caller]
pub fn fuse_conv_bn<L: Weighted, const SPACE: usize>(conv: L, norm: &BatchNorm<SPACE>) -> Result<L> {
    fused("fuse_conv_bn", conv, norm)
}

/// A linear layer that gives what `linear` and then `norm` give in evaluation, as [`fuse_conv_bn`] does.
///
/// # Errors
/// As [`fuse_conv_bn`], and [`Error::Argument`] if `linear` has an adapter, which is to be merged before.
///
/// Source: `torch.nn.utils.fusion.fuse_linear_bn_eval`.
#[track_caller]
pub fn fuse_linear_bn<const SPACE: usize>(linear: Linear, norm: &BatchNorm<SPACE>) -> Result<Linear> {
    if linear.adapter.is_filled() {
        return Err(refused("fuse_linear_bn", "linear", "a layer with an adapter", "one whose adapter is merged"));
    }
    fused("fuse_linear_bn", linear, norm)
}

#[track_caller]
fn refused(op: &'static str, name: &'static str, value: &str, why: &'static str) -> Error {
    Error::Argument { op, name, value: value.into(), why, at: At::here() }
}

#[track_caller]
fn fused<L: Weighted, const SPACE: usize>(op: &'static str, layer: L, norm: &BatchNorm<SPACE>) -> Result<L> {
    if norm.training() {
        return Err(refused(op, "norm", "in training", "in evaluation: eval()"));
    }
    let Some(running) = &norm.running else {
        return Err(refused(op, "norm", "without running statistics", "one that keeps them"));
    };
    let (mean, scale) = (running.running_mean.value(), (running.running_var.value() + norm.eps).rsqrt());
    let scale = match &norm.weight {
        Some(weight) => weight.value() * scale,
        None => scale,
    };
    let (old, channels) = (layer.weight(), scale.dims::<1>()?[0]);
    let (weight, outputs) = (old.value(), layer.outputs());
    if outputs != channels {
        Tensor::bad_shape(op, &[&weight, &scale], "a norm of the layer's output channels").shape()?;
    }
    let shape = weight.shape()?;
    // the weight of a transposed convolution has the channels of one group on its axis of outputs
    let within = shape[L::AXIS];
    let groups = outputs / within.max(1);
    let mut split = vec![1; shape.len() + 1];
    (split[0], split[L::AXIS + 1]) = (groups, within);
    let mut grouped = shape.to_vec();
    grouped[0] /= groups.max(1);
    grouped.insert(0, groups);
    let new = (weight.reshape(grouped) * scale.reshape(split)).reshape(shape);
    let shift = match layer.bias() {
        Some(bias) => (bias.value() - mean) * scale,
        None => -mean * scale,
    };
    let shift = match &norm.bias {
        Some(bias) => shift + bias.value(),
        None => shift,
    };
    let param = |value: &Tensor| -> Result<Param> {
        let param = old.group().param(value);
        param.shape()?;
        param.set_trainable(old.trainable());
        Ok(param)
    };
    let (weight, bias) = (param(&new)?, param(&shift)?);
    Ok(layer.with_parameters(weight, Some(bias)))
}
