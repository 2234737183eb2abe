//! `kiln bench ab`: two variants, or two settings, measured in turn in one process.

use kiln::gpu::Options;
use kiln::prelude::*;

use super::clock::{Paired, interleave};
use super::compare::Verdict;
use super::op::{Case, Op};
use super::peak::Peaks;
use super::row::round;
use super::run::dtypes;
use super::subject::Subject;
use super::{note, seconds};
use crate::draw::{Ink, say};
use crate::failure::{Failure, Result};

/// Arguments of `kiln bench ab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The op.
    op: String,
    /// Its size [default: some 20 ms of work for this adapter].
    #[arg(long, allow_hyphen_values = true)]
    size: Option<String>,
    /// f32 or f16.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Given twice: the two variants (`auto`: the library's
    /// choice); given once: that one on both sides.
    #[arg(long, verbatim_doc_comment)]
    variant: Vec<String>,
    /// Given twice: the two settings, as in `--set fusion=on
    /// --set fusion=off`; there are fusion, checks,
    /// immediates and subgroups.
    #[arg(long, value_name = "NAME=on|off", verbatim_doc_comment)]
    set: Vec<String>,
    /// Seconds for both together.
    #[arg(long, default_value_t = 2.0, value_parser = seconds, allow_negative_numbers = true)]
    time: f64,
    /// Compare wall times even if there are GPU times.
    #[arg(long)]
    wall: bool,
}

/// One side of the comparison.
struct Side {
    name: String,
    device: Device,
    subject: Subject,
}

impl Args {
    /// What is the same for both, and what differs.
    fn sides(&self) -> Result<[(Option<String>, Option<&str>); 2]> {
        let usage = |why: &str| Err(Failure::Usage(format!("ab compares two things: {why}")));
        let variant = |i: usize| {
            let name = self.variant.get(i).or(self.variant.first())?;
            (name != "auto").then(|| name.clone())
        };
        match (self.variant.len(), self.set.len()) {
            (2, 0) => Ok([(variant(0), None), (variant(1), None)]),
            (0 | 1, 2) => Ok([(variant(0), Some(&self.set[0])), (variant(0), Some(&self.set[1]))]),
            (2, 2) => usage("either two variants or two settings, not both"),
            _ => usage("give --variant twice, or --set twice"),
        }
    }
}

/// The name of a setting, and whether it is to be on.
fn setting(set: &str) -> Result<(&str, bool)> {
    match set.split_once('=') {
        Some((name @ ("fusion" | "checks" | "immediates" | "subgroups"), value @ ("on" | "off"))) => {
            Ok((name, value == "on"))
        }
        _ => Err(Failure::Usage(format!("--set {set}: fusion, checks, immediates or subgroups, =on or =off"))),
    }
}

/// A device with a setting.
fn device_with(set: Option<&str>) -> Result<Device> {
    let Some(set) = set else { return Ok(Device::open()?) };
    let (name, on) = setting(set)?;
    let options = Options::from_env()?;
    let options = match name {
        "checks" => Options { checked: on, ..options },
        "immediates" => Options { immediates: on, ..options },
        "subgroups" => Options { subgroups: on, ..options },
        _ => options,
    };
    let device = Device::open_with(&options)?;
    if name == "fusion" {
        device.set_fusion(on);
    }
    Ok(device)
}

/// Measures both and judges.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ops = Op::named(std::slice::from_ref(&args.op))?;
    let [op] = ops[..] else {
        return Err(Failure::Usage(format!(
            "ab measures one op, and `{}` is a family; see `kiln bench list`",
            args.op
        )));
    };
    let size = args.size.as_ref().map(|text| op.size(text)).transpose()?;
    let sides = args.sides()?;
    sides.iter().filter_map(|(_, set)| *set).try_for_each(|set| setting(set).map(drop))?;
    let mut made = Vec::new();
    let mut peaks = None;
    for (variant, set) in sides {
        let device = device_with(set)?;
        let [dtype] = dtypes(op, &args.dtype, &device)?[..] else {
            let why = match &args.dtype[..] {
                "all" => "--dtype all: ab takes one type, f32 or f16".into(),
                other => format!("{} has no rows in {other}", op.name),
            };
            return Err(Failure::Usage(why));
        };
        let sized = |size: Vec<usize>| Case { size, dtype, variant: variant.clone() };
        // what cannot be is said before anything is measured
        size.iter().try_for_each(|size| op.fits(&device, &sized(size.clone())))?;
        if peaks.is_none() {
            peaks = Some(Peaks::measure(&device, (args.time / 10.0).clamp(0.005, 0.05), false)?);
        }
        let Some(peaks) = &peaks else { continue };
        let case = sized(size.clone().unwrap_or_else(|| op.default_size(peaks, device.caps(), 20.0)));
        op.fits(&device, &case)?;
        op.ends(&case, peaks)?;
        let names = (op.variants)(device.caps(), &case);
        if let Some(name) = variant.as_ref().filter(|name| !names.contains(name)) {
            let there = ["auto".to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(", ");
            return Err(Failure::Usage(format!("{} has no variant `{name}` here; there are {there}", op.name)));
        }
        let mut subject = (op.make)(&device, &case)?;
        let error = (subject.verify)()?;
        let name = match set {
            Some(set) => set.to_owned(),
            None => subject.variant.clone(),
        };
        if error.is_nan() || error > subject.tolerance {
            say(format_args!("{name}: wrong answer, off by {error:.1e}; {:.1e} is allowed", subject.tolerance));
            return Err(Failure::Rows { wrong: 1, count: 2 });
        }
        if made.is_empty() {
            say(format_args!("{} {} {} on {}", op.name, case.shape(), args.dtype, device.caps().name));
            note(&device).into_iter().for_each(say);
        }
        made.push(Side { name, device, subject });
    }
    let [a, b] = &mut made[..] else { return Ok(()) };
    verdict(args, a, b)
}

fn verdict(args: &Args, a: &mut Side, b: &mut Side) -> Result<()> {
    let ink = Ink::stdout();
    let gpu = !args.wall && [&*a, b].iter().all(|side| side.device.caps().timestamps);
    let pair = [(&a.device, &mut a.subject), (&b.device, &mut b.subject)];
    let Paired { times: [first, second], clock, contradicted, rounds } = interleave(pair, args.time, gpu)?;
    if contradicted {
        say("The adapter's timestamps contradict the wall clock, so these are wall times.");
    }
    for (side, name, spread) in [("A", &a.name, &first), ("B", &b.name, &second)] {
        let times = [spread.median, spread.p20, spread.p80].map(round);
        say(format_args!("{side}  {name:<28} {:>9} ms   p20 {:>8}   p80 {:>8}", times[0], times[1], times[2]));
    }
    let verdict = Verdict::of(&first, &second, 1.0);
    say(format_args!(
        "{}: B takes {:.3} of A's {clock} time, {rounds} rounds in turn",
        verdict.name(ink),
        second.median / first.median
    ));
    Ok(())
}
