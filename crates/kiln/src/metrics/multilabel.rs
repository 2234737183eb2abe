//! Examples with any number of labels, and scores of several classes.

use super::counts::{Average, Counts, mean, weighted};
use super::{Ranking, lengths, ordered, pair, truths};
use crate::{Result, Tensor};

/// Answers to several yes-or-no questions about each example: scikit-learn's scores of multilabel indicators.
///
/// ```
/// # use kiln::prelude::*; use kiln::metrics::{Average, MultiLabel};
/// let mut labels = MultiLabel::new(2);
/// labels.add(&[true, false, true, true], &[true, true, true, false])?; // two examples of two labels
/// assert_eq!((labels.precision(0), labels.recall(1)), (1.0, 0.0));
/// assert_eq!(labels.mean_f1(Average::Micro), 2.0 / 3.0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLabel {
    of: Vec<Counts>,
    rows: f64,
    exact: f64,
    zero_division: f64,
}

impl MultiLabel {
    /// No answers yet, `labels` labels.
    pub fn new(labels: usize) -> Self {
        Self { of: vec![Counts::default(); labels], rows: 0.0, exact: 0.0, zero_division: 0.0 }
    }

    /// Sets what a share of nothing is: 0 unless set, 1, or NaN, which means leave out.
    #[must_use]
    pub fn zero_division(mut self, value: f64) -> Self {
        self.zero_division = value;
        self
    }

    /// Adds examples, one after the other, each with all its labels.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the lists differ in length, or are no whole examples.
    #[track_caller]
    pub fn add(&mut self, truth: &[bool], answers: &[bool]) -> Result<()> {
        let labels = self.of.len();
        if truth.len() != answers.len() || labels == 0 || !truth.len().is_multiple_of(labels) {
            return Err(lengths("multi_label", truth.len(), answers.len()));
        }
        for (truth, answers) in truth.chunks(labels).zip(answers.chunks(labels)) {
            for (counts, (&truth, &answer)) in self.of.iter_mut().zip(truth.iter().zip(answers)) {
                counts.right += one(truth && answer);
                counts.answered += one(answer);
                counts.support += one(truth);
            }
            self.rows += 1.0;
            self.exact += one(truth == answers);
        }
        Ok(())
    }

    /// Adds a batch: `scores` and `labels [rows, labels]`; what scores above `threshold` is answered, labels above 0.5
    /// are true.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the shapes differ, a score is NaN, or a label is not in 0..=1;
    /// [`crate::Error::Shape`] if the last axis is not that of the labels; and what evaluating gives.
    #[track_caller]
    pub fn add_tensors(&mut self, scores: &Tensor, labels: &Tensor, threshold: f64) -> Result<()> {
        columns("multi_label", scores, self.of.len())?;
        let (scores, labels) = pair("multi_label", scores, labels)?;
        ordered("multi_label", &scores)?;
        let answers: Vec<bool> = scores.iter().map(|&score| score > threshold).collect();
        self.add(&truths("multi_label", &labels)?, &answers)
    }

    /// Of the answers `label`, the share that is right; 0 where there was none, or as set.
    pub fn precision(&self, label: usize) -> f64 {
        self.at(label).precision(self.zero_division)
    }

    /// Of the examples with `label`, the share that was found; 0 where there was none, or as set.
    pub fn recall(&self, label: usize) -> f64 {
        self.at(label).recall(self.zero_division)
    }

    /// 2 TP / (2 TP + FP + FN) of `label`.
    pub fn f1(&self, label: usize) -> f64 {
        self.at(label).f1(self.zero_division)
    }

    /// TP / (TP + FP + FN) of `label`.
    pub fn iou(&self, label: usize) -> f64 {
        self.at(label).iou(self.zero_division)
    }

    /// [`precision`](Self::precision) of all labels.
    pub fn mean_precision(&self, average: Average) -> f64 {
        mean(&self.of, average, |c| c.precision(self.zero_division))
    }

    /// [`recall`](Self::recall) of all labels.
    pub fn mean_recall(&self, average: Average) -> f64 {
        mean(&self.of, average, |c| c.recall(self.zero_division))
    }

    /// [`f1`](Self::f1) of all labels.
    pub fn mean_f1(&self, average: Average) -> f64 {
        mean(&self.of, average, |c| c.f1(self.zero_division))
    }

    /// [`iou`](Self::iou) of all labels.
    pub fn mean_iou(&self, average: Average) -> f64 {
        mean(&self.of, average, |c| c.iou(self.zero_division))
    }

    /// The share of examples all of whose labels are right; NaN without any.
    pub fn accuracy(&self) -> f64 {
        self.exact / self.rows
    }

    /// The share of labels that are wrong; NaN without any.
    pub fn hamming_loss(&self) -> f64 {
        let wrong: f64 = self.of.iter().map(|c| c.answered + c.support - 2.0 * c.right).sum();
        wrong / (self.rows * self.of.len() as f64)
    }

    fn at(&self, label: usize) -> Counts {
        self.of.get(label).copied().unwrap_or_default()
    }
}

/// Whether the last axis of `scores` has an entry for each label.
#[track_caller]
fn columns(op: &'static str, scores: &Tensor, labels: usize) -> Result<()> {
    if labels == 0 || scores.shape()?.last() != Some(&labels) {
        Tensor::bad_shape(op, &[scores], "[rows, labels], as many labels as there are").shape()?;
    }
    Ok(())
}

fn one(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// Scores of several classes, each ranked by itself against the rest: the areas under the curves of classifiers of more
/// than two classes (one versus rest), and of several labels.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRankings {
    of: Vec<Ranking>,
}

impl ClassRankings {
    /// No scores yet, of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { of: vec![Ranking::default(); classes] }
    }

    /// Adds a batch of `scores [rows, classes]`, with `labels [rows]` of integers, or `[rows, classes]`, where those
    /// above 0.5 are true.
    ///
    /// # Errors
    /// As [`Ranking::add_tensors`]; [`crate::Error::Shape`] if the last axis is not that of the classes,
    /// [`crate::Error::Index`] if an integer is no class.
    #[track_caller]
    pub fn add_tensors(&mut self, scores: &Tensor, labels: &Tensor) -> Result<()> {
        let labels =
            if labels.rank() == 1 && labels.dtype().is_int() { labels.one_hot(self.of.len()) } else { labels.clone() };
        let classes = self.of.len();
        columns("class_rankings", scores, classes)?;
        let (scores, labels) = pair("class_rankings", scores, &labels)?;
        ordered("class_rankings", &scores)?;
        let positive = truths("class_rankings", &labels)?;
        for (class, ranking) in self.of.iter_mut().enumerate() {
            let column = |at: usize| at % classes == class;
            let (scores, positive) = (scores.iter().enumerate(), positive.iter().enumerate());
            let scores: Vec<f64> = scores.filter(|(at, _)| column(*at)).map(|(_, score)| *score).collect();
            let positive: Vec<bool> = positive.filter(|(at, _)| column(*at)).map(|(_, yes)| *yes).collect();
            ranking.add(&scores, &positive)?;
        }
        Ok(())
    }

    /// The classes' rankings.
    pub fn classes(&self) -> &[Ranking] {
        &self.of
    }

    /// [`Ranking::roc_auc`] of all classes; NaN if a class has no positive or no negative example. Weighted, classes
    /// without positive examples do not count.
    ///
    /// Source: `sklearn.metrics.roc_auc_score(multi_class="ovr")`.
    pub fn mean_roc_auc(&self, average: Average) -> f64 {
        self.mean(average, Ranking::roc_auc)
    }

    /// [`Ranking::average_precision`] of all classes.
    pub fn mean_average_precision(&self, average: Average) -> f64 {
        self.mean(average, Ranking::average_precision)
    }

    fn mean(&self, average: Average, of: impl Fn(&Ranking) -> f64) -> f64 {
        if average == Average::Micro {
            return of(&self.of.iter().fold(Ranking::default(), |all, ranking| all.joined(ranking)));
        }
        weighted(self.of.iter().map(|ranking| (of(ranking), ranking.positives())), average)
    }
}
