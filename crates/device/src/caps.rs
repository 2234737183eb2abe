//! What a device can do, read from the device itself.

use crate::adapter::{AdapterKind, BackendKind};
use crate::options::Options;

/// A square cooperative-matrix shape: `size`×`size` fragments, with f16 or f32 operands and f16 or f32 accumulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoopShape {
    /// Rows and columns of every fragment: 8 or 16.
    pub size: u32,
    /// The operands are f16, else f32.
    pub f16_operands: bool,
    /// The accumulator is f16, else f32.
    pub f16_accumulator: bool,
}

/// Capabilities of an open device: what a launcher may use when it chooses a kernel's variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// The adapter's name.
    pub name: String,
    /// The driver's name and version.
    pub driver: String,
    /// The interface that reaches it.
    pub backend: BackendKind,
    /// The kind of machine that it is, or that [`Options::kind`] says it is to be taken for.
    pub kind: AdapterKind,
    /// Least and greatest subgroup size; `None` without subgroup operations.
    pub subgroup: Option<(u32, u32)>,
    /// Whether kernels may use f16.
    pub f16: bool,
    /// Storage buffers that one kernel may bind.
    pub max_storage_buffers: u32,
    /// Bytes that one binding may span.
    pub max_binding: u64,
    /// Bytes that one buffer may have.
    pub max_buffer: u64,
    /// Invocations in a workgroup.
    pub max_invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Bytes of immediates; 0 where there are none, and parameters that change from run to run lie in a uniform, as all others do.
    pub max_immediates: u32,
    /// Workgroups in one dimension of a dispatch.
    pub max_groups: u32,
    /// Whether dispatches can be timed on the device.
    pub timestamps: bool,
    /// Cooperative-matrix shapes that WGSL can express.
    pub coop: Vec<CoopShape>,
    /// Whether kernels are compiled with bounds checks.
    pub checked: bool,
}

impl Caps {
    /// Whether the adapter computes on the host's processor: no barriers or shared memory are worth it there.
    pub fn is_cpu(&self) -> bool {
        self.kind == AdapterKind::Cpu
    }

    /// Whether fragments of this shape are offered.
    pub fn has_coop(&self, shape: CoopShape) -> bool {
        self.coop.contains(&shape)
    }

    /// The most lanes that a subgroup has in a kernel with fragments. On Metal wgpu says 4 to 64, for all Macs there are; those
    /// with matrix units are Apple's own GPUs, which have 32, and half of a workgroup made for 64 would do what the other does.
    pub(crate) fn fragment_lanes(&self) -> u32 {
        let most = self.subgroup.map_or(1, |(_, most)| most);
        if self.backend == BackendKind::Metal { most.min(32) } else { most }
    }

    pub(crate) fn read(adapter: &wgpu::Adapter, device: &wgpu::Device, options: &Options) -> Caps {
        let (info, features, limits) = (adapter.get_info(), device.features(), device.limits());
        let subgroups = options.subgroups && features.contains(wgpu::Features::SUBGROUP);
        let immediates = options.immediates && features.contains(wgpu::Features::IMMEDIATES);
        let coop = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        Caps {
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            name: info.name,
            backend: info.backend.into(),
            kind: options.kind.unwrap_or(info.device_type.into()),
            subgroup: subgroups.then_some((info.subgroup_min_size, info.subgroup_max_size)),
            f16: features.contains(wgpu::Features::SHADER_F16),
            // Metal counts buffers of all kinds together, and the sizes are one
            max_storage_buffers: limits
                .max_storage_buffers_per_shader_stage
                .min(limits.max_buffers_and_acceleration_structures_per_shader_stage.saturating_sub(1)),
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_immediates: if immediates { limits.max_immediate_size } else { 0 },
            max_groups: limits.max_compute_workgroups_per_dimension,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            coop: if coop { coop_shapes(adapter) } else { Vec::new() },
            checked: options.checked,
        }
    }
}

/// The listed shapes that WGSL can express: square, 8 or 16, floats.
fn coop_shapes(adapter: &wgpu::Adapter) -> Vec<CoopShape> {
    use wgpu::wgt::CooperativeScalarType as Scalar;
    let half = |scalar| match scalar {
        Scalar::F16 => Some(true),
        Scalar::F32 => Some(false),
        Scalar::I32 | Scalar::U32 => None,
    };
    let mut shapes: Vec<CoopShape> = Vec::new();
    for p in adapter.cooperative_matrix_properties() {
        let square = p.m_size == p.n_size && p.n_size == p.k_size && matches!(p.m_size, 8 | 16);
        if let (true, Some(f16_operands), Some(f16_accumulator)) = (square, half(p.ab_type), half(p.cr_type)) {
            let shape = CoopShape { size: p.m_size, f16_operands, f16_accumulator };
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
    }
    shapes
}
