//! Functions that are formulas of others: of one argument, of two, and tests of nearness.

use super::{Lit, Number, Operand};
use crate::node::composed;
use crate::{DType, Tensor};
use std::f32::consts::PI;

impl Tensor {
    /// As a float: integers and truth values become `F32`.
    #[track_caller]
    fn float(&self) -> Tensor {
        if self.dtype().is_float() { self.current() } else { self.cast(DType::F32) }
    }

    /// ln(x / (1 − x)), the inverse of the sigmoid; NaN outside of [0, 1], and so is its gradient. With `eps`, x is first
    /// brought into [eps, 1 − eps]; the gradient passes at the ends.
    #[track_caller]
    pub fn logit(&self, eps: Option<f32>) -> Tensor {
        composed("logit", || {
            let of = |x: &Tensor| x.ln() - (-x).log1p();
            let x = self.float();
            let Some(eps) = eps else {
                // the logarithms are NaN there by themselves, but their slopes are not
                let outside = x.lt(Lit(0.0)).logical_or(x.gt(Lit(1.0)));
                return of(&x) * Tensor::where_(&outside, f32::NAN, Lit(1.0));
            };
            let (low, high) = (eps, 1.0 - eps);
            let inside = x.ge(low).logical_and(x.le(high));
            of(&Tensor::where_(&inside, &x, x.detach().maximum(low).minimum(high)))
        })
    }

    /// sin(πx) / (πx), and 1 at 0.
    #[track_caller]
    pub fn sinc(&self) -> Tensor {
        composed("sinc", || {
            let angle = self.float() * Lit(PI);
            // near 0 the quotient has no good derivatives: 1 - a²/3! + a⁴/5! - a⁶/7!
            let near = angle.abs().lt(Lit(0.5));
            let z = angle.square();
            let series = Lit(1.0) - &z * (Lit(1.0 / 6.0) - &z * (Lit(1.0 / 120.0) - &z * Lit(1.0 / 5040.0)));
            let far = Tensor::where_(&near, Lit(1.0), angle);
            Tensor::where_(&near, series, far.sin() / far)
        })
    }

    /// Degrees as radians.
    #[track_caller]
    pub fn deg2rad(&self) -> Tensor {
        composed("deg2rad", || self * Lit(PI / 180.0))
    }

    /// Radians as degrees.
    #[track_caller]
    pub fn rad2deg(&self) -> Tensor {
        composed("rad2deg", || self * Lit(180.0 / PI))
    }

    /// NaN replaced by `nan`, +∞ by `high`, −∞ by `low`; without them, by the largest and the smallest number.
    #[track_caller]
    pub fn nan_to_num(&self, nan: f32, high: Option<f32>, low: Option<f32>) -> Tensor {
        composed("nan_to_num", || {
            if !self.dtype().is_float() {
                return self.current();
            }
            let greatest = if self.dtype() == DType::F16 { 65504.0 } else { f32::MAX };
            let (high, low) = (high.unwrap_or(greatest), low.unwrap_or(-greatest));
            let infinite = Tensor::where_(&self.gt(Lit(0.0)), high, low);
            Tensor::where_(&self.isfinite(), self, Tensor::where_(&self.isnan(), nan, infinite)).cast(self.dtype())
        })
    }

    /// x where it is greater than `threshold`, `value` elsewhere.
    #[track_caller]
    pub fn threshold(&self, threshold: impl Number, value: impl Number) -> Tensor {
        composed("threshold", || Tensor::where_(&self.le(threshold), value.beside(self).cast(self.dtype()), self))
    }

    /// √(x² + y²) without overflow.
    #[track_caller]
    pub fn hypot(&self, other: impl Operand) -> Tensor {
        composed("hypot", || {
            let (x, y) = (self.float(), other.tensor(self).float());
            let (width, height) = (x.detach().abs(), y.detach().abs());
            let large = width.maximum(&height);
            let plain = large.eq(Lit(0.0)).logical_or(large.isfinite().logical_not());
            let scale = Tensor::where_(&plain, Lit(1.0), large);
            let size = ((&x / &scale).square() + (&y / &scale).square()).sqrt() * scale;
            Tensor::where_(&width.isinf().logical_or(height.isinf()), f32::INFINITY, size)
        })
    }

    /// |x| with the sign of y, that of −0 too. The gradient of x is PyTorch's quotient of both: 0 at 0, NaN where x is
    /// infinite or NaN.
    #[track_caller]
    pub fn copysign(&self, other: impl Operand) -> Tensor {
        composed("copysign", || {
            let x = self.float();
            let finite = x.isfinite();
            // the root of a square is infinite where it should be, and its slope is ∞ · 0
            let wild = Tensor::where_(&finite, Lit(1.0), &x).square().sqrt();
            let size = Tensor::where_(&finite, x.abs(), wild);
            Tensor::where_(&other.tensor(self).signbit(), -&size, size)
        })
    }

    /// 0 below 0 and for NaN, 1 above, `value` at 0. It has no gradient.
    #[track_caller]
    pub fn heaviside(&self, value: impl Operand) -> Tensor {
        composed("heaviside", || {
            let value = value.tensor(self).detach();
            let step = self.gt(Lit(0.0)).cast(self.dtype().promote(value.dtype()));
            Tensor::where_(&self.eq(Lit(0.0)), value, step)
        })
    }

    /// The larger; a number wins over NaN. Where both are equal each gets half of the gradient.
    #[track_caller]
    pub fn fmax(&self, other: impl Operand) -> Tensor {
        composed("fmax", || {
            let other = other.tensor(self);
            self.unless_nan(&other, self.maximum(&other))
        })
    }

    /// The smaller; a number wins over NaN. Where both are equal each gets half of the gradient.
    #[track_caller]
    pub fn fmin(&self, other: impl Operand) -> Tensor {
        composed("fmin", || {
            let other = other.tensor(self);
            self.unless_nan(&other, self.minimum(&other))
        })
    }

    /// `both` of this tensor and the other; the one that is a number where one is not.
    #[track_caller]
    fn unless_nan(&self, other: &Tensor, both: Tensor) -> Tensor {
        Tensor::where_(&other.isnan(), self, Tensor::where_(&self.isnan(), other, both))
    }

    /// From this tensor, at `weight` 0, to `end`, at 1: x + weight · (end − x).
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Operand) -> Tensor {
        composed("lerp", || {
            let weight = weight.tensor(self);
            let way = end - self;
            // from the nearer end
            let near = self + &weight * &way;
            Tensor::where_(&weight.abs().lt(Lit(0.5)), near, end - way * (Lit(1.0) - &weight))
        })
    }

    /// x + value · a · b.
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: impl Number) -> Tensor {
        composed("addcmul", || self + a * b * value)
    }

    /// x + value · a / b.
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: impl Number) -> Tensor {
        composed("addcdiv", || self + a / b * value)
    }

    /// Whether |x − y| ≤ atol + rtol · |y|. Equal infinities are near; NaN is near NaN if `equal_nan`.
    /// PyTorch's defaults are 1e-5, 1e-8 and `false`.
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f32, atol: f32, equal_nan: bool) -> Tensor {
        composed("isclose", || {
            let distance = (self - other).abs();
            let near = distance.le(other.abs() * rtol + atol).logical_and(distance.isfinite());
            let near = near.logical_or(self.eq(other));
            if equal_nan { near.logical_or(self.isnan().logical_and(other.isnan())) } else { near }
        })
    }

    /// Whether all elements are near, as [`Tensor::isclose`] has it; of rank 0.
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f32, atol: f32, equal_nan: bool) -> Tensor {
        composed("allclose", || self.isclose(other, rtol, atol, equal_nan).all([0i64; 0], false))
    }

    /// Whether x is among the elements of `values`.
    #[track_caller]
    pub fn isin(&self, values: &Tensor) -> Tensor {
        composed("isin", || self.unsqueeze(-1).eq(values.reshape([-1i64])).any(-1, false))
    }
}
