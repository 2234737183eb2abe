//! What other programs computed (`tests/data`), and how to compare with it.

#![allow(dead_code)] // each test program uses a part

pub(crate) mod net;
pub(crate) mod program;

use kiln::nn::StateDict;
use kiln::prelude::*;
use std::path::Path;

/// The tensors of `tests/data/{name}.safetensors`, and the texts beside them.
pub(crate) fn reference_with_notes(device: &Device, name: &str) -> (StateDict, store::Metadata) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/data/{name}.safetensors"));
    store::load_tensors(device, path).unwrap()
}

/// The tensors of `tests/data/{name}.safetensors`.
pub(crate) fn reference(device: &Device, name: &str) -> StateDict {
    reference_with_notes(device, name).0
}

/// The entries below `prefix`, without it.
pub(crate) fn below(all: &StateDict, prefix: &str) -> StateDict {
    all.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t.clone()))).collect()
}

/// The elements of several tensors, computed in one plan.
pub(crate) fn values(tensors: &[&Tensor]) -> Result<Vec<Vec<f32>>> {
    let tensors: Vec<Tensor> = tensors.iter().map(|t| t.cast(DType::F32)).collect();
    let bytes = Tensor::read_all(&tensors.iter().collect::<Vec<_>>())?;
    Ok(bytes.iter().map(|b| b.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect()).collect())
}

/// The largest |got − want| / (1 + |want|). Infinities agree with their equals and NaN with NaN; any other is infinitely
/// wrong.
pub(crate) fn worst<N: Into<f64> + Copy>(got: &[N], want: &[N]) -> f64 {
    assert_eq!(got.len(), want.len());
    let error = |(&got, &want): (&N, &N)| {
        let (got, want): (f64, f64) = (got.into(), want.into());
        let error = (got - want).abs() / (1.0 + want.abs());
        match got == want || (got.is_nan() && want.is_nan()) {
            true => 0.0,
            false if error.is_nan() => f64::INFINITY,
            false => error,
        }
    };
    got.iter().zip(want).map(error).fold(0.0, f64::max)
}

/// [`worst`] of two tensors of one shape.
pub(crate) fn off(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.shape().unwrap(), want.shape().unwrap());
    worst(&got.to_vec::<f64>().unwrap(), &want.to_vec::<f64>().unwrap())
}

#[track_caller]
pub(crate) fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    let error = off(got, want);
    assert!(error <= tolerance, "{what}: off by {error:e}");
}
