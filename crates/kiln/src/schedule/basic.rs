//! Schedules that are one formula. Fields are PyTorch's arguments, and so are the defaults of `new`.

use std::f64::consts::PI;
use std::sync::{Mutex, PoisonError};

use super::{RefusedBy, Schedule, counts, unless};

/// `base · gamma^⌊t/step_size⌋`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLr {
    /// Steps between two falls.
    pub step_size: usize,
    /// The factor of a fall; PyTorch's default is 0.1.
    pub gamma: f64,
}

impl StepLr {
    /// A fall by `gamma` every `step_size` steps.
    pub fn new(step_size: usize, gamma: f64) -> Self {
        Self { step_size, gamma }
    }
}

impl Schedule for StepLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        super::step(base, t, self.step_size, self.gamma)
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        if t > 0 && t.is_multiple_of(self.step_size.max(1)) { lr * self.gamma } else { lr }
    }

    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        counts("StepLr", "step_size", self.step_size)
    }
}

/// `base · gamma^(how many milestones are reached)`; one that is named twice counts twice.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStepLr {
    /// When it falls.
    pub milestones: Vec<usize>,
    /// The factor of a fall; PyTorch's default is 0.1.
    pub gamma: f64,
}

impl MultiStepLr {
    /// A fall by `gamma` at each milestone.
    pub fn new(milestones: impl Into<Vec<usize>>, gamma: f64) -> Self {
        Self { milestones: milestones.into(), gamma }
    }
}

impl Schedule for MultiStepLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        super::multi_step(base, t, &self.milestones, self.gamma)
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        let falls = self.milestones.iter().filter(|&&milestone| milestone == t).count();
        lr * self.gamma.powi(falls as i32)
    }
}

/// `base · factor` before `total_iters`, then `base`; of no steps at all it has no end.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantLr {
    /// 1/3.
    pub factor: f64,
    /// 5.
    pub total_iters: usize,
}

impl Default for ConstantLr {
    fn default() -> Self {
        Self { factor: 1.0 / 3.0, total_iters: 5 }
    }
}

impl Schedule for ConstantLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        if t < self.total_iters || self.total_iters == 0 { base * self.factor } else { base }
    }

    fn lr_after(&self, _group: usize, lr: f64, base: f64, t: usize) -> f64 {
        match t {
            0 => lr * self.factor,
            // what was multiplied by 0 is lost, and with it what other schedules did
            _ if t == self.total_iters && self.factor == 0.0 => base,
            _ if t == self.total_iters => lr * (1.0 / self.factor),
            _ => lr,
        }
    }

    fn lr_begun(&self, _group: usize, _lr: f64, base: f64) -> f64 {
        if self.total_iters == 0 { base } else { base * self.factor }
    }

    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        unless((0.0..=1.0).contains(&self.factor), "ConstantLr", "factor", self.factor, "from 0 to 1")
    }
}

/// In a straight line from `base · start_factor` to `base · end_factor` at `total_iters`, where it stays; of no steps at
/// all it stays where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearLr {
    /// 1/3.
    pub start_factor: f64,
    /// 1.
    pub end_factor: f64,
    /// 5.
    pub total_iters: usize,
}

impl Default for LinearLr {
    fn default() -> Self {
        Self { start_factor: 1.0 / 3.0, end_factor: 1.0, total_iters: 5 }
    }
}

impl Schedule for LinearLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        let t = t.min(self.total_iters);
        super::linear(base, t, self.start_factor, self.end_factor, self.total_iters)
    }

    fn lr_between(&self, _group: usize, base: f64, t: f64) -> f64 {
        let way = share_of(t, self.total_iters);
        base * (self.start_factor + (self.end_factor - self.start_factor) * way)
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        let (total, way) = (self.total_iters as f64, self.end_factor - self.start_factor);
        match t {
            0 => lr * self.start_factor,
            _ if t > self.total_iters => lr,
            _ => lr * (1.0 + way / (total * self.start_factor + (t as f64 - 1.0) * way)),
        }
    }

    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        let (start, end) = (self.start_factor, self.end_factor);
        let starts = start > 0.0 && start <= 1.0;
        unless(starts, "LinearLr", "start_factor", start, "above 0 and at most 1")
            .or_else(|| unless((0.0..=1.0).contains(&end), "LinearLr", "end_factor", end, "from 0 to 1"))
    }
}

/// `base · gammaᵗ`.
#[derive(Debug, Clone, PartialEq)]
pub struct ExponentialLr {
    /// The factor of each step.
    pub gamma: f64,
}

impl ExponentialLr {
    /// A fall by `gamma` in every step.
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Schedule for ExponentialLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        super::exponential(base, t, self.gamma)
    }

    fn lr_between(&self, _group: usize, base: f64, t: f64) -> f64 {
        base * self.gamma.powf(t)
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        if t == 0 { lr } else { lr * self.gamma }
    }
}

/// `base · (1 − t/total_iters)^power`, and 0 from `total_iters` on; of no steps at all it is `base`.
#[derive(Debug, Clone, PartialEq)]
pub struct PolynomialLr {
    /// 5.
    pub total_iters: usize,
    /// 1.
    pub power: f64,
}

impl Default for PolynomialLr {
    fn default() -> Self {
        Self { total_iters: 5, power: 1.0 }
    }
}

impl Schedule for PolynomialLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        super::polynomial(base, t.min(self.total_iters), self.total_iters, self.power)
    }

    fn lr_between(&self, _group: usize, base: f64, t: f64) -> f64 {
        base * (1.0 - share_of(t, self.total_iters)).powf(self.power)
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        if t == 0 || t > self.total_iters {
            return lr;
        }
        let left = |t: usize| 1.0 - t as f64 / self.total_iters as f64;
        lr * (left(t) / left(t - 1)).powf(self.power)
    }
}

/// `eta_min + (base − eta_min)(1 + cos(π t / t_max))/2`: half a cosine down to `t_max`, and up again after it. The
/// function [`cosine`](super::cosine) stays down.
///
/// Source: Loshchilov & Hutter 2017, "SGDR", eq. 5.
#[derive(Debug, Clone, PartialEq)]
pub struct CosineAnnealingLr {
    /// When it is lowest.
    pub t_max: usize,
    /// Its lowest; 0.
    pub eta_min: f64,
}

impl CosineAnnealingLr {
    /// Down to 0 at `t_max`.
    pub fn new(t_max: usize) -> Self {
        Self { t_max, eta_min: 0.0 }
    }
}

/// How far `t` is on the way to `total`; at its beginning if there is none.
fn share_of(t: f64, total: usize) -> f64 {
    if total == 0 { 0.0 } else { (t / total as f64).min(1.0) }
}

/// Half a cosine from `high` to `low`, `way` of it gone.
pub(super) fn half_cosine(high: f64, low: f64, way: f64) -> f64 {
    low + (high - low) * (1.0 + (PI * way).cos()) / 2.0
}

impl Schedule for CosineAnnealingLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        self.lr_between(0, base, t as f64)
    }

    fn lr_between(&self, _group: usize, base: f64, t: f64) -> f64 {
        half_cosine(base, self.eta_min, t / self.t_max.max(1) as f64)
    }

    /// What lies above `eta_min` is multiplied. At the lowest point there is nothing to multiply, and the climb begins with a
    /// part of `base`.
    fn lr_after(&self, _group: usize, lr: f64, base: f64, t: usize) -> f64 {
        let t_max = self.t_max.max(1);
        let height = |t: usize| 1.0 + (PI * t as f64 / t_max as f64).cos();
        if t == 0 {
            lr
        } else if (t - 1) % (2 * t_max) == t_max {
            lr + (base - self.eta_min) * (1.0 - (PI / t_max as f64).cos()) / 2.0
        } else {
            height(t) / height(t - 1) * (lr - self.eta_min) + self.eta_min
        }
    }

    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        counts("CosineAnnealingLr", "t_max", self.t_max)
    }
}

/// Half a cosine from `base` to `eta_min` over `t_0` steps, and again from the top, each time over `t_mult` times as
/// many.
///
/// Source: Loshchilov & Hutter 2017, "SGDR", §3.
#[derive(Debug, Clone, PartialEq)]
pub struct CosineAnnealingWarmRestarts {
    /// Steps of the first cycle.
    pub t_0: usize,
    /// How many times longer each cycle is than the one before; 1.
    pub t_mult: usize,
    /// Its lowest; 0.
    pub eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// Cycles of `t_0` steps down to 0.
    pub fn new(t_0: usize) -> Self {
        Self { t_0, t_mult: 1, eta_min: 0.0 }
    }
}

impl Schedule for CosineAnnealingWarmRestarts {
    fn lr(&self, base: f64, t: usize) -> f64 {
        let (mut at, mut length) = (t, self.t_0.max(1));
        if self.t_mult <= 1 {
            at %= length;
        }
        while at >= length {
            at -= length;
            length = length.saturating_mul(self.t_mult);
        }
        half_cosine(base, self.eta_min, at as f64 / length as f64)
    }

    /// Which cycle it is says a logarithm, as in PyTorch.
    fn lr_between(&self, _group: usize, base: f64, t: f64) -> f64 {
        let (first, mult) = (self.t_0.max(1) as f64, self.t_mult as f64);
        let (at, length) = if t < first || self.t_mult <= 1 {
            (t % first, first)
        } else {
            let grown = mult.powf(((t / first * (mult - 1.0) + 1.0).ln() / mult.ln()).trunc());
            (t - first * (grown - 1.0) / (mult - 1.0), first * grown)
        };
        half_cosine(base, self.eta_min, at / length)
    }

    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        const NAME: &str = "CosineAnnealingWarmRestarts";
        counts(NAME, "t_0", self.t_0).or_else(|| counts(NAME, "t_mult", self.t_mult))
    }
}

/// `base · f(t)`.
#[derive(Debug, Clone)]
pub struct LambdaLr<F>(
    /// The factor of each step.
    pub F,
);

impl<F: Fn(usize) -> f64> Schedule for LambdaLr<F> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        base * (self.0)(t)
    }
}

/// `base · f(1) · f(2) · … · f(t)`.
#[derive(Debug)]
pub struct MultiplicativeLr<F> {
    factor: F,
    /// The last `t` and its product, from which the next goes on.
    known: Mutex<(usize, f64)>,
}

impl<F: Fn(usize) -> f64> MultiplicativeLr<F> {
    /// With `factor` for each step but the first.
    pub fn new(factor: F) -> Self {
        Self { factor, known: Mutex::new((0, 1.0)) }
    }
}

impl<F: Fn(usize) -> f64> Schedule for MultiplicativeLr<F> {
    fn lr(&self, base: f64, t: usize) -> f64 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 > t {
            *known = (0, 1.0);
        }
        while known.0 < t {
            known.0 += 1;
            known.1 *= (self.factor)(known.0);
        }
        base * known.1
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        if t == 0 { lr } else { lr * (self.factor)(t) }
    }

    fn lr_begun(&self, _group: usize, lr: f64, _base: f64) -> f64 {
        lr * (self.factor)(0)
    }
}

/// From `base` to `swa_lr` over `anneal_epochs`, where it stays: the learning rate of weight averaging.
///
/// Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", §3.1.
#[derive(Debug, Clone, PartialEq)]
pub struct SwaLr {
    /// Where it ends.
    pub swa_lr: f64,
    /// 10.
    pub anneal_epochs: usize,
    /// By half a cosine, as by default, or in a straight line.
    pub anneal: super::Anneal,
}

impl SwaLr {
    /// By half a cosine over 10 epochs.
    pub fn new(swa_lr: f64) -> Self {
        Self { swa_lr, anneal_epochs: 10, anneal: super::Anneal::Cos }
    }
}

impl SwaLr {
    /// How much of `swa_lr` there is after `t` steps.
    fn share(&self, t: usize) -> f64 {
        let way = (t as f64 / self.anneal_epochs.max(1) as f64).min(1.0);
        match self.anneal {
            super::Anneal::Cos => (1.0 - (PI * way).cos()) / 2.0,
            super::Anneal::Linear => way,
        }
    }
}

impl Schedule for SwaLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        let share = self.share(if self.anneal_epochs == 0 { 1 } else { t });
        self.swa_lr * share + base * (1.0 - share)
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        let t = if self.anneal_epochs == 0 { t.max(1) } else { t };
        let (before, share) = (self.share(t.saturating_sub(1)), self.share(t));
        // where it would be without what there is of `swa_lr` already
        let own = if before == 1.0 { self.swa_lr } else { (lr - before * self.swa_lr) / (1.0 - before) };
        self.swa_lr * share + own * (1.0 - share)
    }

    fn lr_begun(&self, group: usize, lr: f64, base: f64) -> f64 {
        self.lr_after(group, lr, base, 0)
    }
}

/// Up in a straight line to `base` over `warmup` steps, then `base · √(warmup / (t + 1))`.
///
/// Source: Vaswani et al. 2017, "Attention is all you need", §5.3, with `base` at the top.
#[derive(Debug, Clone, PartialEq)]
pub struct InverseSqrtLr {
    /// Steps of the climb.
    pub warmup: usize,
}

impl Schedule for InverseSqrtLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        let (steps, t) = (self.warmup.max(1) as f64, t as f64 + 1.0);
        base * (t / steps).min((steps / t).sqrt())
    }

    fn lr_after(&self, _group: usize, lr: f64, _base: f64, t: usize) -> f64 {
        let before = if t == 0 { 1.0 } else { self.lr(1.0, t - 1) };
        lr * self.lr(1.0, t) / before
    }
}
