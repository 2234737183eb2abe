//! Normalisation with the statistics of channels: of the batch, or of each example.

use super::norm::tensor;
use super::{Forward, Mode, Module};
use crate::init::Init;
use crate::{Param, Result, State, Tensor, composed};

/// Brings each channel to mean 0 and variance 1 over the batch and the positions, then scales and
/// shifts it: `y = (x − mean) / √(var + eps) · weight + bias`.
///
/// In training mode the statistics are the batch's, and the running ones move towards them:
/// `running = (1 − momentum) · running + momentum · batch`, with the unbiased variance. In
/// evaluation mode the running ones are used. The update belongs to the step: if the step is
/// refused (a loss that is not finite), the running statistics stay as they were.
///
/// Shapes: `x [batch, channels, ..]` with `SPACE` spatial axes (in one dimension also none) → the same.
///
/// Source: Ioffe & Szegedy 2015, "Batch normalization", alg. 1 and 2.
#[derive(Module)]
pub struct BatchNorm<const SPACE: usize> {
    /// Scale of each channel, 1 at first; `None` without affine map.
    pub weight: Option<Param>,
    /// Shift of each channel, 0 at first; `None` without affine map.
    pub bias: Option<Param>,
    /// Running statistics; `None` uses the batch's in evaluation too.
    #[module(flatten)]
    pub running: Option<Running>,
    /// Added to the variance; 1e-5.
    pub eps: f32,
    /// The share of the new batch; 0.1. `None` averages all batches alike.
    pub momentum: Option<f64>,
    channels: usize,
    mode: Mode,
}

/// Batch norm of `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNorm<1>;
/// Batch norm of `[batch, channels, h, w]`.
pub type BatchNorm2d = BatchNorm<2>;
/// Batch norm of `[batch, channels, d, h, w]`.
pub type BatchNorm3d = BatchNorm<3>;

/// Statistics of each channel over the batches seen so far.
#[derive(Module)]
pub struct Running {
    /// Running mean of each channel.
    pub running_mean: State,
    /// Running unbiased variance of each channel.
    pub running_var: State,
    /// How many batches have been seen.
    pub num_batches_tracked: State,
}

impl Running {
    fn new(channels: usize, init: &Init) -> Self {
        Self {
            running_mean: init.state(&Tensor::zeros(init.device(), [channels])),
            running_var: init.state(&Tensor::ones(init.device(), [channels])),
            num_batches_tracked: init.state(&Tensor::new(init.device(), 0i32)),
        }
    }

    /// Moves the statistics towards those of a batch, with the evaluation of `with`.
    #[track_caller]
    fn track(&self, mean: Tensor, var: Tensor, momentum: Option<f64>, with: &Tensor) -> Result<()> {
        let seen = self.num_batches_tracked.value() + 1;
        for (running, batch) in [(&self.running_mean, mean.detach()), (&self.running_var, var.detach())] {
            let old = running.value();
            let new = match momentum {
                Some(share) => &old * (1.0 - share) + batch * share,
                None => &old + (batch - &old) / seen.cast(old.dtype()),
            };
            running.set_with(&new, &[with])?;
        }
        self.num_batches_tracked.set_with(&seen, &[with])
    }
}

macro_rules! settings {
    () => {
        /// Sets the constant added to the variance.
        #[must_use]
        pub fn eps(mut self, eps: f32) -> Self {
            self.eps = eps;
            self
        }

        /// Sets the share of the new batch in the running statistics.
        #[must_use]
        pub fn momentum(mut self, momentum: Option<f64>) -> Self {
            self.momentum = momentum;
            self
        }
    };
}

impl<const SPACE: usize> BatchNorm<SPACE> {
    /// Whether it is in training mode.
    pub(super) fn training(&self) -> bool {
        self.mode.training()
    }

    /// For `channels` channels, with eps 1e-5 and momentum 0.1.
    pub fn new(channels: usize, init: &mut Init) -> Self {
        Self {
            weight: Some(init.ones(&[channels])),
            bias: Some(init.zeros(&[channels])),
            running: Some(Running::new(channels, init)),
            eps: 1e-5,
            momentum: Some(0.1),
            channels,
            mode: Mode::default(),
        }
    }

    settings!();

    /// Leaves scale and shift out.
    #[must_use]
    pub fn no_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }

    /// Leaves the shift out.
    #[must_use]
    pub fn no_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// Keeps no running statistics: PyTorch's `track_running_stats=False`.
    #[must_use]
    pub fn no_tracking(mut self) -> Self {
        self.running = None;
        self
    }

    /// The norm of a batch without elements: it is counted and moves no statistics, its parameters have gradients, which
    /// are zeros, and nobody looks at its channels, as in PyTorch.
    #[track_caller]
    fn of_nothing(&self, x: &Tensor) -> Tensor {
        if let (Some(running), true) = (&self.running, self.mode.training()) {
            let seen = running.num_batches_tracked.value() + 1;
            if let Err(error) = running.num_batches_tracked.set_with(&seen, &[x]) {
                return Tensor::invalid(x.device(), error);
            }
        }
        let scaled = self.weight.as_ref().map_or_else(|| x.clone(), |weight| x * weight.sum());
        self.bias.as_ref().map_or(scaled.clone(), |bias| scaled + bias.sum())
    }
}

impl<const SPACE: usize> Forward for BatchNorm<SPACE> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        let ranks = if SPACE == 1 { 2..=3 } else { SPACE + 2..=SPACE + 2 };
        // without numbers of channels of its own the layer takes any number of them, as in PyTorch
        let own = self.weight.is_some() || self.bias.is_some() || self.running.is_some();
        let fits = ranks.contains(&shape.rank());
        if fits && x.numel() == 0 {
            return self.of_nothing(x);
        }
        if !fits || (own && shape[1] != self.channels) {
            return Tensor::bad_shape("batch_norm", &[x], "[batch, channels, ..] with the layer's channels and axes");
        }
        let (weight, bias) = (tensor(&self.weight), tensor(&self.bias));
        if let (Some(running), false) = (&self.running, self.mode.training()) {
            let (mean, var) = (running.running_mean.value(), running.running_var.value());
            return x.batch_norm(&mean, &var, weight, bias, self.eps);
        }
        let (mean, var) = x.batch_statistics();
        let count = x.numel() / shape[1];
        if count == 1 {
            return Tensor::bad_shape("batch_norm", &[x], "training needs more than one value of each channel");
        }
        if let Some(running) = &self.running {
            let momentum = self.momentum.filter(|_| !self.mode.averaging());
            let unbiased = &var * (count as f64 / (count as f64 - 1.0));
            if let Err(error) = running.track(mean.clone(), unbiased, momentum, &mean) {
                return Tensor::invalid(x.device(), error);
            }
        }
        x.batch_norm(&mean, &var, weight, bias, self.eps)
    }
}

/// Brings each channel of each example to mean 0 and variance 1. Without scale, shift and running statistics,
/// as in PyTorch, unless asked for.
///
/// Shapes: `x [batch, channels, ..]` or `[channels, ..]` with `SPACE` spatial axes → the same.
///
/// Source: Ulyanov, Vedaldi & Lempitsky 2016, "Instance normalization", eq. 2.
#[derive(Module)]
pub struct InstanceNorm<const SPACE: usize> {
    /// Scale of each channel; none by default.
    pub weight: Option<Param>,
    /// Shift of each channel; none by default.
    pub bias: Option<Param>,
    /// Running statistics, used in evaluation mode; none by default.
    #[module(flatten)]
    pub running: Option<Running>,
    /// Added to the variance; 1e-5.
    pub eps: f32,
    /// The share of the new batch; 0.1. `None` leaves the statistics as they are, as in PyTorch.
    pub momentum: Option<f64>,
    channels: usize,
    mode: Mode,
}

/// Instance norm of `[batch, channels, length]`.
pub type InstanceNorm1d = InstanceNorm<1>;
/// Instance norm of `[batch, channels, h, w]`.
pub type InstanceNorm2d = InstanceNorm<2>;
/// Instance norm of `[batch, channels, d, h, w]`.
pub type InstanceNorm3d = InstanceNorm<3>;

impl<const SPACE: usize> InstanceNorm<SPACE> {
    /// For `channels` channels, with eps 1e-5.
    pub fn new(channels: usize) -> Self {
        let (weight, bias, running, mode) = (None, None, None, Mode::default());
        Self { weight, bias, running, eps: 1e-5, momentum: Some(0.1), channels, mode }
    }

    settings!();

    /// Adds scale and shift.
    #[must_use]
    pub fn affine(mut self, init: &Init) -> Self {
        (self.weight, self.bias) = (Some(init.ones(&[self.channels])), Some(init.zeros(&[self.channels])));
        self
    }

    /// Leaves the shift out.
    #[must_use]
    pub fn no_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// Keeps running statistics: PyTorch's `track_running_stats=True`.
    #[must_use]
    pub fn tracking(mut self, init: &Init) -> Self {
        self.running = Some(Running::new(self.channels, init));
        self
    }
}

impl<const SPACE: usize> Forward for InstanceNorm<SPACE> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        const OP: &str = "instance_norm";
        let Ok(shape) = x.shape() else { return x.clone() };
        if shape.rank() == SPACE + 1 {
            return self.forward(&x.unsqueeze(0)).squeeze(0);
        }
        let own = self.weight.is_some() || self.bias.is_some() || self.running.is_some();
        if shape.rank() != SPACE + 2 || (own && shape[1] != self.channels) {
            return Tensor::bad_shape(OP, &[x], "[batch, channels, ..] with the layer's channels and axes");
        }
        let (weight, bias) = (tensor(&self.weight), tensor(&self.bias));
        if let (Some(running), false) = (&self.running, self.mode.training()) {
            let (mean, var) = (running.running_mean.value(), running.running_var.value());
            return composed(OP, || x.batch_norm(&mean, &var, weight, bias, self.eps));
        }
        let places: usize = shape[2..].iter().product();
        if places == 1 && (self.running.is_none() || self.mode.training()) {
            return Tensor::bad_shape(OP, &[x], "training needs more than one place");
        }
        if let (Some(running), Some(_)) = (&self.running, self.momentum) {
            let rows = x.detach().reshape([shape[0], shape[1], places]);
            let (mean, var) =
                (rows.mean_axes(-1, false).mean_axes(0, false), rows.var(-1, 1, false).mean_axes(0, false));
            // as in PyTorch, what counts batches is not moved
            let seen = running.num_batches_tracked.value();
            let moved = running
                .track(mean, var, self.momentum, x)
                .and_then(|()| running.num_batches_tracked.set_with(&seen, &[x]));
            if let Err(error) = moved {
                return Tensor::invalid(x.device(), error);
            }
        }
        composed(OP, || x.group_norm(shape[1], weight, bias, self.eps))
    }
}
