//! Whether a model is right as often as it says.

use super::{answers, each, lengths};
use crate::{Result, Tensor};

/// Confidence against accuracy, in bins of equal width.
///
/// ```
/// # use kiln::prelude::*;
/// let mut calibration = metrics::Calibration::new(10);
/// calibration.add(&[0.95, 0.95, 0.55], &[true, true, false])?;
/// assert!((calibration.error() - (2.0 * 0.05 + 0.55) / 3.0).abs() < 1e-12);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    bins: Vec<Bin>,
}

/// The answers whose confidence lies in one bin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub count: f64,
    /// The sum of their confidences.
    pub confidence: f64,
    /// How many were right.
    pub right: f64,
}

impl Calibration {
    /// No answers yet; bins (0, 1/n], (1/n, 2/n], …
    pub fn new(bins: usize) -> Self {
        Self { bins: vec![Bin::default(); bins.max(1)] }
    }

    /// Adds answers: how sure the model was (0..1), and whether it was right.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the lists differ in length, or a confidence is not in 0..=1.
    #[track_caller]
    pub fn add(&mut self, confidence: &[f64], right: &[bool]) -> Result<()> {
        if confidence.len() != right.len() {
            return Err(lengths("calibration", confidence.len(), right.len()));
        }
        each("calibration", "confidence", confidence, "from 0 to 1", |sure| (0.0..=1.0).contains(&sure))?;
        let (bins, last) = (self.bins.len() as f64, self.bins.len() - 1);
        for (&confidence, &right) in confidence.iter().zip(right) {
            let at = ((confidence * bins).ceil() as usize).saturating_sub(1).min(last); // 0 is in the first bin
            // the product may round to the other side of the bin's lower end
            let below = at > 0 && confidence <= at as f64 / bins;
            let bin = &mut self.bins[at - usize::from(below)];
            bin.count += 1.0;
            bin.confidence += confidence;
            bin.right += f64::from(u8::from(right));
        }
        Ok(())
    }

    /// Adds a batch of `logits [rows, classes]` with `labels [rows]`: the largest softmax is the confidence.
    ///
    /// # Errors
    /// As [`ConfusionMatrix::add_logits`](super::ConfusionMatrix::add_logits).
    #[track_caller]
    pub fn add_logits(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let (labels, answers) = answers("calibration", logits, labels)?;
        let right: Vec<bool> = labels.iter().zip(&answers).map(|(label, answer)| label == answer).collect();
        // a sum of rounded shares can be one step above 1
        let confidence = logits.softmax(-1).amax(-1, false).clamp(0.0, 1.0);
        self.add(&confidence.to_vec::<f64>()?, &right)
    }

    /// The bins, for a reliability diagram.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// The expected calibration error: the mean over the answers of |accuracy − confidence| of their bin.
    ///
    /// Source: Guo et al. 2017, "On calibration of modern neural networks", eq. 3.
    pub fn error(&self) -> f64 {
        let count: f64 = self.bins.iter().map(|b| b.count).sum();
        self.bins.iter().map(|b| (b.right - b.confidence).abs()).sum::<f64>() / count
    }

    /// The maximum calibration error: the largest |accuracy − confidence| of a bin.
    pub fn max_error(&self) -> f64 {
        let filled = self.bins.iter().filter(|b| b.count > 0.0);
        filled.map(|b| ((b.right - b.confidence) / b.count).abs()).fold(0.0, f64::max)
    }
}
