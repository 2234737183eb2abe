//! How far vectors lie apart.

use super::Module;
use crate::{Tensor, composed};

/// The p-norm of x − y + eps along the last axis; the shapes broadcast. PyTorch's defaults: p = 2, eps = 1e-6.
///
/// Shapes: `x`, `y [.., width]` → `[..]`, or `[.., 1]` with `keep`.
#[track_caller]
pub fn pairwise_distance(x: &Tensor, y: &Tensor, p: f32, eps: f64, keep: bool) -> Tensor {
    composed("pairwise_distance", || (x - y + eps).norm(p, -1, keep))
}

/// x·y / (max(|x|, eps) · max(|y|, eps)) along `axis`; the shapes broadcast. PyTorch's defaults: axis 1, eps 1e-8.
#[track_caller]
pub fn cosine_similarity(x: &Tensor, y: &Tensor, axis: i64, eps: f64) -> Tensor {
    composed("cosine_similarity", || {
        let both = x + y; // of the broadcast shape; its values are not used
        let (Ok(shape), Ok(_)) = (both.shape(), x.shape()) else { return both };
        let full = |t: &Tensor| t.expand(shape);
        let (x, y) = (full(x), full(y));
        // As in PyTorch the norm's gradient passes where it is clamped.
        let length = |t: &Tensor| {
            let norm = t.norm(2.0, axis, true);
            Tensor::where_(&norm.lt(eps), &norm - norm.detach() + eps, &norm)
        };
        (&x / length(&x) * (&y / length(&y))).sum_axes(axis, false)
    })
}

/// The p-norm of the difference of each row of `x` and each row of `y`: [`Tensor::cdist`].
///
/// Shapes: `x [.., n, width]`, `y [.., m, width]`, the outer axes broadcasting → `[.., n, m]`.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes do not fit,
/// [`Error::Argument`](crate::Error::Argument) if p is negative.
#[track_caller]
pub fn cdist(x: &Tensor, y: &Tensor, p: f32) -> Tensor {
    x.cdist(y, p)
}

/// The p-norm of the difference of each two rows of `x`, in the order (0, 1), (0, 2), …: PyTorch's `pdist`.
///
/// Shapes: `x [n, width]` → `[n·(n − 1)/2]`. Where a distance is 0 its gradient is 0.
///
/// # Errors
/// As [`cdist`].
#[track_caller]
pub fn pdist(x: &Tensor, p: f32) -> Tensor {
    composed("pdist", || {
        let Ok(shape) = x.shape() else { return x.clone() };
        if shape.rank() != 2 {
            return Tensor::bad_shape("pdist", &[x], "[n, width]");
        }
        if p.is_nan() || p < 0.0 {
            return x.bad_argument("pdist", "p", p, "at least 0");
        }
        let n = shape[0] as i32;
        let (first, second): (Vec<i32>, Vec<i32>) = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).unzip();
        let rows = |at: Vec<i32>| x.index_select(0, &Tensor::from_slice(x.device(), &at, &[at.len()])).unsqueeze(1);
        rows(first).cdist(&rows(second), p).reshape(-1)
    })
}

/// x divided by its p-norm along `axis`, which counts as at least `eps`: PyTorch's `normalize`, whose defaults are
/// p = 2, axis 1, eps = 1e-12. With that eps it is [`Tensor::normalize`].
#[track_caller]
pub fn normalize(x: &Tensor, p: f32, axis: i64, eps: f32) -> Tensor {
    composed("normalize", || x / x.norm(p, axis, true).clamp_min(eps))
}

/// [`cosine_similarity`] as a layer.
#[derive(Module, Debug, Clone, Copy)]
pub struct CosineSimilarity {
    /// The axis of the vectors; 1.
    pub axis: i64,
    /// The smallest length; 1e-8.
    pub eps: f64,
}

impl Default for CosineSimilarity {
    fn default() -> Self {
        Self { axis: 1, eps: 1e-8 }
    }
}

impl CosineSimilarity {
    /// The cosines of the angles between the vectors of `x` and `y`, whose shapes broadcast → without the axis.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape) or [`Error::Axis`](crate::Error::Axis) for what does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Tensor {
        cosine_similarity(x, y, self.axis, self.eps)
    }
}

/// [`pairwise_distance`] as a layer.
#[derive(Module, Debug, Clone, Copy)]
pub struct PairwiseDistance {
    /// The norm; 2.
    pub p: f32,
    /// Added to each difference; 1e-6.
    pub eps: f64,
    /// Whether the last axis stays, with extent 1; false.
    pub keep: bool,
}

impl Default for PairwiseDistance {
    fn default() -> Self {
        Self { p: 2.0, eps: 1e-6, keep: false }
    }
}

impl PairwiseDistance {
    /// The distances between the vectors of `x` and `y [.., width]`, whose shapes broadcast → `[..]`, or `[.., 1]` with `keep`.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape) for what does not broadcast.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Tensor {
        pairwise_distance(x, y, self.p, self.eps, self.keep)
    }
}
