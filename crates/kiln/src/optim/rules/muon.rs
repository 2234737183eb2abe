//! Momentum made orthogonal.

use crate::Tensor;
use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, negative, setters};

/// Muon, as PyTorch has it, for matrices: the momentum is replaced by the nearest matrix with orthogonal rows (or
/// columns), nearly, by a few steps of Newton and Schulz.
/// ```text
/// B = momentum · B + (1 − momentum) · g          O = B, or Nesterov: g + momentum · (B − g)
/// X = O / max(‖O‖, eps)                          on the side with fewer rows
/// ns_steps times:  A = X Xᵀ,  X = a X + (b A + c A²) X
/// p = p · (1 − lr · weight_decay) − lr · ratio · X
/// ```
/// The ratio is √max(1, rows/columns) by default ([`AdjustLr`]). The iteration runs in f32 here and in bf16 there.
/// A parameter that is no matrix is an error of the step: leave such out by [`only`](Method::only), and train them by
/// another optimizer joined to this one ([`Joined`](crate::optim::Joined)).
///
/// Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
///
/// ```
/// # use kiln::prelude::*; use kiln::optim::{Joined, Muon};
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 2, &mut Init::new(&device, 0));
/// let muon = Muon::new(&model, 0.02).only(|slot| slot.param.rank() == 2);
/// let rest = AdamW::new(&model, 3e-4).only(|slot| slot.param.rank() != 2);
/// let mut both = Joined::new(muon, rest);
/// both.step(&model.forward(&Tensor::ones(&device, &[8, 3])).square().mean())?;
/// # Ok::<(), Error>(())
/// ```
pub type Muon = Method<MuonRule>;

/// How the learning rate depends on a matrix's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdjustLr {
    /// √max(1, rows/columns).
    #[default]
    Original,
    /// 0.2 · √max(rows, columns), so that steps are as large as AdamW's.
    MatchRmsAdamW,
    /// √(rows/columns).
    SpectralUnclamped,
}

/// The settings of [`Muon`].
#[derive(Debug, Clone)]
pub struct MuonRule {
    /// The share of the momentum that is kept; 0.95.
    pub momentum: f64,
    /// Whether to look ahead; true.
    pub nesterov: bool,
    /// a, b and c; (3.4445, −4.775, 2.0315).
    pub ns_coefficients: (f64, f64, f64),
    /// The least norm that is divided by; 1e-7.
    pub eps: f64,
    /// Steps of the iteration; 5.
    pub ns_steps: usize,
    /// How the learning rate depends on the shape.
    pub adjust_lr: AdjustLr,
}

impl Muon {
    /// For the matrices that are the parameters of `model`, with momentum 0.95, Nesterov, weight decay 0.1; PyTorch's
    /// learning rate is 1e-3.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let rule = MuonRule {
            momentum: 0.95,
            nesterov: true,
            ns_coefficients: (3.4445, -4.775, 2.0315),
            eps: 1e-7,
            ns_steps: 5,
            adjust_lr: AdjustLr::Original,
        };
        Self::with_rule(model, lr, rule).weight_decay(0.1)
    }
}

setters! { Muon:
    /// Sets the share of the momentum that is kept.
    momentum: f64,
    /// Sets whether to look ahead.
    nesterov: bool,
    /// Sets a, b and c.
    ns_coefficients: (f64, f64, f64),
    /// Sets the least norm that is divided by.
    eps: f64,
    /// Sets the steps of the iteration.
    ns_steps: usize,
    /// Sets how the learning rate depends on the shape.
    adjust_lr: AdjustLr,
}

impl MuonRule {
    fn orthogonal(&self, x: &Tensor) -> Tensor {
        let (a, b, c) = self.ns_coefficients;
        let own = x.shape_or_scalar();
        let (rows, columns) = (own[0], own[1]);
        let x = if rows > columns { x.t() } else { x.clone() };
        let mut x = &x / x.square().sum().sqrt().clamp_min(self.eps);
        for _ in 0..self.ns_steps {
            let gram = x.matmul(&x.t());
            let update = &gram * b + gram.matmul(&gram) * c;
            x = &x * a + update.matmul(&x);
        }
        if rows > columns { x.t() } else { x }
    }

    fn ratio(&self, rows: f64, columns: f64) -> f64 {
        match self.adjust_lr {
            AdjustLr::Original => (rows / columns).max(1.0).sqrt(),
            AdjustLr::MatchRmsAdamW => 0.2 * rows.max(columns).sqrt(),
            AdjustLr::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}

impl Rule for MuonRule {
    fn pure(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        let many = self.ns_steps >= 100;
        negative(&[("momentum", self.momentum)])
            .or_else(|| many.then_some(("ns_steps", self.ns_steps as f64, "below 100")))
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("momentum_buffer", value.zeros_like())]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let (g, p) = (&turn.gradient, &turn.value);
        if p.rank() != 2 {
            let why = "a matrix: leave others out by `only`";
            return (p.bad_argument("muon", "parameter", p.shape_or_scalar(), why), turn.memory.to_vec());
        }
        let b = &turn.memory[0] + (g - &turn.memory[0]) * (1.0 - self.momentum);
        let o = if self.nesterov { g + (&b - g) * self.momentum } else { b.clone() };
        let own = p.shape_or_scalar();
        let lr = turn.lr * self.ratio(own[0] as f64, own[1] as f64);
        (turn.decayed_value() - self.orthogonal(&o) * lr, vec![b])
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.momentum)
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.momentum = momentum;
    }
}
