//! Steps as large as the parameter allows: LAMB, Adafactor.

use super::adam::Moments;
use crate::nn::Module;
use crate::optim::method::{Method, Refused, Rule, Turn, negative, no_share, setters};
use crate::{Lit, Tensor};

/// LAMB: Adam's direction, as long as the parameter it moves. In step t, c = 1 − βᵗ:
/// ```text
/// m = β₁ m + (1 − β₁) g         v = β₂ v + (1 − β₂) g²
/// u = (m / c₁) / (√(v / c₂) + eps) + weight_decay · p
/// p = p − lr · ‖p‖ / ‖u‖ · u                     1 in place of the ratio where one of them is 0
/// ```
/// PyTorch has no LAMB; eps is 1e-6 and the weight decay 0.01, as in the paper.
///
/// Source: You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes", alg. 2.
pub type Lamb = Method<LambRule>;

/// The settings of [`Lamb`].
#[derive(Debug, Clone)]
pub struct LambRule {
    /// How much of the moments is kept; (0.9, 0.999).
    pub betas: (f64, f64),
    /// The number added to the root; 1e-6.
    pub eps: f64,
}

impl Lamb {
    /// For the parameters of `model`, with β = (0.9, 0.999), eps 1e-6 and weight decay 0.01.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self::with_rule(model, lr, LambRule { betas: (0.9, 0.999), eps: 1e-6 }).weight_decay(0.01)
    }
}

setters! { Lamb:
    /// Sets how much of the moments is kept.
    betas: (f64, f64),
    /// Sets the number added to the root.
    eps: f64,
}

impl LambRule {
    fn moments(&self) -> Moments {
        Moments { betas: self.betas, eps: self.eps, ..Moments::default() }
    }
}

impl Rule for LambRule {
    fn pure(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        negative(&[("eps", self.eps)]).or_else(|| no_share(self.betas))
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        self.moments().memory(value)
    }

    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        self.moments().counts()
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        self.moments().count(counts)
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let g = &turn.gradient;
        let m = &turn.memory[0] + (g - &turn.memory[0]) * (1.0 - self.betas.0);
        let v = &turn.memory[1] * self.betas.1 + g * g * (1.0 - self.betas.1);
        let u = &m * &turn.counts[1] / (v.sqrt() * &turn.counts[2] + self.eps) + &turn.value * turn.weight_decay;
        let length = |x: &Tensor| x.square().sum().sqrt();
        let (of_p, of_u) = (length(&turn.value), length(&u));
        let both = of_p.gt(Lit(0.0)).logical_and(of_u.gt(Lit(0.0)));
        let trust = Tensor::where_(&both, of_p / of_u, Lit(1.0));
        (&turn.value - u * (trust * turn.lr), vec![m, v])
    }
}

/// Adafactor, as PyTorch has it: of the second moments of a matrix only rows' and columns' means are kept. In step t:
/// ```text
/// w = t^beta2_decay           α = max(eps₂, rms(p)) · min(lr, 1/√t)           p = p · (1 − lr · weight_decay)
/// matrix:  R = R + w (mean over columns of g² − R)      C = C + w (mean over rows of g² − C)
///          V = R C / max(mean of R, eps₁)
/// vector:  V = V + w (g² − V)
/// u = g / √max(V, eps₁²)      p = p − α / max(1, rms(u) / d) · u
/// ```
///
/// Source: Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", in PyTorch's form.
pub type Adafactor = Method<AdafactorRule>;

/// The settings of [`Adafactor`].
#[derive(Debug, Clone)]
pub struct AdafactorRule {
    /// The power by which the weight of a new square falls; −0.8.
    pub beta2_decay: f64,
    /// The floor of the second moment (f32's machine epsilon), and that of a parameter's size (1e-3).
    pub eps: (f64, f64),
    /// The greatest root mean square of a step; 1.
    pub d: f64,
}

impl Adafactor {
    /// For the parameters of `model`; PyTorch's learning rate is 1e-2.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let eps = (f64::from(f32::EPSILON), 1e-3);
        Self::with_rule(model, lr, AdafactorRule { beta2_decay: -0.8, eps, d: 1.0 })
    }
}

setters! { Adafactor:
    /// Sets the power by which the weight of a new square falls.
    beta2_decay: f64,
    /// Sets the floors of the second moment and of a parameter's size.
    eps: (f64, f64),
    /// Sets the greatest root mean square of a step.
    d: f64,
}

/// The root of the mean square.
fn rms(x: &Tensor) -> Tensor {
    (x.square().sum() * (1.0 / x.numel().max(1) as f64)).sqrt()
}

impl Rule for AdafactorRule {
    fn pure(&self) -> bool {
        true
    }

    fn refused(&self) -> Option<Refused> {
        if self.beta2_decay.is_nan() || self.beta2_decay > 0.0 {
            return Some(("beta2_decay", self.beta2_decay, "at most 0"));
        }
        if self.d.is_nan() || self.d < 1.0 {
            return Some(("d", self.d, "at least 1"));
        }
        negative(&[("eps.0", self.eps.0), ("eps.1", self.eps.1)])
    }

    fn memory(&self, value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        if value.rank() > 1 {
            let mean = |axis: i64| value.zeros_like().sum_axes([axis], true);
            vec![("row_var", mean(-1)), ("col_var", mean(-2))]
        } else {
            vec![("variance", value.zeros_like())]
        }
    }

    /// t, its power and its inverse root, of the coming step.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        vec![("step", 1.0), ("weight", 1.0), ("inverse_root", 1.0)]
    }

    fn count(&self, counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        let t = &counts[0] + Lit(1.0);
        let (weight, root) = (t.pow(self.beta2_decay), t.rsqrt());
        vec![t, weight, root]
    }

    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
        let (g, weight) = (&turn.gradient, &turn.counts[1]);
        let alpha = rms(&turn.value).clamp_min(self.eps.1) * turn.counts[2].clamp_max(turn.lr);
        let towards = |old: &Tensor, new: Tensor| old + (new - old) * weight;
        let (v, memory) = match turn.memory {
            [rows, columns] => {
                let rows = towards(rows, g.square().mean_axes([-1i64], true));
                let columns = towards(columns, g.square().mean_axes([-2i64], true));
                let mean = rows.mean_axes([-2i64], true).clamp_min(self.eps.0);
                (&rows * &columns / mean, vec![rows, columns])
            }
            _ => {
                let v = towards(&turn.memory[0], g * g);
                (v.clone(), vec![v])
            }
        };
        let u = v.clamp_min(self.eps.0 * self.eps.0).rsqrt() * g;
        let shorter = (rms(&u) * (1.0 / self.d)).clamp_min(Lit(1.0));
        (turn.decayed_value() - u * (alpha / shorter), memory)
    }
}
