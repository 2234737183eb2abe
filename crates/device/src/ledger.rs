//! A small table on disk: what was found out about an adapter, kept for the next program. One line a row: key,
//! version of what it is about, value, separated by tabs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::disk::{hash, write_atomically};
use crate::error::{Error, Result};

/// Keys to (version, value). Without a cache folder it lives as long as the device.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    path: Option<PathBuf>,
    rows: BTreeMap<String, (u64, String)>,
    /// It was said that the table cannot be written: once is enough.
    said: bool,
}

impl Ledger {
    /// The table called `name` of this adapter and driver. A line that cannot be read is left out.
    pub(crate) fn open(name: &str, device: &Device) -> Ledger {
        let caps = device.caps();
        let about = format!("{} {} {}", caps.name, caps.driver, caps.backend);
        let path =
            device.inner.cache_dir.as_ref().map(|dir| dir.join(format!("{name}_{:016x}.txt", hash(about.as_bytes()))));
        let text = match path.as_ref().map(fs::read) {
            Some(Ok(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        };
        Ledger { path, rows: parse(&text), said: false }
    }

    /// All rows of a version.
    pub(crate) fn rows(&self, version: u64) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().filter(move |(_, (about, _))| *about == version).map(|(key, (_, value))| (&**key, &**value))
    }

    /// Sets a row, in memory.
    pub(crate) fn set(&mut self, key: &str, version: u64, value: &str) {
        let clean = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        self.rows.insert(clean(key), (version, clean(value)));
    }

    /// Forgets all rows, in memory.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }

    /// Writes the table. One that cannot be written is only logged.
    pub(crate) fn save(&mut self) {
        if let Err(error) = self.try_save()
            && !std::mem::replace(&mut self.said, true)
        {
            log::warn!("{error}");
        }
    }

    /// Writes the table, and says where; `None` without a cache folder.
    ///
    /// # Errors
    /// [`Error::Cache`].
    pub(crate) fn try_save(&self) -> Result<Option<&Path>> {
        let Some(path) = &self.path else { return Ok(None) };
        let lines: Vec<String> =
            self.rows.iter().map(|(key, (version, value))| format!("{key}\t{version:016x}\t{value}\n")).collect();
        match write_atomically(path, lines.concat().as_bytes()) {
            Ok(()) => Ok(Some(path)),
            Err(error) => Err(Error::Cache { path: path.clone(), why: error.to_string() }),
        }
    }
}

fn parse(text: &str) -> BTreeMap<String, (u64, String)> {
    let row = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let (key, version, value) = (fields.next()?, fields.next()?, fields.next()?);
        Some((key.to_string(), (u64::from_str_radix(version, 16).ok()?, value.to_string())))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ledger, parse};

    #[test]
    fn only_rows_of_the_same_version_count() {
        let mut ledger = Ledger::default();
        ledger.set("matmul\ttile", 7, "right\n");
        assert_eq!(ledger.rows(7).collect::<Vec<_>>(), [("matmul tile", "right ")]);
        assert_eq!(ledger.rows(8).count(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let rows = parse("a\t10\tx\nno version\nb\tz\ty\nc\t0f");
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), [("a".to_string(), (16, "x".to_string()))]);
    }
}
