//! Any WGSL file: its entry points and what they bind, by reflection, and dispatches of one of them. For programs that
//! run kernels which were not written for Kiln; those that were are a [`Source`](crate::Source).

mod dispatch;

use std::sync::Arc;

use naga::valid::{ValidationFlags, Validator};
use naga::{AddressSpace, ArraySize, Module, ScalarKind, StorageAccess, TypeInner};

use crate::caps::Caps;
use crate::error::{Error, Result};
use crate::reflect::{capabilities, check_features};
pub use dispatch::Dispatch;

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
