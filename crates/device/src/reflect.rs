//! What naga knows about a kernel's text: its bindings, its parameters, its workgroup, and whether the device can
//! run it. wgpu checks neither workgroup memory nor the shapes of cooperative matrices; here both are.

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};

use crate::caps::{Caps, CoopShape};
use crate::error::{Error, Result};
use crate::kernel::BindingInfo;

/// The kernel's interface.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) module: Module,
    pub(crate) bindings: Vec<BindingInfo>,
    pub(crate) params_bytes: usize,
    /// Where the parameters are bound, if they are a uniform and not immediates.
    pub(crate) uniform: Option<u32>,
    pub(crate) workgroup: [u32; 3],
}

/// Parses, validates and describes a kernel.
pub(crate) fn reflect(name: &str, code: &str, caps: &Caps) -> Result<Interface> {
    let wrong = |message: String| Error::Kernel { name: name.to_string(), message };
    let options = naga::front::wgsl::Options { parse_doc_comments: false, capabilities: Capabilities::all() };
    let module = naga::front::wgsl::Frontend::new_with_options(options)
        .parse(code)
        .map_err(|error| wrong(error.emit_to_string_with_path(code, name)))?;
    check_features(name, &module, caps)?;
    let info = Validator::new(ValidationFlags::all(), capabilities(caps))
        .validate(&module)
        .map_err(|error| wrong(error.emit_to_string_with_path(code, name)))?;
    let entry = module.entry_points.iter().position(|entry| entry.name == "main");
    let entry = entry.ok_or_else(|| wrong("the text has no entry point `main`".to_string()))?;
    let (bindings, params_bytes, uniform) = globals(&module, &info, entry, &wrong)?;
    check_limits(name, &module, &info, entry, bindings.len(), caps)?;
    let workgroup = module.entry_points[entry].workgroup_size;
    Ok(Interface { bindings, params_bytes, uniform, workgroup, module })
}

/// What naga may accept on this device.
pub(crate) fn capabilities(caps: &Caps) -> Capabilities {
    let mut out = Capabilities::empty();
    out.set(Capabilities::IMMEDIATES, caps.max_immediates > 0);
    out.set(Capabilities::SHADER_FLOAT16, caps.f16);
    out.set(Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER, caps.subgroup.is_some());
    out.set(Capabilities::COOPERATIVE_MATRIX, !caps.coop.is_empty());
    out
}

/// The bindings that `main` uses, sorted by number, and the size of its parameters.
fn globals(
    module: &Module,
    info: &ModuleInfo,
    entry: usize,
    wrong: &dyn Fn(String) -> Error,
) -> Result<(Vec<BindingInfo>, usize, Option<u32>)> {
    let (mut bindings, mut params_bytes, mut uniform) = (Vec::new(), 0, None);
    let odd_sizes = || wrong("`sizes` is a struct of u32, i32 and f32 fields".to_string());
    for (handle, var) in module.global_variables.iter() {
        let name = var.name.clone().unwrap_or_default();
        match (var.space, var.binding) {
            (AddressSpace::Storage { access }, Some(place)) => {
                if place.group != 0 {
                    return Err(wrong(format!("`{name}` is in group {}; storage buffers are in group 0", place.group)));
                }
                if !info.get_entry_point(entry)[handle].is_empty() {
                    let writes = access.contains(StorageAccess::STORE);
                    let least = module.types[var.ty].inner.size(module.to_ctx()).into();
                    bindings.push(BindingInfo { name, binding: place.binding, writes, least });
                }
            }
            (AddressSpace::Immediate, _) => params_bytes = params_size(module, var.ty).ok_or_else(odd_sizes)?,
            (AddressSpace::Uniform, Some(place)) if place.group == 0 && uniform.is_none() => {
                (params_bytes, uniform) = (params_size(module, var.ty).ok_or_else(odd_sizes)?, Some(place.binding));
            }
            (AddressSpace::Private | AddressSpace::WorkGroup, _) => {}
            _ => return Err(wrong(format!("`{name}`: a kernel has storage buffers and `sizes`, nothing else"))),
        }
    }
    bindings.sort_by_key(|binding| binding.binding);
    if let Some(pair) = bindings.windows(2).find(|pair| pair[0].binding == pair[1].binding) {
        let message = format!("`{}` and `{}` share binding {}", pair[0].name, pair[1].name, pair[0].binding);
        return Err(wrong(message));
    }
    Ok((bindings, params_bytes, uniform))
}

/// The bytes of a struct of 4-byte scalars; `None` for anything else.
fn params_size(module: &Module, ty: naga::Handle<naga::Type>) -> Option<usize> {
    let TypeInner::Struct { members, .. } = &module.types[ty].inner else { return None };
    let word =
        |member: &naga::StructMember| matches!(module.types[member.ty].inner, TypeInner::Scalar(s) if s.width == 4);
    members.iter().all(word).then_some(4 * members.len())
}

/// Features that the types and directives ask for, named as people know them.
pub(crate) fn check_features(name: &str, module: &Module, caps: &Caps) -> Result<()> {
    let lacks = |feature| Err(Error::Feature { kernel: name.to_string(), feature });
    for (_, ty) in module.types.iter() {
        match ty.inner {
            TypeInner::Scalar(naga::Scalar::F16) if !caps.f16 => return lacks("f16"),
            TypeInner::CooperativeMatrix { columns, rows, scalar, role } => {
                if caps.coop.is_empty() {
                    return lacks("cooperative matrices");
                }
                let (size, half) = (columns as u32, scalar == naga::Scalar::F16);
                let fits = |shape: &CoopShape| {
                    let f16 = if role == naga::CooperativeRole::C { shape.f16_accumulator } else { shape.f16_operands };
                    shape.size == size && rows as u32 == size && f16 == half
                };
                if !caps.coop.iter().any(fits) {
                    return lacks("cooperative matrices of this shape");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Limits that pipeline creation does not check, or reports less clearly.
fn check_limits(
    name: &str,
    module: &Module,
    info: &ModuleInfo,
    entry: usize,
    bindings: usize,
    caps: &Caps,
) -> Result<()> {
    let used = |(handle, _): &(naga::Handle<naga::GlobalVariable>, &naga::GlobalVariable)| {
        !info.get_entry_point(entry)[*handle].is_empty()
    };
    let shared: u64 = module
        .global_variables
        .iter()
        .filter(used)
        .filter(|(_, var)| var.space == AddressSpace::WorkGroup)
        .map(|(_, var)| u64::from(module.types[var.ty].inner.size(module.to_ctx())).next_multiple_of(16))
        .sum();
    let invocations = module.entry_points[entry].workgroup_size.iter().map(|&n| u64::from(n)).product();
    let limits = [
        ("storage buffers", bindings as u64, u64::from(caps.max_storage_buffers)),
        ("invocations in a workgroup", invocations, u64::from(caps.max_invocations)),
        ("bytes of workgroup memory", shared, u64::from(caps.workgroup_memory)),
    ];
    for (what, needs, has) in limits {
        if needs > has {
            return Err(Error::Limit { kernel: name.to_string(), what, needs, has });
        }
    }
    Ok(())
}
