//! The training loop with what belongs around it: progress, figures of each epoch, early stopping,
//! the best checkpoint, a clean end on Ctrl-C. It is built from public parts alone; a loop written
//! out by hand does the same in ten lines.

mod history;
mod progress;
mod readings;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use history::{Ending, Epoch, Figures, History};

use crate::data::Dataset;
use crate::loss::cross_entropy;
use crate::metrics::accuracy;
use crate::nn::Module;
use crate::optim::Optimizer;
use crate::{Result, Tensor, store};
use progress::Progress;
use readings::Readings;

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

type Schedule<'a> = Box<dyn Fn(usize, usize) -> f64 + 'a>;
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
    first: usize,
    batch: usize,
    seed: u64,
    patience: Option<usize>,
    best: Option<PathBuf>,
    stop: Option<Arc<AtomicBool>>,
    progress: bool,
    schedule: Option<Schedule<'a>>,
    after_epoch: Option<AfterEpoch<'a>>,
}

impl<'a> Trainer<'a> {
    /// Trains for `epochs` passes over the data, 64 examples at a time.
    pub fn new(epochs: usize) -> Self {
        Self {
            epochs,
            first: 0,
            batch: 64,
            seed: 0,
            patience: None,
            best: None,
            stop: None,
            progress: true,
            schedule: None,
            after_epoch: None,
        }
    }

    /// Sets the size of a batch.
    #[must_use]
    pub fn batch(mut self, size: usize) -> Self {
        self.batch = size;
        self
    }

    /// Sets what the order of the examples is drawn from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Begins at this epoch, counted from 0, as if those before it had been run: for a training
    /// that goes on from a checkpoint.
    #[must_use]
    pub fn start_at(mut self, epoch: usize) -> Self {
        self.first = epoch;
        self
    }

    /// Stops when the loss (of validation, if there is one) has not been lower for this many epochs.
    #[must_use]
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = Some(epochs);
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
        self.schedule = Some(Box::new(rate));
        self
    }

    /// Calls `then` after each epoch; it may break off the training.
    #[must_use]
    pub fn after_epoch(mut self, then: impl FnMut(&Epoch) -> ControlFlow<()> + 'a) -> Self {
        self.after_epoch = Some(Box::new(then));
        self
    }

    /// Trains `model` on `train`. `forward` makes loss and figures of a batch, in training mode for
    /// the steps and in evaluation mode for `validation`.
    ///
    /// Losses are read a few steps late, so that the device is never waited for.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) for a loss that is NaN or infinite: the step
    /// that made it and those behind it have changed nothing. Whatever a step or saving gives.
    pub fn fit<M, D, O>(
        mut self,
        model: &M,
        optimizer: &mut O,
        train: &D,
        validation: Option<&D>,
        forward: impl Fn(&D::Batch) -> Outcome,
    ) -> Result<History>
    where
        M: Module + ?Sized,
        D: Dataset,
        O: Optimizer,
    {
        let steps = train.len().div_ceil(self.batch.max(1));
        let total = steps * self.epochs;
        let progress = Progress::new(self.progress, total, steps * self.first);
        let mut history = History::default();
        let mut waited = 0;

        for epoch in self.first..self.epochs {
            let started = Instant::now();
            model.train();
            let mut readings = Readings::default();
            for (at, batch) in train.batches(self.batch, self.order(epoch)).enumerate() {
                if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    readings.finish()?;
                    history.ending = Ending::Interrupted;
                    return Ok(history);
                }
                if let Some(rate) = &self.schedule {
                    optimizer.set_lr(rate(epoch * steps + at, total));
                }
                let outcome = forward(&batch);
                let also: Vec<&Tensor> = outcome.metric.iter().map(|(_, metric)| metric).collect();
                optimizer.step_with(&outcome.loss, &also)?;
                readings.add(outcome)?;
                progress.step(epoch + 1, self.epochs, &readings);
            }
            let train_figures = readings.finish()?;
            let validation = validation.map(|set| self.evaluate(model, set, &forward)).transpose()?;
            let lr = optimizer.lr();
            let seconds = started.elapsed().as_secs_f64();
            history.epochs.push(Epoch { epoch: epoch + 1, train: train_figures, validation, lr, seconds });

            if history.best_epoch() == Some(epoch + 1) {
                waited = 0;
                if let Some(path) = &self.best {
                    store::save(model, path)?;
                }
            } else {
                waited += 1;
            }
            let ends = match (&mut self.after_epoch, history.epochs.last()) {
                (Some(then), Some(last)) => progress.aside(|| then(last)).is_break(),
                _ => false,
            };
            if ends || self.patience.is_some_and(|patience| waited >= patience) {
                history.ending = Ending::Early;
                break;
            }
        }
        Ok(history)
    }

    /// Mean loss and metric over a set, in evaluation mode.
    fn evaluate<M, D>(&self, model: &M, set: &D, forward: &impl Fn(&D::Batch) -> Outcome) -> Result<Figures>
    where
        M: Module + ?Sized,
        D: Dataset,
    {
        model.eval();
        let mut readings = Readings::default();
        let figures = set.in_order(self.batch).try_for_each(|batch| readings.add(forward(&batch)));
        model.train();
        figures.and_then(|()| readings.finish())
    }

    /// What the order of an epoch's examples is drawn from.
    fn order(&self, epoch: usize) -> u64 {
        self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(epoch as u64)
    }
}
