//! Tensors that carry an error: what an operation makes of wrong operands. Every later operation on one of them carries
//! the same error.

use super::origin::scope;
use super::{Node, Op, Value, called};
use crate::error::{At, Error, List};
use crate::{DType, Device, Shape, Tensor};
use std::sync::Arc;

impl Tensor {
    /// A tensor that carries `error`, with the module it arose in.
    pub(crate) fn invalid(device: &Device, error: Error) -> Tensor {
        let error = match scope() {
            Some(module) => Error::In { module, source: Box::new(error) },
            None => error,
        };
        let at = Self::origin_at(At::here());
        Node::leaf(device, Op::Invalid(Arc::new(error)), Shape::SCALAR, DType::F32, at, Value::Pending)
    }

    /// A tensor that carries an error about the shapes of `operands`.
    #[track_caller]
    pub(crate) fn bad_shape(op: &'static str, operands: &[&Tensor], why: &'static str) -> Tensor {
        if let Some(bad) = operands.iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        let shapes = List(operands.iter().map(|t| t.0.shape).collect());
        let at = Self::origin_at(At::here());
        Self::invalid(&operands[0].0.device, Error::Shape { op: called(op), shapes, why, at })
    }

    /// A tensor that carries an error about the element types of `operands`.
    #[track_caller]
    pub(crate) fn bad_dtype(op: &'static str, operands: &[&Tensor], why: &'static str) -> Tensor {
        if let Some(bad) = operands.iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        let dtypes = List(operands.iter().map(|t| t.0.dtype).collect());
        let at = Self::origin_at(At::here());
        Self::invalid(&operands[0].0.device, Error::DType { op: called(op), dtypes, why, at })
    }

    /// A tensor that carries an error about an argument.
    #[track_caller]
    pub(crate) fn bad_argument(
        &self,
        op: &'static str,
        name: &'static str,
        value: impl ToString,
        why: &'static str,
    ) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let at = Self::origin_at(At::here());
        Self::invalid(&self.0.device, Error::Argument { op: called(op), name, value: value.to_string(), why, at })
    }

    /// The axis meant by `axis`, or a tensor that carries the error.
    #[track_caller]
    pub(crate) fn axis(&self, op: &'static str, axis: i64) -> std::result::Result<usize, Tensor> {
        if self.error().is_some() {
            return Err(self.current());
        }
        let at = Self::origin_at(At::here());
        let error = Error::Axis { op: called(op), axis, shape: self.0.shape, at };
        self.0.shape.axis(axis).ok_or_else(|| Self::invalid(&self.0.device, error))
    }
}
