//! `kiln bench`: how fast this adapter is, kernel by kernel and step by step. Nothing is timed before its answer is
//! known to be right.

mod ab;
mod clock;
mod compare;
mod data;
mod json;
mod longest;
mod models;
mod op;
mod ops;
mod peak;
mod report;
mod row;
mod run;
mod subject;
mod twin;
mod wgsl;

use std::io::Write as _;
use std::path::Path;

use clap::Subcommand;
use kiln::prelude::*;

use crate::draw::{Ink, say, wrapped};
use crate::failure::{Failure, Result};
use op::Op;
use peak::{Peaks, size_name};
use row::round;

/// What `kiln bench` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what can be measured: ops by family, axes, default sizes.
    List,
    /// Measure this adapter's peaks: arithmetic, bandwidth, a dispatch.
    Peak(PeakArgs),
    /// Measure ops: answers checked, GPU and wall time, percent of the peaks.
    Run(run::Args),
    /// Compare two saved runs (JSON lines); exit status 1 if one is slower.
    Compare(compare::Args),
    /// Measure two variants or two settings in turn, A B A B, in one process.
    Ab(ab::Args),
    /// Turn a saved run (JSON lines) into one HTML page with a roofline.
    Report(report::Args),
    /// Measure a WGSL file of your own.
    Wgsl(wgsl::Args),
}

/// Arguments of `kiln bench peak`.
#[derive(clap::Args)]
pub(crate) struct PeakArgs {
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 0.2, value_parser = seconds, allow_negative_numbers = true)]
    time: f64,
    /// One JSON line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::List => list(),
        Command::Peak(args) => peak(args),
        Command::Run(args) => run::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Ab(args) => ab::run(args),
        Command::Report(args) => report::run(args),
        Command::Wgsl(args) => wgsl::run(args),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.001..=600.0).contains(&value) => Ok(value),
        _ => Err("must be a number of seconds from 0.001 to 600".into()),
    }
}

fn list() -> Result<()> {
    let ink = Ink::stdout();
    let mut family = "";
    for op in Op::all() {
        if op.family != family {
            family = op.family;
            say(format_args!("{}", ink.strong(family)));
        }
        say(format_args!("  {:<20} {}", op.name, op.about));
        let sizes: Vec<String> =
            op.ladder.iter().map(|size| size.iter().map(usize::to_string).collect::<Vec<_>>().join("x")).collect();
        let dtypes = if op.half { "f32, f16" } else { "f32" };
        let indent = " ".repeat(23);
        say(ink.faint(&format!("{indent}{}; {dtypes}", op.axes.join("x"))));
        say(ink.faint(&format!("{indent}{}", wrapped(&sizes.join(" "), &indent, 80 - indent.len()))));
    }
    say("The default is the size that this adapter should do in some 20 ms; --size gives another.");
    Ok(())
}

/// A sentence that belongs to every figure of a software adapter.
fn note(device: &Device) -> Option<&'static str> {
    device.caps().is_cpu().then_some("This is a software adapter: the numbers are its own and say nothing of a GPU.")
}

fn peak(args: &PeakArgs) -> Result<()> {
    let device = Device::open()?;
    let peaks = Peaks::measure(&device, args.time, true)?;
    let machine = row::Machine::of(&device);
    if args.json {
        let mut line = json::Object::default();
        peaks.write(&mut line);
        machine.write(&mut line);
        say(line.line());
        return Ok(());
    }
    let ink = Ink::stdout();
    say(format_args!("{} ({}, {})", ink.strong(&machine.adapter), machine.backend, machine.driver));
    say(format_args!("  multiply-add f32  {:>9} GFLOP/s", round(peaks.f32)));
    match peaks.f16 {
        Some(rate) => say(format_args!("  multiply-add f16  {:>9} GFLOP/s", round(rate))),
        None => say("  multiply-add f16          no half floats"),
    }
    if let Some(rate) = peaks.matrix {
        say(format_args!("  matrix units      {:>9} GFLOP/s, f16 operands and f32 sums", round(rate)));
    }
    say(format_args!(
        "  dispatch          {:>9} µs more in a pass; {} µs until one is seen done",
        round(peaks.dispatch),
        round(peaks.round_trip)
    ));
    say(ink.faint("  GB/s of a buffer of      copy      read     write"));
    for size in &peaks.bandwidth {
        let cell = |v: Option<f64>| v.map_or("–".into(), round);
        let cells = [Some(size.copy), size.read, size.write].map(|v| format!("{:>9}", cell(v)));
        say(format_args!("  {:>18} {}", size_name(size.bytes), cells.join(" ")));
    }
    note(&device).into_iter().for_each(say);
    Ok(())
}

/// Lines for a file or for the screen.
struct Out(Option<(std::fs::File, std::path::PathBuf)>);

impl Out {
    fn open(path: Option<&Path>) -> Result<Self> {
        let create = |path: &Path| match std::fs::File::create(path) {
            Ok(file) => Ok((file, path.to_owned())),
            Err(why) => Err(Failure::Write { path: path.to_owned(), why }),
        };
        Ok(Self(path.map(create).transpose()?))
    }

    fn line(&mut self, text: &str) -> Result<()> {
        match &mut self.0 {
            None => say(text),
            Some((file, path)) => {
                writeln!(file, "{text}").map_err(|why| Failure::Write { path: path.clone(), why })?;
            }
        }
        Ok(())
    }
}

/// The lines of a file of results.
fn lines(path: &Path) -> Result<Vec<String>> {
    let unread = |why: std::io::Error| Failure::Usage(format!("cannot read {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(unread)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The rows of a file of results, and its other lines.
fn rows(path: &Path) -> Result<(Vec<row::Row>, Vec<String>)> {
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    for (i, line) in lines(path)?.into_iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match (row::Row::read(&line), json::read(&line)) {
            (Some(row), _) => rows.push(row),
            (None, Some(members)) if members.get("kind") == Some(&json::Value::Text("peaks".into())) => {
                others.push(line)
            }
            _ => {
                let text = format!("{}:{}: no line of `kiln bench run --format jsonl`", path.display(), i + 1);
                return Err(Failure::Usage(text));
            }
        }
    }
    if rows.is_empty() {
        return Err(Failure::Usage(format!("{} has no rows", path.display())));
    }
    Ok((rows, others))
}
