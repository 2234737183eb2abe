//! NumPy's npy: a magic number, a version, a header that is a Python dict, the numbers. Versions 1 to 3, both byte
//! orders, both orders of axes.
//!
//! Source: NumPy, `numpy/lib/_format_impl.py`.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::array::Kind;
use super::{Array, Content, count, malformed, open, read_file, unreadable};
use crate::Result;
use crate::error::Place;

/// Reads an npy file of booleans, integers or floats.
///
/// # Errors
/// [`Error::File`](crate::Error::File) if it cannot be read, [`Error::Malformed`](crate::Error::Malformed) if it is
/// no npy file, of another type, too short or too long, or has a number that does not fit in 32 bits.
pub fn read(path: impl AsRef<Path>) -> Result<Array> {
    parse(&read_file(path.as_ref())?, path)
}

/// The array in the bytes of an npy file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<Array> {
    content(Content::new(name.as_ref(), bytes), bytes.len() as u64)
}

/// An array from content of `size` bytes.
pub(super) fn content(mut file: Content<'_>, size: u64) -> Result<Array> {
    let header = header(&mut file, size)?;
    let (start, path) = (file.at, file.path);
    let bytes = file.take(header.bytes, "numbers")?;
    file.end()?;
    let numbers = header.kind.numbers(bytes, header.big_endian, path, start)?;
    if !header.fortran {
        return Ok(Array { shape: header.shape, numbers });
    }
    // Column-major is row-major with the axes the other way round.
    let axes: Vec<usize> = (0..header.shape.len()).rev().collect();
    let reversed = Array { shape: header.shape.into_iter().rev().collect(), numbers };
    Ok(reversed.permuted(&axes))
}

#[derive(Debug)]
struct Header {
    kind: Kind,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// Of all numbers; what is left of the file.
    bytes: usize,
}

fn header(file: &mut Content<'_>, size: u64) -> Result<Header> {
    let magic: [u8; 6] = file.word("the magic number")?;
    if magic != *b"\x93NUMPY" {
        return Err(malformed(
            file.path,
            Place::Byte(0),
            "\\x93NUMPY",
            format!("{:?}", String::from_utf8_lossy(&magic)),
        ));
    }
    let [major, minor] = file.word("the version")?;
    let length = match (major, minor) {
        (1, 0) => u16::from_le_bytes(file.word("the header's length")?) as usize,
        (2 | 3, 0) => u32::from_le_bytes(file.word("the header's length")?) as usize,
        _ => return Err(malformed(file.path, Place::Byte(6), "version 1.0, 2.0 or 3.0", format!("{major}.{minor}"))),
    };
    let start = file.at;
    let text = file.take(length, "the header")?;
    let bad = |expected: &str, found: &str| malformed(file.path, Place::Byte(start), expected, found);
    let text = String::from_utf8(text).map_err(|_| bad("a header of text", "other bytes"))?;
    let fields = Dict::parse(&text).ok_or_else(|| bad("a dict of descr, fortran_order and shape", text.trim_end()))?;
    let (kind, big_endian) = kind_of(&fields.descr)
        .ok_or_else(|| bad("booleans, integers or floats of 16, 32 or 64 bits", &fields.descr))?;
    let bytes = count(&fields.shape).and_then(|n| n.checked_mul(kind.bytes()));
    let left = size.checked_sub(file.at); // an archive may claim that its member is shorter than this header
    match bytes {
        Some(bytes) if left == Some(bytes as u64) => {
            Ok(Header { kind, big_endian, fortran: fields.fortran, shape: fields.shape, bytes })
        }
        _ => {
            let expected = format!("the numbers of {} of shape {:?}", fields.descr, fields.shape);
            Err(file.bad(expected, format!("{} bytes", left.unwrap_or(0))))
        }
    }
}

/// `<f4` and its like.
fn kind_of(descr: &str) -> Option<(Kind, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let kind = match kind {
        "b1" => Kind::Bool,
        "u1" => Kind::U8,
        "i1" => Kind::I8,
        "u2" => Kind::U16,
        "i2" => Kind::I16,
        "u4" => Kind::U32,
        "i4" => Kind::I32,
        "u8" => Kind::U64,
        "i8" => Kind::I64,
        "f2" => Kind::F16,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        _ => return None,
    };
    match order {
        "<" => Some((kind, false)),
        ">" => Some((kind, true)),
        "|" if kind.bytes() == 1 => Some((kind, false)),
        _ => None,
    }
}

/// The header's three fields.
struct Dict {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Dict {
    /// Reads `{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }`: each field once, in any order.
    fn parse(text: &str) -> Option<Self> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" if descr.is_none() => {
                    let (value, after) = quoted(value)?;
                    descr = Some(value.to_string());
                    after
                }
                "fortran_order" if fortran.is_none() => {
                    let (flag, after) = match value.strip_prefix("True") {
                        Some(after) => (true, after),
                        None => (false, value.strip_prefix("False")?),
                    };
                    fortran = Some(flag);
                    after
                }
                "shape" if shape.is_none() => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(extents(inside)?);
                    after
                }
                _ => return None,
            };
            rest = match after.trim_start().strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if after.trim().is_empty() => "",
                None => return None,
            };
        }
        Some(Self { descr: descr?, fortran: fortran?, shape: shape? })
    }
}

/// A Python string at the front of `text`, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|&c| c == '\'' || c == '"')?;
    text[1..].split_once(quote)
}

/// The extents in `2, 3` or `2,` or nothing.
fn extents(inside: &str) -> Option<Vec<usize>> {
    let inside = inside.trim();
    if inside.is_empty() {
        return Some(Vec::new());
    }
    // One extent needs its comma, as in Python; several may have one at the end.
    let list = inside.strip_suffix(',');
    if list.is_none() && !inside.contains(',') {
        return None;
    }
    let parts: Vec<&str> = list.unwrap_or(inside).split(',').collect();
    // Python 2 wrote long integers with an L.
    let extent = |part: &&str| part.trim().trim_end_matches('L').parse().ok();
    if parts.len() > 64 { None } else { parts.iter().map(extent).collect() }
}

/// An npy file that is read in parts, for arrays larger than memory. Row-major only.
///
/// ```no_run
/// # use kiln::prelude::*;
/// let mut file = data::files::npy::NpyFile::open("large.npy")?;
/// let first = file.rows(0..1000)?;
/// assert_eq!(first.shape[0], 1000);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    file: File,
    header: Header,
    /// Where the numbers begin.
    start: u64,
}

impl NpyFile {
    /// Reads the header.
    ///
    /// # Errors
    /// As for [`read`]; a column-major array of more than one axis, or an array without axes, is refused.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open(path)?;
        let size = file.metadata().map_err(|error| unreadable(path, error))?.len();
        let mut front = Content::new(path, &file);
        let header = header(&mut front, size)?;
        let start = front.at;
        if header.shape.is_empty() || (header.fortran && header.shape.len() > 1) {
            return Err(malformed(path, Place::Whole, "rows, one after another", "no axes, or a column-major array"));
        }
        drop(front);
        Ok(Self { path: path.to_path_buf(), file, header, start })
    }

    /// The extents of the whole array; the first counts the rows.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The rows in `range`.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for rows past the end; otherwise as for [`read`].
    #[track_caller]
    pub fn rows(&mut self, range: Range<usize>) -> Result<Array> {
        let shape = &self.header.shape;
        if range.start > range.end || range.end > shape[0] {
            return Err(crate::Error::Argument {
                op: "NpyFile::rows",
                name: "range",
                value: format!("{range:?}"),
                why: "rows that the file has",
                at: crate::error::At::here(),
            });
        }
        // The whole array was counted and is in the file, so this cannot overflow.
        let row = self.header.bytes / shape[0].max(1);
        let begin = self.start + (range.start * row) as u64;
        self.file.seek(SeekFrom::Start(begin)).map_err(|error| unreadable(&self.path, error))?;
        let mut part = Content::new(&self.path, &self.file);
        part.at = begin;
        let bytes = part.take(range.len() * row, "numbers")?;
        drop(part);
        let numbers = self.header.kind.numbers(bytes, self.header.big_endian, &self.path, begin)?;
        let shape = std::iter::once(range.len()).chain(shape[1..].iter().copied()).collect();
        Ok(Array { shape, numbers })
    }
}
