//! Noise on the gradients.

use crate::{Device, Gradients, Rng};

/// Adds normal noise to gradients, less and less of it: in step t, from 0, with variance `eta / (1 + t)^gamma`.
///
/// The paper's gamma is 0.55, its eta 0.01, 0.3 or 1. The noise depends on the seed and the step alone.
///
/// Source: Neelakantan et al. 2015, "Adding gradient noise improves learning for very deep networks", eq. 2.
///
/// ```
/// # use kiln::prelude::*; use kiln::optim::GradientNoise;
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// # let mut sgd = Sgd::new(&model, 0.1);
/// # let loss = model.forward(&Tensor::ones(&device, &[8, 3])).square().mean();
/// let mut noise = GradientNoise::new(&device, 42, 0.01);
/// let mut gradients = sgd.backward(&loss)?;
/// noise.add(&mut gradients);
/// sgd.step(&gradients)?;
/// # Ok::<(), Error>(())
/// ```
pub struct GradientNoise {
    device: Device,
    seed: u64,
    eta: f64,
    gamma: f64,
    step: usize,
}

impl GradientNoise {
    /// Noise of variance `eta` at first, with gamma 0.55.
    pub fn new(device: &Device, seed: u64, eta: f64) -> Self {
        Self { device: device.clone(), seed, eta, gamma: 0.55, step: 0 }
    }

    /// Sets the power by which the variance falls.
    #[must_use]
    pub fn gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }

    /// The standard deviation of the coming step.
    pub fn deviation(&self) -> f64 {
        (self.eta / (1.0 + self.step as f64).powf(self.gamma)).sqrt()
    }

    /// Goes on as if noise had been added this often.
    pub fn set_step(&mut self, step: usize) {
        self.step = step;
    }

    /// Adds noise to every gradient.
    #[track_caller]
    pub fn add(&mut self, gradients: &mut Gradients) {
        let deviation = self.deviation();
        let rng = Rng::new(&self.device, self.seed ^ (self.step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        *gradients = gradients.map(|g| g + rng.normal(g.shape_or_scalar()) * deviation);
        self.step += 1;
    }
}
