//! How good a model is. Every metric takes batches one after the other and gives its value at any time; the numbers
//! are those of scikit-learn (`tests/metrics.rs`).
//!
//! What scikit-learn refuses is an error here too: lists of different lengths, NaN, labels that are no class. A batch that is
//! refused counts nothing. Of no examples at all a score is NaN, since batches may still come.

mod bleu;
mod calibration;
mod confusion;
mod counts;
mod multilabel;
mod rank;
mod regression;

pub use bleu::Bleu;
pub use calibration::{Bin, Calibration};
pub use confusion::ConfusionMatrix;
pub use counts::Average;
pub use multilabel::{ClassRankings, MultiLabel};
pub use rank::{CurvePoint, Ranking};
pub use regression::Regression;

use std::fmt::Display;

use crate::error::At;
use crate::{DType, Error, Result, Tensor};

/// The share of rows whose largest logit is at the label.
///
/// Shapes: `logits [.., classes]`, `labels [..]` → `[]`. Given to the step along with the loss,
/// it is computed in the same plan. A label that is no class counts as missed.
///
/// # Errors
/// [`Error::Shape`] if there is not a label for each row.
#[track_caller]
pub fn accuracy(logits: &Tensor, labels: &Tensor) -> Tensor {
    match rows("accuracy", logits, labels) {
        Ok(()) => logits.argmax(-1, false).eq(labels).cast(DType::F32).mean(),
        Err(invalid) => invalid,
    }
}

/// The share of rows whose label is among the `k` largest logits. Of equal logits the later class counts first, as in
/// scikit-learn; of the largest alone, [`accuracy`] counts the earliest, as `argmax` does.
///
/// Shapes: `logits [.., classes]`, `labels [..]` → `[]`.
///
/// # Errors
/// As [`accuracy`], and [`Error::Argument`] if there are fewer than `k` classes.
///
/// Source: `sklearn.metrics.top_k_accuracy_score`.
///
/// ```
/// # use kiln::prelude::*; let device = Device::open()?;
/// let logits = Tensor::new(&device, [[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]);
/// let labels = Tensor::new(&device, [2, 2]);
/// assert_eq!(metrics::top_k_accuracy(&logits, &labels, 2).item()?, 0.5);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn top_k_accuracy(logits: &Tensor, labels: &Tensor, k: usize) -> Tensor {
    if let Err(invalid) = rows("top_k_accuracy", logits, labels) {
        return invalid;
    }
    // a stable sort takes the first of equals: from the other end, the last
    let (_, best) = logits.flip([-1i64]).topk(k, -1, true);
    let last = logits.shape().ok().and_then(|shape| shape.last().copied()).unwrap_or(1) as i32 - 1;
    (-best + last).eq(labels.unsqueeze(-1)).cast(DType::F32).sum_axes(-1, false).mean()
}

/// Whether there is a label for each row of logits; if not, the tensor that says so.
#[track_caller]
fn rows(op: &'static str, logits: &Tensor, labels: &Tensor) -> Result<(), Tensor> {
    match (logits.shape(), labels.shape()) {
        (Ok(shape), Ok(rows)) if shape.split_last().map(|(_, rows)| rows) != Some(&*rows) => {
            Err(Tensor::bad_shape(op, &[logits, labels], "a label for each row of logits"))
        }
        _ => Ok(()),
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

    /// Weighted sum and sum of weights: what a checkpoint needs to know.
    pub fn parts(&self) -> (f64, f64) {
        (self.sum, self.weight)
    }

    /// The mean of these [`parts`](Mean::parts).
    pub fn from_parts(sum: f64, weight: f64) -> Self {
        Self { sum, weight }
    }
}

/// Perplexity: e to the mean negative log-likelihood of a token.
///
/// ```
/// # use kiln::prelude::*;
/// let mut perplexity = metrics::Perplexity::default();
/// perplexity.add(8f64.ln(), 100.0); // the mean loss of 100 tokens
/// assert!((perplexity.value() - 8.0).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Perplexity(Mean);

impl Perplexity {
    /// Adds the mean loss (in nats) of a batch of `tokens` tokens.
    pub fn add(&mut self, loss: f64, tokens: f64) {
        self.0.add(loss, tokens);
    }

    /// The perplexity so far; NaN before the first batch.
    pub fn value(&self) -> f64 {
        self.0.get().exp()
    }
}

/// The label of each row of logits, and the place of its largest logit.
#[track_caller]
fn answers(op: &'static str, logits: &Tensor, labels: &Tensor) -> Result<(Vec<i32>, Vec<i32>)> {
    let classes = logits.shape()?.last().copied().unwrap_or(1) as i32;
    if let Err(invalid) = rows(op, logits, labels) {
        invalid.shape()?;
    }
    if labels.dtype().is_float() {
        Tensor::bad_dtype(op, &[labels], "labels are integers").shape()?;
    }
    let (labels, answers) = (labels.to_vec::<i32>()?, logits.argmax(-1, false).to_vec::<i32>()?);
    each(op, "logits", &logits.amax(-1, false).to_vec::<f64>()?, "numbers, which have an order", |v| !v.is_nan())?;
    each(op, "labels", &labels, "a class, from 0", |label| (0..classes).contains(&label))?;
    Ok((labels, answers))
}

/// Two lists that belong together, as numbers of the host.
#[track_caller]
fn pair(op: &'static str, a: &Tensor, b: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    if a.shape()? != b.shape()? {
        return Err(lengths(op, a.numel(), b.numel()));
    }
    Ok((a.to_vec::<f64>()?, b.to_vec::<f64>()?))
}

/// Two lists of different lengths.
#[track_caller]
fn lengths(op: &'static str, a: usize, b: usize) -> Error {
    let why = "both lists have one entry for each example";
    Error::Argument { op, name: "lengths", value: format!("{a} and {b}"), why, at: At::here() }
}

/// An error about the first entry that is not `right`.
#[track_caller]
fn each<T: Copy + Display>(
    op: &'static str,
    name: &'static str,
    list: &[T],
    why: &'static str,
    right: impl Fn(T) -> bool,
) -> Result<()> {
    match list.iter().enumerate().find(|(_, value)| !right(**value)) {
        Some((row, value)) => {
            Err(Error::Argument { op, name, value: format!("{value} (entry {row})"), why, at: At::here() })
        }
        None => Ok(()),
    }
}

/// Labels of yes and no as numbers from 0 to 1, of which those above 0.5 are true.
#[track_caller]
fn truths(op: &'static str, labels: &[f64]) -> Result<Vec<bool>> {
    each(op, "labels", labels, "0 or 1", |label| (0.0..=1.0).contains(&label))?;
    Ok(labels.iter().map(|&label| label > 0.5).collect())
}

/// Scores must have an order.
#[track_caller]
fn ordered(op: &'static str, scores: &[f64]) -> Result<()> {
    each(op, "scores", scores, "numbers, which have an order", |score| !score.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_weighted() {
        let mut mean = Mean::default();
        assert!(mean.get().is_nan());
        mean.add(1.0, 3.0);
        mean.add(5.0, 1.0);
        assert_eq!(mean.get(), 2.0);
    }
}
