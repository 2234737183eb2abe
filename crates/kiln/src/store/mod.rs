//! Saving and loading: safetensors files under PyTorch's state-dict names.
//!
//! ```
//! # use kiln::prelude::*;
//! # let device = Device::open()?;
//! # let path = std::env::temp_dir().join(format!("kiln-doc-{}.safetensors", std::process::id()));
//! let model = Linear::new(4, 2, &mut Init::new(&device, 1));
//! store::save(&model, &path)?;
//!
//! let other = Linear::new(4, 2, &mut Init::new(&device, 2));
//! store::load(&other, &path)?;
//! assert_eq!(other.weight.value().to_vec::<f32>()?, model.weight.value().to_vec::<f32>()?);
//! # let _ = std::fs::remove_file(path);
//! # Ok::<(), Error>(())
//! ```

mod atomic;
mod checkpoint;
mod format;

use std::fs;
use std::path::Path;

pub use atomic::write_atomically;
pub use checkpoint::{TrainingState, load_training, save_training};
pub use format::Metadata;

use crate::nn::{Module, StateDict};
use crate::{Device, Error, Result, StateReport};
use atomic::file_error;

/// Writes every parameter and buffer of `module` as a safetensors file. The file is complete or
/// absent, whatever happens.
///
/// # Errors
/// [`Error::File`], or what evaluating a parameter gives.
pub fn save<M: Module + ?Sized>(module: &M, path: impl AsRef<Path>) -> Result<()> {
    save_tensors(&module.state_dict(), &Metadata::new(), path)
}

/// Replaces every parameter and buffer of `module` by what the file holds under its path.
///
/// # Errors
/// [`Error::File`] if the file cannot be read or understood;
/// [`Error::State`] lists every name that is missing, unexpected or of
/// another shape. The module is unchanged then.
pub fn load<M: Module + ?Sized>(module: &M, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let loaded = match device_of(module) {
        Some(device) => module.load_state_dict(&load_tensors(&device, path)?.0),
        None => match report_of(path)? {
            report if report.unexpected.is_empty() => Ok(()),
            report => Err(Error::State(Box::new(report))),
        },
    };
    loaded.map_err(|error| error.of_file(path))
}

/// Takes from the file what fits and reports the rest.
///
/// # Errors
/// [`Error::File`] if the file cannot be read or understood.
pub fn load_matching<M: Module + ?Sized>(module: &M, path: impl AsRef<Path>) -> Result<StateReport> {
    let path = path.as_ref();
    let report = match device_of(module) {
        Some(device) => module.load_matching(&load_tensors(&device, path)?.0)?,
        None => report_of(path)?,
    };
    Ok(StateReport { file: Some(path.to_owned()), ..report })
}

/// What a module without parameters and buffers makes of a file: it expects nothing.
fn report_of(path: &Path) -> Result<StateReport> {
    let mut report = StateReport::default();
    format::decode(&read(path)?, path, |name, _, _| {
        report.unexpected.push(name.to_string());
        Ok(())
    })?;
    report.unexpected.sort();
    Ok(report)
}

/// Writes tensors and metadata as a safetensors file. I32 is written as int64, which PyTorch uses.
///
/// # Errors
/// [`Error::File`], or what evaluating a tensor gives.
pub fn save_tensors(tensors: &StateDict, metadata: &Metadata, path: impl AsRef<Path>) -> Result<()> {
    let (head, parts) = format::encode(tensors, metadata)?;
    let all: Vec<&[u8]> = std::iter::once(head.as_slice()).chain(parts.iter().map(Vec::as_slice)).collect();
    write_atomically(path, &all)
}

/// Reads a safetensors file onto `device`. Numbers of 64 bits that do not fit in 32 are an error.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is damaged or of another format.
pub fn load_tensors(device: &Device, path: impl AsRef<Path>) -> Result<(StateDict, Metadata)> {
    let path = path.as_ref();
    let mut tensors = StateDict::new();
    let metadata = format::decode(&read(path)?, path, |name, numbers, shape| {
        let tensor = numbers.tensor(device, shape);
        tensor.shape()?;
        tensors.insert(name.to_string(), tensor);
        Ok(())
    })?;
    Ok((tensors, metadata))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    // A pipe or a device could go on for ever.
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err(file_error(path, "not a regular file"));
    }
    fs::read(path).map_err(|error| file_error(path, error))
}

/// Where the first parameter or buffer lives; `None` for a module without any.
pub(crate) fn device_of<M: Module + ?Sized>(module: &M) -> Option<Device> {
    let param = module.parameters().first().map(|param| param.device().clone());
    param.or_else(|| module.named_states().first().map(|(_, state)| state.device().clone()))
}
