//! Timing: when profiling is on, every dispatch has a pass of its own with a timestamp at both ends. Where the device
//! has no timestamps, every dispatch is waited for instead, and the host's clock is read. What the host does meanwhile
//! is recorded as spans, by a switch of its own: timing dispatches makes encoding slower, spans do not.

mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Instant;

use crate::device::{Device, lock};
pub use record::{Clock, Event, HostEvent, Profile};

/// Batches on their way before they are collected, so that their buffers do not pile up.
const BATCHES: usize = 64;
/// Events kept; later ones are only counted.
const EVENTS: usize = 1 << 20;

/// A dispatch that is being timed: label, the kernel's file, groups.
pub(crate) type Timed = (Arc<str>, Arc<str>, [u32; 3]);

/// Timestamps of one submission on their way to the host.
#[derive(Debug)]
struct Batch {
    staging: wgpu::Buffer,
    steps: Vec<Timed>,
    /// Just before it was submitted, in ns of the host's clock.
    submitted: f64,
}

/// What is being profiled.
#[derive(Debug, Default)]
pub(crate) struct Profiler {
    on: AtomicBool,
    spans: AtomicBool,
    /// The host's zero.
    origin: OnceLock<Instant>,
    state: Mutex<(Vec<Batch>, Profile)>,
}

/// The queries of one submission.
pub(crate) struct Queries {
    pub(crate) set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    bytes: u64,
    made: Instant,
}

impl Queries {
    /// Two queries for each of `steps` dispatches.
    pub(crate) fn new(device: &wgpu::Device, steps: usize) -> Queries {
        let count = 2 * steps as u32;
        let bytes = 8 * u64::from(count);
        let label = Some("kiln timestamps");
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label, size: bytes, usage, mapped_at_creation: false })
        };
        Queries {
            set: device.create_query_set(&wgpu::QuerySetDescriptor { label, ty: wgpu::QueryType::Timestamp, count }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            bytes,
            made: Instant::now(),
        }
    }

    /// The timestamps of the pass of dispatch number `step`.
    pub(crate) fn writes(&self, step: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(2 * step as u32),
            end_of_pass_write_index: Some(2 * step as u32 + 1),
        }
    }

    /// Ends the submission: the timestamps go to the host.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..(self.bytes / 8) as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, Some(self.bytes));
    }
}

impl Profiler {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Remembers a submission whose timestamps will arrive.
    pub(crate) fn push(&self, device: &wgpu::Device, period: f32, queries: Queries, steps: Vec<Timed>) {
        let submitted = self.ns(queries.made);
        let mut state = lock(&self.state);
        state.0.push(Batch { staging: queries.staging, steps, submitted });
        if state.0.len() >= BATCHES {
            collect(device, period, &mut state);
        }
    }

    /// Remembers a dispatch that the host timed, the first of a submission or a later one.
    pub(crate) fn push_host(&self, step: Timed, start: Instant, first: bool) {
        let mut state = lock(&self.state);
        state.1.clock = Clock::Host;
        state.1.submissions += u64::from(first);
        keep(&mut state.1, step, self.ns(start), start.elapsed().as_nanos() as f64);
    }

    /// A moment on the host's clock.
    fn ns(&self, moment: Instant) -> f64 {
        let origin = *self.origin.get_or_init(|| moment);
        // The origin may be a later moment of another thread.
        moment.saturating_duration_since(origin).as_nanos() as f64
    }

    /// Waits for all timestamps and gives out what was collected.
    pub(crate) fn take(&self, device: &wgpu::Device, period: f32) -> Profile {
        // What a failed submission left cannot be mapped; its error was returned by the run.
        let _scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut state = lock(&self.state);
        collect(device, period, &mut state);
        std::mem::take(&mut state.1)
    }
}

fn keep(profile: &mut Profile, (label, kernel, groups): Timed, start: f64, duration: f64) {
    if profile.events.len() < EVENTS {
        let submission = profile.submissions.saturating_sub(1);
        profile.events.push(Event { label, kernel, groups, submission, start, duration });
    } else {
        profile.dropped += 1;
    }
}

/// Reads the timestamps of all batches. A batch that cannot be read (a lost device) is left out.
fn collect(device: &wgpu::Device, period: f32, (batches, profile): &mut (Vec<Batch>, Profile)) {
    for Batch { staging, steps, submitted } in batches.drain(..) {
        let (sender, mapped) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        let _ = device.poll(wgpu::PollType::wait_indefinitely());
        if !matches!(mapped.recv(), Ok(Ok(()))) {
            continue;
        }
        let Ok(view) = staging.get_mapped_range(..) else { continue };
        let tick = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&view[8 * i..8 * i + 8]);
            u64::from_le_bytes(word)
        };
        profile.submissions += 1;
        for (i, step) in steps.into_iter().enumerate() {
            let (start, end) = (tick(2 * i), tick(2 * i + 1));
            let ns = |ticks: u64| ticks as f64 * f64::from(period);
            if i == 0 {
                let least = submitted - ns(start);
                profile.offset = if profile.events.is_empty() { least } else { profile.offset.max(least) };
            }
            keep(profile, step, ns(start), ns(end.saturating_sub(start)));
        }
    }
}

impl Device {
    /// Turns profiling on or off. While it is on, dispatches are timed one by one, which is slower in all.
    pub fn profile(&self, on: bool) {
        self.inner.profiler.on.store(on, Relaxed);
    }

    /// Turns the recording of what the host does on or off: differentiating, finding the plan, encoding, submitting,
    /// waiting. It costs some 100 ns a span while it is on, and one look at a flag while it is off.
    pub fn profile_host(&self, on: bool) {
        self.inner.profiler.spans.store(on, Relaxed);
    }

    /// Records what the host does until the span is dropped, if that is asked for.
    pub fn span(&self, name: &'static str) -> Option<Span> {
        let on = self.inner.profiler.spans.load(Relaxed);
        on.then(|| Span { device: self.clone(), name, start: Instant::now() })
    }

    /// What was timed since profiling was turned on or a profile was taken. Waits for the device.
    pub fn take_profile(&self) -> Profile {
        self.inner.profiler.take(&self.inner.device, self.inner.queue.get_timestamp_period())
    }
}

/// Something that the host is doing, recorded when it is dropped.
#[derive(Debug)]
pub struct Span {
    device: Device,
    name: &'static str,
    start: Instant,
}

impl Drop for Span {
    fn drop(&mut self) {
        let profiler = &self.device.inner.profiler;
        let (start, duration) = (profiler.ns(self.start), self.start.elapsed().as_nanos() as f64);
        let profile = &mut lock(&profiler.state).1;
        if profile.host.len() < EVENTS {
            profile.host.push(HostEvent { name: self.name, start, duration });
        } else {
            profile.dropped += 1;
        }
    }
}
