//! `kiln bench run`: rows of results.

use std::path::PathBuf;

use clap::ValueEnum;
use kiln::prelude::*;

use super::clock::measure;
use super::op::{Case, Op};
use super::ops::steps;
use super::peak::Peaks;
use super::row::{Format, Machine, Measured, Row, Widths};
use super::{Out, json, longest, note, seconds};
use crate::draw::say;
use crate::failure::{Failure, Result};

/// Arguments of `kiln bench run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ops or families; all of them by default.
    filter: Vec<String>,
    /// A size, such as 512x512x512; several may be given.
    #[arg(long, allow_hyphen_values = true)]
    size: Vec<String>,
    /// f32, f16, or all that there are.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// A variant by name, or `all`; else the library's choice.
    #[arg(long)]
    variant: Option<String>,
    /// Seconds for each row.
    #[arg(long, default_value_t = 0.5, value_parser = seconds, allow_negative_numbers = true)]
    time: f64,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = FormatName::Table)]
    format: FormatName,
    /// A file for the rows; a table is shown as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum FormatName {
    /// A table for a terminal.
    Table,
    /// A table for documents, with more columns.
    Markdown,
    /// A table for spreadsheets.
    Csv,
    /// A JSON object a line, for `compare`, `report` and others.
    Jsonl,
}

impl FormatName {
    fn of(self, plan: &[(&Op, Case)], variants: bool) -> Format {
        let longest = |length: &dyn Fn(&(&Op, Case)) -> usize| plan.iter().map(length).max().unwrap_or(0);
        match self {
            FormatName::Table => {
                let (op, shape) = (longest(&|(op, _)| op.name.len()), longest(&|(_, case)| case.shape().len()));
                Format::Table(Widths { op, shape: shape.max("shape".len()), variants })
            }
            FormatName::Markdown => Format::Markdown,
            FormatName::Csv => Format::Csv,
            FormatName::Jsonl => Format::JsonLines,
        }
    }
}

/// Element types by name.
pub(super) fn dtypes(op: &Op, name: &str, device: &Device) -> Result<Vec<DType>> {
    let half = op.half && device.caps().f16;
    match name {
        "f32" => Ok(vec![DType::F32]),
        "f16" if !device.caps().f16 => Err(Failure::Usage("this adapter has no half floats (f16)".into())),
        "f16" if !op.half => Ok(Vec::new()),
        "f16" => Ok(vec![DType::F16]),
        "all" if half => Ok(vec![DType::F32, DType::F16]),
        "all" => Ok(vec![DType::F32]),
        _ => Err(Failure::Usage(format!("--dtype {name}: there are f32, f16 and all"))),
    }
}

/// What `dtype` is called.
pub(super) fn dtype_name(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "f16" } else { "f32" }
}

/// Measures and writes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ops = Op::named(&args.filter)?;
    let sizes: Vec<(&Op, Vec<Vec<usize>>)> = ops
        .iter()
        .map(|op| Ok((*op, args.size.iter().map(|text| op.size(text)).collect::<Result<_>>()?)))
        .collect::<Result<_>>()?;
    let device = Device::open()?;
    // What cannot be is said before anything is measured.
    for (op, given) in &sizes {
        for dtype in dtypes(op, &args.dtype, &device)? {
            for size in given {
                let case = Case { size: size.clone(), dtype, variant: None };
                op.fits(&device, &case)?;
                cases(op, case, args, &device)?;
            }
            // which variants there are may depend on the size, which the peaks decide
            let tried = op.ladder.iter().filter(|_| given.is_empty()).map(|size| {
                let case = Case { size: size.to_vec(), dtype, variant: None };
                cases(op, case, args, &device).map(drop)
            });
            let refused: Vec<Failure> = tried.filter_map(Result::err).collect();
            if refused.len() == op.ladder.len() {
                refused.into_iter().next().map_or(Ok(()), Err)?;
            }
        }
    }
    if args.dtype == "f16" && ops.iter().all(|op| !op.half) {
        return Err(Failure::Usage("none of these ops has rows in f16".into()));
    }
    let peaks = Peaks::measure(&device, (args.time / 5.0).clamp(0.005, 0.2), false)?;
    let mut plan = Vec::new();
    for (op, given) in sizes {
        let named = args.filter.iter().any(|word| word == op.name);
        if let Some(why) = steps::left_out(op, &device).filter(|_| !named) {
            eprint_line(&format!("{} is left out: {why}.", op.name));
            continue;
        }
        let given = if given.is_empty() { vec![op.default_size(&peaks, device.caps(), 20.0)] } else { given };
        for size in given {
            for dtype in dtypes(op, &args.dtype, &device)? {
                let case = Case { size: size.clone(), dtype, variant: None };
                op.fits(&device, &case)?;
                op.ends(&case, &peaks)?;
                plan.extend(cases(op, case, args, &device)?.into_iter().map(|case| (op, case)));
            }
        }
    }
    if plan.is_empty() {
        let text = match &args.variant {
            Some(name) => format!("none of these ops has a variant `{name}` here"),
            None => "there is nothing to measure".into(),
        };
        return Err(Failure::Usage(text));
    }
    write(args, &device, &peaks, plan)
}

/// The case with each variant that is asked for.
fn cases(op: &Op, case: Case, args: &Args, device: &Device) -> Result<Vec<Case>> {
    let Some(wanted) = &args.variant else { return Ok(vec![case]) };
    if wanted == "auto" {
        return Ok(vec![case]);
    }
    let names = (op.variants)(device.caps(), &case);
    let known = names.contains(wanted);
    let with = |name: String| Case { variant: Some(name), ..case.clone() };
    match wanted.as_str() {
        "all" => Ok(std::iter::once(case.clone()).chain(names.into_iter().map(with)).collect()),
        _ if known => Ok(vec![with(wanted.clone())]),
        _ if names.is_empty() && args.filter.iter().any(|word| word == op.name) => {
            Err(Failure::Usage(format!("{} has one algorithm only, which is `auto`", op.name)))
        }
        _ if args.filter.iter().any(|word| word == op.name) => Err(Failure::Usage(format!(
            "{} has no variant `{wanted}` here; there are auto, {}",
            op.name,
            names.join(", ")
        ))),
        _ => Ok(Vec::new()),
    }
}

fn eprint_line(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn write(args: &Args, device: &Device, peaks: &Peaks, plan: Vec<(&Op, Case)>) -> Result<()> {
    let variants = args.variant.is_some();
    let format = args.format.of(&plan, variants);
    let shown = if args.out.is_some() { FormatName::Table.of(&plan, variants) } else { format };
    let people = matches!(shown, Format::Table(_) | Format::Markdown);
    let machine = Machine::of(device);
    let mut file = Out::open(args.out.as_deref())?;
    let mut to_file = |text: &str| if args.out.is_some() { file.line(text) } else { Ok(()) };
    if people {
        let Machine { adapter, driver, backend, version, .. } = &machine;
        say(format_args!("{adapter} ({backend}, {driver}), kiln {version}"));
        say(match shown {
            Format::Table(_) => "Medians of gpu time, or ~ of wall time; ± half of where the middle 60 % lie.",
            _ => "Rates are of gpu time where it is there, else of wall time.",
        });
        note(device).into_iter().for_each(say);
        say("");
    }
    let mut header = json::Object::default();
    peaks.write(&mut header);
    machine.write(&mut header);
    if format == Format::JsonLines {
        to_file(&header.line())?;
    }
    if shown == Format::JsonLines {
        say(header.line());
    }
    shown.head().into_iter().for_each(say);
    if let Some(head) = format.head() {
        to_file(&head)?;
    }
    let mut rows = Vec::new();
    for (op, case) in plan {
        let row = one(device, op, &case, peaks, args.time)?;
        say(shown.row(&row));
        to_file(&format.row(&row))?;
        rows.push(row);
        // A row's plans and buffers do not stay in the way of the next.
        device.clear_plans();
        device.trim();
    }
    if let Some(text) = longest::sentence(&rows).filter(|_| people) {
        say(format_args!("\n{text}"));
    }
    let wrong = rows.iter().filter(|row| row.failure.is_some()).count();
    if wrong > 0 {
        return Err(Failure::Rows { wrong, count: rows.len() });
    }
    Ok(())
}

/// One row. An answer that is wrong, or that the device cannot give, is a row without times.
pub(super) fn one(device: &Device, op: &Op, case: &Case, peaks: &Peaks, seconds: f64) -> Result<Row> {
    let mut row = Row {
        family: op.family.into(),
        op: op.name.into(),
        shape: case.shape(),
        dtype: dtype_name(case.dtype).into(),
        variant: case.variant.clone().unwrap_or_else(|| "auto".into()),
        measured: None,
        error: None,
        failure: None,
        machine: Machine::of(device),
    };
    match attempt(device, op, case, peaks, seconds, &mut row) {
        Ok(()) => {}
        // What was asked for does not fit this machine: the asker's to change.
        Err(failure @ Failure::Usage(_)) => return Err(failure),
        Err(Failure::Kiln(kiln::Error::Device(error))) if too_large(&error) => {
            return Err(Failure::Usage(format!("{} {}: {error}; give a smaller --size", op.name, case.shape())));
        }
        Err(failure) => row.failure = Some(failure.to_string().trim_start_matches("kiln: ").to_owned()),
    }
    Ok(row)
}

/// Whether the device has no room for what was asked.
fn too_large(error: &kiln::gpu::Error) -> bool {
    use kiln::gpu::Error;
    matches!(error, Error::Budget { .. } | Error::OutOfMemory { .. } | Error::Limit { .. })
}

fn attempt(device: &Device, op: &Op, case: &Case, peaks: &Peaks, seconds: f64, row: &mut Row) -> Result<()> {
    let mut subject = (op.make)(device, case)?;
    row.variant = subject.variant.clone();
    let error = (subject.verify)()?;
    row.error = Some(error).filter(|e| e.is_finite());
    if error.is_nan() || error > subject.tolerance {
        row.failure = Some(format!("wrong answer: off by {error:.1e}, at most {:.1e} is allowed", subject.tolerance));
        return Ok(());
    }
    let times = measure(device, &mut subject, seconds)?;
    let work = (op.work)(&case.size);
    let bytes = work.bytes(case.dtype);
    let (least, bound) = peaks.least(work.flops, bytes, case.dtype, times.dispatches);
    let percent = 100.0 * least / times.shown().0.median;
    row.measured = Some(Measured { times, flops: work.flops, bytes, percent, bound: bound.into() });
    Ok(())
}
