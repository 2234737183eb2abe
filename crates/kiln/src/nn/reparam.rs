//! Layers whose weight is computed from other parameters: weight norm, spectral norm.

use super::{Forward, Leaf, Mode, Module, Visitor};
use crate::init::Init;
use crate::{Param, Result, State, Tensor, composed};

/// A layer with one weight that can be replaced by an expression.
pub trait Weighted: Forward {
    /// The axis of the outputs in the weight.
    const AXIS: usize = 0;

    /// Its weight.
    fn weight(&self) -> &Param;

    /// Its bias, one number for each output.
    fn bias(&self) -> Option<&Param>;

    /// How many outputs (or output channels) it has.
    fn outputs(&self) -> usize {
        self.weight().shape().map_or(0, |shape| shape.get(Self::AXIS).copied().unwrap_or(0))
    }

    /// The same layer of other parameters of the same shapes.
    #[must_use]
    fn with_parameters(self, weight: Param, bias: Option<Param>) -> Self
    where
        Self: Sized;

    /// Visits everything but the weight.
    fn visit_rest(&self, visitor: &mut Visitor<'_>);

    /// The layer's output for `x` with another weight of the same shape.
    fn with_weight(&self, weight: &Tensor, x: &Tensor) -> Tensor;
}

/// A layer with weight g·v/‖v‖, so that length and direction are trained apart; the norm is that of each
/// slice of the first axis, or of another. State-dict paths are those of
/// `torch.nn.utils.parametrizations.weight_norm`.
///
/// Source: Salimans & Kingma 2016, "Weight normalization", eq. 2.
pub struct WeightNorm<L> {
    layer: L,
    g: Param,
    v: Param,
    /// The axis whose slices have a length each; `None`: the weight has one.
    axis: Option<usize>,
}

impl<L: Weighted> WeightNorm<L> {
    /// Wraps `layer`; its output does not change at first.
    pub fn new(layer: L, init: &Init) -> Self {
        Self::along(layer, Some(0), init)
    }

    /// The same with a length for each slice of `axis`, or, with `None`, one for the whole weight: PyTorch's `dim`.
    pub fn along(layer: L, axis: Option<usize>, init: &Init) -> Self {
        let v = layer.weight().value();
        Self { g: init.param(&length(&v, axis)), v: init.param(&v), layer, axis }
    }
}

/// The length of each slice of `axis`, with the other axes kept; of the whole, without axes.
#[track_caller]
fn length(v: &Tensor, axis: Option<usize>) -> Tensor {
    let Some(axis) = axis else { return v.square().sum().sqrt() };
    if axis >= v.rank() {
        return v.squeeze(axis as i64); // carries the error of the axis
    }
    let axes: Vec<i64> = (0..v.rank()).filter(|&a| a != axis).map(|a| a as i64).collect();
    if axes.is_empty() { v.abs() } else { v.norm(2.0, axes, true) }
}

impl<L: Weighted> Module for WeightNorm<L> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Layer("WeightNorm"));
        self.layer.visit_rest(visitor);
        visitor.field("parametrizations.weight.original0", &self.g);
        visitor.field("parametrizations.weight.original1", &self.v);
    }
}

impl<L: Weighted> Forward for WeightNorm<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        composed("weight_norm", || {
            let weight = &self.v * (self.g.value() / length(&self.v, self.axis));
            self.layer.with_weight(&weight, x)
        })
    }
}

/// A layer whose weight is divided by its largest singular value, which one step of power iteration in each
/// training pass follows. State-dict paths are those of `torch.nn.utils.parametrizations.spectral_norm`.
///
/// Source: Miyato, Kataoka, Koyama & Yoshida 2018, "Spectral normalization for generative adversarial
/// networks", alg. 1.
pub struct SpectralNorm<L> {
    layer: L,
    original: Param,
    u: State,
    v: State,
    /// The axis of the weight that makes the matrix's rows.
    axis: usize,
    /// Steps of power iteration in a training pass; 1.
    pub iterations: usize,
    /// The smallest length a vector is divided by; 1e-12.
    pub eps: f32,
    mode: Mode,
}

impl<L: Weighted> SpectralNorm<L> {
    /// Wraps `layer`; fifteen steps of power iteration are done first.
    ///
    /// # Errors
    /// What the device says, or a weight of fewer than two axes.
    pub fn new(layer: L, init: &mut Init) -> Result<Self> {
        Self::along(layer, L::AXIS, init)
    }

    /// The same with the slices of `axis` as the rows of the matrix: PyTorch's `dim`, by default that of the outputs.
    ///
    /// # Errors
    /// As [`SpectralNorm::new`], or an axis that the weight does not have.
    pub fn along(layer: L, axis: usize, init: &mut Init) -> Result<Self> {
        let original = layer.weight().clone();
        let matrix = matrix(&original.value(), axis);
        let [rows, cols] = matrix.dims::<2>()?;
        let (u, v) = (init.normal(&[rows], 0.0, 1.0).value(), init.normal(&[cols], 0.0, 1.0).value());
        let (u, v) = iterate(&matrix, u, v, 15, 1e-12);
        let (u, v) = (init.state(&u), init.state(&v));
        Ok(Self { layer, original, u, v, axis, iterations: 1, eps: 1e-12, mode: Mode::default() })
    }
}

/// The weight as a matrix whose rows are the slices of `axis`.
#[track_caller]
fn matrix(weight: &Tensor, axis: usize) -> Tensor {
    let mut order: Vec<i64> = (0..weight.rank() as i64).filter(|&a| a != axis as i64).collect();
    order.insert(0, axis as i64);
    let first = if axis == 0 { weight.clone() } else { weight.permute(order) };
    if first.rank() < 2 {
        return Tensor::bad_shape("spectral_norm", &[weight], "a weight of at least two axes");
    }
    first.flatten(1, -1)
}

/// Steps towards the first singular vectors of `matrix`.
#[track_caller]
fn iterate(matrix: &Tensor, mut u: Tensor, mut v: Tensor, steps: usize, eps: f32) -> (Tensor, Tensor) {
    let unit = |x: Tensor| &x / x.norm(2.0, [0i64], true).maximum(eps);
    for _ in 0..steps {
        u = unit(matrix.matmul(&v));
        v = unit(matrix.t().matmul(&u));
    }
    (u, v)
}

impl<L: Weighted> Module for SpectralNorm<L> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Layer("SpectralNorm"));
        self.layer.visit_rest(visitor);
        visitor.field("parametrizations.weight.original", &self.original);
        visitor.field("parametrizations.weight.0._u", &self.u);
        visitor.field("parametrizations.weight.0._v", &self.v);
        self.mode.visit(visitor);
    }
}

impl<L: Weighted> Forward for SpectralNorm<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        composed("spectral_norm", || {
            let matrix = matrix(&self.original.value(), self.axis);
            let (mut u, mut v) = (self.u.value(), self.v.value());
            if self.mode.training() {
                (u, v) = iterate(&matrix.detach(), u, v, self.iterations, self.eps);
                if let Err(error) = self.u.set_with(&u, &[x]).and_then(|()| self.v.set_with(&v, &[x])) {
                    return Tensor::invalid(x.device(), error);
                }
            }
            let sigma = (&u * matrix.matmul(&v)).sum();
            self.layer.with_weight(&(self.original.value() / sigma), x)
        })
    }
}
