//! Bind groups and their layouts, each made once. A group is known by its layout and by the buffers, offsets and
//! sizes that it binds; it goes when one of its buffers goes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::buffer::Slice;
use crate::counters::add;
use crate::device::{Device, lock};
use crate::error::Result;

/// More groups than this are not remembered: programs keep their own, so only re-planning gets slower.
const MOST: usize = 16_384;

/// A layout of storage buffers: binding numbers, which are written, and the least bytes of each. wgpu checks a size that the
/// layout has when a group is made, and one that it leaves open in every dispatch.
pub(crate) type Shape = Vec<(u32, bool, u64)>;

/// A bind group layout with its number.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) id: u32,
    pub(crate) raw: wgpu::BindGroupLayout,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    layout: u32,
    parts: Box<[(u64, u64, u64)]>,
}

/// The groups made so far.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    made: HashMap<Arc<Key>, wgpu::BindGroup>,
    by_buffer: HashMap<u64, Vec<Arc<Key>>>,
}

impl Groups {
    /// Forgets every group that binds the buffer.
    pub(crate) fn evict(&mut self, buffer: u64) {
        for key in self.by_buffer.remove(&buffer).unwrap_or_default() {
            self.made.remove(&key);
            for (other, ..) in &key.parts {
                if let Some(keys) = self.by_buffer.get_mut(other) {
                    keys.retain(|k| !Arc::ptr_eq(k, &key));
                }
            }
        }
    }

    fn insert(&mut self, key: Key, group: wgpu::BindGroup) {
        if self.made.len() >= MOST {
            self.made.clear();
            self.by_buffer.clear();
        }
        let key = Arc::new(key);
        for &(buffer, ..) in &key.parts {
            self.by_buffer.entry(buffer).or_default().push(key.clone());
        }
        self.made.insert(key, group);
    }
}

impl Device {
    /// The layout of that shape.
    pub(crate) fn layout(&self, shape: &Shape) -> Result<Layout> {
        let mut layouts = lock(&self.inner.layouts);
        if let Some(layout) = layouts.get(shape) {
            return Ok(layout.clone());
        }
        let entries: Vec<wgpu::BindGroupLayoutEntry> = shape
            .iter()
            .map(|&(binding, writes, least)| {
                entry(binding, wgpu::BufferBindingType::Storage { read_only: !writes }, wgpu::BufferSize::new(least))
            })
            .collect();
        let label = format!("kiln layout {shape:?}");
        let raw = self.scoped(&label, || {
            let desc = wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries };
            self.inner.device.create_bind_group_layout(&desc)
        })?;
        let layout = Layout { id: layouts.len() as u32, raw };
        layouts.insert(shape.clone(), layout.clone());
        Ok(layout)
    }

    /// The bind group of these parts, in the order of the layout's bindings, which `shape` gives.
    pub(crate) fn group(
        &self,
        layout: &Layout,
        shape: &Shape,
        parts: &[Slice],
        label: &str,
    ) -> Result<wgpu::BindGroup> {
        let key = Key {
            layout: layout.id,
            parts: parts.iter().map(|part| (part.buffer.id(), part.offset, part.bytes)).collect(),
        };
        if let Some(group) = lock(&self.inner.groups).made.get(&key) {
            return Ok(group.clone());
        }
        let entries: Vec<wgpu::BindGroupEntry<'_>> = shape
            .iter()
            .zip(parts)
            .map(|(&(binding, ..), part)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: part.buffer.raw(),
                    offset: part.offset,
                    size: wgpu::BufferSize::new(part.bytes),
                }),
            })
            .collect();
        let group = self.scoped(label, || {
            let desc = wgpu::BindGroupDescriptor { label: Some(label), layout: &layout.raw, entries: &entries };
            self.inner.device.create_bind_group(&desc)
        })?;
        add(&self.inner.tally.bind_groups, 1);
        lock(&self.inner.groups).insert(key, group.clone());
        Ok(group)
    }
}

/// The layout of group 1 where parameters travel in a uniform: one buffer at a dynamic offset.
pub(crate) fn uniform_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("kiln parameters"),
        entries: &[entry(0, wgpu::BufferBindingType::Uniform, None)],
    })
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, least: Option<wgpu::BufferSize>) -> wgpu::BindGroupLayoutEntry {
    let dynamic = ty == wgpu::BufferBindingType::Uniform;
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: least },
        count: None,
    }
}
