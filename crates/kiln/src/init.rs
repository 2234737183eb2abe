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
        let mut draws = self.draws();
        self.filled(shape, |values| fill(&mut draws, values))
    }

    fn filled(&self, shape: &[usize], fill: impl FnOnce(&mut [f32])) -> Param {
        let bytes = shape.iter().try_fold(4u64, |bytes, &extent| bytes.checked_mul(extent as u64));
        let most = self.group.device().budget().min(4 * i32::MAX as u64);
        let Some(bytes) = bytes.filter(|&bytes| bytes <= most) else {
            return self.zeros(shape); // which says why it cannot be
        };
        let mut values = vec![0.0; (bytes / 4) as usize];
        fill(&mut values);
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

    /// From a normal distribution, cut to `range`; PyTorch's is −2..2, whatever mean and deviation are.
    pub fn trunc_normal(&mut self, shape: &[usize], mean: f64, std: f64, range: Range<f64>) -> Param {
        let (low, high) = (range.start, range.end.max(range.start));
        // how dense it is at its densest in the range, as a logarithm
        let density = |x: f64| -0.5 * ((x - mean) / std).powi(2);
        let peak = density(mean.max(low).min(high));
        // numbers of the normal distribution where enough of it lies in the range, else even ones, let through as
        // often as they are dense
        let wide = low < mean + 0.5 * std && high > mean - 0.5 * std && high - low > std;
        let proper = std > 0.0 && high > low && std.is_finite() && mean.is_finite();
        // ten deviations further on there is nothing
        let (low, high) = (low.max(mean.min(high) - 10.0 * std), high.min(mean.max(low) + 10.0 * std));
        self.values(shape, |draws, values| {
            for value in values {
                *value = loop {
                    if !proper {
                        break mean.max(range.start).min(range.end.max(range.start));
                    }
                    let x = if wide { mean + std * draws.gauss() } else { low + (high - low) * draws.unit() };
                    if (low..=high).contains(&x) && (wide || draws.unit().ln() <= density(x) - peak) {
                        break x;
                    }
                } as f32;
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
    ///
    /// Source: Glorot & Bengio 2010, as [`Init::xavier_uniform`], eq. 12.
    pub fn xavier_normal(&mut self, shape: &[usize], gain: f64) -> Param {
        let (fan_in, fan_out) = fans(shape);
        self.normal(shape, 0.0, gain * (2.0 / (fan_in + fan_out)).sqrt())
    }

    /// U(-a, a) with a = √(6 / ((1 + slope²) · fan_in)); `slope` is that of the leaky ReLU which
    /// follows, 0 for a ReLU.
    ///
    /// Source: He et al. 2015, "Delving deep into rectifiers", eq. 15.
    pub fn kaiming_uniform(&mut self, shape: &[usize], slope: f64) -> Param {
        self.kaiming_uniform_for(shape, Fan::In, Nonlinearity::LeakyRelu(slope))
    }

    /// N(0, 2 / ((1 + slope²) · fan_in)); `slope` as for [`Init::kaiming_uniform`].
    ///
    /// Source: He et al. 2015, "Delving deep into rectifiers", eq. 15.
    pub fn kaiming_normal(&mut self, shape: &[usize], slope: f64) -> Param {
        self.kaiming_normal_for(shape, Fan::In, Nonlinearity::LeakyRelu(slope))
    }

    /// U(-a, a) with a = gain · √(3 / fan), for what follows the layer: PyTorch's `kaiming_uniform_` with its `mode` and
    /// `nonlinearity`.
    pub fn kaiming_uniform_for(&mut self, shape: &[usize], fan: Fan, follows: Nonlinearity) -> Param {
        let bound = follows.gain() * (3.0 / fan.of(shape)).sqrt();
        self.uniform(shape, -bound..bound)
    }

    /// N(0, gain² / fan), for what follows the layer: PyTorch's `kaiming_normal_`.
    pub fn kaiming_normal_for(&mut self, shape: &[usize], fan: Fan, follows: Nonlinearity) -> Param {
        self.normal(shape, 0.0, follows.gain() / fan.of(shape).sqrt())
    }

    /// The identity, of a matrix that need not be square: it hands on its inputs. Of another rank, an error.
    #[track_caller]
    pub fn eye(&self, shape: &[usize]) -> Param {
        let &[rows, columns] = shape else { return self.refused("eye", shape, "a matrix") };
        self.filled(shape, |values| (0..rows.min(columns)).for_each(|i| values[i * columns + i] = 1.0))
    }

    /// A convolution `[outputs, inputs/groups, window..]` that hands on its channels, as many as there are on both
    /// sides of each group: 1 in the middle of the window. Of another rank than 3 to 5, or of outputs that the groups
    /// do not divide, an error.
    ///
    /// Source: Zagoruyko & Komodakis 2017, "DiracNets", eq. 4.
    #[track_caller]
    pub fn dirac(&self, shape: &[usize], groups: usize) -> Param {
        if !(3..=5).contains(&shape.len()) {
            return self.refused("dirac", shape, "[outputs, inputs/groups, window..] of 3 to 5 axes");
        }
        if groups == 0 || !shape[0].is_multiple_of(groups) {
            return self.refused("dirac", shape, "outputs that the groups divide");
        }
        let (inputs, each) = (shape[1], shape[0] / groups);
        self.filled(shape, |values| {
            let window: usize = shape[2..].iter().product();
            let middle = shape[2..].iter().fold(0, |at, &extent| at * extent + extent / 2);
            let channels = (0..groups).flat_map(|group| (0..each.min(inputs)).map(move |channel| (group, channel)));
            for (group, channel) in channels {
                if let Some(value) = values.get_mut(((group * each + channel) * inputs + channel) * window + middle) {
                    *value = 1.0;
                }
            }
        })
    }

    /// A matrix from N(0, std²) of which in each column the share `sparsity` of the rows, rounded up, is 0. Of another
    /// rank, an error.
    ///
    /// Source: Martens 2010, "Deep learning via Hessian-free optimization", §5.
    #[track_caller]
    pub fn sparse(&mut self, shape: &[usize], sparsity: f64, std: f64) -> Param {
        let &[rows, columns] = shape else { return self.refused("sparse", shape, "a matrix") };
        let zeros = ((sparsity * rows as f64).ceil().max(0.0) as usize).min(rows);
        self.values(shape, |draws, values| {
            draws.normal(values, 0.0, std);
            let mut order: Vec<usize> = (0..rows).collect();
            for column in 0..columns {
                // the first `zeros` of a shuffle (Fisher & Yates)
                for at in 0..zeros {
                    let with = at + ((draws.unit() * (rows - at) as f64) as usize).min(rows - at - 1);
                    order.swap(at, with);
                    values[order[at] * columns + column] = 0.0;
                }
            }
        })
    }

    /// A parameter that carries an error about its shape.
    #[track_caller]
    fn refused(&self, op: &'static str, shape: &[usize], why: &'static str) -> Param {
        let zero = Tensor::zeros(self.group.device(), [0usize]);
        self.param(&zero.bad_argument(op, "shape", format!("{shape:?}"), why))
    }

    /// A matrix `[rows, all the rest]` whose rows (or columns, where there are fewer) are orthogonal
    /// with length `gain`.
    ///
    /// Source: Saxe, McClelland & Ganguli 2013, "Exact solutions to the nonlinear dynamics of
    /// learning in deep linear neural networks".
    pub fn orthogonal(&mut self, shape: &[usize], gain: f64) -> Param {
        let rows = shape.first().copied().unwrap_or(1);
        self.values(shape, |draws, values| {
            let cols = values.len() / rows.max(1);
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

/// Which side of a weight its spread is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fan {
    /// Inputs of a unit: keeps the size of activations on the way forward.
    #[default]
    In,
    /// Outputs: keeps the size of gradients on the way back.
    Out,
}

impl Fan {
    fn of(self, shape: &[usize]) -> f64 {
        let (inputs, outputs) = fans(shape);
        if self == Fan::In { inputs } else { outputs }
    }
}

/// What follows a layer, for the gain of its first weights: PyTorch's `calculate_gain`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a linear or convolution layer: 1.
    Linear,
    /// 1.
    Sigmoid,
    /// 5/3.
    Tanh,
    /// √2.
    Relu,
    /// √(2 / (1 + slope²)); PyTorch's slope is 0.01.
    LeakyRelu(f64),
    /// 3/4.
    Selu,
}

impl Nonlinearity {
    /// The factor of the first weights' deviation: how much larger than before nothing they are, so that activations keep
    /// their size.
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu => 2f64.sqrt(),
            Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Nonlinearity::Selu => 0.75,
        }
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
    let window: f64 = shape.iter().skip(2).map(|&extent| extent as f64).product();
    let outputs = shape.first().copied().unwrap_or(1) as f64;
    let inputs = shape.get(1).map_or(outputs, |&inputs| inputs as f64);
    ((inputs * window).max(1.0), (outputs * window).max(1.0))
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
