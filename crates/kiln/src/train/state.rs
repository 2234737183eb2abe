//! How far a training has come: what a checkpoint holds besides tensors, and its text.

use std::fmt::Display;
use std::str::FromStr;

use super::feed::BATCH;
use super::readings::Means;
use super::{Epoch, Figures, History, Trainer, Validation};
use crate::data::Passes;
use crate::metrics::Mean;
use crate::optim::Optimizer;
use crate::schedule::ReduceLrOnPlateau;
use crate::store::Metadata;

/// How far a training has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progressed {
    /// Epochs that are done.
    pub(super) epoch: usize,
    /// Batches of the present epoch that are done.
    pub(super) batches: usize,
    /// Steps in all.
    pub(super) step: usize,
    /// Of the present epoch's batches.
    pub(super) means: Means,
    /// The lowest deciding loss.
    pub(super) best: Option<f64>,
    /// How often it has not fallen since.
    pub(super) waited: usize,
    /// Of the present epoch.
    pub(super) seconds: f64,
    /// A callback has ended the training.
    pub(super) broken_off: bool,
    pub(super) history: History,
}

/// What must be the same in a training that is resumed, in words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setup(String);

impl Setup {
    pub(super) fn of<B>(trainer: &Trainer<'_>, train: &Passes<'_, B>) -> Self {
        let Trainer { seed, batch, accumulate, .. } = trainer;
        let order = match train.description() {
            Some(own) => own.to_string(),
            None => format!("seed {}, batch {}", seed.unwrap_or(0), batch.unwrap_or(BATCH)),
        };
        Self(format!("{order}, accumulate {accumulate}, {} examples", train.examples()))
    }
}

impl Progressed {
    /// As texts. Numbers read again as the same bits.
    pub(super) fn metadata(&self, setup: &Setup) -> Metadata {
        let mut all = Metadata::new();
        let mut put = |name: &str, text: String| drop(all.insert(format!("trainer.{name}"), text));
        put("setup", setup.0.clone());
        put("position", format!("{} {} {}", self.epoch, self.batches, self.step));
        let mut sums = vec![self.means.loss];
        sums.extend(self.means.metric);
        let sums: Vec<String> = sums.iter().map(|mean| mean.parts()).map(|(s, w)| format!("{s:?} {w:?}")).collect();
        put("means", sums.join(" "));
        put("best", format!("{} {}", optional(self.best), self.waited));
        put("seconds", format!("{:?}", self.seconds));
        put("broken_off", self.broken_off.to_string());
        let epochs = self.history.epochs.iter().map(|e| {
            let validation = figures(e.validation);
            format!("{} {} {} {validation} {:?} {:?}", e.epoch, e.step, figures(Some(e.train)), e.lr, e.seconds)
        });
        put("epochs", epochs.collect::<Vec<_>>().join("\n"));
        let validations = self.history.validations.iter();
        let validations = validations.map(|v| format!("{} {} {}", v.epoch, v.step, figures(Some(v.figures))));
        put("validations", validations.collect::<Vec<_>>().join("\n"));
        all
    }

    /// What [`metadata`](Progressed::metadata) wrote.
    pub(super) fn read(all: &Metadata, setup: &Setup) -> Result<Self, String> {
        let text = |name: &str| {
            all.get(&format!("trainer.{name}")).map(String::as_str).ok_or("it holds no training of a Trainer")
        };
        let was = text("setup")?;
        if was != setup.0 {
            return Err(format!("it is of a training with {was}; this one has {}", setup.0));
        }
        let words = |name| text(name).map(Words::of);
        let damaged = |name: &str| format!("its {name} cannot be read");

        let mut state = Self::default();
        let mut position = words("position")?;
        let three = || Some((position.next()?, position.next()?, position.next()?));
        (state.epoch, state.batches, state.step) = { three }().ok_or_else(|| damaged("position"))?;
        let mut sums = words("means")?;
        state.means.loss = sums.mean().ok_or_else(|| damaged("means"))?;
        state.means.metric = sums.mean();
        let mut best = words("best")?;
        let two = || Some((best.optional()?, best.next()?));
        (state.best, state.waited) = { two }().ok_or_else(|| damaged("best loss"))?;
        state.seconds = words("seconds")?.next().ok_or_else(|| damaged("time"))?;
        state.broken_off = words("broken_off")?.next().ok_or_else(|| damaged("ending"))?;
        let epochs = text("epochs")?.lines().map(|line| Words::of(line).epoch());
        state.history.epochs = epochs.collect::<Option<_>>().ok_or_else(|| damaged("epochs"))?;
        let validations = text("validations")?.lines().map(|line| Words::of(line).validation());
        state.history.validations = validations.collect::<Option<_>>().ok_or_else(|| damaged("validations"))?;
        Ok(state)
    }
}

/// The numbers of the host that belong to an optimizer, and what a plateau schedule remembers.
pub(super) fn host_numbers(optimizer: &impl Optimizer, plateau: Option<&ReduceLrOnPlateau>) -> Metadata {
    let lrs: Vec<String> = optimizer.slots().groups.iter().map(|group| format!("{:?}", group.lr)).collect();
    let mut all = Metadata::from([("trainer.lrs".to_string(), lrs.join(" "))]);
    all.insert("trainer.momentum".to_string(), optional(optimizer.present_momentum()));
    all.extend(plateau.map(|plateau| plateau.state(optimizer)).unwrap_or_default());
    all
}

/// Puts back what [`host_numbers`] gave; `None` if it is of something else.
pub(super) fn restore_host_numbers(
    all: &Metadata,
    optimizer: &mut impl Optimizer,
    plateau: Option<&mut ReduceLrOnPlateau>,
) -> Option<()> {
    let mut lrs = Words::of(all.get("trainer.lrs")?);
    let lrs: Vec<f64> = std::iter::from_fn(|| lrs.next()).collect();
    if lrs.len() != optimizer.slots().groups.len() {
        return None;
    }
    if let Some(&first) = lrs.first() {
        optimizer.set_lr(first);
    }
    for (group, lr) in optimizer.slots_mut().groups.iter_mut().zip(lrs) {
        group.lr = lr;
    }
    if let Some(momentum) = Words::of(all.get("trainer.momentum")?).optional()? {
        optimizer.set_momentum(momentum);
    }
    match plateau {
        Some(plateau) => plateau.load_state(all, optimizer).then_some(()),
        None => Some(()),
    }
}

/// The shortest text that reads as the same number.
fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_string(), |value| format!("{value:?}"))
}

fn figures(figures: Option<Figures>) -> impl Display {
    match figures {
        Some(Figures { loss, metric }) => format!("{loss:?} {}", optional(metric)),
        None => "- -".to_string(),
    }
}

/// The words of a text, one after another.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split_whitespace())
    }

    fn next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn optional(&mut self) -> Option<Option<f64>> {
        match self.0.next()? {
            "-" => Some(None),
            word => word.parse().ok().map(Some),
        }
    }

    fn mean(&mut self) -> Option<Mean> {
        Some(Mean::from_parts(self.next()?, self.next()?))
    }

    fn figures(&mut self) -> Option<Option<Figures>> {
        let (loss, metric) = (self.optional()?, self.optional()?);
        Some(loss.map(|loss| Figures { loss, metric }))
    }

    fn epoch(mut self) -> Option<Epoch> {
        let (epoch, step) = (self.next()?, self.next()?);
        let (train, validation) = (self.figures()??, self.figures()?);
        Some(Epoch { epoch, step, train, validation, lr: self.next()?, seconds: self.next()? })
    }

    fn validation(mut self) -> Option<Validation> {
        Some(Validation { epoch: self.next()?, step: self.next()?, figures: self.figures()?? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same_bits() {
        let figures = |loss| Figures { loss, metric: Some(1.0 / 3.0) };
        let mut state = Progressed { epoch: 3, batches: 2, step: 17, waited: 1, ..Progressed::default() };
        state.means.loss.add(0.1, 3.0);
        (state.best, state.seconds, state.broken_off) = (Some(1e-300), 0.7, true);
        for (epoch, loss) in [(1, 0.1 + 0.2), (2, f64::INFINITY), (3, 5e-324)] {
            let validation = (epoch != 2).then(|| figures(-0.0));
            let train = Figures { loss, metric: None };
            state.history.epochs.push(Epoch { epoch, step: 5, train, validation, lr: 1e-3, seconds: 0.25 });
            state.history.validations.push(Validation { step: 4, epoch, figures: figures(loss) });
        }
        let setup = Setup("seed 1".into());
        let text = state.metadata(&setup);
        assert_eq!(Progressed::read(&text, &setup).unwrap(), state);
        assert!(Progressed::read(&text, &Setup("seed 2".into())).is_err());
        for name in ["setup", "position", "means", "best", "seconds", "broken_off", "epochs", "validations"] {
            for damage in [None, Some("1 x")] {
                let mut bad = text.clone();
                bad.remove(&format!("trainer.{name}"));
                bad.extend(damage.map(|text| (format!("trainer.{name}"), text.to_string())));
                assert!(Progressed::read(&bad, &setup).is_err() || (name == "seconds" && damage.is_some()), "{name}");
            }
        }
    }
}
