//! Schedules made of others. Learning rates go from one step to the next, as PyTorch's do: what one schedule has done is where
//! another one goes on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{RefusedBy, Schedule, counts, listed, unless};

/// One schedule after another: each begins at its milestone, with a `t` of its own from 0. Milestones that are 0 or equal
/// leave out the schedules before them.
///
/// ```
/// use kiln::schedule::{ConstantLr, ExponentialLr, Schedule, SequentialLr};
/// let schedule = SequentialLr::new(ConstantLr::default()).then(20, ExponentialLr::new(0.9));
/// assert_eq!((schedule.lr(0.3, 19), schedule.lr(0.3, 20)), (0.3, 0.3));
/// assert_eq!(schedule.lr(0.3, 21), 0.3 * 0.9);
/// ```
pub struct SequentialLr<'a> {
    /// From when on, and what.
    parts: Vec<(usize, Box<dyn Schedule + 'a>)>,
    walk: Walk,
}

impl<'a> SequentialLr<'a> {
    /// Begins with `first`.
    pub fn new(first: impl Schedule + 'a) -> Self {
        Self { parts: vec![(0, Box::new(first))], walk: Walk::default() }
    }

    /// Goes on with `next` from `milestone` on. Milestones are given in order.
    #[must_use]
    pub fn then(mut self, milestone: usize, next: impl Schedule + 'a) -> Self {
        self.parts.push((milestone, Box::new(next)));
        self
    }

    /// Which schedule has its turn at `t`.
    fn at(&self, t: usize) -> usize {
        self.parts.iter().rposition(|(from, _)| *from <= t).unwrap_or(0)
    }
}

impl Schedule for SequentialLr<'_> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        self.lr_of(0, base, t)
    }

    fn lr_of(&self, group: usize, base: f64, t: usize) -> f64 {
        self.walk.to(group, base, t, |lr, t| self.lr_after(group, lr, base, t))
    }

    fn lr_after(&self, group: usize, lr: f64, base: f64, t: usize) -> f64 {
        let at = self.at(t);
        let (from, part) = &self.parts[at];
        let own = self.parts[..at].iter().enumerate().fold(base, |b, (i, (_, part))| part.base_after(b, i == 0));
        let own = part.base_after(own, true);
        match t {
            // it begins anew, whatever was done before
            0 => part.lr_after(group, self.base_after(base, true), own, 0),
            _ if t == *from => part.lr_begun(group, lr, own),
            _ => part.lr_after(group, lr, own, t - from),
        }
    }

    fn base_after(&self, base: f64, first: bool) -> f64 {
        self.parts.iter().enumerate().fold(base, |b, (i, (_, part))| part.base_after(b, first && i == 0))
    }

    /// That of the schedule whose turn it is, or where the last one that cycles it has left it. Before the first of those it is
    /// what the last of them begins with.
    fn momentum(&self, t: usize) -> Option<f64> {
        let left = |at: usize| {
            let (from, part) = &self.parts[at];
            let end = match self.parts.get(at + 1) {
                Some((next, _)) => t.min(next.checked_sub(1)?),
                None => t,
            };
            part.momentum(end.checked_sub(*from)?)
        };
        let begins = || self.parts.iter().rev().find_map(|(_, part)| part.momentum(0));
        (0..=self.at(t)).rev().find_map(left).or_else(begins)
    }

    fn refused(&self, t: usize) -> Option<RefusedBy> {
        let early = self.parts.windows(2).find(|pair| pair[1].0 < pair[0].0).map(|pair| pair[1].0 as f64);
        let turn = self.at(t);
        let own = |(i, (from, part)): (usize, &(usize, Box<dyn Schedule + '_>))| {
            part.refused(if i == turn { t.saturating_sub(*from) } else { 0 })
        };
        unless(early.is_none(), "SequentialLr", "milestone", early.unwrap_or(0.0), "not before the one before it")
            .or_else(|| self.parts.iter().enumerate().find_map(own))
    }

    fn refused_for(&self, groups: usize) -> Option<RefusedBy> {
        self.parts.iter().find_map(|(_, part)| part.refused_for(groups))
    }
}

/// Several schedules at once: in each step every one of them goes on from what those before it have made of the learning rate.
/// Factors multiply; one whose values stand by themselves ([`LambdaLr`](super::LambdaLr),
/// [`CosineAnnealingWarmRestarts`](super::CosineAnnealingWarmRestarts), [`OneCycleLr`](super::OneCycleLr),
/// [`CyclicLr`](super::CyclicLr)) undoes what comes before it in the chain, and belongs at its beginning. What a factor does
/// after it is undone in the next step too.
///
/// ```
/// use kiln::schedule::{ChainedScheduler, ConstantLr, CosineAnnealingLr, Schedule};
/// let half = ConstantLr { factor: 0.5, total_iters: 100 };
/// let schedule = ChainedScheduler::new().and(half).and(CosineAnnealingLr { t_max: 10, eta_min: 0.1 });
/// // what lies above the lowest rate is multiplied, as in PyTorch: 0.1 + (0.5 − 0.1)/2
/// assert!((schedule.lr(1.0, 5) - 0.3).abs() < 1e-12);
/// ```
#[derive(Default)]
pub struct ChainedScheduler<'a> {
    parts: Vec<Box<dyn Schedule + 'a>>,
    walk: Walk,
}

impl<'a> ChainedScheduler<'a> {
    /// Of nothing yet, which is refused, as PyTorch does: [`and`](ChainedScheduler::and) adds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn and(mut self, schedule: impl Schedule + 'a) -> Self {
        self.parts.push(Box::new(schedule));
        self
    }
}

impl Schedule for ChainedScheduler<'_> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        self.lr_of(0, base, t)
    }

    fn lr_of(&self, group: usize, base: f64, t: usize) -> f64 {
        self.walk.to(group, base, t, |lr, t| self.lr_after(group, lr, base, t))
    }

    fn lr_after(&self, group: usize, mut lr: f64, mut base: f64, t: usize) -> f64 {
        for (i, part) in self.parts.iter().enumerate() {
            base = part.base_after(base, i == 0);
            lr = part.lr_after(group, lr, base, t);
        }
        lr
    }

    fn base_after(&self, base: f64, first: bool) -> f64 {
        self.parts.iter().enumerate().fold(base, |b, (i, part)| part.base_after(b, first && i == 0))
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        self.parts.iter().rev().find_map(|part| part.momentum(t))
    }

    fn refused(&self, t: usize) -> Option<RefusedBy> {
        counts("ChainedScheduler", "schedules", self.parts.len())
            .or_else(|| self.parts.iter().find_map(|part| part.refused(t)))
    }

    fn refused_for(&self, groups: usize) -> Option<RefusedBy> {
        self.parts.iter().find_map(|part| part.refused_for(groups))
    }
}

/// The learning rates that were reached last, for each group: the next one goes on from there, and one before it begins
/// anew. So a schedule stays a function of `t`.
#[derive(Default)]
struct Walk(Mutex<BTreeMap<usize, Reached>>);

/// From `base`, the learning rate at `t`.
struct Reached {
    base: f64,
    t: usize,
    lr: f64,
}

impl Walk {
    fn to(&self, group: usize, base: f64, t: usize, step: impl Fn(f64, usize) -> f64) -> f64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = known.get(&group).filter(|reached| reached.base == base && reached.t <= t);
        let (from, start) = from.map_or((0, step(base, 0)), |reached| (reached.t, reached.lr));
        let lr = (from + 1..=t).fold(start, step);
        known.insert(group, Reached { base, t, lr });
        lr
    }
}

/// A schedule for each of the optimizer's groups, in their order; more or fewer than there are groups are refused. PyTorch's
/// lists of functions (`LambdaLR`) and of learning rates (`max_lr` and the like). The momentum is the first one's.
///
/// ```
/// use kiln::schedule::{LambdaLr, PerGroup, Schedule};
/// let schedule = PerGroup::new(LambdaLr(|t| 0.9f64.powi(t as i32))).and(LambdaLr(|t| 1.0 / (t + 1) as f64));
/// assert_eq!((schedule.lr_of(0, 0.1, 1), schedule.lr_of(1, 0.1, 1)), (0.1 * 0.9, 0.05));
/// ```
pub struct PerGroup<'a> {
    parts: Vec<Box<dyn Schedule + 'a>>,
}

impl<'a> PerGroup<'a> {
    /// For the first group.
    pub fn new(first: impl Schedule + 'a) -> Self {
        Self { parts: vec![Box::new(first)] }
    }

    /// For the next one.
    #[must_use]
    pub fn and(mut self, schedule: impl Schedule + 'a) -> Self {
        self.parts.push(Box::new(schedule));
        self
    }
}

impl Schedule for PerGroup<'_> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        self.lr_of(0, base, t)
    }

    fn lr_of(&self, group: usize, base: f64, t: usize) -> f64 {
        self.parts[group.min(self.parts.len() - 1)].lr_of(group, base, t)
    }

    fn lr_between(&self, group: usize, base: f64, t: f64) -> f64 {
        self.parts[group.min(self.parts.len() - 1)].lr_between(group, base, t)
    }

    fn lr_after(&self, group: usize, lr: f64, base: f64, t: usize) -> f64 {
        self.parts[group.min(self.parts.len() - 1)].lr_after(group, lr, base, t)
    }

    fn lr_begun(&self, group: usize, lr: f64, base: f64) -> f64 {
        self.parts[group.min(self.parts.len() - 1)].lr_begun(group, lr, base)
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        self.parts[0].momentum(t)
    }

    fn refused(&self, t: usize) -> Option<RefusedBy> {
        self.parts.iter().find_map(|part| part.refused(t))
    }

    fn refused_for(&self, groups: usize) -> Option<RefusedBy> {
        listed("PerGroup", "schedules", self.parts.len(), groups)
            .or_else(|| self.parts.iter().find_map(|part| part.refused_for(groups)))
    }
}

/// Up in `steps` equal steps to what `then` begins with, then `then` with a `t` of its own from 0:
/// `(t + 1)/steps` of it at first.
#[derive(Debug, Clone, PartialEq)]
pub struct Warmup<S> {
    /// Steps of the climb.
    pub steps: usize,
    /// What comes after it.
    pub then: S,
}

impl<S: Schedule> Warmup<S> {
    /// A climb over `steps` before `then`.
    pub fn new(steps: usize, then: S) -> Self {
        Self { steps, then }
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        self.lr_of(0, base, t)
    }

    fn lr_of(&self, group: usize, base: f64, t: usize) -> f64 {
        let lr = self.then.lr_of(group, base, t.saturating_sub(self.steps));
        if t < self.steps { lr * super::warmup(t, self.steps) } else { lr }
    }

    fn lr_after(&self, group: usize, lr: f64, base: f64, t: usize) -> f64 {
        let way = |t: usize| super::warmup(t, self.steps);
        match t {
            0 => self.then.lr_after(group, lr, base, 0) * way(0),
            _ if t <= self.steps => lr * way(t) / way(t - 1),
            _ => self.then.lr_after(group, lr, base, t - self.steps),
        }
    }

    fn base_after(&self, base: f64, first: bool) -> f64 {
        self.then.base_after(base, first)
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        self.then.momentum(t.saturating_sub(self.steps))
    }

    fn refused(&self, t: usize) -> Option<RefusedBy> {
        self.then.refused(t.saturating_sub(self.steps))
    }

    fn refused_for(&self, groups: usize) -> Option<RefusedBy> {
        self.then.refused_for(groups)
    }
}
