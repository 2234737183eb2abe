//! Inputs of rows: numbers that follow from the row's name, so that only outputs need a file.
//!
//! ```text
//! mix(z)   = splitmix64's finaliser;   GOLDEN = 0x9E3779B97F4A7C15;   all arithmetic modulo 2^64
//! word(i)  = mix(mix(fnv1a64(name) + stream * GOLDEN) + (i + 1) * GOLDEN) >> 40        (24 bits)
//! f32      = round(lo + (hi - lo) * (word + 0.5) / 2^24), computed in f64
//! ties     = word % 5 - 2;   i32 = lo + word % (hi - lo);   bool = word & 1
//! stream   = k for input k, 1000 + j for the weights of output j, 2000 + k for those of gradient k
//! ```
//! `scripts/reference.py` does the same; the fingerprints in the reference file prove it.

use kiln::prelude::*;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, a word at a time.
fn fnv(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xCBF2_9CE4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01B3))
}

fn words(name: &str, stream: u64, count: usize) -> impl Iterator<Item = i64> {
    let seed = mix(fnv(name.bytes().map(u64::from)).wrapping_add(stream.wrapping_mul(GOLDEN)));
    (1..=count as u64).map(move |i| (mix(seed.wrapping_add(i.wrapping_mul(GOLDEN))) >> 40) as i64)
}

/// Numbers in `lo..hi`.
pub fn uniform(name: &str, stream: u64, count: usize, lo: f64, hi: f64) -> Vec<f32> {
    words(name, stream, count).map(|w| (lo + (hi - lo) * ((w as f64 + 0.5) / 16_777_216.0)) as f32).collect()
}

/// How an input is made.
#[derive(Clone)]
enum Kind {
    Uniform(f64, f64),
    Ties,
    Int(i64, i64),
    Bool,
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

/// One input of a row.
#[derive(Clone)]
pub struct Input {
    shape: Vec<usize>,
    kind: Kind,
}

/// Floats in -2..2.
pub fn f(shape: &[usize]) -> Input {
    f_in(shape, -2.0, 2.0)
}

/// Floats in `lo..hi`.
pub fn f_in(shape: &[usize], lo: f64, hi: f64) -> Input {
    Input { shape: shape.into(), kind: Kind::Uniform(lo, hi) }
}

/// Floats among -2, -1, 0, 1, 2.
pub fn ties(shape: &[usize]) -> Input {
    Input { shape: shape.into(), kind: Kind::Ties }
}

/// Integers in `lo..hi`, `hi` excluded.
pub fn i(shape: &[usize], lo: i64, hi: i64) -> Input {
    Input { shape: shape.into(), kind: Kind::Int(lo, hi) }
}

/// Truth values.
pub fn b(shape: &[usize]) -> Input {
    Input { shape: shape.into(), kind: Kind::Bool }
}

/// Floats as written.
pub fn v(values: &[f32]) -> Input {
    v_as(&[values.len()], values)
}

/// Floats as written, in a shape.
pub fn v_as(shape: &[usize], values: &[f32]) -> Input {
    Input { shape: shape.into(), kind: Kind::Floats(values.into()) }
}

/// Integers as written.
pub fn iv(values: &[i32]) -> Input {
    Input { shape: vec![values.len()], kind: Kind::Ints(values.into()) }
}

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Special values that no function needs range reduction for.
pub const TAME: [f32; 20] =
    [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.0, -2.0, 2.5, -2.5, 3.0, -3.0, 6.0, 20.0, -20.0, INF, -INF, NAN];

/// Special values, large and small ones too.
pub const SPECIALS: [f32; 28] = {
    let mut all = [0.0; 28];
    let (mut at, more) = (0, [88.0, -88.0, 1e-4, -1e-4, 1e6, -1e6, 1e30, -1e30]);
    while at < 28 {
        all[at] = if at < 20 { TAME[at] } else { more[at - 20] };
        at += 1;
    }
    all
};

/// Where functions that are defined in pieces join.
pub const EDGES: [f32; 15] = [-6.0, -3.0, -2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0];

/// The numbers of an input.
pub enum Numbers {
    F32(Vec<f32>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

impl Input {
    /// The numbers of input `k` of the row `name`.
    pub fn numbers(&self, name: &str, k: usize) -> Numbers {
        let count = self.shape.iter().product();
        let words = words(name, k as u64, count);
        match &self.kind {
            &Kind::Uniform(lo, hi) => Numbers::F32(uniform(name, k as u64, count, lo, hi)),
            Kind::Ties => Numbers::F32(words.map(|w| (w % 5 - 2) as f32).collect()),
            &Kind::Int(lo, hi) => Numbers::I32(words.map(|w| (lo + w % (hi - lo)) as i32).collect()),
            Kind::Bool => Numbers::Bool(words.map(|w| w & 1 == 1).collect()),
            Kind::Floats(values) => Numbers::F32(values.clone()),
            Kind::Ints(values) => Numbers::I32(values.clone()),
        }
    }

    /// Input `k` of the row `name`, on the device.
    pub fn tensor(&self, device: &Device, name: &str, k: usize) -> Tensor {
        match self.numbers(name, k) {
            Numbers::F32(values) => Tensor::from_vec(device, values, &self.shape),
            Numbers::I32(values) => Tensor::from_vec(device, values, &self.shape),
            Numbers::Bool(values) => Tensor::from_vec(device, values, &self.shape),
        }
    }

    /// Whether it has a gradient.
    pub fn is_float(&self) -> bool {
        matches!(self.kind, Kind::Uniform(..) | Kind::Ties | Kind::Floats(_))
    }
}

/// A hash of all inputs of a row: kinds, shapes and bits.
pub fn fingerprint(name: &str, inputs: &[Input]) -> String {
    let mut words = Vec::new();
    for (k, input) in inputs.iter().enumerate() {
        let (kind, bits): (u64, Vec<u32>) = match input.numbers(name, k) {
            Numbers::F32(values) => (0, values.iter().map(|v| v.to_bits()).collect()),
            Numbers::I32(values) => (1, values.iter().map(|&v| v as u32).collect()),
            Numbers::Bool(values) => (2, values.iter().map(|&v| u32::from(v)).collect()),
        };
        words.extend([kind, input.shape.len() as u64]);
        words.extend(input.shape.iter().map(|&d| d as u64));
        words.extend(bits.into_iter().map(u64::from));
    }
    format!("{:016x}", fnv(words))
}
