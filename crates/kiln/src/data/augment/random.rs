//! Random changes to one image. The same draw makes the same change.

use super::{Draw, Image, argument};
use crate::Result;
use crate::error::At;

/// Left and right exchanged with probability `p`.
#[must_use]
pub fn random_hflip(image: Image, p: f64, draw: &mut Draw) -> Image {
    if draw.chance(p) { image.hflip() } else { image }
}

/// Top and bottom exchanged with probability `p`.
#[must_use]
pub fn random_vflip(image: Image, p: f64, draw: &mut Draw) -> Image {
    if draw.chance(p) { image.vflip() } else { image }
}

/// A part of `height`×`width` pixels at a random place of the image with `padding` zeros on each side.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) if the padded image is smaller, or for a part without pixels.
#[track_caller]
pub fn random_crop(image: &Image, height: usize, width: usize, padding: usize, draw: &mut Draw) -> Result<Image> {
    let at = At::here();
    let room = |have: usize, want: usize| padding.checked_mul(2)?.checked_add(have)?.checked_sub(want);
    let (Some(down), Some(right)) = (room(image.height, height), room(image.width, width)) else {
        let value = format!("{height}×{width} of {}×{} and {padding}", image.height, image.width);
        return Err(argument("random_crop", "size", value, "at most the size of the padded image", at));
    };
    // from −padding on
    let mut start = |room: usize| draw.below(room.saturating_add(1)).wrapping_sub(padding) as isize;
    let (top, left) = (start(down), start(right));
    image.crop(top, left, height, width)
}

/// A random part with a share `scale` of the image's area and an aspect ratio (width over height) within `ratio`, resized
/// to `height`×`width`: torchvision's `RandomResizedCrop`, whose defaults are 0.08..1 and 3/4..4/3.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a size of 0.
#[track_caller]
pub fn random_resized_crop(
    image: &Image,
    height: usize,
    width: usize,
    scale: std::ops::Range<f64>,
    ratio: std::ops::Range<f64>,
    draw: &mut Draw,
) -> Result<Image> {
    let area = (image.height * image.width) as f64;
    for _ in 0..10 {
        let part = area * draw.between(scale.start, scale.end);
        let aspect = draw.between(ratio.start.ln(), ratio.end.ln()).exp();
        let (w, h) = ((part * aspect).sqrt().round() as usize, (part / aspect).sqrt().round() as usize);
        if (1..=image.width).contains(&w) && (1..=image.height).contains(&h) {
            let (top, left) = (draw.below(image.height - h + 1), draw.below(image.width - w + 1));
            return image.crop(top as isize, left as isize, h, w)?.resize(height, width);
        }
    }
    // No part fits: the largest in the middle whose ratio is allowed.
    let (height_of, width_of) = (image.height as f64, image.width as f64);
    let (h, w) = match width_of / height_of {
        narrow if narrow < ratio.start => ((width_of / ratio.start).round(), width_of),
        wide if wide > ratio.end => (height_of, (height_of * ratio.end).round()),
        _ => (height_of, width_of),
    };
    let (h, w) = (h.max(1.0) as usize, w.max(1.0) as usize);
    let middle = |have: usize, want: usize| (have.saturating_sub(want) / 2) as isize;
    image.crop(middle(image.height, h), middle(image.width, w), h, w)?.resize(height, width)
}

/// Turned by a random angle between -`degrees` and `degrees`.
#[must_use]
pub fn random_rotation(image: &Image, degrees: f64, draw: &mut Draw) -> Image {
    image.rotate(draw.between(-degrees, degrees))
}

/// Brightness, contrast and saturation changed by random factors within 1 ± the given shares (not under 0), the hue turned
/// by at most ±`hue` of a circle (0 to 0.5), in random order: torchvision's `ColorJitter`.
#[must_use]
pub fn color_jitter(image: Image, brightness: f64, contrast: f64, saturation: f64, hue: f64, draw: &mut Draw) -> Image {
    let shares = [brightness, contrast, saturation, hue];
    let mut order = [0, 1, 2, 3];
    for last in (1..4).rev() {
        order.swap(last, draw.below(last + 1));
    }
    let factors = [0, 1, 2, 3].map(|which| match (which, shares[which]) {
        (3, hue) => draw.between(-hue, hue) as f32,
        (_, share) => draw.between((1.0 - share).max(0.0), 1.0 + share) as f32,
    });
    order.into_iter().filter(|&which| shares[which] > 0.0).fold(image, |image, which| match which {
        0 => image.adjust_brightness(factors[0]),
        1 => image.adjust_contrast(factors[1]),
        2 => image.adjust_saturation(factors[2]),
        _ => image.adjust_hue(factors[3]),
    })
}

/// A normal number of deviation `std` added to every pixel. The result is not kept within 0..1.
#[must_use]
pub fn gaussian_noise(mut image: Image, std: f64, draw: &mut Draw) -> Image {
    image.pixels.iter_mut().for_each(|pixel| *pixel += (std * draw.normal()) as f32);
    image
}

/// With probability `p`, a random part becomes `value`: a share `scale` of the area with an aspect ratio (height over
/// width) within `ratio`. torchvision's `RandomErasing`, whose defaults are 0.5, 0.02..0.33 and 0.3..3.3; a part that does
/// not fit in ten attempts leaves the image as it is.
///
/// Source: Zhong et al. 2020, "Random Erasing Data Augmentation"; with one ratio and p = 1, the cutout of DeVries & Taylor
/// 2017.
#[must_use]
pub fn random_erasing(
    image: Image,
    p: f64,
    scale: std::ops::Range<f64>,
    ratio: std::ops::Range<f64>,
    value: f32,
    draw: &mut Draw,
) -> Image {
    if !draw.chance(p) {
        return image;
    }
    let area = (image.height * image.width) as f64;
    for _ in 0..10 {
        let part = area * draw.between(scale.start, scale.end);
        let aspect = draw.between(ratio.start.ln(), ratio.end.ln()).exp();
        let (h, w) = ((part * aspect).sqrt().round() as usize, (part / aspect).sqrt().round() as usize);
        if h < image.height && w < image.width {
            let (top, left) = (draw.below(image.height - h + 1), draw.below(image.width - w + 1));
            return image.erase(top, left, h, w, value);
        }
    }
    image
}
