//! A learning rate that falls when nothing improves any more.

use std::collections::BTreeMap;

use super::{RefusedBy, error, listed, unless};
use crate::error::At;
use crate::optim::Optimizer;

/// What is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlateauMode {
    /// Less: a loss.
    #[default]
    Min,
    /// More: an accuracy.
    Max,
}

/// What a threshold is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThresholdMode {
    /// The best figure so far: better by this share of it.
    #[default]
    Rel,
    /// Nothing: better by this much.
    Abs,
}

/// Multiplies the learning rate by `factor` when a figure has not improved for more than `patience` epochs. Settings are
/// PyTorch's arguments, and so are the defaults.
///
/// ```
/// # use kiln::prelude::*; use kiln::schedule::ReduceLrOnPlateau;
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut sgd = Sgd::new(&model, 0.1);
/// let mut plateau = ReduceLrOnPlateau { patience: 1, ..Default::default() };
/// for loss in [1.0, 0.9, 0.9, 0.9] {
///     plateau.step(loss, &mut sgd);
/// }
/// assert!((sgd.lr() - 0.01).abs() < 1e-12);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceLrOnPlateau {
    /// Whether less or more is better.
    pub mode: PlateauMode,
    /// 0.1.
    pub factor: f64,
    /// Epochs without improvement that are let pass; 10.
    pub patience: usize,
    /// How much better counts; 10⁻⁴.
    pub threshold: f64,
    /// What the threshold is compared with.
    pub threshold_mode: ThresholdMode,
    /// Epochs after a fall in which nothing is counted; 0.
    pub cooldown: usize,
    /// The lowest learning rate; 0.
    pub min_lr: f64,
    /// The lowest of each group, where they differ; empty if `min_lr` is that of all groups.
    pub min_lrs: Vec<f64>,
    /// A fall by less is left out; 10⁻⁸.
    pub eps: f64,
    /// What was seen so far.
    pub seen: Seen,
}

/// What [`ReduceLrOnPlateau`] remembers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// The best figure, once there was one.
    pub best: Option<f64>,
    /// Epochs since it.
    pub bad_epochs: usize,
    /// Epochs of cooldown that are left.
    pub cooldown_left: usize,
}

impl Default for ReduceLrOnPlateau {
    fn default() -> Self {
        Self {
            mode: PlateauMode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: 0.0,
            min_lrs: Vec::new(),
            eps: 1e-8,
            seen: Seen::default(),
        }
    }
}

impl ReduceLrOnPlateau {
    fn better(&self, figure: f64) -> bool {
        let best = match (self.seen.best, self.mode) {
            (Some(best), _) => best,
            (None, PlateauMode::Min) => f64::INFINITY,
            (None, PlateauMode::Max) => f64::NEG_INFINITY,
        };
        match (self.mode, self.threshold_mode) {
            (PlateauMode::Min, ThresholdMode::Rel) => figure < best * (1.0 - self.threshold),
            (PlateauMode::Min, ThresholdMode::Abs) => figure < best - self.threshold,
            (PlateauMode::Max, ThresholdMode::Rel) => figure > best * (1.0 + self.threshold),
            (PlateauMode::Max, ThresholdMode::Abs) => figure > best + self.threshold,
        }
    }

    /// A setting that PyTorch refuses of an optimizer of `groups` groups.
    pub fn refused(&self, groups: usize) -> Option<RefusedBy> {
        const NAME: &str = "ReduceLrOnPlateau";
        let listed = || listed(NAME, "min_lrs", self.min_lrs.len(), groups).filter(|_| !self.min_lrs.is_empty());
        unless(self.factor < 1.0, NAME, "factor", self.factor, "below 1").or_else(listed)
    }

    /// Takes the figure of an epoch; whether the learning rate was lowered. With a setting that is
    /// [refused](ReduceLrOnPlateau::refused) the optimizer's next step is an [`Error::Argument`](crate::Error::Argument).
    #[track_caller]
    pub fn step(&mut self, figure: f64, optimizer: &mut (impl Optimizer + ?Sized)) -> bool {
        if let Some(refused) = self.refused(optimizer.slots().groups.len()) {
            optimizer.slots_mut().refuse(error(refused, At::here()));
            return false;
        }
        if self.better(figure) {
            (self.seen.best, self.seen.bad_epochs) = (Some(figure), 0);
        } else {
            self.seen.bad_epochs += 1;
        }
        if self.seen.cooldown_left > 0 {
            self.seen.cooldown_left -= 1;
            self.seen.bad_epochs = 0;
        }
        if self.seen.bad_epochs <= self.patience {
            return false;
        }
        (self.seen.cooldown_left, self.seen.bad_epochs) = (self.cooldown, 0);
        let lower = |(at, lr): (usize, f64)| {
            let new = (lr * self.factor).max(self.min_lrs.get(at).copied().unwrap_or(self.min_lr));
            if lr - new > self.eps { new } else { lr }
        };
        let lrs = optimizer.slots().groups.iter().map(|group| group.lr);
        let lowered: Vec<f64> = lrs.enumerate().map(lower).collect();
        set_all(optimizer, &lowered)
    }

    /// What a checkpoint needs to know, with the learning rates.
    pub fn state(&self, optimizer: &(impl Optimizer + ?Sized)) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        let mut put = |name: &str, value: String| drop(state.insert(format!("plateau.{name}"), value));
        if let Some(best) = self.seen.best {
            put("best", format!("{best:?}")); // shortest text that reads as the same number
        }
        put("bad_epochs", self.seen.bad_epochs.to_string());
        put("cooldown_left", self.seen.cooldown_left.to_string());
        for (at, group) in optimizer.slots().groups.iter().enumerate() {
            put(&format!("lr.{at}"), format!("{:?}", group.lr));
        }
        state
    }

    /// Goes on where `state` was taken, and sets the learning rates; false if it is of something else.
    pub fn load_state(&mut self, state: &BTreeMap<String, String>, optimizer: &mut (impl Optimizer + ?Sized)) -> bool {
        let number = |name: &str| state.get(&format!("plateau.{name}"));
        let count = |name: &str| number(name).and_then(|text| text.parse::<usize>().ok());
        let groups = optimizer.slots().groups.len();
        let lrs: Option<Vec<f64>> = (0..groups).map(|at| number(&format!("lr.{at}"))?.parse().ok()).collect();
        let (Some(bad_epochs), Some(cooldown_left), Some(lrs)) = (count("bad_epochs"), count("cooldown_left"), lrs)
        else {
            return false;
        };
        self.seen = Seen { best: number("best").and_then(|text| text.parse().ok()), bad_epochs, cooldown_left };
        set_all(optimizer, &lrs);
        true
    }
}

/// Sets the learning rate of each group; whether one has changed.
fn set_all(optimizer: &mut (impl Optimizer + ?Sized), lrs: &[f64]) -> bool {
    let changed = optimizer.slots().groups.iter().zip(lrs).any(|(group, lr)| group.lr != *lr);
    if let (true, Some(&first)) = (changed, lrs.first()) {
        optimizer.set_lr(first); // so that optimizers made of others hear of it
        for (group, lr) in optimizer.slots_mut().groups.iter_mut().zip(lrs) {
            group.lr = *lr;
        }
    }
    changed
}
