//! The least that dispatches cost on this adapter: the same number of them in plain wgpu, with pipelines and bind groups made
//! before, one encoder, one pass, one submission, a copy before and after it. What a dispatch binds is what it binds in
//! the step of a small GPT on average: 4.5 buffers out of 256, two of them written, and 48 bytes of sizes. What a step costs
//! beyond it is Kiln's.

use kiln::gpu::wgpu;
use kiln::prelude::*;

/// How sizes travel.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sizes {
    /// In a uniform of the bind group, at a dynamic offset, as Kiln's do: no command of their own.
    Uniform,
    /// As immediates: wgpu zeroes them when the layout of the pipeline changes, which is a second command each time.
    Immediate,
}

/// How many buffers the kernels read and write.
const KINDS: [[u32; 2]; 2] = [[2, 1], [3, 3]];
const BUFFERS: usize = 256;
const KERNELS: usize = 60;
/// Where sizes lie apart in the uniform, in bytes.
const STRIDE: u32 = 256;
/// The binding of that uniform.
const SIZES: u32 = 30;
const DISPATCHES: usize = 512;

/// What the dispatches of a step need, made once.
pub(crate) struct Floor {
    sizes: Sizes,
    dispatches: Vec<(wgpu::ComputePipeline, wgpu::BindGroup)>,
    copied: [wgpu::Buffer; 2],
}

impl Floor {
    /// For a device with immediates.
    pub(crate) fn new(device: &Device, sizes: Sizes) -> Self {
        let raw = device.raw();
        let buffer = |size, usage| {
            let usage = usage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            raw.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let page = buffer(u64::from(STRIDE) * DISPATCHES as u64, wgpu::BufferUsages::UNIFORM);
        let buffers: Vec<wgpu::Buffer> = (0..BUFFERS).map(|_| buffer(256, wgpu::BufferUsages::STORAGE)).collect();
        let layouts = KINDS.map(|kind| {
            raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries(kind, sizes),
            })
        });
        let pipelines: Vec<wgpu::ComputePipeline> = (0..KERNELS)
            .map(|at| {
                let layout = raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: None,
                    bind_group_layouts: &[Some(&layouts[at % KINDS.len()])],
                    immediate_size: if sizes == Sizes::Immediate { 48 } else { 0 },
                });
                let text = kernel(KINDS[at % KINDS.len()], sizes, at);
                let module = raw.create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: None,
                    source: wgpu::ShaderSource::Wgsl(text.into()),
                });
                raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: None,
                    layout: Some(&layout),
                    module: &module,
                    entry_point: Some("main"),
                    compilation_options: Default::default(),
                    cache: None,
                })
            })
            .collect();
        // each reads what those before it wrote, as the kernels of a step mostly do
        let dispatch = |i: usize| {
            let at = i * 7 % KERNELS;
            let [reads, writes] = KINDS[at % KINDS.len()];
            let part = |binding: u32| match binding {
                SIZES => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &page,
                    offset: 0,
                    size: wgpu::BufferSize::new(48),
                }),
                _ => buffers[(3 * i + binding as usize) % BUFFERS].as_entire_binding(),
            };
            let uniform = (sizes == Sizes::Uniform).then_some(SIZES);
            let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..reads + writes)
                .chain(uniform)
                .map(|binding| wgpu::BindGroupEntry { binding, resource: part(binding) })
                .collect();
            let layout = &layouts[at % KINDS.len()];
            let desc = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
            (pipelines[at].clone(), raw.create_bind_group(&desc))
        };
        let dispatches = (0..DISPATCHES).map(dispatch).collect();
        let copied = [buffers[0].clone(), buffer(256, wgpu::BufferUsages::STORAGE)];
        Self { sizes, dispatches, copied }
    }

    /// One step of so many dispatches.
    pub(crate) fn step(&self, device: &Device, dispatches: usize) {
        let mut encoder = device.raw().create_command_encoder(&Default::default());
        let [inside, outside] = &self.copied;
        encoder.copy_buffer_to_buffer(outside, 0, inside, 0, Some(16));
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for (at, (pipeline, group)) in self.dispatches.iter().take(dispatches).enumerate() {
            pass.set_pipeline(pipeline);
            match self.sizes {
                Sizes::Immediate => {
                    pass.set_bind_group(0, group, &[]);
                    pass.set_immediates(0, &[0; 48]);
                }
                Sizes::Uniform => pass.set_bind_group(0, group, &[at as u32 * STRIDE]),
            }
            pass.dispatch_workgroups(1, 1, 1);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(inside, 0, outside, 0, Some(16));
        device.queue().submit([encoder.finish()]);
    }
}

/// The bindings of a kernel: what it reads, then what it writes, then perhaps its sizes.
fn entries([reads, writes]: [u32; 2], sizes: Sizes) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |binding: u32| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match binding {
                SIZES => wgpu::BufferBindingType::Uniform,
                _ => wgpu::BufferBindingType::Storage { read_only: binding < reads },
            },
            has_dynamic_offset: binding == SIZES,
            min_binding_size: wgpu::BufferSize::new(if binding == SIZES { 48 } else { 16 }),
        },
        count: None,
    };
    (0..reads + writes).chain((sizes == Sizes::Uniform).then_some(SIZES)).map(entry).collect()
}

/// A kernel unlike those of other numbers.
fn kernel([reads, writes]: [u32; 2], sizes: Sizes, number: usize) -> String {
    let place = if sizes == Sizes::Immediate { "var<immediate>" } else { "@group(0) @binding(30) var<uniform>" };
    let mut text = format!("struct Sizes {{ count: vec4<u32>, more: array<vec4<u32>, 2> }}\n{place} sizes: Sizes;\n");
    for i in 0..reads + writes {
        let access = if i < reads { "read" } else { "read_write" };
        text += &format!("@group(0) @binding({i}) var<storage, {access}> x{i}: array<f32>;\n");
    }
    let sum: Vec<String> = (0..reads).map(|i| format!("x{i}[id.x]")).collect();
    let stores: String = (reads..reads + writes).map(|i| format!("x{i}[id.x] = sum;")).collect();
    text + &format!(
        "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            if id.x < sizes.count.x {{ let sum = {number}.0 + {}; {stores} }}
        }}",
        sum.join(" + ")
    )
}
