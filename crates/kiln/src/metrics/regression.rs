//! Errors of predicted numbers.

use super::{each, pair};
use crate::{Result, Tensor};

/// Errors of predictions, gathered over batches.
///
/// ```
/// # use kiln::prelude::*;
/// let mut errors = metrics::Regression::default();
/// for (predicted, wanted) in [(2.5, 3.0), (0.0, -0.5), (2.0, 2.0), (8.0, 7.0)] {
///     errors.add(predicted, wanted)?;
/// }
/// assert_eq!((errors.mae(), errors.mse()), (0.5, 0.375));
/// assert!((errors.r2() - 0.9486).abs() < 1e-4);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Regression {
    count: f64,
    absolute: f64,
    squared: f64,
    /// Mean of what was wanted, and the squares around it.
    mean: f64,
    spread: f64,
    largest: f64,
}

impl Regression {
    /// Adds one prediction.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if one of them is NaN or infinite.
    #[track_caller]
    pub fn add(&mut self, predicted: f64, wanted: f64) -> Result<()> {
        finite(&[predicted], &[wanted])?;
        self.count_in(predicted, wanted);
        Ok(())
    }

    fn count_in(&mut self, predicted: f64, wanted: f64) {
        let error = predicted - wanted;
        self.count += 1.0;
        self.absolute += error.abs();
        self.squared += error * error;
        self.largest = self.largest.max(error.abs());
        // Welford 1962: sums of squares around a mean that moves
        let from_old = wanted - self.mean;
        self.mean += from_old / self.count;
        self.spread += from_old * (wanted - self.mean);
    }

    /// Adds a batch: two tensors of the same shape.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the shapes differ or a number is NaN or infinite, and what evaluating gives.
    #[track_caller]
    pub fn add_tensors(&mut self, predicted: &Tensor, wanted: &Tensor) -> Result<()> {
        let (predicted, wanted) = pair("regression", predicted, wanted)?;
        finite(&predicted, &wanted)?;
        predicted.iter().zip(&wanted).for_each(|(&p, &w)| self.count_in(p, w));
        Ok(())
    }

    /// Mean absolute error.
    pub fn mae(&self) -> f64 {
        self.absolute / self.count
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.squared / self.count
    }

    /// Root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// The largest absolute error.
    pub fn max_error(&self) -> f64 {
        self.largest
    }

    /// The share of the spread that is explained: 1 − Σ error² / Σ (wanted − mean)². Of a constant it is 1 if every
    /// prediction is right and 0 otherwise; NaN below two examples.
    ///
    /// Source: `sklearn.metrics.r2_score`.
    pub fn r2(&self) -> f64 {
        match (self.count < 2.0, self.spread == 0.0, self.squared == 0.0) {
            (true, ..) => f64::NAN,
            (_, true, true) => 1.0,
            (_, true, false) => 0.0,
            _ => 1.0 - self.squared / self.spread,
        }
    }
}

#[track_caller]
fn finite(predicted: &[f64], wanted: &[f64]) -> Result<()> {
    each("regression", "predicted", predicted, "finite", f64::is_finite)?;
    each("regression", "wanted", wanted, "finite", f64::is_finite)
}
