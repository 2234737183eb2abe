//! The device as the graph sees it: the machine's queue and memory, plus the plans made for it.

use crate::error::Result;
use crate::plan::Executor;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A GPU, or a software adapter that stands in for one, with the plans that Kiln has made on it.
///
/// Cloning is cheap and gives the same device. Everything of [`kiln_device::Device`] (capabilities, counters,
/// profiling) can be called on it as well.
///
/// ```
/// # use kiln::prelude::*;
/// let device = Device::open()?;
/// println!("{}", device.caps().name);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    gpu: kiln_device::Device,
    executor: Mutex<Executor>,
}

/// A device that may be gone.
#[derive(Clone)]
pub(crate) struct WeakDevice(Weak<Inner>);

impl WeakDevice {
    pub(crate) fn upgrade(&self) -> Option<Device> {
        self.0.upgrade().map(Device)
    }
}

/// The device opened last: where the error of a call without tensors lives (`cat` of an empty list).
static LATEST: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

impl Device {
    /// The device opened last, while it lives.
    pub(crate) fn latest() -> Option<Self> {
        LATEST.lock().unwrap_or_else(PoisonError::into_inner).upgrade().map(Self)
    }

    /// A device that only keeps an error.
    pub(crate) fn idle() -> Self {
        Self::without_plans(&kiln_device::Device::idle())
    }

    /// Opens the best adapter, or the one named by `KILN_ADAPTER` and `KILN_BACKEND`.
    ///
    /// # Errors
    /// [`kiln_device::Error::NoAdapter`] where there is none, saying what to install.
    pub fn open() -> Result<Self> {
        Ok(Self::from(kiln_device::Device::open()?))
    }

    /// Opens an adapter as `options` say.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_with(options: &kiln_device::Options) -> Result<Self> {
        Ok(Self::from(kiln_device::Device::open_with(options)?))
    }

    /// The device without the graph: buffers, kernels, programs.
    pub fn gpu(&self) -> &kiln_device::Device {
        &self.0.gpu
    }

    /// Turns fusion off or on for plans made from now on. `KILN_FUSE=0` in the environment turns it off from the start.
    pub fn set_fusion(&self, on: bool) {
        self.executor().set_fusion(on);
    }

    /// Forgets every plan and gives their memory back. The next evaluation of each graph plans anew.
    pub fn clear_plans(&self) {
        self.executor().clear();
    }

    /// The cached plans, one line each: how often it ran, dispatches, bytes.
    pub fn plans(&self) -> Vec<crate::PlanInfo> {
        self.executor().list()
    }

    pub(crate) fn executor(&self) -> MutexGuard<'_, Executor> {
        self.0.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle on the same machine without its plans: what a plan keeps of tensors must not keep the plan's device.
    pub(crate) fn without_plans(gpu: &kiln_device::Device) -> Self {
        let executor = Mutex::new(Executor::new(gpu));
        Self(Arc::new(Inner { gpu: gpu.clone(), executor }))
    }

    /// A handle that does not keep the device.
    pub(crate) fn downgrade(&self) -> WeakDevice {
        WeakDevice(Arc::downgrade(&self.0))
    }

    /// Whether both are the same opened device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<kiln_device::Device> for Device {
    /// Wraps an opened or adopted device.
    fn from(gpu: kiln_device::Device) -> Self {
        let executor = Mutex::new(Executor::new(&gpu));
        let inner = Arc::new(Inner { gpu, executor });
        *LATEST.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&inner);
        Self(inner)
    }
}

impl Deref for Device {
    type Target = kiln_device::Device;
    fn deref(&self) -> &kiln_device::Device {
        &self.0.gpu
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.0.gpu.caps().name)
    }
}
