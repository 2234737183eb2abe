//! Functions of two arguments, broadcast against each other. As with [`super::unary`], an op is a row.

use super::{Lit, NUMBERS, Number, Operand};
use crate::node::Op;
use crate::{DType, Param, State, Tensor};
use std::cmp::Ordering;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Sub};

/// What types a function takes and gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Both operands in the type they promote to, which is the result's.
    Arith,
    /// Integers become floats.
    Float,
    /// Both operands in one type, the result a truth value.
    Compare,
    /// Truth values.
    Logic,
    /// Both operands in one type, integers or truth values, which is the result's.
    Bits,
}

/// A function of two numbers as the graph knows it.
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Of `x: F` and `y: F` (of `L` for `Logic`).
    pub(crate) float: &'static str,
    /// Of `I` or `U`.
    pub(crate) int: &'static str,
    pub(crate) weight: u32,
    /// The gradient of each input from that of the result: (dz, x, y, z).
    pub(crate) vjp: Option<Vjp>,
}

type Vjp = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> (Tensor, Tensor);

impl std::fmt::Debug for Binary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident { $kind:ident, wgsl: $float:literal, int: $int:literal, weight: $weight:literal $(, vjp: $vjp:expr)? })*) => {
        #[allow(non_upper_case_globals)]
        pub(crate) mod rows {
            use super::*;
            $(pub(crate) static $name: Binary = Binary {
                name: stringify!($name),
                kind: Kind::$kind,
                float: $float,
                int: $int,
                weight: $weight,
                vjp: { let vjp: Option<Vjp> = None; $(let vjp: Option<Vjp> = { let _ = vjp; Some($vjp) };)? vjp },
            };)*
        }

        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $name(&self, other: impl Operand) -> Tensor {
                Tensor::binary(&rows::$name, self, other)
            })*
        }
    };
}

binary! {
    /// x + y.
    add { Arith, wgsl: "x + y", int: "x + y", weight: 1, vjp: |dz, _x, _y, _z| (dz.clone(), dz.clone()) }

    /// x − y. Tensors of truth values are refused, as in PyTorch: where two differ is [`Tensor::bitwise_xor`].
    sub { Arith, wgsl: "x - y", int: "x - y", weight: 1, vjp: |dz, _x, _y, _z| (dz.clone(), -dz) }

    /// x · y.
    mul { Arith, wgsl: "x * y", int: "x * y", weight: 1, vjp: |dz, x, y, _z| (dz * y, dz * x) }

    /// x / y, in floats.
    div { Float, wgsl: "x / y", int: "x / y", weight: 2, vjp: |dz, _x, y, z| (dz / y, -(dz * (z / y))) }

    /// xʸ. Of integers it is one, which wraps past 32 bits; with y < 0 it is 1/x⁻ʸ without its fraction, if y is a tensor: a
    /// negative integer is refused. The number 0.5 means √x, which is NaN at −∞, and −0.5 its reciprocal.
    pow { Arith, wgsl: "pow_(x, y)", int: "ipow_(x, y)", weight: 24, vjp: pow_vjp }

    /// The larger; NaN wins. Where both are equal each gets half of the gradient.
    maximum { Arith, wgsl: "max_(x, y)", int: "max(x, y)", weight: 2, vjp: |dz, x, y, _z| (pick(dz, &x.lt(y), &x.eq(y)), pick(dz, &x.gt(y), &x.eq(y))) }

    /// The smaller; NaN wins. Where both are equal each gets half of the gradient.
    minimum { Arith, wgsl: "min_(x, y)", int: "min(x, y)", weight: 2, vjp: |dz, x, y, _z| (pick(dz, &x.gt(y), &x.eq(y)), pick(dz, &x.lt(y), &x.eq(y))) }

    /// The angle of the point (y = self, x = other), in radians. Its gradient at the origin is 0.
    atan2 { Float, wgsl: "atan2_(x, y)", int: "x", weight: 24, vjp: |dz, x, y, _z| {
        let size = x * x + y * y;
        let scale = Tensor::where_(&size.eq(Lit(0.0)), Lit(0.0), dz / size);
        (&scale * y, -(scale * x))
    } }

    /// The remainder with the sign of x, as C's fmod.
    fmod { Arith, wgsl: "fmod_(x, y)", int: "ifmod_(x, y)", weight: 4, vjp: |dz, x, y, _z| (dz.clone(), -(dz * (x / y).detach().trunc())) }

    /// The remainder with the sign of y, as Python's %.
    remainder { Arith, wgsl: "rem_(x, y)", int: "irem_(x, y)", weight: 4, vjp: |dz, x, y, _z| (dz.clone(), -(dz * x.floor_divide(y))) }

    /// ⌊x / y⌋.
    floor_divide { Arith, wgsl: "floor_div_(x, y)", int: "idiv_floor_(x, y)", weight: 4, vjp: |dz, _x, _y, _z| (dz.zeros_like(), dz.zeros_like()) }

    /// x ln y, and 0 where x is 0, but where y is NaN.
    xlogy { Float, wgsl: "xlogy_(x, y)", int: "x", weight: 14, vjp: |dz, x, y, _z| {
        let flat = x.eq(Lit(0.0)).logical_and(y.le(Lit(0.0)));
        (Tensor::where_(&flat, Lit(0.0), dz.xlogy(y)), dz * x / y)
    } }

    /// ln(eˣ + eʸ), safe for large x and y.
    logaddexp { Float, wgsl: "logaddexp_(x, y)", int: "x", weight: 24, vjp: |dz, x, y, _z| {
        (dz / ((y - x).exp() + Lit(1.0)), dz / ((x - y).exp() + Lit(1.0)))
    } }

    /// log₂(2ˣ + 2ʸ), safe for large x and y.
    logaddexp2 { Float, wgsl: "logaddexp2_(x, y)", int: "x", weight: 24, vjp: |dz, x, y, _z| {
        (dz / ((y - x).exp2() + Lit(1.0)), dz / ((x - y).exp2() + Lit(1.0)))
    } }

    /// x = y.
    eq { Compare, wgsl: "x == y", int: "x == y", weight: 1 }
    /// x ≠ y.
    ne { Compare, wgsl: "!(x == y)", int: "x != y", weight: 1 }
    /// x < y.
    lt { Compare, wgsl: "x < y", int: "x < y", weight: 1 }
    /// x ≤ y.
    le { Compare, wgsl: "x <= y", int: "x <= y", weight: 1 }
    /// x > y.
    gt { Compare, wgsl: "x > y", int: "x > y", weight: 1 }
    /// x ≥ y.
    ge { Compare, wgsl: "x >= y", int: "x >= y", weight: 1 }

    /// The bits that both integers have; of truth values, both.
    bitwise_and { Bits, wgsl: "x & y", int: "x & y", weight: 1 }
    /// The bits that one of the integers has; of truth values, at least one.
    bitwise_or { Bits, wgsl: "x | y", int: "x | y", weight: 1 }
    /// The bits in which the integers differ; of truth values, whether they do.
    bitwise_xor { Bits, wgsl: "x != y", int: "x ^ y", weight: 1 }

    /// Both non-zero.
    logical_and { Logic, wgsl: "x & y", int: "x & y", weight: 1 }
    /// At least one non-zero.
    logical_or { Logic, wgsl: "x | y", int: "x | y", weight: 1 }
    /// Exactly one non-zero.
    logical_xor { Logic, wgsl: "x != y", int: "x != y", weight: 1 }
}

/// The gradient of a maximum: none where the other was chosen, half where they tie.
fn pick(dz: &Tensor, lost: &Tensor, tied: &Tensor) -> Tensor {
    Tensor::where_(lost, Lit(0.0), Tensor::where_(tied, dz * Lit(0.5), dz))
}

/// d xʸ = y xʸ⁻¹ dx + xʸ ln x dy, with PyTorch's limits: no slope in x at y = 0, none in y at x = 0, y ≥ 0.
fn pow_vjp(dz: &Tensor, x: &Tensor, y: &Tensor, z: &Tensor) -> (Tensor, Tensor) {
    let dx = Tensor::where_(&y.eq(Lit(0.0)), Lit(0.0), dz * y * x.pow(y - Lit(1.0)));
    let still = x.eq(Lit(0.0)).logical_and(y.ge(Lit(0.0)));
    (dx, dz * Tensor::where_(&still, Lit(0.0), z * x.ln()))
}

/// The type in which `a` and `b` meet. A number of the host takes a tensor's type, and a tensor of rank 0 that of one with
/// axes, unless it is of a higher kind.
fn meet(a: &Tensor, b: &Tensor) -> DType {
    let kind = |d: DType| if d.is_float() { 2 } else { u8::from(d.is_int()) };
    let rank = |t: &Tensor| if t.is_number() { 0 } else { 1 + u8::from(t.rank() > 0) };
    let (da, db) = (a.dtype(), b.dtype());
    match rank(a).cmp(&rank(b)) {
        Ordering::Less if kind(da) <= kind(db) => db,
        Ordering::Greater if kind(db) <= kind(da) => da,
        _ => da.promote(db),
    }
}

impl Tensor {
    /// Whether this is a number of the host or of the formula, not a tensor.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self.0.op, Op::Scalar(_) | Op::Const(_))
    }

    /// This operand in the type that both have. A single float beside f16 stays one of f32, in which it is computed.
    #[track_caller]
    fn brought_to(&self, dtype: DType) -> Tensor {
        let single = self.is_number() || self.rank() == 0;
        if single && self.dtype().is_float() && dtype.is_float() { self.clone() } else { self.cast(dtype) }
    }

    /// What xʸ is for a number y that PyTorch does not take as a power like others.
    #[track_caller]
    fn pow_of_number(&self, y: &Tensor) -> Option<Tensor> {
        let (Op::Scalar(bits) | Op::Const(bits)) = y.0.op else { return None };
        match y.dtype() {
            DType::I32 if !self.dtype().is_float() && (bits as i32) < 0 => {
                Some(self.bad_argument("pow", "exponent", bits as i32, "not negative: the powers are integers"))
            }
            DType::F32 if f32::from_bits(bits).abs() == 0.5 => Some(self.powf(f32::from_bits(bits))),
            _ => None,
        }
    }

    #[track_caller]
    pub(crate) fn binary(row: &'static Binary, x: &Tensor, y: impl Operand) -> Tensor {
        let y = y.tensor(x);
        let Some(shape) = x.shape_or_scalar().broadcast(&y.shape_or_scalar()) else {
            return Tensor::bad_shape(row.name, &[x, &y], "the shapes do not broadcast");
        };
        if row.name == rows::pow.name
            && let Some(special) = x.pow_of_number(&y)
        {
            return special;
        }
        if row.kind == Kind::Bits && meet(x, &y).is_float() {
            return Tensor::bad_dtype(row.name, &[x, &y], "integers or truth values");
        }
        // of truth values a sum is `or` and a product is `and`
        let both_bool = x.dtype() == DType::Bool && y.dtype() == DType::Bool;
        let refused = match row.name {
            "sub" => [x, &y].iter().any(|t| t.dtype() == DType::Bool) && !x.is_number() && !y.is_number(),
            name => both_bool && matches!(name, "fmod" | "remainder" | "floor_divide" | "pow"),
        };
        if refused {
            return Tensor::bad_dtype(row.name, &[x, &y], NUMBERS);
        }
        let row = match (both_bool, row.name) {
            (true, "add" | "maximum") => &rows::logical_or,
            (true, "mul" | "minimum") => &rows::logical_and,
            _ => row,
        };
        let operands = match (row.kind, meet(x, &y)) {
            (Kind::Logic, _) => DType::Bool,
            (Kind::Float, common) if !common.is_float() => DType::F32,
            (Kind::Arith, DType::Bool) => DType::I32,
            // integer powers look at signs
            (Kind::Arith, DType::U32) if row.name == "pow" => DType::I32,
            // truth values have no order in WGSL
            (Kind::Compare, DType::Bool) if !matches!(row.name, "eq" | "ne") => DType::U32,
            (_, common) => common,
        };
        let result = if matches!(row.kind, Kind::Compare | Kind::Logic) { DType::Bool } else { operands };
        Tensor::make(Op::Binary(row), &[&x.brought_to(operands), &y.brought_to(operands)], shape, result)
    }

    /// xᵖ for a number p, in floats. Squares, square roots and reciprocals are recognised, as by PyTorch.
    #[track_caller]
    pub fn powf(&self, p: f32) -> Tensor {
        if !self.dtype().is_float() {
            self.cast(DType::F32).powf(p)
        } else if p == 2.0 {
            self.square()
        } else if p == 0.5 {
            self.sqrt()
        } else if p == -0.5 {
            self.rsqrt()
        } else if p == 1.0 {
            self.current()
        } else if p == -1.0 {
            self.recip()
        } else if p == 3.0 {
            self.square() * self
        } else {
            self.pow(p)
        }
    }

    /// All bits of an integer flipped; of a truth value, the other one.
    #[track_caller]
    pub fn bitwise_not(&self) -> Tensor {
        if self.dtype() == DType::Bool { self.logical_not() } else { self.bitwise_xor(-1) }
    }

    /// Python's %: the remainder with the sign of y.
    #[track_caller]
    pub fn rem(&self, other: impl Operand) -> Tensor {
        self.remainder(other)
    }

    /// `a` where `condition` is true, `b` elsewhere; all three broadcast.
    #[track_caller]
    pub fn where_(condition: &Tensor, a: impl Operand, b: impl Operand) -> Tensor {
        let (a, b) = (a.tensor(condition), b.tensor(condition));
        let shape = condition.shape_or_scalar().broadcast(&a.shape_or_scalar());
        let Some(shape) = shape.and_then(|s| s.broadcast(&b.shape_or_scalar())) else {
            return Tensor::bad_shape("where", &[condition, &a, &b], "the shapes do not broadcast");
        };
        let dtype = meet(&a, &b);
        let inputs = [&condition.cast(DType::Bool), &a.brought_to(dtype), &b.brought_to(dtype)];
        Tensor::make(Op::Where, &inputs, shape, dtype)
    }
}

/// On the left of an operator stands an `f32`, an `i32` or a [`Lit`](crate::Lit). Were `f64` among them, the compiler would not
/// know what `1.0` is in `(1.0 - x).exp()`.
macro_rules! operators {
    ($($trait:ident $method:ident $call:ident),*) => {$(
        impl<R: Operand> $trait<R> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor { Tensor::$call(&self, other) }
        }
        impl<R: Operand> $trait<R> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor { Tensor::$call(self, other) }
        }
        impl<R: Operand> $trait<R> for &State {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor { Tensor::$call(self, other) }
        }
        impl<R: Operand> $trait<R> for &Param {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor { Tensor::$call(self, other) }
        }
        operators! { @numbers $trait $method $call f32 i32 Lit }
    )*};
    (@numbers $trait:ident $method:ident $call:ident $($number:ty)*) => {$(
        impl $trait<Tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor { Tensor::$call(&Number::beside(self, &other), &other) }
        }
        operators! { @number $trait $method $call $number: Tensor State Param }
    )*};
    (@number $trait:ident $method:ident $call:ident $number:ty: $($tensor:ty)*) => {$(
        impl $trait<&$tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &$tensor) -> Tensor { Tensor::$call(&Number::beside(self, other), other) }
        }
    )*};
}
operators! { Add add add, Sub sub sub, Mul mul mul, Div div div, Rem rem remainder }

macro_rules! prefixes {
    ($($tensor:ty),*) => {$(
        impl Neg for $tensor {
            type Output = Tensor;
            #[track_caller]
            fn neg(self) -> Tensor {
                Tensor::neg(&self)
            }
        }
        impl Not for $tensor {
            type Output = Tensor;
            #[track_caller]
            fn not(self) -> Tensor {
                self.bitwise_not()
            }
        }
    )*};
}
prefixes! { Tensor, &Tensor, &State, &Param }

macro_rules! bit_operators {
    ($($trait:ident $method:ident $call:ident),*) => {$(
        impl<R: Operand> $trait<R> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor { self.$call(other) }
        }
        impl<R: Operand> $trait<R> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor { self.$call(other) }
        }
    )*};
}
bit_operators! { BitAnd bitand bitwise_and, BitOr bitor bitwise_or, BitXor bitxor bitwise_xor }
