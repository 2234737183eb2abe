//! Unpooling: elements put back to where their maxima were.

use super::Lit;
use super::conv::{LARGEST, spread};
use super::pool::Pool;
use crate::node::{Op, composed};
use crate::{Shape, Tensor};

impl Tensor {
    /// Zeros of `output` with each element of `x [batch, channels, length]` where `index`, from
    /// [`Tensor::max_pool1d_with_index`], says. Without an `output` its length is (length − 1)·stride − 2·padding + kernel;
    /// a given one may differ by less than a stride. Of equal indices the last is taken; all of them have gradients.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if index and x differ in shape, [`crate::Error::Argument`] for an
    /// impossible output, [`crate::Error::Index`] for an index outside of it.
    #[track_caller]
    pub fn max_unpool1d(&self, index: &Tensor, pool: &Pool, output: Option<&[usize]>) -> Tensor {
        composed("max_unpool1d", || self.max_unpool("max_unpool1d", 1, index, pool, output))
    }

    /// As [`Tensor::max_unpool1d`] over the planes of `x [batch, channels, height, width]`.
    #[track_caller]
    pub fn max_unpool2d(&self, index: &Tensor, pool: &Pool, output: Option<&[usize]>) -> Tensor {
        composed("max_unpool2d", || self.max_unpool("max_unpool2d", 2, index, pool, output))
    }

    /// As [`Tensor::max_unpool1d`] over the volumes of `x [batch, channels, depth, height, width]`.
    #[track_caller]
    pub fn max_unpool3d(&self, index: &Tensor, pool: &Pool, output: Option<&[usize]>) -> Tensor {
        composed("max_unpool3d", || self.max_unpool("max_unpool3d", 3, index, pool, output))
    }

    fn max_unpool(
        &self,
        op: &'static str,
        rank: usize,
        index: &Tensor,
        pool: &Pool,
        output: Option<&[usize]>,
    ) -> Tensor {
        if let Some(bad) = [self, index].into_iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        if !index.dtype().is_int() || !self.dtype().is_float() {
            return Tensor::bad_dtype(op, &[self, index], "x is of floats, indices are i32 or u32");
        }
        let own = self.shape_or_scalar();
        if own.rank() != rank + 2 && own.rank() != rank + 1 {
            return Tensor::bad_shape(op, &[self], "[batch, channels, ..] or [channels, ..]");
        }
        if own != index.shape_or_scalar() {
            return Tensor::bad_shape(op, &[self, index], "an index for each element");
        }
        let lead = own.rank() - rank;
        let size = match self.unpooled(op, rank, &own[lead..], pool, output) {
            Ok(size) => size,
            Err(invalid) => return invalid,
        };
        let dims: Vec<usize> = own[..lead].iter().chain(&size).copied().collect();
        let Some(shape) = Shape::new(&dims) else {
            return Tensor::bad_shape(op, &[self], "the result has too many elements");
        };
        let (planes, places) = (own[..lead].iter().product::<usize>(), own[lead..].iter().product::<usize>());
        let area: usize = size.iter().product();
        if shape.numel() > LARGEST || shape.numel() == 0 || self.numel() == 0 {
            return Tensor::zeros(self.device(), dims).cast(self.dtype());
        }
        // an element's place among all planes; reading the place from 0, 1, … notices one out of range
        let device = &self.0.device;
        let within = Tensor::iota(device, area).index_select(0, &index.reshape([-1i64]));
        let plane = (Tensor::iota(device, planes) * area as i32).unsqueeze(1).expand([planes, places]).reshape([-1i64]);
        let (places, order) = (within + plane).sort(0, false);
        // the sort is stable, so the last of a run is the last of the input
        let count = self.numel();
        let next = Tensor::cat(&[&places.slice_op(0, 1, 1, count - 1), &Tensor::full(device, [1], -1)], 0);
        let taken = self.reshape([-1i64]).index_select(0, &order);
        // the others are 0, but for gradients, which all get, as in PyTorch; what is not finite has no such 0
        let finite = Tensor::where_(&taken.isfinite(), &taken, Lit(0.0));
        let kept = Tensor::where_(&places.ne(&next), &taken, &finite - finite.detach());
        let rows = Tensor::iota(device, count);
        let flat = Tensor::make(Op::SegmentSum, &[&places, &rows, &kept], Shape::of(&[shape.numel()]), kept.dtype());
        flat.to_shape(shape)
    }

    /// The spatial sizes of what is unpooled.
    fn unpooled(
        &self,
        op: &'static str,
        rank: usize,
        own: &[usize],
        pool: &Pool,
        output: Option<&[usize]>,
    ) -> Result<Vec<usize>, Tensor> {
        let stride = if pool.stride.is_empty() { &pool.kernel } else { &pool.stride };
        let lists = (spread(&pool.kernel, rank, 1), spread(stride, rank, 1), spread(&pool.padding, rank, 0));
        let (Some(kernel), Some(stride), Some(padding)) = lists else {
            return Err(self.bad_argument(
                op,
                "pool",
                format!("{pool:?}"),
                "one entry per spatial axis, or one for all",
            ));
        };
        if [kernel, stride].as_flattened().iter().any(|&n| n == 0 || n > LARGEST)
            || padding.iter().any(|&n| n > LARGEST)
        {
            return Err(self.bad_argument(op, "pool", format!("{pool:?}"), "window and stride are at least 1"));
        }
        let fitting: Vec<i128> = (0..rank)
            .map(|a| {
                let at = 3 - rank + a;
                (own[a] as i128 - 1) * stride[at] as i128 + kernel[at] as i128 - 2 * padding[at] as i128
            })
            .collect();
        let given: Vec<i128> = match output {
            None => fitting.clone(),
            // as in PyTorch, leading axes may be given too
            Some(list) if list.len() == rank + 2 => list[2..].iter().map(|&n| n as i128).collect(),
            Some(list) => list.iter().map(|&n| n as i128).collect(),
        };
        let near = |a: usize| (given[a] - fitting[a]).abs() < stride[3 - rank + a] as i128;
        if given.len() != rank || !(0..rank).all(near) || given.iter().any(|&n| n < 0 || n > LARGEST as i128) {
            let why = "one size per spatial axis, not negative, less than a stride from the size of the pooled image";
            return Err(self.bad_argument(op, "output", format!("{given:?}"), why));
        }
        Ok(given.into_iter().map(|n| n as usize).collect())
    }
}
