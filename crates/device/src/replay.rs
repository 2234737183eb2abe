//! Running a program: one encoder and one pass for each submission, with nothing looked up and nothing made.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::buffer::{Buffer, Slice};
use crate::counters::add;
use crate::device::Device;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::pace::{self, Pace};
use crate::profile::{Queries, Timed};
use crate::program::{self, Copy, Step};

/// Dispatches recorded once, with their bind groups, and run many times.
pub struct Program {
    device: Device,
    steps: Vec<Recorded>,
    /// The parameters of all steps, one after the other.
    params: Vec<u8>,
    page: Option<Page>,
    pace: Pace,
}

/// A step with all that its encoding needs.
struct Recorded {
    label: Arc<str>,
    kernel: Arc<Kernel>,
    parts: Vec<Slice>,
    group: wgpu::BindGroup,
    params: Range<usize>,
    groups: [u32; 3],
    /// The step before has the same pipeline.
    same_pipeline: bool,
    /// The step before has the same pipeline and bind group.
    same_group: bool,
    /// Where its parameters lie in the page.
    page_offset: Option<u32>,
}

/// The uniform that holds parameters where immediates do not.
struct Page {
    raw: wgpu::Buffer,
    group: wgpu::BindGroup,
    bytes: Vec<u8>,
    /// What the next run has to write.
    dirty: Range<usize>,
}

impl Program {
    /// Records steps. They run in this order, each after all before it.
    ///
    /// # Errors
    /// [`Error::Validation`](crate::Error::Validation) for a missing binding, a misaligned part, parameters of a wrong length, or a buffer that
    /// one step both reads and writes through two bindings; [`Error::Limit`](crate::Error::Limit) past a limit of the device.
    pub fn new(device: &Device, steps: Vec<Step>) -> Result<Program> {
        device.check()?;
        let mut program = Program {
            device: device.clone(),
            steps: Vec::with_capacity(steps.len()),
            params: Vec::new(),
            page: None,
            pace: Pace::new([]),
        };
        let mut work = Vec::with_capacity(steps.len());
        for step in steps {
            step.check(device)?;
            let parts = step.parts(device)?;
            work.push(pace::work(&step, parts.iter().map(|part| part.bytes).sum()));
            let group = device.group(&step.kernel.layout, &step.kernel.shape, &parts, &step.label)?;
            let start = program.params.len();
            program.params.extend(&step.params);
            program.steps.push(Recorded {
                label: step.label,
                kernel: step.kernel,
                parts,
                group,
                params: start..program.params.len(),
                groups: step.groups,
                same_pipeline: false,
                same_group: false,
                page_offset: None,
            });
        }
        program.pace = Pace::new(work);
        program.place_params()?;
        program.link();
        Ok(program)
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Replaces one buffer by another in every step. Bind groups are made anew, or found again.
    ///
    /// # Errors
    /// [`Error::Validation`](crate::Error::Validation) if the new buffer is too short for a use of the old one, or is
    /// already bound beside it. Then nothing is replaced.
    pub fn rebind(&mut self, from: &Buffer, to: &Buffer) -> Result<()> {
        let mut changed = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            if !step.parts.iter().any(|part| part.buffer.id() == from.id()) {
                continue;
            }
            let mut parts = step.parts.clone();
            for part in parts.iter_mut().filter(|part| part.buffer.id() == from.id()) {
                part.buffer = to.clone();
                part.check(&step.label)?;
            }
            program::check_aliases(&step.label, &step.kernel, &parts)?;
            let group = self.device.group(&step.kernel.layout, &step.kernel.shape, &parts, &step.label)?;
            changed.push((i, parts, group));
        }
        for (i, parts, group) in changed {
            (self.steps[i].parts, self.steps[i].group) = (parts, group);
        }
        self.link();
        Ok(())
    }

    /// Sets one word of a step's parameters from the next run on. Places that do not exist are ignored.
    pub fn set_param(&mut self, step: usize, byte_offset: usize, word: [u8; 4]) {
        let Some(recorded) = self.steps.get(step) else { return };
        if byte_offset.saturating_add(4) > recorded.params.len() {
            return;
        }
        let at = recorded.params.start + byte_offset;
        self.params[at..at + 4].copy_from_slice(&word);
        if let (Some(page), Some(offset)) = (&mut self.page, recorded.page_offset) {
            let at = offset as usize + byte_offset;
            page.bytes[at..at + 4].copy_from_slice(&word);
            page.dirty =
                if page.dirty.is_empty() { at..at + 4 } else { page.dirty.start.min(at)..page.dirty.end.max(at + 4) };
        }
    }

    /// Gives the parameters that travel in a uniform their places, and the page its bind group.
    fn place_params(&mut self) -> Result<()> {
        let device = &self.device;
        let align = device.inner.limits.min_uniform_buffer_offset_alignment.max(16) as usize;
        let (mut bytes, mut widest) = (Vec::new(), 0);
        for step in self.steps.iter_mut().filter(|step| step.kernel.uniform()) {
            step.page_offset = Some(bytes.len() as u32);
            bytes.extend(&self.params[step.params.clone()]);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            widest = widest.max(step.params.len().next_multiple_of(16));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        bytes.resize(bytes.len() + widest, 0);
        let size = bytes.len() as u64;
        let (raw, group) = device.scoped("kiln parameters", || {
            let raw = device.inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("kiln parameters"),
                size,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let binding = wgpu::BufferBinding { buffer: &raw, offset: 0, size: wgpu::BufferSize::new(widest as u64) };
            let group = device.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("kiln parameters"),
                layout: &device.inner.uniform_layout,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
            });
            (raw, group)
        })?;
        add(&device.inner.tally.buffers, 1);
        add(&device.inner.tally.bind_groups, 1);
        self.page = Some(Page { raw, group, dirty: 0..bytes.len(), bytes });
        Ok(())
    }

    /// Finds out what each step can leave as the step before set it.
    fn link(&mut self) {
        let mut last: Option<(u64, wgpu::BindGroup)> = None;
        for step in self.steps.iter_mut().filter(|step| !step.is_empty()) {
            let (pipeline, group) =
                last.as_ref().map_or((false, false), |(id, group)| (*id == step.kernel.id(), *group == step.group));
            (step.same_pipeline, step.same_group) = (pipeline, pipeline && group);
            last = Some((step.kernel.id(), step.group.clone()));
        }
    }

    /// Runs `before`, then `clears`, then the steps, then `after`, in this order on the device. Returns as soon as
    /// everything is submitted.
    ///
    /// # Errors
    /// [`Error::Validation`](crate::Error::Validation) from wgpu, [`Error::Lost`](crate::Error::Lost).
    pub fn run(&mut self, before: &[Copy], clears: &[Buffer], after: &[Copy]) -> Result<()> {
        for copy in before.iter().chain(after) {
            copy.check()?;
        }
        let device = self.device.clone();
        device.scoped("run", || {
            self.write_page();
            self.pace.update();
            let mut encoder = device.encoder("kiln run");
            before.iter().for_each(|copy| encode_copy(&mut encoder, copy));
            for buffer in clears {
                encoder.clear_buffer(buffer.raw(), 0, Some(buffer.padded()));
            }
            for i in 0..self.pace.submissions() {
                let cut = self.pace.cut(i);
                if i > 0 {
                    device.submit(std::mem::replace(&mut encoder, device.encoder("kiln run")));
                }
                if device.inner.profiler.is_on() {
                    encoder = self.encode_timed(encoder, cut);
                } else {
                    self.encode(&mut encoder, &self.steps[cut]);
                }
            }
            after.iter().for_each(|copy| encode_copy(&mut encoder, copy));
            device.submit(encoder);
            self.pace.time(&device.inner.queue);
        })
    }

    fn write_page(&mut self) {
        if let Some(page) = self.page.as_mut().filter(|page| !page.dirty.is_empty()) {
            let dirty = std::mem::take(&mut page.dirty);
            self.device.inner.queue.write_buffer(&page.raw, dirty.start as u64, &page.bytes[dirty]);
        }
    }

    /// All steps of a submission in one pass.
    fn encode(&self, encoder: &mut wgpu::CommandEncoder, steps: &[Recorded]) {
        let desc = wgpu::ComputePassDescriptor { label: Some("kiln pass"), timestamp_writes: None };
        let mut pass = encoder.begin_compute_pass(&desc);
        let (mut first, mut count) = (true, 0);
        for step in steps.iter().filter(|step| !step.is_empty()) {
            self.encode_step(&mut pass, step, first);
            (first, count) = (false, count + 1);
        }
        add(&self.device.inner.tally.dispatches, count);
    }

    #[inline]
    fn encode_step(&self, pass: &mut wgpu::ComputePass<'_>, step: &Recorded, first: bool) {
        if first || !step.same_pipeline {
            pass.set_pipeline(&step.kernel.pipeline);
        }
        if first || !step.same_group {
            pass.set_bind_group(0, &step.group, &[]);
        }
        match (step.page_offset, &self.page) {
            (Some(offset), Some(page)) => pass.set_bind_group(1, &page.group, &[offset]),
            _ if !step.params.is_empty() => pass.set_immediates(0, &self.params[step.params.clone()]),
            _ => {}
        }
        let [x, y, z] = step.groups;
        pass.dispatch_workgroups(x, y, z);
    }

    /// Each step in a pass of its own, timed. Returns the encoder that goes on.
    fn encode_timed(&self, mut encoder: wgpu::CommandEncoder, cut: Range<usize>) -> wgpu::CommandEncoder {
        let (device, inner) = (&self.device, &self.device.inner);
        let steps: Vec<&Recorded> = self.steps[cut].iter().filter(|step| !step.is_empty()).collect();
        let timed = |step: &Recorded| -> Timed { (step.label.clone(), step.kernel.shared_name(), step.groups) };
        if steps.is_empty() {
            return encoder;
        }
        if inner.caps.timestamps {
            let queries = Queries::new(&inner.device, steps.len());
            for (i, step) in steps.iter().enumerate() {
                let desc =
                    wgpu::ComputePassDescriptor { label: Some(&step.label), timestamp_writes: Some(queries.writes(i)) };
                self.encode_step(&mut encoder.begin_compute_pass(&desc), step, true);
            }
            queries.resolve(&mut encoder);
            add(&inner.tally.dispatches, steps.len() as u64);
            device.submit(encoder);
            inner.profiler.push(
                &inner.device,
                inner.queue.get_timestamp_period(),
                queries,
                steps.into_iter().map(timed).collect(),
            );
        } else {
            device.submit(encoder);
            let _ = inner.device.poll(wgpu::PollType::wait_indefinitely());
            for step in steps {
                let start = Instant::now();
                let mut encoder = device.encoder("kiln timed");
                self.encode(&mut encoder, std::slice::from_ref(step));
                device.submit(encoder);
                let _ = inner.device.poll(wgpu::PollType::wait_indefinitely());
                inner.profiler.push_host(timed(step), start);
            }
        }
        device.encoder("kiln run")
    }
}

impl Recorded {
    /// Nothing to dispatch. The step is kept, so that its number is what the caller knows.
    fn is_empty(&self) -> bool {
        self.groups.contains(&0)
    }
}

fn encode_copy(encoder: &mut wgpu::CommandEncoder, copy: &Copy) {
    encoder.copy_buffer_to_buffer(copy.from.raw(), copy.from_offset, copy.to.raw(), copy.to_offset, Some(copy.bytes));
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| &step.label)).finish()
    }
}
