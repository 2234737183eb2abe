//! NumPy's npz: a zip archive of npy files.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Array, Content, malformed, npy, read_file, zip};
use crate::Result;
use crate::error::Place;

/// Reads every array of an npz file, under its name.
///
/// # Errors
/// [`Error::File`](crate::Error::File) if it cannot be read, [`Error::Malformed`](crate::Error::Malformed) if it is no
/// archive of arrays, a checksum is wrong, or as for [`npy::read`].
pub fn read(path: impl AsRef<Path>) -> Result<BTreeMap<String, Array>> {
    parse(&read_file(path.as_ref())?, path)
}

/// The arrays in the bytes of an npz file; errors call it `name`, and `name/member` where they are about a member.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<BTreeMap<String, Array>> {
    let path = name.as_ref();
    let mut arrays = BTreeMap::new();
    // Members of an honest archive share no bytes; a hostile one could unpack the same few many times.
    let mut packed = 0;
    for member in zip::members(bytes, path)? {
        let inside = path.join(&member.name);
        let Some(name) = member.name.strip_suffix(".npy") else {
            return Err(malformed(&inside, Place::Whole, "a member named .npy", "another name"));
        };
        packed += member.packed.len();
        if packed > bytes.len() {
            return Err(malformed(&inside, Place::Whole, "members with bytes of their own", "overlapping ones"));
        }
        let array = npy::content(Content::new(&inside, member.content()), member.size)?;
        if arrays.insert(name.to_string(), array).is_some() {
            return Err(malformed(&inside, Place::Whole, "names that differ", "one twice"));
        }
    }
    Ok(arrays)
}
