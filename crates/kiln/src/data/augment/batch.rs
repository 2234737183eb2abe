//! Changes to whole batches `[images, channels, height, width]` as tensor operations.

use crate::{Rng, Tensor};

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

/// Left and right exchanged in each image with probability `p`.
#[must_use]
#[track_caller]
pub fn random_horizontal_flip(x: &Tensor, p: f64, rng: &Rng) -> Tensor {
    let images = x.shape().map_or(0, |shape| shape.first().copied().unwrap_or(0));
    let chosen = rng.uniform([images, 1, 1, 1]).lt(p);
    Tensor::where_(&chosen, x.flip([-1]), x)
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
