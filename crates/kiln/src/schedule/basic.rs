//! Schedules that are one formula. Fields are PyTorch's arguments, and so are the defaults of `new`.

use std::f64::consts::PI;
use std::sync::{Mutex, PoisonError};

use super::Schedule;

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
}

/// `base · factor` before `total_iters`, then `base`.
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
        if t < self.total_iters { base * self.factor } else { base }
    }
}

/// In a straight line from `base · start_factor` to `base · end_factor` at `total_iters`, where it stays.
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
        super::linear(base, t, self.start_factor, self.end_factor, self.total_iters)
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
}

/// `base · (1 − t/total_iters)^power`, and 0 from `total_iters` on.
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
        super::polynomial(base, t, self.total_iters, self.power)
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

/// Half a cosine from `high` to `low`, `way` of it gone.
pub(super) fn half_cosine(high: f64, low: f64, way: f64) -> f64 {
    low + (high - low) * (1.0 + (PI * way).cos()) / 2.0
}

impl Schedule for CosineAnnealingLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        half_cosine(base, self.eta_min, t as f64 / self.t_max.max(1) as f64)
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

impl Schedule for SwaLr {
    fn lr(&self, base: f64, t: usize) -> f64 {
        let way = if self.anneal_epochs == 0 { 1.0 } else { (t as f64 / self.anneal_epochs as f64).min(1.0) };
        let share = match self.anneal {
            super::Anneal::Cos => (1.0 - (PI * way).cos()) / 2.0,
            super::Anneal::Linear => way,
        };
        self.swa_lr * share + base * (1.0 - share)
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
}
