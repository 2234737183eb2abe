//! Kernels: a validated text, its interface, its pipeline. Each final text is compiled once.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once};

use crate::bind::Shape;
use crate::counters::add;
use crate::device::{Device, lock};
use crate::disk::hash;
use crate::environment;
use crate::error::{Error, Result};
use crate::reflect::{self, Interface};
use crate::source::{Final, Source};

/// Uniforms are bound in multiples of so many bytes, so that kernels of different parameters have a layout in common.
const UNIFORM_STEP: usize = 64;

/// A storage buffer that a kernel binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingInfo {
    /// Its name in the text.
    pub name: String,
    /// Its number in group 0.
    pub binding: u32,
    /// Whether it is declared `read_write`.
    pub writes: bool,
    /// The least bytes that may be bound: its type's size, one element of an array without a length.
    pub least: u64,
}

/// A compiled kernel.
#[derive(Debug)]
pub struct Kernel {
    name: Arc<str>,
    file: Arc<str>,
    text: String,
    bindings: Vec<BindingInfo>,
    params_bytes: usize,
    divisible: bool,
    workgroup: [u32; 3],
    id: u64,
    pub(crate) shape: Shape,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) pipeline: wgpu::ComputePipeline,
}

impl Kernel {
    /// The name of the source that it was first compiled from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The final text, as the driver's compiler got it, with comments.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The storage buffers that `main` uses, by binding number.
    pub fn bindings(&self) -> &[BindingInfo] {
        &self.bindings
    }

    /// The bytes of `struct Sizes` that a launch fills; 0 without one.
    pub fn params_bytes(&self) -> usize {
        self.params_bytes
    }

    /// Whether the parameters travel in a uniform instead of immediates.
    pub fn uniform(&self) -> bool {
        self.shape.sizes.is_some()
    }

    /// Whether it asks for the number of its first workgroup (`first_group_` in `shaders/lib/grid.wgsl`), and so can be
    /// dispatched in parts. Then that number follows the parameters.
    pub fn divisible(&self) -> bool {
        self.divisible
    }

    /// Invocations of a workgroup in each dimension.
    pub fn workgroup(&self) -> [u32; 3] {
        self.workgroup
    }

    /// What the source was called before it got the names of the ops fused into it: the shader file, for our own.
    pub(crate) fn file(&self) -> Arc<str> {
        self.file.clone()
    }

    /// Tells kernels of one device apart.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Device {
    /// The kernel of this source: compiled now, or found if a source with the same final text was compiled before.
    ///
    /// # Errors
    /// [`Error::Kernel`] with naga's message, [`Error::Feature`] and [`Error::Limit`] where the device offers less
    /// than the text needs, [`Error::Validation`] from the driver.
    pub fn kernel(&self, source: &Source) -> Result<Arc<Kernel>> {
        self.find_or_compile(source, &source.assemble(self.caps().max_immediates)?)
    }

    /// The kernels of these sources, in order; those that are missing are compiled by several threads.
    ///
    /// # Errors
    /// The first error, as of [`kernel`](Self::kernel).
    pub fn kernels<'s>(&self, sources: impl IntoIterator<Item = &'s Source>) -> Result<Vec<Arc<Kernel>>> {
        let max_immediates = self.caps().max_immediates;
        // the layers of a network have kernels in common
        let (mut number_of, mut distinct) = (HashMap::new(), Vec::new());
        let numbers: Vec<usize> = sources
            .into_iter()
            .map(|source| {
                *number_of.entry(source).or_insert_with(|| {
                    distinct.push(source);
                    distinct.len() - 1
                })
            })
            .collect();
        let texts: Vec<Final> = distinct.iter().map(|source| source.assemble(max_immediates)).collect::<Result<_>>()?;
        let mut seen = HashSet::new();
        let missing: Vec<(&Source, &Final)> = distinct
            .iter()
            .copied()
            .zip(&texts)
            .filter(|(source, text)| {
                self.find(source, text).is_none() && seen.insert((self.checks(source), &text.code))
            })
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(missing.len());
        if threads > 1 {
            let (next, first_error) = (AtomicUsize::new(0), Mutex::new(None));
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while let Some((source, text)) = missing.get(next.fetch_add(1, Relaxed)) {
                            if let Err(error) = self.compile(source, text) {
                                lock(&first_error).get_or_insert(error);
                            }
                        }
                    });
                }
            });
            if let Some(error) = lock(&first_error).take() {
                return Err(error);
            }
        }
        let found = distinct.iter().zip(&texts).map(|(source, text)| self.find_or_compile(source, text));
        let kernels: Vec<Arc<Kernel>> = found.collect::<Result<_>>()?;
        Ok(numbers.into_iter().map(|number| kernels[number].clone()).collect())
    }

    fn checks(&self, source: &Source) -> bool {
        self.caps().checked || !source.trusted()
    }

    fn find(&self, source: &Source, text: &Final) -> Option<Arc<Kernel>> {
        lock(&self.inner.kernels)[usize::from(self.checks(source))].get(&text.code).cloned()
    }

    fn find_or_compile(&self, source: &Source, text: &Final) -> Result<Arc<Kernel>> {
        self.find(source, text).map_or_else(|| self.compile(source, text), Ok)
    }

    /// Compiles a text. naga and drivers have been seen to panic on odd kernels; that is an error here.
    fn compile(&self, source: &Source, text: &Final) -> Result<Arc<Kernel>> {
        let name = source.shared_name();
        dump(&name, &text.text);
        let checks = self.checks(source);
        let work = AssertUnwindSafe(|| self.build(&name, source.file(), text, checks));
        let kernel = catch_unwind(work).unwrap_or_else(|_| {
            let message = format!("the shader compiler panicked on this text:\n{}", text.text);
            Err(Error::Kernel { name: name.to_string(), message })
        })?;
        let table = &mut lock(&self.inner.kernels)[usize::from(checks)];
        Ok(table.entry(text.code.clone()).or_insert(Arc::new(kernel)).clone())
    }

    fn build(&self, name: &Arc<str>, file: Arc<str>, text: &Final, checks: bool) -> Result<Kernel> {
        // A second look at the text as written gives the message its lines.
        let interface = reflect::reflect(name, &text.code, self.caps())
            .or_else(|_| reflect::reflect(name, &text.text, self.caps()))?;
        let Interface { module, bindings, params_bytes, uniform, workgroup } = interface;
        let shape = Shape {
            storage: bindings.iter().map(|b| (b.binding, b.writes, b.least.max(16))).collect(),
            sizes: uniform.map(|binding| (binding, params_bytes.next_multiple_of(UNIFORM_STEP) as u64)),
        };
        let layout = self.layout(&shape)?;
        let device = &self.inner.device;
        let pipeline = self.scoped(name, || {
            let module = shader_module(device, name, module, checks);
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: if uniform.is_some() { 0 } else { params_bytes as u32 },
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: checks,
                    ..Default::default()
                },
                cache: self.inner.cache.as_ref().map(|cache| &cache.raw),
            })
        })?;
        if let Some(cache) = &self.inner.cache {
            cache.touch();
        }
        add(&self.inner.tally.pipelines, 1);
        let id = self.next_id();
        let (name, divisible, text) = (name.clone(), text.divisible, text.text.clone());
        let params_bytes = params_bytes - if divisible { 4 } else { 0 };
        Ok(Kernel { name, file, text, bindings, params_bytes, divisible, workgroup, id, shape, layout, pipeline })
    }
}

/// Hands a validated module to the driver's compiler.
#[allow(unsafe_code)]
fn shader_module(device: &wgpu::Device, name: &str, module: naga::Module, checks: bool) -> wgpu::ShaderModule {
    let desc = wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module)),
    };
    if checks {
        return device.create_shader_module(desc);
    }
    let checks = wgpu::ShaderRuntimeChecks {
        bounds_checks: false,
        force_loop_bounding: false,
        int_div_checks: true,
        ..wgpu::ShaderRuntimeChecks::checked()
    };
    // SAFETY: only Kiln's own kernels come here (`Source::new`), never a user's text (`Source::user`). They stay
    // within their buffers: launchers pass the sizes that the bindings have, every kernel guards its grid, and the
    // test suite runs them all both ways, with these checks and without (`KILN_CHECKED=1`), against f64 twins.
    unsafe { device.create_shader_module_trusted(desc, checks) }
}

/// `KILN_KERNELS=dir`: writes every final text to `dir`, named by its ops. The first that cannot be written is logged.
fn dump(name: &str, text: &str) {
    static TOLD: Once = Once::new();
    let Some(dir) = environment::path("KILN_KERNELS") else { return };
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || "._-+".contains(c) { c } else { '_' }).collect();
    let short: String = safe.chars().take(100).collect();
    let path = dir.join(format!("{short}.{:08x}.wgsl", hash(text.as_bytes()) as u32));
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, text));
    if let Err(error) = written {
        TOLD.call_once(|| log::warn!("KILN_KERNELS: cannot write {}: {error}", path.display()));
    }
}
