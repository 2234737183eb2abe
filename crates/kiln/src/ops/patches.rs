//! The windows of images as columns of a matrix, and back: im2col and col2im, PyTorch's `unfold` and `fold`.

use super::conv::{LARGEST, spread, windows};
use crate::node::composed;
use crate::{Shape, Tensor};

/// How windows lie over an image. Each list has an entry for height and width; one entry serves both.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// Extent of a window.
    pub kernel: Vec<usize>,
    /// Steps between windows; 1 by default.
    pub stride: Vec<usize>,
    /// Zeros put on both sides; 0 by default.
    pub padding: Vec<usize>,
    /// Distance between the elements of a window; 1 by default.
    pub dilation: Vec<usize>,
}

impl Patches {
    /// Windows of `kernel` at every place.
    pub fn new(kernel: usize) -> Self {
        Self { kernel: vec![kernel], stride: vec![1], padding: vec![0], dilation: vec![1] }
    }
}

/// The sizes along one axis: window, windows, step, distance, padding, extent of the image.
#[derive(Clone, Copy)]
struct Along {
    kernel: usize,
    count: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
    image: usize,
}

impl Along {
    /// Where in the padded image element t of window o lies, for t in the window and o over the windows.
    fn places(&self, like: &Tensor) -> Tensor {
        let iota = |n: usize| Tensor::iota(&like.0.device, n);
        let taps = (iota(self.kernel) * self.dilation as i32).to_shape(Shape::of(&[self.kernel, 1]));
        (taps + iota(self.count) * self.stride as i32).to_shape(Shape::of(&[self.kernel * self.count]))
    }
}

impl Tensor {
    /// The windows of `x [batch, channels, height, width]` as columns: `[batch, channels · kh · kw, windows]`, PyTorch's
    /// `unfold`. Without a batch axis the result has none either.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if no window fits, [`crate::Error::Argument`] for settings out of range.
    #[track_caller]
    pub fn im2col(&self, patches: &Patches) -> Tensor {
        composed("im2col", || {
            if self.error().is_none() && self.rank() == 3 {
                return self.unsqueeze(0).im2col(patches).squeeze(0);
            }
            if self.error().is_some() || self.rank() != 4 {
                return Tensor::bad_shape(
                    "im2col",
                    &[self],
                    "[batch, channels, height, width] or [channels, height, width]",
                );
            }
            let own = self.shape_or_scalar();
            let [h, w] = match self.patched("im2col", patches, [own[2], own[3]]) {
                Ok(both) => both,
                Err(invalid) => return invalid,
            };
            let padded = self.pad_op(vec![(0, 0), (0, 0), (h.padding, h.padding), (w.padding, w.padding)]);
            let taken = padded.index_select(2, &h.places(self)).index_select(3, &w.places(self));
            let six = [own[0], own[1], h.kernel, h.count, w.kernel, w.count];
            let three = [own[0], own[1] * h.kernel * w.kernel, h.count * w.count];
            taken.reshape(six).permute([0, 1, 2, 4, 3, 5]).reshape(three)
        })
    }

    /// The sums of what windows bring to each place of an image, the reverse of [`Tensor::im2col`]:
    /// `[batch, channels · kh · kw, windows]` → `[batch, channels, height, width]`, with `output` the height and width.
    /// PyTorch's `fold`. Without a batch axis the result has none either.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if rows are not whole windows or their number is not that of such an
    /// image, [`crate::Error::Argument`] for settings out of range.
    #[track_caller]
    pub fn col2im(&self, output: [usize; 2], patches: &Patches) -> Tensor {
        composed("col2im", || {
            if self.error().is_none() && self.rank() == 2 {
                return self.unsqueeze(0).col2im(output, patches).squeeze(0);
            }
            if self.error().is_some() || self.rank() != 3 {
                return Tensor::bad_shape(
                    "col2im",
                    &[self],
                    "[batch, channels · kernel, windows] or without the batch",
                );
            }
            let own = self.shape_or_scalar();
            let [h, w] = match self.patched("col2im", patches, output) {
                Ok(both) => both,
                Err(invalid) => return invalid,
            };
            let window = h.kernel * w.kernel;
            if !own[1].is_multiple_of(window) || own[2] != h.count * w.count {
                let why = "channels times the window's size rows, as many columns as windows fit into the output";
                return Tensor::bad_shape("col2im", &[self], why);
            }
            let (batch, channels) = (own[0], own[1] / window);
            let six = self.reshape([batch, channels, h.kernel, w.kernel, h.count, w.count]);
            let rows =
                six.permute([0, 1, 2, 4, 3, 5]).reshape([batch, channels, h.kernel * h.count, w.kernel * w.count]);
            let whole = [h, w].map(|a| a.image + 2 * a.padding);
            let zeros = |height: usize, width: usize| {
                Tensor::zeros(self.device(), [batch, channels, height, width]).cast(self.dtype())
            };
            let high = zeros(whole[0], w.kernel * w.count).index_add(2, &h.places(self), &rows);
            let full = zeros(whole[0], whole[1]).index_add(3, &w.places(self), &high);
            full.slice_op(2, h.padding, 1, h.image).slice_op(3, w.padding, 1, w.image)
        })
    }

    /// The sizes along both axes of an image.
    fn patched(&self, op: &'static str, patches: &Patches, image: [usize; 2]) -> Result<[Along; 2], Tensor> {
        let wrong = |why| self.bad_argument(op, "patches", format!("{patches:?}"), why);
        let lists = (
            spread(&patches.kernel, 2, 1),
            spread(&patches.stride, 2, 1),
            spread(&patches.padding, 2, 0),
            spread(&patches.dilation, 2, 1),
        );
        let (Some(kernel), Some(stride), Some(padding), Some(dilation)) = lists else {
            return Err(wrong("one entry per spatial axis, or one for both"));
        };
        if [kernel, stride, dilation].as_flattened().iter().any(|&n| n == 0 || n > LARGEST) {
            return Err(wrong("kernel, stride and dilation are at least 1"));
        }
        let along = |a: usize| {
            let (kernel, stride, padding, dilation) = (kernel[a + 1], stride[a + 1], padding[a + 1], dilation[a + 1]);
            let count =
                windows(image[a], padding.checked_mul(2)?, dilation, kernel, stride).filter(|_| image[a] > 0)?;
            (count.checked_mul(kernel)? <= LARGEST).then_some(())?;
            Some(Along { kernel, count, stride, dilation, padding, image: image[a] })
        };
        let both = along(0).zip(along(1)).map(|(h, w)| [h, w]);
        both.ok_or_else(|| Tensor::bad_shape(op, &[self], "the window is larger than the padded image"))
    }
}
