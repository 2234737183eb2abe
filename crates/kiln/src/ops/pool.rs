//! Pooling: the largest or the mean element of each window.

use super::conv::{LARGEST, spread, windows};
use super::{Lit, view::Extents};
use crate::node::{Op, composed};
use crate::{DType, Shape, Tensor};

/// How a pooling window moves. Each list has an entry per spatial axis; one entry serves all axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Extent of the window.
    pub kernel: Vec<usize>,
    /// Steps between windows; empty means the window's extent.
    pub stride: Vec<usize>,
    /// What is put on both sides: −∞ for the maximum, 0 for the mean.
    pub padding: Vec<usize>,
    /// Distance between the elements of a window (maximum only).
    pub dilation: Vec<usize>,
    /// Whether a last window may reach past the end.
    pub ceil: bool,
    /// Whether padding counts in the mean.
    pub count_padding: bool,
    /// What the sum of a window is divided by in place of its size (mean only): PyTorch's `divisor_override`.
    pub divisor: Option<usize>,
}

impl Pool {
    /// Windows of `kernel` that do not overlap.
    pub fn new(kernel: usize) -> Self {
        Self {
            kernel: vec![kernel],
            stride: vec![],
            padding: vec![0],
            dilation: vec![1],
            ceil: false,
            count_padding: true,
            divisor: None,
        }
    }
}

/// What the sum of a window is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Divide {
    WithPadding,
    WithoutPadding,
    By(usize),
}

/// All sizes of a pooling, as 3-D with leading axes of extent 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// Images times channels.
    pub(crate) planes: usize,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) padding: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) divide: Divide,
    /// Window `i` of `output` over `input` is ⌊i·input/output⌋ .. ⌈(i + 1)·input/output⌉; kernel, stride and the
    /// rest do not count.
    pub(crate) adaptive: bool,
}

/// The methods of one kind of pooling, for one to three spatial axes.
macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident: $rank:literal => $body:ident -> $out:ty;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, pool: &Pool) -> $out {
                composed(stringify!($name), || self.$body(stringify!($name), $rank, pool))
            }
        )*}
    };
}

pools! {
    /// The largest element of each window of `x [batch, channels, length]`.
    max_pool1d: 1 => max_pool_values -> Tensor;
    /// The largest element of each window of `x [batch, channels, height, width]`.
    max_pool2d: 2 => max_pool_values -> Tensor;
    /// The largest element of each window of `x [batch, channels, depth, height, width]`.
    max_pool3d: 3 => max_pool_values -> Tensor;
    /// As [`Tensor::max_pool1d`], with where in its line each maximum is.
    max_pool1d_with_index: 1 => max_pool -> (Tensor, Tensor);
    /// As [`Tensor::max_pool2d`], with where in its image each maximum is, counted row by row.
    max_pool2d_with_index: 2 => max_pool -> (Tensor, Tensor);
    /// As [`Tensor::max_pool3d`], with where in its volume each maximum is, counted row by row.
    max_pool3d_with_index: 3 => max_pool -> (Tensor, Tensor);
    /// The mean of each window of `x [batch, channels, length]`.
    avg_pool1d: 1 => avg_pool -> Tensor;
    /// The mean of each window of `x [batch, channels, height, width]`.
    avg_pool2d: 2 => avg_pool -> Tensor;
    /// The mean of each window of `x [batch, channels, depth, height, width]`.
    avg_pool3d: 3 => avg_pool -> Tensor;
}

/// The methods of pooling to a given size, for one to three spatial axes.
macro_rules! adaptive_pools {
    ($($(#[$doc:meta])* $name:ident: $rank:literal => $body:ident -> $out:ty;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, output: impl Extents) -> $out {
                composed(stringify!($name), || self.$body(stringify!($name), $rank, &output.list()))
            }
        )*}
    };
}

adaptive_pools! {
    /// The mean of each of `output` windows that cover `x [batch, channels, length]` as evenly as whole elements
    /// allow: window i is ⌊i·length/output⌋ .. ⌈(i + 1)·length/output⌉. An output of −1 keeps the length.
    adaptive_avg_pool1d: 1 => adaptive_avg -> Tensor;
    /// As [`Tensor::adaptive_avg_pool1d`] along both axes of images: one size for both or one for each.
    adaptive_avg_pool2d: 2 => adaptive_avg -> Tensor;
    /// As [`Tensor::adaptive_avg_pool1d`] along the three axes of volumes: one size for all or one for each.
    adaptive_avg_pool3d: 3 => adaptive_avg -> Tensor;
    /// The largest element of each window of [`Tensor::adaptive_avg_pool1d`].
    adaptive_max_pool1d: 1 => adaptive_max_values -> Tensor;
    /// The largest element of each window of [`Tensor::adaptive_avg_pool2d`].
    adaptive_max_pool2d: 2 => adaptive_max_values -> Tensor;
    /// The largest element of each window of [`Tensor::adaptive_avg_pool3d`].
    adaptive_max_pool3d: 3 => adaptive_max_values -> Tensor;
    /// As [`Tensor::adaptive_max_pool1d`], with where in its line each maximum is.
    adaptive_max_pool1d_with_index: 1 => adaptive_max -> (Tensor, Tensor);
    /// As [`Tensor::adaptive_max_pool2d`], with where in its image each maximum is, counted row by row.
    adaptive_max_pool2d_with_index: 2 => adaptive_max -> (Tensor, Tensor);
    /// As [`Tensor::adaptive_max_pool3d`], with where in its volume each maximum is, counted row by row.
    adaptive_max_pool3d_with_index: 3 => adaptive_max -> (Tensor, Tensor);
}

/// The methods of power pooling.
macro_rules! lp_pools {
    ($($(#[$doc:meta])* $name:ident: $rank:literal;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, p: f32, pool: &Pool) -> Tensor {
                composed(stringify!($name), || self.lp_pool(stringify!($name), $rank, p, pool))
            }
        )*}
    };
}

lp_pools! {
    /// (Σ xᵖ)^(1/p) over each window of `x [batch, channels, length]`; the largest |x| for p = ∞, the smallest for −∞.
    /// Kernel, stride and ceil are as in [`Pool`]; there is no padding.
    lp_pool1d: 1;
    /// (Σ xᵖ)^(1/p) over each window of `x [batch, channels, height, width]`, as [`Tensor::lp_pool1d`].
    lp_pool2d: 2;
    /// (Σ xᵖ)^(1/p) over each window of `x [batch, channels, depth, height, width]`, as [`Tensor::lp_pool1d`].
    lp_pool3d: 3;
}

impl Tensor {
    fn max_pool_values(&self, op: &'static str, rank: usize, pool: &Pool) -> Tensor {
        self.max_pool(op, rank, pool).0
    }

    fn max_pool(&self, op: &'static str, rank: usize, pool: &Pool) -> (Tensor, Tensor) {
        self.max_of(self.window(op, rank, pool, true))
    }

    fn avg_pool(&self, op: &'static str, rank: usize, pool: &Pool) -> Tensor {
        self.mean_of(self.window(op, rank, pool, false))
    }

    fn adaptive_max_values(&self, op: &'static str, rank: usize, output: &[i64]) -> Tensor {
        self.adaptive_max(op, rank, output).0
    }

    fn adaptive_max(&self, op: &'static str, rank: usize, output: &[i64]) -> (Tensor, Tensor) {
        self.max_of(self.adaptive_window(op, rank, output))
    }

    fn adaptive_avg(&self, op: &'static str, rank: usize, output: &[i64]) -> Tensor {
        self.mean_of(self.adaptive_window(op, rank, output))
    }

    fn max_of(&self, window: Result<(Window, Shape), Tensor>) -> (Tensor, Tensor) {
        match window {
            Ok((window, shape)) => {
                let y = Tensor::make(Op::MaxPool(Box::new(window)), &[&self.cast(DType::F32)], shape, DType::F32);
                let index = Tensor::make(Op::Second, &[&y], shape, DType::I32);
                (y.cast(self.dtype()), index)
            }
            Err(invalid) => (invalid.clone(), invalid),
        }
    }

    fn mean_of(&self, window: Result<(Window, Shape), Tensor>) -> Tensor {
        match window {
            Ok((window, shape)) => {
                Tensor::make(Op::AvgPool(Box::new(window)), &[&self.cast(DType::F32)], shape, DType::F32)
                    .cast(self.dtype())
            }
            Err(invalid) => invalid,
        }
    }

    fn lp_pool(&self, op: &'static str, rank: usize, p: f32, pool: &Pool) -> Tensor {
        if p == 0.0 || p.is_nan() {
            return self.bad_argument(op, "p", p, "a number other than 0");
        }
        if pool.padding.iter().any(|&n| n > 0) || pool.dilation.iter().any(|&n| n != 1) {
            return self.bad_argument(op, "pool", format!("{pool:?}"), "no padding and no dilation");
        }
        if p.is_infinite() {
            let sizes = self.abs();
            let most = |x: &Tensor| x.max_pool_values(op, rank, pool);
            return if p > 0.0 { most(&sizes) } else { -most(&-sizes) };
        }
        let Some(kernel) = spread(&pool.kernel, rank, 1) else { return self.avg_pool(op, rank, pool) };
        // PyTorch's formula: the mean times the window's size, even where a window hangs over
        let how = Pool { count_padding: true, divisor: None, ..pool.clone() };
        let mean = self.powf(p).avg_pool(op, rank, &how);
        let sum = mean.sign() * mean.abs().relu() * Lit(kernel.iter().product::<usize>() as f32);
        sum.powf(1.0 / p)
    }

    /// Checks what all pooling asks of its operand; the number of leading axes.
    fn poolable(&self, op: &'static str, rank: usize) -> Result<usize, Tensor> {
        if self.error().is_some() {
            return Err(self.current());
        }
        if !self.dtype().is_float() {
            return Err(Tensor::bad_dtype(op, &[self], "floats only; cast first"));
        }
        let own = self.shape_or_scalar();
        if own.rank() != rank + 2 && own.rank() != rank + 1 {
            return Err(Tensor::bad_shape(op, &[self], "[batch, channels, ..] or [channels, ..]"));
        }
        let lead = own.rank() - rank;
        if own[lead..].contains(&0) {
            return Err(Tensor::bad_shape(op, &[self], "the images are empty"));
        }
        Ok(lead)
    }

    /// The windows that `pool` describes and the shape of the result.
    fn window(&self, op: &'static str, rank: usize, pool: &Pool, dilated: bool) -> Result<(Window, Shape), Tensor> {
        let lead = self.poolable(op, rank)?;
        let own = self.shape_or_scalar();
        let stride = if pool.stride.is_empty() { &pool.kernel } else { &pool.stride };
        let dilation = if dilated { &pool.dilation[..] } else { &[1] };
        let lists = (
            spread(&pool.kernel, rank, 1),
            spread(stride, rank, 1),
            spread(&pool.padding, rank, 0),
            spread(dilation, rank, 1),
        );
        let wrong = |why| self.bad_argument(op, "pool", format!("{pool:?}"), why);
        let (Some(kernel), Some(stride), Some(padding), Some(dilation)) = lists else {
            return Err(wrong("one entry per spatial axis, or one for all"));
        };
        let outside = |n: &usize| *n == 0 || *n > LARGEST;
        if [kernel, stride, dilation].as_flattened().iter().any(outside) || (0..3).any(|a| padding[a] > kernel[a] / 2) {
            return Err(wrong("window, stride and dilation are at least 1, padding at most half of the window"));
        }
        if pool.divisor.as_ref().is_some_and(outside) {
            return Err(wrong("a divisor is at least 1"));
        }
        let Some(input) = spread(&own[lead..], rank, 1) else { return Err(wrong("one extent per spatial axis")) };
        // of volumes only, whatever the padding is: PyTorch's rule for the mean and the power
        if rank == 3 && !dilated && (0..3).any(|a| input[a] < kernel[a]) {
            return Err(Tensor::bad_shape(op, &[self], "the window is larger than the volume"));
        }
        let mut output = [1; 3];
        for a in 0..3 {
            // ceil mode lets the last window hang over, if it starts inside of the image or the padding before it
            let over = if pool.ceil { stride[a] - 1 } else { 0 };
            let Some(mut n) = windows(input[a], 2 * padding[a] + over, dilation[a], kernel[a], stride[a]) else {
                return Err(Tensor::bad_shape(op, &[self], "the window is larger than the padded image"));
            };
            if pool.ceil && (n - 1) * stride[a] >= input[a] + padding[a] {
                n -= 1;
            }
            output[a] = n;
        }
        let divide = match pool.divisor {
            Some(n) => Divide::By(n),
            None if pool.count_padding => Divide::WithPadding,
            None => Divide::WithoutPadding,
        };
        let planes = own[..lead].iter().product();
        let window = Window { planes, input, output, kernel, stride, padding, dilation, divide, adaptive: false };
        self.pooled(op, window, lead)
    }

    /// The windows of adaptive pooling and the shape of the result.
    fn adaptive_window(&self, op: &'static str, rank: usize, output: &[i64]) -> Result<(Window, Shape), Tensor> {
        let lead = self.poolable(op, rank)?;
        let own = self.shape_or_scalar();
        let wrong = || {
            let why = "one size per spatial axis, or one for all; -1 keeps the axis";
            self.bad_argument(op, "output", format!("{output:?}"), why)
        };
        if output.iter().any(|&n| n < -1 || n > LARGEST as i64) {
            return Err(wrong());
        }
        let kept = usize::MAX;
        let sizes: Vec<usize> = output.iter().map(|&n| usize::try_from(n).unwrap_or(kept)).collect();
        let (Some(mut output), Some(input)) = (spread(&sizes, rank, 1), spread(&own[lead..], rank, 1)) else {
            return Err(wrong());
        };
        (0..3).filter(|&a| output[a] == kept).collect::<Vec<_>>().into_iter().for_each(|a| output[a] = input[a]);
        let planes = own[..lead].iter().product();
        // windows that tile their axis evenly are ordinary ones, whose kernel knows its size
        if (0..3).all(|a| output[a] > 0 && input[a].is_multiple_of(output[a])) {
            let kernel = [0, 1, 2].map(|a| input[a] / output[a]);
            let (padding, dilation) = ([0; 3], [1; 3]);
            let divide = Divide::WithPadding;
            let window =
                Window { planes, input, output, kernel, stride: kernel, padding, dilation, divide, adaptive: false };
            return self.pooled(op, window, lead);
        }
        let one = [1; 3];
        let window = Window {
            planes,
            input,
            output,
            kernel: one,
            stride: one,
            padding: [0; 3],
            dilation: one,
            divide: Divide::WithoutPadding,
            adaptive: true,
        };
        self.pooled(op, window, lead)
    }

    /// A window with the shape of its result: the leading axes, then the window's.
    fn pooled(&self, op: &'static str, window: Window, lead: usize) -> Result<(Window, Shape), Tensor> {
        let own = self.shape_or_scalar();
        let rank = own.rank() - lead;
        let dims: Vec<usize> = own[..lead].iter().chain(&window.output[3 - rank..]).copied().collect();
        match Shape::new(&dims) {
            Some(shape) => Ok((window, shape)),
            None => Err(Tensor::bad_shape(op, &[self], "the result has too many elements")),
        }
    }

    /// The mean over all positions of `x [batch, channels, ..]`, kept with extents of 1: adaptive pooling to 1.
    #[track_caller]
    pub fn global_avg_pool(&self) -> Tensor {
        if self.error().is_none() && self.rank() < 3 {
            return Tensor::bad_shape("global_avg_pool", &[self], "[batch, channels, ..]");
        }
        let axes: Vec<i64> = (2..self.rank() as i64).collect();
        self.mean_axes(axes, true)
    }
}

/// Each window's gradient goes to where its maximum was.
pub(crate) fn max_vjp(window: &Window, dy: &Tensor, x: &Tensor, y: &Tensor) -> Tensor {
    let index = Tensor::make(Op::Second, &[y], y.shape_or_scalar(), DType::I32);
    Tensor::make(Op::MaxPoolGrad(Box::new(window.clone())), &[&index, dy], x.shape_or_scalar(), dy.dtype())
}

/// The gradient of that, which is linear: the elements at the maxima.
pub(crate) fn max_grad_vjp(window: &Window, d: &Tensor, index: &Tensor) -> Tensor {
    let (planes, area) = (window.planes, window.input.iter().product());
    let out = window.output.iter().product();
    let flat = d.to_shape(Shape::of(&[planes, area]));
    flat.gather(1, &index.to_shape(Shape::of(&[planes, out]))).to_shape(index.shape_or_scalar())
}

/// Each window's gradient is shared by its elements.
pub(crate) fn avg_vjp(window: &Window, dy: &Tensor, x: &Tensor) -> Tensor {
    Tensor::make(Op::AvgPoolGrad(Box::new(window.clone())), &[dy], x.shape_or_scalar(), dy.dtype())
}

/// The gradient of that is the mean again.
pub(crate) fn avg_grad_vjp(window: &Window, d: &Tensor, dy: &Tensor) -> Tensor {
    Tensor::make(Op::AvgPool(Box::new(window.clone())), &[d], dy.shape_or_scalar(), d.dtype())
}
