//! What is told of a training while it runs.

use std::ops::ControlFlow;

use super::{Epoch, Figures, History};
use crate::Result;

/// Hears of a training: writes logs, draws, breaks off. Every method does nothing by default.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use kiln::prelude::*; use kiln::train::{Callback, Step};
/// /// Breaks off when a loss is low enough.
/// struct LowEnough(f64);
///
/// impl Callback for LowEnough {
///     fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
///         Ok(if step.loss < self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
///     }
/// }
/// let trainer = Trainer::new(10).callback(LowEnough(0.1));
/// # drop(trainer);
/// ```
pub trait Callback {
    /// Before the first step. A training that is resumed starts in the middle: what a log has of later steps and
    /// epochs will come again.
    ///
    /// # Errors
    /// An error ends the training with it; so for the other methods.
    fn on_start(&mut self, _start: &Start) -> Result<()> {
        Ok(())
    }

    /// After a step, in order. Losses are read late, so up to four further batches may have been run since; a break
    /// ends the training after those.
    ///
    /// # Errors
    /// As for [`on_start`](Callback::on_start).
    fn on_step(&mut self, _step: &Step) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// After a validation.
    ///
    /// # Errors
    /// As for [`on_start`](Callback::on_start).
    fn on_validation(&mut self, _validation: &Validation) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its validation.
    ///
    /// # Errors
    /// As for [`on_start`](Callback::on_start).
    fn on_epoch(&mut self, _epoch: &Epoch) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// After the training, unless it ended in an error.
    ///
    /// # Errors
    /// As for [`on_start`](Callback::on_start).
    fn on_end(&mut self, _history: &History) -> Result<()> {
        Ok(())
    }
}

impl<C: Callback + ?Sized> Callback for &mut C {
    fn on_start(&mut self, start: &Start) -> Result<()> {
        (**self).on_start(start)
    }

    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        (**self).on_step(step)
    }

    fn on_validation(&mut self, validation: &Validation) -> Result<()> {
        (**self).on_validation(validation)
    }

    fn on_epoch(&mut self, epoch: &Epoch) -> Result<ControlFlow<()>> {
        (**self).on_epoch(epoch)
    }

    fn on_end(&mut self, history: &History) -> Result<()> {
        (**self).on_end(history)
    }
}

/// Where a training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Steps that were taken before.
    pub step: usize,
    /// Epochs that were completed before.
    pub epochs_done: usize,
    /// Validations before.
    pub validations: usize,
    /// Steps in all epochs.
    pub steps: usize,
    /// Epochs in all.
    pub epochs: usize,
}

/// One step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The mean loss over its examples.
    pub loss: f64,
    /// The mean of the metric and its name, where there is one.
    pub metric: Option<(&'static str, f64)>,
    /// The learning rate.
    pub lr: f64,
    /// Its examples.
    pub examples: usize,
    /// Since the training began, without what came before a resume.
    pub seconds: f64,
    /// How long its batches were waited for, in seconds: what faster or more loader threads could save.
    pub waited: f64,
}

/// The figures of the validation set at some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// After this many steps.
    pub step: usize,
    /// In this epoch, from 1.
    pub epoch: usize,
    /// Means over the set.
    pub figures: Figures,
}
