//! Where in the sequence an element stands: sinusoidal, learned and rotary positions, and ALiBi.

use crate::init::Init;
use crate::nn::{Forward, Module};
use crate::{Device, Param, Tensor};

/// Rows `offset` to `offset + length` of a table. The offset travels at run time, so that each token of a generated
/// text runs the same plan; a row past the end of the table is an [`Error::Index`](crate::Error::Index) on reading.
#[track_caller]
fn rows(table: &Tensor, length: usize, offset: usize) -> Tensor {
    let places = Tensor::arange(table.device(), 0, length as i32, 1) + offset as i32;
    table.index_select(0, &places)
}

/// The extent of the last axis but one: time in `[.., time, features]`.
fn length(x: &Tensor) -> usize {
    x.shape().ok().and_then(|shape| shape.len().checked_sub(2).map(|at| shape[at])).unwrap_or(0)
}

/// Sines and cosines of a position at wavelengths from 2π to 10000·2π:
/// p[t, 2i] = sin(t/10000^(2i/width)), p[t, 2i+1] = cos(t/10000^(2i/width)).
///
/// Shapes: `x [.., time, width]` → the same, with the positions added.
///
/// Source: Vaswani et al. 2017, "Attention is all you need", §3.5.
#[derive(Module)]
pub struct SinusoidalPositions {
    table: Tensor,
}

impl SinusoidalPositions {
    /// For sequences of up to `longest` elements of `width` numbers.
    pub fn new(longest: usize, width: usize, device: &Device) -> Self {
        let mut table = Vec::with_capacity(longest * width);
        for t in 0..longest {
            for i in 0..width {
                let angle = t as f64 / 10000f64.powf((i - i % 2) as f64 / width as f64);
                table.push(if i % 2 == 0 { angle.sin() } else { angle.cos() } as f32);
            }
        }
        Self { table: Tensor::from_vec(device, table, &[longest, width]) }
    }

    /// Adds the positions from `offset` on: shapes and errors as for [`forward`](Forward::forward), for elements that come later.
    #[track_caller]
    pub fn forward_at(&self, x: &Tensor, offset: usize) -> Tensor {
        x + rows(&self.table, length(x), offset)
    }
}

impl Forward for SinusoidalPositions {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_at(x, 0)
    }
}

/// A trained vector for each position, added to the element there.
///
/// Shapes: `x [.., time, width]` → the same; `weight [longest, width]`.
#[derive(Module)]
pub struct LearnedPositions {
    /// The table, drawn from N(0, 0.02²) as in GPT-2.
    pub weight: Param,
}

impl LearnedPositions {
    /// For sequences of up to `longest` elements of `width` numbers.
    pub fn new(longest: usize, width: usize, init: &mut Init) -> Self {
        Self { weight: init.normal(&[longest, width], 0.0, 0.02) }
    }

    /// Adds the positions from `offset` on: shapes and errors as for [`forward`](Forward::forward), for elements that come later.
    #[track_caller]
    pub fn forward_at(&self, x: &Tensor, offset: usize) -> Tensor {
        x + rows(&self.weight, length(x), offset)
    }
}

impl Forward for LearnedPositions {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_at(x, 0)
    }
}

/// Rotary positions: each pair of numbers of a query or key is turned by an angle that grows with the position, so
/// that their product depends on the distance alone. Pair i turns by t/base^(2i/width).
///
/// Shapes: `x [.., time, features]` → the same, features ≥ width; those past the width stay.
///
/// Source: Su et al. 2021, "RoFormer: enhanced transformer with rotary position embedding", eq. 34.
#[derive(Module)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
    width: usize,
    interleaved: bool,
}

impl Rotary {
    /// For sequences of up to `longest` elements, turning the first `width` numbers of each, an even number; base
    /// 10000. A pair is number i and number i + width/2 (GPT-NeoX, Llama).
    pub fn new(longest: usize, width: usize, device: &Device) -> Self {
        Self::with_base(longest, width, 10000.0, device)
    }

    /// The same with another base.
    pub fn with_base(longest: usize, width: usize, base: f64, device: &Device) -> Self {
        let half = width / 2;
        // in f64 on the host: a large position times a frequency has too few digits in f32
        let angles: Vec<f64> = (0..longest)
            .flat_map(|t| (0..half).map(move |i| t as f64 / base.powf(2.0 * i as f64 / width as f64)))
            .collect();
        let table = |f: fn(f64) -> f64| {
            Tensor::from_vec(device, angles.iter().map(|&a| f(a) as f32).collect(), &[longest, half])
        };
        Self { cos: table(f64::cos), sin: table(f64::sin), width, interleaved: false }
    }

    /// Makes neighbours the pairs: numbers 2i and 2i + 1 (RoFormer, GPT-J).
    #[must_use]
    pub fn interleaved(mut self) -> Self {
        self.interleaved = true;
        self
    }

    /// Turns `x`, whose first element stands at `offset`.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape) if `x` has fewer features than the width, or the width
    /// is odd; a position past the table is an [`Error::Index`](crate::Error::Index) on reading.
    #[track_caller]
    pub fn forward_at(&self, x: &Tensor, offset: usize) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        let features = shape.last().copied().unwrap_or(0);
        if shape.len() < 2 || features < self.width || !self.width.is_multiple_of(2) {
            return Tensor::bad_shape("rotary", &[x, &self.cos], "[.., time, features], features ≥ an even width");
        }
        let length = length(x);
        let (cos, sin) = (rows(&self.cos, length, offset), rows(&self.sin, length, offset));
        let half = self.width / 2;
        let turned = if self.interleaved {
            let mut pairs = shape.to_vec();
            pairs.splice(shape.len() - 1.., [half, 2]);
            let pairs = x.narrow(-1, 0, self.width).reshape(pairs);
            let (a, b) = (pairs.select(-1, 0), pairs.select(-1, 1));
            let both = Tensor::stack(&[&(&a * &cos - &b * &sin), &(&b * &cos + &a * &sin)], -1);
            both.flatten(-2, -1)
        } else {
            let (a, b) = (x.narrow(-1, 0, half), x.narrow(-1, half as i64, half));
            Tensor::cat(&[&(&a * &cos - &b * &sin), &(&b * &cos + &a * &sin)], -1)
        };
        if features == self.width {
            return turned;
        }
        Tensor::cat(&[&turned, &x.narrow(-1, self.width as i64, features - self.width)], -1)
    }
}

impl Forward for Rotary {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_at(x, 0)
    }
}

/// What ALiBi adds to the scores: −slope of the head × distance, `[heads, queries, keys]`. The first query stands
/// at `offset`. The slopes are 2^(−8/heads), 2^(−16/heads), …; for a number of heads that is not a power of two,
/// those of the power below and then every second one of the power above.
///
/// Source: Press, Smith & Lewis 2022, "Train short, test long: attention with linear biases", §3.
#[track_caller]
pub fn alibi(device: &Device, heads: usize, queries: usize, keys: usize, offset: usize) -> Tensor {
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let slope = |i: usize, of: usize| 2f64.powf(-8.0 * (i + 1) as f64 / of as f64) as f32;
    let mut slopes: Vec<f32> = (0..power).map(|i| slope(i, power)).collect();
    slopes.extend((0..heads - power).map(|i| slope(2 * i, 2 * power)));
    let slopes = Tensor::from_vec(device, slopes, &[heads, 1, 1]);
    let rows = Tensor::arange(device, 0, queries as i32, 1).unsqueeze(-1) + offset as i32;
    let distance = (Tensor::arange(device, 0, keys as i32, 1) - rows).abs();
    slopes * distance * -1.0
}
