//! Functions of each element, or along one axis, as layers for [`Sequential`](super::Sequential).

use super::{Forward, Module};
use crate::Tensor;

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
    /// ln(1 + eˣ).
    Softplus => |x| x.softplus();
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
    /// The logarithm of the softmax along the axis, the last by default.
    LogSoftmax(i64 = -1) => |x, axis| x.log_softmax(axis);
}

/// Joins the axes from `start` to `end`, both included, into one: by default all but the batch.
#[derive(Module, Debug, Clone, Copy)]
pub struct Flatten {
    /// The first axis to join.
    pub start: i64,
    /// The last axis to join; negative ones count from the end.
    pub end: i64,
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start: 1, end: -1 }
    }
}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.flatten(self.start, self.end)
    }
}
