//! Convolutions over one to three spatial axes.

use super::pad::{PaddingMode, around};
use super::reparam::Weighted;
use super::{Forward, Module, Visitor, sizes};
use crate::init::Init;
use crate::{Conv, Extents, Param, Tensor, composed};

/// A convolution layer over `$n` spatial axes; they differ in the shapes alone.
macro_rules! conv {
    ($(#[$doc:meta])* $name:ident, $n:literal, $op:ident) => {
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            /// The filters, drawn from U(-1/√fan, 1/√fan), fan = inputs/groups × window.
            pub weight: Param,
            /// One number for each output channel, drawn likewise; `None` leaves it out.
            pub bias: Option<Param>,
            /// Stride, padding, dilation, groups.
            pub conv: Conv,
            /// What stands outside of the image; zeros.
            pub padding_mode: PaddingMode,
        }

        impl $name {
            /// From `inputs` to `outputs` channels with a window of size `kernel`; stride 1, no padding.
            pub fn new(inputs: usize, outputs: usize, kernel: impl Extents, init: &mut Init) -> Self {
                Self::grouped(inputs, outputs, kernel, 1, init)
            }

            /// The same with the channels in groups; with as many groups as channels it is depthwise.
            pub fn grouped(
                inputs: usize,
                outputs: usize,
                kernel: impl Extents,
                groups: usize,
                init: &mut Init,
            ) -> Self {
                let window = sizes(&kernel);
                let window = if window.len() == 1 { vec![window[0]; $n] } else { window };
                let inner = inputs / groups.max(1);
                let fan_in = inner * window.iter().product::<usize>();
                let shape: Vec<usize> = [outputs, inner].into_iter().chain(window).collect();
                Self {
                    weight: init.fan_in_uniform(&shape, fan_in),
                    bias: Some(init.fan_in_uniform(&[outputs], fan_in)),
                    conv: Conv { groups, ..Conv::default() },
                    padding_mode: PaddingMode::Zeros,
                }
            }

            /// Sets the stride, for all axes or each.
            #[must_use]
            pub fn stride(mut self, stride: impl Extents) -> Self {
                self.conv.stride = sizes(&stride);
                self
            }

            /// Sets the padding on both sides, for all axes or each.
            #[must_use]
            pub fn padding(mut self, padding: impl Extents) -> Self {
                self.conv.padding = sizes(&padding);
                self
            }

            /// Pads so that the result has the image's size: PyTorch's `padding="same"`, for a stride of 1.
            #[must_use]
            pub fn same(mut self) -> Self {
                self.conv.same = true;
                self
            }

            /// Sets what stands outside of the image.
            #[must_use]
            pub fn padding_mode(mut self, mode: PaddingMode) -> Self {
                self.padding_mode = mode;
                self
            }

            /// Sets the distance between the elements of the window, for all axes or each.
            #[must_use]
            pub fn dilation(mut self, dilation: impl Extents) -> Self {
                self.conv.dilation = sizes(&dilation);
                self
            }

            /// Leaves the bias out.
            #[must_use]
            pub fn no_bias(mut self) -> Self {
                self.bias = None;
                self
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                self.with_weight(&self.weight, x)
            }
        }

        impl Weighted for $name {
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
                let bias = self.bias.as_deref().map(|bias| &**bias);
                // a stride that does not go with `same` is refused there
                let refused = self.conv.same && self.conv.stride.iter().any(|&stride| stride != 1);
                if self.padding_mode == PaddingMode::Zeros || refused {
                    return x.$op(weight, bias, &self.conv);
                }
                composed(stringify!($op), || {
                    let x = around(x, &sides(&self.conv, weight, $n), self.padding_mode);
                    x.$op(weight, bias, &Conv { padding: vec![0], same: false, ..self.conv.clone() })
                })
            }
        }
    };
}

conv! {
    /// Cross-correlation over one spatial axis.
    ///
    /// Shapes: `x [batch, inputs, length]` → `[batch, outputs, length']`; `weight`
    /// `[outputs, inputs/groups, kernel]`;
    /// length' = ⌊(length + 2·padding − dilation·(kernel − 1) − 1) / stride⌋ + 1.
    Conv1d, 1, conv1d
}

conv! {
    /// Cross-correlation over two spatial axes.
    ///
    /// Shapes: `x [batch, inputs, h, w]` → `[batch, outputs, h', w']`; `weight`
    /// `[outputs, inputs/groups, kh, kw]`; h' = ⌊(h + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1.
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// # let device = Device::open()?;
    /// let conv = Conv2d::new(1, 8, 3, &mut Init::new(&device, 0)).padding(1).stride(2);
    /// let y = conv.forward(&Tensor::zeros(&device, [4, 1, 8, 8]));
    /// assert_eq!(y.shape()?, [4, 8, 4, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    Conv2d, 2, conv2d
}

conv! {
    /// Cross-correlation over three spatial axes.
    ///
    /// Shapes: `x [batch, inputs, d, h, w]` → `[batch, outputs, d', h', w']`; `weight`
    /// `[outputs, inputs/groups, kd, kh, kw]`; sizes as for [`Conv2d`].
    Conv3d, 3, conv3d
}

/// What is put before and behind each axis.
fn sides(conv: &Conv, weight: &Tensor, axes: usize) -> Vec<(i64, i64)> {
    let of = |list: &[usize], axis: usize| list.get(axis).or(list.first()).copied().unwrap_or(0);
    let shape = weight.shape().ok();
    let side = |axis: usize| {
        if conv.same {
            let kernel = shape.as_ref().and_then(|s| s.get(axis + 2).copied()).unwrap_or(1);
            let total = (of(&conv.dilation, axis) * kernel.saturating_sub(1)) as i64;
            (total / 2, total - total / 2)
        } else {
            let padding = of(&conv.padding, axis) as i64;
            (padding, padding)
        }
    };
    (0..axes).map(side).collect()
}
