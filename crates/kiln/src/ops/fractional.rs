//! Fractional max pooling: windows of one size at random, nearly even steps.

use super::Lit;
use super::conv::spread;
use crate::node::composed;
use crate::{DType, Shape, Tensor};

impl Tensor {
    /// The largest element of windows of `kernel` that lie over `x [batch, channels, height, width]` in steps which vary at
    /// random by one, and where it is in its image. `output` is how many windows there are along each axis; one entry
    /// serves all axes of either list.
    ///
    /// `samples [batch, channels, 2]` in [0, 1), which [`crate::Rng::uniform`] draws, choose the steps, along the width
    /// first: PyTorch's `_random_samples`. With α = (extent − kernel)/(output − 1), window i begins at
    /// ⌊(i + sample)·α⌋ − ⌊sample·α⌋, the last one at extent − kernel.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if the samples do not fit, [`crate::Error::Argument`] if
    /// output + kernel − 1 exceeds an extent.
    ///
    /// Source: Graham 2014, "Fractional Max-Pooling".
    #[track_caller]
    pub fn fractional_max_pool2d(&self, kernel: &[usize], output: &[usize], samples: &Tensor) -> (Tensor, Tensor) {
        composed("fractional_max_pool2d", || {
            self.fractional("fractional_max_pool2d", 2, kernel, output, samples)
                .unwrap_or_else(|bad| (bad.clone(), bad))
        })
    }

    /// As [`Tensor::fractional_max_pool2d`] over `x [batch, channels, depth, height, width]` with
    /// `samples [batch, channels, 3]`, along the depth first; output + kernel may not exceed an extent.
    #[track_caller]
    pub fn fractional_max_pool3d(&self, kernel: &[usize], output: &[usize], samples: &Tensor) -> (Tensor, Tensor) {
        composed("fractional_max_pool3d", || {
            self.fractional("fractional_max_pool3d", 3, kernel, output, samples)
                .unwrap_or_else(|bad| (bad.clone(), bad))
        })
    }

    fn fractional(
        &self,
        op: &'static str,
        rank: usize,
        kernel: &[usize],
        output: &[usize],
        samples: &Tensor,
    ) -> Result<(Tensor, Tensor), Tensor> {
        if let Some(bad) = [self, samples].into_iter().find(|t| t.error().is_some()) {
            return Err(bad.current());
        }
        if !self.dtype().is_float() || !samples.dtype().is_float() {
            return Err(Tensor::bad_dtype(op, &[self, samples], "floats only; cast first"));
        }
        let own = self.shape_or_scalar();
        if own.rank() == rank + 1 {
            let (y, index) = self.unsqueeze(0).fractional(op, rank, kernel, output, samples)?;
            return Ok((y.squeeze(0), index.squeeze(0)));
        }
        if own.rank() != rank + 2 || samples.shape_or_scalar() != [own[0], own[1], rank] {
            let why = "x is [batch, channels, ..], samples [batch, channels, axes]";
            return Err(Tensor::bad_shape(op, &[self, samples], why));
        }
        let lists = (spread(kernel, rank, 1), spread(output, rank, 1), spread(&own[2..], rank, 1));
        // volumes that the windows just fill are refused, as PyTorch does; images are not
        let spare = usize::from(rank == 3);
        let fits = |k: [usize; 3], o: [usize; 3], i: [usize; 3]| {
            (0..3).all(|a| k[a] > 0 && o[a] > 0 && o[a].checked_add(k[a] - 1 + spare).is_some_and(|n| n <= i[a]))
        };
        let (Some(kernel), Some(output), Some(input)) = lists else {
            let why = "one entry per spatial axis, or one for all";
            return Err(self.bad_argument(op, "kernel, output", format!("{kernel:?}, {output:?}"), why));
        };
        if !fits(kernel, output, input) {
            let why = match rank {
                2 => "at least 1, output + kernel - 1 at most the extent",
                _ => "at least 1, output + kernel at most the extent",
            };
            return Err(self.bad_argument(op, "kernel, output", format!("{kernel:?}, {output:?}"), why));
        }
        // PyTorch's samples name the axes of images from the last, those of volumes from the first
        let sample = |a: usize| samples.narrow(2, if rank == 2 { 2 - a as i64 } else { a as i64 }, 1);
        // the place in its plane, [n, c, outputs, window], an axis after the other
        let (batch, channels) = (own[0], own[1]);
        let mut place = Tensor::zeros(self.device(), [1]).cast(DType::I32);
        for a in 3 - rank..3 {
            let (mut outer, mut inner) = ([batch, channels, 1, 1, 1, 1, 1, 1], [1; 8]);
            (outer[2 + a], inner[5 + a]) = (output[a], kernel[a]);
            let starts = self.starts(&sample(a), input[a], kernel[a], output[a]).to_shape(Shape::of(&outer));
            place =
                place * input[a] as i32 + starts + Tensor::iota(&self.0.device, kernel[a]).to_shape(Shape::of(&inner));
        }
        let (count, window) = (output.iter().product::<usize>(), kernel.iter().product::<usize>());
        let place = place.reshape([batch, channels, count * window]);
        let flat = self.reshape([batch, channels, input.iter().product()]);
        let seen = flat.detach().gather(2, &place).reshape([batch, channels, count, window]);
        let (_, best) = seen.max_with_index(3, true);
        let index = place.reshape([batch, channels, count, window]).gather(3, &best).squeeze(3);
        let dims: Vec<usize> = own[..2].iter().chain(&output[3 - rank..]).copied().collect();
        let shape = Shape::of(&dims);
        Ok((flat.gather(2, &index).to_shape(shape), index.to_shape(shape)))
    }

    /// Where the windows along one axis begin: `samples [batch, channels, 1]` → `[batch, channels, output]`.
    fn starts(&self, samples: &Tensor, input: usize, kernel: usize, output: usize) -> Tensor {
        let (span, places) = ((input - kernel) as f32, Tensor::iota(&self.0.device, output));
        let alpha = Lit(if output > 1 { span / (output - 1) as f32 } else { 0.0 });
        let samples = samples.detach().cast(DType::F32);
        let starts = ((&samples + places.cast(DType::F32)) * alpha).floor() - (samples * alpha).floor();
        let last = places.eq(output as i32 - 1);
        Tensor::where_(&last, Lit(span), starts).cast(DType::I32)
    }
}
