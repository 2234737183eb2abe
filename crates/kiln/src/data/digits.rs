//! The UCI optical digits: 1,797 images of 8×8 pixels, each from 0 to 16, with the digit they show.
//!
//! E. Alpaydin, C. Kaynak (1998), *Optical Recognition of Handwritten Digits*, UCI Machine Learning
//! Repository, <https://doi.org/10.24432/C50P49>, licence CC BY 4.0. These are the 1,797 images of
//! its test part, as scikit-learn ships them; `scripts/digits.py` made the file: 65 bytes an image,
//! the pixels row by row and then the digit.

use super::TensorDataset;
use crate::{Device, Result};

static BYTES: &[u8] = include_bytes!("digits.bin");

/// Pixels of one image.
pub const PIXELS: usize = 64;

/// All images as inputs `[64]` with pixels from 0 to 1, and their digits.
///
/// # Errors
/// None with the file as shipped.
pub fn load(device: &Device) -> Result<TensorDataset> {
    let images = || BYTES.chunks_exact(PIXELS + 1);
    let pixels: Vec<f32> = images().flat_map(|image| image[..PIXELS].iter().map(|&p| f32::from(p) / 16.0)).collect();
    let labels: Vec<i32> = images().map(|image| i32::from(image[PIXELS])).collect();
    TensorDataset::new(device, (pixels, [PIXELS]), (labels, []))
}

/// The fixed split that all our figures use: 20 % of each digit held out.
///
/// # Errors
/// None with the file as shipped.
pub fn split(device: &Device) -> Result<(TensorDataset, TensorDataset)> {
    load(device)?.stratified_split(0.2, 0)
}

#[cfg(test)]
mod tests {
    use super::{BYTES, PIXELS};

    #[test]
    fn the_file_is_whole() {
        assert_eq!(BYTES.len(), 1797 * (PIXELS + 1));
        let mut counts = [0; 10];
        for image in BYTES.chunks(PIXELS + 1) {
            assert!(image[..PIXELS].iter().all(|&p| p <= 16));
            counts[usize::from(image[PIXELS])] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }
}
