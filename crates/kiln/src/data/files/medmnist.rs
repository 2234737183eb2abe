//! MedMNIST: an npz file with images and labels of a training, a validation and a test part.
//!
//! Source: Yang et al. 2023, "MedMNIST v2", *Scientific Data* 10, 41.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Array, Numbers, malformed, npz, read_file};
use crate::data::{Column, TensorDataset};
use crate::error::Place;
use crate::{Device, Result};

/// The three parts of a set.
#[derive(Debug, Clone)]
pub struct Parts {
    /// To learn from.
    pub train: TensorDataset,
    /// To choose by.
    pub val: TensorDataset,
    /// To report on.
    pub test: TensorDataset,
}

/// Reads a set: inputs `[channels, height, width]` (or `[1, depth, height, width]`) from 0 to 1; targets are classes
/// `[]` of `I32`, or, where an image has several labels, `[labels]` of `F32`, 0 or 1.
///
/// # Errors
/// As for [`npz::read`]; [`Error::Malformed`](crate::Error::Malformed) also if a part is missing, its images are not
/// bytes, or images and labels do not belong together.
pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<Parts> {
    parse(&read_file(path.as_ref())?, path, device)
}

/// The set in the bytes of a file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>, device: &Device) -> Result<Parts> {
    let path = name.as_ref();
    let mut arrays = npz::parse(bytes, path)?;
    let mut part = |name: &str| part(&mut arrays, name, path, device);
    Ok(Parts { train: part("train")?, val: part("val")?, test: part("test")? })
}

fn part(arrays: &mut BTreeMap<String, Array>, name: &str, path: &Path, device: &Device) -> Result<TensorDataset> {
    let mut take = |what: &str| -> Result<_> {
        let key = format!("{name}_{what}");
        let missing = || malformed(path, Place::Whole, format!("an array {key}"), "none");
        Ok((arrays.remove(&key).ok_or_else(missing)?, path.join(format!("{key}.npy"))))
    };
    let (mut images, images_path) = take("images")?;
    let (labels, labels_path) = take("labels")?;
    if !matches!(images.numbers, Numbers::U8(_)) {
        return Err(malformed(&images_path, Place::Whole, "bytes", "other numbers"));
    }
    match images.shape[..] {
        [n, height, width] => images.shape = vec![n, 1, height, width],
        [_, _, _, 3] => images = images.permuted(&[0, 3, 1, 2]), // channels last, as in pictures
        [n, depth, height, width] => images.shape = vec![n, 1, depth, height, width],
        _ => {
            return Err(malformed(&images_path, Place::Whole, "three or four axes", format!("{:?}", images.shape)));
        }
    }
    let targets = match labels.shape[..] {
        [n] | [n, 1] if n == images.shape[0] => {
            let classes =
                labels.to_i32().ok_or_else(|| malformed(&labels_path, Place::Whole, "classes", "fractions"))?;
            Column::I32(classes.into(), Vec::new())
        }
        [n, several] if n == images.shape[0] => Column::F32(labels.to_f32().into(), vec![several]),
        _ => {
            let expected = format!("labels of {} images", images.shape[0]);
            return Err(malformed(&labels_path, Place::Whole, expected, format!("shape {:?}", labels.shape)));
        }
    };
    TensorDataset::new(device, images.into_column(), targets)
        .map_err(|error| malformed(&images_path, Place::Whole, "images of at least one pixel, one label each", error))
}
