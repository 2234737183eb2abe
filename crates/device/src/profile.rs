//! Timing: when profiling is on, every dispatch has a pass of its own with a timestamp at both ends. Where the device
//! has no timestamps, every dispatch is waited for instead, and the host's clock is read.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Instant;

use crate::device::{Device, lock};

/// Batches on their way before they are collected, so that their buffers do not pile up.
const BATCHES: usize = 64;
/// Events kept; later ones are only counted.
const EVENTS: usize = 1 << 20;

/// One dispatch, timed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The step's label.
    pub label: Arc<str>,
    /// The kernel's name.
    pub kernel: Arc<str>,
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
    /// When it began, in ns on the clock that was used.
    pub start: f64,
    /// How long it ran, in ns.
    pub duration: f64,
}

/// What a profile was measured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// Timestamps on the device.
    #[default]
    Device,
    /// The host's clock around each dispatch, with the cost of submitting and waiting.
    Host,
}

/// The dispatches since profiling began or a profile was taken.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    /// What they were measured with.
    pub clock: Clock,
    /// The dispatches in the order of submission.
    pub events: Vec<Event>,
    /// Dispatches past the number that is kept.
    pub dropped: u64,
}

impl Profile {
    /// The sum of all durations in ns.
    pub fn total(&self) -> f64 {
        self.events.iter().map(|event| event.duration).sum()
    }

    /// A table for people: one line a label with count, total, mean and share, the longest first.
    pub fn table(&self) -> String {
        let mut rows: HashMap<&str, (u64, f64)> = HashMap::new();
        for event in &self.events {
            let row = rows.entry(&event.label).or_default();
            *row = (row.0 + 1, row.1 + event.duration);
        }
        let mut rows: Vec<(&str, (u64, f64))> = rows.into_iter().collect();
        rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1).then(a.0.cmp(b.0)));
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).clamp(6, 60);
        let total = self.total().max(f64::MIN_POSITIVE);
        let clock = if self.clock == Clock::Host { " (host clock)" } else { "" };
        let mut out = format!(
            "{:width$}  {:>7}  {:>10}  {:>9}  {:>6}{clock}\n",
            "kernel", "count", "total ms", "mean µs", "share"
        );
        for (label, (count, ns)) in rows {
            let (ms, mean, share) = (ns / 1e6, ns / 1e3 / count as f64, 100.0 * ns / total);
            let _ = writeln!(out, "{label:width$}  {count:>7}  {ms:>10.3}  {mean:>9.2}  {share:>5.1}%");
        }
        out
    }

    /// Writes a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        let origin = self.events.iter().map(|event| event.start).fold(f64::INFINITY, f64::min);
        writeln!(file, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        write!(file, r#"{{"name":"process_name","ph":"M","pid":1,"tid":1,"args":{{"name":"kiln"}}}}"#)?;
        for event in &self.events {
            let (name, kernel) = (escape(&event.label), escape(&event.kernel));
            let (ts, dur, [x, y, z]) = ((event.start - origin) / 1e3, event.duration / 1e3, event.groups);
            write!(
                file,
                ",\n{{\"name\":\"{name}\",\"cat\":\"kernel\",\"ph\":\"X\",\"ts\":{ts:.3},\"dur\":{dur:.3},\"pid\":1,\"tid\":1,\
                 \"args\":{{\"kernel\":\"{kernel}\",\"groups\":\"{x} {y} {z}\"}}}}"
            )?;
        }
        writeln!(file, "\n]}}")?;
        file.flush()
    }
}

/// A string inside JSON quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// A dispatch that is being timed: label, kernel, groups.
pub(crate) type Timed = (Arc<str>, Arc<str>, [u32; 3]);

/// Timestamps of one submission on their way to the host.
#[derive(Debug)]
struct Batch {
    staging: wgpu::Buffer,
    steps: Vec<Timed>,
}

/// What is being profiled.
#[derive(Debug, Default)]
pub(crate) struct Profiler {
    on: AtomicBool,
    /// When the first dispatch was timed by the host.
    origin: OnceLock<Instant>,
    state: Mutex<(Vec<Batch>, Profile)>,
}

/// The queries of one submission.
pub(crate) struct Queries {
    pub(crate) set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    bytes: u64,
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
        let mut state = lock(&self.state);
        state.0.push(Batch { staging: queries.staging, steps });
        if state.0.len() >= BATCHES {
            collect(device, period, &mut state);
        }
    }

    /// Remembers a dispatch that the host timed.
    pub(crate) fn push_host(&self, step: Timed, start: Instant) {
        let mut state = lock(&self.state);
        state.1.clock = Clock::Host;
        let start_ns = start.duration_since(*self.origin.get_or_init(|| start)).as_nanos() as f64;
        keep(&mut state.1, step, start_ns, start.elapsed().as_nanos() as f64);
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
        profile.events.push(Event { label, kernel, groups, start, duration });
    } else {
        profile.dropped += 1;
    }
}

/// Reads the timestamps of all batches. A batch that cannot be read (a lost device) is left out.
fn collect(device: &wgpu::Device, period: f32, (batches, profile): &mut (Vec<Batch>, Profile)) {
    for Batch { staging, steps } in batches.drain(..) {
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
        for (i, step) in steps.into_iter().enumerate() {
            let (start, end) = (tick(2 * i), tick(2 * i + 1));
            let ns = |ticks: u64| ticks as f64 * f64::from(period);
            keep(profile, step, ns(start), ns(end.saturating_sub(start)));
        }
    }
}

impl Device {
    /// Turns profiling on or off. While it is on, dispatches are timed one by one, which is slower in all.
    pub fn profile(&self, on: bool) {
        self.inner.profiler.on.store(on, Relaxed);
    }

    /// What was timed since profiling was turned on or a profile was taken. Waits for the device.
    pub fn take_profile(&self) -> Profile {
        self.inner.profiler.take(&self.inner.device, self.inner.queue.get_timestamp_period())
    }
}
