//! Readers of files: each gives all of a file's content or an error that names the file, the place in it, what the
//! format asks for there and what is there instead.
//!
//! Files are hostile until parsed. Sizes that a header claims are compared with the bytes that are there, in
//! checked arithmetic, before memory is asked for; compressed content is unpacked only as far as its header says.
//! Every reader has a `read(path)` and a `parse(bytes, name)`, where the name is what errors call the file.

mod array;
pub mod cifar;
pub mod csv;
pub mod edges;
pub mod idx;
#[cfg(feature = "images")]
pub mod images;
pub mod medmnist;
pub mod npy;
pub mod npz;
pub mod parquet;
pub mod text;
pub mod wav;
mod zip;

pub use array::{Array, Numbers};

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::error::Place;
use crate::{Error, Result};

/// All bytes of a regular file: a pipe or a device could go on for ever.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    regular(path)?;
    fs::read(path).map_err(|error| unreadable(path, error))
}

/// The file opened for reading in parts.
fn open(path: &Path) -> Result<fs::File> {
    regular(path)?;
    fs::File::open(path).map_err(|error| unreadable(path, error))
}

fn regular(path: &Path) -> Result<()> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if about.is_file() { Ok(()) } else { Err(unreadable(path, "not a regular file")) }
}

fn unreadable(path: &Path, why: impl ToString) -> Error {
    Error::File { path: path.to_path_buf(), why: why.to_string() }
}

pub(super) fn malformed(path: &Path, place: Place, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed { path: path.to_path_buf(), place, expected: expected.to_string(), found: found.to_string() }
}

/// An error about a line of a text.
pub(super) fn malformed_line(path: &Path, line: u64, expected: &str, found: String) -> Error {
    malformed(path, Place::Line(line), expected, found)
}

/// The text of a file.
pub(super) fn text_of(path: &Path) -> Result<String> {
    text::read(path)
}

/// The number of elements of a shape, if it can be counted.
fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))
}

/// Content that is read from front to back and knows how far it is.
struct Content<'a> {
    path: &'a Path,
    from: Box<dyn Read + 'a>,
    at: u64,
}

impl<'a> Content<'a> {
    fn new(path: &'a Path, from: impl Read + 'a) -> Self {
        Self { path, from: Box::new(from), at: 0 }
    }

    /// An error about the byte that comes next.
    fn bad(&self, expected: impl ToString, found: impl ToString) -> Error {
        malformed(self.path, Place::Byte(self.at), expected, found)
    }

    /// The next `n` bytes. Memory grows with what is really there, not with what was asked for.
    fn take(&mut self, n: usize, what: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(n as u64).read_to_end(&mut bytes);
        read.map_err(|error| self.bad(what, error))?;
        if bytes.len() < n {
            return Err(self.bad(format!("{n} bytes of {what}"), format!("the end after {}", bytes.len())));
        }
        self.at += n as u64;
        Ok(bytes)
    }

    /// The next `N` bytes.
    fn word<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let bytes = self.take(N, what)?;
        bytes.try_into().map_err(|_| self.bad(what, "the end"))
    }

    /// Checks that nothing is left.
    fn end(mut self) -> Result<()> {
        let mut one = [0];
        match self.from.read(&mut one) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.bad("the end", "more bytes")),
            Err(error) => Err(self.bad("the end", error)),
        }
    }
}
