//! Softmax and normalisation.

use super::Number;
use crate::node::{Op, composed};
use crate::{DType, Shape, Tensor};

impl Tensor {
    /// exp(x) / Σ exp(x) along `axis`, safe for large x.
    #[track_caller]
    pub fn softmax(&self, axis: i64) -> Tensor {
        self.softmax_along("softmax", axis, false)
    }

    /// ln softmax(x) along `axis`.
    #[track_caller]
    pub fn log_softmax(&self, axis: i64) -> Tensor {
        self.softmax_along("log_softmax", axis, true)
    }

    #[track_caller]
    fn softmax_along(&self, op: &'static str, axis: i64, log: bool) -> Tensor {
        let at = match self.axis(op, axis) {
            Ok(at) => at as i64,
            Err(invalid) => return invalid,
        };
        if !self.dtype().is_float() {
            return Tensor::bad_dtype(op, &[self], "floats only; cast first");
        }
        if self.rank() == 0 {
            return self.reshape([1]).softmax_along(op, 0, log).reshape([0i64; 0]);
        }
        let x = self.transpose(at, -1);
        Tensor::make(Op::Softmax { log }, &[&x], x.shape_or_scalar(), x.dtype()).transpose(at, -1)
    }

    /// x minus its mean, over its standard deviation (population variance plus `eps`), along the last axis.
    #[track_caller]
    pub fn standardize(&self, eps: f32) -> Tensor {
        self.norm_rows(true, eps).cast(self.dtype())
    }

    /// The result is in f32, so that weight and bias of half-precision tensors join before it is rounded, as in PyTorch.
    #[track_caller]
    fn norm_rows(&self, center: bool, eps: f32) -> Tensor {
        let name = Op::Norm { center }.name();
        if self.error().is_none() && !self.dtype().is_float() {
            return Tensor::bad_dtype(name, &[self], "floats only; cast first");
        }
        if self.error().is_none() && self.rank() == 0 {
            return Tensor::bad_shape(name, &[self], "at least one axis");
        }
        let eps = eps.beside(self);
        let x = self.cast(DType::F32);
        Tensor::make(Op::Norm { center }, &[&x, &eps], self.shape_or_scalar(), DType::F32)
    }

    /// Layer normalisation over the last `weight.rank()` axes: standardized, times `weight`, plus `bias`.
    ///
    /// Shapes: x `[.., shape]`, `weight` and `bias` `[shape]`. Source: Ba, Kiros & Hinton 2016, eq. 4.
    #[track_caller]
    pub fn layer_norm(&self, axes: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Tensor {
        composed("layer_norm", || self.norm_last("layer_norm", true, axes, weight, bias, eps))
    }

    /// Root-mean-square normalisation over the last `axes` axes: x / √(mean x² + eps), times `weight`.
    ///
    /// Source: Zhang & Sennrich 2019, eq. 4.
    #[track_caller]
    pub fn rms_norm(&self, axes: usize, weight: Option<&Tensor>, eps: f32) -> Tensor {
        composed("rms_norm", || self.norm_last("rms_norm", false, axes, weight, None, eps))
    }

    #[track_caller]
    fn norm_last(
        &self,
        op: &'static str,
        center: bool,
        axes: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let own = self.shape_or_scalar();
        if axes == 0 || axes > own.rank() {
            return self.bad_argument(op, "axes", axes, "between 1 and the rank");
        }
        let normal = Shape::of(&own[own.rank() - axes..]);
        for affine in [weight, bias].into_iter().flatten() {
            if affine.error().is_none() && affine.shape_or_scalar() != normal {
                return Tensor::bad_shape(op, &[self, affine], "weight and bias have the shape of the normalised axes");
            }
        }
        let dims: Vec<usize> = own[..own.rank() - axes].iter().copied().chain([normal.numel()]).collect();
        let mut y = self.to_shape(Shape::of(&dims)).norm_rows(center, eps).to_shape(own);
        if let Some(weight) = weight {
            y = y * weight;
        }
        if let Some(bias) = bias {
            y = y + bias;
        }
        y.cast(self.beside_affine(weight, bias))
    }

    /// The type of a norm's result: that of the tensor, or f32 if weight or bias are.
    fn beside_affine(&self, weight: Option<&Tensor>, bias: Option<&Tensor>) -> DType {
        let single = [weight, bias].into_iter().flatten().any(|affine| affine.dtype() == DType::F32);
        if single { DType::F32 } else { self.dtype() }
    }

    /// Group normalisation of `x [batch, channels, ..]`: standardized over each group of channels and all positions,
    /// times `weight [channels]`, plus `bias [channels]`. Source: Wu & He 2018.
    #[track_caller]
    pub fn group_norm(&self, groups: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Tensor {
        composed("group_norm", || {
            if self.error().is_some() {
                return self.current();
            }
            let own = self.shape_or_scalar();
            if own.rank() < 2 || groups == 0 || !own[1].is_multiple_of(groups) {
                return self.bad_argument(
                    "group_norm",
                    "groups",
                    format!("{groups} of {own}"),
                    "a divisor of the channels of [batch, channels, ..]",
                );
            }
            let per: usize = own[1..].iter().product::<usize>() / groups;
            if own[0] * per == 1 {
                return Tensor::bad_shape("group_norm", &[self], "a group of a single value");
            }
            let y = self.to_shape(Shape::of(&[own[0], groups, per])).norm_rows(true, eps).to_shape(own);
            per_channel(&y, weight, bias).cast(self.beside_affine(weight, bias))
        })
    }

    /// Batch normalisation of `x [batch, channels, ..]` with given statistics `[channels]`:
    /// (x − mean) / √(var + eps), times `weight`, plus `bias`. Source: Ioffe & Szegedy 2015, algorithm 1.
    #[track_caller]
    pub fn batch_norm(
        &self,
        mean: &Tensor,
        var: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Tensor {
        composed("batch_norm", || {
            if self.error().is_none() && self.rank() < 2 {
                return Tensor::bad_shape("batch_norm", &[self], "[batch, channels, ..]");
            }
            let scale = (var + eps).rsqrt();
            let x = self.cast(DType::F32);
            let dtype = if self.dtype() == DType::F16 { self.beside_affine(weight, bias) } else { DType::F32 };
            let y = (&x - channels(&x, mean)) * channels(&x, &scale);
            per_channel(&y, weight, bias).cast(dtype)
        })
    }

    /// The mean and the population variance of each channel of `x [batch, channels, ..]`, each `[channels]` and in `F32`.
    #[track_caller]
    pub fn batch_statistics(&self) -> (Tensor, Tensor) {
        if self.error().is_none() && self.rank() < 2 {
            let bad = Tensor::bad_shape("batch_norm", &[self], "[batch, channels, ..]");
            return (bad.clone(), bad);
        }
        let axes: Vec<i64> = (0..self.rank() as i64).filter(|&a| a != 1).collect();
        let x = self.cast(DType::F32);
        let mean = x.mean_axes(&axes, false);
        let var = (&x - channels(&x, &mean)).square().mean_axes(&axes, false);
        (mean, var)
    }
}

/// A vector per channel, shaped so that it broadcasts over `x [batch, channels, ..]`.
#[track_caller]
fn channels(x: &Tensor, v: &Tensor) -> Tensor {
    if v.error().is_some() || x.error().is_some() {
        return v.current();
    }
    let count = x.shape_or_scalar()[1];
    if v.shape_or_scalar() != [count] {
        return Tensor::bad_shape("batch_norm", &[x, v], "one number per channel");
    }
    let mut dims = vec![1i64; x.rank() - 1];
    dims[0] = count as i64;
    v.reshape(dims)
}

#[track_caller]
fn per_channel(y: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Tensor {
    let mut y = y.clone();
    if let Some(weight) = weight {
        y = &y * channels(&y, weight);
    }
    if let Some(bias) = bias {
        y = &y + channels(&y, bias);
    }
    y
}

/// dx = y (dy − Σ dy y) for softmax, dy − exp(y) Σ dy for its logarithm.
pub(crate) fn softmax_vjp(log: bool, dy: &Tensor, y: &Tensor) -> Tensor {
    if log { dy - y.exp() * dy.sum_axes([-1i64], true) } else { y * (dy - (dy * y).sum_axes([-1i64], true)) }
}

/// The gradient of the normalised rows, one kernel; it is linear in `dy`.
pub(crate) fn norm_vjp(center: bool, dy: &Tensor, y: &Tensor) -> Tensor {
    Tensor::make(Op::NormGrad { center }, &[y, &deviation(y), dy], y.shape_or_scalar(), y.dtype())
}

/// 1/deviation of each row, kept by the norm as its second result.
fn deviation(y: &Tensor) -> Tensor {
    let own = y.shape_or_scalar();
    Tensor::make(Op::Second, &[y], own.without(own.rank() - 1), DType::F32)
}

/// The formula of the norm's gradient in plain operations, for gradients of gradients:
/// dx = r (g − mean(g) − y mean(g y)).
pub(crate) fn norm_grad_formula(center: bool, y: &Tensor, r: &Tensor, g: &Tensor) -> Tensor {
    let mut inner = g - y * (g * y).mean_axes([-1i64], true);
    if center {
        inner = inner - g.mean_axes([-1i64], true);
    }
    inner * r.unsqueeze(-1)
}

/// d r / d x where r = 1/deviation: −r² y / n, for gradients that reach the deviation.
pub(crate) fn deviation_vjp(dr: &Tensor, y: &Tensor, r: &Tensor) -> Tensor {
    let n = y.shape_or_scalar().extent_from_end(1) as f32;
    y * (dr * r * r * (-1.0 / n)).unsqueeze(-1)
}
