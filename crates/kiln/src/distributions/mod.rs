//! Probability distributions whose parameters are tensors: densities, entropies, draws, divergences, with gradients. What a
//! policy, a flow or a variational autoencoder is written with; PyTorch's `torch.distributions`.
//!
//! Parameters may have any shape, the batch; every answer has it, or that which value and batch broadcast to. Numbers are
//! drawn from an [`Rng`](crate::Rng): there is no global state.
//!
//! ```
//! # use kiln::prelude::*; use kiln::distributions::Categorical;
//! # let device = Device::open()?;
//! # let (policy, states) = (Linear::new(4, 2, &mut Init::new(&device, 0)), Tensor::ones(&device, [8, 4]));
//! # let returns = Tensor::ones(&device, [8]);
//! let choice = Categorical::of_logits(&policy.forward(&states));
//! let action = choice.sample([0usize; 0], &Rng::new(&device, 1)); // [8]
//! let loss = -(choice.log_prob(&action) * returns).mean() - 0.01 * choice.entropy().mean();
//! # assert!(loss.item()?.is_finite());
//! # Ok::<(), Error>(())
//! ```

mod bernoulli;
mod categorical;
mod normal;

pub use bernoulli::Bernoulli;
pub use categorical::Categorical;
pub use normal::Normal;

use crate::{Extents, Tensor};

/// The shape of draws: `shape` before that of the batch, which is `like`'s.
fn drawn(shape: &impl Extents, like: &Tensor) -> Vec<i64> {
    let batch = like.shape().map(|batch| batch.to_vec()).unwrap_or_default();
    shape.list().into_iter().chain(batch.into_iter().map(|extent| extent as i64)).collect()
}

/// Probabilities kept from 0 and 1, as far as one can tell in f32: what PyTorch takes logarithms of.
fn clamped(probs: &Tensor) -> Tensor {
    probs.clamp(f32::EPSILON, 1.0 - f32::EPSILON)
}
