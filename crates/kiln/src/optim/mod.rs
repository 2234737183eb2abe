//! Optimizers: formulas from gradients to new values. Everything they remember lives in cells that
//! are replaced in the same step as the parameters, so a step that is refused changes nothing.

mod accumulate;
mod average;
mod capture;
mod clip;
mod clipped;
mod joined;
mod lbfgs;
mod line_search;
mod memory;
mod method;
mod mixed;
mod noise;
mod rules;
mod slots;
mod taken;

pub use accumulate::Accumulator;
pub use average::{AveragedModel, update_bn};
pub use capture::{Batch, Captured, Traced};
pub use clip::{clip_grad_norm, clip_grad_norm_of, clip_grad_value, clip_grads_with_norm, total_norm};
pub use clipped::Clipped;
pub use joined::Joined;
pub use lbfgs::Lbfgs;
pub use method::{Method, Refused, Rule, Turn};
pub use mixed::MixedPrecision;
pub use noise::GradientNoise;
pub use rules::adam::{Adam, AdamRule, AdamW, AdamWRule, Moments};
pub use rules::asgd::{Asgd, AsgdRule};
pub use rules::layerwise::{Adafactor, AdafactorRule, Lamb, LambRule};
pub use rules::moments::{Adamax, AdamaxRule, NAdam, NAdamRule, RAdam, RAdamRule};
pub use rules::muon::{AdjustLr, Muon, MuonRule};
pub use rules::sgd::{Sgd, SgdRule};
pub use rules::signs::{Lion, LionRule, Rprop, RpropRule};
pub use rules::squares::{Adadelta, AdadeltaRule, Adagrad, AdagradRule, RmsProp, RmsPropRule};
pub use slots::{Group, Slot, Slots};
#[doc(hidden)]
pub use taken::Taken;

use std::borrow::Cow;

use crate::nn::{Module, StateDict};
use crate::{Gradients, Result, State, Tensor};

/// What a step is taken from: a loss, or gradients already made (clipped, accumulated).
pub enum StepInput<'a> {
    /// The loss; its gradients are taken in the step.
    Loss(&'a Tensor),
    /// Gradients.
    Gradients(&'a Gradients),
}

impl<'a> From<&'a Tensor> for StepInput<'a> {
    fn from(loss: &'a Tensor) -> Self {
        StepInput::Loss(loss)
    }
}

impl<'a> From<&'a Gradients> for StepInput<'a> {
    fn from(gradients: &'a Gradients) -> Self {
        StepInput::Gradients(gradients)
    }
}

/// Moves parameters against their gradients.
///
/// One that is written anew is a [`Rule`] for one parameter, of which [`Method`] makes the rest; see `Sgd`.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut adam = Adam::new(&model, 1e-2);
/// let loss = model.forward(&Tensor::ones(&device, &[8, 3])).square().mean();
/// adam.step(&loss)?;      // forward, backward and update run as one plan
/// assert!(loss.item()?.is_finite());
/// # Ok::<(), Error>(())
/// ```
pub trait Optimizer {
    /// The parameters and what is particular to each.
    fn slots(&self) -> &Slots;

    /// The same, to be changed.
    fn slots_mut(&mut self) -> &mut Slots;

    /// What every cell becomes, given the gradients.
    fn update(&self, gradients: &Gradients) -> Updates;

    /// A key of what [`update`](Optimizer::update) makes of gradients like these, and the numbers of the host in it, in the
    /// order in which it makes them. When settings have changed, a step that is known takes the numbers anew; with another
    /// key it is made anew.
    ///
    /// # Errors
    /// The first error that an expression carries.
    fn formulas(&self, gradients: &Gradients) -> Result<(Vec<u64>, Vec<Tensor>)> {
        let (updates, notes) = crate::trace::noted(|| self.update(gradients));
        Ok((crate::formula_key(&updates)?.to_vec(), notes.numbers))
    }

    /// Everything remembered between steps, by name: `hidden.weight.exp_avg`, …
    fn states(&self) -> Vec<(String, State)>;

    /// The gradients of a loss, as this optimizer wants them made: for a loop that clips or adds them up before
    /// [`step`](Optimizer::step).
    ///
    /// # Errors
    /// As [`Tensor::backward`]; in mixed precision [`kiln_device::Error::Feature`] on a device without f16.
    fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        loss.backward()
    }

    /// This optimizer in mixed precision: products in f16, parameters in f32, a loss scale that adapts.
    fn mixed_precision(self) -> MixedPrecision<Self>
    where
        Self: Sized,
    {
        MixedPrecision::new(self)
    }

    /// Takes one step. All of it runs as one plan; if the loss is not finite, nothing is changed.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) or an error of an earlier step that the device
    /// has reported since, [`Error::Index`](crate::Error::Index), [`Error::Argument`](crate::Error::Argument) for a setting
    /// of the optimizer or of its schedule that is out of range, and what planning gives.
    fn step<'a>(&mut self, from: impl Into<StepInput<'a>>) -> Result<()>
    where
        Self: Sized,
    {
        self.step_with(from, &[])
    }

    /// The same; `also` are other results of the forward pass (logits, accuracy) that are computed
    /// in the same plan and can be read after it.
    ///
    /// # Errors
    /// As for [`step`](Optimizer::step).
    fn step_with<'a>(&mut self, from: impl Into<StepInput<'a>>, also: &[&Tensor]) -> Result<()>
    where
        Self: Sized,
    {
        take_step(self, from.into(), also)
    }

    /// The steps taken so far, if `backward` and `update` follow from the loss and the settings alone: one on a loss of
    /// a structure that is known is taken again without them.
    #[doc(hidden)]
    fn taken(&mut self) -> Option<&mut Taken> {
        None
    }

    /// Steps that are made once and then only run: `make` builds the loss of a batch as for [`step`](Optimizer::step),
    /// and is called again only for a batch of other shapes, or when a layer's mode or a parameter's `trainable` has
    /// changed. Later batches take the place of the first one's tensors in the same plan, so a step costs the host
    /// little more than its encoding.
    ///
    /// What `make` reads besides the batch and the model's cells is fixed at its call: a number that changes from step
    /// to step belongs into the batch. Random masks go on as ever; their keys are cells.
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// # let device = Device::open()?;
    /// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
    /// let mut adam = Adam::new(&model, 1e-2);
    /// let mut train = adam.capture(|(x, y): &(Tensor, Tensor)| mse_loss(&model.forward(x), y));
    /// for i in 0..3 {
    ///     let batch = (Tensor::full(&device, &[8, 3], i as f32), Tensor::ones(&device, &[8, 1]));
    ///     let loss = train.step(&batch)?;
    ///     train.set_lr(1e-2 / (1.0 + i as f64));
    ///     assert!(loss.item()?.is_finite());
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    fn capture<B: Batch, T: Into<Traced>, F: FnMut(&B) -> T>(&mut self, make: F) -> Captured<'_, Self, B, F>
    where
        Self: Sized,
    {
        Captured::new(self, make)
    }

    /// The learning rate; that of the first group where there are several.
    fn lr(&self) -> f64 {
        self.slots().groups.first().map_or(0.0, |group| group.lr)
    }

    /// Sets the learning rate. It is a number of the host: changing it at every step costs nothing. Other groups keep
    /// the ratio of their learning rates at first to that of the first group.
    fn set_lr(&mut self, lr: f64) {
        let first = self.slots().groups.first().map_or(lr, |group| group.initial_lr);
        let scale = |initial: f64| if first == 0.0 { lr } else { lr * (initial / first) };
        let wanted = |(at, group): (usize, &Group)| if at == 0 { lr } else { scale(group.initial_lr) };
        let all: Vec<f64> = self.slots().groups.iter().enumerate().map(wanted).collect();
        let slots = self.slots();
        if slots.allowed().is_err() || slots.groups.iter().zip(&all).any(|(group, lr)| group.lr != *lr) {
            let slots = self.slots_mut();
            slots.allow();
            slots.groups.iter_mut().zip(all).for_each(|(group, lr)| group.lr = lr);
        }
    }

    /// The momentum (β₁ of Adam and its relatives), where there is one.
    fn present_momentum(&self) -> Option<f64> {
        None
    }

    /// Sets the momentum, as one-cycle schedules do. It is a number of the host too.
    fn set_momentum(&mut self, _momentum: f64) {}

    /// The values of [`states`](Optimizer::states).
    fn state_dict(&self) -> StateDict {
        self.states().into_iter().map(|(name, state)| (name, state.value())).collect()
    }

    /// Puts the values of a [`state_dict`](Optimizer::state_dict) back.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) lists what is missing, unexpected or of another
    /// shape; nothing has been changed then.
    fn load_state_dict(&mut self, dict: &StateDict) -> Result<()> {
        let dict = self.adapt(dict.clone())?;
        Named(self.states()).load_state_dict(&dict)
    }

    /// Makes the cells that `dict` has values for and a new optimizer has not, and gives `dict` with the values of cells that
    /// an optimizer has made since; for one that is made of others.
    #[doc(hidden)]
    fn adapt(&self, dict: StateDict) -> Result<StateDict> {
        Ok(dict)
    }

    /// A number that changes when a step that is known must be made anew.
    #[doc(hidden)]
    fn version(&self) -> u64 {
        0
    }
}

/// What points to an optimizer is one.
impl<O: Optimizer + ?Sized> Optimizer for &mut O {
    fn slots(&self) -> &Slots {
        (**self).slots()
    }

    fn slots_mut(&mut self) -> &mut Slots {
        (**self).slots_mut()
    }

    fn update(&self, gradients: &Gradients) -> Updates {
        (**self).update(gradients)
    }

    fn formulas(&self, gradients: &Gradients) -> Result<(Vec<u64>, Vec<Tensor>)> {
        (**self).formulas(gradients)
    }

    fn states(&self) -> Vec<(String, State)> {
        (**self).states()
    }

    fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        (**self).backward(loss)
    }

    fn taken(&mut self) -> Option<&mut Taken> {
        (**self).taken()
    }

    fn lr(&self) -> f64 {
        (**self).lr()
    }

    fn set_lr(&mut self, lr: f64) {
        (**self).set_lr(lr);
    }

    fn present_momentum(&self) -> Option<f64> {
        (**self).present_momentum()
    }

    fn set_momentum(&mut self, momentum: f64) {
        (**self).set_momentum(momentum);
    }

    fn state_dict(&self) -> StateDict {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<()> {
        (**self).load_state_dict(dict)
    }

    fn adapt(&self, dict: StateDict) -> Result<StateDict> {
        (**self).adapt(dict)
    }

    fn version(&self) -> u64 {
        (**self).version()
    }
}

/// One step of any optimizer, for code that holds it as `dyn Optimizer`.
///
/// # Errors
/// As for [`Optimizer::step`].
pub fn take_step(optimizer: &mut (impl Optimizer + ?Sized), from: StepInput<'_>, also: &[&Tensor]) -> Result<()> {
    optimizer.slots().allowed()?;
    if let StepInput::Loss(loss) = from
        && let Some(taken) = optimizer.taken()
    {
        let mut taken = std::mem::take(taken);
        let stepped = taken.step(optimizer, loss, also);
        if let Some(place) = optimizer.taken() {
            *place = taken;
        }
        if stepped? {
            return Ok(());
        }
    }
    let gradients = from.gradients(optimizer)?;
    let guards: Vec<&Tensor> = gradients.guards().iter().collect();
    crate::step(&guards, updates(optimizer, &gradients), also)
}

impl StepInput<'_> {
    /// The gradients, taken now if only the loss is known.
    fn gradients(&self, optimizer: &(impl Optimizer + ?Sized)) -> Result<Cow<'_, Gradients>> {
        match self {
            StepInput::Loss(loss) => optimizer.backward(loss).map(Cow::Owned),
            StepInput::Gradients(gradients) => Ok(Cow::Borrowed(gradients)),
        }
    }
}

/// The new values, as a part of a profile of their own.
fn updates(optimizer: &(impl Optimizer + ?Sized), gradients: &Gradients) -> Updates {
    let _span = gradients.loss().device().span("update expressions");
    optimizer.update(gradients)
}

/// States as a module, whose walk they then share.
struct Named(Vec<(String, State)>);

impl Module for Named {
    fn visit(&self, visitor: &mut crate::nn::Visitor<'_>) {
        for (name, state) in &self.0 {
            visitor.field(name, state);
        }
    }
}

/// The new value of each cell: what a step puts where.
pub type Updates = Vec<(State, Tensor)>;
