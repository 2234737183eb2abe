//! `kiln tune`: measures the variants of kernels on this adapter and keeps the winners on disk.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kiln::gpu::{Device, Tuner};

use crate::draw::{Ink, say};
use crate::failure::{Failure, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop after so many seconds; what was measured is kept.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400), allow_negative_numbers = true)]
    limit: u64,
    /// Only this family of kernels (matmul, …).
    #[arg(long)]
    family: Option<String>,
    /// Only size classes that begin like this, such as 512x512x512.
    #[arg(long)]
    class: Option<String>,
    /// List the families and size classes, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Forget what was tuned on this adapter; measure nothing.
    #[arg(long, conflicts_with_all = ["list", "family", "class"])]
    forget: bool,
}

/// Tunes, and shows what was gained.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ink = Ink::stdout();
    let device = Device::open()?;
    if args.forget {
        device.forget_winners()?;
        say(format!("Nothing is tuned on {} any more.", device.caps().name));
        return Ok(());
    }
    let mut tuner = Tuner::new(&device).limit(Duration::from_secs(args.limit));
    if let Some(family) = &args.family {
        tuner = tuner.family(family).map_err(|why| Failure::Usage(why.to_string()))?;
    }
    if let Some(class) = &args.class {
        tuner = tuner.class(class);
    }
    let classes = tuner.classes();
    if classes.is_empty() {
        let class = args.class.as_deref().unwrap_or_default();
        return Err(Failure::Usage(format!("no size class begins with `{class}`; `kiln tune --list` names them")));
    }
    if args.list {
        classes.iter().for_each(|(family, class)| say(format!("{} {class}", ink.faint(family))));
        return Ok(());
    }
    // what cannot be kept need not be measured
    let kept = device.save_winners()?.ok_or_else(|| {
        Failure::Usage("there is no cache folder to keep the results in: set KILN_CACHE_DIR".to_owned())
    })?;
    let (count, name) = (classes.len(), &device.caps().name);
    let what = if count == 1 { "1 size class".to_owned() } else { format!("{count} size classes") };
    say(format!("Tuning {what} on {name}, for at most {} s.", args.limit));
    let bar = ProgressBar::new(classes.len() as u64);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let winners = tuner.run(|now| {
        bar.set_position(now.done as u64);
        bar.set_message(format!("{} {}: {}", now.family, now.class, now.variant));
    });
    bar.finish_and_clear();
    let winners = winners?;
    for winner in &winners {
        let (heuristic, before) = &winner.heuristic;
        let gain = match () {
            () if winner.variant == *heuristic => "as without tuning".to_string(),
            () if before.is_finite() => format!("{:.2} times as fast as {heuristic}", before / winner.micros),
            () => format!("instead of {heuristic}, whose answer is wrong here"),
        };
        let (family, class, variant) = (ink.faint(winner.family), &winner.class, ink.right(&winner.variant));
        match winner.micros.is_finite() {
            true => say(format!("{family} {class:<34} {variant} {:.0} µs, {gain}", winner.micros)),
            false => say(format!("{family} {class:<34} {}", ink.wrong("no variant gave the right answer"))),
        }
    }
    let left = classes.len() - winners.len();
    if left > 0 {
        say(format!("There was no time for {left} of {what}; --limit gives more."));
    }
    if !winners.is_empty() {
        say(format!("Kept in {}; new programs use it.", kept.display()));
    }
    Ok(())
}
