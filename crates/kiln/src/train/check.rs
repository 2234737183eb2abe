//! Settings that no training can go by.

use super::feed::BATCH;
use super::{Every, LearningRate, Trainer};
use crate::error::At;
use crate::schedule::{self, Schedule};
use crate::{Error, Result};

impl Trainer<'_> {
    /// Whether the settings go with each other, and with an optimizer of `groups` groups.
    #[track_caller]
    pub(super) fn check(&self, groups: usize) -> Result<()> {
        let mut counts = vec![("batch", self.batch.unwrap_or(BATCH)), ("accumulate", self.accumulate)];
        let mut every = |name, every| {
            let (Every::Steps(n) | Every::Epochs(n)) = every;
            counts.push((name, n));
        };
        every("validate", self.validate);
        if let Some(folder) = &self.checkpoints {
            every("checkpoints.every", folder.policy.every);
            counts.push(("checkpoints.keep", folder.policy.keep));
        }
        if let Some((name, n)) = counts.into_iter().find(|(_, n)| *n == 0) {
            return Err(refused(name, n, "must be at least 1"));
        }
        for (name, bound) in [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)] {
            if let Some(bound) = bound.filter(|bound| bound.is_nan() || *bound <= 0.0) {
                return Err(refused(name, bound, "must be above zero"));
            }
        }
        let rate = match &self.rate {
            LearningRate::Schedule(schedule, at) => {
                schedule.refused(0).or_else(|| schedule.refused_for(groups)).map(|refused| (refused, *at))
            }
            LearningRate::Plateau(plateau, at) => plateau.refused(groups).map(|refused| (refused, *at)),
            LearningRate::Constant | LearningRate::Function(_) => None,
        };
        if let Some((refused, at)) = rate {
            return Err(schedule::error(refused, at));
        }
        match self.ema.filter(|decay| !(0.0..=1.0).contains(decay)) {
            Some(decay) => Err(refused("ema", decay, "must be from 0 to 1")),
            None => Ok(()),
        }
    }
}

#[track_caller]
pub(super) fn refused(name: &'static str, value: impl ToString, why: &'static str) -> Error {
    Error::Argument { op: "Trainer", name, value: value.to_string(), why, at: At::here() }
}
