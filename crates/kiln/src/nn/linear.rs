//! Linear maps and table look-up.

use super::{Forward, Module};
use crate::init::Init;
use crate::{Param, Tensor};

/// A linear map of the last axis: `y = x · Wᵀ + b`.
///
/// Shapes: `x [.., inputs]` → `y [.., outputs]`; `weight [outputs, inputs]`; `bias [outputs]`.
#[derive(Module)]
pub struct Linear {
    /// W, drawn from U(-1/√inputs, 1/√inputs), PyTorch's default for this layer.
    pub weight: Param,
    /// b, drawn likewise; `None` leaves the term out.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer from `inputs` to `outputs` features, with bias.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let weight = init.fan_in_uniform(&[outputs, inputs], inputs);
        Self { weight, bias: Some(init.fan_in_uniform(&[outputs], inputs)) }
    }

    /// The same without bias.
    pub fn no_bias(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self { weight: init.fan_in_uniform(&[outputs, inputs], inputs), bias: None }
    }
}

impl Forward for Linear {
    /// `x [.., inputs]` → `[.., outputs]`. Runs as one kernel: the bias, and whatever scalar ops
    /// the caller puts after it, go into the matmul's output slot.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.weight.t()); // a view: strides, not a copy
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

/// A table of vectors: `y[.., :] = weight[index[..], :]`.
///
/// Shapes: `index [..]` of `I32` → `[.., width]`; `weight [rows, width]`.
#[derive(Module)]
pub struct Embedding {
    /// The table, drawn from N(0, 1).
    pub weight: Param,
    /// A row that is zero at first and gets no gradient.
    pub padding: Option<usize>,
}

impl Embedding {
    /// A table of `rows` vectors of `width` numbers.
    pub fn new(rows: usize, width: usize, init: &mut Init) -> Self {
        Self { weight: init.normal(&[rows, width], 0.0, 1.0), padding: None }
    }

    /// The same, whose row `padding` starts as zeros and is not trained (PyTorch's `padding_idx`).
    pub fn padded(rows: usize, width: usize, padding: usize, init: &mut Init) -> Self {
        let weight = init.values(&[rows, width], |stream, values| {
            stream.normal(values, 0.0, 1.0);
            values.chunks_mut(width.max(1)).skip(padding).take(1).for_each(|row| row.fill(0.0));
        });
        Self { weight, padding: Some(padding) }
    }
}

impl Forward for Embedding {
    /// `index [..]` → `[.., width]`. An index outside the table is an
    /// [`Error::Index`](crate::Error::Index).
    #[track_caller]
    fn forward(&self, index: &Tensor) -> Tensor {
        let rows = self.weight.embedding(index);
        match self.padding {
            None => rows,
            Some(padding) => {
                let frozen = index.eq(padding).unsqueeze(-1);
                Tensor::where_(&frozen, rows.detach(), &rows)
            }
        }
    }
}
