//! Losses of vectors that are to lie near each other or apart. Sets of vectors whose shapes differ are broadcast, as in PyTorch,
//! and the log says so once for each line of the program.

use super::{Reduction, broadcast};
use crate::nn::pairwise_distance;
use crate::{Lit, Tensor, composed};

/// 1 − cos(a, b) where y = 1, max(0, cos(a, b) − margin) where y = −1.
///
/// Shapes: `a`, `b [rows, width]`, `y [rows]`, or `[width]` and `[]` → `[]`, or that of `y` without reduction.
#[derive(Debug, Clone, Copy, Default)]
pub struct CosineEmbedding {
    /// The cosine that vectors which do not belong together may have; 0.
    pub margin: f64,
    /// How the rows' losses become one.
    pub reduction: Reduction,
}

impl CosineEmbedding {
    /// The loss of `a` and `b` against `y`, which is 1 or −1.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit.
    #[track_caller]
    pub fn loss(&self, a: &Tensor, b: &Tensor, y: &Tensor) -> Tensor {
        const OP: &str = "cosine_embedding_loss";
        if a.rank() != b.rank() || y.rank() > 1 || a.rank() != y.rank() + 1 {
            return composed(OP, || Tensor::bad_shape(OP, &[a, b, y], "vectors [rows, width] and y [rows]"));
        }
        broadcast(OP, a, b, |a, b| {
            let sum = |t: Tensor| t.sum_axes(-1, false);
            let squares = |t: &Tensor| sum(t.square()) + Lit(1e-12);
            let cosine = sum(a * b) / (squares(a) * squares(b)).sqrt();
            let near = Tensor::where_(&y.eq(Lit(1.0)), Lit(1.0) - &cosine, Lit(0.0));
            let far = Tensor::where_(&y.eq(Lit(-1.0)), (cosine - self.margin).relu(), Lit(0.0));
            self.reduction.of(&(near + far))
        })
    }
}

/// max(0, margin + d(anchor, positive) − d(anchor, negative)), with d the p-norm of the difference.
///
/// Shapes: three times `[.., width]` → `[]`, or `[..]` without reduction.
///
/// Source: Balntas, Riba, Ponsa & Mikolajczyk 2016, "Learning local feature descriptors with triplets and
/// shallow convolutional neural networks", §3.
#[derive(Debug, Clone, Copy)]
pub struct TripletMargin {
    /// By how much the negative is to be further away; 1.
    pub margin: f64,
    /// The norm; 2.
    pub p: f32,
    /// Added to each difference, so that equal vectors have a gradient; 1e-6.
    pub eps: f64,
    /// Whether the distance from the positive to the negative counts if that is smaller; false.
    pub swap: bool,
    /// How the rows' losses become one.
    pub reduction: Reduction,
}

impl Default for TripletMargin {
    fn default() -> Self {
        Self { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

impl TripletMargin {
    /// The loss of three sets of vectors.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ,
    /// [`Error::Argument`](crate::Error::Argument) if the margin is not positive.
    #[track_caller]
    pub fn loss(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        let distance = |a: &Tensor, b: &Tensor| pairwise_distance(a, b, self.p, self.eps, false);
        self.of("triplet_margin_loss", anchor, positive, negative, distance)
    }

    /// The same with any distance between two sets of vectors: PyTorch's `TripletMarginWithDistanceLoss`.
    /// `p` and `eps` play no part.
    ///
    /// # Errors
    /// As [`TripletMargin::loss`].
    #[track_caller]
    pub fn with_distance(
        &self,
        anchor: &Tensor,
        positive: &Tensor,
        negative: &Tensor,
        distance: impl Fn(&Tensor, &Tensor) -> Tensor,
    ) -> Tensor {
        self.of("triplet_margin_with_distance_loss", anchor, positive, negative, distance)
    }

    #[track_caller]
    fn of(
        &self,
        op: &'static str,
        anchor: &Tensor,
        positive: &Tensor,
        negative: &Tensor,
        distance: impl Fn(&Tensor, &Tensor) -> Tensor,
    ) -> Tensor {
        composed(op, || {
            if self.margin.is_nan() || self.margin <= 0.0 {
                return anchor.bad_argument(op, "margin", self.margin, "above 0");
            }
            let (Ok(a), Ok(b), Ok(c)) = (anchor.shape(), positive.shape(), negative.shape()) else {
                return anchor + positive + negative;
            };
            if a.rank() != b.rank() || b.rank() != c.rank() {
                return Tensor::bad_shape(op, &[anchor, positive, negative], "three times [.., width]");
            }
            broadcast(op, anchor, positive, |anchor, positive| {
                broadcast(op, anchor, negative, |anchor, negative| {
                    let far = distance(anchor, negative);
                    let far = if self.swap { far.minimum(distance(positive, negative)) } else { far };
                    self.reduction.of(&(distance(anchor, positive) - far + self.margin).relu())
                })
            })
        })
    }
}
