//! Changes to images that leave their meaning: on the threads that prepare batches, or as tensor operations on whole
//! batches. What is not random does as torchvision's function of the same name on float tensors does; what is random
//! takes a [`Draw`], so that an example is changed in the same way whichever thread prepares it.

mod batch;
mod colour;
mod geometry;
mod random;

pub use batch::{
    add_noise, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, normalize, random_colors,
    random_horizontal_flip, random_rotate, random_shift, random_vertical_flip, rotate,
};
pub use random::{
    color_jitter, gaussian_noise, random_crop, random_erasing, random_hflip, random_resized_crop, random_rotation,
    random_vflip,
};

use crate::error::At;
use crate::{Device, Error, Result, Tensor};

/// An image: planes of numbers, from 0 to 1 unless normalised; one pixel at least.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    channels: usize,
    height: usize,
    width: usize,
    /// `[channels, height, width]`.
    pixels: Vec<f32>,
}

impl Image {
    /// An image from its pixels `[channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are not as many, or none.
    #[track_caller]
    pub fn new(channels: usize, height: usize, width: usize, pixels: Vec<f32>) -> Result<Self> {
        let size = channels.checked_mul(height).and_then(|n| n.checked_mul(width));
        if pixels.is_empty() || size != Some(pixels.len()) {
            let why = "channels × height × width, at least one";
            return Err(argument("Image", "pixels", pixels.len(), why, At::here()));
        }
        Ok(Self { channels, height, width, pixels })
    }

    /// An image from bytes `[channels, height, width]`, scaled to 0..1.
    ///
    /// # Errors
    /// As for [`new`](Image::new).
    #[track_caller]
    pub fn from_bytes(channels: usize, height: usize, width: usize, bytes: &[u8]) -> Result<Self> {
        Self::new(channels, height, width, bytes.iter().map(|&b| f32::from(b) / 255.0).collect())
    }

    /// The number of planes: 1 grey, 3 red, green and blue.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The pixels `[channels, height, width]`.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The same, to be changed.
    pub fn pixels_mut(&mut self) -> &mut [f32] {
        &mut self.pixels
    }

    /// The planes.
    fn planes(&self) -> impl Iterator<Item = &[f32]> {
        self.pixels.chunks(self.height * self.width)
    }

    /// An image of another size with the same planes; `at` makes a pixel from a plane, its number, row and column.
    fn map(&self, height: usize, width: usize, at: impl Fn(&[f32], usize, usize, usize) -> f32) -> Self {
        let mut pixels = Vec::with_capacity(self.channels * height * width);
        for (c, plane) in self.planes().enumerate() {
            for y in 0..height {
                pixels.extend((0..width).map(|x| at(plane, c, y, x)));
            }
        }
        Self { channels: self.channels, height, width, pixels }
    }
}

/// Images of one size as a batch `[images, channels, height, width]`.
///
/// # Errors
/// [`Error::Argument`] for an image whose size differs from the first one's, or none.
#[track_caller]
pub fn stack(device: &Device, images: &[Image]) -> Result<Tensor> {
    let at = At::here();
    let Some(first) = images.first() else {
        return Err(argument("stack", "images", "none", "at least one", at));
    };
    let size = |image: &Image| [image.channels, image.height, image.width];
    if let Some(other) = images.iter().find(|image| size(image) != size(first)) {
        let sizes = format!("{:?} and {:?}", size(first), size(other));
        return Err(argument("stack", "images", sizes, "images of one size: resize or crop them", at));
    }
    let pixels: Vec<f32> = images.iter().flat_map(|image| image.pixels.iter().copied()).collect();
    Ok(Tensor::from_vec(device, pixels, &[images.len(), first.channels, first.height, first.width]))
}

fn argument(op: &'static str, name: &'static str, value: impl ToString, why: &'static str, at: At) -> Error {
    Error::Argument { op, name, value: value.to_string(), why, at }
}

/// Random numbers for one example: a function of the seed, the epoch and the example's place in it, and of how many were
/// drawn before. Which thread draws them makes no difference.
#[derive(Debug, Clone)]
pub struct Draw {
    key: [u32; 2],
    place: u64,
    next: u32,
}

impl Draw {
    /// The numbers of the example at `place` in the epoch that `seed` stands for.
    pub fn new(seed: u64, place: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], place, next: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let counter = [self.next, self.place as u32, (self.place >> 32) as u32, 0xA06];
        self.next = self.next.wrapping_add(1);
        let words = kiln_device::philox::philox(counter, self.key);
        u64::from(words[0]) << 32 | u64::from(words[1])
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// One of 0..n; 0 for n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        // 64 random bits: the remainder's bias is below 2⁻³⁰ for any n that fits in memory.
        (self.bits() % (n as u64).max(1)) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box & Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}
