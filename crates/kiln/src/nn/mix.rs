//! Batches whose examples are mixed with each other.

use crate::init::Draws;
use crate::{Tensor, composed};

/// λ·x + (1 − λ)·x with the examples in another order: the mixup of a batch, for inputs and one-hot (or
/// soft) targets alike.
///
/// Shapes: `x [batch, ..]`, `order [batch]` of integers → as `x`.
///
/// Source: Zhang, Cisse, Dauphin & Lopez-Paz 2018, "mixup: beyond empirical risk minimization", §2.
#[track_caller]
pub fn mixup(x: &Tensor, order: &Tensor, lambda: f64) -> Tensor {
    composed("mixup", || x * lambda + x.index_select(0, order) * (1.0 - lambda))
}

/// Images with a rectangle from the same place of another example: the cutmix of a batch. Targets are to be
/// mixed by [`mixup`] with the λ that is given back, the share of each image that stayed.
///
/// The rectangle covers about 1 − λ of the image, around `centre` (as shares of height and width), and is cut
/// at the edge.
///
/// Shapes: `x [batch, channels, h, w]`, `order [batch]` of integers → as `x`.
///
/// Source: Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers with localizable
/// features", eq. 1 and 2.
#[track_caller]
pub fn cutmix(x: &Tensor, order: &Tensor, lambda: f64, centre: [f64; 2]) -> (Tensor, f64) {
    composed("cutmix", || {
        let Ok([_, _, h, w]) = x.dims::<4>() else {
            return (Tensor::bad_shape("cutmix", &[x, order], "[batch, channels, h, w]"), lambda);
        };
        if !(0.0..=1.0).contains(&lambda) || centre.iter().any(|c| !(0.0..=1.0).contains(c)) {
            let given = format!("{lambda}, {centre:?}");
            return (x.bad_argument("cutmix", "lambda, centre", given, "between 0 and 1"), lambda);
        }
        let side = (1.0 - lambda).sqrt();
        let cut = |extent: usize, centre: f64| {
            let (half, at) = ((extent as f64 * side) as i64 / 2, (extent as f64 * centre) as i64);
            ((at - half).clamp(0, extent as i64) as i32, (at + half).clamp(0, extent as i64) as i32)
        };
        let ((top, bottom), (left, right)) = (cut(h, centre[0]), cut(w, centre[1]));
        let inside = |extent: usize, from: i32, to: i32| {
            let place = Tensor::arange(x.device(), 0, extent as i32, 1);
            place.ge(from).logical_and(place.lt(to))
        };
        let hole = inside(h, top, bottom).unsqueeze(-1).logical_and(inside(w, left, right));
        let area = f64::from(bottom - top) * f64::from(right - left) / (h * w).max(1) as f64;
        (Tensor::where_(&hole, x.index_select(0, order), x), 1.0 - area)
    })
}

/// λ from Beta(alpha, alpha), as mixup and cutmix draw it; 1 for alpha = 0, ½ for an infinite one.
///
/// Source: X/(X + Y) with X, Y from Gamma(alpha, 1), Marsaglia & Tsang 2000, "A simple method for generating
/// gamma variables".
pub fn beta(alpha: f64, draws: &mut Draws) -> f64 {
    if alpha <= 0.0 || alpha.is_nan() {
        return 1.0;
    }
    if alpha == f64::INFINITY {
        return 0.5; // nothing is left to chance
    }
    let (x, y) = (gamma(alpha, draws), gamma(alpha, draws));
    // both can be 0 for a tiny alpha: then one of the ends
    if x + y > 0.0 { x / (x + y) } else { f64::from(draws.word() & 1) }
}

/// One number from Gamma(alpha, 1).
fn gamma(alpha: f64, draws: &mut Draws) -> f64 {
    let positive = |draws: &mut Draws| draws.unit().max(f64::MIN_POSITIVE);
    if alpha < 1.0 {
        let boost = positive(draws).powf(1.0 / alpha);
        return boost * gamma(alpha + 1.0, draws);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let z = draws.gauss();
        let v = (1.0 + c * z).powi(3);
        if v > 0.0 && positive(draws).ln() < 0.5 * z * z + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}
