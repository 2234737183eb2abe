//! A device: opened or adopted, with everything that is shared by those who use it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::adapter::{self, AdapterInfo};
use crate::bind::Shape;
use crate::caps::Caps;
use crate::counters::{Counters, Tally, add};
use crate::disk::{self, PipelineCache};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::kernels::matmul::Precision;
use crate::options::Options;
use crate::pool::Pool;
use crate::profile::Profiler;
use crate::readback::Ring;
use crate::selftest::Verdicts;
use crate::tune::Winners;

/// A GPU, or a software adapter. A clone is another handle to the same device; it may be used from any thread.
#[derive(Clone)]
pub struct Device {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) caps: Caps,
    pub(crate) limits: wgpu::Limits,
    pub(crate) budget: u64,
    pub(crate) tally: Tally,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) layouts: Mutex<HashMap<Shape, wgpu::BindGroupLayout>>,
    /// By final text; those without bounds checks, and those with.
    pub(crate) kernels: Mutex<[HashMap<String, Arc<Kernel>>; 2]>,
    pub(crate) ring: Mutex<Ring>,
    pub(crate) cache: Option<PipelineCache>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) profiler: Profiler,
    pub(crate) verdicts: Verdicts,
    /// Whether the precision of products is [`Precision::Fast`].
    fast: AtomicBool,
    pub(crate) winners: Winners,
    pub(crate) slice: Duration,
    trace: Option<PathBuf>,
    lost: Arc<OnceLock<String>>,
    ids: AtomicU64,
    unsubmitted: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(cache) = &self.cache {
            cache.save();
        }
        if let Some(path) = &self.trace {
            let profile = self.profiler.take(&self.device, self.queue.get_timestamp_period());
            match profile.write_trace(path) {
                Ok(()) => log::info!("{} dispatches in {}", profile.events.len(), path.display()),
                Err(error) => log::warn!("cannot write {}: {error}", path.display()),
            }
        }
    }
}

/// Locks, also after a panic elsewhere: what the mutexes of this crate guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    /// The best adapter, or the one that `KILN_ADAPTER` and `KILN_BACKEND` name.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], with what to install.
    pub fn open() -> Result<Device> {
        Device::open_with(&Options::from_env()?)
    }

    /// An adapter of choice. No environment variable is read for the choice.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if none fits; [`Error::Lost`] if its driver does not give a device.
    pub fn open_with(options: &Options) -> Result<Device> {
        let adapter = adapter::choose(options.adapter.as_deref(), options.backend, options.checked)?;
        let (features, limits) = requirements(&adapter, options);
        let experimental = features.intersects(wgpu::Features::all_experimental_mask());
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("kiln"),
            required_features: features,
            required_limits: limits,
            experimental_features: experimental_features(experimental),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| Error::Lost(error.to_string()))?;
        let lost = Arc::new(OnceLock::new());
        let flag = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = flag.set(format!("{reason:?}: {message}"));
        });
        Ok(Device::assemble(&adapter, device, queue, lost, options))
    }

    /// What is worth asking of `adapter` for a device that will be [adopted](Self::adopt), beside what its owner needs:
    /// the features that Kiln's fast kernels use, as far as there are, and all of the adapter's limits. Features that
    /// wgpu calls experimental (cooperative matrices) are the owner's to add.
    pub fn wants(adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
        let (features, limits) = requirements(adapter, &Options::default());
        (features & !wgpu::Features::all_experimental_mask(), limits)
    }

    /// A device that another part of the program owns, such as its renderer. What it can do is read from it, so request
    /// what Kiln [wants](Self::wants). Its error handler and its lost callback stay the owner's: an owner that learns
    /// of a loss says so with [`mark_lost`](Self::mark_lost).
    ///
    /// ```
    /// use kiln_device::{Device, wgpu};
    ///
    /// # pollster::block_on(async {
    /// let instance = wgpu::Instance::default();
    /// let adapter = instance.request_adapter(&Default::default()).await.expect("an adapter");
    /// let (required_features, required_limits) = Device::wants(&adapter);
    /// let wanted = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
    /// let (device, queue) = adapter.request_device(&wanted).await.expect("a device");
    ///
    /// let kiln = Device::adopt(adapter, device.clone(), queue.clone())?; // handles on the same device
    /// assert!(kiln.raw() == &device && kiln.alloc(1024, "weights").is_ok());
    /// # Ok::<(), kiln_device::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Feature`] if it was made without compute shaders, or through OpenGL; as [`Options::from_env`].
    pub fn adopt(adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Device> {
        Device::adopt_with(adapter, device, queue, &Options::from_env()?)
    }

    /// The same with options, such as a [`slice`](Options::slice) that leaves a renderer its frames, or a budget. The
    /// device has its adapter, backend and limits already: those that are in the options are not looked at.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_with(
        adapter: wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &Options,
    ) -> Result<Device> {
        if adapter.get_info().backend == wgpu::Backend::Gl {
            return Err(Error::Feature { kernel: "Kiln".into(), feature: "Vulkan, Metal or DX12" });
        }
        if device.limits().max_compute_workgroups_per_dimension == 0 {
            return Err(Error::Feature { kernel: "Kiln".into(), feature: "compute shaders" });
        }
        Ok(Device::assemble(&adapter, device, queue, Arc::default(), options))
    }

    /// A device that runs nothing: where the error of a call is kept that has nothing else to take a device from. Every
    /// call that would run something is an [`Error::Lost`].
    pub fn idle() -> Device {
        let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
        desc.backends = wgpu::Backends::NOOP;
        desc.backend_options.noop = wgpu::NoopBackendOptions::enabled();
        let instance = wgpu::Instance::new(desc);
        let found = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        let made = found.map(|adapter| (pollster::block_on(adapter.request_device(&Default::default())), adapter));
        let Ok((Ok((device, queue)), adapter)) = made else {
            unreachable!("wgpu's device that does nothing needs nothing")
        };
        let lost = OnceLock::from("this device runs nothing: it keeps the error of a call that had none".to_string());
        Device::assemble(&adapter, device, queue, Arc::new(lost), &Options::default())
    }

    fn assemble(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        lost: Arc<OnceLock<String>>,
        options: &Options,
    ) -> Device {
        let caps = Caps::read(adapter, &device, options);
        log::info!("{} ({}, {})", caps.name, caps.backend, caps.driver);
        let cache_dir = options.cache_dir.clone().or_else(disk::cache_dir);
        let inner = Inner {
            limits: device.limits(),
            budget: options.budget.unwrap_or_else(|| default_budget(adapter)),
            tally: Tally::default(),
            pool: Mutex::default(),
            layouts: Mutex::default(),
            kernels: Mutex::default(),
            ring: Mutex::default(),
            cache: cache_dir.as_deref().and_then(|dir| PipelineCache::open(&device, &adapter.get_info(), dir)),
            cache_dir,
            profiler: Profiler::default(),
            verdicts: Verdicts::default(),
            fast: AtomicBool::new(options.matmul_precision == Precision::Fast),
            winners: Winners::default(),
            slice: options.slice,
            trace: options.trace.clone(),
            lost,
            ids: AtomicU64::new(1),
            unsubmitted: AtomicU64::new(0),
            caps,
            device,
            queue,
        };
        let device = Device { inner: Arc::new(inner) };
        device.profile(options.trace.is_some());
        device.profile_host(options.trace.is_some());
        device
    }

    /// Writes the pipelines compiled so far to the cache on disk. It also happens when the device is dropped.
    pub fn save_cache(&self) {
        if let Some(cache) = &self.inner.cache {
            cache.save();
        }
    }

    /// Every adapter of this machine, the one that [`open`](Self::open) prefers first.
    pub fn adapters() -> Vec<AdapterInfo> {
        adapter::list()
    }

    /// What the device can do.
    pub fn caps(&self) -> &Caps {
        &self.inner.caps
    }

    /// What products of f32 operands may do to be faster.
    pub fn matmul_precision(&self) -> Precision {
        if self.inner.fast.load(Relaxed) { Precision::Fast } else { Precision::Exact }
    }

    /// Sets it, for what is planned from now on.
    pub fn set_matmul_precision(&self, precision: Precision) {
        self.inner.fast.store(precision == Precision::Fast, Relaxed);
    }

    /// The most bytes that buffers may have together; `u64::MAX` where only the driver knows.
    pub fn budget(&self) -> u64 {
        self.inner.budget
    }

    /// The wgpu device, for programs that use it beside Kiln.
    pub fn raw(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue, for programs that use it beside Kiln.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// What has been done and what is in use.
    pub fn counters(&self) -> Counters {
        let pool = lock(&self.inner.pool);
        Counters {
            live_bytes: pool.live_bytes(),
            peak_bytes: pool.peak_bytes(),
            idle_bytes: pool.idle_bytes(),
            ..self.inner.tally.read()
        }
    }

    /// Lets `peak_bytes` start again from what is live now.
    pub fn reset_peak(&self) {
        lock(&self.inner.pool).reset_peak();
    }

    /// Returns when everything submitted so far is done.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn wait(&self) -> Result<()> {
        self.check()?;
        let _span = self.span("wait");
        let polled = self.inner.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map(|_| ()).map_err(|error| Error::Lost(error.to_string()))
    }

    /// Tells this device that it is lost, for owners of an adopted one. Every later call returns [`Error::Lost`].
    pub fn mark_lost(&self, reason: &str) {
        let _ = self.inner.lost.set(reason.to_string());
    }

    /// An error once the device is lost.
    pub(crate) fn check(&self) -> Result<()> {
        match self.inner.lost.get() {
            Some(reason) => Err(Error::Lost(reason.clone())),
            None => Ok(()),
        }
    }

    /// Does something with wgpu and returns what wgpu has to say about it.
    pub(crate) fn scoped<T>(&self, label: &str, work: impl FnOnce() -> T) -> Result<T> {
        self.check()?;
        let device = &self.inner.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        let [validation, internal, memory] = [validation, internal, memory].map(|scope| wait_for(scope.pop()));
        self.check()?;
        match (memory, validation.or(internal)) {
            (Some(_), _) => Err(Error::OutOfMemory { label: label.to_string() }),
            (None, Some(error)) => Err(Error::Validation(format!("{label}: {error}"))),
            (None, None) => Ok(value),
        }
    }

    pub(crate) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }

    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        let _span = self.span("submit");
        add(&self.inner.tally.submissions, 1);
        self.inner.unsubmitted.store(0, Relaxed);
        self.inner.queue.submit([encoder.finish()])
    }

    /// Counts bytes written since the last submission.
    pub(crate) fn count_unsubmitted(&self, bytes: u64) -> u64 {
        self.inner.unsubmitted.fetch_add(bytes, Relaxed) + bytes
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.inner.ids.fetch_add(1, Relaxed)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({}, {})", self.inner.caps.name, self.inner.caps.backend)
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// What a future gives. Those of wgpu are mostly ready at once, and then nothing is made to wait with.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => pollster::block_on(future),
    }
}

/// What to ask of the adapter: everything that helps, within the limits that the options force.
fn requirements(adapter: &wgpu::Adapter, options: &Options) -> (wgpu::Features, wgpu::Limits) {
    use wgpu::Features as F;
    let mut wanted = F::SHADER_F16 | F::TIMESTAMP_QUERY | F::PIPELINE_CACHE | F::EXPERIMENTAL_COOPERATIVE_MATRIX;
    wanted.set(F::SUBGROUP, options.subgroups);
    wanted.set(F::SUBGROUP_BARRIER, options.subgroups);
    wanted.set(F::IMMEDIATES, options.immediates);
    let features = wanted & adapter.features();
    let mut limits = adapter.limits();
    limits.max_immediate_size = if features.contains(F::IMMEDIATES) { limits.max_immediate_size.min(128) } else { 0 };
    if let Some(most) = options.max_binding {
        limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(most);
    }
    if let Some(most) = options.max_storage_buffers {
        limits.max_storage_buffers_per_shader_stage = limits.max_storage_buffers_per_shader_stage.min(most);
    }
    (features, limits)
}

/// The token that wgpu wants for cooperative matrices.
#[allow(unsafe_code)]
fn experimental_features(wanted: bool) -> wgpu::ExperimentalFeatures {
    if !wanted {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: the token acknowledges that wgpu's experimental features may have bugs that safe code can reach. We use
    // one, cooperative matrices, in our own kernels only, whose shapes `kernel.rs` checks against those that the
    // adapter lists and whose results are compared with a plain variant's before they are trusted.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// A software adapter takes the host's memory and never says that there is none left.
fn default_budget(adapter: &wgpu::Adapter) -> u64 {
    let available = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    match available() {
        Some(kib) if adapter.get_info().device_type == wgpu::DeviceType::Cpu => kib * 1024 / 4 * 3,
        _ => u64::MAX,
    }
}
