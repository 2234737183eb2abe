//! Pooling: the largest or the mean element of each window.

use super::{Forward, Module, sizes};
use crate::{Extents, Pool, Tensor};

/// A pooling layer: its name, the method, and the settings that only it has.
macro_rules! pool {
    ($(#[$doc:meta])* $name:ident, $op:ident, { $($own:item)* }) => {
        $(#[$doc])*
        #[derive(Module, Debug, Clone)]
        pub struct $name {
            /// Window, stride, padding and the rest.
            pub pool: Pool,
        }

        impl $name {
            /// Windows of size `kernel`, one size or one for each axis, which do not overlap.
            pub fn new(kernel: impl Extents) -> Self {
                Self { pool: Pool { kernel: sizes(&kernel), ..Pool::new(1) } }
            }

            /// Sets the steps between windows; their size by default.
            #[must_use]
            pub fn stride(mut self, stride: impl Extents) -> Self {
                self.pool.stride = sizes(&stride);
                self
            }

            /// Sets what is put on both sides, at most half of the window.
            #[must_use]
            pub fn padding(mut self, padding: impl Extents) -> Self {
                self.pool.padding = sizes(&padding);
                self
            }

            /// Lets the last window reach past the end.
            #[must_use]
            pub fn ceil_mode(mut self) -> Self {
                self.pool.ceil = true;
                self
            }

            $($own)*
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$op(&self.pool)
            }
        }
    };
}

/// Maximum pooling: the distance between the elements of a window can be set.
macro_rules! max_pool {
    ($(#[$doc:meta])* $name:ident, $op:ident) => {
        pool! { $(#[$doc])* $name, $op, {
            /// Sets the distance between the elements of a window.
            #[must_use]
            pub fn dilation(mut self, dilation: impl Extents) -> Self {
                self.pool.dilation = sizes(&dilation);
                self
            }
        } }
    };
}

/// Mean pooling: padding may count or not.
macro_rules! avg_pool {
    ($(#[$doc:meta])* $name:ident, $op:ident) => {
        pool! { $(#[$doc])* $name, $op, {
            /// Divides by the number of elements inside of the image, not by the size of the window.
            #[must_use]
            pub fn without_padding(mut self) -> Self {
                self.pool.count_padding = false;
                self
            }
        } }
    };
}

max_pool! {
    /// The largest element of each window; NaN wins. Shapes: `[batch, channels, length]` → `[.., length']`.
    MaxPool1d, max_pool1d
}

max_pool! {
    /// The largest element of each window; NaN wins. Shapes: `[batch, channels, h, w]` → `[.., h', w']`.
    MaxPool2d, max_pool2d
}

avg_pool! {
    /// The mean of each window. Shapes: `[batch, channels, length]` → `[.., length']`.
    AvgPool1d, avg_pool1d
}

avg_pool! {
    /// The mean of each window. Shapes: `[batch, channels, h, w]` → `[.., h', w']`.
    AvgPool2d, avg_pool2d
}

/// The mean of each of `output` windows that cover the length as evenly as whole elements allow:
/// window i is ⌊i·n/output⌋ .. ⌈(i + 1)·n/output⌉.
#[derive(Module, Debug, Clone)]
pub struct AdaptiveAvgPool1d {
    /// Length of the result.
    pub output: usize,
}

impl AdaptiveAvgPool1d {
    /// Pools any length to `output`.
    pub fn new(output: usize) -> Self {
        Self { output }
    }
}

impl Forward for AdaptiveAvgPool1d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        adaptive(x, &[self.output])
    }
}

/// The same over two axes: `[batch, channels, h, w]` → `[batch, channels, output h, output w]`.
#[derive(Module, Debug, Clone)]
pub struct AdaptiveAvgPool2d {
    /// Height and width of the result.
    pub output: [usize; 2],
}

impl AdaptiveAvgPool2d {
    /// Pools any image to `output`, one size for both axes or one for each.
    pub fn new(output: impl Extents) -> Self {
        let list = sizes(&output);
        let at = |axis: usize| list.get(axis).or(list.first()).copied().unwrap_or(1);
        Self { output: [at(0), at(1)] }
    }
}

impl Forward for AdaptiveAvgPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        adaptive(x, &self.output)
    }
}

/// One axis at a time: the mean to size 1 is a reduction; where the sizes divide, the axis is cut
/// into windows; else each output is a row of a matrix of weights.
#[track_caller]
fn adaptive(x: &Tensor, output: &[usize]) -> Tensor {
    let mut x = x.clone();
    for (back, &outputs) in output.iter().rev().enumerate() {
        let axis = -1 - back as i64;
        let Ok(shape) = x.shape() else { return x };
        let Some(&inputs) = shape.len().checked_sub(back + 1).and_then(|at| shape.get(at)) else {
            return Tensor::bad_shape("adaptive_avg_pool", &[&x], "fewer axes than the pooling needs");
        };
        if inputs == outputs {
            continue;
        }
        x = if outputs == 1 {
            x.mean_axes(axis, true)
        } else if outputs > 0 && inputs.is_multiple_of(outputs) {
            let at = shape.len() - 1 - back;
            let mut cut = shape.to_vec();
            cut.splice(at..=at, [outputs, inputs / outputs]);
            x.reshape(cut).mean_axes(at + 1, false)
        } else {
            let weights = Tensor::from_vec(x.device(), windows(inputs, outputs), &[outputs, inputs]);
            x.transpose(axis, -1).matmul(&weights.t()).transpose(axis, -1)
        };
    }
    x
}

/// `[outputs, inputs]`: 1/size within each window, 0 elsewhere.
fn windows(inputs: usize, outputs: usize) -> Vec<f32> {
    let mut weights = vec![0.0; inputs * outputs];
    for (o, row) in weights.chunks_mut(inputs.max(1)).enumerate() {
        let (start, end) = (o * inputs / outputs, ((o + 1) * inputs).div_ceil(outputs));
        row[start..end].fill(1.0 / (end - start) as f32);
    }
    weights
}
