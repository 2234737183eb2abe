//! `kiln train digits`: trains, shows how well it went, and saves model, picture and checkpoint.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kiln::prelude::*;
use kiln::train::Callback;

use crate::digits::Kind;
use crate::draw::{Ink, confusion, say};
use crate::failure::{Failure, Result};
use crate::report;

/// Arguments of `kiln train digits`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model.
    #[arg(long, value_enum, default_value_t = Kind::Cnn)]
    model: Kind,
    /// Passes over the images [default: 15 for the cnn, 30 for the mlp].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000), allow_negative_numbers = true)]
    epochs: Option<u32>,
    /// Images in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    batch: u32,
    /// Adam's learning rate at first; it falls to zero.
    #[arg(long, default_value_t = 5e-3, value_parser = positive, allow_negative_numbers = true)]
    lr: f64,
    /// What weights and the order of images are drawn from.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    /// Folder for model, curves and checkpoint.
    #[arg(long, value_name = "DIR", default_value = "runs/digits")]
    out: PathBuf,
    /// Go on with the training that stopped in this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "epochs", "batch", "lr", "seed", "out", "summary"])]
    resume: Option<PathBuf>,
    /// Write logs into this folder: CSV, JSON lines, TensorBoard.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Write a report as one HTML page.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Show the training on the whole terminal while it runs.
    #[arg(long)]
    dashboard: bool,
    /// First show where a step's time goes, with a trace for
    /// ui.perfetto.dev [default FILE: trace.json in --out].
    #[arg(long, value_name = "FILE", num_args = 0..=1, verbatim_doc_comment)]
    profile: Option<Option<PathBuf>>,
    /// First show what memory a step needs.
    #[arg(long)]
    plan: bool,
    /// Only show the model, layer by layer.
    #[arg(long)]
    summary: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if f64::is_finite(value) && value > 0.0 => Ok(value),
        _ => Err("must be a number above zero".into()),
    }
}

/// Trains and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ink = Ink::stdout();
    let device = Device::open()?;
    if args.summary {
        let model = args.model.build(&mut Init::new(&device, args.seed));
        model.eval();
        let summary = nn::summary(&model, &model.forward(&Tensor::zeros(&device, [1, 64])))?;
        say(summary.to_string().trim_end());
        return Ok(());
    }
    let write = |path: &Path, why| Failure::Write { path: path.to_owned(), why };
    let out = args.resume.as_ref().unwrap_or(&args.out);
    let checkpoints = out.join("checkpoints");
    let settings = match &args.resume {
        Some(_) => Settings::resumed(&device, out, &checkpoints)?,
        None => Settings::of(args),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let trace = args.profile.as_ref().and_then(Option::as_deref);
    args.report.as_deref().into_iter().chain(trace).try_for_each(report::can_be_written)?;
    let live = args.dashboard.then(|| dashboard(&device, &settings, &stop)).transpose()?;
    std::fs::create_dir_all(out).map_err(|why| write(out, why))?;
    if args.resume.is_none() && checkpoints.exists() && Checkpoints::newest(&checkpoints)?.is_some() {
        return Err(Failure::Unfinished(out.clone()));
    }
    let (train, test) = data::digits::split(&device)?;
    let mut training = Training::new(&device, settings);

    say(format_args!("{}\n", training.headline(&device, train.len(), test.len())));
    if let Some(file) = &args.profile {
        let file = file.clone().unwrap_or_else(|| out.join("trace.json"));
        crate::profile::run(&device, &training.settings, &train, &file)?;
    }
    if args.plan {
        crate::plan::run(&device, &training.settings, &train)?;
    }
    stop_on_ctrl_c(stop.clone(), args.dashboard);
    let started = Instant::now();
    let mut logs = args.log.as_deref().map(report::logs).unwrap_or_default();
    let mut page = report::begin(&training.settings, &device, training.model.num_parameters());
    let mut told: Vec<&mut dyn Callback> = vec![&mut page];
    told.extend(logs.iter_mut().map(|log| log.as_mut() as &mut dyn Callback));
    let epochs = training.settings.epochs;
    let trainer = training.settings.trainer().stop_flag(stop).checkpoints(&checkpoints, POLICY).resume();
    let mut trainer = told.into_iter().fold(trainer, Trainer::callback);
    let mut lines = Lines { held: live.is_some().then(Vec::new) };
    lines.say(ink.faint(HEAD));
    if let Some(live) = live {
        trainer = trainer.progress(false).callback(live);
    }
    let trainer = trainer.after_epoch(|epoch| {
        lines.say(line(ink, epochs, epoch));
        ControlFlow::Continue(())
    });
    let history = training.fit(trainer, &train, &test)?;
    drop(lines);
    let seconds = started.elapsed().as_secs_f64();

    let (model, picture) = (out.join("model.safetensors"), out.join("curves.svg"));
    store::save(&training.model, &model)?;
    let matrix = training.confusion(&test)?;
    let right = format!("{:.2} % of the held-out images", 100.0 * matrix.accuracy());
    let svg = page.picture(&training.settings.subtitle(&right, &device));
    std::fs::write(&picture, svg).map_err(|why| write(&picture, why))?;

    say(format_args!("\n{}", confusion(ink, matrix.counts())));
    say(format_args!("{} read right after {seconds:.1} s of training.", ink.strong(&right)));
    say(format_args!("Saved {} and {}", model.display(), picture.display()));
    if let Some(path) = &args.report {
        report::end(&mut page, &matrix, training.model.as_ref(), &test, path)?;
        say(format_args!("Wrote the report {}", path.display()));
    }
    if history.ending == Ending::Interrupted {
        say(format_args!("`kiln train digits --resume {}` goes on from here.", out.display()));
        return Err(Failure::Stopped);
    }
    std::fs::remove_dir_all(&checkpoints).map_err(|why| write(&checkpoints, why))?;
    say(format_args!("`kiln predict {}` shows what it says.", model.display()));
    Ok(())
}

/// What is told of epochs: at once, or when the terminal is free again.
struct Lines {
    held: Option<Vec<String>>,
}

impl Lines {
    fn say(&mut self, line: String) {
        match &mut self.held {
            Some(held) => held.push(line),
            None => say(line),
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.held.take().into_iter().flatten().for_each(say);
    }
}

#[cfg(feature = "dashboard")]
type Live = kiln::train::Dashboard;
#[cfg(not(feature = "dashboard"))]
enum Live {}
#[cfg(not(feature = "dashboard"))]
impl Callback for Live {}

#[cfg(feature = "dashboard")]
fn dashboard(device: &Device, settings: &Settings, stop: &Arc<AtomicBool>) -> Result<Live> {
    let title = format!("Digits, {}, on {}", settings.model.name(), device.caps().name);
    let live = Live::new(title).map_err(|why| Failure::Usage(format!("--dashboard: {why}")))?;
    Ok(live.memory_of(device).stop_flag(stop.clone()))
}

#[cfg(not(feature = "dashboard"))]
fn dashboard(_: &Device, _: &Settings, _: &Arc<AtomicBool>) -> Result<Live> {
    let why = "--dashboard: this program was built without it; `cargo install --locked --path crates/cli --features dashboard`";
    Err(Failure::Usage(why.into()))
}

/// A killed training loses an epoch at most.
const POLICY: Checkpoints = Checkpoints { every: Every::Epochs(1), keep: 1, best: false };

const HEAD: &str = "  epoch       loss  accuracy    held out: loss  accuracy      time";

/// One epoch for people.
fn line(ink: Ink, epochs: usize, epoch: &Epoch) -> String {
    let figures = |f: Figures, width| format!("{:>width$.4} {:>7.1} %", f.loss, 100.0 * f.metric.unwrap_or(f64::NAN));
    let held_out = epoch.validation.map_or(String::new(), |f| figures(f, 18));
    let (count, time) = (format!("{:>3}/{epochs:<4}", epoch.epoch), format!("{:>7.1} s", epoch.seconds));
    format!("{}{}{held_out}{}", ink.strong(&count), figures(epoch.train, 10), ink.faint(&time))
}

/// The first Ctrl-C, or a signal to terminate, asks for a clean end, the second ends at once.
///
/// `quiet` where the terminal shows a dashboard, which says so itself.
fn stop_on_ctrl_c(asked: Arc<AtomicBool>, quiet: bool) {
    let handler = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            #[cfg(feature = "dashboard")]
            Live::give_back();
            std::process::exit(130);
        }
        if !quiet {
            let note = "Stopping after this step; Ctrl-C again leaves at once, back to the last epoch.";
            let _ = writeln!(std::io::stderr(), "\n{note}");
        }
    });
    if let Err(why) = handler {
        log::warn!("Ctrl-C will end the program without saving: {why}");
    }
}

/// What a training is made from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) model: Kind,
    pub(crate) epochs: usize,
    pub(crate) batch: usize,
    pub(crate) lr: f64,
    pub(crate) seed: u64,
}

impl Settings {
    fn of(args: &Args) -> Self {
        let epochs = args.epochs.map_or(args.model.epochs(), |epochs| epochs as usize);
        Self { model: args.model, epochs, batch: args.batch as usize, lr: args.lr, seed: args.seed }
    }

    /// Those of the training that stopped in this folder.
    fn resumed(device: &Device, out: &Path, checkpoints: &Path) -> Result<Self> {
        let no = |why: &str| Failure::NotACheckpoint { path: checkpoints.to_owned(), why: why.into() };
        let none = || match out.join("model.safetensors").exists() {
            true => no("there is no checkpoint, for the training has come to its end; without --resume it begins anew"),
            false => no("there is no checkpoint"),
        };
        let newest = Checkpoints::newest(checkpoints).map_err(|_| none())?.ok_or_else(none)?;
        let (_, notes) = store::load_tensors(device, newest)?;
        let note = notes.get(NOTE).ok_or_else(|| no("it is of another program"))?;
        Self::read(note).ok_or_else(|| no("its settings are damaged"))
    }

    /// What trains with these settings.
    pub(crate) fn trainer(&self) -> Trainer<'static> {
        let Self { epochs, batch, lr, seed, .. } = *self;
        let trainer = Trainer::new(epochs).batch(batch).seed(seed).note(NOTE, self.write());
        trainer.schedule(move |step, steps| schedule::cosine(lr, step, steps, 0.0))
    }

    fn subtitle(&self, right: &str, device: &Device) -> String {
        let (Self { epochs, batch, lr, seed, .. }, on) = (self, &device.caps().name);
        format!("{right}: {epochs} epochs, batches of {batch}, Adam, learning rate {lr}, seed {seed}, on {on}")
    }

    fn write(&self) -> String {
        format!("{} {} {} {} {}", self.model.name(), self.epochs, self.batch, self.lr, self.seed)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let model = Kind::named(words.next()?)?;
        let (epochs, batch) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { model, epochs, batch, lr: words.next()?.parse().ok()?, seed: words.next()?.parse().ok()? })
    }
}

/// The name of the settings in a checkpoint.
const NOTE: &str = "kiln train digits";

/// What is trained.
pub(crate) struct Training {
    pub(crate) settings: Settings,
    pub(crate) model: Box<dyn Forward>,
    optimizer: Adam,
}

impl Training {
    pub(crate) fn new(device: &Device, settings: Settings) -> Self {
        let model = settings.model.build(&mut Init::new(device, settings.seed));
        let optimizer = Adam::new(&model, settings.lr);
        Self { settings, model, optimizer }
    }

    fn headline(&self, device: &Device, train: usize, test: usize) -> String {
        let (name, weights, on) = (self.settings.model.name(), self.model.num_parameters(), &device.caps().name);
        format!("The {name}, {weights} weights, on {on}\n{train} images to learn from, {test} held out")
    }

    pub(crate) fn fit(&mut self, trainer: Trainer<'_>, train: &TensorDataset, test: &TensorDataset) -> Result<History> {
        let model = &self.model;
        let forward = |(x, y): &(Tensor, Tensor)| Outcome::classification(&model.forward(x), y);
        Ok(trainer.fit(model, &mut self.optimizer, train, Some(test), forward)?)
    }

    /// One more epoch with nothing around it: what a profile is taken of.
    pub(crate) fn epoch(&mut self, train: &TensorDataset) -> Result<()> {
        let Settings { batch, seed, .. } = self.settings;
        let model = &self.model;
        let trainer = Trainer::new(1).batch(batch).seed(seed);
        trainer.fit(model, &mut self.optimizer, train, None, |(x, y)| Outcome::classification(&model.forward(x), y))?;
        Ok(())
    }

    /// Which held-out digit was taken for which.
    pub(crate) fn confusion(&self, test: &TensorDataset) -> Result<ConfusionMatrix> {
        self.model.eval();
        let (x, y) = test.all();
        let mut matrix = ConfusionMatrix::new(10);
        matrix.add_logits(&y, &self.model.forward(&x))?;
        Ok(matrix)
    }
}
