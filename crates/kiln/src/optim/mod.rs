//! Optimizers: formulas from gradients to new values. Everything they remember lives in cells that
//! are replaced in the same step as the parameters, so a step that is refused changes nothing.

mod adam;
mod capture;
mod clip;
mod mixed;
mod sgd;

pub use adam::{Adam, AdamW};
pub use capture::{Batch, Captured, Traced};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use mixed::MixedPrecision;
pub use sgd::Sgd;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::nn::{Module, StateDict};
use crate::{Gradients, Param, Result, State, Tensor};

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
/// One that is written anew needs its cells, [`update`](Optimizer::update) and the four small
/// methods around it; see `Sgd`.
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
    /// has reported since, [`Error::Index`](crate::Error::Index), and what planning gives.
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

    /// The learning rate.
    fn lr(&self) -> f64 {
        self.slots().lr
    }

    /// Sets the learning rate. It is a number of the host: changing it at every step costs nothing.
    fn set_lr(&mut self, lr: f64) {
        self.slots_mut().lr = lr;
    }

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
        Named(self.states()).load_state_dict(dict)
    }
}

/// One step of any optimizer, for code that holds it as `dyn Optimizer`.
///
/// # Errors
/// As for [`Optimizer::step`].
pub fn take_step(optimizer: &mut (impl Optimizer + ?Sized), from: StepInput<'_>, also: &[&Tensor]) -> Result<()> {
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

/// The parameters of an optimizer.
pub struct Slots {
    /// The learning rate of all of them.
    pub lr: f64,
    /// One for each parameter.
    pub all: Vec<Slot>,
}

/// A parameter and what is particular to it.
pub struct Slot {
    /// Its path in the model.
    pub name: String,
    /// The parameter.
    pub param: Param,
    /// A factor of the learning rate; 1 at first.
    pub lr_scale: f64,
    /// The weight decay.
    pub weight_decay: f64,
}

impl Slots {
    fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let slot = |(name, param): (String, Param)| {
            param.name(&name);
            Slot { name, param, lr_scale: 1.0, weight_decay: 0.0 }
        };
        Self { lr, all: model.named_parameters().into_iter().map(slot).collect() }
    }

    /// The parameters that have a gradient, with their place in the list.
    fn with_gradients<'a>(&'a self, gradients: &'a Gradients) -> impl Iterator<Item = (usize, &'a Slot, Tensor)> {
        let known: HashMap<u64, &Tensor> = gradients.iter().collect();
        let found = self.all.iter().enumerate();
        found.filter_map(move |(index, slot)| Some((index, slot, (*known.get(&slot.param.id())?).clone())))
    }

    /// Cells of zeros, shaped like the parameters.
    fn zeros(&self) -> Vec<State> {
        self.all.iter().map(|slot| slot.param.group().state(&slot.param.zeros_like())).collect()
    }

    /// Cells of the optimizer's own, one number each. An optimizer of nothing has no device, and needs none.
    fn numbers(&self, values: &[f64]) -> Vec<State> {
        let group = self.all.first().map(|slot| slot.param.group());
        group
            .iter()
            .flat_map(|group| values.iter().map(|&v| group.state(&Tensor::new(group.device(), v as f32))))
            .collect()
    }

    /// The names of cells that go with the parameters.
    fn named<'a>(&'a self, kind: &'a str, states: &'a [State]) -> impl Iterator<Item = (String, State)> + 'a {
        self.all.iter().zip(states).map(move |(slot, state)| (format!("{}.{kind}", slot.name), state.clone()))
    }
}

/// The settings that every optimizer has, as builder methods.
macro_rules! settings {
    ($($slots:tt)+) => {
        /// Decays the weights of every parameter towards zero by this rate.
        #[must_use]
        pub fn weight_decay(mut self, rate: f64) -> Self {
            self.$($slots)+.all.iter_mut().for_each(|slot| slot.weight_decay = rate);
            self
        }

        /// Changes the settings of single parameters, PyTorch's parameter groups:
        /// `|slot| if slot.name.ends_with("bias") { slot.weight_decay = 0.0 }`.
        #[must_use]
        pub fn each(mut self, change: impl FnMut(&mut $crate::optim::Slot)) -> Self {
            self.$($slots)+.all.iter_mut().for_each(change);
            self
        }
    };
}
use settings;
