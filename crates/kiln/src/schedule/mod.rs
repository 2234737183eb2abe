//! Learning rates over time: PyTorch's schedulers. A [`Schedule`] is a function of the step (or epoch) `t`, from 0, so
//! a run that goes on from a checkpoint needs no more than `t`; [`ReduceLrOnPlateau`] alone remembers something, and
//! [`Scheduler`] counts for a loop of one's own.
//!
//! ```
//! # use kiln::prelude::*; use kiln::schedule::{CosineAnnealingLr, Schedule, Warmup};
//! # let device = Device::open()?;
//! # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
//! let mut adam = Adam::new(&model, 1e-3);
//! let schedule = Warmup::new(10, CosineAnnealingLr::new(90));
//! for t in 0..100 {
//!     schedule.apply(&mut adam, t);
//!     // adam.step(&loss)?;
//! #   assert!(adam.lr() <= 1e-3);
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! A setting that PyTorch refuses ([`Schedule::refused`]) is an error of the optimizer's next step, with the line that
//! applied the schedule; the learning rate stays as it is. The trainer says so before the first step.
//!
//! The functions [`cosine`], [`warmup`] and so on are the same formulas by themselves.

mod basic;
mod chain;
mod cyclic;
mod formula;
mod plateau;

pub use basic::{
    ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, ExponentialLr, InverseSqrtLr, LambdaLr, LinearLr,
    MultiStepLr, MultiplicativeLr, PolynomialLr, StepLr, SwaLr,
};
pub use chain::{ChainedScheduler, PerGroup, SequentialLr, Warmup};
pub use cyclic::{Anneal, CyclicLr, CyclicMode, OneCycleLr};
pub use formula::{cosine, exponential, linear, multi_step, one_cycle, polynomial, step, warmup};
pub use plateau::{PlateauMode, ReduceLrOnPlateau, Seen, ThresholdMode};

use std::collections::BTreeMap;

use crate::Error;
use crate::error::At;
use crate::optim::{Optimizer, Refused};

/// A schedule by its name, and its setting that is out of range.
pub type RefusedBy = (&'static str, Refused);

/// A setting of `schedule` that is out of range unless it `fits`.
fn unless(fits: bool, schedule: &'static str, name: &'static str, value: f64, why: &'static str) -> Option<RefusedBy> {
    (!fits).then_some((schedule, (name, value, why)))
}

/// The same for a count that must not be 0.
fn counts(schedule: &'static str, name: &'static str, count: usize) -> Option<RefusedBy> {
    unless(count > 0, schedule, name, count as f64, "at least 1")
}

/// A list of settings of `schedule` unless it has one for each group of an optimizer's parameters.
fn listed(schedule: &'static str, name: &'static str, length: usize, groups: usize) -> Option<RefusedBy> {
    unless(length == groups, schedule, name, length as f64, "one for each of the optimizer's groups")
}

/// A learning rate for each step (or epoch).
pub trait Schedule {
    /// The learning rate at `t`, from 0, of parameters whose own one is `base`.
    fn lr(&self, base: f64, t: usize) -> f64;

    /// The learning rate at `t` of the optimizer's group number `group`, where groups differ in more than `base`.
    fn lr_of(&self, _group: usize, base: f64, t: usize) -> f64 {
        self.lr(base, t)
    }

    /// The learning rate at a `t` that may lie between two steps: `epoch + i / batches`, which PyTorch's `step(epoch)` takes.
    /// What is a formula of real numbers goes on between them; what counts steps, as any schedule does unless it is written
    /// otherwise, is where it was at ⌊t⌋.
    fn lr_between(&self, group: usize, base: f64, t: f64) -> f64 {
        self.lr_of(group, base, t as usize)
    }

    /// The momentum (or β₁) at `t`, if this schedule cycles it.
    fn momentum(&self, _t: usize) -> Option<f64> {
        None
    }

    /// The learning rate at `t` among other schedules ([`ChainedScheduler`], [`SequentialLr`]), where it was `lr` just before:
    /// at `t` − 1, or what another schedule has made of it since. A schedule of factors multiplies `lr`; one whose values stand
    /// by themselves, as this does unless it is written otherwise, does not look at it. PyTorch's `get_lr`.
    fn lr_after(&self, group: usize, _lr: f64, base: f64, t: usize) -> f64 {
        self.lr_of(group, base, t)
    }

    /// The learning rate where it takes its turn in a [`SequentialLr`] and the schedule before it has left `lr`.
    fn lr_begun(&self, group: usize, _lr: f64, base: f64) -> f64 {
        self.lr_of(group, base, 0)
    }

    /// The base that it has among other schedules, and those after it, where it was `base`; `first` if none comes before it.
    /// PyTorch's one-cycle and cyclic schedules put one of their own in its place.
    fn base_after(&self, base: f64, _first: bool) -> f64 {
        base
    }

    /// A setting, of this schedule or of one that it is made of, that PyTorch refuses at `t`.
    fn refused(&self, _t: usize) -> Option<RefusedBy> {
        None
    }

    /// A list of settings, of this schedule or of one that it is made of, that has not one for each of the optimizer's
    /// `groups`. PyTorch refuses it.
    fn refused_for(&self, _groups: usize) -> Option<RefusedBy> {
        None
    }

    /// Sets the learning rate of each of the optimizer's groups, and the momentum if that is cycled.
    ///
    /// If a setting is [refused](Schedule::refused), or momentum is cycled of an optimizer that has none, the learning rate stays
    /// and the optimizer's next step is that [`Error::Argument`], with the caller's line.
    #[track_caller]
    fn apply(&self, optimizer: &mut (impl Optimizer + ?Sized), t: usize)
    where
        Self: Sized,
    {
        apply(self, optimizer, t);
    }

    /// [`Schedule::apply`] at a `t` that may lie between two steps ([`Schedule::lr_between`]). A negative one is refused.
    ///
    /// ```
    /// # use kiln::prelude::*; use kiln::schedule::{CosineAnnealingWarmRestarts, Schedule};
    /// # let device = Device::open()?;
    /// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
    /// let mut sgd = Sgd::new(&model, 0.1);
    /// let schedule = CosineAnnealingWarmRestarts::new(1);
    /// schedule.apply_between(&mut sgd, 3.5); // half way through the fourth epoch
    /// assert!((sgd.lr() - 0.05).abs() < 1e-12);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn apply_between(&self, optimizer: &mut (impl Optimizer + ?Sized), t: f64)
    where
        Self: Sized,
    {
        let at = At::here();
        match unless(t >= 0.0, "apply_between", "t", t, "at least 0") {
            Some(refused) => optimizer.slots_mut().refuse(error(refused, at)),
            None => set(self, optimizer, t as usize, |group, base| self.lr_between(group, base, t), at),
        }
    }
}

/// [`Schedule::apply`], for code that holds the schedule as `dyn Schedule`.
#[track_caller]
pub fn apply(schedule: &(impl Schedule + ?Sized), optimizer: &mut (impl Optimizer + ?Sized), t: usize) {
    apply_at(schedule, optimizer, t, At::here());
}

/// [`apply`] in the name of the line `at`.
pub(crate) fn apply_at(
    schedule: &(impl Schedule + ?Sized),
    optimizer: &mut (impl Optimizer + ?Sized),
    t: usize,
    at: At,
) {
    set(schedule, optimizer, t, |group, base| schedule.lr_of(group, base, t), at);
}

/// Sets what `lr` is of each group and its base, and the momentum at `t`, unless the schedule is refused.
fn set(
    schedule: &(impl Schedule + ?Sized),
    optimizer: &mut (impl Optimizer + ?Sized),
    t: usize,
    lr: impl Fn(usize, f64) -> f64,
    at: At,
) {
    let groups = optimizer.slots().groups.len();
    if let Some(refused) = schedule.refused(t).or_else(|| schedule.refused_for(groups)) {
        return optimizer.slots_mut().refuse(error(refused, at));
    }
    // through `set_lr` first, so that optimizers made of others hear of it
    let first = optimizer.slots().groups.first().map(|group| group.initial_lr);
    if let Some(first) = first {
        optimizer.set_lr(lr(0, first));
    }
    for (at, group) in optimizer.slots_mut().groups.iter_mut().enumerate() {
        group.lr = lr(at, group.initial_lr);
    }
    if let Some(momentum) = schedule.momentum(t) {
        optimizer.set_momentum(momentum);
        if optimizer.present_momentum().is_none() {
            let why = "None: the optimizer has neither momentum nor betas to cycle";
            optimizer.slots_mut().refuse(error(("Schedule::apply", ("momentum", momentum, why)), at));
        }
    }
}

/// The error that a refused setting is.
pub(crate) fn error((op, (name, value, why)): RefusedBy, at: At) -> Error {
    Error::Argument { op, name, value: value.to_string(), why, at }
}

/// What points to a schedule is one.
macro_rules! pointer {
    ($($pointer:ty),*) => {
        $(impl<S: Schedule + ?Sized> Schedule for $pointer {
            fn lr(&self, base: f64, t: usize) -> f64 {
                (**self).lr(base, t)
            }

            fn lr_of(&self, group: usize, base: f64, t: usize) -> f64 {
                (**self).lr_of(group, base, t)
            }

            fn lr_between(&self, group: usize, base: f64, t: f64) -> f64 {
                (**self).lr_between(group, base, t)
            }

            fn momentum(&self, t: usize) -> Option<f64> {
                (**self).momentum(t)
            }

            fn lr_after(&self, group: usize, lr: f64, base: f64, t: usize) -> f64 {
                (**self).lr_after(group, lr, base, t)
            }

            fn lr_begun(&self, group: usize, lr: f64, base: f64) -> f64 {
                (**self).lr_begun(group, lr, base)
            }

            fn base_after(&self, base: f64, first: bool) -> f64 {
                (**self).base_after(base, first)
            }

            fn refused(&self, t: usize) -> Option<RefusedBy> {
                (**self).refused(t)
            }

            fn refused_for(&self, groups: usize) -> Option<RefusedBy> {
                (**self).refused_for(groups)
            }
        })*
    };
}

pointer!(Box<S>, &S);

/// A schedule that counts: PyTorch's `scheduler.step()`.
///
/// ```
/// # use kiln::prelude::*; use kiln::schedule::{Scheduler, StepLr};
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut sgd = Sgd::new(&model, 0.1);
/// let mut scheduler = Scheduler::new(StepLr::new(2, 0.5), &mut sgd);
/// for _ in 0..4 {
///     // sgd.step(&loss)?;
///     scheduler.step(&mut sgd);
/// }
/// assert_eq!(sgd.lr(), 0.025);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scheduler<S> {
    schedule: S,
    /// Between two steps after [`Scheduler::step_to`].
    t: f64,
}

impl<S: Schedule> Scheduler<S> {
    /// At `t` = 0; sets the learning rate. What is wrong with the schedule is an error of the optimizer's next step.
    #[track_caller]
    pub fn new(schedule: S, optimizer: &mut (impl Optimizer + ?Sized)) -> Self {
        let scheduler = Self { schedule, t: 0.0 };
        scheduler.apply(optimizer);
        scheduler
    }

    /// Goes on by one and sets the learning rate.
    #[track_caller]
    pub fn step(&mut self, optimizer: &mut (impl Optimizer + ?Sized)) {
        self.t += 1.0;
        self.apply(optimizer);
    }

    /// Goes to `t`, back too, and to a place between two steps, and sets the learning rate: PyTorch's
    /// `scheduler.step(epoch + i / batches)`. What follows goes on from there.
    #[track_caller]
    pub fn step_to(&mut self, optimizer: &mut (impl Optimizer + ?Sized), t: f64) {
        self.t = t;
        self.apply(optimizer);
    }

    #[track_caller]
    fn apply(&self, optimizer: &mut (impl Optimizer + ?Sized)) {
        match self.t.fract() == 0.0 && self.t >= 0.0 {
            true => apply(&self.schedule, optimizer, self.t as usize),
            false => self.schedule.apply_between(optimizer, self.t),
        }
    }

    /// How many steps it has gone.
    pub fn t(&self) -> usize {
        self.t as usize
    }

    /// What a checkpoint needs to know.
    pub fn state(&self) -> BTreeMap<String, String> {
        [("scheduler.t".to_string(), self.t.to_string())].into()
    }

    /// Goes on where `state` was taken, and sets the learning rate; false if it is of something else.
    #[track_caller]
    pub fn load_state(&mut self, state: &BTreeMap<String, String>, optimizer: &mut (impl Optimizer + ?Sized)) -> bool {
        let Some(t) = state.get("scheduler.t").and_then(|t| t.parse().ok()) else { return false };
        self.t = t;
        self.apply(optimizer);
        true
    }
}
