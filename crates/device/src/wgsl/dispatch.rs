//! An entry point of any WGSL file, bound to buffers and run.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Entry, Resource, ResourceKind, Wgsl};
use crate::buffer::Buffer;
use crate::counters::add;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::Queries;

/// An entry point with its buffers, ready to be dispatched again and again.
#[derive(Debug)]
pub struct Dispatch {
    device: Device,
    label: Arc<str>,
    pipeline: wgpu::ComputePipeline,
    groups: Vec<(u32, wgpu::BindGroup)>,
    /// For each resource; a uniform has a buffer of its own.
    buffers: Vec<Option<Buffer>>,
    immediates: Vec<u8>,
    workgroups: [u32; 3],
}

impl Device {
    /// Prepares an entry point: compiles it, with bounds checks, and binds `contents` to its resources in their order.
    ///
    /// # Errors
    /// [`Error::Validation`] if the entry point is not there, or contents or immediates do not fit what it declares;
    /// [`Error::Limit`] past a limit of the device; what [`alloc`](Self::alloc) gives.
    pub fn dispatch(
        &self,
        wgsl: &Wgsl,
        entry: &str,
        contents: &[Vec<u8>],
        immediates: &[u8],
        workgroups: [u32; 3],
    ) -> Result<Dispatch> {
        let label: Arc<str> = format!("{}: {entry}", wgsl.name).into();
        let invalid = |text: String| Error::Validation(format!("{label}: {text}"));
        let found = wgsl.entries.iter().find(|e| e.name == entry);
        let point = found.ok_or_else(|| invalid("there is no such entry point".to_string()))?;
        if contents.len() != point.resources.len() {
            let text = format!("{} buffers for {} bindings", contents.len(), point.resources.len());
            return Err(invalid(text));
        }
        if immediates.len() != point.immediates as usize {
            let text = format!("{} bytes of immediates, {} are declared", immediates.len(), point.immediates);
            return Err(invalid(text));
        }
        self.check_dispatch(&label, point, workgroups)?;
        for (resource, bytes) in point.resources.iter().zip(contents) {
            if (bytes.len() as u64) < resource.least {
                let (name, least) = (&resource.name, resource.least);
                return Err(invalid(format!("`{name}` takes {least} bytes or more, not {}", bytes.len())));
            }
        }
        let buffers = point.resources.iter().zip(contents).map(|(resource, bytes)| {
            let uniform = resource.kind == ResourceKind::Uniform;
            if uniform { Ok(None) } else { self.upload(bytes, &resource.name).map(Some) }
        });
        let buffers: Vec<Option<Buffer>> = buffers.collect::<Result<_>>()?;
        let raw = self.raw_buffers(&label, point, contents, &buffers)?;
        let (pipeline, groups) = self.scoped(&label, || self.pipeline(wgsl, point, &label, &raw))?;
        let immediates = immediates.to_vec();
        Ok(Dispatch { device: self.clone(), label, pipeline, groups, buffers, immediates, workgroups })
    }

    fn check_dispatch(&self, label: &str, entry: &Entry, workgroups: [u32; 3]) -> Result<()> {
        let caps = self.caps();
        let storage = entry.resources.iter().filter(|r| r.kind != ResourceKind::Uniform).count() as u64;
        let product = |sizes: [u32; 3]| sizes.iter().map(|&n| u64::from(n)).product();
        let most = workgroups.iter().copied().max().unwrap_or(0);
        let limits = [
            ("workgroups in one dimension", u64::from(most), u64::from(caps.max_groups)),
            ("storage buffers", storage, u64::from(caps.max_storage_buffers)),
            ("invocations in a workgroup", product(entry.workgroup), u64::from(caps.max_invocations)),
            ("bytes of immediates", u64::from(entry.immediates), u64::from(caps.max_immediates)),
        ];
        match limits.into_iter().find(|(_, needs, has)| needs > has) {
            Some((what, needs, has)) => Err(Error::Limit { kernel: label.to_string(), what, needs, has }),
            None => Ok(()),
        }
    }

    /// What each resource binds: the pooled buffers, and new ones for uniforms.
    fn raw_buffers(
        &self,
        label: &str,
        entry: &Entry,
        contents: &[Vec<u8>],
        buffers: &[Option<Buffer>],
    ) -> Result<Vec<(wgpu::Buffer, u64)>> {
        let mut raw = Vec::new();
        for ((resource, bytes), buffer) in entry.resources.iter().zip(contents).zip(buffers) {
            let size = (bytes.len() as u64).next_multiple_of(4);
            let (what, has) = match buffer {
                Some(_) => ("bytes in a binding", self.caps().max_binding),
                None => ("bytes in a uniform", self.inner.limits.max_uniform_buffer_binding_size),
            };
            if size > has {
                return Err(Error::Limit { kernel: label.to_string(), what, needs: size, has });
            }
            raw.push(match buffer {
                Some(buffer) => (buffer.raw().clone(), size),
                None => self.scoped(&resource.name, || {
                    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                    let size = size.next_multiple_of(16);
                    let desc =
                        wgpu::BufferDescriptor { label: Some(&resource.name), size, usage, mapped_at_creation: false };
                    let uniform = self.inner.device.create_buffer(&desc);
                    let mut padded = bytes.clone();
                    padded.resize(size as usize, 0);
                    self.inner.queue.write_buffer(&uniform, 0, &padded);
                    (uniform, size)
                })?,
            });
        }
        Ok(raw)
    }

    fn pipeline(
        &self,
        wgsl: &Wgsl,
        entry: &Entry,
        label: &str,
        raw: &[(wgpu::Buffer, u64)],
    ) -> (wgpu::ComputePipeline, Vec<(u32, wgpu::BindGroup)>) {
        let device = &self.inner.device;
        let count = entry.resources.iter().map(|r| r.group + 1).max().unwrap_or(0);
        let mut layouts = Vec::new();
        let mut groups = Vec::new();
        for group in 0..count {
            let members = || entry.resources.iter().zip(raw).filter(move |(r, _)| r.group == group);
            let entries: Vec<wgpu::BindGroupLayoutEntry> = members().map(|(r, _)| layout_entry(r)).collect();
            let desc = wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries };
            let layout = device.create_bind_group_layout(&desc);
            let bound: Vec<wgpu::BindGroupEntry<'_>> = members()
                .map(|(r, (buffer, size))| wgpu::BindGroupEntry {
                    binding: r.binding,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset: 0,
                        size: wgpu::BufferSize::new(*size),
                    }),
                })
                .collect();
            let desc = wgpu::BindGroupDescriptor { label: Some(label), layout: &layout, entries: &bound };
            groups.push((group, device.create_bind_group(&desc)));
            layouts.push(Some(layout));
        }
        let layouts: Vec<Option<&wgpu::BindGroupLayout>> = layouts.iter().map(Option::as_ref).collect();
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &layouts,
            immediate_size: entry.immediates,
        });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Naga(Cow::Owned(wgsl.module.clone())),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(&entry.name),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        (pipeline, groups)
    }
}

fn layout_entry(resource: &Resource) -> wgpu::BindGroupLayoutEntry {
    let ty = match resource.kind {
        ResourceKind::Uniform => wgpu::BufferBindingType::Uniform,
        kind => wgpu::BufferBindingType::Storage { read_only: kind == ResourceKind::Read },
    };
    wgpu::BindGroupLayoutEntry {
        binding: resource.binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

impl Dispatch {
    /// Submits it once. While the device profiles, it is timed like any other dispatch.
    ///
    /// # Errors
    /// [`Error::Validation`] from the driver, [`Error::Lost`].
    pub fn run(&self) -> Result<()> {
        let (device, inner) = (&self.device, &self.device.inner);
        device.scoped(&self.label, || {
            let timed = inner.profiler.is_on() && inner.caps.timestamps;
            let queries = timed.then(|| Queries::new(&inner.device, 1));
            let mut encoder = device.encoder(&self.label);
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&self.label),
                    timestamp_writes: queries.as_ref().map(|queries| queries.writes(0)),
                });
                pass.set_pipeline(&self.pipeline);
                for (group, bound) in &self.groups {
                    pass.set_bind_group(*group, bound, &[]);
                }
                if !self.immediates.is_empty() {
                    pass.set_immediates(0, &self.immediates);
                }
                let [x, y, z] = self.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
            queries.iter().for_each(|queries| queries.resolve(&mut encoder));
            add(&inner.tally.dispatches, 1);
            device.submit(encoder);
            if let Some(queries) = queries {
                let step = (self.label.clone(), self.label.clone(), self.workgroups);
                inner.profiler.push(&inner.device, inner.queue.get_timestamp_period(), queries, vec![step]);
            }
        })
    }

    /// The buffer of each resource, in their order; `None` for a uniform.
    pub fn buffers(&self) -> &[Option<Buffer>] {
        &self.buffers
    }
}
