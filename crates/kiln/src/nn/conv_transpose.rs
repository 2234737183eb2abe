//! Transposed convolutions over one to three spatial axes.

use super::reparam::Weighted;
use super::{Forward, Module, Visitor, sizes};
use crate::init::Init;
use crate::{ConvTranspose, Extents, Param, Tensor, composed};

/// A transposed convolution over `$n` spatial axes; they differ in the shapes alone.
macro_rules! conv_transpose {
    ($(#[$doc:meta])* $name:ident, $n:literal, $op:ident) => {
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            /// The filters, drawn from U(-1/√fan, 1/√fan), fan = outputs/groups × window, as PyTorch counts.
            pub weight: Param,
            /// One number for each output channel, drawn likewise; `None` leaves it out.
            pub bias: Option<Param>,
            /// Stride, padding, output padding, dilation, groups.
            #[module(skip)]
            pub conv: ConvTranspose,
        }

        impl $name {
            /// From `inputs` to `outputs` channels with a window of size `kernel`; stride 1, no padding.
            pub fn new(inputs: usize, outputs: usize, kernel: impl Extents, init: &mut Init) -> Self {
                Self::grouped(inputs, outputs, kernel, 1, init)
            }

            /// The same with the channels in groups.
            pub fn grouped(
                inputs: usize,
                outputs: usize,
                kernel: impl Extents,
                groups: usize,
                init: &mut Init,
            ) -> Self {
                let window = sizes(&kernel);
                let window = if window.len() == 1 { vec![window[0]; $n] } else { window };
                let outer = outputs / groups.max(1);
                let fan = outer * window.iter().product::<usize>();
                let shape: Vec<usize> = [inputs, outer].into_iter().chain(window).collect();
                Self {
                    weight: init.fan_in_uniform(&shape, fan),
                    bias: Some(init.fan_in_uniform(&[outputs], fan)),
                    conv: ConvTranspose { groups, ..ConvTranspose::default() },
                }
            }

            /// Sets the stride, for all axes or each.
            #[must_use]
            pub fn stride(mut self, stride: impl Extents) -> Self {
                self.conv.stride = sizes(&stride);
                self
            }

            /// Sets how much is cut off on both sides, for all axes or each.
            #[must_use]
            pub fn padding(mut self, padding: impl Extents) -> Self {
                self.conv.padding = sizes(&padding);
                self
            }

            /// Sets how much is added on one side, for all axes or each; less than stride or dilation.
            #[must_use]
            pub fn output_padding(mut self, padding: impl Extents) -> Self {
                self.conv.output_padding = sizes(&padding);
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

            /// The result with spatial axes of `output`, which must be one of the sizes that the stride
            /// allows: PyTorch's `output_size`.
            #[track_caller]
            pub fn forward_to(&self, x: &Tensor, output: impl Extents) -> Tensor {
                composed(stringify!($op), || {
                    let (Ok(shape), Ok(w)) = (x.shape(), self.weight.shape()) else { return x.clone() };
                    let (want, spatial) = (sizes(&output), shape.rank().saturating_sub($n));
                    if want.len() != $n || shape.rank() <= $n || w.rank() != $n + 2 {
                        return x.bad_argument(stringify!($op), "output", format!("{want:?}"), "an extent for each axis");
                    }
                    let of = |list: &[usize], axis: usize| list.get(axis).or(list.first()).copied().unwrap_or(0);
                    let mut more = Vec::new();
                    for axis in 0..$n {
                        let (stride, dilation) = (of(&self.conv.stride, axis), of(&self.conv.dilation, axis));
                        let reach = dilation.checked_mul(w[axis + 2].saturating_sub(1));
                        let least = (shape[spatial + axis].saturating_sub(1).checked_mul(stride))
                            .zip(reach)
                            .and_then(|(steps, reach)| steps.checked_add(reach)?.checked_add(1))
                            .zip(of(&self.conv.padding, axis).checked_mul(2))
                            .and_then(|(whole, padding)| whole.checked_sub(padding));
                        match least.and_then(|least| want[axis].checked_sub(least)) {
                            Some(extra) if extra < stride => more.push(extra),
                            _ => {
                                let why = "a size that the convolution maps back to that of x";
                                return x.bad_argument(stringify!($op), "output", format!("{want:?}"), why);
                            }
                        }
                    }
                    let bias = self.bias.as_deref().map(|bias| &**bias);
                    x.$op(&self.weight, bias, &ConvTranspose { output_padding: more, ..self.conv.clone() })
                })
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                self.with_weight(&self.weight, x)
            }
        }

        impl Weighted for $name {
            const AXIS: usize = 1;

            fn weight(&self) -> &Param {
                &self.weight
            }

            fn bias(&self) -> Option<&Param> {
                self.bias.as_ref()
            }

            fn with_parameters(self, weight: Param, bias: Option<Param>) -> Self {
                Self { weight, bias, ..self }
            }

            fn outputs(&self) -> usize {
                let within = self.weight.shape().map_or(0, |shape| shape.get(1).copied().unwrap_or(0));
                within.saturating_mul(self.conv.groups)
            }

            fn visit_rest(&self, visitor: &mut Visitor<'_>) {
                visitor.field("bias", &self.bias);
            }

            #[track_caller]
            fn with_weight(&self, weight: &Tensor, x: &Tensor) -> Tensor {
                x.$op(weight, self.bias.as_deref().map(|bias| &**bias), &self.conv)
            }
        }
    };
}

conv_transpose! {
    /// The gradient of a convolution as a layer, over one spatial axis.
    ///
    /// Shapes: `x [batch, inputs, length]` → `[batch, outputs, length']`; `weight`
    /// `[inputs, outputs/groups, kernel]`;
    /// length' = (length − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1.
    ConvTranspose1d, 1, conv_transpose1d
}

conv_transpose! {
    /// The gradient of a convolution as a layer, over two spatial axes; sizes as for [`ConvTranspose1d`].
    ConvTranspose2d, 2, conv_transpose2d
}

conv_transpose! {
    /// The gradient of a convolution as a layer, over three spatial axes; sizes as for [`ConvTranspose1d`].
    ConvTranspose3d, 3, conv_transpose3d
}
