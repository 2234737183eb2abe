//! Convolution over one to three axes, and its two gradients, which are convolutions of each other.

use crate::node::{Op, composed};
use crate::{Shape, Tensor};

/// How a window moves over an image. Each list has an entry per spatial axis; one entry serves all axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Steps between windows; 1 by default.
    pub stride: Vec<usize>,
    /// Zeros put on both sides; 0 by default.
    pub padding: Vec<usize>,
    /// PyTorch's `padding="same"`: as many zeros as give a result of the image's size, one more behind than before
    /// where their number is odd. Only with a stride of 1, and instead of `padding`. Not by default.
    pub same: bool,
    /// Distance between the elements of a window; 1 by default.
    pub dilation: Vec<usize>,
    /// Channels are split into this many groups that do not see each other; 1 by default.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Self {
        Self { stride: vec![1], padding: vec![0], same: false, dilation: vec![1], groups: 1 }
    }
}

/// The largest extent, stride or dilation, so that places of a window fit into 32 bits.
pub(crate) const LARGEST: usize = i32::MAX as usize;

/// All sizes of a convolution, as 3-D with leading axes of extent 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConvSpec {
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) padding: [usize; 3],
    pub(crate) dilation: [usize; 3],
    /// How many of the three axes the tensors have.
    pub(crate) rank: usize,
}

impl ConvSpec {
    fn shape(&self, first: usize, second: usize, space: &[usize; 3]) -> Shape {
        let dims: Vec<usize> = [first, second].into_iter().chain(space[3 - self.rank..].iter().copied()).collect();
        Shape::of(&dims)
    }
    /// Whether it is a product of matrices for each image: windows of one element, at every place, over all channels.
    pub(crate) fn is_product(&self) -> bool {
        self.groups == 1
            && [self.kernel, self.stride] == [[1; 3]; 2]
            && self.padding == [0; 3]
            && self.input == self.output
    }

    fn x(&self) -> Shape {
        self.shape(self.batch, self.inputs, &self.input)
    }
    fn w(&self) -> Shape {
        self.shape(self.outputs, self.inputs / self.groups, &self.kernel)
    }
    fn y(&self) -> Shape {
        self.shape(self.batch, self.outputs, &self.output)
    }
}

/// A list of one entry per axis (or one for all), as the last of three.
pub(crate) fn spread(list: &[usize], rank: usize, neutral: usize) -> Option<[usize; 3]> {
    let mut three = [neutral; 3];
    for axis in 0..rank {
        three[3 - rank + axis] = *if list.len() == 1 { list.first()? } else { list.get(axis)? };
    }
    (list.len() == 1 || list.len() == rank).then_some(three)
}

/// How many windows fit: ⌊(input + before + after − dilation (kernel − 1) − 1) / stride⌋ + 1.
pub(crate) fn windows(input: usize, pad: usize, dilation: usize, kernel: usize, stride: usize) -> Option<usize> {
    let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    Some(input.checked_add(pad)?.checked_sub(reach)? / stride + 1)
}

impl Tensor {
    /// Convolution over the last axis. Shapes: x `[batch, inputs, length]`, `weight [outputs, inputs/groups, k]`,
    /// `bias [outputs]` → `[batch, outputs, length']`.
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: &Conv) -> Tensor {
        composed("conv1d", || self.conv("conv1d", 1, weight, bias, conv))
    }

    /// Convolution over the last two axes. Shapes: x `[batch, inputs, height, width]`,
    /// `weight [outputs, inputs/groups, kh, kw]`, `bias [outputs]` → `[batch, outputs, height', width']`.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: &Conv) -> Tensor {
        composed("conv2d", || self.conv("conv2d", 2, weight, bias, conv))
    }

    /// Convolution over the last three axes. Shapes as [`Tensor::conv2d`] with a depth axis before height.
    #[track_caller]
    pub fn conv3d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: &Conv) -> Tensor {
        composed("conv3d", || self.conv("conv3d", 3, weight, bias, conv))
    }

    fn conv(&self, op: &'static str, rank: usize, weight: &Tensor, bias: Option<&Tensor>, conv: &Conv) -> Tensor {
        if let Some(invalid) = operands(op, rank, self, weight, bias) {
            return invalid;
        }
        if self.rank() == rank + 1 {
            // one image without a batch
            let y = self.unsqueeze(0).conv(op, rank, weight, bias, conv);
            return y.squeeze(0);
        }
        let (x, w) = (self.shape_or_scalar(), weight.shape_or_scalar());
        let wrong = |why| self.bad_argument(op, "conv", format!("{conv:?}"), why);
        let lists = (spread(&conv.stride, rank, 1), spread(&conv.padding, rank, 0), spread(&conv.dilation, rank, 1));
        let (Some(stride), Some(mut padding), Some(dilation)) = lists else {
            return wrong("one entry per spatial axis, or one for all");
        };
        if conv.groups == 0 || [stride, dilation].as_flattened().iter().any(|&n| n == 0 || n > LARGEST) {
            return wrong("stride, dilation and groups are at least 1, and at most 2147483647");
        }
        if conv.same && stride != [1; 3] {
            return wrong("padding to the same size needs a stride of 1");
        }
        if Some(x[1]) != w[1].checked_mul(conv.groups) || !w[0].is_multiple_of(conv.groups) || w[0] == 0 {
            return Tensor::bad_shape(
                op,
                &[self, weight],
                "x has inputs/groups · groups channels, outputs divide by groups",
            );
        }
        let (Some(input), Some(kernel)) = (spread(&x[2..], rank, 1), spread(&w[2..], rank, 1)) else {
            return Tensor::bad_shape(op, &[self, weight], "one extent per spatial axis");
        };
        let mut output = [1; 3];
        for a in 0..3 {
            let mut sides = padding[a].saturating_mul(2);
            if conv.same {
                sides = dilation[a].saturating_mul(kernel[a].saturating_sub(1));
                padding[a] = sides / 2;
            }
            match windows(input[a], sides, dilation[a], kernel[a], stride[a]) {
                Some(n) if input[a] > 0 => output[a] = n,
                _ => return Tensor::bad_shape(op, &[self, weight], "the kernel is larger than the padded image"),
            }
        }
        let (batch, inputs, outputs, groups) = (x[0], x[1], w[0], conv.groups);
        let spec = ConvSpec { batch, inputs, outputs, groups, input, output, kernel, stride, padding, dilation, rank };
        let dtype = self.dtype().promote(weight.dtype());
        let y = forward(&self.cast(dtype), &weight.cast(dtype), &spec);
        with_bias(op, y, self, weight, bias)
    }
}

/// The error of operands that no convolution over `rank` axes takes.
pub(crate) fn operands(
    op: &'static str,
    rank: usize,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Option<Tensor> {
    let mut all = [Some(x), Some(weight), bias].into_iter().flatten();
    if let Some(bad) = all.clone().find(|t| t.error().is_some()) {
        return Some(bad.current());
    }
    if all.any(|t| !t.dtype().is_float()) {
        return Some(Tensor::bad_dtype(op, &[x, weight], "floats only; cast first"));
    }
    let fits = (x.rank() == rank + 2 || x.rank() == rank + 1) && weight.rank() == rank + 2;
    (!fits).then(|| {
        Tensor::bad_shape(
            op,
            &[x, weight],
            "x is [batch, channels, ..] or [channels, ..], weight one more axis than [channels, ..]",
        )
    })
}

/// `y [batch, outputs, ..]` plus a number for each of its channels.
pub(crate) fn with_bias(op: &'static str, y: Tensor, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        _ if y.error().is_some() => y,
        Some(bias) if bias.shape_or_scalar() == [y.shape_or_scalar()[1]] => {
            let mut lifted = vec![1i64; y.rank() - 1];
            lifted[0] = -1;
            y + bias.reshape(lifted)
        }
        Some(bias) => Tensor::bad_shape(op, &[x, weight, bias], "bias is [outputs]"),
        None => y,
    }
}

fn forward(x: &Tensor, w: &Tensor, spec: &ConvSpec) -> Tensor {
    Tensor::make(Op::Conv(Box::new(spec.clone())), &[x, w], spec.y(), x.dtype())
}

pub(crate) fn to_input(dy: &Tensor, w: &Tensor, spec: &ConvSpec) -> Tensor {
    Tensor::make(Op::ConvInput(Box::new(spec.clone())), &[dy, w], spec.x(), dy.dtype())
}

fn to_weight(x: &Tensor, dy: &Tensor, spec: &ConvSpec) -> Tensor {
    Tensor::make(Op::ConvWeight(Box::new(spec.clone())), &[x, dy], spec.w(), dy.dtype())
}

/// y = conv(x, w).
pub(crate) fn conv_vjp(spec: &ConvSpec, dy: &Tensor, x: &Tensor, w: &Tensor) -> (Tensor, Tensor) {
    (to_input(dy, w, spec), to_weight(x, dy, spec))
}

/// dx = conv_input(dy, w) is linear in both.
pub(crate) fn input_vjp(spec: &ConvSpec, d: &Tensor, dy: &Tensor, w: &Tensor) -> (Tensor, Tensor) {
    (forward(d, w, spec), to_weight(d, dy, spec))
}

/// dw = conv_weight(x, dy) is linear in both.
pub(crate) fn weight_vjp(spec: &ConvSpec, d: &Tensor, x: &Tensor, dy: &Tensor) -> (Tensor, Tensor) {
    (to_input(dy, d, spec), forward(x, d, spec))
}
