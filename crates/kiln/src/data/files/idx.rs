//! IDX, the format of MNIST and Fashion-MNIST: two zero bytes, the type, the rank, big-endian extents, the numbers.
//! Plain or compressed by gzip.
//!
//! Source: LeCun, Cortes & Burges, *The MNIST database*, "File formats".

use std::path::Path;

use flate2::read::GzDecoder;

use super::array::Kind;
use super::{Array, Content, Numbers, count, malformed, read_file, unreadable};
use crate::data::TensorDataset;
use crate::error::Place;
use crate::{Device, Result};

/// Reads an IDX file, compressed or not.
///
/// # Errors
/// [`Error::File`](crate::Error::File) if it cannot be read, [`Error::Malformed`](crate::Error::Malformed) if it is
/// no IDX file, too short or too long.
pub fn read(path: impl AsRef<Path>) -> Result<Array> {
    parse(&read_file(path.as_ref())?, path)
}

/// The array in the bytes of an IDX file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<Array> {
    let path = name.as_ref();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return content(Content::new(path, GzDecoder::new(bytes)), None);
    }
    content(Content::new(path, bytes), Some(bytes.len()))
}

fn content(mut file: Content<'_>, size: Option<usize>) -> Result<Array> {
    let [a, b, kind, rank] = file.word("the magic number")?;
    let bad = |expected: &str, found: String| Err(malformed(file.path, Place::Byte(0), expected, found));
    if [a, b] != [0, 0] {
        return bad("two zero bytes", format!("{a:#04x} {b:#04x}"));
    }
    let kind = match kind {
        0x08 => Kind::U8,
        0x09 => Kind::I8,
        0x0b => Kind::I16,
        0x0c => Kind::I32,
        0x0d => Kind::F32,
        0x0e => Kind::F64,
        other => return bad("a type of 0x08, 0x09 or 0x0b to 0x0e", format!("{other:#04x}")),
    };
    if rank == 0 || usize::from(rank) > crate::MAX_RANK {
        return bad("a rank from 1 to 6", rank.to_string());
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        shape.push(u32::from_be_bytes(file.word("an extent")?) as usize);
    }
    let needs = count(&shape).and_then(|n| n.checked_mul(kind.bytes()));
    let left = size.map(|size| size - file.at as usize);
    let needs = match needs {
        Some(needs) if left.is_none_or(|left| left == needs) => needs,
        _ => {
            let has = left.map_or("more than can be counted".into(), |left| format!("{left} bytes"));
            return Err(file.bad(format!("the numbers of shape {shape:?}"), has));
        }
    };
    let (start, path) = (file.at, file.path);
    let bytes = file.take(needs, "numbers")?;
    file.end()?;
    Ok(Array { shape, numbers: kind.numbers(bytes, true, path, start)? })
}

/// The training and the test part of MNIST, or of a set with the same files such as Fashion-MNIST or KMNIST, from a
/// folder: inputs `[1, height, width]` from 0 to 1, labels from 0 to 9. The files have their original names
/// (`train-images-idx3-ubyte`, …), with or without `.gz`.
///
/// # Errors
/// As for [`read`]; [`Error::Malformed`](crate::Error::Malformed) also if images and labels do not belong together.
pub fn mnist(folder: impl AsRef<Path>, device: &Device) -> Result<(TensorDataset, TensorDataset)> {
    let part = |part: &str| -> Result<TensorDataset> {
        let (images_path, labels_path) =
            (find(folder.as_ref(), part, "images-idx3")?, find(folder.as_ref(), part, "labels-idx1")?);
        let (images, labels) = (read(&images_path)?, read(&labels_path)?);
        let (&[n, height, width], Numbers::U8(pixels)) = (&images.shape[..], images.numbers) else {
            return Err(malformed(&images_path, Place::Whole, "bytes of three axes", format!("{:?}", images.shape)));
        };
        let (true, Numbers::U8(labels)) = (labels.shape == [n], labels.numbers) else {
            return Err(malformed(&labels_path, Place::Whole, format!("{n} labels"), format!("{:?}", labels.shape)));
        };
        if let Some(at) = labels.iter().position(|&label| label > 9) {
            return Err(malformed(&labels_path, Place::Byte(8 + at as u64), "a label from 0 to 9", labels[at]));
        }
        let labels: Vec<i32> = labels.into_iter().map(i32::from).collect();
        TensorDataset::new(device, (pixels, [1, height, width]), (labels, []))
    };
    Ok((part("train")?, part("t10k")?))
}

/// The file of a part under one of the names it is handed around with.
fn find(folder: &Path, part: &str, what: &str) -> Result<std::path::PathBuf> {
    let dotted = what.replace('-', ".");
    let names = [format!("{part}-{what}-ubyte"), format!("{part}-{dotted}-ubyte")];
    let paths = names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
    let first = folder.join(&names[0]);
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| unreadable(&first, "no such file, with or without .gz"))
}
