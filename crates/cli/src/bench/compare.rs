//! `kiln bench compare`: two saved runs, row by row.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::clock::Spread;
use super::row::{Row, round};
use super::rows;
use crate::draw::{Ink, say};
use crate::failure::{Failure, Result};

/// Arguments of `kiln bench compare`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run to compare with.
    before: PathBuf,
    /// The run to judge.
    after: PathBuf,
    /// Medians this many percent apart are the same.
    #[arg(long, default_value_t = 3.0, value_parser = percent, allow_negative_numbers = true)]
    threshold: f64,
    /// Compare wall times even if there are GPU times.
    #[arg(long)]
    wall: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 to 100".into()),
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Same,
    Faster,
    Slower,
    /// The medians differ, and the ranges of the middle repetitions overlap.
    Unsure,
}

impl Verdict {
    /// By the spreads from the 20th to the 80th percentile: apart, and by more than `threshold` percent.
    pub(super) fn of(before: &Spread, after: &Spread, threshold: f64) -> Self {
        let ratio = after.median / before.median;
        let apart = after.p20 > before.p80 || after.p80 < before.p20;
        match () {
            () if (ratio - 1.0).abs() <= threshold / 100.0 => Verdict::Same,
            () if !apart => Verdict::Unsure,
            () if ratio > 1.0 => Verdict::Slower,
            () => Verdict::Faster,
        }
    }

    pub(super) fn name(self, ink: Ink) -> String {
        match self {
            Verdict::Same => "same".into(),
            Verdict::Faster => ink.right("faster"),
            Verdict::Slower => ink.wrong("slower"),
            Verdict::Unsure => ink.faint("unsure"),
        }
    }
}

/// The time of both rows on one clock: the GPU's if both have it.
fn times(before: &Row, after: &Row, wall: bool) -> Option<(Spread, Spread, &'static str)> {
    let (a, b) = (&before.measured.as_ref()?.times, &after.measured.as_ref()?.times);
    match (a.gpu, b.gpu) {
        (Some(a), Some(b)) if !wall => Some((a, b, "gpu")),
        _ => Some((a.wall, b.wall, "wall")),
    }
}

/// Compares and tells.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ink = Ink::stdout();
    let ((before, _), (after, _)) = (rows(&args.before)?, rows(&args.after)?);
    let machine = |rows: &[Row]| rows.first().map(|row| format!("{} ({})", row.machine.adapter, row.machine.driver));
    if machine(&before) != machine(&after) {
        let names = [machine(&before), machine(&after)].map(Option::unwrap_or_default);
        say(ink.wrong(&format!("Different machines: {} and {}.", names[0], names[1])));
    }
    let mut left: BTreeMap<String, &Row> = before.iter().map(|row| (row.key(), row)).collect();
    let mut counts = BTreeMap::new();
    let mut slower = 0;
    let wide = before.iter().chain(&after).map(|row| row.key().len()).max().unwrap_or(0);
    say(ink.faint(&format!("{:<wide$} {:>9} {:>9} {:>6}  verdict", "row", "before ms", "after ms", "ratio")));
    for new in &after {
        let Some(old) = left.remove(&new.key()) else {
            say(format_args!("{:<wide$} {:>26}  only in the second run", new.key(), ""));
            continue;
        };
        let (text, verdict) = match times(old, new, args.wall) {
            Some((a, b, clock)) => {
                let verdict = Verdict::of(&a, &b, args.threshold);
                let cells = format!("{:>9} {:>9} {:>6.3}", round(a.median), round(b.median), b.median / a.median);
                slower += usize::from(verdict == Verdict::Slower);
                *counts.entry(format!("{verdict:?}").to_lowercase()).or_insert(0) += 1;
                (cells, format!("{} ({clock})", verdict.name(ink)))
            }
            // A right answer that is not there any more is worse than a slow one.
            None if new.failure.is_some() && old.failure.is_none() => {
                slower += 1;
                *counts.entry("broken".into()).or_insert(0) += 1;
                (format!("{:>26}", ""), ink.wrong("no right answer any more"))
            }
            None => (format!("{:>26}", ""), "has no time".into()),
        };
        say(format_args!("{:<wide$} {text}  {verdict}", new.key()));
    }
    for key in left.keys() {
        say(format_args!("{key:<wide$} {:>26}  only in the first run", ""));
    }
    if counts.is_empty() {
        return Err(Failure::Usage("the two runs have no row in common".into()));
    }
    let counts: Vec<String> = counts.into_iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    say(counts.join(", "));
    if slower > 0 { Err(Failure::Slower(slower)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_ask_for_spreads_that_lie_apart() {
        let spread = |p20, median, p80| Spread { median, p20, p80 };
        let before = spread(0.9, 1.0, 1.1);
        let of = |after| Verdict::of(&before, &after, 3.0);
        assert_eq!(of(spread(0.5, 1.02, 2.0)), Verdict::Same);
        assert_eq!(of(spread(1.0, 1.3, 1.4)), Verdict::Unsure);
        assert_eq!(of(spread(1.2, 1.3, 1.4)), Verdict::Slower);
        assert_eq!(of(spread(0.6, 0.7, 0.8)), Verdict::Faster);
        assert_eq!(of(spread(0.6, 0.7, 0.95)), Verdict::Unsure);
    }
}
