//! Where the time of a training step goes: on the host, on the device by kernel, and waiting.

use std::path::Path;
use std::time::Instant;

use kiln::gpu::{Clock, Profile};
use kiln::prelude::*;

use crate::draw::{Ink, say};
use crate::failure::{Failure, Result};
use crate::train::{Settings, Training};

/// What each span is, for people.
const SPANS: [(&str, &str); 8] = [
    ("differentiate", "differentiating the loss"),
    ("update expressions", "writing down the update"),
    ("walk and key", "walking the graph and finding its plan"),
    ("plan", "planning and compiling"),
    ("encode", "encoding dispatches"),
    ("submit", "submitting"),
    ("upload", "uploading"),
    ("wait", "waiting for the device"),
];

/// Trains a copy of the model for three epochs: one that compiles, one with the host's work recorded, and one with
/// every dispatch timed. Shows a table and writes a trace of the third.
pub(crate) fn run(device: &Device, settings: &Settings, train: &TensorDataset, file: &Path) -> Result<()> {
    let mut training = Training::new(device, settings.clone());
    training.epoch(train)?;
    device.wait()?;
    device.take_profile();
    device.profile_host(true);
    let start = Instant::now();
    let ran = training.epoch(train).and_then(|()| Ok(device.wait()?));
    let whole = start.elapsed().as_secs_f64() * 1e3;
    let host = device.take_profile();
    // Timing dispatches makes encoding slower, so the kernels have an epoch of their own.
    device.profile(true);
    let ran = ran.and_then(|()| training.epoch(train));
    let kernels = device.take_profile();
    device.profile(false);
    device.profile_host(false);
    ran?;

    let steps = train.len().div_ceil(settings.batch) as f64;
    say(table(Ink::stdout(), &host, &kernels, whole / steps, steps));
    kernels.write_trace(file).map_err(|why| Failure::Write { path: file.to_owned(), why })?;
    say(format_args!("Wrote {}; ui.perfetto.dev opens it.\n", file.display()));
    Ok(())
}

/// A step of `step` ms, taken apart.
fn table(ink: Ink, host: &Profile, kernels: &Profile, step: f64, steps: f64) -> String {
    let mut out = format!("{}\n", ink.strong(&format!("Where a step's {step:.3} ms go (mean of {steps} steps)")));
    let line = |name: &str, ms: f64| format!("  {name:<44} {ms:>9.3} ms {:>6.1} %\n", 100.0 * ms / step);
    out += &ink.faint("  the host\n");
    let mut rest = step;
    for (name, _, ns) in host.host_times() {
        let text = SPANS.iter().find(|(span, _)| *span == name).map_or(name, |(_, text)| text);
        let ms = ns / 1e6 / steps;
        rest -= ms;
        out += &line(text, ms);
    }
    out += &line("building expressions, batches, and the rest", rest.max(0.0));
    let clock = if kernels.clock == Clock::Host { ", each waited for" } else { "" };
    let total = kernels.total() / 1e6 / steps;
    out += &ink.faint(&format!(
        "  the device, meanwhile: {total:.3} ms in {:.1} dispatches{clock}\n",
        kernels.events.len() as f64 / steps
    ));
    for (label, count, ns) in kernels.by_label() {
        let name: String = label.chars().take(36).collect();
        out += &line(&format!("{name} ×{:.1}", count as f64 / steps), ns / 1e6 / steps);
    }
    out
}
