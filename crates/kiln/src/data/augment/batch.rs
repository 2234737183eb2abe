//! Changes to whole batches `[images, channels, height, width]` as tensor operations: what the functions of the same name
//! do to one image. A factor may be a number, or a tensor `[images, 1, 1, 1]` with one for each image.

use crate::ops::Operand;
use crate::{DType, Lit, Rng, Tensor};

/// (x - mean) / std, each for its channel.
///
/// # Errors
/// On evaluation, [`Error::Argument`](crate::Error::Argument) if there are not as many means and deviations as channels.
#[must_use]
#[track_caller]
pub fn normalize(x: &Tensor, mean: &[f32], std: &[f32]) -> Tensor {
    match x.shape() {
        Ok(shape) => {
            let count = shape.get(1).copied().unwrap_or(0);
            let channels = |values: &[f32]| Tensor::from_slice(x.device(), values, &[count, 1, 1]);
            (x - channels(mean)) / channels(std)
        }
        Err(_) => x.clone(), // carries its error on
    }
}

/// The error that a batch has another number of axes.
#[track_caller]
fn wrong_rank(x: &Tensor) -> Tensor {
    x.permute([0, 1, 2, 3])
}

/// One of something for each image.
fn of_images(x: &Tensor) -> [usize; 4] {
    [x.shape().map_or(0, |shape| shape.first().copied().unwrap_or(0)), 1, 1, 1]
}

/// Left and right exchanged in each image with probability `p`.
#[must_use]
#[track_caller]
pub fn random_horizontal_flip(x: &Tensor, p: f64, rng: &Rng) -> Tensor {
    let chosen = rng.uniform(of_images(x)).lt(p);
    Tensor::where_(&chosen, x.flip([-1]), x)
}

/// Top and bottom exchanged in each image with probability `p`.
#[must_use]
#[track_caller]
pub fn random_vertical_flip(x: &Tensor, p: f64, rng: &Rng) -> Tensor {
    let chosen = rng.uniform(of_images(x)).lt(p);
    Tensor::where_(&chosen, x.flip([-2]), x)
}

/// Each image moved by up to `most` pixels up, down, left and right, with zeros behind it: a random crop of its own size
/// from the image with `most` zeros on each side.
#[must_use]
#[track_caller]
pub fn random_shift(x: &Tensor, most: usize, rng: &Rng) -> Tensor {
    let Ok([_, _, height, width]) = x.dims() else { return wrong_rank(x) };
    let side = most as i64;
    let padded = x.pad(&[(side, side), (side, side)], crate::PadMode::Constant(0.0));
    let start = || (rng.uniform(of_images(x)) * (2 * most + 1) as f64).floor().cast(DType::I32);
    let along = |extent: usize| Tensor::arange(x.device(), 0, extent as i32, 1);
    let rows = padded.take_along(2, &(along(height).reshape([1, 1, height, 1]) + start()));
    rows.take_along(3, &(along(width).reshape([1, 1, 1, width]) + start()))
}

/// Each image turned by its own of `degrees` counter-clockwise around its middle, with bilinear weights; what comes from
/// outside is 0.
#[must_use]
#[track_caller]
pub fn rotate(x: &Tensor, degrees: impl Operand) -> Tensor {
    let Ok([images, channels, height, width]) = x.dims() else { return wrong_rank(x) };
    let angle = (Tensor::zeros(x.device(), of_images(x)) + degrees) * std::f64::consts::PI / 180.0;
    let (sin, cos) = (angle.sin(), angle.cos());
    let from_middle = |extent: usize, shape: [usize; 4]| {
        let places = Tensor::arange(x.device(), 0.0, extent as f64, 1.0).reshape(shape);
        places - (extent as f64 - 1.0) / 2.0
    };
    let (dy, dx) = (from_middle(height, [1, 1, height, 1]), from_middle(width, [1, 1, 1, width]));
    let from_x = &cos * &dx - &sin * &dy + (width as f64 - 1.0) / 2.0; // [images, 1, height, width]
    let from_y = sin * dx + cos * dy + (height as f64 - 1.0) / 2.0;
    let (left, top) = (from_x.floor(), from_y.floor());
    let (right, down) = (from_x - &left, from_y - &top);
    let flat = x.reshape([images, channels, height * width]);
    let pixel = |row: &Tensor, column: &Tensor| {
        let last = |extent: usize| extent as f64 - 1.0;
        let inside = row.ge(Lit(0.0)).logical_and(row.le(last(height)));
        let inside = inside.logical_and(column.ge(Lit(0.0))).logical_and(column.le(last(width)));
        let at = row.clamp(0.0, last(height)) * width as f64 + column.clamp(0.0, last(width));
        let taken = flat.take_along(2, &at.cast(DType::I32).reshape([images, 1, height * width]));
        Tensor::where_(&inside, taken.reshape([images, channels, height, width]), Lit(0.0))
    };
    let (below, beside) = (&top + Lit(1.0), &left + Lit(1.0));
    let (before, above) = (Lit(1.0) - &right, Lit(1.0) - &down);
    let upper = pixel(&top, &left) * &before + pixel(&top, &beside) * &right;
    let lower = pixel(&below, &left) * before + pixel(&below, &beside) * right;
    upper * above + lower * down
}

/// Each image turned by a random angle between -`degrees` and `degrees`.
#[must_use]
#[track_caller]
pub fn random_rotate(x: &Tensor, degrees: f64, rng: &Rng) -> Tensor {
    rotate(x, between(x, -degrees, degrees, rng))
}

/// Uniform numbers, one for each image.
fn between(x: &Tensor, low: f64, high: f64, rng: &Rng) -> Tensor {
    rng.uniform(of_images(x)) * (high - low) + low
}

/// Every pixel times `factor`, kept within 0..1.
#[must_use]
#[track_caller]
pub fn adjust_brightness(x: &Tensor, factor: impl Operand) -> Tensor {
    (x * factor).clamp(0.0, 1.0)
}

/// Each image mixed with the mean of its grey version: `factor` 0 is that grey, 1 the image, more goes beyond.
#[must_use]
#[track_caller]
pub fn adjust_contrast(x: &Tensor, factor: impl Operand) -> Tensor {
    let mean = grey(x).mean_axes([-3, -2, -1], true);
    blend(x, &mean, factor)
}

/// Each image mixed with its grey version: `factor` 0 is that grey, 1 the image, more goes beyond. Images of one channel stay as
/// they are.
#[must_use]
#[track_caller]
pub fn adjust_saturation(x: &Tensor, factor: impl Operand) -> Tensor {
    if channels(x) == 3 { blend(x, &grey(x), factor) } else { x.clone() }
}

/// The hue turned by `factor` of a full circle, as by [`Image::adjust_hue`](super::Image::adjust_hue). Images of one channel
/// stay as they are.
#[must_use]
#[track_caller]
pub fn adjust_hue(x: &Tensor, factor: impl Operand) -> Tensor {
    if channels(x) != 3 {
        return x.clone();
    }
    let (most, least) = (x.amax([1], true), x.amin([1], true));
    let range = &most - &least;
    let grey = range.eq(Lit(0.0));
    let s = &range / Tensor::where_(&grey, Lit(1.0), &most);
    let part = |channel: i64| {
        let own = x.narrow(1, channel, 1);
        ((&most - &own) / Tensor::where_(&grey, Lit(1.0), &range), most.eq(&own))
    };
    let ((rc, is_r), (gc, is_g), (bc, _)) = (part(0), part(1), part(2));
    let others = Tensor::where_(&is_g, &rc - &bc + Lit(2.0), &gc - &rc + Lit(4.0));
    let sixths = Tensor::where_(&is_r, bc - gc, others);
    let h = (sixths / Lit(6.0) + factor).rem(Lit(1.0)) * Lit(6.0);
    let colour = |offset: f32| {
        let k = (&h + Lit(offset)).rem(Lit(6.0));
        let down = k.minimum(Lit(4.0) - &k).clamp(0.0, 1.0);
        (&most * (Lit(1.0) - &s * down)).clamp(0.0, 1.0)
    };
    Tensor::cat(&[&colour(5.0), &colour(3.0), &colour(1.0)], 1)
}

/// Brightness, contrast and saturation of each image changed by random factors within 1 ± the given shares (not under 0),
/// its hue turned by at most ±`hue` of a circle, in this order.
#[must_use]
#[track_caller]
pub fn random_colors(x: &Tensor, brightness: f64, contrast: f64, saturation: f64, hue: f64, rng: &Rng) -> Tensor {
    let factor = |share: f64| between(x, (1.0 - share).max(0.0), 1.0 + share, rng);
    let mut out = x.clone();
    for (share, adjust) in [
        (brightness, adjust_brightness as fn(&Tensor, Tensor) -> Tensor),
        (contrast, adjust_contrast),
        (saturation, adjust_saturation),
    ] {
        if share > 0.0 {
            out = adjust(&out, factor(share));
        }
    }
    if hue > 0.0 { adjust_hue(&out, between(x, -hue, hue, rng)) } else { out }
}

fn channels(x: &Tensor) -> usize {
    x.shape().map_or(0, |shape| shape.get(1).copied().unwrap_or(0))
}

/// Of three channels 0.2989 R + 0.587 G + 0.114 B (torchvision's weights), else the first.
#[track_caller]
fn grey(x: &Tensor) -> Tensor {
    let channel = |at: i64| x.narrow(1, at, 1);
    match channels(x) {
        3 => channel(0) * Lit(0.2989) + channel(1) * Lit(0.587) + channel(2) * Lit(0.114),
        _ => channel(0),
    }
}

#[track_caller]
fn blend(a: &Tensor, b: &Tensor, factor: impl Operand) -> Tensor {
    (b + (a - b) * factor).clamp(0.0, 1.0)
}

/// A normal number of deviation `std` added to every element.
#[must_use]
#[track_caller]
pub fn add_noise(x: &Tensor, std: f64, rng: &Rng) -> Tensor {
    match x.shape() {
        Ok(shape) => x + rng.normal(&shape[..]) * std,
        Err(_) => x.clone(), // carries its error on
    }
}
