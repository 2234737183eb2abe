//! `kiln train digits`: trains, shows how well it went, and saves model, picture and checkpoint.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kiln::prelude::*;
use kiln::train::{Callback, Epoch, Figures};

use crate::curves::Curves;
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
    /// Passes over the training images [default: 15 for the cnn, 30 for the mlp].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: Option<u32>,
    /// Images in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Learning rate of Adam in the first step; it falls to zero along half a cosine.
    #[arg(long, default_value_t = 5e-3, value_parser = positive)]
    lr: f64,
    /// What the first weights and the order of the images are drawn from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the model, the learning curves, and a checkpoint if the training is stopped.
    #[arg(long, value_name = "DIR", default_value = "runs/digits")]
    out: PathBuf,
    /// Go on from the checkpoint of a stopped training, with its settings.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["model", "epochs", "batch", "lr", "seed"])]
    resume: Option<PathBuf>,
    /// Write logs into this folder while training: tables (CSV), JSON lines, an event file for TensorBoard.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Write a report as one HTML page: curves, confusion matrix, images with what the model says.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Before training, shows where a step's time goes, and writes a trace for ui.perfetto.dev to FILE
    /// [default FILE: trace.json in the folder of --out].
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    profile: Option<Option<PathBuf>>,
    /// Before training, shows what memory a step needs, and its largest tensors.
    #[arg(long)]
    plan: bool,
    /// Only show the model: what each layer makes, holds and costs.
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
        say(nn::summary(&model, &model.forward(&Tensor::zeros(&device, [1, 64])))?);
        return Ok(());
    }
    let write = |path: &Path, why| Failure::Write { path: path.to_owned(), why };
    std::fs::create_dir_all(&args.out).map_err(|why| write(&args.out, why))?;
    let (train, test) = data::digits::split(&device)?;
    let mut training = match &args.resume {
        Some(checkpoint) => Training::resume(&device, checkpoint)?,
        None => Training::new(&device, Settings::of(args)),
    };

    say(format_args!("{}\n", training.headline(&device, train.len(), test.len())));
    if let Some(file) = &args.profile {
        let file = file.clone().unwrap_or_else(|| args.out.join("trace.json"));
        crate::profile::run(&device, &training.settings, &train, &file)?;
    }
    if args.plan {
        crate::plan::run(&device, &training.settings, &train)?;
    }
    say(ink.faint(HEAD));
    let stop = stop_on_ctrl_c();
    let started = Instant::now();
    let mut logs = args.log.as_deref().map(report::logs).unwrap_or_default();
    let mut page = report::begin(&training.settings, &device, training.model.num_parameters());
    let mut told: Vec<&mut dyn Callback> = vec![&mut page];
    told.extend(logs.iter_mut().map(|log| log.as_mut() as &mut dyn Callback));
    training.fit(&train, &test, told, |epochs, epoch| {
        say(line(ink, epochs, epoch));
        stop.load(Ordering::Relaxed)
    })?;
    let seconds = started.elapsed().as_secs_f64();

    let (model, picture) = (args.out.join("model.safetensors"), args.out.join("curves.svg"));
    store::save(&training.model, &model)?;
    let matrix = training.confusion(&test)?;
    let right = format!("{:.2} % of the held-out images", 100.0 * matrix.accuracy());
    let svg = training.curves.svg(&training.settings.title(&right), &training.settings.subtitle(&device));
    std::fs::write(&picture, svg).map_err(|why| write(&picture, why))?;

    say(format_args!("\n{}", confusion(ink, matrix.counts())));
    say(format_args!("{} read right after {seconds:.1} s of training.", ink.strong(&right)));
    say(format_args!("Saved {} and {}", model.display(), picture.display()));
    if let Some(path) = &args.report {
        report::end(page, &matrix, training.model.as_ref(), &test, path)?;
        say(format_args!("Wrote the report {}", path.display()));
    }
    if training.curves.len() < training.settings.epochs {
        let checkpoint = args.out.join("checkpoint.safetensors");
        training.save(&checkpoint)?;
        say(format_args!("Saved {0}: `kiln train digits --resume {0}` goes on from here.", checkpoint.display()));
        return Err(Failure::Stopped);
    }
    say(format_args!("`kiln predict {}` shows what it says.", model.display()));
    Ok(())
}

const HEAD: &str = "  epoch       loss  accuracy    held out: loss  accuracy      time";

/// One epoch for people.
fn line(ink: Ink, epochs: usize, epoch: &Epoch) -> String {
    let figures = |f: Figures, width| format!("{:>width$.4} {:>7.1} %", f.loss, 100.0 * f.metric.unwrap_or(f64::NAN));
    let held_out = epoch.validation.map_or(String::new(), |f| figures(f, 18));
    let (count, time) = (format!("{:>3}/{epochs:<4}", epoch.epoch), format!("{:>7.1} s", epoch.seconds));
    format!("{}{}{held_out}{}", ink.strong(&count), figures(epoch.train, 10), ink.faint(&time))
}

/// The first Ctrl-C asks for a clean end, the second ends at once.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let asked = Arc::new(AtomicBool::new(false));
    let flag = asked.clone();
    let handler = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        let note = "Stopping after this epoch; Ctrl-C again leaves at once, without saving.";
        let _ = writeln!(std::io::stderr(), "\n{note}");
    });
    if let Err(why) = handler {
        log::warn!("Ctrl-C will end the program without saving: {why}");
    }
    asked
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

    fn title(&self, right: &str) -> String {
        format!("Digits, {}: {right}", self.model.name())
    }

    fn subtitle(&self, device: &Device) -> String {
        let Self { epochs, batch, lr, seed, .. } = self;
        format!("{epochs} epochs, batches of {batch}, Adam, learning rate {lr}, seed {seed}, on {}", device.caps().name)
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

/// A training under way: everything that a checkpoint holds.
pub(crate) struct Training {
    pub(crate) settings: Settings,
    pub(crate) model: Box<dyn Forward>,
    optimizer: Adam,
    curves: Curves,
}

impl Training {
    pub(crate) fn new(device: &Device, settings: Settings) -> Self {
        let model = settings.model.build(&mut Init::new(device, settings.seed));
        let optimizer = Adam::new(&model, settings.lr);
        Self { settings, model, optimizer, curves: Curves::default() }
    }

    /// The training that stopped with this checkpoint.
    fn resume(device: &Device, path: &Path) -> Result<Self> {
        let no = |why: String| Failure::NotACheckpoint { path: path.to_owned(), why };
        let (_, notes) = store::load_tensors(device, path)?;
        let note = |name: &str| notes.get(name).ok_or_else(|| no(format!("it has no note of its {name}")));
        let settings = Settings::read(note("settings")?).ok_or_else(|| no("its settings are damaged".into()))?;
        let curves = Curves::read(note("curves")?).ok_or_else(|| no("its curves are damaged".into()))?;
        let training = Self { curves, ..Self::new(device, settings) };
        store::load_training(&training.model, &training.optimizer, device, path).map_err(|e| no(e.to_string()))?;
        Ok(training)
    }

    fn save(&self, path: &Path) -> Result<()> {
        let notes = [("settings", self.settings.write()), ("curves", self.curves.write())];
        let notes = notes.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        Ok(store::save_training(&self.model, &self.optimizer, &notes, path)?)
    }

    fn headline(&self, device: &Device, train: usize, test: usize) -> String {
        let (name, weights, on) = (self.settings.model.name(), self.model.num_parameters(), &device.caps().name);
        format!("The {name}, {weights} weights, on {on}\n{train} images to learn from, {test} held out")
    }

    /// Runs the epochs that are left, and tells `told` of them. `after` sees each and says whether to stop.
    pub(crate) fn fit(
        &mut self,
        train: &TensorDataset,
        test: &TensorDataset,
        told: Vec<&mut dyn Callback>,
        mut after: impl FnMut(usize, &Epoch) -> bool,
    ) -> Result<()> {
        let Settings { epochs, batch, lr, seed, .. } = self.settings;
        let curves = &mut self.curves;
        let trainer = Trainer::new(epochs).start_at(curves.len()).batch(batch).seed(seed);
        let scheduled = trainer.schedule(|step, steps| schedule::cosine(lr, step, steps, 0.0));
        let watched = scheduled.after_epoch(|epoch| {
            curves.add(epoch);
            if after(epochs, epoch) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let watched = told.into_iter().fold(watched, Trainer::callback);
        let model = &self.model;
        watched.fit(model, &mut self.optimizer, train, Some(test), |(x, y)| {
            Outcome::classification(&model.forward(x), y)
        })?;
        Ok(())
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
