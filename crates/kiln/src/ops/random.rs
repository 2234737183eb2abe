//! Random tensors from counters: element a of call c under key k is a function of (k, c, a) and of nothing else,
//! so the same seed gives the same numbers on every adapter, in whatever order things run.

use super::{Lit, Number};
use crate::error::{At, Error, List};
use crate::node::{Node, Op, Random, Value};
use crate::ops::view::Extents;
use crate::{DType, Device, Shape, Tensor};
use std::sync::atomic::{AtomicU32, Ordering};

/// A stream of random tensors. Each call draws new numbers.
///
/// Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
///
/// ```
/// # use kiln::prelude::*;
/// let device = Device::open()?;
/// let rng = Rng::new(&device, 7);
/// let x = rng.normal([2, 3]);
/// assert_eq!(x.to_vec::<f32>()?, Rng::new(&device, 7).normal([2, 3]).to_vec::<f32>()?);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Rng {
    device: Device,
    seed: u64,
    calls: AtomicU32,
}

impl Rng {
    /// The stream of `seed`, from its beginning: each call on it draws new numbers, and another stream of the same seed draws
    /// the same ones.
    pub fn new(device: &Device, seed: u64) -> Self {
        Self { device: device.clone(), seed, calls: AtomicU32::new(0) }
    }

    /// Uniform in [0, 1), multiples of 2⁻²⁴, `F32` of the given shape: the same bits on every adapter.
    #[track_caller]
    pub fn uniform(&self, shape: impl Extents) -> Tensor {
        self.draw(Random::Uniform, shape)
    }

    /// Standard normal, `F32` of the given shape (Box & Muller 1958): within 1e-6 on every adapter.
    #[track_caller]
    pub fn normal(&self, shape: impl Extents) -> Tensor {
        self.draw(Random::Normal, shape)
    }

    /// 32 random bits each, as `U32`.
    #[track_caller]
    pub fn words(&self, shape: impl Extents) -> Tensor {
        self.draw(Random::Word, shape)
    }

    /// True with probability `p`, `Bool` of the given shape; always from 1 on, never at 0, below it, or NaN.
    #[track_caller]
    pub fn bernoulli(&self, p: f32, shape: impl Extents) -> Tensor {
        self.uniform(shape).lt(p)
    }

    #[track_caller]
    fn draw(&self, kind: Random, shape: impl Extents) -> Tensor {
        let shape = match checked(&self.device, "random", &shape.list()) {
            Ok(shape) => shape,
            Err(invalid) => return invalid,
        };
        let call = word(&self.device, self.calls.fetch_add(1, Ordering::Relaxed));
        stream(kind, &self.device, self.seed, &call, shape)
    }
}

/// A shape from what a user gave, or a tensor that carries the error.
#[track_caller]
pub(crate) fn checked(device: &Device, op: &'static str, list: &[i64]) -> Result<Shape, Tensor> {
    let dims: Option<Vec<usize>> = list.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = dims.and_then(|d| Shape::new(&d));
    let at = Tensor::origin_at(At::here());
    let why = "extents of at least 0, at most 8 axes";
    match shape {
        Some(shape) if shape.numel() <= i32::MAX as usize => Ok(shape),
        Some(shape) => {
            let (needs, has) = (shape.numel() as u64, i32::MAX as u64);
            Err(Tensor::invalid(
                device,
                Error::Limit { op, shapes: List(Vec::new()), what: "elements", needs, has, at },
            ))
        }
        None => {
            Err(Tensor::invalid(device, Error::Argument { op, name: "shape", value: format!("{list:?}"), why, at }))
        }
    }
}

/// A word of the host.
#[track_caller]
fn word(device: &Device, bits: u32) -> Tensor {
    Node::leaf(device, Op::Scalar(bits), Shape::SCALAR, DType::U32, At::here(), Value::Pending)
}

/// The numbers of call `counter` (a `U32` of rank 0, on the host or in a cell) of the stream of `seed`.
#[track_caller]
pub(crate) fn stream(kind: Random, device: &Device, seed: u64, counter: &Tensor, shape: Shape) -> Tensor {
    let (low, high) = (word(device, seed as u32), word(device, (seed >> 32) as u32));
    let dtype = if kind == Random::Word { DType::U32 } else { DType::F32 };
    Tensor::make(Op::Random(kind), &[&low, &high, counter], shape, dtype)
}

/// Dropout's mask: 1/(1−p) with probability 1−p, else 0, for call `counter` of the stream of `seed`.
#[track_caller]
pub fn dropout_mask(device: &Device, seed: u64, counter: &Tensor, p: f32, shape: Shape) -> Tensor {
    let kept = stream(Random::Uniform, device, seed, counter, shape).ge(p);
    let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    let float = Tensor::zero_of(device, DType::F32);
    Tensor::where_(&kept, scale.beside(&float), Lit(0.0).beside(&float))
}

/// What a kernel needs to draw a dropout mask by itself.
pub(crate) struct Drawn {
    /// `[4]` of `U32`: the key, the call, and the least of a word's upper 24 bits that keeps.
    pub(crate) words: Tensor,
    /// What is kept is multiplied by this.
    pub(crate) factor: Tensor,
}

/// What `mask` is drawn from, if [`dropout_mask`] has made it.
pub(crate) fn drawn(mask: &Tensor) -> Option<Drawn> {
    let inputs_of = |tensor: &Tensor, fits: fn(&Op) -> bool| Some(tensor.inputs()).filter(|_| fits(&tensor.0.op));
    let [kept, factor, zero] = &inputs_of(mask, |op| matches!(op, Op::Where))?[..] else { return None };
    let [uniform, p] = &inputs_of(kept, |op| matches!(op, Op::Binary(row) if row.name == "ge"))?[..] else {
        return None;
    };
    let stream = inputs_of(uniform, |op| matches!(op, Op::Random(Random::Uniform)))?;
    let numbers = [factor, p].iter().all(|t| matches!(t.0.op, Op::Scalar(_)));
    if !numbers || !matches!(zero.0.op, Op::Const(0)) || uniform.shape_or_scalar() != mask.shape_or_scalar() {
        return None;
    }
    // a word's upper 24 bits are at least p 2^24 where the uniform number that they stand for is at least p
    let least = (p * Lit(16_777_216.0)).ceil().maximum(Lit(0.0)).minimum(Lit(16_777_216.0)).cast(DType::U32);
    let words: Vec<Tensor> = stream.iter().chain([&least]).map(|word| word.to_shape(Shape::of(&[1]))).collect();
    Some(Drawn { words: Tensor::cat(&words, 0), factor: factor.clone() })
}

/// 1 for each element of `shape` that a mask drawn from `words` keeps, else 0.
pub(crate) fn kept(words: &Tensor, shape: Shape) -> Tensor {
    let [low, high, call, least] = [0, 1, 2, 3].map(|i| words.slice(0, i, i + 1, 1).to_shape(Shape::SCALAR));
    let uniform = Tensor::make(Op::Random(Random::Uniform), &[&low, &high, &call], shape, DType::F32);
    uniform.ge(least.cast(DType::F32) * Lit(1.0 / 16_777_216.0)).cast(DType::F32)
}

/// Uniform numbers in [0, 1) for call `counter` of the stream of `seed`.
#[track_caller]
pub(crate) fn uniform_call(device: &Device, seed: u64, counter: &Tensor, shape: Shape) -> Tensor {
    stream(Random::Uniform, device, seed, counter, shape)
}
