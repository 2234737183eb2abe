//! A file is complete or absent: what is written goes to a temporary file beside it, is forced to
//! the disk, and takes the name in one step.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Writes `parts`, one after another, as the file `path`. A file that was there before stays until
/// the new one is whole and on the disk.
///
/// # Errors
/// [`Error::File`] with the system's reason; the old file is untouched then.
pub fn write_atomically(path: impl AsRef<Path>, parts: &[&[u8]]) -> Result<()> {
    let path = path.as_ref();
    let temporary = beside(path);
    let written = write_and_rename(path, &temporary, parts);
    if written.is_err() {
        // The temporary file may not exist; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| file_error(path, error))
}

fn write_and_rename(path: &Path, temporary: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, path)?;
    sync_dir(path)
}

/// A name in the same directory that nobody else uses: of this process, of this call.
fn beside(path: &Path) -> PathBuf {
    static CALL: AtomicU64 = AtomicU64::new(0);
    let call = CALL.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{call}.tmp", std::process::id()))
}

/// The rename itself must reach the disk too; only Unix lets a program ask for it.
#[cfg(unix)]
fn sync_dir(path: &Path) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

pub(super) fn file_error(path: &Path, why: impl ToString) -> Error {
    Error::File { path: path.to_path_buf(), why: why.to_string() }
}
