//! What is shown.

use std::collections::VecDeque;
use std::time::Instant;

use crate::train::thin::ThinSteps;
use crate::train::{Start, Step, Validation};

/// All that the picture is made of.
pub(super) struct View {
    pub(super) title: String,
    pub(super) start: Start,
    pub(super) began: Option<Instant>,
    pub(super) steps: ThinSteps,
    /// The newest step.
    pub(super) last: Option<Step>,
    /// Examples a second by step, thinned as the steps are.
    pub(super) rates: Vec<(f64, f64)>,
    pub(super) validations: Vec<Validation>,
    pub(super) epochs_done: usize,
    pub(super) memory: Option<u64>,
    /// Loss and metric of the last steps, averaged: aᵢ = β aᵢ₋₁ + (1 − β) valueᵢ, over 1 − βⁱ.
    pub(super) loss: Smooth,
    pub(super) metric: Smooth,
    /// Time, examples and waiting of the steps of the last seconds.
    recent: VecDeque<(f64, usize, f64)>,
    pub(super) stopping: bool,
}

/// A mean that forgets, and its course.
#[derive(Default)]
pub(super) struct Smooth {
    average: f64,
    weight: f64,
    pub(super) course: Vec<(f64, f64)>,
}

const BETA: f64 = 0.95;

impl Smooth {
    fn add(&mut self, step: usize, value: f64) {
        if value.is_finite() {
            self.average = BETA * self.average + (1.0 - BETA) * value;
            self.weight = BETA * self.weight + (1.0 - BETA);
            self.course.push((step as f64, self.average / self.weight));
            thin(&mut self.course);
        }
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.course.last().map(|point| point.1)
    }
}

/// Every second point goes when there are too many; the newest stays.
fn thin(points: &mut Vec<(f64, f64)>) {
    if points.len() > 4000 {
        let mut odd = points.len().is_multiple_of(2);
        points.retain(|_| {
            odd = !odd;
            odd
        });
    }
}

/// This many seconds are what throughput is measured over.
const WINDOW: f64 = 5.0;

impl View {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            start: Start { step: 0, epochs_done: 0, validations: 0, steps: 0, epochs: 0 },
            began: None,
            steps: ThinSteps::default(),
            last: None,
            rates: Vec::new(),
            validations: Vec::new(),
            epochs_done: 0,
            memory: None,
            loss: Smooth::default(),
            metric: Smooth::default(),
            recent: VecDeque::new(),
            stopping: false,
        }
    }

    pub(super) fn start(&mut self, start: &Start) {
        (self.start, self.epochs_done, self.began) = (*start, start.epochs_done, Some(Instant::now()));
    }

    pub(super) fn step(&mut self, step: Step, memory: Option<u64>) {
        self.memory = memory;
        self.loss.add(step.step, step.loss);
        if let Some((_, value)) = step.metric {
            self.metric.add(step.step, value);
        }
        self.recent.push_back((step.seconds, step.examples, step.waited));
        while self.recent.len() > 8 && self.recent.front().is_some_and(|first| first.0 < step.seconds - WINDOW) {
            self.recent.pop_front();
        }
        if let Some(rate) = self.rate() {
            self.rates.push((step.step as f64, rate));
            thin(&mut self.rates);
        }
        self.steps.push(step);
        self.last = Some(step);
    }

    /// Examples a second over the last seconds.
    pub(super) fn rate(&self) -> Option<f64> {
        let time = self.recent_time()?;
        Some(self.recent.iter().skip(1).map(|recent| recent.1 as f64).sum::<f64>() / time)
    }

    /// The share of the last seconds in which data was waited for.
    pub(super) fn waiting(&self) -> Option<f64> {
        let time = self.recent_time()?;
        Some(self.recent.iter().skip(1).map(|recent| recent.2).sum::<f64>() / time)
    }

    fn recent_time(&self) -> Option<f64> {
        if self.recent.len() < 8 {
            return None; // the first steps are only submitted: they are no rate yet
        }
        let time = self.recent.back()?.0 - self.recent.front()?.0;
        (time > 0.0).then_some(time)
    }

    /// Seconds that are left, if the steps to come take as long as those before.
    pub(super) fn left(&self) -> Option<f64> {
        let last = self.last?;
        let done = last.step.checked_sub(self.start.step).filter(|done| *done > 0)?;
        Some(last.seconds / done as f64 * self.start.steps.saturating_sub(last.step) as f64)
    }

    /// Steps that are done, of all.
    pub(super) fn done(&self) -> usize {
        self.last.map_or(self.start.step, |step| step.step)
    }
}
