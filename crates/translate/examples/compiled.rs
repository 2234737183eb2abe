//! What a GPU's compiler makes of kernels: registers, occupancy, spills, instructions, as far as the driver says.
//!
//! ```text
//! KILN_KERNELS=kernels kiln bench run matmul                                    writes every kernel that runs
//! cargo run -p kiln-translate --example compiled -- kernels/*.wgsl              a line for each
//! cargo run -p kiln-translate --example compiled -- --text kernels/one.wgsl     and the driver's assembly
//! ```
//!
//! Nothing is executed, so that a driver without its device will do: CONTRIBUTING.md says how to get one. Vulkan only
//! (`VK_KHR_pipeline_executable_properties`); the first adapter that the loader lists.
#![allow(unsafe_code, reason = "wgpu has no way to ask for a pipeline's statistics")]

use ash::vk;
use std::error::Error;
use std::ffi::CStr;
use std::time::Instant;

struct Driver {
    device: ash::Device,
    statistics: ash::khr::pipeline_executable_properties::Device,
    matrices: bool,
    // it unloads Vulkan
    _entry: ash::Entry,
}

impl Driver {
    fn open() -> Result<Driver, Box<dyn Error>> {
        // SAFETY: what is passed to Vulkan lives until the calls return; nothing is used after the driver is dropped.
        unsafe {
            let entry = ash::Entry::load()?;
            let version = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance =
                entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&version), None)?;
            let adapter = *instance.enumerate_physical_devices()?.first().ok_or("there is no Vulkan adapter")?;
            let properties = instance.get_physical_device_properties(adapter);
            println!("{}", CStr::from_ptr(properties.device_name.as_ptr()).to_string_lossy());

            let offered = instance.enumerate_device_extension_properties(adapter)?;
            let has = |name: &CStr| offered.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
            if !has(vk::KHR_PIPELINE_EXECUTABLE_PROPERTIES_NAME) {
                return Err("this driver says nothing about pipelines".into());
            }
            let matrices = has(vk::KHR_COOPERATIVE_MATRIX_NAME);
            let mut names = vec![vk::KHR_PIPELINE_EXECUTABLE_PROPERTIES_NAME.as_ptr()];
            names.extend(matrices.then_some(vk::KHR_COOPERATIVE_MATRIX_NAME.as_ptr()));
            let mut storage = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
            let mut halves = vk::PhysicalDeviceVulkan12Features::default()
                .shader_float16(true)
                .shader_subgroup_extended_types(true)
                .vulkan_memory_model(true)
                .vulkan_memory_model_device_scope(true);
            let mut sizes =
                vk::PhysicalDeviceVulkan13Features::default().subgroup_size_control(true).compute_full_subgroups(true);
            let mut told =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut coop = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&names)
                .push_next(&mut storage)
                .push_next(&mut halves)
                .push_next(&mut sizes)
                .push_next(&mut told);
            if matrices {
                info = info.push_next(&mut coop);
            }
            let device = instance.create_device(adapter, &info, None)?;
            let statistics = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Driver { device, statistics, matrices, _entry: entry })
        }
    }

    /// Compiles a kernel as Kiln has it compiled, and tells how long that took and what the driver says of it.
    fn compile(&self, text: &str, whole: bool) -> Result<String, Box<dyn Error>> {
        if text.contains("coop_mat") && !self.matrices {
            return Err("this driver has no matrix units".into());
        }
        let kernel = kiln_translate::spirv(text)?;
        let binding = |&at: &u32, ty| {
            let one = vk::DescriptorSetLayoutBinding::default().binding(at).descriptor_count(1).descriptor_type(ty);
            one.stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let storage = kernel.storage.iter().map(|at| binding(at, vk::DescriptorType::STORAGE_BUFFER));
        let uniforms = kernel.uniforms.iter().map(|at| binding(at, vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC));
        let bindings: Vec<_> = storage.chain(uniforms).collect();
        let mut kept = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR;
        if whole {
            kept |= vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        }
        // SAFETY: as above. What is made here is not destroyed: the program is about to end.
        unsafe {
            let d = &self.device;
            let module = d.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&kernel.words), None)?;
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [d.create_descriptor_set_layout(&set, None)?];
            let immediates = [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(128)];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&immediates);
            // as wgpu asks
            let varying = vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE;
            let stage = vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE);
            let info = vk::ComputePipelineCreateInfo::default()
                .stage(stage.module(module).name(c"main").flags(varying))
                .layout(d.create_pipeline_layout(&layout, None)?)
                .flags(kept);
            let start = Instant::now();
            let made = d.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = *made.map_err(|(_, error)| error)?.first().ok_or("no pipeline")?;
            let took = start.elapsed().as_secs_f64() * 1e3;
            let all = self
                .statistics
                .get_pipeline_executable_properties(&vk::PipelineInfoKHR::default().pipeline(pipeline))?;
            let mut out = format!("subgroup {}, {took:.0} ms", all.first().map_or(0, |e| e.subgroup_size));
            let one = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            for s in self.statistics.get_pipeline_executable_statistics(&one)? {
                let name = CStr::from_ptr(s.name.as_ptr()).to_string_lossy();
                match s.format {
                    vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => out += &format!(", {name} {}", s.value.f64),
                    _ if !name.to_lowercase().contains("hash") => out += &format!(", {name} {}", s.value.u64),
                    _ => {}
                }
            }
            if whole {
                out += &self.texts(&one)?;
            }
            Ok(out)
        }
    }

    /// The driver's texts of a pipeline: first their lengths, then what they say.
    fn texts(&self, one: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String, Box<dyn Error>> {
        // SAFETY: as above; each text is given as much room as the driver has asked for.
        unsafe {
            let mut all = self.statistics.get_pipeline_executable_internal_representations(one)?;
            let mut rooms: Vec<Vec<u8>> = all.iter().map(|text| vec![0; text.data_size]).collect();
            for (text, room) in all.iter_mut().zip(&mut rooms) {
                text.p_data = room.as_mut_ptr().cast();
            }
            let mut count = all.len() as u32;
            let ask = self.statistics.fp().get_pipeline_executable_internal_representations_khr;
            ask(self.device.handle(), one, &mut count, all.as_mut_ptr()).result()?;
            let told = all.iter().zip(&rooms).map(|(text, room)| {
                let name = CStr::from_ptr(text.name.as_ptr()).to_string_lossy();
                format!("\n---- {name}\n{}", String::from_utf8_lossy(room).trim_end_matches('\0'))
            });
            Ok(told.collect())
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    if files.is_empty() || flags.iter().any(|flag| flag != "--text") {
        return Err("usage: compiled [--text] KERNEL.wgsl ...".into());
    }
    let driver = Driver::open()?;
    let mut failed = 0;
    for file in &files {
        let told = std::fs::read_to_string(file).map_err(Box::from);
        match told.and_then(|text| driver.compile(&text, !flags.is_empty())) {
            Ok(told) => println!("{file}: {told}"),
            Err(why) => {
                failed += 1;
                println!("{file}: {why}");
            }
        }
    }
    if failed > 0 { Err(format!("{failed} of {} failed", files.len()).into()) } else { Ok(()) }
}
