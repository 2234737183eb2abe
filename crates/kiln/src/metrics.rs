//! How good a model is: accuracy, the confusion matrix, running means.

use std::fmt;

use crate::{DType, Result, Tensor};

/// The share of rows whose largest logit is at the label.
///
/// Shapes: `logits [rows, classes]`, `labels [rows]` → `[]`. Given to the step along with the loss,
/// it is computed in the same plan.
#[track_caller]
pub fn accuracy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.argmax(-1, false).eq(labels).cast(DType::F32).mean()
}

/// How often each class was taken for which: `counts[truth][answer]`.
///
/// ```
/// # use kiln::prelude::*;
/// let mut matrix = ConfusionMatrix::new(3);
/// matrix.add(&[0, 1, 2, 2], &[0, 1, 1, 2]);
/// assert_eq!(matrix.accuracy(), 0.75);
/// assert_eq!(matrix.counts()[2], [0, 1, 1]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionMatrix {
    counts: Vec<Vec<u64>>,
}

impl ConfusionMatrix {
    /// No answers yet, `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts answers; those outside of the classes are left out.
    pub fn add(&mut self, truth: &[i32], answers: &[i32]) {
        for (&truth, &answer) in truth.iter().zip(answers) {
            let row = usize::try_from(truth).ok().and_then(|t| self.counts.get_mut(t));
            let cell = row.and_then(|row| row.get_mut(usize::try_from(answer).ok()?));
            if let Some(count) = cell {
                *count += 1;
            }
        }
    }

    /// Counts the largest logit of each row as its answer.
    ///
    /// # Errors
    /// What evaluating the tensors gives.
    pub fn add_logits(&mut self, labels: &Tensor, logits: &Tensor) -> Result<()> {
        let answers = logits.argmax(-1, false).to_vec::<i32>()?;
        self.add(&labels.to_vec::<i32>()?, &answers);
        Ok(())
    }

    /// `counts()[truth][answer]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// The share of right answers; NaN without any.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.counts.len()).map(|c| self.counts[c][c]).sum();
        right as f64 / self.counts.iter().flatten().sum::<u64>() as f64
    }

    /// Of the answers `class`, the share that is right.
    pub fn precision(&self, class: usize) -> f64 {
        self.at(class, class) as f64 / (0..self.counts.len()).map(|t| self.at(t, class)).sum::<u64>() as f64
    }

    /// Of the examples of `class`, the share that was found.
    pub fn recall(&self, class: usize) -> f64 {
        self.at(class, class) as f64 / (0..self.counts.len()).map(|a| self.at(class, a)).sum::<u64>() as f64
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

/// A mean that grows by and by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds `value`, which stands for `weight` examples.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    /// The mean so far; NaN before the first value.
    pub fn get(&self) -> f64 {
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_counts_and_prints() {
        let mut matrix = ConfusionMatrix::new(2);
        matrix.add(&[0, 0, 1, 5, -1], &[0, 1, 1, 0, 1]);
        assert_eq!(matrix.counts(), [[1, 1], [0, 1]]);
        assert_eq!((matrix.precision(1), matrix.recall(0), matrix.precision(0)), (0.5, 0.5, 1.0));
        let text = matrix.to_string();
        assert_eq!(text, "truth \\ answer 0 1   recall\n             0 1 1   50.0 %\n             1 · 1  100.0 %\n");
        assert!(ConfusionMatrix::new(0).to_string().starts_with("truth"));
    }

    #[test]
    fn means_are_weighted() {
        let mut mean = Mean::default();
        assert!(mean.get().is_nan());
        mean.add(1.0, 3.0);
        mean.add(5.0, 1.0);
        assert_eq!(mean.get(), 2.0);
    }
}
