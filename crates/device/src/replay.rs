//! Running a program: one encoder and one pass for each submission, with nothing looked up and nothing made.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::buffer::{Buffer, Slice};
use crate::counters::add;
use crate::device::Device;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::pace::{Load, Pace, Part};
use crate::profile::{Queries, Timed};
use crate::program::{self, Copy, Step};

/// Dispatches recorded once, with their bind groups, and run many times.
pub struct Program {
    device: Device,
    steps: Vec<Recorded>,
    /// One for each step.
    groups: Vec<wgpu::BindGroup>,
    /// The parameters of all steps, one after the other. Those of a step that can be divided end with a zero.
    params: Vec<u8>,
    page: Option<Page>,
    pace: Pace,
}

/// A step with all that its encoding needs but the bind group.
struct Recorded {
    label: Arc<str>,
    kernel: Arc<Kernel>,
    parts: Vec<Slice>,
    params: Range<usize>,
    /// There is nothing to dispatch. The step is kept, so that its number is what the caller knows.
    empty: bool,
    /// The step before has the same pipeline.
    same_pipeline: bool,
    /// Where its parameters lie in the page: once for each of its parts.
    places: Option<Places>,
}

/// Places in a page.
#[derive(Debug, Clone, Copy)]
struct Places {
    first: u32,
    stride: u32,
    count: u32,
}

/// The uniform that holds the parameters of steps that do not take them as immediates.
struct Page {
    raw: wgpu::Buffer,
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
            groups: Vec::new(),
            params: Vec::new(),
            page: None,
            pace: Pace::new(Vec::new(), device.inner.slice),
        };
        let mut loads = Vec::with_capacity(steps.len());
        let mut last = None;
        for step in steps {
            step.check(device)?;
            let parts = step.parts(device)?;
            loads.push(Load::new(device.caps(), &step, parts.iter().map(|part| part.bytes).sum()));
            let start = program.params.len();
            program.params.extend(&step.params);
            program.params.extend([0; 4].iter().filter(|_| step.kernel.divisible()));
            let (empty, id) = (step.groups.contains(&0), Some(step.kernel.id()));
            let same_pipeline = !empty && last == id;
            last = if empty { last } else { id };
            program.steps.push(Recorded {
                label: step.label,
                kernel: step.kernel,
                parts,
                params: start..program.params.len(),
                empty,
                same_pipeline,
                places: None,
            });
        }
        program.pace = Pace::new(loads, device.inner.slice);
        program.place_params()?;
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

    /// Replaces one buffer by another in every step. Bind groups are made anew.
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
            let group = self.group(step, &parts, self.page.as_ref().map(|page| &page.raw))?;
            changed.push((i, parts, group));
        }
        for (i, parts, group) in changed {
            (self.steps[i].parts, self.groups[i]) = (parts, group);
        }
        Ok(())
    }

    /// Sets one word of a step's parameters from the next run on. Places that do not exist are ignored.
    pub fn set_param(&mut self, step: usize, byte_offset: usize, word: [u8; 4]) {
        let Some(recorded) = self.steps.get(step) else { return };
        if byte_offset.saturating_add(4) > recorded.params.len() {
            return;
        }
        let at = recorded.params.start + byte_offset;
        if self.params[at..at + 4] == word {
            return;
        }
        self.params[at..at + 4].copy_from_slice(&word);
        let (Some(page), Some(places)) = (&mut self.page, recorded.places) else { return };
        for part in 0..places.count {
            let at = (places.first + part * places.stride) as usize + byte_offset;
            page.bytes[at..at + 4].copy_from_slice(&word);
            page.dirty =
                if page.dirty.is_empty() { at..at + 4 } else { page.dirty.start.min(at)..page.dirty.end.max(at + 4) };
        }
    }

    /// The bind group of a step that binds these parts, with its parameters in that page.
    fn group(&self, step: &Recorded, parts: &[Slice], page: Option<&wgpu::Buffer>) -> Result<wgpu::BindGroup> {
        self.device.group(&step.kernel.layout, &step.kernel.shape, parts, page, &step.label)
    }

    /// Gives the parameters that lie in the page their places, one for each part. The page becomes another buffer, and bind
    /// groups are made, if there is none yet or it is too small.
    fn place_params(&mut self) -> Result<()> {
        let align = self.device.inner.limits.min_uniform_buffer_offset_alignment.max(16) as usize;
        let (mut bytes, mut end) = (Vec::new(), 0);
        let mut place = |(step, count): (&Recorded, u32)| {
            let (_, bound) = step.kernel.shape.sizes?;
            let stride = step.params.len().next_multiple_of(align);
            let places = Places { first: bytes.len() as u32, stride: stride as u32, count };
            for _ in 0..count {
                end = end.max(bytes.len() + bound as usize);
                bytes.extend(&self.params[step.params.clone()]);
                bytes.resize(bytes.len().next_multiple_of(align), 0);
            }
            Some(places)
        };
        let places: Vec<Option<Places>> = self.steps.iter().zip(self.pace.counts()).map(&mut place).collect();
        for part in (0..self.pace.submissions()).flat_map(|i| self.pace.cut(i)).filter(|part| part.number > 0) {
            let Some(places) = places[part.step] else { continue };
            let end = (places.first + part.number * places.stride) as usize + self.steps[part.step].params.len();
            bytes[end - 4..end].copy_from_slice(&part.first.to_le_bytes());
        }
        bytes.resize(end.max(bytes.len()), 0);
        let dirty = 0..bytes.len();
        if let Some(page) = self.page.as_mut().filter(|page| bytes.len() as u64 <= page.raw.size()) {
            (page.bytes, page.dirty) = (bytes, dirty);
        } else {
            // what has grown once may grow again
            let size = bytes.len() as u64 * if self.page.is_some() { 2 } else { 1 };
            let raw = if bytes.is_empty() { None } else { Some(self.device.page(size)?) };
            let groups = self.steps.iter().map(|step| self.group(step, &step.parts, raw.as_ref()));
            self.groups = groups.collect::<Result<_>>()?;
            self.page = raw.map(|raw| Page { raw, bytes, dirty });
        }
        self.steps.iter_mut().zip(places).for_each(|(step, places)| step.places = places);
        Ok(())
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
        if self.pace.update() && self.page.is_some() {
            let counts = self.pace.counts();
            let moved = |(step, count): (&Recorded, &u32)| step.places.is_some_and(|places| places.count != *count);
            if self.steps.iter().zip(&counts).any(moved) {
                self.place_params()?;
            }
        }
        device.scoped("run", || {
            let start = Instant::now();
            self.write_page();
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
                    self.encode(&mut encoder, cut);
                }
            }
            after.iter().for_each(|copy| encode_copy(&mut encoder, copy));
            device.submit(encoder);
            self.pace.time(&device.inner.queue, start);
        })
    }

    fn write_page(&mut self) {
        if let Some(page) = self.page.as_mut().filter(|page| !page.dirty.is_empty()) {
            let dirty = std::mem::take(&mut page.dirty);
            self.device.inner.queue.write_buffer(&page.raw, dirty.start as u64, &page.bytes[dirty]);
        }
    }

    /// All dispatches of a submission in one pass.
    fn encode(&self, encoder: &mut wgpu::CommandEncoder, parts: &[Part]) {
        let desc = wgpu::ComputePassDescriptor { label: Some("kiln pass"), timestamp_writes: None };
        let mut pass = encoder.begin_compute_pass(&desc);
        let (mut first, mut count) = (true, 0);
        for part in parts.iter().filter(|part| !self.steps[part.step].empty) {
            self.encode_part(&mut pass, part, first);
            (first, count) = (false, count + 1);
        }
        add(&self.device.inner.tally.dispatches, count);
    }

    #[inline]
    fn encode_part(&self, pass: &mut wgpu::ComputePass<'_>, part: &Part, first: bool) {
        let step = &self.steps[part.step];
        let again = part.number > 0;
        if first || !(again || step.same_pipeline) {
            pass.set_pipeline(&step.kernel.pipeline);
        }
        let group = &self.groups[part.step];
        match step.places {
            Some(places) => pass.set_bind_group(0, group, &[places.first + part.number * places.stride]),
            None => {
                if first || !again {
                    pass.set_bind_group(0, group, &[]);
                }
                if !step.params.is_empty() {
                    pass.set_immediates(0, &self.params[step.params.clone()]);
                }
                if again {
                    pass.set_immediates(step.params.len() as u32 - 4, &part.first.to_le_bytes());
                }
            }
        }
        let [x, y, z] = part.groups;
        pass.dispatch_workgroups(x, y, z);
    }

    /// Each dispatch in a pass of its own, timed. Returns the encoder that goes on.
    fn encode_timed(&self, mut encoder: wgpu::CommandEncoder, cut: &[Part]) -> wgpu::CommandEncoder {
        let (device, inner) = (&self.device, &self.device.inner);
        let parts: Vec<&Part> = cut.iter().filter(|part| !self.steps[part.step].empty).collect();
        let timed = |part: &Part| -> Timed {
            let step = &self.steps[part.step];
            (step.label.clone(), step.kernel.file(), part.groups)
        };
        if parts.is_empty() {
            return encoder;
        }
        if inner.caps.timestamps {
            let queries = Queries::new(&inner.device, parts.len());
            for (i, part) in parts.iter().enumerate() {
                let label = Some(&*self.steps[part.step].label);
                let desc = wgpu::ComputePassDescriptor { label, timestamp_writes: Some(queries.writes(i)) };
                self.encode_part(&mut encoder.begin_compute_pass(&desc), part, true);
            }
            queries.resolve(&mut encoder);
            add(&inner.tally.dispatches, parts.len() as u64);
            device.submit(encoder);
            inner.profiler.push(
                &inner.device,
                inner.queue.get_timestamp_period(),
                queries,
                parts.into_iter().map(timed).collect(),
            );
        } else {
            device.submit(encoder);
            let _ = inner.device.poll(wgpu::PollType::wait_indefinitely());
            for (i, part) in parts.into_iter().enumerate() {
                let start = Instant::now();
                let mut encoder = device.encoder("kiln timed");
                self.encode(&mut encoder, std::slice::from_ref(part));
                device.submit(encoder);
                let _ = inner.device.poll(wgpu::PollType::wait_indefinitely());
                inner.profiler.push_host(timed(part), start, i == 0);
            }
        }
        device.encoder("kiln run")
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
