//! Cross-entropy and negative log-likelihood of classes.

use super::{Reduction, compare};
use crate::{DType, Lit, Tensor, composed};

/// Mean cross-entropy of `logits` against class indices: mean over rows of  log Σⱼ exp(zⱼ) − z\[label\].
///
/// Shapes: `logits [rows, classes]` or `[rows, classes, ..]`, `labels [rows]` or `[rows, ..]` of `I32`
/// (or one row without the axis) → `[]`. `labels` of the shape of `logits` and of a float type are
/// class probabilities. The row maximum is taken out first, so logits of any finite size are safe.
///
/// For class weights, label smoothing, labels to ignore and other reductions: [`CrossEntropy`].
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit. A label that is no
/// class is an [`Error::Index`](crate::Error::Index) naming the row.
///
/// Source: Goodfellow, Bengio & Courville 2016, *Deep Learning*, §6.2.2.3.
///
/// ```
/// # use kiln::prelude::*; let device = Device::open()?;
/// let logits = Tensor::new(&device, [[0.0, 0.0]]);
/// let loss = cross_entropy(&logits, &Tensor::new(&device, [1i32]));
/// assert!((loss.item()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    CrossEntropy::default().loss(logits, labels)
}

/// Mean of −logp\[label\]: cross-entropy for log-probabilities that are already there, such as those of
/// [`Tensor::log_softmax`].
///
/// Shapes: `logp [rows, classes]` or `[rows, classes, ..]`, `labels [rows]` or `[rows, ..]` of integers (or one row without the
/// axis) → `[]`. For class weights, labels to ignore and other reductions: [`CrossEntropy::nll`].
///
/// # Errors
/// As [`cross_entropy`].
#[track_caller]
pub fn nll_loss(logp: &Tensor, labels: &Tensor) -> Tensor {
    CrossEntropy::default().nll(logp, labels)
}

/// [`cross_entropy`] with its settings, PyTorch's by default.
///
/// ```
/// # use kiln::prelude::*; let device = Device::open()?;
/// let logits = Tensor::new(&device, [[2.0, 0.0], [0.0, 0.0]]);
/// let labels = Tensor::new(&device, [0i32, -100]);     // the second row is left out
/// let loss = CrossEntropy { label_smoothing: 0.1, ..Default::default() }.loss(&logits, &labels);
/// assert!((loss.item()? - 0.22693).abs() < 1e-5);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CrossEntropy {
    /// A weight for each class.
    pub weight: Option<Tensor>,
    /// Rows with this label count for nothing.
    pub ignore_index: i32,
    /// The share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// How the rows' losses become one.
    pub reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

impl CrossEntropy {
    /// The loss of `logits` against class indices or class probabilities; shapes as for [`cross_entropy`], without a
    /// reduction the loss of each row.
    ///
    /// # Errors
    /// As [`cross_entropy`]; [`Error::Argument`](crate::Error::Argument) for a smoothing outside of 0..=1,
    /// [`Error::Shape`](crate::Error::Shape) if there is not one weight for each class.
    #[track_caller]
    pub fn loss(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        composed("cross_entropy", || self.of_logits(logits, labels))
    }

    /// The loss of log-probabilities against class indices: shapes as for [`nll_loss`]. The smoothing plays no part.
    ///
    /// # Errors
    /// As [`CrossEntropy::loss`].
    #[track_caller]
    pub fn nll(&self, logp: &Tensor, labels: &Tensor) -> Tensor {
        composed("nll_loss", || self.rows("nll_loss", logp, labels))
    }

    fn of_logits(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return logits.bad_argument("cross_entropy", "label_smoothing", self.label_smoothing, "between 0 and 1");
        }
        let axis = class_axis(logits);
        let logp = logits.log_softmax(axis);
        if labels.dtype().is_float() {
            return self.probabilities(&logp, labels, axis);
        }
        self.rows("cross_entropy", &logp, labels)
    }

    /// Reduces −logp at the label of each row.
    fn rows(&self, op: &'static str, logp: &Tensor, labels: &Tensor) -> Tensor {
        let axis = class_axis(logp);
        let (Ok(shape), Ok(rows)) = (logp.shape(), labels.shape()) else {
            return logp + labels; // carries the error on
        };
        let want: Vec<usize> = (0..shape.rank()).filter(|&a| a != axis as usize).map(|a| shape[a]).collect();
        if rows[..] != want[..] {
            return Tensor::bad_shape(op, &[logp, labels], "labels need the shape of the scores without the classes");
        }
        if let Some(error) = self.bad_weight(op, logp, axis) {
            return error;
        }
        // The ignored label is no class: it is looked up as class 0 and its row then left out.
        let counts = labels.ne(self.ignore_index);
        let label = Tensor::where_(&counts, labels, 0);
        let losses = -logp.gather(axis, &label.unsqueeze(axis)).squeeze(axis);
        let losses = Tensor::where_(&counts, losses, Lit(0.0));
        let (losses, weight) = match &self.weight {
            Some(weight) => {
                let own = weight.index_select(0, &label.reshape(-1)).reshape(rows);
                (losses * &own, Tensor::where_(&counts, own, Lit(0.0)))
            }
            None => (losses, counts.cast(DType::F32)),
        };
        let losses = if self.label_smoothing > 0.0 {
            let all = match &self.weight {
                Some(weight) => (logp * along(weight, logp, axis)).sum_axes(axis, false),
                None => logp.sum_axes(axis, false),
            };
            let spread = Tensor::where_(&counts, all, Lit(0.0));
            losses * (1.0 - self.label_smoothing) - spread * (self.label_smoothing / extent(logp, axis) as f64)
        } else {
            losses
        };
        match self.reduction {
            // times the reciprocal: the gradient of each row is then a product, which fuses anywhere
            Reduction::Mean => {
                let total = weight.sum();
                let share = total.recip();
                let mean = losses.sum() * &share;
                // all weights may be 0: then PyTorch's mean is 0/0, though what smoothing spreads is not 0
                if self.weight.is_some() && self.label_smoothing > 0.0 { mean * (share * total) } else { mean }
            }
            other => other.of(&losses),
        }
    }

    /// −Σ p · weight · logp over the classes; the mean is over rows, whatever the weights.
    fn probabilities(&self, logp: &Tensor, p: &Tensor, axis: i64) -> Tensor {
        if let Some(error) = self.bad_weight("cross_entropy", logp, axis) {
            return error;
        }
        if self.ignore_index >= 0 {
            return logp.bad_argument(
                "cross_entropy",
                "ignore_index",
                self.ignore_index,
                "negative: no label is there",
            );
        }
        compare("cross_entropy", logp, p, || {
            let spread = self.label_smoothing / extent(logp, axis) as f64;
            let p = if self.label_smoothing > 0.0 { p * (1.0 - self.label_smoothing) + spread } else { p.clone() };
            let terms = match &self.weight {
                Some(weight) => logp * along(weight, logp, axis) * p,
                None => logp * p,
            };
            self.reduction.of(&-terms.sum_axes(axis, false))
        })
    }

    /// The error of a weight that is not one number for each class.
    fn bad_weight(&self, op: &'static str, scores: &Tensor, axis: i64) -> Option<Tensor> {
        let weight = self.weight.as_ref()?;
        let fits = weight.shape().is_ok_and(|shape| shape[..] == [extent(scores, axis)]);
        (!fits).then(|| Tensor::bad_shape(op, &[scores, weight], "weight needs one number for each class"))
    }
}

/// Axis 1, or the only one.
fn class_axis(x: &Tensor) -> i64 {
    i64::from(x.rank() > 1)
}

/// How many classes there are.
fn extent(x: &Tensor, axis: i64) -> usize {
    x.shape().ok().and_then(|shape| shape.get(axis as usize).copied()).unwrap_or(1)
}

/// A vector of all classes as `[1, classes, 1, ..]`, so that it lies along the class axis of `like`.
#[track_caller]
fn along(vector: &Tensor, like: &Tensor, axis: i64) -> Tensor {
    let mut dims = vec![1i64; like.rank().max(1)];
    dims[axis as usize] = -1;
    vector.reshape(dims)
}
