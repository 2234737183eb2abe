//! Losses and metrics on their way from the device, read a few batches late.

use std::collections::VecDeque;
use std::fmt;

use super::{Figures, Outcome, Step};
use crate::metrics::Mean;
use crate::{Reading, Result, Tensor};

/// How many batches may be under way before the first is waited for.
const LATE: usize = 4;

#[derive(Default)]
pub(super) struct Readings {
    under_way: VecDeque<UnderWay>,
    /// Over all batches.
    all: Means,
    /// Over the batches of the present step.
    step: Means,
    name: Option<&'static str>,
    /// Steps whose numbers have arrived.
    arrived: Vec<Step>,
}

/// Loss and metric, with what they are means of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Means {
    pub(super) loss: Mean,
    pub(super) metric: Option<Mean>,
}

impl Means {
    fn add(&mut self, loss: f64, metric: Option<f64>, count: f64) {
        self.loss.add(loss, count);
        if let Some(metric) = metric {
            self.metric.get_or_insert_default().add(metric, count);
        }
    }

    fn figures(&self) -> Figures {
        Figures { loss: self.loss.get(), metric: self.metric.map(|mean| mean.get()) }
    }
}

/// The numbers of one batch.
struct UnderWay {
    loss: Reading,
    metric: Option<Reading>,
    count: usize,
    /// The step that it completes, without its numbers.
    completes: Option<Step>,
}

impl Readings {
    /// Goes on from means that were taken before.
    pub(super) fn resumed(all: Means) -> Self {
        Self { all, ..Self::default() }
    }

    /// Asks for the numbers of a batch, and takes those of an earlier one.
    pub(super) fn add(&mut self, outcome: Outcome, completes: Option<Step>) -> Result<()> {
        let metric = match &outcome.metric {
            Some((name, metric)) => {
                Tensor::eval_all(&[&outcome.loss, metric])?; // in one plan, if no step has done it
                self.name = Some(name);
                Some(metric.read_later()?)
            }
            None => None,
        };
        let loss = outcome.loss.read_later()?;
        self.under_way.push_back(UnderWay { loss, metric, count: outcome.count, completes });
        while self.under_way.len() > LATE {
            self.take()?;
        }
        Ok(())
    }

    /// Waits for all numbers that are under way, and gives the means over all.
    pub(super) fn settle(&mut self) -> Result<Means> {
        while !self.under_way.is_empty() {
            self.take()?;
        }
        Ok(self.all)
    }

    /// The same as figures.
    pub(super) fn finish(&mut self) -> Result<Figures> {
        self.settle().map(|means| means.figures())
    }

    /// The steps whose numbers have arrived since the last call.
    pub(super) fn arrived(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.arrived)
    }

    fn take(&mut self) -> Result<()> {
        let Some(UnderWay { loss, metric, count, completes }) = self.under_way.pop_front() else { return Ok(()) };
        let (loss, metric) = (number(loss)?, metric.map(number).transpose()?);
        self.all.add(loss, metric, count as f64);
        self.step.add(loss, metric, count as f64);
        if let Some(step) = completes {
            let Figures { loss, metric } = std::mem::take(&mut self.step).figures();
            self.arrived.push(Step { loss, metric: self.name.zip(metric), ..step });
        }
        Ok(())
    }
}

impl fmt::Display for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { loss, metric } = self.all.figures();
        write!(f, "loss {loss:.4}")?;
        match self.name.zip(metric) {
            Some(("accuracy", mean)) => write!(f, "  accuracy {:5.1} %", 100.0 * mean),
            Some((name, mean)) => write!(f, "  {name} {mean:.4}"),
            None => Ok(()),
        }
    }
}

fn number(reading: Reading) -> Result<f64> {
    Ok(reading.wait()?.first().copied().map_or(f64::NAN, f64::from))
}
