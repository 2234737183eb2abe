//! The memory of a training step, as its plan has it: what it is for, and the largest tensors.

use kiln::gpu::Counters;
use kiln::prelude::*;
use kiln::{PlanMemory, TensorUse};

use crate::draw::{Ink, say};
use crate::failure::Result;
use crate::train::{Settings, Training};

/// Takes one step of a copy of the model and shows what its plan needs.
pub(crate) fn run(device: &Device, settings: &Settings, train: &TensorDataset) -> Result<()> {
    let mut training = Training::new(device, settings.clone());
    device.clear_plans();
    let rows: Vec<usize> = (0..settings.batch.min(train.len())).collect();
    training.epoch(&train.subset(&rows))?;
    let plans = device.plans();
    let Some(plan) = plans.iter().max_by_key(|plan| (plan.memory.gradients, plan.memory.total())) else {
        return Ok(());
    };
    say(table(Ink::stdout(), &plan.memory, plan.dispatches, device.counters()));
    Ok(())
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn table(ink: Ink, memory: &PlanMemory, dispatches: usize, counters: Counters) -> String {
    let mut out = format!("{}\n", ink.strong(&format!("Memory of a training step of {dispatches} dispatches")));
    let line = |name: &str, bytes: u64| format!("  {name:<52} {:>10}\n", size(bytes));
    out += &line("parameters", memory.parameters);
    out += &line("optimizer state, statistics, counters", memory.state);
    out += &line("inputs", memory.inputs);
    out += &line("buffers of everything in between", memory.workspace);
    out += &line("  the most of it that is needed at once", memory.peak);
    out += &line("  gradients of parameters, until the update", memory.gradients);
    out += &line("  activations that gradients need", memory.activations);
    out += &ink.strong(&line("all", memory.total()));
    let needed = memory.needed();
    if needed > 0 {
        let times = memory.total() as f64 / needed as f64;
        out += &format!("  {times:.2} times parameters, state, gradients and activations ({})\n", size(needed));
    }
    out += &ink.faint(&format!("  all buffers of this program: {} now\n", size(counters.live_bytes)));
    out += &ink.faint("  the largest tensors in between\n");
    for tensor in &memory.largest {
        let kind = match tensor.for_what {
            TensorUse::Activation => "activation",
            TensorUse::Gradient => "gradient",
            _ => "temporary",
        };
        let what = format!("{} {}, {kind}", tensor.op, tensor.shape);
        out += &format!("  {what:<36} {:>8}  {}\n", size(tensor.bytes), ink.faint(&tensor.at.to_string()));
    }
    out
}
