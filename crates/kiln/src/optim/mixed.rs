//! Training in mixed precision.

use super::taken::Taken;
use super::{Optimizer, Slots, Updates};
use crate::nn::StateDict;
use crate::trace::noted;
use crate::{Gradients, Lit, Result, State, Tensor, formula_key};

/// An optimizer in mixed precision: matrix products and convolutions in f16 with sums in f32, parameters and the
/// optimizer's memory in f32, and a loss scale that adapts.
///
/// Every loss is rewritten ([`Tensor::mixed_precision`] says which operation runs in which type) and its gradients are
/// made from the rewritten one, `scale` times as large as they are, so that small ones do not vanish in f16. Then they
/// are divided by `scale` again:
/// ```text
/// overflow = some gradient is infinite or NaN
/// overflow: parameters and the optimizer's memory stay as they are, scale = scale · backoff, clean = 0
/// else:     the optimizer's step, clean = clean + 1;  when clean = interval: scale = scale · growth, clean = 0
/// ```
/// An overflow is no error and lasts for one step; it is counted ([`skipped_steps`](MixedPrecision::skipped_steps)).
/// What the forward pass itself replaces (running statistics, dropout's counter) goes on, as in PyTorch. A loss that is
/// not finite is an error as in any other step, since no scale would help. Scale, clean steps and skipped ones are
/// cells of the device and part of [`states`](Optimizer::states).
///
/// `step` takes a loss. To clip or add up gradients, make them by [`Optimizer::backward`]: they are those of the loss
/// itself, scaled back already.
///
/// # Errors
/// On a device without f16, each step gives [`kiln_device::Error::Feature`]. Gradients from [`Tensor::backward`], which
/// were not made in mixed precision, are an [`Error::Gradient`](crate::Error::Gradient).
///
/// Source: Micikevicius et al. 2018, "Mixed precision training", §3; the numbers are those of `torch.amp.GradScaler`.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// # if !device.caps().f16 { return Ok(()) }
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut adam = Adam::new(&model, 1e-2).mixed_precision();
/// let x = Tensor::ones(&device, &[8, 3]);
/// adam.step(&model.forward(&x).square().mean())?;
///
/// let mut gradients = adam.backward(&model.forward(&x).square().mean())?;
/// clip_grad_norm(&mut gradients, 1.0);
/// adam.step(&gradients)?;
/// assert_eq!((adam.scale()?, adam.skipped_steps()?), (65536.0, 0));
/// # Ok::<(), Error>(())
/// ```
pub struct MixedPrecision<O> {
    inner: O,
    growth: f64,
    backoff: f64,
    interval: u32,
    /// Scale, clean steps, skipped steps; empty for an optimizer of nothing.
    cells: Vec<State>,
    taken: Taken,
}

const NAMES: [&str; 3] = ["scale", "growth_tracker", "skipped_steps"];

impl<O: Optimizer> MixedPrecision<O> {
    /// With scale 2¹⁶, doubled after 2000 clean steps and halved by an overflow.
    pub fn new(inner: O) -> Self {
        let cells = inner.slots().numbers(&[65536.0, 0.0, 0.0]);
        Self { inner, growth: 2.0, backoff: 0.5, interval: 2000, cells, taken: Taken::default() }
    }

    /// Sets the scale of the first step.
    #[must_use]
    pub fn init_scale(mut self, scale: f64) -> Self {
        self.cells = self.inner.slots().numbers(&[scale, 0.0, 0.0]);
        self.taken = Taken::default();
        self
    }

    /// Sets the factor by which the scale grows.
    #[must_use]
    pub fn growth_factor(mut self, factor: f64) -> Self {
        self.growth = factor;
        self.taken.change();
        self
    }

    /// Sets the factor by which an overflow shrinks the scale.
    #[must_use]
    pub fn backoff_factor(mut self, factor: f64) -> Self {
        self.backoff = factor;
        self.taken.change();
        self
    }

    /// Sets how many clean steps make the scale grow.
    #[must_use]
    pub fn growth_interval(mut self, steps: u32) -> Self {
        self.interval = steps;
        self.taken.change();
        self
    }

    /// The optimizer inside.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// The present scale. Reading it waits for the device.
    ///
    /// # Errors
    /// What the device says.
    pub fn scale(&self) -> Result<f32> {
        self.cells.first().map_or(Ok(1.0), |scale| scale.item())
    }

    /// How many steps an overflow has made void. Reading it waits for the device.
    ///
    /// # Errors
    /// What the device says.
    pub fn skipped_steps(&self) -> Result<usize> {
        self.cells.get(2).map_or(Ok(0), |skipped| Ok(skipped.item()? as usize))
    }

    /// What the three cells become.
    fn rescaled(&self, overflow: &Tensor) -> Updates {
        let [scale, clean, skipped] = &self.cells[..] else { return Updates::new() };
        let clean = clean.value() + Lit(1.0);
        let due = clean.ge(self.interval as f32);
        let (scale, skipped) = (scale.value(), skipped.value());
        let grown = &scale * self.growth;
        let grown = Tensor::where_(&grown.isfinite(), &grown, &scale);
        let calm = Tensor::where_(&due, grown, &scale);
        let clean = Tensor::where_(&due.logical_or(overflow), Lit(0.0), clean);
        let counted = skipped + overflow.cast(scale.dtype());
        let next = [Tensor::where_(overflow, scale * self.backoff, calm), clean, counted];
        self.cells.iter().cloned().zip(next).collect()
    }
}

impl<O: Optimizer> Optimizer for MixedPrecision<O> {
    fn slots(&self) -> &Slots {
        self.inner.slots()
    }

    fn slots_mut(&mut self) -> &mut Slots {
        self.taken.change();
        self.inner.slots_mut()
    }

    fn taken(&mut self) -> Option<&mut Taken> {
        self.inner.taken().is_some().then_some(&mut self.taken)
    }

    fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        let Some(scale) = self.cells.first() else { return self.inner.backward(loss) };
        let scale = scale.value();
        let inverse = scale.recip();
        let mut gradients = loss.mixed_precision()?.backward_with(&scale)?.map(|g| g * &inverse);
        if let Some(count) = not_finite(&gradients) {
            gradients.skip_where(&count);
        }
        Ok(gradients)
    }

    fn update(&self, gradients: &Gradients) -> Updates {
        let mut updates = self.inner.update(gradients);
        let Some(skip) = gradients.skip() else {
            if let (false, Some(scale)) = (gradients.is_empty(), self.cells.first()) {
                updates.push((scale.clone(), gradients.loss().not_mixed()));
            }
            return updates;
        };
        let overflow = skip.ne(Lit(0.0));
        for (state, value) in &mut updates {
            *value = Tensor::where_(&overflow, state.value(), &*value);
        }
        updates.extend(self.rescaled(&overflow));
        updates
    }

    fn formulas(&self, gradients: &Gradients) -> Result<(Vec<u64>, Vec<Tensor>)> {
        let (mut key, mut numbers) = self.inner.formulas(gradients)?;
        if let Some(skip) = gradients.skip() {
            let (own, notes) = noted(|| self.rescaled(&skip.ne(Lit(0.0))));
            key.extend(formula_key(&own)?);
            numbers.extend(notes.numbers);
        }
        Ok((key, numbers))
    }

    fn lr(&self) -> f64 {
        self.inner.lr()
    }

    fn set_lr(&mut self, lr: f64) {
        self.taken.change();
        self.inner.set_lr(lr);
    }

    fn present_momentum(&self) -> Option<f64> {
        self.inner.present_momentum()
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.taken.change();
        self.inner.set_momentum(momentum);
    }

    fn states(&self) -> Vec<(String, State)> {
        let own = NAMES.iter().map(|name| format!("scaler.{name}")).zip(self.cells.iter().cloned());
        self.inner.states().into_iter().chain(own).collect()
    }

    fn adapt(&self, dict: StateDict) -> Result<StateDict> {
        self.inner.adapt(dict)
    }

    fn version(&self) -> u64 {
        self.inner.version()
    }
}

/// How many elements of all gradients are infinite or NaN, as one float. Small gradients are counted together.
fn not_finite(gradients: &Gradients) -> Option<Tensor> {
    let count = |g: &Tensor| g.isfinite().logical_not().cast(crate::DType::F32).sum();
    let (small, large): (Vec<&Tensor>, Vec<&Tensor>) =
        gradients.iter().map(|(_, g)| g).partition(|g| g.numel() <= 16_384);
    let flat: Vec<Tensor> = small.iter().map(|g| g.reshape([-1i64])).collect();
    let joined = flat.chunks(8).map(|some| Tensor::cat(some, 0));
    let counts = joined.chain(large.into_iter().cloned()).map(|g| count(&g));
    counts.reduce(|sum, n| sum + n)
}
