//! Zip archives, as far as npz needs them: members that are stored or deflated, with their checksums. The central
//! directory at the end is what counts. No encryption, no spanning, archives under 4 GiB.
//!
//! Source: PKWARE, *.ZIP File Format Specification* 6.3.10, §4.3 and §4.5.3.

use std::io::Read;
use std::path::Path;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::malformed;
use crate::error::Place;
use crate::{Error, Result};

/// A member of an archive.
pub(super) struct Member<'a> {
    pub(super) name: String,
    /// Of the content, unpacked.
    pub(super) size: u64,
    pub(super) packed: &'a [u8],
    deflated: bool,
    crc: u32,
}

impl<'a> Member<'a> {
    /// The content. The checksum is compared when its end is reached.
    pub(super) fn content(&self) -> impl Read + 'a {
        let from: Box<dyn Read + 'a> =
            if self.deflated { Box::new(DeflateDecoder::new(self.packed)) } else { Box::new(self.packed) };
        Checked { from, crc: Crc::new(), want: self.crc }
    }
}

/// Content with a checksum at its end.
struct Checked<'a> {
    from: Box<dyn Read + 'a>,
    crc: Crc,
    want: u32,
}

impl Read for Checked<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(to)?;
        self.crc.update(&to[..n]);
        if n == 0 && !to.is_empty() && self.crc.sum() != self.want {
            return Err(std::io::Error::other(format!(
                "the checksum {:#010x}, not {:#010x}",
                self.crc.sum(),
                self.want
            )));
        }
        Ok(n)
    }
}

/// The members of an archive, in the order of its directory.
pub(super) fn members<'a>(bytes: &'a [u8], path: &Path) -> Result<Vec<Member<'a>>> {
    let archive = Archive { bytes, path };
    let end = archive.end_record()?;
    let count = archive.u16(end + 10)?;
    let (size, start) = (archive.u32(end + 12)? as usize, archive.u32(end + 16)? as usize);
    if archive.u16(end + 4)? != 0 || archive.u16(end + 6)? != 0 || archive.u16(end + 8)? != count {
        return Err(archive.bad(end + 4, "an archive of one part", "several parts"));
    }
    if start.checked_add(size).is_none_or(|directory_end| directory_end > end) {
        return Err(archive.bad(end + 12, "a directory before this record", format!("bytes {start} + {size}")));
    }
    let mut at = start;
    let mut members = Vec::new();
    for _ in 0..count {
        let (member, next) = archive.member(at)?;
        if next > start + size {
            return Err(archive.bad(at, "an entry inside the directory", "one that goes past it"));
        }
        members.push(member);
        at = next;
    }
    Ok(members)
}

struct Archive<'a, 'p> {
    bytes: &'a [u8],
    path: &'p Path,
}

impl<'a> Archive<'a, '_> {
    fn bad(&self, at: usize, expected: impl ToString, found: impl ToString) -> Error {
        malformed(self.path, Place::Byte(at as u64), expected, found)
    }

    fn part(&self, at: usize, n: usize) -> Result<&'a [u8]> {
        let part = at.checked_add(n).and_then(|end| self.bytes.get(at..end));
        part.ok_or_else(|| self.bad(at, format!("{n} bytes"), "the end of the file"))
    }

    fn u16(&self, at: usize) -> Result<u16> {
        let b = self.part(at, 2)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let b = self.part(at, 4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Where the end record is: the last one whose comment reaches the end of the file exactly.
    fn end_record(&self) -> Result<usize> {
        let last = self.bytes.len().checked_sub(22).ok_or_else(|| self.bad(0, "a zip archive", "a shorter file"))?;
        let first = last.saturating_sub(usize::from(u16::MAX));
        (first..=last)
            .rev()
            .find(|&at| {
                self.bytes[at..].starts_with(b"PK\x05\x06")
                    && self.u16(at + 20).is_ok_and(|comment| at + 22 + usize::from(comment) == self.bytes.len())
            })
            .ok_or_else(|| self.bad(last, "the end record of a zip archive", "none"))
    }

    /// The directory's entry at `at`, and where the next one is.
    fn member(&self, at: usize) -> Result<(Member<'a>, usize)> {
        if self.part(at, 4)? != b"PK\x01\x02" {
            return Err(self.bad(at, "an entry of the directory", "other bytes"));
        }
        let (flags, method, crc) = (self.u16(at + 8)?, self.u16(at + 10)?, self.u32(at + 16)?);
        let [name, extra, comment] = [self.u16(at + 28)?, self.u16(at + 30)?, self.u16(at + 32)?].map(usize::from);
        let text = String::from_utf8(self.part(at + 46, name)?.to_vec());
        let name_text = text.map_err(|_| self.bad(at + 46, "a name in UTF-8", "other bytes"))?;
        if flags & 1 != 0 {
            return Err(self.bad(at + 8, "a member that is not encrypted", "an encrypted one"));
        }
        if method != 0 && method != 8 {
            return Err(self.bad(at + 10, "a stored or deflated member", format!("method {method}")));
        }
        let sizes = [self.u32(at + 20)?, self.u32(at + 24)?, self.u32(at + 42)?];
        if sizes.contains(&u32::MAX) {
            return Err(self.bad(at + 20, "an archive under 4 GiB", "a larger one"));
        }
        let [packed, size, local] = sizes.map(|n| n as usize);
        if method == 0 && packed != size {
            return Err(self.bad(at + 20, "one size of a stored member", format!("{packed} and {size}")));
        }
        if self.part(local, 4)? != b"PK\x03\x04" {
            return Err(self.bad(local, "the header of a member", "other bytes"));
        }
        let skip = 30 + usize::from(self.u16(local + 26)?) + usize::from(self.u16(local + 28)?);
        let packed = self.part(local + skip, packed)?;
        let member = Member { name: name_text, size: size as u64, packed, deflated: method == 8, crc };
        Ok((member, at + 46 + name + extra + comment))
    }
}
