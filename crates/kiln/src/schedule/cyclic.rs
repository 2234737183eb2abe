//! Schedules that go up and down, with a momentum that goes the other way.

use std::f64::consts::PI;

use super::{RefusedBy, Schedule, counts, unless};

/// How a schedule gets from one value to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anneal {
    /// By half a cosine.
    #[default]
    Cos,
    /// In a straight line.
    Linear,
}

impl Anneal {
    /// From `start` to `end`, `way` of it gone.
    fn between(self, start: f64, end: f64, way: f64) -> f64 {
        match self {
            Anneal::Cos => end + (start - end) / 2.0 * ((PI * way).cos() + 1.0),
            Anneal::Linear => (end - start) * way + start,
        }
    }
}

/// Up from `max_lr / div_factor` to `max_lr` over `pct_start` of the steps, then down to
/// `max_lr / div_factor / final_div_factor`; with `three_phase`, down to the beginning first, in as many steps as up. The
/// momentum (or β₁) goes down and up the other way, unless `momentum` is `None`.
///
/// Learning rates are absolute: the optimizer's own one does not count. A step past `total_steps` is refused; the learning rate
/// at `total_steps` itself lies past the end of the last phase, as in PyTorch, where the scheduler gets there after the last step.
///
/// Source: Smith & Topin 2018, "Super-convergence".
#[derive(Debug, Clone, PartialEq)]
pub struct OneCycleLr {
    /// The highest learning rate.
    pub max_lr: f64,
    /// Steps in all.
    pub total_steps: usize,
    /// The share of the steps that go up; 0.3.
    pub pct_start: f64,
    /// By half a cosine, as by default, or in straight lines.
    pub anneal: Anneal,
    /// The least and the greatest momentum; (0.85, 0.95).
    pub momentum: Option<(f64, f64)>,
    /// 25.
    pub div_factor: f64,
    /// 10⁴.
    pub final_div_factor: f64,
    /// Whether there is a phase of its own from the beginning's learning rate down.
    pub three_phase: bool,
}

impl OneCycleLr {
    /// Two phases up to `max_lr` and down, over `total_steps`.
    pub fn new(max_lr: f64, total_steps: usize) -> Self {
        Self {
            max_lr,
            total_steps,
            pct_start: 0.3,
            anneal: Anneal::Cos,
            momentum: Some((0.85, 0.95)),
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }

    /// The value at `t` of something that is `low`, `high` and `last` at the turns.
    fn value(&self, t: usize, low: f64, high: f64, last: f64) -> f64 {
        let total = self.total_steps as f64;
        let up = self.pct_start * total - 1.0;
        let end = total - 1.0;
        let two = [(up, low, high), (end, high, last)];
        let three = [(up, low, high), (2.0 * self.pct_start * total - 2.0, high, low), (end, low, last)];
        let phases: &[(f64, f64, f64)] = if self.three_phase { &three } else { &two };
        let t = t.min(self.total_steps) as f64;
        let mut start = 0.0;
        for (number, &(end, from, to)) in phases.iter().enumerate() {
            if t <= end || number + 1 == phases.len() {
                let length = end - start;
                let way = if length > 0.0 { (t - start) / length } else { 1.0 };
                return self.anneal.between(from, to, way);
            }
            start = end;
        }
        last
    }
}

impl Schedule for OneCycleLr {
    fn lr(&self, _base: f64, t: usize) -> f64 {
        let first = self.max_lr / self.div_factor;
        self.value(t, first, self.max_lr, first / self.final_div_factor)
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        let (least, greatest) = self.momentum?;
        Some(self.value(t, greatest, least, greatest))
    }

    fn base_after(&self, _base: f64, _first: bool) -> f64 {
        self.max_lr / self.div_factor
    }

    fn refused(&self, t: usize) -> Option<RefusedBy> {
        const NAME: &str = "OneCycleLr";
        let total = self.total_steps as f64;
        counts(NAME, "total_steps", self.total_steps)
            .or_else(|| unless((0.0..=1.0).contains(&self.pct_start), NAME, "pct_start", self.pct_start, "from 0 to 1"))
            .or_else(|| unless(t <= self.total_steps, NAME, "total_steps", total, "as many as there are steps"))
    }
}

/// How the height of the cycles of [`CyclicLr`] changes.
#[derive(Debug, Clone, Copy, Default)]
pub enum CyclicMode {
    /// It stays.
    #[default]
    Triangular,
    /// It halves with each cycle.
    Triangular2,
    /// It is `gammaᵗ`.
    ExpRange {
        /// The factor of a step.
        gamma: f64,
    },
    /// It is `f(cycle)`, counted from 1.
    Cycle(fn(f64) -> f64),
    /// It is `f(t)`.
    Iterations(fn(f64) -> f64),
}

/// Up in a straight line from `base_lr` to `max_lr` and down again, over and over. The momentum (or β₁) goes down and up
/// the other way, unless `momentum` is `None`.
///
/// Learning rates are absolute: the optimizer's own one does not count.
///
/// Source: Smith 2017, "Cyclical learning rates for training neural networks".
#[derive(Debug, Clone)]
pub struct CyclicLr {
    /// The lowest learning rate.
    pub base_lr: f64,
    /// The highest learning rate.
    pub max_lr: f64,
    /// Steps up; 2000.
    pub step_size_up: usize,
    /// Steps down; as many as up.
    pub step_size_down: Option<usize>,
    /// How the height of the cycles changes.
    pub mode: CyclicMode,
    /// The least and the greatest momentum; (0.8, 0.9).
    pub momentum: Option<(f64, f64)>,
}

impl CyclicLr {
    /// Triangles between `base_lr` and `max_lr`, 2000 steps up and 2000 down.
    pub fn new(base_lr: f64, max_lr: f64) -> Self {
        let (step_size_up, mode) = (2000, CyclicMode::Triangular);
        Self { base_lr, max_lr, step_size_up, step_size_down: None, mode, momentum: Some((0.8, 0.9)) }
    }

    /// How high it stands at `t`, between 0 and 1 times the mode's height.
    fn height(&self, t: usize) -> f64 {
        let up = self.step_size_up.max(1) as f64;
        let total = up + self.step_size_down.map_or(up, |down| down as f64);
        let ratio = up / total;
        let t = t as f64;
        let cycle = (1.0 + t / total).floor();
        let x = 1.0 + t / total - cycle;
        let along = if x <= ratio { x / ratio } else { (x - 1.0) / (ratio - 1.0) };
        along
            * match self.mode {
                CyclicMode::Triangular => 1.0,
                CyclicMode::Triangular2 => 1.0 / 2f64.powf(cycle - 1.0),
                CyclicMode::ExpRange { gamma } => gamma.powf(t),
                CyclicMode::Cycle(f) => f(cycle),
                CyclicMode::Iterations(f) => f(t),
            }
    }
}

impl Schedule for CyclicLr {
    fn lr(&self, _base: f64, t: usize) -> f64 {
        self.base_lr + (self.max_lr - self.base_lr) * self.height(t)
    }

    fn momentum(&self, t: usize) -> Option<f64> {
        let (least, greatest) = self.momentum?;
        Some(greatest - (greatest - least) * self.height(t))
    }

    fn lr_after(&self, group: usize, _lr: f64, base: f64, t: usize) -> f64 {
        if t == 0 { base } else { self.lr_of(group, base, t) }
    }

    fn base_after(&self, base: f64, first: bool) -> f64 {
        if first { self.base_lr } else { base }
    }

    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        counts("CyclicLr", "step_size_up", self.step_size_up)
    }
}
