//! Losses, PyTorch's by name, formula and default. Each is a formula in tensor ops; the plan joins it with what
//! comes before. A loss without settings is a function; settings are the fields of a struct with a method `loss`.

mod binary;
mod classes;
mod ctc;
mod likelihood;
mod margin;
mod regression;
mod similarity;

pub use binary::{
    BinaryCrossEntropy, Dice, Focal, Tversky, binary_cross_entropy, binary_cross_entropy_with_logits,
    sigmoid_focal_loss,
};
pub use classes::{CrossEntropy, cross_entropy, nll_loss};
pub use ctc::{Ctc, ctc_loss};
pub use likelihood::{GaussianNll, KlDiv, PoissonNll, gaussian_nll_loss, kl_div, poisson_nll_loss};
pub use margin::{
    HingeEmbedding, MarginRanking, MultiLabelSoftMargin, MultiMargin, multilabel_margin_loss, soft_margin_loss,
};
pub use regression::{
    Huber, SmoothL1, huber_loss, l1_loss, l1_loss_weighted, l1_loss_with, mse_loss, mse_loss_weighted, mse_loss_with,
    smooth_l1_loss,
};
pub use similarity::{CosineEmbedding, TripletMargin};

use std::sync::{Mutex, PoisonError};

use crate::error::At;
use crate::{Tensor, composed};

/// How the losses of single elements become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean; weighted losses divide by the sum of the weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// None: a loss for each element.
    None,
}

impl Reduction {
    /// Reduces `losses` so.
    #[track_caller]
    pub fn of(self, losses: &Tensor) -> Tensor {
        match self {
            Reduction::Mean => losses.mean(),
            Reduction::Sum => losses.sum(),
            Reduction::None => losses.clone(),
        }
    }
}

/// A loss of two operands of the same shape; other shapes are an error.
#[track_caller]
fn compare(op: &'static str, x: &Tensor, y: &Tensor, loss: impl FnOnce() -> Tensor) -> Tensor {
    composed(op, || match (x.shape(), y.shape()) {
        (Ok(a), Ok(b)) if a[..] != b[..] => Tensor::bad_shape(op, &[x, y], "the shapes differ"),
        _ => loss(),
    })
}

/// A loss of two operands that are broadcast to one shape, as PyTorch has it. In a loss that is almost always a mistake
/// (`[rows, 1]` against `[rows]` compares each row with every other), so the log says so, once for each line of the program.
#[track_caller]
fn broadcast(op: &'static str, x: &Tensor, y: &Tensor, loss: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Tensor {
    let at = Tensor::origin_at(At::here());
    composed(op, || match (x.shape(), y.shape()) {
        (Ok(a), Ok(b)) if a[..] != b[..] => match a.broadcast(&b) {
            Some(both) => {
                if first_time(at) {
                    log::warn!(
                        "{at}: {op}: {a} and {b} are broadcast to {both}; a loss mostly wants shapes that are equal"
                    );
                }
                loss(&x.expand(both), &y.expand(both))
            }
            None => Tensor::bad_shape(op, &[x, y], "the shapes differ and do not broadcast"),
        },
        _ => loss(x, y),
    })
}

/// Whether nothing has been said of this line yet.
fn first_time(at: At) -> bool {
    static SAID: Mutex<Vec<At>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let first = !said.contains(&at);
    if first {
        said.push(at);
    }
    first
}
