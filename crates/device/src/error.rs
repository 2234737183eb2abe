//! What can go wrong between a kernel's text and its result.

use std::path::PathBuf;

/// The result of every call of this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a device could not be opened, or a kernel could not be made or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits. `wanted` says what was asked for, `found` lists what is there, `hint` what to install.
    #[error("no adapter for {wanted}; found: {found}. {hint}")]
    NoAdapter {
        /// What was asked for: a name, a backend, or any adapter at all.
        wanted: String,
        /// The adapters that are there.
        found: String,
        /// What to install or to change.
        hint: &'static str,
    },

    /// A kernel's text cannot be specialised, parsed or validated. `message` has the line where naga knows it.
    #[error("kernel {name}: {message}")]
    Kernel {
        /// The kernel's name.
        name: String,
        /// What is wrong with it, with the source line.
        message: String,
    },

    /// The device offers less than a kernel or a buffer needs.
    #[error("{kernel} needs {needs} {what}, the device has {has}")]
    Limit {
        /// The kernel or buffer.
        kernel: String,
        /// The limit's name.
        what: &'static str,
        /// How much is needed.
        needs: u64,
        /// How much the device offers.
        has: u64,
    },

    /// A buffer would exceed the byte budget even after idle buffers were freed.
    #[error("{label} needs {bytes} bytes; {live} of the budget of {budget} are in use")]
    Budget {
        /// The buffer's label.
        label: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes in use.
        live: u64,
        /// The budget.
        budget: u64,
    },

    /// The driver has no memory left.
    #[error("out of device memory: {label}")]
    OutOfMemory {
        /// What was being made.
        label: String,
    },

    /// The device lacks a feature that a kernel uses.
    #[error("{kernel} needs {feature}, which this device does not have")]
    Feature {
        /// The kernel.
        kernel: String,
        /// The feature, as its users call it.
        feature: &'static str,
    },

    /// What was found out about the adapter cannot be kept for the next program.
    #[error("cannot write {}: {why}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },

    /// A call was not valid: a missing binding, a wrong length, a range past the end.
    #[error("{0}")]
    Validation(String),

    /// The device went away (driver reset, unplugged, destroyed); every later call returns this.
    #[error("device lost: {0}")]
    Lost(String),
}
