//! Losses that are zero once an answer is right by a margin. Where PyTorch broadcasts shapes that differ, so do these, and the
//! log says so once for each line of the program.

use super::{Reduction, broadcast, compare};
use crate::{DType, Lit, Tensor, composed};

/// x where y = 1, max(0, margin − x) where y = −1: for distances that are to be small or large.
///
/// Shapes: `x`, `y [..]` alike → `[]`, or `[..]` without reduction.
#[derive(Debug, Clone, Copy)]
pub struct HingeEmbedding {
    /// How far apart is far enough; 1.
    pub margin: f64,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl Default for HingeEmbedding {
    fn default() -> Self {
        Self { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl HingeEmbedding {
    /// The loss of `x` against `y`, which is 1 or −1.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not broadcast.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        broadcast("hinge_embedding_loss", x, y, |x, y| {
            let far = Tensor::where_(&y.eq(Lit(1.0)), Lit(0.0), (Lit(self.margin as f32) - x).relu());
            let near = Tensor::where_(&y.eq(Lit(-1.0)), Lit(0.0), x);
            self.reduction.of(&(far + near))
        })
    }
}

/// max(0, −y·(a − b) + margin): `a` is to rank above `b` where y = 1, below where y = −1.
///
/// Shapes: `a`, `b [..]` alike, `y` the same or broadcasting to it → `[]`, or `[..]` without reduction.
#[derive(Debug, Clone, Copy, Default)]
pub struct MarginRanking {
    /// By how much; 0.
    pub margin: f64,
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl MarginRanking {
    /// The loss of `a` and `b` against `y`, which is 1 or −1.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit.
    #[track_caller]
    pub fn loss(&self, a: &Tensor, b: &Tensor, y: &Tensor) -> Tensor {
        if a.rank() != b.rank() || a.rank() != y.rank() {
            let why = "as many axes in each";
            return composed("margin_ranking_loss", || Tensor::bad_shape("margin_ranking_loss", &[a, b, y], why));
        }
        broadcast("margin_ranking_loss", a, b, |a, b| {
            self.reduction.of(&(Lit(self.margin as f32) - (a - b) * y).relu())
        })
    }
}

/// ln(1 + e^(−y·x)) for y = ±1, without overflow.
///
/// Shapes: `x [..]`, `y` alike or broadcasting to it → `[]`, or `[..]` without reduction.
#[track_caller]
pub fn soft_margin_loss(x: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
    const OP: &str = "soft_margin_loss";
    match (x.shape(), y.shape()) {
        (Ok(own), Ok(given)) if own.broadcast(&given) != Some(own) => {
            composed(OP, || Tensor::bad_shape(OP, &[x, y], "y needs to broadcast to x"))
        }
        _ => broadcast(OP, x, y, |x, y| reduction.of(&(-(x * y)).softplus())),
    }
}

/// Σ_{j ≠ y} max(0, margin − x\[y\] + x\[j\])ᵖ / classes: the right class is to score above each other one.
///
/// Shapes: `x [rows, classes]`, `labels [rows]` of integers, or one row of each without the first axis
/// → `[]`, or `[rows]` without reduction. The mean is over rows.
#[derive(Debug, Clone)]
pub struct MultiMargin {
    /// The exponent, 1 or 2; 1.
    pub p: u32,
    /// By how much; 1.
    pub margin: f64,
    /// A weight for each class: that of the label counts.
    pub weight: Option<Tensor>,
    /// How the rows' losses become one.
    pub reduction: Reduction,
}

impl Default for MultiMargin {
    fn default() -> Self {
        Self { p: 1, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

impl MultiMargin {
    /// The loss of the scores `x` against class indices.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit,
    /// [`Error::DType`](crate::Error::DType) if the labels are no integers and
    /// [`Error::Argument`](crate::Error::Argument) if p is neither 1 nor 2. A label that is no class is an
    /// [`Error::Index`](crate::Error::Index).
    #[track_caller]
    pub fn loss(&self, x: &Tensor, labels: &Tensor) -> Tensor {
        const OP: &str = "multi_margin_loss";
        composed(OP, || {
            let (Ok(shape), Ok(given)) = (x.shape(), labels.shape()) else { return x + labels };
            if shape.rank() == 0 || shape.rank() > 2 || given[..] != shape[..shape.rank() - 1] {
                return Tensor::bad_shape(OP, &[x, labels], "scores [rows, classes] and labels [rows]");
            }
            if !labels.dtype().is_int() {
                return Tensor::bad_dtype(OP, &[x, labels], "labels are integers");
            }
            if !(1..=2).contains(&self.p) {
                return x.bad_argument(OP, "p", self.p, "1 or 2");
            }
            let classes = shape[shape.rank() - 1];
            if let Some(weight) = &self.weight
                && weight.shape().is_ok_and(|own| own[..] != [classes])
            {
                return Tensor::bad_shape(OP, &[x, weight], "weight needs one number for each class");
            }
            let label = labels.unsqueeze(-1);
            let short = (x - x.gather(-1, &label) + self.margin).relu();
            let short = if self.p == 2 { short.square() } else { short };
            let short = match &self.weight {
                Some(weight) => short * weight.index_select(0, &labels.reshape(-1)).reshape(given).unsqueeze(-1),
                None => short,
            };
            // the right class itself is no rival
            let right = label.eq(Tensor::arange(x.device(), 0, classes as i32, 1));
            let rivals = Tensor::where_(&right, Lit(0.0), short);
            mean_or_zero(self.reduction, rivals.sum_axes(-1, false) / classes)
        })
    }
}

/// Σᵢⱼ max(0, 1 − (x\[yⱼ\] − x\[i\])) / classes over the right classes yⱼ and the other classes i.
///
/// Shapes: `x [rows, classes]`, `labels` of integers alike, or one row of each → `[]`, or `[rows]`
/// without reduction. A row of labels lists the right classes and ends at the first −1.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ,
/// [`Error::DType`](crate::Error::DType) if the labels are no integers. A label that is no class is an
/// [`Error::Index`](crate::Error::Index).
#[track_caller]
pub fn multilabel_margin_loss(x: &Tensor, labels: &Tensor, reduction: Reduction) -> Tensor {
    const OP: &str = "multilabel_margin_loss";
    compare(OP, x, labels, || {
        let Ok(shape) = x.shape() else { return x.clone() };
        if shape.rank() == 0 || shape.rank() > 2 {
            return Tensor::bad_shape(OP, &[x, labels], "[rows, classes]");
        }
        if !labels.dtype().is_int() {
            return Tensor::bad_dtype(OP, &[x, labels], "labels are integers");
        }
        let classes = shape[shape.rank() - 1];
        let labels = labels.cast(DType::I32);
        let listed = labels.lt(0).cast(DType::I32).cumsum(-1).eq(0);
        let label = Tensor::where_(&listed, &labels, 0);
        let (listed, each) = (listed.unsqueeze(-1), label.unsqueeze(-1)); // [rows, j, 1]
        let right = each.eq(Tensor::arange(x.device(), 0, classes as i32, 1)).logical_and(&listed).any(-2, true);
        let short = (x.unsqueeze(-2) - x.gather(-1, &label).unsqueeze(-1) + Lit(1.0)).relu(); // [rows, j, i]
        let counts = listed.logical_and(right.logical_not());
        let rivals = Tensor::where_(&counts, short, Lit(0.0));
        mean_or_zero(reduction, rivals.sum_axes([-2, -1], false) / classes)
    })
}

/// `losses` reduced; the mean of none is 0, as these two have it in PyTorch.
#[track_caller]
fn mean_or_zero(reduction: Reduction, losses: Tensor) -> Tensor {
    if reduction == Reduction::Mean && losses.numel() == 0 { losses.sum() } else { reduction.of(&losses) }
}

/// Mean over classes of binary cross-entropies of logits: each class is answered yes or no.
///
/// Shapes: `x`, `y [.., classes]` alike → `[]`, or `[..]` without reduction.
#[derive(Debug, Clone, Default)]
pub struct MultiLabelSoftMargin {
    /// A weight for each class; broadcasts.
    pub weight: Option<Tensor>,
    /// How the rows' losses become one.
    pub reduction: Reduction,
}

impl MultiLabelSoftMargin {
    /// The loss of the logits `x` against `y`, numbers in 0..=1.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        const OP: &str = "multilabel_soft_margin_loss";
        let (rank, classes) = (x.rank() as i64, x.shape().ok().and_then(|own| own.last().copied()));
        broadcast(OP, x, y, |x, y| {
            let Some(classes) = classes else {
                return Tensor::bad_shape(OP, &[x, y], "[.., classes]");
            };
            let losses = (Lit(1.0) - y) * x - x.logsigmoid();
            let losses = match &self.weight {
                Some(weight) => losses * weight,
                None => losses,
            };
            self.reduction.of(&(losses.sum_axes(rank - 1, false) / classes))
        })
    }
}
