//! Functions of each element, or along one axis, as layers for [`Sequential`](super::Sequential).

use super::dropout::Noise;
use super::{Forward, Module};
use crate::init::Init;
use crate::{Lit, Param, Rng, Tensor, composed};

/// A layer without settings: its name and the function it applies.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident => |$x:ident| $y:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone, Copy, Default)]
        pub struct $name;

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                $y
            }
        }
    )*};
}

plain! {
    /// The input itself.
    Identity => |x| x.clone();
    /// max(x, 0).
    Relu => |x| x.relu();
    /// min(max(x, 0), 6).
    Relu6 => |x| x.relu6();
    /// x·Φ(x), with Φ through erf.
    Gelu => |x| x.gelu();
    /// GELU by the tanh formula.
    GeluTanh => |x| x.gelu_tanh();
    /// Hyperbolic tangent.
    Tanh => |x| x.tanh();
    /// 1/(1 + e⁻ˣ).
    Sigmoid => |x| x.sigmoid();
    /// ln of the sigmoid.
    LogSigmoid => |x| x.logsigmoid();
    /// x·sigmoid(x).
    Silu => |x| x.silu();
    /// x·tanh(softplus(x)).
    Mish => |x| x.mish();
    /// x − tanh(x).
    Tanhshrink => |x| x.tanhshrink();
    /// Softmax over the channels of each place: `[batch, channels, h, w]`, or without the batch.
    Softmax2d => |x| match x.rank() {
        3 | 4 => x.softmax(-3),
        _ => Tensor::bad_shape("softmax2d", &[x], "[batch, channels, h, w] or [channels, h, w]"),
    };
    /// x/(1 + |x|).
    Softsign => |x| x.softsign();
    /// Scaled ELU.
    Selu => |x| x.selu();
    /// x·relu6(x + 3)/6.
    Hardswish => |x| x.hardswish();
    /// relu6(x + 3)/6.
    Hardsigmoid => |x| x.hardsigmoid();
}

/// A layer with one setting: its name, the setting with PyTorch's default, the function.
macro_rules! setting {
    ($($(#[$doc:meta])* $name:ident($ty:ty = $default:expr) => |$x:ident, $s:ident| $y:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone, Copy)]
        pub struct $name(pub $ty);

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                let $s = self.0;
                $y
            }
        }
    )*};
}

setting! {
    /// x where positive, else slope·x; 0.01 by default.
    LeakyRelu(f32 = 0.01) => |x, slope| x.leaky_relu(slope);
    /// x where positive, else alpha·(eˣ − 1); 1 by default.
    Elu(f32 = 1.0) => |x, alpha| x.elu(alpha);
    /// eˣ over its sum along the axis, the last by default.
    Softmax(i64 = -1) => |x, axis| x.softmax(axis);
    /// Softmax of −x along the axis, the last by default.
    Softmin(i64 = -1) => |x, axis| (-x).softmax(axis);
    /// max(x, 0) + min(0, alpha·(e^(x/alpha) − 1)); 1 by default.
    Celu(f32 = 1.0) => |x, alpha| x.celu(alpha);
    /// x where |x| > lambda, else 0; 0.5 by default.
    Hardshrink(f32 = 0.5) => |x, lambda| x.hardshrink(lambda);
    /// x moved towards 0 by lambda, 0 where it is nearer than that; 0.5 by default.
    Softshrink(f32 = 0.5) => |x, lambda| if lambda < 0.0 {
        x.bad_argument("softshrink", "lambda", lambda, "at least 0")
    } else {
        x.softshrink(lambda)
    };
    /// The first half along the axis times the sigmoid of the second, the last axis by default.
    ///
    /// Source: Dauphin et al. 2017, "Language modeling with gated convolutional networks", eq. 1.
    Glu(i64 = -1) => |x, axis| glu(x, axis);
    /// The logarithm of the softmax along the axis, the last by default.
    LogSoftmax(i64 = -1) => |x, axis| x.log_softmax(axis);
}

/// x between `low` and `high`, which are −1 and 1 by default.
#[derive(Module, Debug, Clone, Copy)]
pub struct Hardtanh {
    /// The least result.
    pub low: f32,
    /// The greatest result.
    pub high: f32,
}

impl Default for Hardtanh {
    fn default() -> Self {
        Self { low: -1.0, high: 1.0 }
    }
}

impl Forward for Hardtanh {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if self.low >= self.high {
            return x.bad_argument("hardtanh", "low, high", format!("{}, {}", self.low, self.high), "low below high");
        }
        x.hardtanh(self.low, self.high)
    }
}

/// ln(1 + e^(beta·x)) / beta, and x itself where beta·x is above the threshold; 1 and 20 by default.
#[derive(Module, Debug, Clone, Copy)]
pub struct Softplus {
    /// How sharp the bend is.
    pub beta: f32,
    /// Where the function is taken as linear.
    pub threshold: f32,
}

impl Default for Softplus {
    fn default() -> Self {
        Self { beta: 1.0, threshold: 20.0 }
    }
}

impl Forward for Softplus {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let scaled = x * self.beta;
        Tensor::where_(&scaled.gt(self.threshold), x, scaled.softplus() / self.beta)
    }
}

/// x where it is above the threshold, else `value`.
#[derive(Module, Debug, Clone, Copy)]
pub struct Threshold {
    /// What x must exceed.
    pub threshold: f32,
    /// What stands for the rest.
    pub value: f32,
}

impl Forward for Threshold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        Tensor::where_(&x.le(self.threshold), self.value, x)
    }
}

/// x where positive, else a·x with trained a: one number, or one for each channel (axis 1).
///
/// Source: He et al. 2015, "Delving deep into rectifiers", eq. 1.
#[derive(Module)]
pub struct PRelu {
    /// The slopes, 0.25 at first: `[1]` or `[channels]`.
    pub weight: Param,
}

impl PRelu {
    /// With `count` slopes, 1 or the number of channels.
    pub fn new(count: usize, init: &mut Init) -> Self {
        Self { weight: init.constant(&[count], 0.25) }
    }
}

impl Forward for PRelu {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        let count = self.weight.numel();
        let channels = if shape.rank() > 1 { shape[1] } else { 1 };
        if count != 1 && count != channels {
            return Tensor::bad_shape("prelu", &[x, &self.weight], "one slope, or one for each channel of axis 1");
        }
        let mut dims = vec![1usize; shape.rank()];
        if count > 1 {
            dims[1] = count;
        }
        Tensor::where_(&x.gt(Lit(0.0)), x, x * self.weight.reshape(dims))
    }
}

/// x where positive, else slope·x with a slope drawn for each element from `lower..upper` (1/8 and 1/3
/// by default) while training, and their mean in evaluation mode.
///
/// Source: Xu, Wang, Chen & Li 2015, "Empirical evaluation of rectified activations in convolution network", §2.4.
#[derive(Module)]
pub struct RRelu {
    /// The least slope.
    pub lower: f32,
    /// The greatest slope.
    pub upper: f32,
    #[module(flatten)]
    noise: Noise,
}

impl RRelu {
    /// With PyTorch's range of slopes.
    pub fn new(init: &mut Init) -> Self {
        Self { lower: 0.125, upper: 1.0 / 3.0, noise: Noise::new(init) }
    }
}

impl Forward for RRelu {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        if self.lower > self.upper {
            let given = format!("{}, {}", self.lower, self.upper);
            return x.bad_argument("rrelu", "lower, upper", given, "lower at most upper");
        }
        if !self.noise.training() {
            return x.leaky_relu(0.5 * (self.lower + self.upper));
        }
        let slope = self.noise.uniform(x.device(), shape) * (self.upper - self.lower) + self.lower;
        Tensor::where_(&x.gt(Lit(0.0)), x, x * slope)
    }
}

#[track_caller]
fn glu(x: &Tensor, axis: i64) -> Tensor {
    let Ok(shape) = x.shape() else { return x.clone() };
    let at = if axis < 0 { axis + shape.rank() as i64 } else { axis };
    let extent = usize::try_from(at).ok().and_then(|at| shape.get(at).copied());
    match extent {
        Some(extent) if extent % 2 == 0 => {
            x.narrow(axis, 0, extent / 2) * x.narrow(axis, (extent / 2) as i64, extent / 2).sigmoid()
        }
        Some(_) => Tensor::bad_shape("glu", &[x], "the axis halves"),
        None => x.narrow(axis, 0, 0), // carries the error of the axis
    }
}

/// One of the classes along `axis`, drawn with the probabilities of the softmax of `logits`, softened so that it has a
/// gradient: softmax((logits + g) / tau) with g from the Gumbel distribution. With `hard` the result is one-hot, and has
/// the gradient of the soft one.
///
/// Source: Jang, Gu & Poole 2017, "Categorical reparameterization with Gumbel-softmax", eq. 2.
#[track_caller]
pub fn gumbel_softmax(logits: &Tensor, tau: f64, hard: bool, axis: i64, rng: &Rng) -> Tensor {
    composed("gumbel_softmax", || {
        let Ok(shape) = logits.shape() else { return logits.clone() };
        if tau.is_nan() || tau <= 0.0 {
            return logits.bad_argument("gumbel_softmax", "tau", tau, "above 0");
        }
        let soft = ((logits + rng.gumbel(shape)) / tau).softmax(axis);
        let at = if axis < 0 { axis + shape.rank() as i64 } else { axis };
        let Some(at) = usize::try_from(at).ok().filter(|&at| hard && at < shape.rank()) else {
            return soft; // which carries the error of the axis, if it is not there
        };
        let (_, chosen) = soft.max_with_index(axis, true);
        let mut lifted = vec![1i64; shape.rank()];
        lifted[at] = -1;
        let place = Tensor::arange(logits.device(), 0, shape[at] as i32, 1).reshape(lifted);
        chosen.eq(place).cast(soft.dtype()) - soft.detach() + &soft
    })
}
