//! What is remembered between runs of a program: compiled pipelines, where the backend can give them out.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::environment::path as variable;

const MAGIC: &[u8; 8] = b"KILNPC01";

/// The folder of Kiln's caches: `KILN_CACHE_DIR`, or `kiln` in the platform's cache folder; `None` where there is
/// none. It need not exist. Everything in it can be deleted at any time.
pub fn cache_dir() -> Option<PathBuf> {
    variable("KILN_CACHE_DIR").or_else(|| {
        let base = if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| home.join("Library/Caches"))
        } else {
            variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
        };
        base.map(|base| base.join("kiln"))
    })
}

/// A driver's pipeline cache, kept in a file named after adapter and driver.
#[derive(Debug)]
pub(crate) struct PipelineCache {
    pub(crate) raw: wgpu::PipelineCache,
    path: PathBuf,
    grown: AtomicBool,
    /// The checksum of what the file holds; 0 if there is none.
    written: AtomicU64,
}

impl PipelineCache {
    /// The cache of this device; `None` where the backend has none.
    pub(crate) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, dir: &Path) -> Option<PipelineCache> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(info)?;
        let driver = hash(format!("{} {} {}", info.name, info.driver, info.driver_info).as_bytes());
        let path = dir.join(format!("{key}_{driver:016x}"));
        let data = fs::read(&path).ok().and_then(|file| unseal(&file).map(<[u8]>::to_vec));
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let raw = create(device, data.as_deref());
        let written = AtomicU64::new(data.as_deref().map_or(0, hash));
        match pollster::block_on(scope.pop()) {
            None => Some(PipelineCache { raw, path, grown: AtomicBool::new(false), written }),
            Some(error) => {
                log::warn!("no pipeline cache: {error}");
                None
            }
        }
    }

    /// A pipeline was made that the file may not have.
    pub(crate) fn touch(&self) {
        self.grown.store(true, Relaxed);
    }

    /// Writes the file if there is something new: on a busy disk that can take long. A cache that cannot be written
    /// is only logged.
    pub(crate) fn save(&self) {
        if !self.grown.swap(false, Relaxed) {
            return;
        }
        if let Some(data) = self.raw.get_data()
            && self.written.swap(hash(&data), Relaxed) != hash(&data)
            && let Err(error) = write_atomically(&self.path, &seal(&data))
        {
            log::warn!("cannot write {}: {error}", self.path.display());
        }
    }
}

#[allow(unsafe_code)]
fn create(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let desc = wgpu::PipelineCacheDescriptor { label: Some("kiln pipelines"), data, fallback: true };
    // SAFETY: the data was returned by `get_data` for an adapter and driver of the same name, and its checksum shows
    // that the file is the one that was written. wgpu and the driver check its header again.
    unsafe { device.create_pipeline_cache(&desc) }
}

/// The file's bytes: magic, checksum, data.
fn seal(data: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &hash(data).to_le_bytes(), data].concat()
}

/// The data of a file, if it is whole.
fn unseal(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(MAGIC)?;
    let (sum, data) = rest.split_first_chunk::<8>()?;
    (hash(data) == u64::from_le_bytes(*sum)).then_some(data)
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Writes a file so that it is either the old or the new one, whatever happens in between.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // Several processes, and several devices of one, may write at the same time.
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let temporary = path.with_extension(format!("{}-{}.tmp", std::process::id(), WRITES.fetch_add(1, Relaxed)));
    let written = fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::{seal, unseal};

    #[test]
    fn a_torn_file_is_not_used() {
        let file = seal(b"pipelines");
        assert_eq!(unseal(&file), Some(b"pipelines".as_slice()));
        for cut in 0..file.len() {
            assert_eq!(unseal(&file[..cut]), None, "cut at {cut}");
        }
        let mut flipped = file.clone();
        flipped[18] ^= 1;
        assert_eq!(unseal(&flipped), None);
    }
}
