//! `kiln devices`: every adapter, what it offers, and which one Kiln uses.

use kiln::gpu::{AdapterInfo, AdapterKind, Caps, Device, Options, kernels};

use crate::draw::{Ink, say};
use crate::failure::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also list the kernel variants that the adapter in use takes:
    /// tuned, chosen without tuning, or put aside by their self-test.
    #[arg(long, verbatim_doc_comment)]
    kernels: bool,
}

/// Prints the list. If none of them can be used as asked, it fails with what to install or to change.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ink = Ink::stdout();
    let used = Device::open();
    let mut chosen = used.as_ref().ok().map(Device::caps);
    let mut list = Vec::new();
    for adapter in Device::adapters() {
        // Where two adapters look alike, the first is the one in use.
        if let Some(caps) = chosen.take_if(|caps| is(&adapter, caps)) {
            list.push(describe(ink, caps, true));
            continue;
        }
        let (adapter, backend) = (Some(adapter.name), Some(adapter.backend));
        list.push(match Device::open_with(&Options { adapter: adapter.clone(), backend, ..Options::default() }) {
            Ok(device) => describe(ink, device.caps(), false),
            Err(why) => format!("  {}: cannot be used: {why}\n", ink.strong(&adapter.unwrap_or_default())),
        });
    }
    for text in list {
        say(text);
    }
    let used = used?;
    if used.caps().is_cpu() {
        say("This adapter computes on the processor: all works, at a processor's pace.");
    }
    if args.kernels {
        say(choices(ink, &used));
    }
    say("KILN_ADAPTER=part-of-its-name and KILN_BACKEND=vulkan|metal|dx12 choose another.");
    Ok(())
}

fn is(adapter: &AdapterInfo, caps: &Caps) -> bool {
    (&adapter.name, &adapter.driver, adapter.backend) == (&caps.name, &caps.driver, caps.backend)
}

/// One adapter, a line for each thing that decides what runs on it and how fast.
fn describe(ink: Ink, caps: &Caps, used: bool) -> String {
    let kind = match caps.kind {
        AdapterKind::Discrete => "GPU with its own memory",
        AdapterKind::Integrated => "GPU that shares the processor's memory",
        AdapterKind::Virtual => "GPU lent to a virtual machine",
        AdapterKind::Cpu => "software adapter",
        AdapterKind::Other => "kind not known",
    };
    let (mark, note) = if used { ("*", ink.right("   Kiln uses this one")) } else { (" ", String::new()) };
    let mut out = format!("{mark} {}{note}\n", ink.strong(&caps.name));
    let mut row = |name: &str, text: String| out += &format!("    {} {text}\n", ink.faint(&format!("{name:<13}")));
    row("adapter", format!("{kind}, through {}", caps.backend));
    row("driver", caps.driver.clone());
    row("memory", format!("{} in a buffer, {} in a binding", size(caps.max_buffer), size(caps.max_binding)));
    row("bindings", format!("{} storage buffers in a kernel", caps.max_storage_buffers));
    row(
        "workgroup",
        format!("{} invocations, {} shared", caps.max_invocations, size(u64::from(caps.workgroup_memory))),
    );
    row(
        "subgroups",
        match caps.subgroup {
            Some((least, most)) if least == most => format!("of {least}"),
            Some((least, most)) => format!("of {least} to {most}"),
            None => "no".into(),
        },
    );
    row("half floats", yes_no(caps.f16));
    row("matrix units", coop(caps));
    row(
        "immediates",
        match caps.max_immediates {
            0 => "no".into(),
            bytes => format!("{bytes} bytes"),
        },
    );
    row("timestamps", yes_no(caps.timestamps));
    if caps.checked {
        row("bounds checks", "on (KILN_CHECKED)".into());
    }
    out
}

/// Verdicts, then for every family and size class the variant that is taken, and what was measured.
fn choices(ink: Ink, device: &Device) -> String {
    let mut out = format!("\n{}\n", ink.strong("Kernels"));
    for verdict in device.verdicts() {
        let (family, class) = (verdict.family, verdict.class);
        out += &match verdict.wrong {
            Some(why) => format!("    {} {family} {class}: {why}\n", ink.wrong("put aside")),
            None => format!("    {} {family} {class}, in {} ms\n", ink.faint("tested   "), verdict.took.as_millis()),
        };
    }
    let winners = device.winners();
    for family in kernels::FAMILIES {
        let trials = (family.tune)(device.caps());
        let width = trials.iter().map(|trial| trial.class.len()).max().unwrap_or_default();
        for trial in trials {
            let tuned = winners.iter().find(|w| (w.family, &w.class) == (family.name, &trial.class));
            let choice = match tuned {
                Some(w) if trial.candidates.iter().all(|candidate| candidate.name != w.variant) => {
                    format!("{}; tuned to {}, which is none of its variants", trial.heuristic, ink.wrong(&w.variant))
                }
                Some(w) if w.variant == trial.heuristic => format!("{}, tuned: {:.0} µs", w.variant, w.micros),
                Some(w) => {
                    let (variant, (other, took)) = (ink.right(&w.variant), &w.heuristic);
                    let than = if took.is_finite() { format!("took {took:.0} µs") } else { "was wrong".to_owned() };
                    format!("{variant}, tuned: {:.0} µs; {other} {than}", w.micros)
                }
                None => trial.heuristic.clone(),
            };
            out += &format!("    {} {:<width$}  {choice}\n", ink.faint(family.name), trial.class);
        }
    }
    let count = match winners.len() {
        1 => "1 class was tuned".to_string(),
        count => format!("{count} classes were tuned"),
    };
    out + &format!("    {count}; `kiln tune` measures them.\n")
}

fn yes_no(has: bool) -> String {
    if has { "yes" } else { "no" }.into()
}

fn coop(caps: &Caps) -> String {
    let float = |half: bool| if half { "f16" } else { "f32" };
    let shapes: Vec<String> = (caps.coop.iter())
        .map(|s| format!("{0}×{0} {1} → {2}", s.size, float(s.f16_operands), float(s.f16_accumulator)))
        .collect();
    if shapes.is_empty() { "no".into() } else { shapes.join(", ") }
}

/// Bytes in the largest unit that leaves at least one; the limits of some drivers are one byte short of a round number.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (bytes.max(1).ilog2() / 10).min(6);
    let text = format!("{:.1}", bytes as f64 / (1u64 << (10 * power)) as f64);
    format!("{} {}", text.trim_end_matches(".0"), units[power as usize])
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_at_a_glance() {
        let sizes = [0, 512, 32 << 10, 128 << 20, (2 << 30) - 1, 3 << 29, u64::MAX].map(size);
        assert_eq!(sizes, ["0 bytes", "512 bytes", "32 KiB", "128 MiB", "2 GiB", "1.5 GiB", "16 EiB"]);
    }
}
