//! Linear and bilinear maps.

use super::lora::Adaptable;
use super::reparam::Weighted;
use super::{Forward, Module, Visitor};
use crate::init::Init;
use crate::{Param, Tensor, composed};

/// A linear map of the last axis: `y = x · Wᵀ + b`.
///
/// Shapes: `x [.., inputs]` → `y [.., outputs]`; `weight [outputs, inputs]`; `bias [outputs]`.
///
/// ```
/// use kiln::prelude::*;
///
/// let device = Device::open()?;
/// let layer = Linear::new(3, 2, &mut Init::new(&device, 0)); // seed 0: the same weights each time
/// let y = layer.forward(&Tensor::ones(&device, [5, 3]));
/// assert_eq!(y.shape()?, [5, 2]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module)]
pub struct Linear {
    /// W, drawn from U(-1/√inputs, 1/√inputs), PyTorch's default for this layer.
    pub weight: Param,
    /// b, drawn likewise; `None` leaves the term out.
    pub bias: Option<Param>,
    /// Room for a low-rank adapter: [`Lora`](super::Lora).
    #[module(flatten)]
    pub adapter: Adaptable,
}

impl Linear {
    /// A layer from `inputs` to `outputs` features, with bias.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let weight = init.fan_in_uniform(&[outputs, inputs], inputs);
        Self::of(weight, Some(init.fan_in_uniform(&[outputs], inputs)))
    }

    /// The same without bias.
    pub fn no_bias(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self::of(init.fan_in_uniform(&[outputs, inputs], inputs), None)
    }

    /// A layer of these parameters, `weight [outputs, inputs]` and `bias [outputs]`; another layer may share them.
    pub fn of(weight: Param, bias: Option<Param>) -> Self {
        Self { weight, bias, adapter: Adaptable::default() }
    }
}

impl Forward for Linear {
    /// `x [.., inputs]` → `[.., outputs]`. Runs as one kernel: the bias, and whatever scalar ops
    /// the caller puts after it, go into the matmul's output slot.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.adapter.adapted(self.with_weight(&self.weight, x), x)
    }
}

impl Weighted for Linear {
    fn weight(&self) -> &Param {
        &self.weight
    }

    fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }

    fn with_parameters(self, weight: Param, bias: Option<Param>) -> Self {
        Self { weight, bias, ..self }
    }

    fn visit_rest(&self, visitor: &mut Visitor<'_>) {
        visitor.field("bias", &self.bias);
    }

    #[track_caller]
    fn with_weight(&self, weight: &Tensor, x: &Tensor) -> Tensor {
        let y = x.matmul(&weight.t()); // a view: strides, not a copy
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

/// A bilinear map of the last axes of two tensors: `y[k] = aᵀ · W[k] · b + bias[k]`.
///
/// Shapes: `a [.., first]`, `b [.., second]` → `[.., outputs]`; `weight [outputs, first, second]`.
#[derive(Module)]
pub struct Bilinear {
    /// W, drawn from U(-1/√first, 1/√first).
    pub weight: Param,
    /// One number for each output, drawn likewise; `None` leaves it out.
    pub bias: Option<Param>,
}

impl Bilinear {
    /// From `first` and `second` features to `outputs`, with bias.
    pub fn new(first: usize, second: usize, outputs: usize, init: &mut Init) -> Self {
        let weight = init.fan_in_uniform(&[outputs, first, second], first);
        Self { weight, bias: Some(init.fan_in_uniform(&[outputs], first)) }
    }

    /// Leaves the bias out.
    #[must_use]
    pub fn no_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// The map of `a [.., first]` and `b [.., second]`, whose outer axes are the same → `[.., outputs]`.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape) for other shapes.
    #[track_caller]
    pub fn forward(&self, a: &Tensor, b: &Tensor) -> Tensor {
        composed("bilinear", || {
            let (Ok(left), Ok(right), Ok([outputs, first, second])) = (a.shape(), b.shape(), self.weight.dims::<3>())
            else {
                return a + b;
            };
            let outer = |shape: &crate::Shape| shape[..shape.rank().saturating_sub(1)].to_vec();
            if left.last() != Some(&first) || right.last() != Some(&second) || outer(&left) != outer(&right) {
                return Tensor::bad_shape("bilinear", &[a, b, &self.weight], "[.., first] and [.., second]");
            }
            let rows: usize = outer(&left).iter().product();
            // [rows, first] · [first, outputs · second], then with b row by row
            let weight = self.weight.permute([1i64, 0, 2]).reshape([first, outputs * second]);
            let inner = a.reshape([rows, first]).matmul(&weight).reshape([rows, outputs, second]);
            let y = inner.matmul(&b.reshape([rows, second, 1])).reshape([outer(&left), vec![outputs]].concat());
            match &self.bias {
                Some(bias) => y + bias,
                None => y,
            }
        })
    }
}
