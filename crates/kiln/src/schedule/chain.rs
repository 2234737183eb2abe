//! Schedules made of others.

use super::Schedule;

/// One schedule after another: each begins at its milestone, with a `t` of its own from 0.
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
}

impl<'a> SequentialLr<'a> {
    /// Begins with `first`.
    pub fn new(first: impl Schedule + 'a) -> Self {
        Self { parts: vec![(0, Box::new(first))] }
    }

    /// Goes on with `next` from `milestone` on. Milestones are given in order.
    #[must_use]
    pub fn then(mut self, milestone: usize, next: impl Schedule + 'a) -> Self {
        self.parts.push((milestone, Box::new(next)));
        self
    }

    /// The schedule at `t`, and its own `t`.
    fn at(&self, t: usize) -> (&(dyn Schedule + 'a), usize) {
        let (from, part) = self.parts.iter().rev().find(|(from, _)| *from <= t).unwrap_or(&self.parts[0]);
        (&**part, t - from)
    }
}

impl Schedule for SequentialLr<'_> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        self.lr_of(0, base, t)
    }

    fn lr_of(&self, group: usize, base: f64, t: usize) -> f64 {
        let (part, t) = self.at(t);
        part.lr_of(group, base, t)
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        let (part, t) = self.at(t);
        part.momentum(t)
    }
}

/// Several schedules at once: `base` times the factors of all of them. Of those that are no factors (with a lowest or
/// highest learning rate) there is one at most: it comes first, and the others scale what it gives.
#[derive(Default)]
pub struct ChainedScheduler<'a> {
    parts: Vec<Box<dyn Schedule + 'a>>,
}

impl<'a> ChainedScheduler<'a> {
    /// Of nothing yet: `base` itself.
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
        self.parts.iter().fold(base, |lr, part| part.lr_of(group, lr, t))
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        self.parts.iter().rev().find_map(|part| part.momentum(t))
    }
}

/// A schedule for each of the optimizer's groups, in their order; groups past the last have that one. PyTorch's lists
/// of functions (`LambdaLR`) and of learning rates (`max_lr` and the like). The momentum is the first one's.
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

    fn momentum(&self, t: usize) -> Option<f64> {
        self.parts[0].momentum(t)
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

    fn momentum(&self, t: usize) -> Option<f64> {
        self.then.momentum(t.saturating_sub(self.steps))
    }
}
