//! Layers that move elements and compute nothing.

use super::{Forward, Module, sizes};
use crate::{Extents, Patches, Tensor, composed};

/// Joins the axes from `start` to `end`, both included, into one: by default all but the batch.
#[derive(Module, Debug, Clone, Copy)]
pub struct Flatten {
    /// The first axis to join.
    pub start: i64,
    /// The last axis to join; negative ones count from the end.
    pub end: i64,
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start: 1, end: -1 }
    }
}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.flatten(self.start, self.end)
    }
}

/// Splits one axis into several; one extent may be −1 and is worked out.
#[derive(Module, Debug, Clone)]
pub struct Unflatten {
    /// The axis to split.
    pub axis: i64,
    /// What it becomes.
    #[module(skip)]
    pub extents: Vec<i64>,
}

impl Unflatten {
    /// Splits `axis` into `extents`.
    pub fn new(axis: i64, extents: impl Extents) -> Self {
        Self { axis, extents: extents.list() }
    }
}

impl Forward for Unflatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.unflatten(self.axis, &self.extents)
    }
}

/// A layer of one number that is at least 1.
macro_rules! shuffles {
    ($($(#[$doc:meta])* $name:ident($field:ident) => $body:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone, Copy)]
        pub struct $name(
            /// The factor, or the number of groups.
            pub usize,
        );

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                composed(stringify!($field), || $body(x, self.0))
            }
        }
    )*};
}

shuffles! {
    /// Turns channels into places: `[.., c·r², h, w]` → `[.., c, h·r, w·r]`.
    ///
    /// Source: Shi et al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel
    /// convolutional neural network", eq. 4.
    PixelShuffle(pixel_shuffle) => pixel_shuffle;
    /// Turns places into channels: `[.., c, h·r, w·r]` → `[.., c·r², h, w]`.
    PixelUnshuffle(pixel_unshuffle) => pixel_unshuffle;
    /// Interleaves the channels of `[batch, channels, ..]` that lie in this many groups.
    ///
    /// Source: Zhang, Zhou, Lin & Sun 2018, "ShuffleNet", §3.1.
    ChannelShuffle(channel_shuffle) => channel_shuffle;
}

#[track_caller]
fn pixel_shuffle(x: &Tensor, r: usize) -> Tensor {
    let Ok(shape) = x.shape() else { return x.clone() };
    let rank = shape.rank();
    if rank < 3 || r == 0 || r.checked_mul(r).is_none_or(|square| !shape[rank - 3].is_multiple_of(square)) {
        return Tensor::bad_shape("pixel_shuffle", &[x], "[.., c·r², h, w] with a factor r of at least 1");
    }
    let (c, h, w) = (shape[rank - 3] / (r * r), shape[rank - 2], shape[rank - 1]);
    let outer: usize = shape[..rank - 3].iter().product();
    let y = x.reshape([outer, c, r, r, h, w]).permute([0i64, 1, 4, 2, 5, 3]);
    y.reshape([&shape[..rank - 3], &[c, h * r, w * r]].concat())
}

#[track_caller]
fn pixel_unshuffle(x: &Tensor, r: usize) -> Tensor {
    let Ok(shape) = x.shape() else { return x.clone() };
    let rank = shape.rank();
    if rank < 3 || r == 0 || !shape[rank - 2].is_multiple_of(r) || !shape[rank - 1].is_multiple_of(r) {
        return Tensor::bad_shape("pixel_unshuffle", &[x], "[.., c, h·r, w·r] with a factor r of at least 1");
    }
    let (c, h, w) = (shape[rank - 3], shape[rank - 2] / r, shape[rank - 1] / r);
    let outer: usize = shape[..rank - 3].iter().product();
    let y = x.reshape([outer, c, h, r, w, r]).permute([0i64, 1, 3, 5, 2, 4]);
    y.reshape([&shape[..rank - 3], &[c * r * r, h, w]].concat())
}

#[track_caller]
fn channel_shuffle(x: &Tensor, groups: usize) -> Tensor {
    let Ok(shape) = x.shape() else { return x.clone() };
    if shape.rank() < 3 || groups == 0 || !shape[1].is_multiple_of(groups) {
        return Tensor::bad_shape("channel_shuffle", &[x], "[batch, channels, ..], channels that the groups divide");
    }
    let places: usize = shape[2..].iter().product();
    x.reshape([shape[0], groups, shape[1] / groups, places]).transpose(1, 2).reshape(shape)
}

/// The windows of images as columns: `[batch, channels, h, w]` → `[batch, channels·kh·kw, windows]`.
#[derive(Module, Debug, Clone)]
pub struct Unfold {
    /// Extent, steps, padding and dilation of the windows.
    #[module(skip)]
    pub patches: Patches,
}

impl Forward for Unfold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.im2col(&self.patches)
    }
}

/// The sum of columns put back to where windows were: `[batch, channels·kh·kw, windows]` → `[batch, channels, h, w]`.
#[derive(Module, Debug, Clone)]
pub struct Fold {
    /// Height and width of the result.
    #[module(skip)]
    pub output: [usize; 2],
    /// Extent, steps, padding and dilation of the windows.
    #[module(skip)]
    pub patches: Patches,
}

impl Fold {
    /// To images of `output`, one size or height and width.
    pub fn new(output: impl Extents, patches: Patches) -> Self {
        let list = sizes(&output);
        let at = |axis: usize| list.get(axis).or(list.first()).copied().unwrap_or(0);
        Self { output: [at(0), at(1)], patches }
    }
}

impl Forward for Fold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.col2im(self.output, &self.patches)
    }
}
