//! Numbers from a file with their shape, and how the types of files become ours.

use std::path::Path;

use half::f16;

use super::malformed;
use crate::data::Column;
use crate::error::Place;
use crate::{Device, Result, Tensor};

/// Numbers with a shape, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The extents; empty for a single number.
    pub shape: Vec<usize>,
    /// As many as the product of the extents.
    pub numbers: Numbers,
}

/// The numbers of an [`Array`]. Floats of 16 and 64 bits become `F32`; integers other than of 8 and 32 unsigned bits
/// become `I32`. A number that does not fit is an error of the reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Real numbers.
    F32(Vec<f32>),
    /// Integers.
    I32(Vec<i32>),
    /// Unsigned integers of 32 bits.
    U32(Vec<u32>),
    /// Bytes, as in images.
    U8(Vec<u8>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Numbers::F32(v) => v.len(),
            Numbers::I32(v) => v.len(),
            Numbers::U32(v) => v.len(),
            Numbers::U8(v) => v.len(),
            Numbers::Bool(v) => v.len(),
        }
    }

    /// True without numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers `order`, in that order; those past the end are left out.
    fn picked(&self, order: impl Iterator<Item = usize>) -> Self {
        fn pick<T: Copy>(from: &[T], order: impl Iterator<Item = usize>) -> Vec<T> {
            order.filter_map(|i| from.get(i).copied()).collect()
        }
        match self {
            Numbers::F32(v) => Numbers::F32(pick(v, order)),
            Numbers::I32(v) => Numbers::I32(pick(v, order)),
            Numbers::U32(v) => Numbers::U32(pick(v, order)),
            Numbers::U8(v) => Numbers::U8(pick(v, order)),
            Numbers::Bool(v) => Numbers::Bool(pick(v, order)),
        }
    }
}

impl Array {
    /// The array on the device. Bytes become `I32`.
    #[track_caller]
    pub fn tensor(&self, device: &Device) -> Tensor {
        match &self.numbers {
            Numbers::F32(v) => Tensor::from_slice(device, v, &self.shape),
            Numbers::I32(v) => Tensor::from_slice(device, v, &self.shape),
            Numbers::U32(v) => Tensor::from_slice(device, v, &self.shape),
            Numbers::U8(v) => Tensor::from_vec(device, v.iter().map(|&v| i32::from(v)).collect(), &self.shape),
            Numbers::Bool(v) => Tensor::from_slice(device, v, &self.shape),
        }
    }

    /// All numbers as `f32`; integers past 2²⁴ are rounded.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::F32(v) => v.clone(),
            Numbers::I32(v) => v.iter().map(|&v| v as f32).collect(),
            Numbers::U32(v) => v.iter().map(|&v| v as f32).collect(),
            Numbers::U8(v) => v.iter().map(|&v| f32::from(v)).collect(),
            Numbers::Bool(v) => v.iter().map(|&v| f32::from(u8::from(v))).collect(),
        }
    }

    /// All numbers as `i32`, or nothing if one of them is not a whole number of 32 bits.
    pub fn to_i32(&self) -> Option<Vec<i32>> {
        match &self.numbers {
            Numbers::F32(v) => {
                v.iter().map(|&v| (v as i32 as f32 == v && v < 2147483648.0).then_some(v as i32)).collect()
            }
            Numbers::I32(v) => Some(v.clone()),
            Numbers::U32(v) => v.iter().map(|&v| i32::try_from(v).ok()).collect(),
            Numbers::U8(v) => Some(v.iter().map(|&v| i32::from(v)).collect()),
            Numbers::Bool(v) => Some(v.iter().map(|&v| i32::from(v)).collect()),
        }
    }

    /// A column of a data set: the first axis counts the examples. Bytes stay bytes, which a batch scales to 0..1;
    /// other integers are labels. Only unsigned ones of which one is 2³¹ or more, which no label is, become real numbers, the
    /// nearest ones; [`to_i32`](Array::to_i32) says whether all fit.
    pub fn into_column(self) -> Column {
        let row = self.shape.get(1..).unwrap_or_default().to_vec();
        match self.numbers {
            Numbers::F32(v) => Column::F32(v.into(), row),
            Numbers::U8(v) => Column::Bytes(v.into(), row),
            Numbers::I32(v) => Column::I32(v.into(), row),
            Numbers::U32(v) => match v.iter().map(|&v| i32::try_from(v)).collect::<Result<Vec<i32>, _>>() {
                Ok(v) => Column::I32(v.into(), row),
                Err(_) => Column::F32(v.into_iter().map(|v| v as f32).collect(), row),
            },
            Numbers::Bool(v) => Column::I32(v.into_iter().map(i32::from).collect(), row),
        }
    }

    /// The array whose axes come in the order `axes`, a permutation.
    pub(super) fn permuted(&self, axes: &[usize]) -> Self {
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape[axis]).collect();
        if self.numbers.is_empty() {
            return Self { shape, numbers: self.numbers.clone() }; // whose other extents may be of any size
        }
        let mut strides = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let strides: Vec<usize> = axes.iter().map(|&axis| strides[axis]).collect();
        let numbers = self.numbers.picked(walk(&shape, &strides, self.numbers.len()));
        Self { shape, numbers }
    }
}

/// The offsets of all elements of `shape` in row-major order, for these strides.
fn walk<'a>(shape: &'a [usize], strides: &'a [usize], count: usize) -> impl Iterator<Item = usize> + 'a {
    let (mut index, mut offset) = (vec![0; shape.len()], 0);
    (0..count).map(move |_| {
        let here = offset;
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= index[axis] * strides[axis];
            index[axis] = 0;
        }
        here
    })
}

/// The types of numbers that files hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl Kind {
    pub(super) fn bytes(self) -> usize {
        match self {
            Kind::Bool | Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 | Kind::F16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }

    /// The numbers in `bytes`, which is a whole number of them and began at byte `start` of the file.
    pub(super) fn numbers(self, mut bytes: Vec<u8>, big_endian: bool, path: &Path, start: u64) -> Result<Numbers> {
        if big_endian {
            bytes.chunks_exact_mut(self.bytes()).for_each(<[u8]>::reverse);
        }
        let b = bytes.as_slice();
        // The first number that does not fit ends the reading.
        let refuse = |index: usize, what: String| {
            let place = Place::Byte(start + (index * self.bytes()) as u64);
            malformed(path, place, "a number that fits in 32 bits", what)
        };
        Ok(match self {
            Kind::U8 => Numbers::U8(bytes),
            Kind::Bool => match b.iter().position(|&v| v > 1) {
                Some(at) => {
                    return Err(malformed(path, Place::Byte(start + at as u64), "a truth value, 0 or 1", b[at]));
                }
                None => Numbers::Bool(b.iter().map(|&v| v != 0).collect()),
            },
            Kind::I8 => Numbers::I32(b.iter().map(|&v| i32::from(v as i8)).collect()),
            Kind::U16 => Numbers::I32(each(b, |v| u16::from_le_bytes(v).into())),
            Kind::I16 => Numbers::I32(each(b, |v| i16::from_le_bytes(v).into())),
            Kind::U32 => Numbers::U32(each(b, u32::from_le_bytes)),
            Kind::I32 => Numbers::I32(each(b, i32::from_le_bytes)),
            Kind::F16 => Numbers::F32(each(b, |v| f16::from_le_bytes(v).to_f32())),
            Kind::F32 => Numbers::F32(each(b, f32::from_le_bytes)),
            Kind::U64 => Numbers::I32(narrow(b, u64::from_le_bytes, |v| i32::try_from(v).ok(), refuse)?),
            Kind::I64 => Numbers::I32(narrow(b, i64::from_le_bytes, |v| i32::try_from(v).ok(), refuse)?),
            Kind::F64 => {
                let fits = |v: f64| ((v as f32).is_finite() || !v.is_finite()).then_some(v as f32);
                Numbers::F32(narrow(b, f64::from_le_bytes, fits, refuse)?)
            }
        })
    }
}

fn each<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| number(b)).collect()
}

fn narrow<W: Copy + ToString, T, const N: usize>(
    bytes: &[u8],
    number: impl Fn([u8; N]) -> W,
    fits: impl Fn(W) -> Option<T>,
    refuse: impl Fn(usize, String) -> crate::Error,
) -> Result<Vec<T>> {
    let wide = bytes.as_chunks().0.iter().map(|&b| number(b)).enumerate();
    wide.map(|(index, wide)| fits(wide).ok_or_else(|| refuse(index, wide.to_string()))).collect()
}
