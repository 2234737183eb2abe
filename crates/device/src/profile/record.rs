//! What was measured: tables of it for people, traces for Perfetto.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// One dispatch, timed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The step's label.
    pub label: Arc<str>,
    /// What the kernel's source was called when it was made: the shader file, for Kiln's own, and so which variant ran.
    pub kernel: Arc<str>,
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
    /// The submission that it was part of, counted from the first of a profile.
    pub submission: u64,
    /// When it began, in ns on the clock that was used.
    pub start: f64,
    /// How long it ran, in ns.
    pub duration: f64,
}

/// Something that the host did.
#[derive(Debug, Clone, PartialEq)]
pub struct HostEvent {
    /// What it was.
    pub name: &'static str,
    /// When it began, in ns since the first of a profile.
    pub start: f64,
    /// How long it took, in ns, other spans within it included.
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
    /// The dispatches in the order of submission. A long one is cut into several.
    pub events: Vec<Event>,
    /// How many submissions they came in.
    pub submissions: u64,
    /// What the host did, in the order in which it ended.
    pub host: Vec<HostEvent>,
    /// What to add to a dispatch's start to have it on the clock of the host's events: the least with which no dispatch
    /// begins before it was submitted.
    pub offset: f64,
    /// Dispatches and spans past the number that is kept.
    pub dropped: u64,
}

impl Profile {
    /// The sum of all durations in ns.
    pub fn total(&self) -> f64 {
        self.events.iter().map(|event| event.duration).sum()
    }

    /// The longest dispatch and the longest submission, in ns. By the host's clock, what submitting each dispatch by
    /// itself costs is counted as well.
    pub fn longest(&self) -> [f64; 2] {
        let mut longest = [0.0_f64; 2];
        for events in self.events.chunk_by(|a, b| a.submission == b.submission) {
            let ends = events.iter().map(|event| event.start + event.duration).fold(0.0, f64::max);
            let all = ends - events.iter().map(|event| event.start).fold(f64::INFINITY, f64::min);
            longest[0] = events.iter().map(|event| event.duration).fold(longest[0], f64::max);
            longest[1] = longest[1].max(all);
        }
        longest
    }

    /// Dispatches by label: count and ns, the longest first.
    pub fn by_label(&self) -> Vec<(&str, u64, f64)> {
        let mut rows: HashMap<&str, (u64, f64)> = HashMap::new();
        for event in &self.events {
            let row = rows.entry(&event.label).or_default();
            *row = (row.0 + 1, row.1 + event.duration);
        }
        let mut rows: Vec<_> = rows.into_iter().map(|(label, (count, ns))| (label, count, ns)).collect();
        rows.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(b.0)));
        rows
    }

    /// A table for people: one line a label with count, total, mean and share, the longest first.
    pub fn table(&self) -> String {
        let rows = self.by_label();
        let width = rows.iter().map(|(label, ..)| label.chars().count()).max().unwrap_or(0).clamp(6, 60);
        let total = self.total().max(f64::MIN_POSITIVE);
        let clock = if self.clock == Clock::Host { " (host clock)" } else { "" };
        let mut out = format!(
            "{:width$}  {:>7}  {:>10}  {:>9}  {:>6}{clock}\n",
            "kernel", "count", "total ms", "mean µs", "share"
        );
        for (label, count, ns) in rows {
            let (ms, mean, share) = (ns / 1e6, ns / 1e3 / count as f64, 100.0 * ns / total);
            let _ = writeln!(out, "{label:width$}  {count:>7}  {ms:>10.3}  {mean:>9.2}  {share:>5.1}%");
        }
        out
    }

    /// What the host did, by name: count and ns, without other spans within. The longest first.
    pub fn host_times(&self) -> Vec<(&'static str, u64, f64)> {
        let mut order: Vec<&HostEvent> = self.host.iter().collect();
        order.sort_by(|a, b| a.start.total_cmp(&b.start).then(b.duration.total_cmp(&a.duration)));
        let mut times: HashMap<&'static str, (u64, f64)> = HashMap::new();
        let mut open: Vec<&HostEvent> = Vec::new();
        for event in order {
            open.retain(|outer| outer.start + outer.duration > event.start);
            if let Some(outer) = open.last() {
                times.entry(outer.name).or_default().1 -= event.duration;
            }
            let time = times.entry(event.name).or_default();
            *time = (time.0 + 1, time.1 + event.duration);
            open.push(event);
        }
        let mut rows: Vec<_> = times.into_iter().map(|(name, (count, ns))| (name, count, ns)).collect();
        rows.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(b.0)));
        rows
    }

    /// Writes a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        let dispatches = self.events.iter().map(|event| event.start + self.offset);
        let origin = dispatches.chain(self.host.iter().map(|event| event.start)).fold(f64::INFINITY, f64::min);
        writeln!(file, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        write!(file, r#"{{"name":"process_name","ph":"M","pid":1,"tid":1,"args":{{"name":"kiln"}}}}"#)?;
        for (tid, name) in [(1, "device"), (2, "host")] {
            write!(
                file,
                ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\"args\":{{\"name\":\"{name}\"}}}}"
            )?;
        }
        for event in &self.events {
            let (name, kernel) = (escape(&event.label), escape(&event.kernel));
            let ts = (event.start + self.offset - origin) / 1e3;
            let (dur, [x, y, z]) = (event.duration / 1e3, event.groups);
            write!(
                file,
                ",\n{{\"name\":\"{name}\",\"cat\":\"kernel\",\"ph\":\"X\",\"ts\":{ts:.3},\"dur\":{dur:.3},\"pid\":1,\"tid\":1,\
                 \"args\":{{\"kernel\":\"{kernel}\",\"groups\":\"{x} {y} {z}\"}}}}"
            )?;
        }
        for event in &self.host {
            let (name, ts, dur) = (event.name, (event.start - origin) / 1e3, event.duration / 1e3);
            write!(
                file,
                ",\n{{\"name\":\"{name}\",\"cat\":\"host\",\"ph\":\"X\",\"ts\":{ts:.3},\"dur\":{dur:.3},\"pid\":1,\"tid\":2}}"
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

#[cfg(test)]
mod tests {
    use super::{Event, HostEvent, Profile};

    #[test]
    fn a_submission_lasts_from_its_first_dispatch_to_its_last() {
        let event = |submission, start, duration| Event {
            label: "x".into(),
            kernel: "x".into(),
            groups: [1; 3],
            submission,
            start,
            duration,
        };
        let events = vec![event(0, 10.0, 5.0), event(0, 16.0, 2.0), event(1, 100.0, 1.0), event(1, 103.0, 6.0)];
        assert_eq!(Profile { events, ..Profile::default() }.longest(), [6.0, 9.0]);
        assert_eq!(Profile::default().longest(), [0.0; 2]);
    }

    #[test]
    fn a_span_within_another_counts_once() {
        let event = |name, start, duration| HostEvent { name, start, duration };
        let host = vec![
            event("inner", 2.0, 3.0),
            event("inner", 6.0, 1.0),
            event("outer", 0.0, 10.0),
            event("outer", 20.0, 5.0),
        ];
        let profile = Profile { host, ..Profile::default() };
        assert_eq!(profile.host_times(), [("outer", 2, 11.0), ("inner", 2, 4.0)]);
    }
}
