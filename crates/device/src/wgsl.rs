//! Any WGSL file: its entry points and what they bind, by reflection, and dispatches of one of them. For programs that
//! run kernels which were not written for Kiln; those that were are a [`Source`](crate::Source).

use std::borrow::Cow;
use std::sync::Arc;

use naga::valid::{ValidationFlags, Validator};
use naga::{AddressSpace, ArraySize, Module, ScalarKind, StorageAccess, TypeInner};

use crate::buffer::Buffer;
use crate::caps::Caps;
use crate::counters::add;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::Queries;
use crate::reflect::{capabilities, check_features};

/// A parsed and validated WGSL file.
#[derive(Debug)]
pub struct Wgsl {
    name: Arc<str>,
    module: Module,
    entries: Vec<Entry>,
}

/// A compute entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its function's name.
    pub name: String,
    /// Invocations of a workgroup in each dimension.
    pub workgroup: [u32; 3],
    /// The buffers that it uses, by group and binding.
    pub resources: Vec<Resource>,
    /// Bytes of `var<immediate>`; 0 without one.
    pub immediates: u32,
}

/// A buffer that an entry point uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name in the text.
    pub name: String,
    /// Its bind group.
    pub group: u32,
    /// Its number in the group.
    pub binding: u32,
    /// Whether it is a storage buffer that is read only, or written as well, or a uniform.
    pub kind: ResourceKind,
    /// Its type as the text has it, such as `array<vec4<f32>>`.
    pub ty: String,
    /// The scalar that all of it consists of: `f32`, `f16`, `i32` or `u32`; `None` if there are several.
    pub scalar: Option<&'static str>,
    /// The fewest bytes that can be bound.
    pub least: u64,
    /// The bytes of an element of the array at its end whose length is that of the buffer, if it has one.
    pub stride: Option<u64>,
}

/// How a resource is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`.
    Uniform,
}

impl Wgsl {
    /// Parses and validates a text for a device of these capabilities.
    ///
    /// # Errors
    /// [`Error::Kernel`] with naga's message and the line; also for what cannot be dispatched from buffers alone
    /// (textures, samplers, overrides). [`Error::Feature`] for a type that the device lacks.
    pub fn parse(name: impl Into<Arc<str>>, text: &str, caps: &Caps) -> Result<Wgsl> {
        let name = name.into();
        let wrong = |message: String| Error::Kernel { name: name.to_string(), message };
        let options =
            naga::front::wgsl::Options { parse_doc_comments: false, capabilities: naga::valid::Capabilities::all() };
        let module = naga::front::wgsl::Frontend::new_with_options(options)
            .parse(text)
            .map_err(|error| wrong(error.emit_to_string_with_path(text, &name)))?;
        check_features(&name, &module, caps)?;
        if let Some((_, first)) = module.overrides.iter().next() {
            let named = first.name.clone().unwrap_or_default();
            return Err(wrong(format!("`{named}` is an override; give it its value as a const")));
        }
        let info = Validator::new(ValidationFlags::all(), capabilities(caps))
            .validate(&module)
            .map_err(|error| wrong(error.emit_to_string_with_path(text, &name)))?;
        let mut entries = Vec::new();
        for (at, point) in module.entry_points.iter().enumerate() {
            if point.stage != naga::ShaderStage::Compute {
                continue;
            }
            let mut entry = Entry {
                name: point.name.clone(),
                workgroup: point.workgroup_size,
                resources: Vec::new(),
                immediates: 0,
            };
            for (handle, var) in module.global_variables.iter() {
                if info.get_entry_point(at)[handle].is_empty() {
                    continue;
                }
                let inner = &module.types[var.ty].inner;
                let kind = match var.space {
                    AddressSpace::Private | AddressSpace::WorkGroup => continue,
                    AddressSpace::Immediate => {
                        entry.immediates = inner.size(module.to_ctx());
                        continue;
                    }
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                        ResourceKind::ReadWrite
                    }
                    AddressSpace::Storage { .. } => ResourceKind::Read,
                    AddressSpace::Uniform => ResourceKind::Uniform,
                    _ => {
                        let named = var.name.clone().unwrap_or_default();
                        return Err(wrong(format!(
                            "`{named}` of `{}` is no buffer; only buffers can be bound",
                            point.name
                        )));
                    }
                };
                let Some(place) = &var.binding else { continue };
                entry.resources.push(Resource {
                    name: var.name.clone().unwrap_or_default(),
                    group: place.group,
                    binding: place.binding,
                    kind,
                    ty: type_name(&module, var.ty),
                    scalar: scalar(&module, var.ty),
                    least: u64::from(inner.size(module.to_ctx())),
                    stride: tail(&module, var.ty),
                });
            }
            entry.resources.sort_by_key(|resource| (resource.group, resource.binding));
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(wrong("the text has no @compute entry point".to_string()));
        }
        Ok(Wgsl { name, module, entries })
    }

    /// Its compute entry points, in the order of the text.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// A type as WGSL writes it.
fn type_name(module: &Module, ty: naga::Handle<naga::Type>) -> String {
    let ty = &module.types[ty];
    let one = |scalar: &naga::Scalar| match (scalar.kind, scalar.width) {
        (ScalarKind::Float, 2) => "f16",
        (ScalarKind::Float, 8) => "f64",
        (ScalarKind::Float | ScalarKind::AbstractFloat, _) => "f32",
        (ScalarKind::Sint | ScalarKind::AbstractInt, 8) => "i64",
        (ScalarKind::Sint | ScalarKind::AbstractInt, _) => "i32",
        (ScalarKind::Uint, 8) => "u64",
        (ScalarKind::Uint, _) => "u32",
        (ScalarKind::Bool, _) => "bool",
    };
    match (&ty.name, &ty.inner) {
        (Some(name), _) => name.clone(),
        (None, TypeInner::Scalar(scalar)) => one(scalar).into(),
        (None, TypeInner::Atomic(scalar)) => format!("atomic<{}>", one(scalar)),
        (None, TypeInner::Vector { size, scalar }) => format!("vec{}<{}>", *size as u32, one(scalar)),
        (None, TypeInner::Matrix { columns, rows, scalar }) => {
            format!("mat{}x{}<{}>", *columns as u32, *rows as u32, one(scalar))
        }
        (None, TypeInner::Array { base, size, .. }) => match size {
            ArraySize::Constant(n) => format!("array<{}, {n}>", type_name(module, *base)),
            _ => format!("array<{}>", type_name(module, *base)),
        },
        _ => "a struct".into(),
    }
}

/// The one scalar type that a type consists of.
fn scalar(module: &Module, ty: naga::Handle<naga::Type>) -> Option<&'static str> {
    match &module.types[ty].inner {
        TypeInner::Scalar(s)
        | TypeInner::Atomic(s)
        | TypeInner::Vector { scalar: s, .. }
        | TypeInner::Matrix { scalar: s, .. } => match (s.kind, s.width) {
            (ScalarKind::Float, 4) => Some("f32"),
            (ScalarKind::Float, 2) => Some("f16"),
            (ScalarKind::Sint, 4) => Some("i32"),
            (ScalarKind::Uint, 4) => Some("u32"),
            _ => None,
        },
        TypeInner::Array { base, .. } => scalar(module, *base),
        TypeInner::Struct { members, .. } => {
            let mut all = members.iter().map(|member| scalar(module, member.ty));
            let first = all.next()??;
            all.all(|other| other == Some(first)).then_some(first)
        }
        _ => None,
    }
}

/// The stride of the array at a type's end that has no length of its own.
fn tail(module: &Module, ty: naga::Handle<naga::Type>) -> Option<u64> {
    match &module.types[ty].inner {
        TypeInner::Array { size: ArraySize::Dynamic, stride, .. } => Some(u64::from(*stride)),
        TypeInner::Struct { members, .. } => tail(module, members.last()?.ty),
        _ => None,
    }
}

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
