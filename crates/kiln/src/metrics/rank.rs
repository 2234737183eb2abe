//! Scores against yes and no: ROC, precision and recall, and the areas under them.

use super::{lengths, ordered, pair, truths};
use crate::{Result, Tensor};

/// Scores of examples and whether each is positive. Everything is kept: the areas are exact, ties included.
///
/// ```
/// # use kiln::prelude::*;
/// let mut ranking = metrics::Ranking::default();
/// ranking.add(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true])?;
/// assert_eq!(ranking.roc_auc(), 0.75);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    scored: Vec<(f64, bool)>,
}

/// A point of a curve: what a threshold gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Examples with at least this score are called positive.
    pub threshold: f64,
    /// False-positive rate of the ROC curve; recall of the precision-recall curve.
    pub x: f64,
    /// True-positive rate of the ROC curve; precision of the precision-recall curve.
    pub y: f64,
}

impl Ranking {
    /// Adds examples.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the lists differ in length, or a score is NaN.
    #[track_caller]
    pub fn add(&mut self, scores: &[f64], positive: &[bool]) -> Result<()> {
        if scores.len() != positive.len() {
            return Err(lengths("ranking", scores.len(), positive.len()));
        }
        ordered("ranking", scores)?;
        self.scored.extend(scores.iter().copied().zip(positive.iter().copied()));
        Ok(())
    }

    /// Adds a batch: `scores` and `labels` of the same shape; labels above 0.5 are positive.
    ///
    /// # Errors
    /// As [`Ranking::add`], [`crate::Error::Argument`] if a label is not in 0..=1, and what evaluating gives.
    #[track_caller]
    pub fn add_tensors(&mut self, scores: &Tensor, labels: &Tensor) -> Result<()> {
        let (scores, labels) = pair("ranking", scores, labels)?;
        self.add(&scores, &truths("ranking", &labels)?)
    }

    /// The area under the ROC curve: how likely a positive example scores higher than a negative one, ties counting
    /// half. NaN unless there are both.
    ///
    /// Source: `sklearn.metrics.roc_auc_score`.
    pub fn roc_auc(&self) -> f64 {
        let (mut area, mut before) = (0.0, (0.0, 0.0));
        for (_, positives, negatives) in self.steps() {
            area += (negatives - before.1) * (positives + before.0) / 2.0;
            before = (positives, negatives);
        }
        area / (before.0 * before.1)
    }

    /// The mean precision at each positive example, without interpolation; 0 without positives.
    ///
    /// Source: `sklearn.metrics.average_precision_score`.
    pub fn average_precision(&self) -> f64 {
        let all = self.positives();
        let (mut sum, mut before) = (0.0, 0.0);
        for (_, positives, negatives) in self.steps() {
            sum += (positives - before) * positives / (positives + negatives);
            before = positives;
        }
        if all == 0.0 && !self.scored.is_empty() { 0.0 } else { sum / all }
    }

    /// The ROC curve from (0, 0) to (1, 1), a point for each different score. A rate of nothing is NaN.
    pub fn roc_curve(&self) -> Vec<CurvePoint> {
        let steps = self.steps();
        let (p, n) = steps.last().map_or((0.0, 0.0), |&(_, p, n)| (p, n));
        let start = CurvePoint { threshold: f64::INFINITY, x: 0.0 / n, y: 0.0 / p };
        let point = |&(threshold, tp, fp): &(f64, f64, f64)| CurvePoint { threshold, x: fp / n, y: tp / p };
        std::iter::once(start).chain(steps.iter().map(point)).collect()
    }

    /// Precision over recall, from the highest threshold down; without positives the recall is 1.
    pub fn precision_recall_curve(&self) -> Vec<CurvePoint> {
        let steps = self.steps();
        let all = steps.last().map_or(0.0, |&(_, p, _)| p);
        let recall = |found: f64| if all == 0.0 { 1.0 } else { found / all };
        let point = |&(threshold, tp, fp): &(f64, f64, f64)| CurvePoint { threshold, x: recall(tp), y: tp / (tp + fp) };
        steps.iter().map(point).collect()
    }

    /// How many examples are positive.
    pub(super) fn positives(&self) -> f64 {
        self.scored.iter().filter(|(_, positive)| *positive).count() as f64
    }

    /// With the examples of another.
    pub(super) fn joined(mut self, other: &Self) -> Self {
        self.scored.extend(&other.scored);
        self
    }

    /// From the highest score down: the score, and how many positives and negatives have at least it.
    fn steps(&self) -> Vec<(f64, f64, f64)> {
        let mut sorted = self.scored.clone();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut positives, mut negatives) = (0.0, 0.0);
        let mut steps: Vec<(f64, f64, f64)> = Vec::new();
        for (score, positive) in sorted {
            if positive {
                positives += 1.0
            } else {
                negatives += 1.0
            }
            match steps.last_mut().filter(|last| last.0 == score) {
                Some(last) => *last = (score, positives, negatives),
                None => steps.push((score, positives, negatives)),
            }
        }
        steps
    }
}
