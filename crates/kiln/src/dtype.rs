//! Element types, how host numbers become elements, and which type two operands meet in.

use half::f16;
use std::fmt;

/// The type of a tensor's elements. Indices are `I32`; `Bool` takes four bytes on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Truth values, kept as 0 and 1 in 32 bits.
    Bool,
    /// Unsigned 32-bit integers.
    U32,
    /// Signed 32-bit integers: PyTorch's int64 becomes this.
    I32,
    /// Half precision, where the device has it. Arithmetic on it is done in `F32` and rounded where a result is stored or cast;
    /// what lies between operations that share a kernel is not.
    F16,
    /// Single precision.
    F32,
}

impl DType {
    /// Bytes of one element on the device.
    pub fn bytes(self) -> usize {
        if self == DType::F16 { 2 } else { 4 }
    }

    /// Whether this is `F32` or `F16`.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::F32)
    }

    /// Whether this is `I32` or `U32`.
    pub fn is_int(self) -> bool {
        matches!(self, DType::I32 | DType::U32)
    }

    /// The type that two operands are brought to: bool < u32 < i32 < f16 < f32.
    pub fn promote(self, other: DType) -> DType {
        self.max(other)
    }

    /// The width alias of generated kernels that holds one value or four.
    pub(crate) fn wgsl(self) -> &'static str {
        match self {
            DType::Bool => "L",
            DType::U32 => "U",
            DType::I32 => "I",
            DType::F16 | DType::F32 => "F",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::Bool => "bool",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::F16 => "f16",
            DType::F32 => "f32",
        })
    }
}

/// A Rust number that can be put into a tensor or read from one.
///
/// `f64` and `i64` are taken and given for convenience; on the device they are `F32` and `I32`.
pub trait Element: Copy + Send + Sync + 'static {
    /// What it becomes on the device.
    const DTYPE: DType;
    /// Appends the device's bytes for this number; `false` if it does not fit.
    fn put(self, bytes: &mut Vec<u8>) -> bool;
    /// The number made from an element of `dtype` at the front of `bytes`.
    fn take(dtype: DType, bytes: &[u8]) -> Self;
}

/// One element of any type, as an `f64`, which holds them all exactly.
pub(crate) fn number(dtype: DType, bytes: &[u8]) -> f64 {
    let word = |b: &[u8]| [b[0], b[1], b[2], b[3]];
    match dtype {
        DType::F32 => f64::from(f32::from_le_bytes(word(bytes))),
        DType::F16 => f64::from(f16::from_le_bytes([bytes[0], bytes[1]])),
        DType::I32 => f64::from(i32::from_le_bytes(word(bytes))),
        DType::U32 => f64::from(u32::from_le_bytes(word(bytes))),
        DType::Bool => f64::from(u8::from(u32::from_le_bytes(word(bytes)) != 0)),
    }
}

macro_rules! element {
    ($($rust:ty, $dtype:ident, |$v:ident| $word:expr, $fits:expr, |$n:ident| $back:expr;)*) => {$(
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
            fn put(self, bytes: &mut Vec<u8>) -> bool {
                let $v = self;
                bytes.extend_from_slice(&($word).to_le_bytes());
                $fits
            }
            fn take(dtype: DType, bytes: &[u8]) -> Self {
                let $n = number(dtype, bytes);
                $back
            }
        }
    )*};
}

element! {
    f32, F32, |v| v, true, |n| n as f32;
    f64, F32, |v| v as f32, true, |n| n;
    f16, F16, |v| v, true, |n| f16::from_f64(n);
    i32, I32, |v| v, true, |n| n as i32;
    i64, I32, |v| v as i32, i32::try_from(v).is_ok(), |n| n as i64;
    u32, U32, |v| v, true, |n| n as u32;
    bool, Bool, |v| u32::from(v), true, |n| n != 0.0;
}

/// Numbers with a shape: scalars, slices, vectors and nested arrays of them.
pub trait TensorData {
    /// The type of the numbers.
    type Elem: Element;
    /// Extents, outermost first.
    fn dims(&self) -> Vec<usize>;
    /// The numbers in row-major order, appended to `to`.
    fn flatten(&self, to: &mut Vec<Self::Elem>);
}

macro_rules! scalar_data {
    ($($t:ty)*) => {$(
        impl TensorData for $t {
            type Elem = $t;
            fn dims(&self) -> Vec<usize> { Vec::new() }
            fn flatten(&self, to: &mut Vec<$t>) { to.push(*self); }
        }
    )*};
}
scalar_data! { f32 f64 f16 i32 i64 u32 bool }

impl<D: TensorData, const N: usize> TensorData for [D; N] {
    type Elem = D::Elem;
    fn dims(&self) -> Vec<usize> {
        let inner = self.first().map(TensorData::dims).unwrap_or_default();
        std::iter::once(N).chain(inner).collect()
    }
    fn flatten(&self, to: &mut Vec<D::Elem>) {
        self.iter().for_each(|row| row.flatten(to));
    }
}

impl<E: Element + TensorData<Elem = E>> TensorData for Vec<E> {
    type Elem = E;
    fn dims(&self) -> Vec<usize> {
        vec![self.len()]
    }
    fn flatten(&self, to: &mut Vec<E>) {
        to.extend_from_slice(self);
    }
}

impl<E: Element + TensorData<Elem = E>> TensorData for &[E] {
    type Elem = E;
    fn dims(&self) -> Vec<usize> {
        vec![self.len()]
    }
    fn flatten(&self, to: &mut Vec<E>) {
        to.extend_from_slice(self);
    }
}
