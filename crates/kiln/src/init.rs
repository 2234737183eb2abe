//! Initial weights, drawn on the host from a counter-based generator: the same seed gives the same
//! bits on every machine.

use std::f64::consts::TAU;
use std::ops::Range;

use kiln_device::philox::Stream;

use crate::{CellGroup, Device, Param, State, Tensor};

/// Where a model's first weights come from: a device and a seed. Its parameters and buffers are one
/// group: a step that is refused changes none of them.
///
/// Every draw takes the next stream of random numbers, so the weights depend on the seed and on the
/// order of construction alone.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let mut init = Init::new(&device, 42);
/// let weight = init.xavier_uniform(&[16, 8], 1.0);
/// assert_eq!(weight.value().dims::<2>()?, [16, 8]);
/// # Ok::<(), Error>(())
/// ```
pub struct Init {
    group: CellGroup,
    seed: u64,
    next: u64,
}

impl Init {
    /// Draws for `device` from `seed`.
    pub fn new(device: &Device, seed: u64) -> Self {
        Self { group: CellGroup::new(device), seed, next: 0 }
    }

    /// The device that the weights live on.
    pub fn device(&self) -> &Device {
        self.group.device()
    }

    /// A parameter of the given values.
    #[track_caller]
    pub fn param(&self, value: &Tensor) -> Param {
        self.group.param(value)
    }

    /// A buffer of the given values, which is saved but not trained.
    #[track_caller]
    pub fn state(&self, value: &Tensor) -> State {
        self.group.state(value)
    }

    /// The key of a stream of random numbers, for a layer that draws while it runs.
    pub fn key(&mut self) -> u64 {
        let mut draws = self.draws();
        u64::from(draws.word()) << 32 | u64::from(draws.word())
    }

    /// A parameter whose elements `fill` writes, in row-major order.
    pub fn values(&mut self, shape: &[usize], fill: impl FnOnce(&mut Draws, &mut [f32])) -> Param {
        let mut values = vec![0.0; shape.iter().product()];
        fill(&mut self.draws(), &mut values);
        self.param(&Tensor::from_vec(self.group.device(), values, shape))
    }

    /// All elements `value`.
    pub fn constant(&self, shape: &[usize], value: f64) -> Param {
        self.param(&Tensor::full(self.group.device(), shape, value))
    }

    /// All zeros.
    pub fn zeros(&self, shape: &[usize]) -> Param {
        self.constant(shape, 0.0)
    }

    /// All ones.
    pub fn ones(&self, shape: &[usize]) -> Param {
        self.constant(shape, 1.0)
    }

    /// Evenly from `range`.
    pub fn uniform(&mut self, shape: &[usize], range: Range<f64>) -> Param {
        self.values(shape, |draws, values| draws.uniform(values, range))
    }

    /// From a normal distribution.
    pub fn normal(&mut self, shape: &[usize], mean: f64, std: f64) -> Param {
        self.values(shape, |draws, values| draws.normal(values, mean, std))
    }

    /// From a normal distribution, drawn again until inside of `range`.
    pub fn trunc_normal(&mut self, shape: &[usize], mean: f64, std: f64, range: Range<f64>) -> Param {
        self.values(shape, |draws, values| {
            for value in values {
                // A range out of reach would take for ever: the nearest end is given then.
                let drawn = (0..1000).map(|_| mean + std * draws.gauss()).find(|x| range.contains(x));
                *value = drawn.unwrap_or_else(|| mean.clamp(range.start, range.end.max(range.start))) as f32;
            }
        })
    }

    /// PyTorch's default for linear and convolution layers: U(-1/√fan, 1/√fan) with the given fan-in,
    /// which is what `kaiming_uniform_(a=√5)` comes to.
    pub fn fan_in_uniform(&mut self, shape: &[usize], fan_in: usize) -> Param {
        let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
        self.uniform(shape, -bound..bound)
    }

    /// U(-a, a) with a = gain · √(6 / (fan_in + fan_out)).
    ///
    /// Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward
    /// neural networks", eq. 16.
    pub fn xavier_uniform(&mut self, shape: &[usize], gain: f64) -> Param {
        let (fan_in, fan_out) = fans(shape);
        let bound = gain * (6.0 / (fan_in + fan_out)).sqrt();
        self.uniform(shape, -bound..bound)
    }

    /// N(0, gain² · 2 / (fan_in + fan_out)).
    pub fn xavier_normal(&mut self, shape: &[usize], gain: f64) -> Param {
        let (fan_in, fan_out) = fans(shape);
        self.normal(shape, 0.0, gain * (2.0 / (fan_in + fan_out)).sqrt())
    }

    /// U(-a, a) with a = √(6 / ((1 + slope²) · fan_in)); `slope` is that of the leaky ReLU which
    /// follows, 0 for a ReLU.
    ///
    /// Source: He et al. 2015, "Delving deep into rectifiers", eq. 15.
    pub fn kaiming_uniform(&mut self, shape: &[usize], slope: f64) -> Param {
        let bound = (6.0 / ((1.0 + slope * slope) * fans(shape).0)).sqrt();
        self.uniform(shape, -bound..bound)
    }

    /// N(0, 2 / ((1 + slope²) · fan_in)).
    pub fn kaiming_normal(&mut self, shape: &[usize], slope: f64) -> Param {
        self.normal(shape, 0.0, (2.0 / ((1.0 + slope * slope) * fans(shape).0)).sqrt())
    }

    /// A matrix `[rows, all the rest]` whose rows (or columns, where there are fewer) are orthogonal
    /// with length `gain`.
    ///
    /// Source: Saxe, McClelland & Ganguli 2013, "Exact solutions to the nonlinear dynamics of
    /// learning in deep linear neural networks".
    pub fn orthogonal(&mut self, shape: &[usize], gain: f64) -> Param {
        let rows = shape.first().copied().unwrap_or(1);
        let cols: usize = shape.iter().skip(1).product();
        self.values(shape, |draws, values| {
            let (count, length) = (rows.min(cols), rows.max(cols));
            let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
            while basis.len() < count {
                let mut v: Vec<f64> = (0..length).map(|_| draws.gauss()).collect();
                orthogonalise(&mut v, &basis);
                basis.push(v);
            }
            for (index, value) in values.iter_mut().enumerate() {
                let (row, col) = (index / cols, index % cols);
                let (which, at) = if rows <= cols { (row, col) } else { (col, row) };
                *value = (gain * basis[which][at]) as f32;
            }
        })
    }

    /// The next stream of draws.
    fn draws(&mut self) -> Draws {
        let draws = Draws::new(self.seed, self.next);
        self.next += 1;
        draws
    }
}

/// Random numbers of one stream, in order.
pub struct Draws {
    stream: Stream,
    at: u64,
    spare: Option<f64>,
}

impl Draws {
    /// Stream number `stream` of `seed`, from its start.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { stream: Stream::new(seed, stream), at: 0, spare: None }
    }

    /// The next random word.
    pub fn word(&mut self) -> u32 {
        let (block, lane) = ((self.at / 4) as u32, (self.at % 4) as usize);
        self.at += 1;
        self.stream.words(block)[lane]
    }

    /// The next number evenly from 0..1, a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.word() >> 8) / f64::from(1 << 24)
    }

    /// The next standard normal number (Box & Muller 1958).
    pub fn gauss(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * ((f64::from(self.word()) + 1.0) / 4294967296.0).ln()).sqrt();
        let angle = TAU * f64::from(self.word()) / 4294967296.0;
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// Fills `values` evenly from `range`.
    pub fn uniform(&mut self, values: &mut [f32], range: Range<f64>) {
        values.fill_with(|| (range.start + (range.end - range.start) * self.unit()) as f32);
    }

    /// Fills `values` from a normal distribution.
    pub fn normal(&mut self, values: &mut [f32], mean: f64, std: f64) {
        values.fill_with(|| (mean + std * self.gauss()) as f32);
    }
}

/// Inputs and outputs of one unit of a weight `[outputs, inputs, window..]`, PyTorch's reading.
fn fans(shape: &[usize]) -> (f64, f64) {
    let window: usize = shape.iter().skip(2).product();
    let outputs = shape.first().copied().unwrap_or(1);
    let inputs = shape.get(1).copied().unwrap_or(outputs);
    ((inputs * window).max(1) as f64, (outputs * window).max(1) as f64)
}

/// Takes out of `v` what lies along `basis`, and makes its length 1. Gram-Schmidt done twice is
/// orthogonal to rounding (Giraud et al. 2005).
fn orthogonalise(v: &mut [f64], basis: &[Vec<f64>]) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    for _ in 0..2 {
        for b in basis {
            let along = dot(v, b);
            v.iter_mut().zip(b).for_each(|(x, y)| *x -= along * y);
        }
    }
    let length = dot(v, v).sqrt();
    v.iter_mut().for_each(|x| *x /= length);
}
