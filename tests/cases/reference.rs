//! What PyTorch answered: `tests/data/reference.bin`, a safetensors file that `scripts/reference.py` writes.

use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::sync::OnceLock;

static FILE: &[u8] = include_bytes!("../data/reference.bin");

/// A recorded tensor; its numbers as f64, which holds all of them exactly.
pub struct Want {
    pub shape: Vec<usize>,
    pub numbers: Vec<f64>,
    /// Integers and truth values are compared exactly.
    pub exact: bool,
    /// The element type as Kiln prints it.
    pub dtype: &'static str,
}

/// Row names and the fingerprints of their inputs.
pub fn rows() -> &'static HashMap<String, String> {
    static ROWS: OnceLock<HashMap<String, String>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let (_, metadata) = SafeTensors::read_metadata(FILE).expect("the reference file has a header");
        let mut rows = metadata.metadata().clone().expect("the reference file names its rows");
        rows.remove("torch").expect("the reference file names the version of PyTorch that made it");
        rows
    })
}

fn file() -> &'static SafeTensors<'static> {
    static TENSORS: OnceLock<SafeTensors<'static>> = OnceLock::new();
    TENSORS.get_or_init(|| SafeTensors::deserialize(FILE).expect("the reference file is a safetensors file"))
}

/// How many tensors are recorded for a row.
pub fn count(row: &str) -> usize {
    static COUNTS: OnceLock<HashMap<String, usize>> = OnceLock::new();
    let counts = COUNTS.get_or_init(|| {
        let mut counts = HashMap::new();
        for (name, _) in file().names().iter().filter_map(|name| name.rsplit_once(':')) {
            *counts.entry(name.to_string()).or_default() += 1;
        }
        counts
    });
    counts.get(row).copied().unwrap_or(0)
}

/// The tensor recorded as `row:part`, if there is one.
pub fn want(row: &str, part: &str, index: usize) -> Option<Want> {
    let tensor = file().tensor(&format!("{row}:{part}{index}")).ok()?;
    let bytes = tensor.data();
    let words = || bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
    let (dtype, numbers) = match tensor.dtype() {
        Dtype::F32 => ("f32", words().map(|b| f64::from(f32::from_le_bytes(b))).collect()),
        Dtype::I32 => ("i32", words().map(|b| f64::from(i32::from_le_bytes(b))).collect()),
        Dtype::U32 => ("u32", words().map(|b| f64::from(u32::from_le_bytes(b))).collect()),
        Dtype::BOOL => ("bool", bytes.iter().map(|&b| f64::from(b)).collect()),
        other => panic!("{row}:{part}{index} is {other:?}, which scripts/reference.py does not write"),
    };
    Some(Want { shape: tensor.shape().into(), numbers, exact: dtype != "f32", dtype })
}
