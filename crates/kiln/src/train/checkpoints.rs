//! Checkpoints of a training in a folder: which are written, which are kept, which is the newest.

use std::fs;
use std::path::{Path, PathBuf};

use super::Every;
use crate::{Error, Result};

/// Which checkpoints a training keeps, and when it writes one.
///
/// A checkpoint is one file, `step-000000120.safetensors`, with the whole state of the training after that step:
/// weights, optimizer, averages, random counters, position in the data, figures so far. It is complete or absent,
/// whatever happens while it is written. One more is written when a training ends, however it ends. The model with the
/// lowest loss is `best.safetensors`, a state dict that [`store::load`](crate::store::load) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoints {
    /// When one is written; after every epoch by default.
    pub every: Every,
    /// How many of the newest are kept, one at least; 1 by default.
    pub keep: usize,
    /// Whether the model with the lowest loss is kept too, as it is by default.
    pub best: bool,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { every: Every::Epochs(1), keep: 1, best: true }
    }
}

impl Checkpoints {
    /// One after every so many steps or epochs.
    pub fn every(every: Every) -> Self {
        Self { every, ..Self::default() }
    }

    /// The newest checkpoint of a training in `folder`, if there is one there.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be read.
    pub fn newest(folder: impl Into<PathBuf>) -> Result<Option<PathBuf>> {
        Folder { path: folder.into(), policy: Self::default() }.newest()
    }

    /// Keeps this many of the newest.
    #[must_use]
    pub fn keep(mut self, count: usize) -> Self {
        self.keep = count;
        self
    }
}

/// The folder of a training's checkpoints.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) policy: Checkpoints,
}

impl Folder {
    /// The file after `step` steps.
    pub(super) fn file(&self, step: usize) -> PathBuf {
        self.path.join(format!("step-{step:09}.safetensors"))
    }

    pub(super) fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// Makes the folder, if it is not there, and removes what a killed run left half-written.
    pub(super) fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|why| failed(&self.path, why))?;
        for (path, name) in self.names()? {
            let ours = name.starts_with(".step-") || name.starts_with(".best.");
            if ours && name.ends_with(".tmp") {
                fs::remove_file(&path).map_err(|why| failed(&path, why))?;
            }
        }
        Ok(())
    }

    /// The newest checkpoint.
    pub(super) fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.all()?.pop().map(|(_, path)| path))
    }

    /// Removes all but the newest.
    pub(super) fn prune(&self) -> Result<()> {
        let mut all = self.all()?;
        all.truncate(all.len().saturating_sub(self.policy.keep));
        all.iter().try_for_each(|(_, path)| fs::remove_file(path).map_err(|why| failed(path, why)))
    }

    /// All checkpoints by their steps.
    fn all(&self) -> Result<Vec<(usize, PathBuf)>> {
        let step = |name: &str| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok();
        let mut all: Vec<(usize, PathBuf)> =
            self.names()?.into_iter().filter_map(|(path, name)| Some((step(&name)?, path))).collect();
        all.sort();
        Ok(all)
    }

    fn names(&self) -> Result<Vec<(PathBuf, String)>> {
        let read = || -> std::io::Result<Vec<(PathBuf, String)>> {
            let entry = |entry: std::io::Result<fs::DirEntry>| {
                entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
            };
            fs::read_dir(&self.path)?.map(entry).collect()
        };
        read().map_err(|why| failed(&self.path, why))
    }
}

pub(super) fn failed(path: &Path, why: impl ToString) -> Error {
    Error::File { path: path.to_path_buf(), why: why.to_string() }
}
