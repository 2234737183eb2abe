//! The least that dispatches cost on this adapter: the same number of them in plain wgpu, with bind groups made before,
//! four buffers bound, sizes in immediates, one encoder, one pass, one submission, a copy before and after it. What a
//! step costs beyond it is Kiln's.

use kiln::gpu::wgpu;
use kiln::prelude::*;

const KERNEL: &str = "
struct Sizes { count: u32, a: u32, b: u32, c: u32 }
var<immediate> sizes: Sizes;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> z: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < sizes.count { out[id.x] = x[id.x] + y[id.x] * z[id.x]; }
}";

/// What the dispatches of a step need, made once.
pub(crate) struct Floor {
    pipelines: Vec<wgpu::ComputePipeline>,
    groups: Vec<wgpu::BindGroup>,
    copied: [wgpu::Buffer; 2],
}

impl Floor {
    /// For a device with immediates.
    pub(crate) fn new(device: &Device) -> Self {
        let raw = device.raw();
        let storage = |read_only| wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let entry = |binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: storage(binding < 3),
            count: None,
        };
        let layout = raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[0, 1, 2, 3].map(entry),
        });
        let module = raw.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(KERNEL.into()),
        });
        let pipeline = |_| {
            let pipeline_layout = raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 16,
            });
            raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            })
        };
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let desc = wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false };
        let buffers: Vec<wgpu::Buffer> = (0..32).map(|_| raw.create_buffer(&desc)).collect();
        // each reads what those before it wrote, as the kernels of a step mostly do
        let group = |i: usize| {
            let bind = |binding: u32, buffer: usize| wgpu::BindGroupEntry {
                binding,
                resource: buffers[buffer % buffers.len()].as_entire_binding(),
            };
            let entries = [bind(0, i), bind(1, i + 1), bind(2, i + 2), bind(3, i + 3)];
            raw.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries })
        };
        Self {
            pipelines: (0..8).map(pipeline).collect(),
            groups: (0..buffers.len()).map(group).collect(),
            copied: [buffers[0].clone(), raw.create_buffer(&desc)],
        }
    }

    /// One step of so many dispatches.
    pub(crate) fn step(&self, device: &Device, dispatches: usize) {
        let mut encoder = device.raw().create_command_encoder(&Default::default());
        let [inside, outside] = &self.copied;
        encoder.copy_buffer_to_buffer(outside, 0, inside, 0, Some(16));
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for at in 0..dispatches {
            pass.set_pipeline(&self.pipelines[at % self.pipelines.len()]);
            pass.set_bind_group(0, &self.groups[at % self.groups.len()], &[]);
            pass.set_immediates(0, &[0; 16]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(inside, 0, outside, 0, Some(16));
        device.queue().submit([encoder.finish()]);
    }
}
