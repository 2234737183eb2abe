//! Transposed convolution: the gradient of a convolution with respect to its image, as an operation of its own.

use super::conv::{ConvSpec, LARGEST, operands, spread, to_input, with_bias};
use crate::Tensor;
use crate::node::composed;

/// How the windows of a transposed convolution lie in its result. Each list has an entry per spatial axis; one entry
/// serves all axes.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvTranspose {
    /// Steps between windows of the result; 1 by default.
    pub stride: Vec<usize>,
    /// Elements that are cut off the result on both sides; 0 by default.
    pub padding: Vec<usize>,
    /// Elements that the result has more on one side, below stride or dilation; 0 by default. Of the sizes that a
    /// convolution maps to the same one, it chooses.
    pub output_padding: Vec<usize>,
    /// Distance between the elements of a window; 1 by default.
    pub dilation: Vec<usize>,
    /// Channels are split into this many groups that do not see each other; 1 by default.
    pub groups: usize,
}

impl Default for ConvTranspose {
    fn default() -> Self {
        Self { stride: vec![1], padding: vec![0], output_padding: vec![0], dilation: vec![1], groups: 1 }
    }
}

impl Tensor {
    /// Transposed convolution over the last axis. Shapes: x `[batch, inputs, length]`,
    /// `weight [inputs, outputs/groups, k]`, `bias [outputs]` → `[batch, outputs, length']`,
    /// length' = (length − 1)·stride − 2·padding + dilation·(k − 1) + output_padding + 1.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if channels and groups do not fit or the result would be empty,
    /// [`crate::Error::Argument`] for settings out of range.
    #[track_caller]
    pub fn conv_transpose1d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: &ConvTranspose) -> Tensor {
        composed("conv_transpose1d", || self.conv_transpose("conv_transpose1d", 1, weight, bias, conv))
    }

    /// Transposed convolution over the last two axes, as [`Tensor::conv_transpose1d`] along each: x
    /// `[batch, inputs, height, width]`, `weight [inputs, outputs/groups, kh, kw]` → `[batch, outputs, height', width']`.
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: &ConvTranspose) -> Tensor {
        composed("conv_transpose2d", || self.conv_transpose("conv_transpose2d", 2, weight, bias, conv))
    }

    /// Transposed convolution over the last three axes, as [`Tensor::conv_transpose2d`] with a depth axis before height.
    #[track_caller]
    pub fn conv_transpose3d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: &ConvTranspose) -> Tensor {
        composed("conv_transpose3d", || self.conv_transpose("conv_transpose3d", 3, weight, bias, conv))
    }

    fn conv_transpose(
        &self,
        op: &'static str,
        rank: usize,
        weight: &Tensor,
        bias: Option<&Tensor>,
        conv: &ConvTranspose,
    ) -> Tensor {
        if let Some(invalid) = operands(op, rank, self, weight, bias) {
            return invalid;
        }
        if self.rank() == rank + 1 {
            // one image without a batch
            let y = self.unsqueeze(0).conv_transpose(op, rank, weight, bias, conv);
            return y.squeeze(0);
        }
        let (x, w) = (self.shape_or_scalar(), weight.shape_or_scalar());
        let wrong = |why| self.bad_argument(op, "conv", format!("{conv:?}"), why);
        let lists = (spread(&conv.stride, rank, 1), spread(&conv.padding, rank, 0), spread(&conv.dilation, rank, 1));
        let (Some(stride), Some(padding), Some(dilation)) = lists else {
            return wrong("one entry per spatial axis, or one for all");
        };
        let Some(more) = spread(&conv.output_padding, rank, 0) else {
            return wrong("one entry per spatial axis, or one for all");
        };
        if conv.groups == 0 || [stride, dilation].as_flattened().iter().any(|&n| n == 0 || n > LARGEST) {
            return wrong("stride, dilation and groups are at least 1, and at most 2147483647");
        }
        if (0..3).any(|a| more[a] >= stride[a].max(dilation[a])) {
            return wrong("output_padding is below stride or dilation");
        }
        let outputs = w[1].checked_mul(conv.groups);
        let (Some(outputs), true) = (outputs.filter(|&n| n > 0), x[1] == w[0] && w[0].is_multiple_of(conv.groups))
        else {
            return Tensor::bad_shape(
                op,
                &[self, weight],
                "weight is [channels of x, outputs/groups, ..], groups divide both",
            );
        };
        let (Some(output), Some(kernel)) = (spread(&x[2..], rank, 1), spread(&w[2..], rank, 1)) else {
            return Tensor::bad_shape(op, &[self, weight], "one extent per spatial axis");
        };
        // the convolution whose gradient this is reads an image of the size of our result
        let mut input = [1; 3];
        for a in 0..3 {
            let size = || {
                let reach = dilation[a].checked_mul(kernel[a].checked_sub(1)?)?.checked_add(more[a] + 1)?;
                let whole = output[a].checked_sub(1)?.checked_mul(stride[a])?.checked_add(reach)?;
                whole.checked_sub(padding[a].checked_mul(2)?).filter(|&n| n > 0 && n <= LARGEST)
            };
            match size() {
                Some(n) => input[a] = n,
                None => return Tensor::bad_shape(op, &[self, weight], "the result would be empty, or too large"),
            }
        }
        let (batch, inputs, groups) = (x[0], outputs, conv.groups);
        let spec =
            ConvSpec { batch, inputs, outputs: x[1], groups, input, output, kernel, stride, padding, dilation, rank };
        let dtype = self.dtype().promote(weight.dtype());
        let y = to_input(&self.cast(dtype), &weight.cast(dtype), &spec);
        with_bias(op, y, self, weight, bias)
    }
}
