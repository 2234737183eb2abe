//! The training loop with what belongs around it: progress, figures of each epoch, early stopping, checkpoints that a
//! killed run goes on from to the same bits, callbacks, a clean end on Ctrl-C. It is built from public parts alone; a
//! loop written out by hand does the same in ten lines.

mod callback;
mod check;
mod checkpoints;
#[cfg(feature = "dashboard")]
mod dashboard;
mod feed;
mod finder;
mod history;
mod log;
mod progress;
mod readings;
mod report;
mod run;
mod state;
mod steps;
mod tensorboard;
mod thin;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use callback::{Callback, Start, Step, Validation};
pub use checkpoints::Checkpoints;
#[cfg(feature = "dashboard")]
pub use dashboard::Dashboard;
pub use finder::{LrCurve, LrFinder};
pub use history::{Ending, Epoch, Figures, History};
pub use log::{CsvLog, JsonLines};
pub use report::{Report, Sample};
pub use tensorboard::TensorBoard;

use crate::data::Source;
use crate::error::At;
use crate::loss::cross_entropy;
use crate::metrics::accuracy;
use crate::nn::Module;
use crate::optim::{Accumulator, Batch, Clipped, Optimizer};
use crate::schedule::{ReduceLrOnPlateau, Schedule};
use crate::store::Metadata;
use crate::{Result, Tensor};
use check::refused;
use checkpoints::Folder;
use feed::Feed;
use run::Run;
use steps::{Noted, Plain, Recorded, traced};

/// What a model made of a batch.
pub struct Outcome {
    /// The loss to be stepped on.
    pub loss: Tensor,
    /// A figure to be averaged along with it and its name, such as the accuracy.
    pub metric: Option<(&'static str, Tensor)>,
    /// The number of examples in the batch.
    pub count: usize,
}

impl Outcome {
    /// Cross-entropy and accuracy of `logits [rows, classes]` against `labels [rows]`.
    #[track_caller]
    pub fn classification(logits: &Tensor, labels: &Tensor) -> Self {
        let metric = Some(("accuracy", accuracy(logits, labels)));
        Self { loss: cross_entropy(logits, labels), metric, count: labels.numel() }
    }

    /// A loss over `count` examples and nothing else.
    pub fn loss(loss: Tensor, count: usize) -> Self {
        Self { loss, metric: None, count }
    }
}

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// After every so many steps of the optimizer.
    Steps(usize),
    /// After every so many epochs.
    Epochs(usize),
}

/// Where the learning rate comes from.
enum LearningRate<'a> {
    /// The optimizer has it.
    Constant,
    /// From step and steps in all.
    Function(Box<dyn Fn(usize, usize) -> f64 + 'a>),
    /// With the line that gave it.
    Schedule(Box<dyn Schedule + 'a>, At),
    Plateau(ReduceLrOnPlateau, At),
}

type AfterEpoch<'a> = Box<dyn FnMut(&Epoch) -> ControlFlow<()> + 'a>;

/// Trains a model over epochs.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let (train, test) = data::digits::split(&device)?;
/// # let train = train.subset(&(0..64).collect::<Vec<_>>());
/// # let test = test.subset(&(0..32).collect::<Vec<_>>());
/// let mut init = Init::new(&device, 42);
/// let model = Sequential::new().push(Linear::new(64, 32, &mut init)).push(Relu).push(Linear::new(32, 10, &mut init));
/// let mut adam = Adam::new(&model, 3e-3);
/// let history = Trainer::new(2).batch(32).fit(&model, &mut adam, &train, Some(&test), |(x, y)| {
///     Outcome::classification(&model.forward(x), y)
/// })?;
/// assert_eq!(history.epochs.len(), 2);
/// # Ok::<(), Error>(())
/// ```
pub struct Trainer<'a> {
    epochs: usize,
    batch: Option<usize>,
    seed: Option<u64>,
    accumulate: usize,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    ema: Option<f64>,
    validate: Every,
    patience: Option<usize>,
    best: Option<PathBuf>,
    checkpoints: Option<Folder>,
    resume: bool,
    notes: Metadata,
    stop: Option<Arc<AtomicBool>>,
    max_steps: Option<usize>,
    time_limit: Option<Duration>,
    progress: bool,
    rate: LearningRate<'a>,
    after_epoch: Option<AfterEpoch<'a>>,
    callbacks: Vec<Box<dyn Callback + 'a>>,
}

impl<'a> Trainer<'a> {
    /// Trains for `epochs` passes over the data, 64 examples at a time.
    pub fn new(epochs: usize) -> Self {
        Self {
            epochs,
            batch: None,
            seed: None,
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            ema: None,
            validate: Every::Epochs(1),
            patience: None,
            best: None,
            checkpoints: None,
            resume: false,
            notes: Metadata::new(),
            stop: None,
            max_steps: None,
            time_limit: None,
            progress: true,
            rate: LearningRate::Constant,
            after_epoch: None,
            callbacks: Vec::new(),
        }
    }

    /// Sets the size of a batch; 64. A [`DataLoader`](crate::data::DataLoader) has its own.
    #[must_use]
    pub fn batch(mut self, size: usize) -> Self {
        self.batch = Some(size);
        self
    }

    /// Sets what the order of the examples is drawn from; 0. A [`DataLoader`](crate::data::DataLoader) has its own.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Takes a step from the mean gradient of this many batches, whose graphs and activations are let go of one by
    /// one. With losses that are means this is PyTorch's `(loss / n).backward()` n times, and as one batch of all their
    /// examples if they are of one size; the last step of an epoch takes what is left, in the mean of that. Schedules
    /// and limits count steps.
    #[must_use]
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches;
        self
    }

    /// Scales the gradients of a step so that their common 2-norm is at most this:
    /// [`clip_grad_norm`](crate::optim::clip_grad_norm).
    #[must_use]
    pub fn clip_norm(mut self, max_norm: f64) -> Self {
        self.clip_norm = Some(max_norm);
        self
    }

    /// Brings every element of a step's gradients into −bound..=bound, before the norm is looked at:
    /// [`clip_grad_value`](crate::optim::clip_grad_value).
    #[must_use]
    pub fn clip_value(mut self, bound: f64) -> Self {
        self.clip_value = Some(bound);
        self
    }

    /// Keeps an exponential moving average of the weights, [`AveragedModel::ema`](crate::optim::AveragedModel::ema),
    /// and validates and saves the best model with it. The model itself goes on with its own weights, and has them in
    /// the end.
    #[must_use]
    pub fn ema(mut self, decay: f64) -> Self {
        self.ema = Some(decay);
        self
    }

    /// Validates this often, and after the last epoch; after each epoch by default.
    #[must_use]
    pub fn validate(mut self, every: Every) -> Self {
        self.validate = every;
        self
    }

    /// Writes checkpoints of the whole training into this folder.
    ///
    /// It is an error to start a training where another has left checkpoints, except to [`resume`](Trainer::resume) it.
    #[must_use]
    pub fn checkpoints(mut self, folder: impl Into<PathBuf>, policy: Checkpoints) -> Self {
        self.checkpoints = Some(Folder { path: folder.into(), policy });
        self
    }

    /// Goes on from the newest checkpoint of the folder, if there is one: with the same model, data and settings the
    /// end is the same, to the bit, as if the training had never stopped. Epochs may be added.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.resume = true;
        self
    }

    /// Writes a text into every checkpoint, among the metadata that [`load_tensors`](crate::store::load_tensors) gives: what
    /// the model is made of, say. Names that begin with `trainer.` are the trainer's own.
    #[must_use]
    pub fn note(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.notes.insert(name.into(), text.into());
        self
    }

    /// Ends after this many steps, those before a resume included.
    #[must_use]
    pub fn max_steps(mut self, steps: usize) -> Self {
        self.max_steps = Some(steps);
        self
    }

    /// Ends after the step during which this much time has passed.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Stops when the loss has not been lower for this many epochs or, with a validation set, this many validations of
    /// it.
    #[must_use]
    pub fn patience(mut self, times: usize) -> Self {
        self.patience = Some(times);
        self
    }

    /// Saves the model here whenever the loss (of validation, if there is one) is the lowest so far.
    #[must_use]
    pub fn best(mut self, path: impl Into<PathBuf>) -> Self {
        self.best = Some(path.into());
        self
    }

    /// Ends after the present step once this is true; a Ctrl-C handler may set it.
    #[must_use]
    pub fn stop_flag(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = Some(flag);
        self
    }

    /// Shows a progress bar, as it does by default, or none. Without a terminal there is none.
    #[must_use]
    pub fn progress(mut self, on: bool) -> Self {
        self.progress = on;
        self
    }

    /// Sets the learning rate before each step to `rate(step, steps in all)`.
    #[must_use]
    pub fn schedule(mut self, rate: impl Fn(usize, usize) -> f64 + 'a) -> Self {
        self.rate = LearningRate::Function(Box::new(rate));
        self
    }

    /// Sets the learning rates of all groups, and the momentum if it is cycled, before each step.
    #[must_use]
    #[track_caller]
    pub fn scheduler(mut self, schedule: impl Schedule + 'a) -> Self {
        self.rate = LearningRate::Schedule(Box::new(schedule), At::here());
        self
    }

    /// Lowers the learning rate when the loss that decides (of validation, if there is one) falls no more.
    #[must_use]
    #[track_caller]
    pub fn plateau(mut self, plateau: ReduceLrOnPlateau) -> Self {
        self.rate = LearningRate::Plateau(plateau, At::here());
        self
    }

    /// Calls `then` after each epoch; it may break off the training.
    #[must_use]
    pub fn after_epoch(mut self, then: impl FnMut(&Epoch) -> ControlFlow<()> + 'a) -> Self {
        self.after_epoch = Some(Box::new(then));
        self
    }

    /// Tells this of the training too; `&mut` of it, to have it back.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Trains `model` on `train`: a [`Dataset`](crate::data::Dataset), a [`DataLoader`](crate::data::DataLoader) whose
    /// threads prepare and change the batches, or a [`Source`] of your own. `forward` makes loss and figures of a batch, in
    /// training mode for the steps and in evaluation mode for `validation`, which may be of another kind.
    ///
    /// Losses are read a few batches late, so that the device is never waited for.
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// # let device = Device::open()?;
    /// # let (train, test) = data::digits::split(&device)?;
    /// # let (train, test) = (train.subset(&(0..64).collect::<Vec<_>>()), test.subset(&(0..32).collect::<Vec<_>>()));
    /// let model = Linear::new(64, 10, &mut Init::new(&device, 42));
    /// let mut adam = Adam::new(&model, 3e-3);
    /// let loader = DataLoader::new(train).batch_size(32).shuffle(true).workers(2);
    /// Trainer::new(2).fit(&model, &mut adam, &loader, Some(&test), |(x, y)| {
    ///     Outcome::classification(&model.forward(x), y)
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) for a loss that is NaN or infinite: the step that made it and those
    /// behind it have changed nothing. [`Error::Argument`](crate::Error::Argument) for a setting outside of its range;
    /// [`Error::File`](crate::Error::File) for a checkpoint of another training or one that cannot be written. Whatever a
    /// step or a callback gives.
    #[track_caller]
    pub fn fit<M, S, O>(
        self,
        model: &M,
        optimizer: &mut O,
        train: &S,
        validation: Option<&dyn Source<Batch = S::Batch>>,
        forward: impl Fn(&S::Batch) -> Outcome,
    ) -> Result<History>
    where
        M: Module + ?Sized,
        S: Source + ?Sized,
        O: Optimizer,
    {
        self.check(optimizer.slots().groups.len())?;
        let feed = Feed::new(&self, train, validation)?;
        let sum = (self.accumulate > 1).then(|| Accumulator::new(optimizer));
        let optimizer = Clipped::new(optimizer).value(self.clip_value).norm(self.clip_norm);
        let mut steps = Plain { optimizer, forward: &forward, sum };
        Run::new(self, model, feed, &forward).run(&mut steps)
    }

    /// The same with captured steps ([`Optimizer::capture`]): `forward` is called once for each structure of a batch,
    /// which later batches are put into, and a step costs the host little more than its encoding. What `forward` reads
    /// besides the batch and the model's cells is fixed at that call, and the count of examples must follow from the
    /// shapes.
    ///
    /// # Errors
    /// As for [`fit`](Trainer::fit). Batches cannot be [added up](Trainer::accumulate).
    #[track_caller]
    pub fn fit_captured<M, S, O>(
        self,
        model: &M,
        optimizer: &mut O,
        train: &S,
        validation: Option<&dyn Source<Batch = S::Batch>>,
        forward: impl Fn(&S::Batch) -> Outcome,
    ) -> Result<History>
    where
        M: Module + ?Sized,
        S: Source<Batch: Batch> + ?Sized,
        O: Optimizer,
    {
        self.check(optimizer.slots().groups.len())?;
        if self.accumulate != 1 {
            return Err(refused("accumulate", self.accumulate, "captured steps take one batch each"));
        }
        let feed = Feed::new(&self, train, validation)?;
        let noted = Noted::default();
        let mut optimizer = Clipped::new(optimizer).value(self.clip_value).norm(self.clip_norm);
        let captured = optimizer.capture(|batch: &S::Batch| traced(batch, &forward, &noted));
        let mut steps = Recorded { captured, noted: &noted };
        Run::new(self, model, feed, &forward).run(&mut steps)
    }
}
