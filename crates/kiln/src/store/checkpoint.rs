//! Checkpoints of a training that is to go on: the model, the optimizer's memory, the random counters and what else is in
//! cells in one file, so that a run that was killed continues to the same bits.

use std::path::Path;

use super::{Metadata, load_tensors, save_tensors};
use crate::nn::{Module, StateDict, Visitor};
use crate::optim::Optimizer;
use crate::{Device, Result, State, Tensor};

/// Writes model, optimizer and random counters, with `metadata` of the caller (epoch, seed): a [`TrainingState`] of these.
///
/// # Errors
/// [`Error::File`](crate::Error::File), or what evaluating a tensor gives.
pub fn save_training<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    metadata: &Metadata,
    path: impl AsRef<Path>,
) -> Result<()> {
    TrainingState::new(model, optimizer).save(metadata, path)
}

/// Puts everything that [`save_training`] wrote back and gives the metadata.
///
/// # Errors
/// As for [`TrainingState::load`].
pub fn load_training<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    device: &Device,
    path: impl AsRef<Path>,
) -> Result<Metadata> {
    TrainingState::new(model, optimizer).load(device, path)
}

/// Everything in cells that a training goes on from: a model and its optimizer, with the random counters, and whatever
/// else is [added](TrainingState::with): averages of the weights, a second model.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// # let path = std::env::temp_dir().join(format!("kiln-doc-state-{}.safetensors", std::process::id()));
/// let model = Linear::new(4, 2, &mut Init::new(&device, 1));
/// let (adam, average) = (Adam::new(&model, 1e-3), AveragedModel::ema(&model, 0.99));
/// let state = store::TrainingState::new(&model, &adam).with("average", &average);
/// state.save(&[("epoch".into(), "3".into())].into(), &path)?;
/// assert_eq!(state.load(&device, &path)?["epoch"], "3");
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), Error>(())
/// ```
pub struct TrainingState<'a, M: ?Sized, O: ?Sized> {
    model: &'a M,
    optimizer: &'a O,
    more: Vec<(&'a str, &'a dyn Module)>,
}

impl<'a, M: Module + ?Sized, O: Optimizer + ?Sized> TrainingState<'a, M, O> {
    /// Of a model and its optimizer.
    pub fn new(model: &'a M, optimizer: &'a O) -> Self {
        Self { model, optimizer, more: Vec::new() }
    }

    /// And of this, under a name of its own (other than `model`, `optimizer`, `counter`).
    #[must_use]
    pub fn with(mut self, name: &'a str, module: &'a dyn Module) -> Self {
        self.more.push((name, module));
        self
    }

    /// Writes all of it, with `metadata` of the caller. The file is complete or absent, whatever happens.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File), or what evaluating a tensor gives.
    pub fn save(&self, metadata: &Metadata, path: impl AsRef<Path>) -> Result<()> {
        save_tensors(&self.tensors()?, metadata, path)
    }

    /// Puts everything that [`save`](TrainingState::save) wrote back and gives the metadata.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the file cannot be read; [`Error::State`](crate::Error::State) if it is of
    /// another model, optimizer or average, and nothing has been changed then.
    pub fn load(&self, device: &Device, path: impl AsRef<Path>) -> Result<Metadata> {
        let path = path.as_ref();
        let (tensors, metadata) = load_tensors(device, path)?;
        self.restore(&tensors).map_err(|error| error.of_file(path))?;
        Ok(metadata)
    }

    /// All of it as values.
    pub(crate) fn tensors(&self) -> Result<StateDict> {
        let all = self.parts().state_dict();
        Tensor::eval_all(&all.values().collect::<Vec<_>>())?;
        Ok(all)
    }

    /// Puts back what [`tensors`](TrainingState::tensors) gave.
    pub(crate) fn restore(&self, tensors: &StateDict) -> Result<()> {
        // an optimizer may have to make cells for some of the values first
        let of_optimizer = |path: &str| path.strip_prefix("optimizer.").map(String::from);
        let own = tensors.iter().filter_map(|(path, value)| Some((of_optimizer(path)?, value.clone())));
        let adapted = self.optimizer.adapt(own.collect())?;
        let mut all: StateDict = tensors.clone();
        all.extend(adapted.into_iter().map(|(path, value)| (format!("optimizer.{path}"), value)));
        self.parts().load_state_dict(&all)
    }

    /// Where its cells live; `None` if there are none.
    pub(crate) fn device(&self) -> Option<Device> {
        super::device_of(&self.parts())
    }

    fn parts(&self) -> Parts<'_, M> {
        let mut counters = self.model.named_counters();
        for (name, module) in &self.more {
            counters.extend(module.named_counters().into_iter().map(|(path, state)| (format!("{name}.{path}"), state)));
        }
        Parts { model: self.model, counters, optimizer: self.optimizer.states(), more: &self.more }
    }
}

/// All of them as one module, so that they are checked together before anything is replaced.
struct Parts<'a, M: ?Sized> {
    model: &'a M,
    counters: Vec<(String, State)>,
    optimizer: Vec<(String, State)>,
    more: &'a [(&'a str, &'a dyn Module)],
}

impl<M: Module + ?Sized> Module for Parts<'_, M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.field("model", self.model);
        for (kind, states) in [("counter", &self.counters), ("optimizer", &self.optimizer)] {
            for (name, state) in states {
                visitor.field(format_args!("{kind}.{name}"), state);
            }
        }
        for (name, module) in self.more {
            visitor.field(name, *module);
        }
    }
}
