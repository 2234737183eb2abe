//! Losses and metrics on their way from the device, read a few steps late.

use std::collections::VecDeque;
use std::fmt;

use super::{Figures, Outcome};
use crate::metrics::Mean;
use crate::{Reading, Result, Tensor};

/// How many steps may be under way before the first is waited for.
const LATE: usize = 4;

#[derive(Default)]
pub(super) struct Readings {
    under_way: VecDeque<UnderWay>,
    loss: Mean,
    metric: Option<(&'static str, Mean)>,
}

/// The numbers of one step.
struct UnderWay {
    loss: Reading,
    metric: Option<(&'static str, Reading)>,
    count: f64,
}

impl Readings {
    /// Asks for the numbers of a step, and takes those of an earlier one.
    pub(super) fn add(&mut self, outcome: Outcome) -> Result<()> {
        let metric = match &outcome.metric {
            Some((name, metric)) => {
                Tensor::eval_all(&[&outcome.loss, metric])?; // in one plan, if no step has done it
                Some((*name, metric.read_later()?))
            }
            None => None,
        };
        self.under_way.push_back(UnderWay { loss: outcome.loss.read_later()?, metric, count: outcome.count as f64 });
        while self.under_way.len() > LATE {
            self.take()?;
        }
        Ok(())
    }

    /// The means over what has arrived.
    pub(super) fn figures(&self) -> Figures {
        Figures { loss: self.loss.get(), metric: self.metric.map(|(_, mean)| mean.get()) }
    }

    /// Waits for the rest and gives the means over all.
    pub(super) fn finish(mut self) -> Result<Figures> {
        while !self.under_way.is_empty() {
            self.take()?;
        }
        Ok(self.figures())
    }

    fn take(&mut self) -> Result<()> {
        let Some(UnderWay { loss, metric, count }) = self.under_way.pop_front() else { return Ok(()) };
        self.loss.add(number(loss)?, count);
        if let Some((name, metric)) = metric {
            let (_, mean) = self.metric.get_or_insert((name, Mean::default()));
            mean.add(number(metric)?, count);
        }
        Ok(())
    }
}

impl fmt::Display for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}", self.loss.get())?;
        match self.metric {
            Some(("accuracy", mean)) => write!(f, "  accuracy {:5.1} %", 100.0 * mean.get()),
            Some((name, mean)) => write!(f, "  {name} {:.4}", mean.get()),
            None => Ok(()),
        }
    }
}

fn number(reading: Reading) -> Result<f64> {
    Ok(reading.wait()?.first().copied().map_or(f64::NAN, f64::from))
}
