//! The learning-rate finder.

use super::Outcome;
use crate::data::{Order, Passes, Source};
use crate::nn::Module;
use crate::optim::Optimizer;
use crate::store::TrainingState;
use crate::{Error, Result};

/// Tries learning rates from low to high, one a step, to see where the loss falls fastest and where training breaks:
/// ```text
/// lrᵢ = start · (end / start)^(i / (steps − 1))
/// aᵢ  = β aᵢ₋₁ + (1 − β) lossᵢ,   smoothedᵢ = aᵢ / (1 − βⁱ⁺¹)
/// ```
/// It ends early when the smoothed loss lies `diverged` − 1 times its lowest above that, or is not finite. Model and optimizer are
/// afterwards as they were.
///
/// Source: Smith 2017, "Cyclical learning rates for training neural networks", §3.3; the smoothing is fastai's.
///
/// ```
/// # use kiln::prelude::*; use kiln::train::LrFinder;
/// # let device = Device::open()?;
/// # let (train, _) = data::digits::split(&device)?;
/// # let train = train.subset(&(0..256).collect::<Vec<_>>());
/// let model = Linear::new(64, 10, &mut Init::new(&device, 42));
/// let mut adam = Adam::new(&model, 1e-3);
/// let curve = LrFinder { steps: 20, ..LrFinder::default() }
///     .find(&model, &mut adam, &train, |(x, y)| Outcome::classification(&model.forward(x), y))?;
/// if let Some(lr) = curve.suggestion() {
///     adam.set_lr(lr);
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrFinder {
    /// The first learning rate; 10⁻⁷.
    pub start: f64,
    /// The last one; 10.
    pub end: f64,
    /// How many are tried; 100.
    pub steps: usize,
    /// How smooth the loss is made; 0.98.
    pub beta: f64,
    /// How many times the lowest loss is too much; 4.
    pub diverged: f64,
    /// Examples in a batch; 64. A loader has its own.
    pub batch: usize,
    /// What the order of the examples is drawn from; 0. A loader has its own.
    pub seed: u64,
}

impl Default for LrFinder {
    fn default() -> Self {
        Self { start: 1e-7, end: 10.0, steps: 100, beta: 0.98, diverged: 4.0, batch: 64, seed: 0 }
    }
}

/// The losses at rising learning rates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LrCurve {
    /// The learning rates that were tried.
    pub rates: Vec<f64>,
    /// The loss before the step with each of them.
    pub losses: Vec<f64>,
    /// The same, smoothed.
    pub smoothed: Vec<f64>,
}

impl LrFinder {
    /// Tries them all on batches of `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] for rates that do not rise from above zero, a β outside of 0..1, or no data; what a step
    /// gives, except for a loss that is not finite. Model and optimizer are put back then too.
    #[track_caller]
    pub fn find<M, S, O>(
        &self,
        model: &M,
        optimizer: &mut O,
        data: &S,
        forward: impl Fn(&S::Batch) -> Outcome,
    ) -> Result<LrCurve>
    where
        M: Module + ?Sized,
        S: Source + ?Sized,
        O: Optimizer,
    {
        let refused = |name, value: String, why| Err(super::refused(name, value, why));
        if self.start.is_nan() || self.start <= 0.0 || !self.start.is_finite() {
            return refused("start", self.start.to_string(), "must be above zero");
        }
        if self.end.is_nan() || self.end <= self.start || !self.end.is_finite() {
            return refused("end", self.end.to_string(), "must be above the start");
        }
        if !(0.0..1.0).contains(&self.beta) {
            return refused("beta", self.beta.to_string(), "must be from 0 to below 1");
        }
        let passes = data.passes(&Order { batch: self.batch.max(1), seed: Some(self.seed) });
        if passes.examples() == 0 || self.batch == 0 || self.steps < 2 {
            let value = format!("{} steps on {} examples, {} a batch", self.steps, passes.examples(), self.batch);
            return refused("steps", value, "needs two steps and some data");
        }
        let before = TrainingState::new(model, &*optimizer).tensors()?;
        let rates: Vec<f64> = optimizer.slots().groups.iter().map(|group| group.lr).collect();
        model.train();
        let curve = self.sweep(optimizer, &passes, forward);
        TrainingState::new(model, &*optimizer).restore(&before)?;
        optimizer.set_lr(rates.first().copied().unwrap_or(0.0));
        for (group, lr) in optimizer.slots_mut().groups.iter_mut().zip(rates) {
            group.lr = lr;
        }
        curve
    }

    fn sweep<B>(
        &self,
        optimizer: &mut impl Optimizer,
        passes: &Passes<'_, B>,
        forward: impl Fn(&B) -> Outcome,
    ) -> Result<LrCurve> {
        let mut curve = LrCurve::default();
        let mut average = 0.0;
        let (mut pass, mut batches) = (0, passes.begin(0, 0));
        for i in 0..self.steps {
            let mut next = batches.next();
            if next.is_none() {
                pass += 1;
                batches = passes.begin(pass, 0);
                next = batches.next();
            }
            let Some(batch) = next else {
                return Err(super::refused("data", "none", "a pass must have as many batches as it says"));
            };
            let rate = self.start * (self.end / self.start).powf(i as f64 / (self.steps - 1) as f64);
            optimizer.set_lr(rate);
            let outcome = forward(&batch?);
            let loss = optimizer.step(&outcome.loss).and_then(|()| outcome.loss.item());
            let loss = match loss {
                Ok(loss) => f64::from(loss),
                Err(Error::NotFinite { .. }) => break,
                Err(error) => return Err(error),
            };
            average = self.beta * average + (1.0 - self.beta) * loss;
            let smoothed = average / (1.0 - self.beta.powi(i as i32 + 1));
            curve.rates.push(rate);
            curve.losses.push(loss);
            curve.smoothed.push(smoothed);
            let lowest = curve.smoothed.iter().copied().fold(f64::INFINITY, f64::min);
            // as far above it as a loss that is positive; one below zero has no multiples
            if smoothed - lowest > (self.diverged - 1.0) * lowest.abs() {
                break;
            }
        }
        Ok(curve)
    }
}

impl LrCurve {
    /// The learning rate at which the smoothed loss falls fastest over the logarithm of the rate, before it is lowest.
    /// The first tenth is left out, where there is little to smooth. `None` if the loss does not fall.
    pub fn suggestion(&self) -> Option<f64> {
        let lowest = (0..self.smoothed.len()).min_by(|&a, &b| self.smoothed[a].total_cmp(&self.smoothed[b]))?;
        let slope = |i: usize| {
            let fall = self.smoothed[i + 1] - self.smoothed[i - 1];
            fall / (self.rates[i + 1] / self.rates[i - 1]).ln()
        };
        let inner = (self.rates.len() / 10).max(1)..=lowest.min(self.rates.len().saturating_sub(2));
        let steepest = inner.min_by(|&a, &b| slope(a).total_cmp(&slope(b)))?;
        (slope(steepest) < 0.0).then(|| self.rates[steepest])
    }
}
