//! Making tensors.

use super::random::checked;
use super::view::Extents;
use super::{Lit, Number};
use crate::dtype::{Element, TensorData};
use crate::error::{At, Error};
use crate::node::{Node, Op, Stored, Value, called, composed};
use crate::{DType, Device, Shape, Tensor};
use kiln_device::Slice;

impl Tensor {
    /// A tensor of the numbers in `data`: a scalar, a vector, a slice or nested arrays.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let x = Tensor::new(&device, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// assert_eq!(x.shape()?, [2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn new<D: TensorData>(device: &Device, data: D) -> Tensor {
        let mut numbers = Vec::new();
        data.flatten(&mut numbers);
        Self::from_slice(device, &numbers, &data.dims())
    }

    /// A tensor of `shape` from numbers in row-major order: [`Tensor::from_slice`] of a vector, with its errors.
    #[track_caller]
    pub fn from_vec<E: Element>(device: &Device, numbers: Vec<E>, shape: &[usize]) -> Tensor {
        composed("from_vec", || Self::from_slice(device, &numbers, shape))
    }

    /// A tensor of `shape` from numbers in row-major order.
    ///
    /// # Errors
    /// On evaluation, [`Error::Argument`] if there are more or fewer numbers than the shape holds, or an `i64`
    /// does not fit into 32 bits; [`Error::Device`] if there is no memory.
    #[track_caller]
    pub fn from_slice<E: Element>(device: &Device, numbers: &[E], shape: &[usize]) -> Tensor {
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let shape = match checked(device, "from_slice", &dims) {
            Ok(shape) => shape,
            Err(invalid) => return invalid,
        };
        let at = Self::origin_at(At::here());
        let refuse = |name, value: String, why| {
            Self::invalid(device, Error::Argument { op: called("from_slice"), name, value, why, at })
        };
        if shape.numel() != numbers.len() {
            return refuse("shape", format!("{shape}"), "as many elements as there are numbers");
        }
        let mut bytes = Vec::with_capacity(numbers.len() * E::DTYPE.bytes());
        if let Some(at) = numbers.iter().position(|n| !n.put(&mut bytes)) {
            return refuse("numbers", format!("number {at}"), "integers of 32 bits");
        }
        if E::DTYPE == DType::F16 && !device.caps().f16 {
            return refuse("numbers", "f16".into(), "this device has no half precision");
        }
        Self::from_bytes(device, shape, E::DTYPE, &bytes)
    }

    /// A tensor from its device bytes.
    #[track_caller]
    pub(crate) fn from_bytes(device: &Device, shape: Shape, dtype: DType, bytes: &[u8]) -> Tensor {
        let at = Self::origin_at(At::here());
        let stored = if bytes.is_empty() {
            Ok(None)
        } else {
            device
                .gpu()
                .upload(bytes, "tensor")
                .map(|buffer| Some(Slice { buffer, offset: 0, bytes: bytes.len() as u64 }))
        };
        match stored {
            Ok(slice) => Node::leaf(
                device,
                Op::Value,
                shape,
                dtype,
                at,
                Value::Ready(Stored { slice, second: None, fault: None }),
            ),
            Err(error) => Self::invalid(device, Error::Device(error)),
        }
    }

    /// A number of the formula 0 in the given type: a model for others.
    #[track_caller]
    pub(crate) fn zero_of(device: &Device, dtype: DType) -> Tensor {
        let at = Self::origin_at(At::here());
        Node::leaf(device, Op::Const(0), Shape::SCALAR, dtype, at, Value::Pending)
    }

    /// A tensor that carries an error of a call that had no tensor to take a device from.
    #[track_caller]
    pub(crate) fn orphan(error: Error) -> Tensor {
        Self::invalid(&Device::latest().unwrap_or_else(Device::idle), error)
    }

    /// A number, as a tensor of rank 0: `I32` of an integer, else `F32`. It travels at run time: another number is no other
    /// plan.
    #[track_caller]
    pub fn scalar(device: &Device, value: impl Number) -> Tensor {
        value.beside(&Self::zero_of(device, DType::I32))
    }

    /// Zeros, `F32`.
    #[track_caller]
    pub fn zeros(device: &Device, shape: impl Extents) -> Tensor {
        Self::filled(device, "zeros", &shape.list(), 0.0)
    }

    /// Ones, `F32`.
    #[track_caller]
    pub fn ones(device: &Device, shape: impl Extents) -> Tensor {
        Self::filled(device, "ones", &shape.list(), 1.0)
    }

    /// `value` everywhere; integers give `I32`.
    #[track_caller]
    pub fn full(device: &Device, shape: impl Extents, value: impl Number) -> Tensor {
        let number = Self::scalar(device, value);
        match checked(device, "full", &shape.list()) {
            Ok(shape) => number.expand_to(shape),
            Err(invalid) => invalid,
        }
    }

    /// The number travels at run time: a driver makes 0 of a product with a constant 0, though it may be NaN.
    #[track_caller]
    fn filled(device: &Device, op: &'static str, shape: &[i64], value: f32) -> Tensor {
        match checked(device, op, shape) {
            Ok(shape) => Self::full_of(device, shape, DType::F32, value),
            Err(invalid) => invalid,
        }
    }

    /// Zeros of this tensor's shape and type.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        if self.error().is_some() {
            self.current()
        } else {
            Self::full_of(&self.0.device, self.shape_or_scalar(), self.dtype(), 0.0)
        }
    }

    /// Ones of this tensor's shape and type.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        if self.error().is_some() {
            self.current()
        } else {
            Self::full_of(&self.0.device, self.shape_or_scalar(), self.dtype(), Lit(1.0))
        }
    }

    /// `value` everywhere, in this tensor's shape and type.
    #[track_caller]
    pub fn full_like(&self, value: impl Number) -> Tensor {
        if self.error().is_some() {
            self.current()
        } else {
            Self::full_of(&self.0.device, self.shape_or_scalar(), self.dtype(), value)
        }
    }

    /// 0, 1, …, n − 1 as `I32`. It has no memory: kernels compute it.
    #[track_caller]
    pub(crate) fn iota(device: &Device, n: usize) -> Tensor {
        let at = Self::origin_at(At::here());
        Node::leaf(device, Op::Iota, Shape::of(&[n]), DType::I32, at, Value::Pending)
    }

    /// `start, start + step, …` before `end`; integers give `I32`, floats `F32`. Backwards with a negative step.
    ///
    /// # Errors
    /// On evaluation, [`Error::Argument`] for a step of 0 or away from `end`, and for more elements than a tensor has.
    #[track_caller]
    pub fn arange<N: Number + Into<f64>>(device: &Device, start: N, end: N, step: N) -> Tensor {
        let (a, b, s) = (start.into(), end.into(), step.into());
        let count = ((b - a) / s).ceil();
        if s == 0.0 || (b - a) * s < 0.0 || !(0.0..=f64::from(i32::MAX)).contains(&count) {
            return Self::zero_of(device, DType::F32).bad_argument(
                "arange",
                "step",
                s,
                "not 0, from start towards end, and a finite number of elements",
            );
        }
        let places = Self::iota(device, count as usize);
        let step = step.beside(&places);
        let start = start.beside(&places);
        places * step + start
    }

    /// `count` numbers evenly spaced from `start` to `end`, both included and exact: `F32` `[count]`. A single one is `start`.
    #[track_caller]
    pub fn linspace(device: &Device, start: f32, end: f32, count: usize) -> Tensor {
        if let Err(invalid) = checked(device, "linspace", &[i64::try_from(count).unwrap_or(-1)]) {
            return invalid;
        }
        let places = Self::iota(device, count).cast(DType::F32);
        if count < 2 {
            return places + start;
        }
        // from both ends, so that the last number is exactly `end`
        let step = (f64::from(end) - f64::from(start)) / (count - 1) as f64;
        let back = (&places * -1.0 + (count - 1) as f32) * -step + end;
        Self::where_(&places.lt((count / 2) as f32), &places * step + start, back)
    }

    /// `count` powers of `base` whose exponents are evenly spaced from `start` to `end`, both included.
    #[track_caller]
    pub fn logspace(device: &Device, start: f32, end: f32, count: usize, base: f32) -> Tensor {
        composed("logspace", || Self::scalar(device, base).pow(Self::linspace(device, start, end, count)))
    }

    /// Rows and columns `[2, n]`, as `I32`, of what [`Tensor::tril`] with `k` leaves of a matrix of `rows` by `columns`, row by
    /// row.
    #[track_caller]
    pub fn tril_indices(device: &Device, rows: usize, columns: usize, k: i64) -> Tensor {
        composed("tril_indices", || {
            Self::triangle_indices(device, rows, columns, |row, col| col <= row.saturating_add(k))
        })
    }

    /// Rows and columns `[2, n]`, as `I32`, of what [`Tensor::triu`] with `k` leaves of a matrix of `rows` by `columns`, row by
    /// row.
    #[track_caller]
    pub fn triu_indices(device: &Device, rows: usize, columns: usize, k: i64) -> Tensor {
        composed("triu_indices", || {
            Self::triangle_indices(device, rows, columns, |row, col| col >= row.saturating_add(k))
        })
    }

    #[track_caller]
    fn triangle_indices(device: &Device, rows: usize, columns: usize, keep: impl Fn(i64, i64) -> bool) -> Tensor {
        let extent = |n: usize| i64::try_from(n).unwrap_or(-1);
        if let Err(invalid) = checked(device, called("triangle_indices"), &[extent(rows), extent(columns)]) {
            return invalid;
        }
        let all = (0..rows as i64).flat_map(|row| (0..columns as i64).map(move |col| (row, col)));
        let (mut places, cols): (Vec<i64>, Vec<i64>) = all.filter(|&(row, col)| keep(row, col)).unzip();
        let count = places.len();
        places.extend(cols);
        Self::from_slice(device, &places, &[2, count])
    }

    /// Ones on the diagonal of zeros, `F32`: `[n, n]` of one extent, `[rows, columns]` of two.
    #[track_caller]
    pub fn eye(device: &Device, extents: impl Extents) -> Tensor {
        let list = extents.list();
        let (rows, cols) = match list[..] {
            [n] => (n, n),
            [rows, cols] => (rows, cols),
            _ => {
                let value = format!("{list:?}");
                return Self::zero_of(device, DType::F32).bad_argument("eye", "extents", value, "one or two");
            }
        };
        match checked(device, "eye", &[rows, cols]) {
            Ok(shape) => {
                let row = Self::iota(device, shape[0]).to_shape(Shape::of(&[shape[0], 1]));
                super::index::indicator(&row.eq(Self::iota(device, shape[1])))
            }
            Err(invalid) => invalid,
        }
    }
}
