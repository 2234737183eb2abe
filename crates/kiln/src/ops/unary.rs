//! Scalar functions of one argument. **An op is a row**: its name, the WGSL that computes it on one value or
//! on four, and its derivative. Add a row and it is a method, it fuses, and it has a gradient; its case in
//! `tests/cases` is what proves it. Functions that are only formulas of others follow below, without rows.

use super::{Lit, NUMBERS};
use crate::node::Op;
use crate::{DType, Tensor};

/// A scalar function as the graph knows it.
pub(crate) struct Unary {
    pub(crate) name: &'static str,
    /// Of `x: F`.
    pub(crate) float: &'static str,
    /// Of `x: I` or `x: U`; where it is absent, integers become floats first.
    pub(crate) int: Option<&'static str>,
    /// `Bool` for predicates.
    pub(crate) truth: bool,
    /// What it costs to repeat, in additions.
    pub(crate) weight: u32,
    /// The gradient of `x` from that of the result: (dy, x, y).
    pub(crate) vjp: fn(&Tensor, &Tensor, &Tensor) -> Tensor,
}

impl std::fmt::Debug for Unary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident { wgsl: $float:literal, $(int: $int:literal,)? $(truth: $truth:literal,)?
        weight: $weight:literal, vjp: $vjp:expr })*) => {
        #[allow(non_upper_case_globals)]
        pub(crate) mod rows {
            use super::*;
            $(pub(crate) static $name: Unary = Unary {
                name: stringify!($name),
                float: $float,
                int: { let int: Option<&'static str> = None; $(let int = if int.is_none() { Some($int) } else { int };)? int },
                truth: false $(|| $truth)?,
                weight: $weight,
                vjp: $vjp,
            };)*
        }

        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $name(&self) -> Tensor { self.unary(&rows::$name) })*
        }
    };
}

/// Functions that are flat wherever they have a derivative.
fn flat(dy: &Tensor, _x: &Tensor, _y: &Tensor) -> Tensor {
    dy.zeros_like()
}

unary! {
    /// −x.
    neg { wgsl: "-x", int: "0 - x", weight: 1, vjp: |dy, _x, _y| -dy }

    /// |x|; its derivative at 0 is 0.
    abs { wgsl: "abs(x)", int: "abs(x)", weight: 1, vjp: |dy, x, _y| dy * x.sign() }

    /// −1, 0 or 1; 0 for NaN, as in PyTorch.
    sign { wgsl: "sign_(x)", int: "sign(x)", weight: 1, vjp: flat }

    /// eˣ.
    exp { wgsl: "exp_(x)", weight: 8, vjp: |dy, _x, y| dy * y }

    /// 2ˣ.
    exp2 { wgsl: "exp2_(x)", weight: 8, vjp: |dy, _x, y| dy * y * Lit(std::f32::consts::LN_2) }

    /// eˣ − 1, accurate near 0.
    expm1 { wgsl: "expm1_(x)", weight: 12, vjp: |dy, _x, y| dy * (y + Lit(1.0)) }

    /// Natural logarithm; −∞ at zero, NaN below.
    ln { wgsl: "log_(x)", weight: 12, vjp: |dy, x, _y| dy / x }

    /// Logarithm to base 2.
    log2 { wgsl: "log2_(x)", weight: 12, vjp: |dy, x, _y| dy / (x * Lit(std::f32::consts::LN_2)) }

    /// Logarithm to base 10.
    log10 { wgsl: "log10_(x)", weight: 12, vjp: |dy, x, _y| dy / (x * Lit(std::f32::consts::LN_10)) }

    /// ln(1 + x), accurate near 0.
    log1p { wgsl: "log1p_(x)", weight: 14, vjp: |dy, x, _y| dy / (x + Lit(1.0)) }

    /// √x; NaN below zero.
    sqrt { wgsl: "sqrt_(x)", weight: 4, vjp: |dy, _x, y| dy / (y * Lit(2.0)) }

    /// 1/√x.
    rsqrt { wgsl: "rsqrt_(x)", weight: 4, vjp: |dy, _x, y| dy * Lit(-0.5) * y * y * y }

    /// x².
    square { wgsl: "x * x", int: "x * x", weight: 1, vjp: |dy, x, _y| dy * x * Lit(2.0) }

    /// 1/x.
    recip { wgsl: "1.0 / x", weight: 2, vjp: |dy, _x, y| -(dy * (y * y)) }

    /// The largest integer not above x.
    floor { wgsl: "floor(x)", int: "x", weight: 1, vjp: flat }

    /// The smallest integer not below x.
    ceil { wgsl: "ceil(x)", int: "x", weight: 1, vjp: flat }

    /// The nearest integer; halves go to the even one.
    round { wgsl: "round_(x)", int: "x", weight: 1, vjp: flat }

    /// x without its fraction.
    trunc { wgsl: "trunc(x)", int: "x", weight: 1, vjp: flat }

    /// x − trunc(x).
    frac { wgsl: "x - trunc(x)", weight: 2, vjp: |dy, _x, _y| dy.clone() }

    /// Sine of x in radians.
    sin { wgsl: "sin_(x)", weight: 16, vjp: |dy, x, _y| dy * x.cos() }

    /// Cosine of x in radians.
    cos { wgsl: "cos_(x)", weight: 16, vjp: |dy, x, _y| -(dy * x.sin()) }

    /// Tangent of x in radians.
    tan { wgsl: "tan_(x)", weight: 24, vjp: |dy, _x, y| dy * (y * y + Lit(1.0)) }

    /// Arc sine, in radians; NaN outside of [−1, 1].
    asin { wgsl: "asin_(x)", weight: 16, vjp: |dy, x, _y| dy * (Lit(1.0) - x * x).rsqrt() }

    /// Arc cosine, in radians; NaN outside of [−1, 1].
    acos { wgsl: "acos_(x)", weight: 16, vjp: |dy, x, _y| -(dy * (Lit(1.0) - x * x).rsqrt()) }

    /// Arc tangent, in radians.
    atan { wgsl: "atan_(x)", weight: 16, vjp: |dy, x, _y| dy / (x * x + Lit(1.0)) }

    /// Hyperbolic sine.
    sinh { wgsl: "sinh_(x)", weight: 16, vjp: |dy, x, _y| dy * x.cosh() }

    /// Hyperbolic cosine.
    cosh { wgsl: "cosh_(x)", weight: 16, vjp: |dy, x, _y| dy * x.sinh() }

    /// Hyperbolic tangent.
    tanh { wgsl: "tanh_(x)", weight: 16, vjp: |dy, _x, y| dy * (Lit(1.0) - y * y) }

    /// Inverse hyperbolic sine.
    asinh { wgsl: "asinh_(x)", weight: 20, vjp: |dy, x, _y| dy * (x * x + Lit(1.0)).rsqrt() }

    /// Inverse hyperbolic cosine; NaN below 1.
    acosh { wgsl: "acosh_(x)", weight: 20, vjp: |dy, x, _y| dy * (x * x - Lit(1.0)).rsqrt() }

    /// Inverse hyperbolic tangent; NaN outside of [−1, 1].
    atanh { wgsl: "atanh_(x)", weight: 20, vjp: |dy, x, _y| dy / (Lit(1.0) - x * x) }

    /// The error function, 2/√π ∫₀ˣ exp(−t²) dt.
    erf { wgsl: "erf_(x)", weight: 20, vjp: |dy, x, _y| dy * (-(x * x)).exp() * Lit(std::f32::consts::FRAC_2_SQRT_PI) }

    /// 1 − erf(x), accurate for large x.
    erfc { wgsl: "erfc_(x)", weight: 24, vjp: |dy, x, _y| dy * (-(x * x)).exp() * Lit(-std::f32::consts::FRAC_2_SQRT_PI) }

    /// The inverse of the error function; ±∞ at ±1, NaN beyond.
    erfinv { wgsl: "erfinv_(x)", weight: 24, vjp: |dy, _x, y| dy * (y * y).exp() * Lit(0.886_226_9) }

    /// ln |Γ(x)|.
    lgamma { wgsl: "lgamma_(x)", weight: 60, vjp: |dy, x, _y| dy * x.digamma() }

    /// The derivative of ln Γ(x).
    digamma { wgsl: "digamma_(x)", weight: 60, vjp: |dy, x, _y| dy * x.trigamma() }

    /// The second derivative of ln Γ(x), PyTorch's `polygamma(1)`. Its own derivative is NaN where x is not positive.
    trigamma { wgsl: "trigamma_(x)", weight: 60, vjp: |dy, x, _y| dy * tetragamma(x) }

    /// 1 / (1 + e⁻ˣ).
    sigmoid { wgsl: "sigmoid_(x)", weight: 10, vjp: |dy, _x, y| dy * y * (Lit(1.0) - y) }

    /// ln(1 + eˣ), without overflow.
    softplus { wgsl: "softplus_(x)", weight: 20, vjp: |dy, x, _y| dy * x.sigmoid() }

    /// max(x, 0); NaN stays NaN, and its gradient passes.
    relu { wgsl: "relu_(x)", int: "max(x, I(0))", weight: 1, vjp: |dy, _x, y| Tensor::where_(&y.le(Lit(0.0)), Lit(0.0), dy) }

    /// x Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).
    gelu { wgsl: "gelu_(x)", weight: 24, vjp: gelu_vjp }

    /// Whether x is NaN.
    isnan { wgsl: "isnan_(x)", int: "x != x", truth: true, weight: 2, vjp: flat }

    /// Whether x is negative; −0 and NaN by their sign bit.
    signbit { wgsl: "signbit_(x)", int: "x < I(0)", truth: true, weight: 1, vjp: flat }

    /// Whether x is +∞ or −∞.
    isinf { wgsl: "isinf_(x)", int: "x != x", truth: true, weight: 2, vjp: flat }

    /// Whether x is neither infinite nor NaN.
    isfinite { wgsl: "isfinite_(x)", int: "x == x", truth: true, weight: 2, vjp: flat }
}

/// d/dx x Φ(x) = Φ(x) + x φ(x).
fn gelu_vjp(dy: &Tensor, x: &Tensor, _y: &Tensor) -> Tensor {
    let cdf = (x * Lit(std::f32::consts::FRAC_1_SQRT_2)).erf() * Lit(0.5) + Lit(0.5);
    let pdf = (x * x * Lit(-0.5)).exp() * Lit(0.398_942_3);
    dy * (cdf + x * pdf)
}

/// The third derivative of ln Γ(x) for x > 0: recurrence up to 6, then A&S 6.4.13.
fn tetragamma(x: &Tensor) -> Tensor {
    let shifted = (0..6).fold(Tensor::zero_of(&x.0.device, DType::F32), |sum, k| {
        let v = (x + Lit(k as f32)).recip();
        sum - &v * &v * &v * Lit(2.0)
    });
    let r = (x + Lit(6.0)).recip();
    let z = &r * &r;
    let tail = &z * (Lit(1.0) + &r + &z * (Lit(0.5) - &z * (Lit(1.0 / 6.0) - &z * Lit(1.0 / 6.0))));
    Tensor::where_(&x.gt(Lit(0.0)), shifted - tail, f32::NAN)
}

/// What is not applied to truth values, as in PyTorch.
const OF_NUMBERS: [&str; 7] = ["neg", "abs", "floor", "ceil", "round", "trunc", "relu"];

impl Tensor {
    #[track_caller]
    fn unary(&self, row: &'static Unary) -> Tensor {
        // the sign of a truth value is itself
        if self.dtype() == DType::Bool && row.name == rows::sign.name {
            return self.current();
        }
        if self.dtype() == DType::Bool && OF_NUMBERS.contains(&row.name) {
            return Tensor::bad_dtype(row.name, &[self], NUMBERS);
        }
        let x = if row.int.is_some() && self.dtype().is_int() || self.dtype().is_float() {
            self.clone()
        } else if row.int.is_some() {
            self.cast(DType::I32)
        } else {
            self.cast(DType::F32)
        };
        let dtype = if row.truth { DType::Bool } else { x.dtype() };
        Tensor::make(Op::Unary(row), &[&x], self.shape_or_scalar(), dtype)
    }

    /// ln σ(x) = −softplus(−x).
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        -(-self).softplus()
    }

    /// x σ(x), also called swish.
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        self * self.sigmoid()
    }

    /// `below` of x where it is negative, else x; at 0 the slope is `slope`. So PyTorch has it: slopes there come from the
    /// left, what is derived from them from the right, and NaN counts as positive.
    #[track_caller]
    fn bent(&self, slope: impl super::Number, below: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        let negative = self.lt(Lit(0.0));
        // what the exponential may see
        let seen = Tensor::where_(&negative, self, Lit(0.0));
        let above = Tensor::where_(&self.le(Lit(0.0)), self * slope, self);
        Tensor::where_(&negative, below(&seen), above)
    }

    /// x tanh(softplus(x)) (Misra 2019).
    #[track_caller]
    pub fn mish(&self) -> Tensor {
        self * self.softplus().tanh()
    }

    /// GELU by its tanh approximation, PyTorch's `approximate='tanh'`.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        let inner = (self + self * self * self * Lit(0.044715)) * Lit(0.797_884_6);
        self * Lit(0.5) * (inner.tanh() + Lit(1.0))
    }

    /// min(max(x, 0), 6).
    #[track_caller]
    pub fn relu6(&self) -> Tensor {
        self.hardtanh(Lit(0.0), Lit(6.0))
    }

    /// x where it is positive, `slope`·x elsewhere.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f32) -> Tensor {
        Tensor::where_(&self.gt(Lit(0.0)), self, self * slope)
    }

    /// x where it is positive, `alpha`·(eˣ − 1) elsewhere.
    #[track_caller]
    pub fn elu(&self, alpha: f32) -> Tensor {
        self.bent(alpha, |x| x.expm1() * alpha)
    }

    /// Scaled ELU with the constants of Klambauer et al. 2017.
    #[track_caller]
    pub fn selu(&self) -> Tensor {
        const ALPHA: Lit = Lit(1.673_263_2);
        self.bent(ALPHA, |x| x.expm1() * ALPHA) * Lit(1.050_701)
    }

    /// max(0, x) + min(0, α(e^{x/α} − 1)); α is not 0.
    #[track_caller]
    pub fn celu(&self, alpha: f32) -> Tensor {
        if alpha == 0.0 {
            return self.bad_argument("celu", "alpha", alpha, "not 0");
        }
        self.bent(Lit(1.0), |x| (x / alpha).expm1() * alpha)
    }

    /// x clamped to [low, high]; flat outside, and at the ends.
    #[track_caller]
    pub fn hardtanh(&self, low: impl super::Number, high: impl super::Number) -> Tensor {
        Tensor::where_(&self.le(low), low.beside(self), Tensor::where_(&self.ge(high), high.beside(self), self))
    }

    /// x · relu6(x + 3) / 6, which is NaN at −∞. The gradient passes where x is NaN.
    #[track_caller]
    pub fn hardswish(&self) -> Tensor {
        let inside = self.abs().lt(Lit(3.0));
        // what lies outside must not reach the gradient of the middle: it may be infinite
        let inner = Tensor::where_(&inside, self, Lit(0.0));
        let middle = &inner * (&inner + Lit(3.0)) * Lit(1.0 / 6.0);
        // a number of the host, since drivers make 0 of a product with a constant 0
        let outer = Tensor::where_(&self.le(Lit(-3.0)), self * 0.0, self);
        Tensor::where_(&inside, middle, outer)
    }

    /// relu6(x + 3) / 6. NaN stays NaN, and has no gradient.
    #[track_caller]
    pub fn hardsigmoid(&self) -> Tensor {
        let line = self * Lit(1.0 / 6.0) + Lit(0.5);
        let flat = line.detach().maximum(Lit(0.0)).minimum(Lit(1.0));
        Tensor::where_(&self.abs().lt(Lit(3.0)), line, flat)
    }

    /// x / (1 + |x|).
    #[track_caller]
    pub fn softsign(&self) -> Tensor {
        self / (self.abs() + Lit(1.0))
    }

    /// x − tanh(x).
    #[track_caller]
    pub fn tanhshrink(&self) -> Tensor {
        self - self.tanh()
    }

    /// x where |x| > lambda, else 0.
    #[track_caller]
    pub fn hardshrink(&self, lambda: f32) -> Tensor {
        Tensor::where_(&self.abs().le(lambda), Lit(0.0), self)
    }

    /// x moved towards 0 by lambda, 0 where it is nearer than that.
    #[track_caller]
    pub fn softshrink(&self, lambda: f32) -> Tensor {
        Tensor::where_(&self.abs().le(lambda), Lit(0.0), self - self.sign() * lambda)
    }

    /// Whether x is zero.
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        self.eq(0)
    }

    /// x between `low` and `high`, which are numbers or tensors that broadcast; `high` where they cross. NaN stays NaN, and
    /// a NaN bound gives NaN. The gradient passes where low < x < high, and else goes to the bound; x and a bound that is a
    /// tensor share it where they are equal, and x has it all where both bounds are.
    #[track_caller]
    pub fn clamp(&self, low: impl super::Operand, high: impl super::Operand) -> Tensor {
        let (low, high) = (low.tensor(self), high.tensor(self));
        if !(low.is_number() && high.is_number()) {
            let crossed = low.gt(&high).logical_and(self.isnan().logical_not());
            let closed = low.eq(&high).logical_and(self.le(&high));
            let inside = self.maximum(&low).minimum(&high);
            let inside = Tensor::where_(&closed, Tensor::where_(&self.lt(&low), &low, self), inside);
            return Tensor::where_(&crossed, high, inside);
        }
        let below = Tensor::where_(&self.lt(&high), self, self.detach());
        let above = below.clamp_min(low);
        Tensor::where_(&above.le(&high), &above, above.detach().minimum(&high))
    }

    /// At least `low`; the gradient passes where x > low. A bound that is a tensor makes this [`Tensor::maximum`].
    #[track_caller]
    pub fn clamp_min(&self, low: impl super::Operand) -> Tensor {
        let low = low.tensor(self);
        if !low.is_number() {
            return self.maximum(low);
        }
        Tensor::where_(&self.gt(&low), self, self.detach().maximum(&low))
    }

    /// At most `high`; the gradient passes where x < high. A bound that is a tensor makes this [`Tensor::minimum`].
    #[track_caller]
    pub fn clamp_max(&self, high: impl super::Operand) -> Tensor {
        let high = high.tensor(self);
        if !high.is_number() {
            return self.minimum(high);
        }
        Tensor::where_(&self.lt(&high), self, self.detach().minimum(&high))
    }

    /// Natural logarithm: PyTorch's name for [`Tensor::ln`].
    #[track_caller]
    pub fn log(&self) -> Tensor {
        self.ln()
    }

    /// 1/x: PyTorch's name for [`Tensor::recip`].
    #[track_caller]
    pub fn reciprocal(&self) -> Tensor {
        self.recip()
    }

    /// The same value, through which no gradient flows back.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        Tensor::make(Op::Detach, &[self], self.shape_or_scalar(), self.dtype())
    }

    /// The elements as `dtype`. Floats become integers by dropping the fraction, anything becomes bool by ≠ 0. A float past
    /// the integers of the type becomes the nearest of them; what NaN becomes is not said.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.current();
        }
        if dtype == DType::F16 && !self.device().caps().f16 {
            return self.bad_argument("cast", "dtype", dtype, "this device has no half precision");
        }
        Tensor::make(Op::Cast, &[self], self.shape_or_scalar(), dtype)
    }

    /// What `formula` makes of this tensor, its numbers on the way in `F32`: half of them would not hold a sum of squares.
    #[track_caller]
    pub(crate) fn in_single(&self, formula: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        match self.dtype() {
            DType::F16 => formula(&self.cast(DType::F32)).cast(DType::F16),
            _ => formula(self),
        }
    }
}
