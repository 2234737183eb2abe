//! Kernels as Vulkan, Metal and DX12 get them: for the tests, on any machine.
//!
//! It is a crate of its own so that whatever is built of the whole workspace has naga with the same features, and has it
//! once.

use naga::back::{hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module};

fn parse(text: &str) -> Result<(Module, ModuleInfo), String> {
    let capabilities = Capabilities::IMMEDIATES
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SUBGROUP
        | Capabilities::SUBGROUP_BARRIER
        | Capabilities::COOPERATIVE_MATRIX;
    let options = naga::front::wgsl::Options { parse_doc_comments: false, capabilities };
    let module = naga::front::wgsl::Frontend::new_with_options(options)
        .parse(text)
        .map_err(|error| error.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| error.emit_to_string(text))?;
    Ok((module, info))
}

/// A kernel as Vulkan's drivers are given it.
#[derive(Debug)]
pub struct Spirv {
    /// The module.
    pub words: Vec<u32>,
    /// Bindings in group 0 that are storage buffers.
    pub storage: Vec<u32>,
    /// Those that are uniforms, at a dynamic offset.
    pub uniforms: Vec<u32>,
}

/// A kernel without checks of bounds, loops and workgroup memory, as Kiln has its own compiled.
///
/// # Errors
/// What went wrong, with the place in the text where there is one.
pub fn spirv(text: &str) -> Result<Spirv, String> {
    let (module, info) = parse(text)?;
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: BoundsCheckPolicies::default(),
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let words = spv::write_vec(&module, &info, &options, None).map_err(|error| format!("SPIR-V: {error}"))?;
    let bound = |uniform: bool| {
        let all = module.global_variables.iter().map(|(_, variable)| variable);
        let wanted = all.filter(|variable| (variable.space == AddressSpace::Uniform) == uniform);
        wanted.filter_map(|variable| variable.binding).map(|at| at.binding).collect()
    };
    Ok(Spirv { words, storage: bound(false), uniforms: bound(true) })
}

/// Parses a kernel, validates it, and translates it to SPIR-V, MSL and HLSL.
///
/// # Errors
/// What went wrong, with the place in the text where there is one.
pub fn translate(text: &str) -> Result<(), String> {
    let (module, info) = parse(text)?;

    let options = spv::Options { lang_version: (1, 3), fake_missing_bindings: true, ..Default::default() };
    spv::write_vec(&module, &info, &options, None).map_err(|error| format!("SPIR-V: {error}"))?;

    let options = msl::Options { lang_version: (3, 1), fake_missing_bindings: true, ..Default::default() };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .map_err(|error| format!("MSL: {error}"))?;

    if text.contains("coop_mat") {
        return Ok(()); // HLSL has no cooperative matrices, and naga's writer panics on them
    }
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        immediates_target: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    hlsl::Writer::new(&mut String::new(), &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|error| format!("HLSL: {error}"))?;
    Ok(())
}
