//! Gradients kept within bounds.

use crate::{Gradients, Number, Tensor};

/// Scales all gradients so that their common 2-norm is at most `max_norm`, and gives the norm from
/// before: g ← g · min(1, max_norm / (norm + 1e-6)), as PyTorch does. `None` without gradients.
///
/// A norm that is not finite stops the step, which then changes nothing.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// # let mut sgd = Sgd::new(&model, 0.1);
/// # let loss = model.forward(&Tensor::ones(&device, &[8, 3])).square().mean();
/// let mut gradients = loss.backward()?;
/// let norm = clip_grad_norm(&mut gradients, 1.0);
/// sgd.step(&gradients)?;
/// # assert!(norm.is_some());
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn clip_grad_norm(gradients: &mut Gradients, max_norm: impl Number) -> Option<Tensor> {
    clip_grad_norm_of(gradients, max_norm, 2.0)
}

/// The same with the p-norm of all elements of all gradients; p = ∞ is the largest.
#[track_caller]
pub fn clip_grad_norm_of(gradients: &mut Gradients, max_norm: impl Number, p: f32) -> Option<Tensor> {
    let norm = total_norm(gradients, p)?;
    clip_grads_with_norm(gradients, max_norm, &norm);
    Some(norm)
}

/// The same with a norm that is known already ([`total_norm`], of these gradients or of those of several models):
/// g ← g · min(1, max_norm / (norm + 1e-6)).
#[track_caller]
pub fn clip_grads_with_norm(gradients: &mut Gradients, max_norm: impl Number, norm: &Tensor) {
    let scale = (max_norm.beside(norm) / (norm + 1e-6)).clamp_max(1.0);
    *gradients = gradients.map(|g| g * &scale);
    gradients.guard(norm);
}

/// Brings every element of every gradient into −bound..=bound.
#[track_caller]
pub fn clip_grad_value(gradients: &mut Gradients, bound: impl Into<f64>) {
    let bound = bound.into();
    *gradients = gradients.map(|g| g.clamp(-bound, bound));
}

/// The p-norm of all elements of all gradients: PyTorch's `get_total_norm`. `None` without gradients.
#[track_caller]
pub fn total_norm(gradients: &Gradients, p: f32) -> Option<Tensor> {
    let all = gradients.iter().map(|(_, g)| g);
    if p == 2.0 {
        return Some(all.map(|g| g.square().sum()).reduce(|sum, square| sum + square)?.sqrt());
    }
    let all: Vec<&Tensor> = all.collect();
    let filled = all.iter().filter(|g| g.numel() > 0);
    let norms: Vec<Tensor> = filled.map(|g| g.reshape([-1i64]).norm(p, 0, false)).collect();
    if norms.is_empty() {
        return all.first().map(|g| g.sum()); // of no elements: 0
    }
    Some(Tensor::stack(&norms, 0).norm(p, 0, false))
}
