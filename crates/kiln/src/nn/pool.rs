//! Pooling: the largest or the mean element of each window, and what undoes it.

use super::dropout::Noise;
use super::{Forward, Module, sizes};
use crate::init::Init;
use crate::{Extents, Pool, Shape, Tensor};

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
    ($(#[$doc:meta])* $name:ident, $op:ident, $with_index:ident) => {
        pool! { $(#[$doc])* $name, $op, {
            /// The maxima, and where in its plane each is (`I32`, in the shape of the maxima), for unpooling.
            #[track_caller]
            pub fn with_index(&self, x: &Tensor) -> (Tensor, Tensor) {
                x.$with_index(&self.pool)
            }

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

            /// Divides by this number instead: PyTorch's `divisor_override`.
            #[must_use]
            pub fn divisor(mut self, divisor: usize) -> Self {
                self.pool.divisor = Some(divisor);
                self
            }
        } }
    };
}

max_pool! {
    /// The largest element of each window; NaN wins. Shapes: `[batch, channels, length]` → `[.., length']`.
    MaxPool1d, max_pool1d, max_pool1d_with_index
}

max_pool! {
    /// The largest element of each window; NaN wins. Shapes: `[batch, channels, h, w]` → `[.., h', w']`.
    MaxPool2d, max_pool2d, max_pool2d_with_index
}

max_pool! {
    /// The largest element of each window; NaN wins. Shapes: `[batch, channels, d, h, w]` → `[.., d', h', w']`.
    MaxPool3d, max_pool3d, max_pool3d_with_index
}

avg_pool! {
    /// The mean of each window. Shapes: `[batch, channels, length]` → `[.., length']`.
    AvgPool1d, avg_pool1d
}

avg_pool! {
    /// The mean of each window. Shapes: `[batch, channels, h, w]` → `[.., h', w']`.
    AvgPool2d, avg_pool2d
}

avg_pool! {
    /// The mean of each window. Shapes: `[batch, channels, d, h, w]` → `[.., d', h', w']`.
    AvgPool3d, avg_pool3d
}

macro_rules! lp_pools {
    ($($(#[$doc:meta])* $name:ident, $op:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone)]
        pub struct $name {
            /// The exponent.
            pub p: f32,
            /// Window and stride.
            pub pool: Pool,
        }

        impl $name {
            /// Norm `p` of windows of size `kernel` which do not overlap.
            pub fn new(p: f32, kernel: impl Extents) -> Self {
                Self { p, pool: Pool { kernel: sizes(&kernel), ..Pool::new(1) } }
            }

            /// Sets the steps between windows; their size by default.
            #[must_use]
            pub fn stride(mut self, stride: impl Extents) -> Self {
                self.pool.stride = sizes(&stride);
                self
            }

            /// Lets the last window reach past the end.
            #[must_use]
            pub fn ceil_mode(mut self) -> Self {
                self.pool.ceil = true;
                self
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$op(self.p, &self.pool)
            }
        }
    )*};
}

lp_pools! {
    /// (Σ xᵖ)^(1/p) over each window of `[batch, channels, length]`.
    LpPool1d, lp_pool1d;
    /// (Σ xᵖ)^(1/p) over each window of `[batch, channels, h, w]`.
    LpPool2d, lp_pool2d;
    /// (Σ xᵖ)^(1/p) over each window of `[batch, channels, d, h, w]`.
    LpPool3d, lp_pool3d;
}

macro_rules! adaptive_pools {
    ($($(#[$doc:meta])* $name:ident, $op:ident $(, $with_index:ident)?;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone)]
        pub struct $name {
            /// Extents of the result: one for all axes or one for each; −1 keeps that of the input.
            #[module(skip)]
            pub output: Vec<i64>,
        }

        impl $name {
            /// Pools any size to `output`.
            pub fn new(output: impl Extents) -> Self {
                Self { output: output.list() }
            }

            $(
                /// The maxima, and where in its plane each is (`I32`, in the shape of the maxima), for unpooling.
                #[track_caller]
                pub fn with_index(&self, x: &Tensor) -> (Tensor, Tensor) {
                    x.$with_index(&self.output)
                }
            )?
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$op(&self.output)
            }
        }
    )*};
}

adaptive_pools! {
    /// The mean of each of `output` windows that cover the length as evenly as whole elements allow:
    /// window i is ⌊i·n/output⌋ .. ⌈(i + 1)·n/output⌉.
    AdaptiveAvgPool1d, adaptive_avg_pool1d;
    /// The mean of each of `output` windows of images.
    AdaptiveAvgPool2d, adaptive_avg_pool2d;
    /// The mean of each of `output` windows of volumes.
    AdaptiveAvgPool3d, adaptive_avg_pool3d;
    /// The largest element of each of `output` windows.
    AdaptiveMaxPool1d, adaptive_max_pool1d, adaptive_max_pool1d_with_index;
    /// The largest element of each of `output` windows of images.
    AdaptiveMaxPool2d, adaptive_max_pool2d, adaptive_max_pool2d_with_index;
    /// The largest element of each of `output` windows of volumes.
    AdaptiveMaxPool3d, adaptive_max_pool3d, adaptive_max_pool3d_with_index;
}

macro_rules! unpools {
    ($($(#[$doc:meta])* $name:ident, $op:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone)]
        pub struct $name {
            /// Window, stride and padding of the pooling that is undone.
            pub pool: Pool,
        }

        impl $name {
            /// Undoes maximum pooling with windows of size `kernel`.
            pub fn new(kernel: impl Extents) -> Self {
                Self { pool: Pool { kernel: sizes(&kernel), ..Pool::new(1) } }
            }

            /// Sets the steps between windows; their size by default.
            #[must_use]
            pub fn stride(mut self, stride: impl Extents) -> Self {
                self.pool.stride = sizes(&stride);
                self
            }

            /// Sets the padding.
            #[must_use]
            pub fn padding(mut self, padding: impl Extents) -> Self {
                self.pool.padding = sizes(&padding);
                self
            }

            /// Puts the maxima `x` back to where `index` says, among zeros; `output` chooses the extents of the
            /// result where several are possible.
            #[track_caller]
            pub fn forward(&self, x: &Tensor, index: &Tensor, output: Option<&[usize]>) -> Tensor {
                x.$op(index, &self.pool, output)
            }
        }
    )*};
}

unpools! {
    /// The inverse of [`MaxPool1d`], with zeros for what was lost.
    MaxUnpool1d, max_unpool1d;
    /// The inverse of [`MaxPool2d`], with zeros for what was lost.
    MaxUnpool2d, max_unpool2d;
    /// The inverse of [`MaxPool3d`], with zeros for what was lost.
    MaxUnpool3d, max_unpool3d;
}

/// What a fractional pooling makes of the spatial axes.
#[derive(Debug, Clone)]
enum Target {
    /// These extents.
    Extents(Vec<usize>),
    /// These shares of the extents, rounded down.
    Shares(Vec<f64>),
}

impl Target {
    /// The extents for an input of these.
    fn of(&self, input: &[usize]) -> Vec<usize> {
        match self {
            Target::Extents(extents) => extents.clone(),
            Target::Shares(shares) => input.iter().zip(shares).map(|(&n, share)| (n as f64 * share) as usize).collect(),
        }
    }
}

macro_rules! fractional {
    ($($(#[$doc:meta])* $name:ident, $n:literal, $op:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Source: Graham 2014, "Fractional Max-Pooling".
        #[derive(Module)]
        pub struct $name {
            #[module(skip)]
            kernel: Vec<usize>,
            #[module(skip)]
            output: Target,
            #[module(flatten)]
            noise: Noise,
        }

        impl $name {
            /// Windows of size `kernel` at random places, to the extents `output`.
            pub fn new(kernel: impl Extents, output: impl Extents, init: &mut Init) -> Self {
                Self::to(kernel, Target::Extents(full(sizes(&output), $n)), init)
            }

            /// The same to shares of the extents, each between 0 and 1: PyTorch's `output_ratio`.
            pub fn by(kernel: impl Extents, ratio: [f64; $n], init: &mut Init) -> Self {
                Self::to(kernel, Target::Shares(ratio.to_vec()), init)
            }

            fn to(kernel: impl Extents, output: Target, init: &mut Init) -> Self {
                Self { kernel: full(sizes(&kernel), $n), output, noise: Noise::new(init) }
            }

            /// The maxima, and where in its plane each is (`I32`, in the shape of the maxima).
            #[track_caller]
            pub fn with_index(&self, x: &Tensor) -> (Tensor, Tensor) {
                let Ok(shape) = x.shape() else { return (x.clone(), x.clone()) };
                let dims = match shape.rank().checked_sub($n) {
                    Some(2) => vec![shape[0], shape[1], $n],
                    Some(1) => vec![1, shape[0], $n],
                    _ => vec![0, 0, $n], // the operation says what is wrong
                };
                let samples = Shape::new(&dims).unwrap_or(shape);
                self.with_samples(x, &self.noise.uniform(x.device(), samples))
            }

            /// The same at places that `samples [batch, channels, axes]` in [0, 1) choose: PyTorch's `_random_samples`.
            #[track_caller]
            pub fn with_samples(&self, x: &Tensor, samples: &Tensor) -> (Tensor, Tensor) {
                let Ok(shape) = x.shape() else { return (x.clone(), x.clone()) };
                let output = self.output.of(&shape[shape.rank().saturating_sub($n)..]);
                x.$op(&self.kernel, &output, samples)
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                self.with_index(x).0
            }
        }
    )*};
}

/// One entry for each axis.
fn full(list: Vec<usize>, axes: usize) -> Vec<usize> {
    if list.len() == 1 { vec![list[0]; axes] } else { list }
}

fractional! {
    /// Maxima of windows whose places are drawn anew each time, also in evaluation mode, as in PyTorch.
    FractionalMaxPool2d, 2, fractional_max_pool2d;
    /// The same over volumes.
    FractionalMaxPool3d, 3, fractional_max_pool3d;
}
