//! Pooling: the largest or the mean element of each window.

use super::conv::{spread, windows};
use crate::node::{Op, Origin, ascribed};
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
        }
    }
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
    pub(crate) count_padding: bool,
}

impl Tensor {
    /// The largest element of each window of `x [batch, channels, length]`.
    #[track_caller]
    pub fn max_pool1d(&self, pool: &Pool) -> Tensor {
        self.max_pool("max_pool1d", 1, pool).0
    }

    /// The largest element of each window of `x [batch, channels, height, width]`.
    #[track_caller]
    pub fn max_pool2d(&self, pool: &Pool) -> Tensor {
        self.max_pool("max_pool2d", 2, pool).0
    }

    /// As [`Tensor::max_pool2d`], with where in its image each maximum is, counted row by row.
    #[track_caller]
    pub fn max_pool2d_with_index(&self, pool: &Pool) -> (Tensor, Tensor) {
        self.max_pool("max_pool2d", 2, pool)
    }

    /// The mean of each window of `x [batch, channels, length]`.
    #[track_caller]
    pub fn avg_pool1d(&self, pool: &Pool) -> Tensor {
        self.avg_pool("avg_pool1d", 1, pool)
    }

    /// The mean of each window of `x [batch, channels, height, width]`.
    #[track_caller]
    pub fn avg_pool2d(&self, pool: &Pool) -> Tensor {
        self.avg_pool("avg_pool2d", 2, pool)
    }

    #[track_caller]
    fn max_pool(&self, op: &'static str, rank: usize, pool: &Pool) -> (Tensor, Tensor) {
        match self.window(op, rank, pool, true) {
            Ok((window, shape)) => {
                let y = Tensor::make(Op::MaxPool(Box::new(window)), &[&self.cast(DType::F32)], shape, DType::F32);
                let index = Tensor::make(Op::Second, &[&y], shape, DType::I32);
                (y.cast(self.dtype()), index)
            }
            Err(invalid) => (invalid.clone(), invalid),
        }
    }

    #[track_caller]
    fn avg_pool(&self, op: &'static str, rank: usize, pool: &Pool) -> Tensor {
        match self.window(op, rank, pool, false) {
            Ok((window, shape)) => {
                Tensor::make(Op::AvgPool(Box::new(window)), &[&self.cast(DType::F32)], shape, DType::F32)
                    .cast(self.dtype())
            }
            Err(invalid) => invalid,
        }
    }

    #[track_caller]
    fn window(&self, op: &'static str, rank: usize, pool: &Pool, dilated: bool) -> Result<(Window, Shape), Tensor> {
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
        let stride = if pool.stride.is_empty() { &pool.kernel } else { &pool.stride };
        let dilation = if dilated { &pool.dilation[..] } else { &[1] };
        let lists = (
            spread(&pool.kernel, rank, 1),
            spread(stride, rank, 1),
            spread(&pool.padding, rank, 0),
            spread(dilation, rank, 1),
        );
        let at = Tensor::origin_at(crate::error::At::here());
        let wrong = |why| {
            ascribed(Origin { at: Some(at), op: Some(op), ..self.origin() }, || {
                self.bad_argument(op, "pool", format!("{pool:?}"), why)
            })
        };
        let (Some(kernel), Some(stride), Some(padding), Some(dilation)) = lists else {
            return Err(wrong("one entry per spatial axis, or one for all"));
        };
        if kernel.contains(&0)
            || stride.contains(&0)
            || dilation.contains(&0)
            || (0..3).any(|a| padding[a] > kernel[a] / 2)
        {
            return Err(wrong("window, stride and dilation are at least 1, padding at most half of the window"));
        }
        let Some(input) = spread(&own[lead..], rank, 1) else { return Err(wrong("one extent per spatial axis")) };
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
        let planes = own[..lead].iter().product();
        let dims: Vec<usize> = own[..lead].iter().chain(&output[3 - rank..]).copied().collect();
        let window =
            Window { planes, input, output, kernel, stride, padding, dilation, count_padding: pool.count_padding };
        Ok((window, Shape::of(&dims)))
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
