//! Where pixels come from: flips, crops, padding, turning, scaling.

use super::{Image, argument};
use crate::Result;
use crate::error::At;

impl Image {
    /// Left and right exchanged.
    #[must_use]
    pub fn hflip(&self) -> Self {
        let (height, width) = (self.height, self.width);
        self.map(height, width, |plane, _, y, x| plane[y * width + width - 1 - x])
    }

    /// Top and bottom exchanged.
    #[must_use]
    pub fn vflip(&self) -> Self {
        let (height, width) = (self.height, self.width);
        self.map(height, width, |plane, _, y, x| plane[(height - 1 - y) * width + x])
    }

    /// `size` more pixels of `fill` on each side.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for more pixels than a tensor can have elements.
    #[track_caller]
    pub fn pad(&self, size: usize, fill: f32) -> Result<Self> {
        let wider = |extent: usize| size.checked_mul(2).and_then(|both| both.checked_add(extent));
        match (isize::try_from(size), wider(self.height), wider(self.width)) {
            (Ok(margin), Some(height), Some(width)) if self.numel(height, width).is_some() => {
                Ok(self.window(-margin, -margin, height, width, fill))
            }
            _ => Err(argument("pad", "size", size, "a margin of an image that fits into a tensor", At::here())),
        }
    }

    /// The part of `height`×`width` pixels whose corner is at `top`, `left`; what is outside of the image is 0.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a part without pixels, or with more than a tensor can have elements.
    #[track_caller]
    pub fn crop(&self, top: isize, left: isize, height: usize, width: usize) -> Result<Self> {
        self.sized("crop", height, width, At::here())?;
        Ok(self.window(top, left, height, width, 0.0))
    }

    /// The middle part of `height`×`width` pixels, filled up with 0 where the image is smaller.
    ///
    /// # Errors
    /// As for [`crop`](Image::crop).
    #[track_caller]
    pub fn center_crop(&self, height: usize, width: usize) -> Result<Self> {
        self.sized("center_crop", height, width, At::here())?;
        // Halves round to even where the image is larger, as Python does, and the smaller margin is in front else.
        let start = |have: usize, want: usize| match have >= want {
            true => ((have - want) as f64 / 2.0).round_ties_even() as isize,
            false => -(((want - have) / 2) as isize),
        };
        Ok(self.window(start(self.height, height), start(self.width, width), height, width, 0.0))
    }

    pub(super) fn window(&self, top: isize, left: isize, height: usize, width: usize, fill: f32) -> Self {
        let pixel = |plane: &[f32], y: usize, x: usize| {
            let row =
                top.checked_add_unsigned(y).and_then(|row| usize::try_from(row).ok()).filter(|&r| r < self.height);
            let column = left
                .checked_add_unsigned(x)
                .and_then(|column| usize::try_from(column).ok())
                .filter(|&c| c < self.width);
            row.zip(column).map_or(fill, |(row, column)| plane[row * self.width + column])
        };
        self.map(height, width, |plane, _, y, x| pixel(plane, y, x))
    }

    /// Turned by `degrees` counter-clockwise around its middle, with bilinear weights; what comes from outside is 0.
    #[must_use]
    pub fn rotate(&self, degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (height, width) = (self.height as isize, self.width as isize);
        let middle = [(self.height as f64 - 1.0) / 2.0, (self.width as f64 - 1.0) / 2.0];
        self.map(self.height, self.width, |plane, _, y, x| {
            let (dy, dx) = (y as f64 - middle[0], x as f64 - middle[1]);
            let (from_x, from_y) = (cos * dx - sin * dy + middle[1], sin * dx + cos * dy + middle[0]);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right, down) = (from_x - left, from_y - top);
            let pixel = |y: isize, x: isize| match (0..height).contains(&y) && (0..width).contains(&x) {
                true => f64::from(plane[(y * width + x) as usize]),
                false => 0.0,
            };
            let (i, j) = (top as isize, left as isize);
            let above = pixel(i, j) * (1.0 - right) + pixel(i, j + 1) * right;
            let below = pixel(i + 1, j) * (1.0 - right) + pixel(i + 1, j + 1) * right;
            (above * (1.0 - down) + below * down) as f32
        })
    }

    /// Scaled to `height`×`width` with bilinear weights, which reach further where the image shrinks (antialiasing, as
    /// torchvision and PIL do).
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a size of 0.
    #[track_caller]
    pub fn resize(&self, height: usize, width: usize) -> Result<Self> {
        self.sized("resize", height, width, At::here())?;
        let (rows, columns) = (taps(self.height, height), taps(self.width, width));
        let wide = self.map(self.height, width, |plane, _, y, x| {
            let (start, weights) = &columns[x];
            dot(weights, (0..).map(|i| plane[y * self.width + start + i]))
        });
        Ok(wide.map(height, width, |plane, _, y, x| {
            let (start, weights) = &rows[y];
            dot(weights, (0..).map(|i| plane[(start + i) * width + x]))
        }))
    }

    /// Scaled so that the shorter side has `size` pixels, the proportions kept.
    ///
    /// # Errors
    /// As for [`resize`](Image::resize).
    #[track_caller]
    pub fn resize_shorter(&self, size: usize) -> Result<Self> {
        let other = |long: usize, short: usize| size.saturating_mul(long) / short.max(1);
        match self.height <= self.width {
            true => self.resize(size, other(self.width, self.height)),
            false => self.resize(other(self.height, self.width), size),
        }
    }

    /// The elements of an image of this one's planes in another size, if a tensor can have as many.
    fn numel(&self, height: usize, width: usize) -> Option<usize> {
        let numel = height.checked_mul(width)?.checked_mul(self.channels)?;
        (numel <= i32::MAX as usize).then_some(numel)
    }

    fn sized(&self, op: &'static str, height: usize, width: usize, at: At) -> Result<()> {
        match self.numel(height, width) {
            Some(1..) => Ok(()),
            _ => {
                let why = "at least one pixel, and no more than fit into a tensor";
                Err(argument(op, "size", format!("{height}×{width}"), why, at))
            }
        }
    }
}

/// For each of `to` pixels, the first of `from` that it is made of, and their weights (a triangle, wider where the image
/// shrinks).
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    (0..to)
        .map(|i| {
            let middle = scale * (i as f64 + 0.5);
            let start = ((middle - reach + 0.5).max(0.0)) as usize;
            let end = ((middle + reach + 0.5) as usize).min(from).max(start + 1);
            let weight = |j: usize| (1.0 - ((j as f64 + 0.5 - middle) / reach).abs()).max(0.0);
            let sum: f64 = (start..end).map(weight).sum();
            (start, (start..end).map(|j| weight(j) / sum).collect())
        })
        .collect()
}

fn dot(weights: &[f64], pixels: impl Iterator<Item = f32>) -> f32 {
    weights.iter().zip(pixels).map(|(w, p)| w * f64::from(p)).sum::<f64>() as f32
}
