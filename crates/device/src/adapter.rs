//! The adapters of this machine, and which of them to use.

use crate::error::{Error, Result};

/// The interface that reaches an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Vulkan (Linux, Windows, Android).
    Vulkan,
    /// Metal (macOS, iOS).
    Metal,
    /// Direct3D 12 (Windows).
    Dx12,
    /// Anything else, such as a browser's WebGPU.
    Other,
}

/// The kind of machine an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU lent to a virtual machine.
    Virtual,
    /// A software adapter.
    Cpu,
    /// Not known.
    Other,
}

impl AdapterKind {
    /// The kind of that name, as `KILN_KIND` gives it: discrete, integrated, virtual or cpu.
    pub fn parse(name: &str) -> Option<AdapterKind> {
        Some(match name.to_ascii_lowercase().as_str() {
            "discrete" | "gpu" => AdapterKind::Discrete,
            "integrated" => AdapterKind::Integrated,
            "virtual" => AdapterKind::Virtual,
            "cpu" => AdapterKind::Cpu,
            _ => return None,
        })
    }
}

/// One adapter of this machine, as [`Device::adapters`](crate::Device::adapters) lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    /// Its name, of which `KILN_ADAPTER` may give a part.
    pub name: String,
    /// The driver's name and version.
    pub driver: String,
    /// The interface that reaches it.
    pub backend: BackendKind,
    /// The kind of machine it is.
    pub kind: AdapterKind,
}

impl BackendKind {
    /// The backend of that name, as `KILN_BACKEND` gives it: vulkan, metal or dx12.
    pub fn parse(name: &str) -> Option<BackendKind> {
        Some(match name.to_ascii_lowercase().as_str() {
            "vulkan" | "vk" => BackendKind::Vulkan,
            "metal" => BackendKind::Metal,
            "dx12" | "d3d12" => BackendKind::Dx12,
            _ => return None,
        })
    }

    fn set(self) -> wgpu::Backends {
        match self {
            BackendKind::Vulkan => wgpu::Backends::VULKAN,
            BackendKind::Metal => wgpu::Backends::METAL,
            BackendKind::Dx12 => wgpu::Backends::DX12,
            BackendKind::Other => wgpu::Backends::BROWSER_WEBGPU,
        }
    }
}

impl std::fmt::Display for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackendKind::Vulkan => "Vulkan",
            BackendKind::Metal => "Metal",
            BackendKind::Dx12 => "DX12",
            BackendKind::Other => "other",
        })
    }
}

impl From<wgpu::Backend> for BackendKind {
    fn from(backend: wgpu::Backend) -> Self {
        match backend {
            wgpu::Backend::Vulkan => BackendKind::Vulkan,
            wgpu::Backend::Metal => BackendKind::Metal,
            wgpu::Backend::Dx12 => BackendKind::Dx12,
            _ => BackendKind::Other,
        }
    }
}

impl From<wgpu::DeviceType> for AdapterKind {
    fn from(kind: wgpu::DeviceType) -> Self {
        match kind {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Cpu,
            wgpu::DeviceType::Other => AdapterKind::Other,
        }
    }
}

impl From<wgpu::AdapterInfo> for AdapterInfo {
    fn from(info: wgpu::AdapterInfo) -> Self {
        AdapterInfo {
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            name: info.name,
            backend: info.backend.into(),
            kind: info.device_type.into(),
        }
    }
}

impl std::fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {:?}, {})", self.name, self.backend, self.kind, self.driver)
    }
}

/// Where there is no adapter at all.
const INSTALL: &str = "Install a Vulkan driver. Without a GPU, a software one will do: `apt install mesa-vulkan-drivers` \
    (Debian, Ubuntu), `dnf install mesa-vulkan-drivers` (Fedora), `pacman -S vulkan-swrast` (Arch); Windows and macOS \
    bring their own.";
/// Where those that are there were not asked for.
const CHOOSE: &str = "`KILN_ADAPTER` takes a part of one of these names, `KILN_BACKEND` vulkan, metal or dx12; without \
    them Kiln takes the best there is.";

/// Every adapter, in the order of preference. OpenGL is not asked: it lists the same hardware again, and Mesa's crashes
/// on Kiln's kernels.
fn enumerate(backend: Option<BackendKind>, validation: bool) -> Vec<wgpu::Adapter> {
    let backends = match backend {
        Some(backend) => backend.set(),
        None => wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
    };
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = backends;
    desc.flags = if validation { wgpu::InstanceFlags::debugging() } else { wgpu::InstanceFlags::empty() };
    let mut found = pollster::block_on(wgpu::Instance::new(desc).enumerate_adapters(backends));
    found.sort_by_key(|adapter| {
        let info = adapter.get_info();
        let kind = match AdapterKind::from(info.device_type) {
            AdapterKind::Discrete => 0,
            AdapterKind::Integrated => 1,
            AdapterKind::Virtual => 2,
            AdapterKind::Other => 3,
            AdapterKind::Cpu => 4,
        };
        // On Windows, where one GPU appears twice, DX12 without DXC has no subgroups and no f16: Vulkan first.
        (kind, info.backend != wgpu::Backend::Vulkan)
    });
    found
}

/// What [`Device::adapters`](crate::Device::adapters) returns.
pub(crate) fn list() -> Vec<AdapterInfo> {
    enumerate(None, false).iter().map(|adapter| adapter.get_info().into()).collect()
}

/// The same in a sentence.
pub(crate) fn found() -> String {
    let all: Vec<String> = list().iter().map(AdapterInfo::to_string).collect();
    if all.is_empty() { "none".to_string() } else { all.join(", ") }
}

/// The best adapter whose name contains `name`.
pub(crate) fn choose(name: Option<&str>, backend: Option<BackendKind>, validation: bool) -> Result<wgpu::Adapter> {
    let found = enumerate(backend, validation);
    let fits = |adapter: &&wgpu::Adapter| match name {
        Some(part) => adapter.get_info().name.to_lowercase().contains(&part.to_lowercase()),
        None => true,
    };
    if let Some(adapter) = found.iter().find(fits) {
        return Ok(adapter.clone());
    }
    let wanted = match (name, backend) {
        (Some(name), Some(backend)) => format!("`{name}` through {backend}"),
        (Some(name), None) => format!("`{name}`"),
        (None, Some(backend)) => backend.to_string(),
        (None, None) => "any backend".to_string(),
    };
    // of all backends, also where one was asked for
    let hint = if list().is_empty() { INSTALL } else { CHOOSE };
    Err(Error::NoAdapter { wanted, found: self::found(), hint })
}
