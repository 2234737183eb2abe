//! How a device is opened, and what the environment has to say about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::adapter::{self, AdapterKind, BackendKind};
use crate::environment::{path, switch, text};
use crate::error::{Error, Result};
use crate::kernels::matmul::Precision;

/// How to open a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// A part of the adapter's name.
    pub adapter: Option<String>,
    /// The backend to use; all are tried otherwise.
    pub backend: Option<BackendKind>,
    /// The kind of machine that kernels are chosen for, instead of the adapter's own: a software adapter then runs what a
    /// GPU with its capabilities would, far from fast. For tests.
    pub kind: Option<AdapterKind>,
    /// The most bytes that buffers may have together. By default, three quarters of the free memory for a software
    /// adapter, and no bound for others, whose drivers report when they have no more.
    pub budget: Option<u64>,
    /// Whether parameters that change from run to run travel in immediates where the device has them. With `false` they lie
    /// in a uniform, as all others do.
    pub immediates: bool,
    /// Whether all kernels are compiled with bounds checks.
    pub checked: bool,
    /// Whether to use subgroup operations where the device has them.
    pub subgroups: bool,
    /// A lower limit for the bytes of a binding.
    pub max_binding: Option<u64>,
    /// A lower limit for the storage buffers of a kernel.
    pub max_storage_buffers: Option<u32>,
    /// Whether products of f32 operands may round them to f16, where the device has matrix units for that.
    pub matmul_precision: Precision,
    /// How long a dispatch should run at most: a longer one is cut into several, to the same bits. Four times that is
    /// what a submission should take. A program that draws 60 frames a second may want less than the default, 12.5 ms.
    pub slice: Duration,
    /// Where compiled pipelines, verdicts and winners are kept; by default [`cache_dir`](crate::cache_dir).
    pub cache_dir: Option<PathBuf>,
    /// Profiles from the beginning, and writes a trace to this file when the device is dropped.
    pub trace: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            adapter: None,
            backend: None,
            kind: None,
            budget: None,
            immediates: true,
            checked: false,
            subgroups: true,
            max_binding: None,
            max_storage_buffers: None,
            matmul_precision: Precision::Exact,
            slice: Duration::from_micros(12_500),
            cache_dir: None,
            trace: None,
        }
    }
}

impl Options {
    /// The options that the documented variables ask for: `KILN_ADAPTER`, `KILN_BACKEND`, `KILN_KIND`, `KILN_CHECKED`,
    /// `KILN_PROFILE`.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if `KILN_BACKEND` names no backend, or `KILN_KIND` no kind.
    pub fn from_env() -> Result<Options> {
        let unknown = |switch: &str, name: &str, hint| Error::NoAdapter {
            wanted: format!("{switch}={name}"),
            found: adapter::found(),
            hint,
        };
        let backend = text("KILN_BACKEND").map(|name| {
            BackendKind::parse(&name)
                .ok_or_else(|| unknown("KILN_BACKEND", &name, "KILN_BACKEND is vulkan, metal or dx12, or not set."))
        });
        let kind = text("KILN_KIND").map(|name| {
            AdapterKind::parse(&name).ok_or_else(|| {
                unknown("KILN_KIND", &name, "KILN_KIND is discrete, integrated, virtual or cpu, or not set.")
            })
        });
        let (backend, kind) = (backend.transpose()?, kind.transpose()?);
        let (checked, trace) = (switch("KILN_CHECKED", false), path("KILN_PROFILE"));
        Ok(Options { adapter: text("KILN_ADAPTER"), backend, kind, checked, trace, ..Options::default() })
    }
}
