//! Bind groups and their layouts. A layout is made once for all kernels that bind alike, a group for each step of a program.

use crate::buffer::Slice;
use crate::counters::add;
use crate::device::{Device, lock};
use crate::error::Result;

/// What a kernel binds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Storage buffers: binding numbers, which are written, and the least bytes of each. wgpu checks a size that the layout
    /// has when a group is made, and one that it leaves open in every dispatch.
    pub(crate) storage: Vec<(u32, bool, u64)>,
    /// Parameters that lie in a uniform, at a dynamic offset: the binding number, and how many bytes are bound.
    pub(crate) sizes: Option<(u32, u64)>,
}

impl Device {
    /// The layout of that shape.
    pub(crate) fn layout(&self, shape: &Shape) -> Result<wgpu::BindGroupLayout> {
        let mut layouts = lock(&self.inner.layouts);
        if let Some(layout) = layouts.get(shape) {
            return Ok(layout.clone());
        }
        let storage = |read_only: bool| wgpu::BufferBindingType::Storage { read_only };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = shape
            .storage
            .iter()
            .map(|&(binding, writes, least)| entry(binding, storage(!writes), least))
            .chain(shape.sizes.map(|(binding, bytes)| entry(binding, wgpu::BufferBindingType::Uniform, bytes)))
            .collect();
        let label = format!("kiln layout {shape:?}");
        let layout = self.scoped(&label, || {
            let desc = wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries };
            self.inner.device.create_bind_group_layout(&desc)
        })?;
        layouts.insert(shape.clone(), layout.clone());
        Ok(layout)
    }

    /// A bind group of these parts, in the order of the shape's storage buffers, and of the page that holds the parameters.
    pub(crate) fn group(
        &self,
        layout: &wgpu::BindGroupLayout,
        shape: &Shape,
        parts: &[Slice],
        page: Option<&wgpu::Buffer>,
        label: &str,
    ) -> Result<wgpu::BindGroup> {
        let storage = shape
            .storage
            .iter()
            .zip(parts)
            .map(|(&(binding, ..), part)| bound(binding, part.buffer.raw(), part.offset, part.bytes));
        let sizes = shape.sizes.zip(page).map(|((binding, bytes), page)| bound(binding, page, 0, bytes));
        let entries: Vec<wgpu::BindGroupEntry<'_>> = storage.chain(sizes).collect();
        let group = self.scoped(label, || {
            self.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(label),
                layout,
                entries: &entries,
            })
        })?;
        add(&self.inner.tally.bind_groups, 1);
        Ok(group)
    }

    /// A uniform buffer for a program's parameters.
    pub(crate) fn page(&self, size: u64) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let desc = wgpu::BufferDescriptor { label: Some("kiln parameters"), size, usage, mapped_at_creation: false };
        let page = self.scoped("kiln parameters", || self.inner.device.create_buffer(&desc))?;
        add(&self.inner.tally.buffers, 1);
        Ok(page)
    }
}

fn bound(binding: u32, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindGroupEntry<'_> {
    let part = wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes) };
    wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(part) }
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, least: u64) -> wgpu::BindGroupLayoutEntry {
    let (has_dynamic_offset, min_binding_size) = (ty == wgpu::BufferBindingType::Uniform, wgpu::BufferSize::new(least));
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
        count: None,
    }
}
