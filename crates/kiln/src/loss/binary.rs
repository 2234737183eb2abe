//! Losses of yes or no.

use super::{Reduction, compare};
use crate::{Lit, Tensor};

/// Mean of −(y·ln p + (1 − y)·ln(1 − p)); each logarithm is at least −100, as in PyTorch.
///
/// For a weight or other reductions: [`BinaryCrossEntropy::of_probabilities`].
#[track_caller]
pub fn binary_cross_entropy(p: &Tensor, y: &Tensor) -> Tensor {
    BinaryCrossEntropy::default().of_probabilities(p, y)
}

/// Mean binary cross-entropy of logits: softplus(−z)·y + (z + softplus(−z))·(1 − y), safe for any z.
///
/// For weights of the positive class and other reductions: [`BinaryCrossEntropy`].
#[track_caller]
pub fn binary_cross_entropy_with_logits(logits: &Tensor, y: &Tensor) -> Tensor {
    BinaryCrossEntropy::default().loss(logits, y)
}

/// [`binary_cross_entropy_with_logits`] and [`binary_cross_entropy`] with their settings.
#[derive(Debug, Clone, Default)]
pub struct BinaryCrossEntropy {
    /// A weight of each element's loss; broadcasts.
    pub weight: Option<Tensor>,
    /// A weight of the positive answers; broadcasts. For logits only.
    pub pos_weight: Option<Tensor>,
    /// How the losses become one.
    pub reduction: Reduction,
}

impl BinaryCrossEntropy {
    /// The loss of `logits` against `y`, numbers in 0..=1 of the same shape.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ, or a weight does
    /// not broadcast.
    #[track_caller]
    pub fn loss(&self, logits: &Tensor, y: &Tensor) -> Tensor {
        compare("binary_cross_entropy_with_logits", logits, y, || {
            let doubt = -logits.logsigmoid(); // -ln σ(z) = softplus(-z)
            let doubt = match &self.pos_weight {
                Some(pos) => doubt * ((pos - Lit(1.0)) * y + Lit(1.0)),
                None => doubt,
            };
            self.reduce((Lit(1.0) - y) * logits + doubt)
        })
    }

    /// The loss of the probabilities `p` against `y`, numbers in 0..=1 of the same shape.
    ///
    /// Each logarithm is at least −100, and the gradient of an element is (p − y) / max(p·(1 − p), 1e-12), that of its
    /// target ln(1 − p) − ln p, which is infinite where p is 0 or 1, as in PyTorch. A probability outside of 0..=1, which
    /// PyTorch refuses, gives NaN.
    ///
    /// # Errors
    /// As [`BinaryCrossEntropy::loss`]; [`Error::Argument`](crate::Error::Argument) if `pos_weight` is
    /// set, which is for logits.
    #[track_caller]
    pub fn of_probabilities(&self, p: &Tensor, y: &Tensor) -> Tensor {
        const OP: &str = "binary_cross_entropy";
        compare(OP, p, y, || {
            if self.pos_weight.is_some() {
                return p.bad_argument(OP, "pos_weight", "a tensor", "None: it is for logits");
            }
            let losses = |p: &Tensor| {
                let (yes, no) = (p.ln().clamp_min(Lit(-100.0)), (-p).log1p().clamp_min(Lit(-100.0)));
                -(y * yes + (Lit(1.0) - y) * no)
            };
            // at 0 and 1 the slope of the formula is infinite: there it is written out
            let edge = (p * (Lit(1.0) - p)).abs().lt(Lit(1e-12));
            let fixed = p.detach();
            let slope = (&fixed - y) * Lit(1e12);
            let at_edge = losses(&fixed) + (p - &fixed) * slope;
            let all = Tensor::where_(&edge, at_edge, losses(&Tensor::where_(&edge, Lit(0.5), p)));
            // the logarithms' bound is none to the target's gradient: at p = 0 and 1 the root of nothing adds 0 with an
            // infinite slope
            let sign = p.eq(Lit(0.0)).cast(p.dtype()) - p.eq(Lit(1.0)).cast(p.dtype());
            let nothing = Tensor::where_(&sign.ne(Lit(0.0)), y - y.detach(), Lit(1.0));
            self.reduce(all + nothing.sqrt() * sign)
        })
    }

    #[track_caller]
    fn reduce(&self, losses: Tensor) -> Tensor {
        let Some(weight) = &self.weight else { return self.reduction.of(&losses) };
        let weighted = &losses * weight;
        match (weighted.shape(), losses.shape()) {
            (Ok(got), Ok(own)) if got != own => {
                Tensor::bad_shape("binary_cross_entropy", &[&losses, weight], "the weight must broadcast to the losses")
            }
            _ => self.reduction.of(&weighted),
        }
    }
}

/// The focal loss of logits: binary cross-entropy times (1 − pₜ)^gamma, where pₜ is the probability
/// given to the right answer, so that easy elements count less. torchvision's `sigmoid_focal_loss`,
/// with its defaults: no reduction.
///
/// Shapes: `logits`, `y [..]` alike → `[..]`, or `[]` with a reduction.
///
/// Source: Lin, Goyal, Girshick, He & Dollár 2017, "Focal loss for dense object detection", eq. 5.
#[derive(Debug, Clone, Copy)]
pub struct Focal {
    /// The weight of positive elements, where negative ones have 1 − alpha; 0.25. `None` weighs them alike.
    pub alpha: Option<f64>,
    /// How much less easy elements count; 2.
    pub gamma: f64,
    /// How the elements' losses become one; not at all by default.
    pub reduction: Reduction,
}

impl Default for Focal {
    fn default() -> Self {
        Self { alpha: Some(0.25), gamma: 2.0, reduction: Reduction::None }
    }
}

impl Focal {
    /// The loss of `logits` against `y`, numbers in 0..=1 of the same shape.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ,
    /// [`Error::Argument`](crate::Error::Argument) if gamma is negative.
    #[track_caller]
    pub fn loss(&self, logits: &Tensor, y: &Tensor) -> Tensor {
        compare("sigmoid_focal_loss", logits, y, || {
            if self.gamma.is_nan() || self.gamma < 0.0 {
                return logits.bad_argument("sigmoid_focal_loss", "gamma", self.gamma, "at least 0");
            }
            let no = Lit(1.0) - y;
            let entropy = &no * logits - logits.logsigmoid();
            let missed = logits.sigmoid() * &no + (-logits).sigmoid() * y; // 1 − pₜ
            let losses = entropy * missed.powf(self.gamma as f32);
            self.reduction.of(&match self.alpha {
                Some(alpha) => losses * (y * alpha + no * (1.0 - alpha)),
                None => losses,
            })
        })
    }
}

/// [`Focal`] with torchvision's defaults: a loss for each element.
#[track_caller]
pub fn sigmoid_focal_loss(logits: &Tensor, y: &Tensor) -> Tensor {
    Focal::default().loss(logits, y)
}

/// One minus the overlap of two sets, for segmentation:
/// 1 − (Σpy + smooth) / (Σpy + alpha·Σp(1 − y) + beta·Σ(1 − p)y + smooth), each sum over the positions of
/// one channel of one image. At alpha = beta = ½ it is the Dice loss; a larger beta counts what was
/// missed more than what was found in error.
///
/// Shapes: probabilities `p` and targets `y [batch, channels, ..]` alike → `[]`, or `[batch, channels]`
/// without reduction.
///
/// Source: Salehi, Erdogmus & Gholipour 2017, "Tversky loss function for image segmentation", eq. 2.
#[derive(Debug, Clone, Copy)]
pub struct Tversky {
    /// What a false positive costs; 0.5.
    pub alpha: f64,
    /// What a false negative costs; 0.5.
    pub beta: f64,
    /// Added above and below, for images where there is nothing to find; 1e-5.
    pub smooth: f64,
    /// How the losses of channels become one.
    pub reduction: Reduction,
}

impl Default for Tversky {
    fn default() -> Self {
        Self { alpha: 0.5, beta: 0.5, smooth: 1e-5, reduction: Reduction::Mean }
    }
}

impl Tversky {
    /// The loss of the probabilities `p` against `y`, numbers in 0..=1.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ or have fewer than
    /// two axes.
    #[track_caller]
    pub fn loss(&self, p: &Tensor, y: &Tensor) -> Tensor {
        compare("tversky_loss", p, y, || {
            self.of_sums("tversky_loss", p, y, |hits, p, y| &hits + (p - &hits) * self.alpha + (y - &hits) * self.beta)
        })
    }

    /// `1 − (hits + smooth) / (whole(hits, Σp, Σy) + smooth)` of each channel.
    #[track_caller]
    fn of_sums(
        &self,
        op: &'static str,
        p: &Tensor,
        y: &Tensor,
        whole: impl Fn(Tensor, Tensor, Tensor) -> Tensor,
    ) -> Tensor {
        let Ok(shape) = p.shape() else { return p.clone() };
        if shape.rank() < 2 {
            return Tensor::bad_shape(op, &[p, y], "[batch, channels, ..]");
        }
        let places: i64 = shape[2..].iter().product::<usize>() as i64;
        let rows = [shape[0] as i64, shape[1] as i64, places];
        let (p, y) = (p.reshape(rows), y.reshape(rows));
        let sum = |t: Tensor| t.sum_axes(2, false);
        let hits = sum(&p * &y);
        let overlap = (&hits + self.smooth) / (whole(hits, sum(p), sum(y)) + self.smooth);
        self.reduction.of(&(Lit(1.0) - overlap))
    }
}

/// The mean over images and channels of 1 − (2·Σpy + smooth) / (Σp + Σy + smooth): the share of two
/// sets that does not overlap.
///
/// Shapes: probabilities `p` and targets `y [batch, channels, ..]` alike → `[]`, or `[batch, channels]`
/// without reduction.
///
/// Source: Milletari, Navab & Ahmadi 2016, "V-Net", eq. 8, with sums instead of sums of squares.
#[derive(Debug, Clone, Copy)]
pub struct Dice {
    /// Added above and below, for images where there is nothing to find; 1e-5.
    pub smooth: f64,
    /// How the losses of channels become one.
    pub reduction: Reduction,
}

impl Default for Dice {
    fn default() -> Self {
        Self { smooth: 1e-5, reduction: Reduction::Mean }
    }
}

impl Dice {
    /// The loss of the probabilities `p` against `y`, numbers in 0..=1; errors as [`Tversky::loss`].
    #[track_caller]
    pub fn loss(&self, p: &Tensor, y: &Tensor) -> Tensor {
        // the same ratio with both parts halved
        let halved = Tversky { smooth: 0.5 * self.smooth, reduction: self.reduction, ..Tversky::default() };
        compare("dice_loss", p, y, || halved.of_sums("dice_loss", p, y, |_, p, y| (p + y) * Lit(0.5)))
    }
}
