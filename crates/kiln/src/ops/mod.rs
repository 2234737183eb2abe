//! The operations, a file per family, each with its gradient beside it.

pub mod arrange;
pub mod attention;
pub mod binary;
pub mod conv;
pub mod conv_transpose;
pub mod create;
pub mod custom;
pub mod diagonal;
pub mod draw;
pub(crate) mod einsum;
pub mod fractional;
pub mod index;
pub mod join;
pub mod linalg;
pub mod linear;
pub mod matmul;
pub mod norm;
pub mod pad;
pub mod patches;
pub mod place;
pub mod pool;
pub mod print;
pub mod random;
pub(crate) mod recurrence;
pub mod reduce;
pub mod scan;
pub mod scatter_reduce;
pub mod search;
pub mod slice;
pub mod special;
pub mod statistics;
pub mod unary;
pub mod unpool;
pub mod view;
pub(crate) mod work;

use crate::error::At;
use crate::node::{Node, Op, Value};
use crate::{DType, Shape, Tensor};

/// What functions are of that PyTorch refuses to apply to truth values.
const NUMBERS: &str = "numbers; cast truth values first";

/// A number of the formula: a constant of the kernel, unlike a plain `f32`, which travels at run time so that
/// changing it never makes a new plan. Use it where the value is part of what the function is.
#[derive(Debug, Clone, Copy)]
pub struct Lit(pub f32);

/// A number of the host that can stand beside a tensor. Its value travels when the plan runs.
pub trait Number: Copy + Operand {
    /// As a tensor of rank 0 on the device of `tensor`, in the type that suits it.
    fn beside(self, tensor: &Tensor) -> Tensor;
}

macro_rules! numbers {
    ($($t:ty: $float:literal),*) => {$(
        impl Number for $t {
            #[track_caller]
            fn beside(self, tensor: &Tensor) -> Tensor {
                let float = $float || tensor.dtype().is_float();
                let (dtype, bits) = if float {
                    (DType::F32, (self as f32).to_bits())
                } else if tensor.dtype() == DType::U32 && self as i64 >= 0 {
                    (DType::U32, self as u32)
                } else {
                    (DType::I32, self as i32 as u32)
                };
                Node::leaf(&tensor.0.device, Op::Scalar(bits), Shape::SCALAR, dtype, At::here(), Value::Pending)
            }
        }
    )*};
}
numbers! { f32: true, f64: true, i32: false, i64: false, u32: false, usize: false }

impl Number for Lit {
    #[track_caller]
    fn beside(self, tensor: &Tensor) -> Tensor {
        let whole = self.0.fract() == 0.0 && !tensor.dtype().is_float();
        let (dtype, bits) = if whole { (DType::I32, self.0 as i32 as u32) } else { (DType::F32, self.0.to_bits()) };
        let op = if self.0.is_finite() { Op::Const(bits) } else { Op::Scalar(bits) };
        Node::leaf(&tensor.0.device, op, Shape::SCALAR, dtype, At::here(), Value::Pending)
    }
}

/// What can stand on the right of an operator: a tensor, a parameter or a number.
pub trait Operand {
    /// As a tensor on the device of `other`.
    fn tensor(&self, other: &Tensor) -> Tensor;
}

impl Operand for Tensor {
    fn tensor(&self, _other: &Tensor) -> Tensor {
        self.clone()
    }
}

impl<T: Operand> Operand for &T {
    #[track_caller]
    fn tensor(&self, other: &Tensor) -> Tensor {
        (**self).tensor(other)
    }
}

macro_rules! number_operands {
    ($($t:ty)*) => {$(
        impl Operand for $t {
            #[track_caller]
            fn tensor(&self, other: &Tensor) -> Tensor { self.beside(other) }
        }
    )*};
}
number_operands! { f32 f64 i32 i64 u32 usize Lit }
