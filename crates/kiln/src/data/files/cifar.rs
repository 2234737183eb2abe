//! CIFAR-10 and CIFAR-100 in their binary versions: records of one label (two in CIFAR-100: coarse, then fine) and
//! 3,072 pixels, the red plane of 32×32, then the green and the blue one.
//!
//! Source: Krizhevsky 2009, *Learning Multiple Layers of Features from Tiny Images*.

use std::path::Path;

use super::{malformed, read_file};
use crate::data::TensorDataset;
use crate::error::Place;
use crate::{Device, Result};

const PIXELS: usize = 3 * 32 * 32;

/// The images of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Images {
    /// 3,072 bytes an image, `[3, 32, 32]`.
    pub pixels: Vec<u8>,
    /// The class of each image; in CIFAR-100 the fine one of 100.
    pub labels: Vec<i32>,
    /// In CIFAR-100 the coarse class of each image, of 20.
    pub coarse: Vec<i32>,
}

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classes {
    /// CIFAR-10.
    Ten,
    /// CIFAR-100.
    Hundred,
}

/// Reads one binary file.
///
/// # Errors
/// [`Error::File`](crate::Error::File) if it cannot be read, [`Error::Malformed`](crate::Error::Malformed) if it is
/// not whole records or a label is out of range.
pub fn read(path: impl AsRef<Path>, classes: Classes) -> Result<Images> {
    parse(&read_file(path.as_ref())?, path, classes)
}

/// The images in the bytes of a file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>, classes: Classes) -> Result<Images> {
    let path = name.as_ref();
    let limits: &[u8] = match classes {
        Classes::Ten => &[10],
        Classes::Hundred => &[20, 100],
    };
    let record = limits.len() + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let whole = bytes.len() / record * record;
        return Err(malformed(
            path,
            Place::Byte(whole as u64),
            format!("records of {record} bytes"),
            format!("{} bytes at the end", bytes.len() - whole),
        ));
    }
    let mut images = Images::default();
    images.pixels.reserve_exact(bytes.len());
    for (index, record_bytes) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = record_bytes.split_at(limits.len());
        for (at, (&label, &limit)) in labels.iter().zip(limits).enumerate() {
            if label >= limit {
                let place = Place::Byte((index * record + at) as u64);
                return Err(malformed(path, place, format!("a label under {limit}"), label));
            }
        }
        images.pixels.extend_from_slice(pixels);
        images.labels.extend(labels.last().map(|&label| i32::from(label)));
        if labels.len() > 1 {
            images.coarse.push(i32::from(labels[0]));
        }
    }
    Ok(images)
}

/// The training and the test part of CIFAR-10 from a folder with `data_batch_1.bin` to `data_batch_5.bin` and
/// `test_batch.bin`: inputs `[3, 32, 32]` from 0 to 1, labels from 0 to 9.
///
/// # Errors
/// As for [`read`].
pub fn cifar10(folder: impl AsRef<Path>, device: &Device) -> Result<(TensorDataset, TensorDataset)> {
    let mut train = Images::default();
    for number in 1..=5 {
        let part = read(folder.as_ref().join(format!("data_batch_{number}.bin")), Classes::Ten)?;
        train.pixels.extend(part.pixels);
        train.labels.extend(part.labels);
    }
    let test = read(folder.as_ref().join("test_batch.bin"), Classes::Ten)?;
    Ok((train.dataset(device)?, test.dataset(device)?))
}

/// The training and the test part of CIFAR-100 from a folder with `train.bin` and `test.bin`: inputs `[3, 32, 32]` from
/// 0 to 1, the fine labels from 0 to 99.
///
/// # Errors
/// As for [`read`].
pub fn cifar100(folder: impl AsRef<Path>, device: &Device) -> Result<(TensorDataset, TensorDataset)> {
    let part = |name: &str| read(folder.as_ref().join(name), Classes::Hundred)?.dataset(device);
    Ok((part("train.bin")?, part("test.bin")?))
}

impl Images {
    fn dataset(self, device: &Device) -> Result<TensorDataset> {
        TensorDataset::new(device, (self.pixels, [3, 32, 32]), (self.labels, []))
    }
}
