//! What pixels are: brightness, contrast, saturation, hue, normalising, erasing.

use super::{Image, argument};
use crate::Result;
use crate::error::At;

impl Image {
    /// Every pixel times `factor`, kept within 0..1.
    #[must_use]
    pub fn adjust_brightness(&self, factor: f32) -> Self {
        self.map(self.height, self.width, |plane, _, y, x| (factor * plane[y * self.width + x]).clamp(0.0, 1.0))
    }

    /// The image mixed with the mean of its grey version: `factor` 0 is that grey, 1 the image, more goes beyond.
    #[must_use]
    pub fn adjust_contrast(&self, factor: f32) -> Self {
        let grey = self.grey();
        let mean = (grey.iter().map(|&v| f64::from(v)).sum::<f64>() / grey.len().max(1) as f64) as f32;
        self.map(self.height, self.width, |plane, _, y, x| blend(plane[y * self.width + x], mean, factor))
    }

    /// The image mixed with its grey version. An image of one channel stays as it is.
    #[must_use]
    pub fn adjust_saturation(&self, factor: f32) -> Self {
        if self.channels != 3 {
            return self.clone();
        }
        let grey = self.grey();
        self.map(self.height, self.width, |plane, _, y, x| {
            let at = y * self.width + x;
            blend(plane[at], grey[at], factor)
        })
    }

    /// The hue turned by `factor` of a full circle: ±0.5 gives the opposite colour. In the hexagon of hue h, saturation s
    /// and value v: h' = (h + factor) mod 1. An image of one channel stays as it is.
    ///
    /// Source: Smith 1978, "Color gamut transform pairs"; torchvision's `adjust_hue` on float tensors.
    #[must_use]
    pub fn adjust_hue(&self, factor: f32) -> Self {
        if self.channels != 3 {
            return self.clone();
        }
        let size = self.height * self.width;
        let mut pixels = self.pixels.clone();
        for i in 0..size {
            let turned = turn_hue([self.pixels[i], self.pixels[size + i], self.pixels[2 * size + i]], factor);
            for (channel, value) in turned.into_iter().enumerate() {
                pixels[channel * size + i] = value;
            }
        }
        Self { pixels, ..self.clone() }
    }

    /// (pixel - mean) / std, each for its channel.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if there are not as many means and deviations as channels, or a
    /// deviation is 0.
    #[track_caller]
    pub fn normalize(&self, mean: &[f32], std: &[f32]) -> Result<Self> {
        if mean.len() != self.channels || std.len() != self.channels || std.contains(&0.0) {
            let why = "one mean and one deviation other than 0 for each channel";
            return Err(argument("normalize", "mean, std", format!("{mean:?}, {std:?}"), why, At::here()));
        }
        Ok(self.map(self.height, self.width, |plane, c, y, x| (plane[y * self.width + x] - mean[c]) / std[c]))
    }

    /// The image with `value` in the part of `height`×`width` pixels at `top`, `left`, as far as it is inside.
    #[must_use]
    pub fn erase(&self, top: usize, left: usize, height: usize, width: usize, value: f32) -> Self {
        self.map(self.height, self.width, |plane, _, y, x| {
            let inside = y >= top && y - top < height && x >= left && x - left < width;
            if inside { value } else { plane[y * self.width + x] }
        })
    }

    /// One plane: of three channels 0.2989 R + 0.587 G + 0.114 B (torchvision's weights), else the first.
    fn grey(&self) -> Vec<f32> {
        let size = self.height * self.width;
        match self.channels {
            3 => (0..size)
                .map(|i| 0.2989 * self.pixels[i] + 0.587 * self.pixels[size + i] + 0.114 * self.pixels[2 * size + i])
                .collect(),
            _ => self.pixels[..size].to_vec(),
        }
    }
}

/// Red, green and blue with another hue.
fn turn_hue([r, g, b]: [f32; 3], factor: f32) -> [f32; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    let (divisor, s) = if range == 0.0 { (1.0, 0.0) } else { (range, range / most) };
    let [rc, gc, bc] = [r, g, b].map(|c| (most - c) / divisor);
    let sixths = match most {
        _ if most == r => bc - gc,
        _ if most == g => 2.0 + rc - bc,
        _ => 4.0 + gc - rc,
    };
    let h = ((sixths / 6.0 + 1.0).rem_euclid(1.0) + factor).rem_euclid(1.0) * 6.0;
    // each colour is v where it is strongest, v (1 - s) where it is weakest, and falls or rises between
    [5.0, 3.0, 1.0].map(|offset: f32| {
        let k = (h + offset).rem_euclid(6.0);
        (most * (1.0 - s * k.min(4.0 - k).clamp(0.0, 1.0))).clamp(0.0, 1.0)
    })
}

fn blend(a: f32, b: f32, factor: f32) -> f32 {
    (factor * a + (1.0 - factor) * b).clamp(0.0, 1.0)
}
