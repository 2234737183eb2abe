//! Text files, whole or line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{malformed, open, read_file, unreadable};
use crate::error::Place;
use crate::{Error, Result};

/// The longest line, or record of a table, that is taken: what has no end is no text.
pub const LONGEST_LINE: usize = 16 << 20;

/// Reads a UTF-8 file as it is, without the byte-order mark that some programs put in front.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Malformed`] with the line if it is not UTF-8.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    parse(read_file(path.as_ref())?, path)
}

/// The text in the bytes of a file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: Vec<u8>, name: impl AsRef<Path>) -> Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let (good, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = 1 + bytes[..good].iter().filter(|&&b| b == b'\n').count() as u64;
        malformed(name.as_ref(), Place::Line(line), "UTF-8", format!("the byte {:#04x}", bytes[good]))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The lines of a file one after another, without their ends, for files larger than memory.
///
/// # Errors
/// [`Error::File`] if it cannot be opened. A line that is not UTF-8 or longer than [`LONGEST_LINE`] is an
/// [`Error::Malformed`] and the last item.
pub fn lines(path: impl AsRef<Path>) -> Result<Lines<BufReader<File>>> {
    Ok(Lines::new(BufReader::new(open(path.as_ref())?), path.as_ref()))
}

/// The iterator of [`lines`].
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    path: PathBuf,
    line: u64,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// The lines of any text; errors call it `name`.
    pub fn new(from: R, name: &Path) -> Self {
        Self { from, path: name.to_path_buf(), line: 0, ended: false }
    }

    /// The number of the line that came last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    fn read(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut part = (&mut self.from).take(LONGEST_LINE as u64 + 1);
        let n = part.read_until(b'\n', &mut bytes).map_err(|error| unreadable(&self.path, error))?;
        if n == 0 {
            return Ok(None);
        }
        self.line += 1;
        let bad = |expected: &str, found: String| malformed(&self.path, Place::Line(self.line), expected, found);
        if n > LONGEST_LINE {
            return Err(bad("at most 16 MiB in a line", "more".into()));
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if self.line == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3);
        }
        String::from_utf8(bytes).map(Some).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            bad("UTF-8", format!("the byte {:#04x} at {at}", error.as_bytes()[at]))
        })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        if self.ended {
            return None;
        }
        let line = self.read().transpose();
        self.ended = !matches!(line, Some(Ok(_)));
        line
    }
}

/// What an iterator over lines gave, for readers that need an error with its place.
pub(super) fn at_line(path: &Path, line: u64, expected: impl ToString, found: impl ToString) -> Error {
    malformed(path, Place::Line(line), expected, found)
}
