//! The safetensors format: eight bytes of length, a JSON header, then the numbers of all tensors.
//!
//! Reading goes through the `safetensors` crate, which checks every offset against the file.
//! Writing is ours, so that the same tensors always give the same bytes (the crate writes the
//! metadata in random order).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::atomic::file_error;
use crate::nn::StateDict;
use crate::{DType, Device, Result, Tensor};

/// Names and texts stored beside the tensors.
pub type Metadata = BTreeMap<String, String>;

/// The file of `tensors` and `metadata`: its header and the numbers of each tensor.
pub(super) fn encode(tensors: &StateDict, metadata: &Metadata) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut header = String::from("{\"__metadata__\":{");
    let format = ("format".to_string(), "pt".to_string());
    let own = metadata.iter().filter(|(name, _)| *name != "format");
    for (index, (name, text)) in std::iter::once((&format.0, &format.1)).chain(own).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(header, "{comma}{}:{}", quoted(name), quoted(text)); // to a String: cannot fail
    }
    header.push('}');

    let mut offset = 0;
    let mut parts = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (dtype, bytes) = numbers_of(tensor)?;
        let shape = tensor.shape()?;
        let end = offset + bytes.len();
        let _ = write!(
            header,
            ",{}:{{\"dtype\":\"{dtype}\",\"shape\":{:?},\"data_offsets\":[{offset},{end}]}}",
            quoted(name),
            &shape[..],
        );
        offset = end;
        parts.push(bytes);
    }
    header.push('}');
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut head = (header.len() as u64).to_le_bytes().to_vec();
    head.extend(header.into_bytes());
    Ok((head, parts))
}

/// A tensor's type in the file and its numbers. What Kiln keeps as i32 was int64 in PyTorch.
fn numbers_of(tensor: &Tensor) -> Result<(&'static str, Vec<u8>)> {
    Ok(match tensor.dtype() {
        DType::F32 => ("F32", tensor.to_vec::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::F16 => ("F16", tensor.to_vec::<f16>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::I32 => ("I64", tensor.to_vec::<i32>()?.iter().flat_map(|&v| i64::from(v).to_le_bytes()).collect()),
        DType::U32 => ("U32", tensor.to_vec::<u32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::Bool => ("BOOL", tensor.to_vec::<bool>()?.iter().map(|&v| u8::from(v)).collect()),
    })
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The numbers of a tensor in a file, as wide as they are here.
pub(super) enum Numbers {
    F32(Vec<f32>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    Bool(Vec<bool>),
}

impl Numbers {
    pub(super) fn tensor(self, device: &Device, shape: &[usize]) -> Tensor {
        match self {
            Numbers::F32(values) => Tensor::from_vec(device, values, shape),
            Numbers::I32(values) => Tensor::from_vec(device, values, shape),
            Numbers::U32(values) => Tensor::from_vec(device, values, shape),
            Numbers::Bool(values) => Tensor::from_vec(device, values, shape),
        }
    }
}

/// Reads a whole file: each tensor's name, numbers and shape go to `take`, in the file's order. Gives the metadata.
pub(super) fn decode(
    bytes: &[u8],
    path: &Path,
    mut take: impl FnMut(&str, Numbers, &[usize]) -> Result<()>,
) -> Result<Metadata> {
    let bad = |why: String| file_error(path, why);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| bad(format!("no safetensors file: {e}")))?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let file = SafeTensors::deserialize(bytes).map_err(|e| bad(format!("no safetensors file: {e}")))?;
    for (name, view) in file.iter() {
        let numbers = numbers_in(&view).map_err(|why| bad(format!("tensor {name}: {why}")))?;
        take(name, numbers, view.shape()).map_err(|why| bad(format!("tensor {name}: {why}")))?;
    }
    Ok(metadata)
}

/// The numbers of a part of the file. 64-bit integers become i32, other floats f32, if they fit.
fn numbers_in(view: &TensorView<'_>) -> Result<Numbers, String> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => Numbers::F32(numbers(data, f32::from_le_bytes)),
        Dtype::F16 => Numbers::F32(numbers(data, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Numbers::F32(numbers(data, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F64 => Numbers::F32(checked(numbers(data, f64::from_le_bytes), |v| {
            let narrow = v as f32;
            (narrow.is_finite() || !v.is_finite()).then_some(narrow)
        })?),
        Dtype::I64 => Numbers::I32(checked(numbers(data, i64::from_le_bytes), |v| i32::try_from(v).ok())?),
        Dtype::U64 => Numbers::I32(checked(numbers(data, u64::from_le_bytes), |v| i32::try_from(v).ok())?),
        Dtype::I32 => Numbers::I32(numbers(data, i32::from_le_bytes)),
        Dtype::I16 => Numbers::I32(numbers(data, |b| i16::from_le_bytes(b).into())),
        Dtype::U16 => Numbers::I32(numbers(data, |b| u16::from_le_bytes(b).into())),
        Dtype::I8 => Numbers::I32(numbers(data, |b| i8::from_le_bytes(b).into())),
        Dtype::U8 => Numbers::I32(numbers(data, |b| u8::from_le_bytes(b).into())),
        Dtype::U32 => Numbers::U32(numbers(data, u32::from_le_bytes)),
        Dtype::BOOL => Numbers::Bool(numbers(data, |[b]: [u8; 1]| b != 0)),
        other => return Err(format!("its type {other:?} is not known here")),
    })
}

/// The numbers in `data`, each of `N` bytes.
fn numbers<T, const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
}

/// Every value narrowed, or which does not fit.
fn checked<T: Copy + std::fmt::Display, S>(values: Vec<T>, narrow: impl Fn(T) -> Option<S>) -> Result<Vec<S>, String> {
    let fits = |v: T| narrow(v).ok_or_else(|| format!("{v} does not fit in 32 bits"));
    values.into_iter().map(fits).collect()
}
