//! Dropout and its relatives: layers that draw random numbers while training.

use super::module::Leaf;
use super::{Forward, Mode, Module, Visitor};
use crate::init::Init;
use crate::ops::random::uniform_call;
use crate::{DType, Device, Lit, Shape, State, Tensor, dropout_mask};

/// A layer's stream of random numbers: its key comes from `init` at construction, its counter is a cell on the
/// device that moves on with each training step. The same seed draws the same numbers on every adapter, and a
/// step that is refused draws none.
pub(super) struct Noise {
    key: u64,
    counter: State,
    mode: Mode,
}

impl Noise {
    pub(super) fn new(init: &mut Init) -> Self {
        let counter = init.state(&Tensor::new(init.device(), 0u32));
        Self { key: init.key(), counter, mode: Mode::default() }
    }

    pub(super) fn training(&self) -> bool {
        self.mode.training()
    }

    /// Draws with the present count, which then moves on.
    #[track_caller]
    fn draw(&self, numbers: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        let call = self.counter.value();
        let drawn = numbers(&call);
        match self.counter.set_with(&(&call + 1u32), &[&drawn]) {
            Ok(()) => drawn,
            Err(error) => Tensor::invalid(drawn.device(), error),
        }
    }

    /// Evenly from 0..1.
    #[track_caller]
    pub(super) fn uniform(&self, device: &Device, shape: Shape) -> Tensor {
        self.draw(|call| uniform_call(device, self.key, call, shape))
    }

    /// 1/(1 − p) with probability 1 − p, else 0.
    #[track_caller]
    fn mask(&self, device: &Device, p: f32, shape: Shape) -> Tensor {
        self.draw(|call| dropout_mask(device, self.key, call, p, shape))
    }

    /// 1 with probability 1 − p, else 0.
    #[track_caller]
    fn kept(&self, device: &Device, p: f32, shape: Shape) -> Tensor {
        self.uniform(device, shape).ge(p).cast(DType::F32)
    }
}

impl Module for Noise {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Counter(&self.counter));
        visitor.leaf(Leaf::Mode(&self.mode));
    }
}

impl Dropout {
    /// What weights of `shape` are multiplied by: `None` where nothing is dropped. `x` carries a wrong probability.
    #[track_caller]
    pub(super) fn factors(&self, x: &Tensor, shape: &[usize]) -> Result<Option<Tensor>, Tensor> {
        if !(0.0..=1.0).contains(&self.p) {
            return Err(x.bad_argument("dropout", "p", self.p, "between 0 and 1"));
        }
        let drops = self.noise.training() && self.p > 0.0;
        let shape = Shape::new(shape).filter(|_| drops);
        Ok(shape.map(|shape| self.noise.mask(x.device(), self.p, shape)))
    }
}

/// The shape of one number for each channel of `x [batch, channels, ..]`, or of `[channels, ..]` if `alone`.
fn per_channel(shape: Shape, alone: bool) -> Shape {
    let kept = if alone { 1 } else { 2 };
    let dims: Vec<usize> =
        shape.iter().enumerate().map(|(axis, &extent)| if axis < kept { extent } else { 1 }).collect();
    Shape::new(&dims).unwrap_or(shape)
}

/// A layer of this file: what it does to `x` of a shape while training.
macro_rules! dropouts {
    ($($(#[$doc:meta])* $name:ident $(of $ranks:expr, $why:literal)? => |$this:ident, $x:ident, $shape:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            /// The probability of being dropped.
            pub p: f32,
            #[module(flatten)]
            noise: Noise,
        }

        impl $name {
            /// Drops with probability `p`, in 0..=1.
            pub fn new(p: f32, init: &mut Init) -> Self {
                Self { p, noise: Noise::new(init) }
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                let Ok($shape) = $x.shape() else { return $x.clone() };
                if !(0.0..=1.0).contains(&self.p) {
                    return $x.bad_argument("dropout", "p", self.p, "between 0 and 1");
                }
                $(if !$ranks.contains(&$shape.rank()) {
                    return Tensor::bad_shape("dropout", &[$x], $why);
                })?
                if !self.noise.training() || self.p == 0.0 {
                    return $x.clone();
                }
                let $this = self;
                $body
            }
        }
    )*};
}

dropouts! {
    /// Sets each element to zero with probability `p` while training and scales the others by
    /// 1/(1 − p), so that the mean stays; does nothing in evaluation mode.
    ///
    /// Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    /// overfitting", §4.
    Dropout => |this, x, shape| x * this.noise.mask(x.device(), this.p, shape);

    /// Drops whole channels of `[batch, channels, length]` or `[channels, length]`.
    ///
    /// Source: Tompson et al. 2015, "Efficient object localization using convolutional networks", §3.2.
    Dropout1d of (2..=3), "[batch, channels, length] or [channels, length]" => |this, x, shape| {
        drop_channels(&this.noise, this.p, x, shape, shape.rank() == 2)
    };

    /// Drops whole channels of `[batch, channels, h, w]`; as in PyTorch three axes are `[batch, channels, length]`.
    Dropout2d => |this, x, shape| drop_channels(&this.noise, this.p, x, shape, false);

    /// Drops whole channels of `[batch, channels, d, h, w]` or `[channels, d, h, w]`.
    Dropout3d => |this, x, shape| drop_channels(&this.noise, this.p, x, shape, shape.rank() != 5);

    /// Dropout for SELU: dropped elements become SELU's least value, and the result is scaled and shifted
    /// so that mean 0 and variance 1 stay.
    ///
    /// Source: Klambauer, Unterthiner, Mayr & Hochreiter 2017, "Self-normalizing neural networks", §1.
    AlphaDropout => |this, x, shape| alpha(x, &this.noise.kept(x.device(), this.p, shape), this.p);

    /// [`AlphaDropout`] of whole channels of `[batch, channels, ..]`.
    FeatureAlphaDropout => |this, x, shape| {
        if shape.rank() < 2 {
            return Tensor::bad_shape("feature_alpha_dropout", &[x], "[batch, channels, ..]");
        }
        alpha(x, &this.noise.kept(x.device(), this.p, per_channel(shape, false)), this.p)
    };
}

/// Drops channels, which are the first axis if `alone`, else the second.
#[track_caller]
fn drop_channels(noise: &Noise, p: f32, x: &Tensor, shape: Shape, alone: bool) -> Tensor {
    if shape.rank() + usize::from(alone) < 2 {
        return Tensor::bad_shape("dropout", &[x], "channels after the batch");
    }
    x * noise.mask(x.device(), p, per_channel(shape, alone))
}

/// a·(x·kept + α′·(1 − kept)) + b with α′ = −1.758, the least value of SELU.
#[track_caller]
fn alpha(x: &Tensor, kept: &Tensor, p: f32) -> Tensor {
    const LEAST: f64 = -1.758_099_340_847_376_6;
    if p == 1.0 {
        return x * 0.0;
    }
    let p = f64::from(p);
    let a = ((1.0 - p) * (1.0 + p * LEAST * LEAST)).powf(-0.5);
    let shift = -a * LEAST * p;
    x * (kept * a) + ((Lit(1.0) - kept) * (a * LEAST) + shift)
}

/// What [`StochasticDepth`] drops at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropMode {
    /// The whole batch.
    Batch,
    /// Each example by itself.
    Row,
}

/// Drops the residual branch it stands behind with probability `p` while training, and scales what is
/// kept by 1/(1 − p): torchvision's `StochasticDepth`.
///
/// Source: Huang, Sun, Liu, Sedra & Weinberger 2016, "Deep networks with stochastic depth", §3.
#[derive(Module)]
pub struct StochasticDepth {
    /// The probability of being dropped.
    pub p: f32,
    /// What is dropped at once.
    #[module(skip)]
    pub mode: DropMode,
    #[module(flatten)]
    noise: Noise,
}

impl StochasticDepth {
    /// Drops with probability `p`; outside of 0..=1, what [`forward`](Forward::forward) gives carries an
    /// [`Error::Argument`](crate::Error::Argument).
    pub fn new(p: f32, mode: DropMode, init: &mut Init) -> Self {
        Self { p, mode, noise: Noise::new(init) }
    }
}

impl Forward for StochasticDepth {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        if !(0.0..=1.0).contains(&self.p) {
            return x.bad_argument("stochastic_depth", "p", self.p, "between 0 and 1");
        }
        if !self.noise.training() || self.p == 0.0 {
            return x.clone();
        }
        let mut dims = vec![1; shape.rank()];
        if let (DropMode::Row, Some(first)) = (self.mode, dims.first_mut()) {
            *first = shape[0];
        }
        let each = Shape::new(&dims).unwrap_or(shape);
        x * self.noise.mask(x.device(), self.p, each)
    }
}
