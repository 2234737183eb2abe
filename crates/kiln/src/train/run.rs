//! The loop itself.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checkpoints::failed;
use super::feed::Feed;
use super::progress::Progress;
use super::readings::Readings;
use super::state::{Progressed, Setup, host_numbers, restore_host_numbers};
use super::steps::Steps;
use super::{
    Callback, Ending, Epoch, Every, Figures, History, LearningRate, Outcome, Start, Step, Trainer, Validation, refused,
};
use crate::data::Passes;
use crate::nn::Module;
use crate::optim::{AveragedModel, Optimizer};
use crate::store::{self, TrainingState};
use crate::{Result, schedule};

/// A training under way.
pub(super) struct Run<'r, 'a, M: ?Sized, B, F> {
    trainer: Trainer<'a>,
    model: &'r M,
    feed: Feed<'r, B>,
    forward: F,
    average: Option<AveragedModel>,
    state: Progressed,
    setup: Setup,
    bar: Progress,
    began: Instant,
    epoch_began: Instant,
    /// How long the batches of the present step were waited for.
    waited: Duration,
}

impl<'r, 'a, M: Module + ?Sized, B, F: Fn(&B) -> Outcome> Run<'r, 'a, M, B, F> {
    pub(super) fn new(trainer: Trainer<'a>, model: &'r M, feed: Feed<'r, B>, forward: F) -> Self {
        let average = trainer.ema.map(|decay| AveragedModel::ema(model, decay));
        let setup = Setup::of(&trainer, &feed.train);
        let now = Instant::now();
        let bar = Progress::new(false, 0, 0);
        let (state, waited) = (Progressed::default(), Duration::ZERO);
        Self { trainer, model, feed, forward, average, state, setup, bar, began: now, epoch_began: now, waited }
    }

    fn steps_of_an_epoch(&self) -> usize {
        self.feed.train.steps().div_ceil(self.trainer.accumulate)
    }

    fn total(&self) -> usize {
        self.steps_of_an_epoch() * self.trainer.epochs
    }

    /// Runs the epochs that are left.
    pub(super) fn run(mut self, steps: &mut impl Steps<B>) -> Result<History> {
        self.resume(steps.optimizer_mut())?;
        self.bar = Progress::new(self.trainer.progress, self.total(), self.state.step);
        let start = Start {
            step: self.state.step,
            epochs_done: self.state.epoch,
            validations: self.state.history.validations.len(),
            steps: self.total(),
            epochs: self.trainer.epochs,
        };
        self.callbacks().try_for_each(|callback| callback.on_start(&start))?;
        let mut written = None;
        let ending = loop {
            if let Some(ending) = self.ended() {
                break ending;
            }
            match self.epoch(steps, &mut written)? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(ending) => break ending,
            }
        };
        if written != Some((self.state.step, self.state.epoch)) {
            self.save(steps.optimizer())?;
        }
        self.state.history.ending = ending;
        let history = std::mem::take(&mut self.state.history);
        self.callbacks().try_for_each(|callback| callback.on_end(&history))?;
        Ok(history)
    }

    /// Whether it is over before another epoch.
    fn ended(&self) -> Option<Ending> {
        let patient = self.trainer.patience.is_none_or(|patience| self.state.waited < patience);
        if self.state.broken_off || !patient {
            Some(Ending::Early)
        } else if self.state.epoch >= self.trainer.epochs {
            Some(Ending::Complete)
        } else {
            None
        }
    }

    /// The rest of the present epoch. `written` is the step and epoch of the newest checkpoint.
    fn epoch(
        &mut self,
        steps: &mut impl Steps<B>,
        written: &mut Option<(usize, usize)>,
    ) -> Result<ControlFlow<Ending>> {
        self.epoch_began = Instant::now();
        let before = self.state.seconds;
        self.model.train();
        let mut readings = Readings::resumed(self.state.means);
        let all = self.feed.train.steps();
        let mut batches = self.feed.train.begin(self.state.epoch as u64, self.state.batches);
        while self.state.batches < all {
            let begins = self.state.batches.is_multiple_of(self.trainer.accumulate);
            if begins && let Some(ending) = self.told_to_end() {
                self.settle(&mut readings)?;
                self.state.seconds = before + self.epoch_began.elapsed().as_secs_f64();
                return Ok(ControlFlow::Break(ending));
            }
            if begins {
                self.set_rate(steps);
            }
            let batch = self.next(&mut *batches)?;
            self.state.batches += 1;
            let last = self.state.batches == all;
            let completes = last || self.state.batches.is_multiple_of(self.trainer.accumulate);
            let outcome = steps.take(&batch, completes)?;
            if !completes {
                readings.add(outcome, None)?;
                continue;
            }
            self.state.step += 1;
            if let Some(average) = &self.average {
                average.update()?;
            }
            let step = self.step(steps.optimizer().lr());
            readings.add(outcome, Some(step))?;
            self.bar.step(self.state.epoch + 1, self.trainer.epochs, &readings);
            self.report(&mut readings)?;
            if !last && due(self.trainer.validate, self.state.step) {
                self.settle(&mut readings)?;
                self.validate(steps.optimizer_mut())?;
                self.model.train();
                if self.ended().is_some() {
                    break;
                }
            }
            let folder = self.trainer.checkpoints.as_ref();
            if folder.is_some_and(|folder| due(folder.policy.every, self.state.step)) {
                self.settle(&mut readings)?;
                self.state.seconds = before + self.epoch_began.elapsed().as_secs_f64();
                self.save(steps.optimizer())?;
                *written = Some((self.state.step, self.state.epoch));
            }
            if self.state.broken_off {
                break;
            }
        }
        self.settle(&mut readings)?;
        if let Some(ending) = self.ended().filter(|_| self.state.batches < all) {
            self.state.seconds = before + self.epoch_began.elapsed().as_secs_f64();
            return Ok(ControlFlow::Break(ending)); // in the middle of an epoch, which is then no entry of the history
        }
        self.close_epoch(readings.finish()?, before, steps)?;
        let folder = self.trainer.checkpoints.as_ref();
        if folder
            .is_some_and(|folder| matches!(folder.policy.every, Every::Epochs(n) if self.state.epoch.is_multiple_of(n)))
        {
            self.save(steps.optimizer())?;
            *written = Some((self.state.step, self.state.epoch));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The next batch, and how long it was waited for.
    fn next(&mut self, batches: &mut dyn Iterator<Item = Result<B>>) -> Result<B> {
        let asked = Instant::now();
        let batch = batches.next().ok_or_else(|| {
            let had = format!("{} batches of {}", self.state.batches, self.feed.train.steps());
            refused("train", had, "a pass must have as many batches as it says")
        })?;
        self.waited += asked.elapsed();
        batch
    }

    /// Validation, entry and decisions after the last batch of an epoch.
    fn close_epoch(&mut self, train: Figures, before: f64, steps: &mut impl Steps<B>) -> Result<()> {
        let number = self.state.epoch + 1;
        let due = match self.trainer.validate {
            Every::Epochs(n) => number.is_multiple_of(n) || number == self.trainer.epochs,
            Every::Steps(n) => self.state.step.is_multiple_of(n) || number == self.trainer.epochs,
        };
        if due {
            self.validate(steps.optimizer_mut())?;
        }
        let last = self.state.history.validations.last().filter(|validation| validation.epoch == number);
        let validation = last.map(|validation| validation.figures);
        let seconds = before + self.epoch_began.elapsed().as_secs_f64();
        let (step, lr) = (self.state.step, steps.optimizer().lr());
        let epoch = Epoch { epoch: number, step, train, validation, lr, seconds };
        self.state.history.epochs.push(epoch.clone());
        if self.feed.validation.is_none() {
            self.decide(train.loss, steps.optimizer_mut())?;
        }
        (self.state.epoch, self.state.batches, self.state.seconds) = (number, 0, 0.0);
        self.state.means = Default::default();

        let Trainer { after_epoch, callbacks, .. } = &mut self.trainer;
        let flow = self.bar.aside(|| -> Result<bool> {
            let mut breaks = after_epoch.as_mut().is_some_and(|then| then(&epoch).is_break());
            for callback in callbacks {
                breaks |= callback.on_epoch(&epoch)?.is_break();
            }
            Ok(breaks)
        });
        self.state.broken_off |= flow?;
        Ok(())
    }

    /// Validates with the averaged weights, if there are some, and decides by the loss.
    fn validate<O: Optimizer>(&mut self, optimizer: &mut O) -> Result<()> {
        let Some(set) = &self.feed.validation else { return Ok(()) };
        let figures = self.with_averages(|| self.evaluate(set))?;
        let validation = Validation { step: self.state.step, epoch: self.state.epoch + 1, figures };
        self.state.history.validations.push(validation);
        self.callbacks().try_for_each(|callback| callback.on_validation(&validation))?;
        self.decide(figures.loss, optimizer)
    }

    /// Mean loss and metric over a set, in evaluation mode.
    fn evaluate(&self, set: &Passes<'_, B>) -> Result<Figures> {
        self.model.eval();
        let mut readings = Readings::default();
        let figures = set.begin(0, 0).try_for_each(|batch| readings.add((self.forward)(&batch?), None));
        self.model.train();
        figures.and_then(|()| readings.finish())
    }

    fn with_averages<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match &self.average {
            Some(average) => average.during(body),
            None => body(),
        }
    }

    /// What a new deciding loss means: the best so far is saved, a plateau may lower the learning rate.
    fn decide<O: Optimizer>(&mut self, loss: f64, optimizer: &mut O) -> Result<()> {
        if let LearningRate::Plateau(plateau, _) = &mut self.trainer.rate {
            plateau.step(loss, optimizer);
        }
        if self.state.best.is_some_and(|best| loss.total_cmp(&best).is_ge()) {
            self.state.waited += 1;
            return Ok(());
        }
        (self.state.best, self.state.waited) = (Some(loss), 0);
        let kept = self.trainer.checkpoints.as_ref().filter(|folder| folder.policy.best).map(|folder| folder.best());
        let paths: Vec<_> = self.trainer.best.iter().cloned().chain(kept).collect();
        if paths.is_empty() {
            return Ok(());
        }
        self.with_averages(|| paths.iter().try_for_each(|path| store::save(self.model, path)))
    }

    /// Waits for the numbers that are under way, and tells of their steps.
    fn settle(&mut self, readings: &mut Readings) -> Result<()> {
        self.state.means = readings.settle()?;
        self.report(readings)
    }

    /// Tells of the steps whose numbers have arrived.
    fn report(&mut self, readings: &mut Readings) -> Result<()> {
        for step in readings.arrived() {
            for callback in &mut self.trainer.callbacks {
                self.state.broken_off |= callback.on_step(&step)?.is_break();
            }
        }
        Ok(())
    }

    fn callbacks(&mut self) -> impl Iterator<Item = &mut Box<dyn Callback + 'a>> {
        self.trainer.callbacks.iter_mut()
    }

    /// The present step without its numbers.
    fn step(&mut self, lr: f64) -> Step {
        let done = self.state.batches;
        let first = (done - 1) / self.trainer.accumulate * self.trainer.accumulate;
        let examples = (first..done).map(|batch| self.feed.train.examples_of(batch)).sum();
        let (step, epoch, seconds) = (self.state.step, self.state.epoch + 1, self.began.elapsed().as_secs_f64());
        let waited = std::mem::take(&mut self.waited).as_secs_f64();
        Step { step, epoch, loss: f64::NAN, metric: None, lr, examples, seconds, waited }
    }

    fn set_rate(&self, steps: &mut impl Steps<B>) {
        match &self.trainer.rate {
            LearningRate::Function(rate) => {
                let lr = rate(self.state.step, self.total());
                if steps.optimizer().lr() != lr {
                    steps.optimizer_mut().set_lr(lr);
                }
            }
            LearningRate::Schedule(by, at) => schedule::apply_at(&**by, steps.optimizer_mut(), self.state.step, *at),
            LearningRate::Constant | LearningRate::Plateau(..) => {}
        }
    }

    /// Whether the host wants it to end before the next step.
    fn told_to_end(&self) -> Option<Ending> {
        let Trainer { stop, max_steps, time_limit, .. } = &self.trainer;
        if stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Some(Ending::Interrupted);
        }
        let enough = max_steps.is_some_and(|most| self.state.step >= most);
        let late = time_limit.is_some_and(|limit| self.began.elapsed() >= limit);
        (enough || late).then_some(Ending::Limit)
    }

    /// Writes a checkpoint, then removes those that are not kept.
    fn save(&self, optimizer: &impl Optimizer) -> Result<()> {
        let Some(folder) = &self.trainer.checkpoints else { return Ok(()) };
        let mut metadata = self.trainer.notes.clone();
        metadata.extend(self.state.metadata(&self.setup));
        metadata.extend(host_numbers(optimizer, self.plateau()));
        self.cells(optimizer).save(&metadata, folder.file(self.state.step))?;
        folder.prune()
    }

    /// What a checkpoint has of tensors.
    fn cells<'t, O: Optimizer>(&'t self, optimizer: &'t O) -> TrainingState<'t, M, O> {
        let state = TrainingState::new(self.model, optimizer);
        match &self.average {
            Some(average) => state.with("average", average),
            None => state,
        }
    }

    fn plateau(&self) -> Option<&schedule::ReduceLrOnPlateau> {
        match &self.trainer.rate {
            LearningRate::Plateau(plateau, _) => Some(plateau),
            _ => None,
        }
    }

    /// Goes on from the newest checkpoint, if it is to and there is one.
    fn resume(&mut self, optimizer: &mut impl Optimizer) -> Result<()> {
        let Some(folder) = &self.trainer.checkpoints else { return Ok(()) };
        folder.prepare()?;
        let Some(path) = folder.newest()? else { return Ok(()) };
        if !self.trainer.resume {
            let why = "a training's checkpoint is here already: resume() goes on from it";
            return Err(failed(&path, why));
        }
        self.load(&path, optimizer)
    }

    fn load(&mut self, path: &Path, optimizer: &mut impl Optimizer) -> Result<()> {
        let none = || failed(path, "this training has nothing that could be read from it");
        let device = self.cells(optimizer).device().ok_or_else(none)?;
        let (tensors, metadata) = store::load_tensors(&device, path)?;
        self.state = Progressed::read(&metadata, &self.setup).map_err(|why| failed(path, why))?;
        self.cells(optimizer).restore(&tensors).map_err(|error| error.of_file(path))?;
        let plateau = match &mut self.trainer.rate {
            LearningRate::Plateau(plateau, _) => Some(plateau),
            _ => None,
        };
        restore_host_numbers(&metadata, optimizer, plateau)
            .ok_or_else(|| failed(path, "its learning rates are of another optimizer or schedule"))
    }
}

/// Whether something that is done every so many steps is due now.
fn due(every: Every, step: usize) -> bool {
    matches!(every, Every::Steps(n) if step.is_multiple_of(n))
}
