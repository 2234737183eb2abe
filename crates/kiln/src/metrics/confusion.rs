//! The confusion matrix and what is read off it.

use std::fmt;

use super::counts::{Average, Counts, mean};
use super::{answers, each, lengths};
use crate::{Result, Tensor};

/// How often each class was taken for which: `counts[truth][answer]`.
///
/// ```
/// # use kiln::prelude::*;
/// let mut matrix = ConfusionMatrix::new(3);
/// matrix.add(&[0, 1, 2, 2], &[0, 1, 1, 2])?;
/// assert_eq!(matrix.accuracy(), 0.75);
/// assert_eq!(matrix.counts()[2], [0, 1, 1]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionMatrix {
    counts: Vec<Vec<u64>>,
    zero_division: f64,
}

impl ConfusionMatrix {
    /// No answers yet, `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes], zero_division: 0.0 }
    }

    /// Sets what a share of nothing is: 0 unless set, 1, or NaN, which means leave out.
    #[must_use]
    pub fn zero_division(mut self, value: f64) -> Self {
        self.zero_division = value;
        self
    }

    /// Counts answers.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the lists differ in length, or one names what is no class; nothing is counted then.
    #[track_caller]
    pub fn add(&mut self, truth: &[i32], answers: &[i32]) -> Result<()> {
        if truth.len() != answers.len() {
            return Err(lengths("confusion_matrix", truth.len(), answers.len()));
        }
        let class = |label: i32| usize::try_from(label).is_ok_and(|label| label < self.counts.len());
        each("confusion_matrix", "truth", truth, "a class, from 0", class)?;
        each("confusion_matrix", "answers", answers, "a class, from 0", class)?;
        for (&truth, &answer) in truth.iter().zip(answers) {
            self.counts[truth as usize][answer as usize] += 1;
        }
        Ok(())
    }

    /// Counts the largest logit of each row as its answer.
    ///
    /// Shapes: `labels [..]` of integers, `logits [.., classes]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if there is not a label for each row, [`crate::Error::DType`] if labels are no integers,
    /// [`crate::Error::Argument`] if one is no class or a logit is NaN, and what evaluating the tensors gives.
    #[track_caller]
    pub fn add_logits(&mut self, labels: &Tensor, logits: &Tensor) -> Result<()> {
        let (labels, answers) = answers("confusion_matrix", logits, labels)?;
        self.add(&labels, &answers)
    }

    /// `counts()[truth][answer]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// The share of right answers; NaN without any.
    pub fn accuracy(&self) -> f64 {
        self.right() / self.total()
    }

    /// Of the answers `class`, the share that is right; 0 where there was none, or as set.
    pub fn precision(&self, class: usize) -> f64 {
        self.of(class).precision(self.zero_division)
    }

    /// Of the examples of `class`, the share that was found; 0 where there was none, or as set.
    pub fn recall(&self, class: usize) -> f64 {
        self.of(class).recall(self.zero_division)
    }

    /// The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN). It is the Dice coefficient too.
    pub fn f1(&self, class: usize) -> f64 {
        self.of(class).f1(self.zero_division)
    }

    /// Intersection over union, the Jaccard index: TP / (TP + FP + FN).
    pub fn iou(&self, class: usize) -> f64 {
        self.of(class).iou(self.zero_division)
    }

    /// How many examples of `class` there were.
    pub fn support(&self, class: usize) -> f64 {
        (0..self.counts.len()).map(|a| self.at(class, a)).sum::<u64>() as f64
    }

    /// [`precision`](Self::precision) of all classes that occur in truth or answers.
    pub fn mean_precision(&self, average: Average) -> f64 {
        mean(&self.occurring(), average, |c| c.precision(self.zero_division))
    }

    /// [`recall`](Self::recall) of all classes that occur in truth or answers.
    pub fn mean_recall(&self, average: Average) -> f64 {
        mean(&self.occurring(), average, |c| c.recall(self.zero_division))
    }

    /// [`f1`](Self::f1) of all classes that occur in truth or answers.
    pub fn mean_f1(&self, average: Average) -> f64 {
        mean(&self.occurring(), average, |c| c.f1(self.zero_division))
    }

    /// [`iou`](Self::iou) of all classes that occur in truth or answers.
    pub fn mean_iou(&self, average: Average) -> f64 {
        mean(&self.occurring(), average, |c| c.iou(self.zero_division))
    }

    /// The mean recall of the classes that have examples.
    pub fn balanced_accuracy(&self) -> f64 {
        let with_examples = (0..self.counts.len()).filter(|&c| self.support(c) > 0.0);
        let (sum, count) = with_examples.fold((0.0, 0.0), |(s, n), c| (s + self.of(c).recall(0.0), n + 1.0));
        sum / count
    }

    /// Matthews' correlation coefficient of truth and answers, in −1..1; 0 where one of them is constant.
    ///
    /// Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    pub fn matthews(&self) -> f64 {
        let classes = 0..self.counts.len();
        let (n, right) = (self.total(), self.right());
        let sum = |of: &dyn Fn(usize) -> f64| classes.clone().map(of).sum::<f64>();
        let both = right * n - sum(&|c| self.support(c) * self.answered(c));
        let truth = n * n - sum(&|c| self.support(c).powi(2));
        let answers = n * n - sum(&|c| self.answered(c).powi(2));
        let spread = (truth * answers).sqrt();
        if spread == 0.0 { 0.0 } else { both / spread }
    }

    /// Cohen's kappa: agreement beyond chance.
    pub fn kappa(&self) -> f64 {
        let n = self.total();
        let chance: f64 = (0..self.counts.len()).map(|c| self.support(c) * self.answered(c)).sum::<f64>() / (n * n);
        (self.accuracy() - chance) / (1.0 - chance)
    }

    fn of(&self, class: usize) -> Counts {
        Counts { right: self.at(class, class) as f64, answered: self.answered(class), support: self.support(class) }
    }

    /// The classes of truth or answers.
    fn occurring(&self) -> Vec<Counts> {
        let classes = (0..self.counts.len()).map(|class| self.of(class));
        classes.filter(|c| c.support + c.answered > 0.0).collect()
    }

    fn answered(&self, class: usize) -> f64 {
        (0..self.counts.len()).map(|t| self.at(t, class)).sum::<u64>() as f64
    }

    fn right(&self) -> f64 {
        (0..self.counts.len()).map(|c| self.counts[c][c]).sum::<u64>() as f64
    }

    fn total(&self) -> f64 {
        self.counts.iter().flatten().sum::<u64>() as f64
    }

    fn at(&self, truth: usize, answer: usize) -> u64 {
        self.counts.get(truth).and_then(|row| row.get(answer)).copied().unwrap_or(0)
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.counts.iter().flatten().max().map_or(1, |n| n.to_string().len());
        let width = widest.max(self.counts.len().saturating_sub(1).to_string().len()) + 1;
        write!(f, "truth \\ answer")?;
        (0..self.counts.len()).try_for_each(|class| write!(f, "{class:>width$}"))?;
        writeln!(f, "   recall")?;
        for (class, row) in self.counts.iter().enumerate() {
            write!(f, "{class:>14}")?;
            for &count in row {
                if count == 0 { write!(f, "{:>width$}", "·")? } else { write!(f, "{count:>width$}")? }
            }
            writeln!(f, "  {:5.1} %", 100.0 * self.recall(class))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_counts_and_prints() {
        let mut matrix = ConfusionMatrix::new(2);
        assert!(matrix.add(&[0, 0, 1], &[0, 1, 1]).is_ok());
        assert_eq!(matrix.counts(), [[1, 1], [0, 1]]);
        assert_eq!((matrix.precision(1), matrix.recall(0), matrix.precision(0)), (0.5, 0.5, 1.0));
        let text = matrix.to_string();
        assert_eq!(text, "truth \\ answer 0 1   recall\n             0 1 1   50.0 %\n             1 · 1  100.0 %\n");
        assert!(ConfusionMatrix::new(0).to_string().starts_with("truth"));
    }
}
