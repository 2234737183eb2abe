//! Checkpoints of a training that is to go on: the model, the optimizer's memory and the random
//! counters in one file, so that a run that was killed continues to the same bits.

use std::path::Path;

use super::{Metadata, load_tensors, save_tensors};
use crate::nn::{Module, StateDict, Visitor};
use crate::optim::{AveragedModel, Optimizer};
use crate::{Device, Result, State, Tensor};

/// Writes model, optimizer and random counters, with `metadata` of the caller (epoch, seed).
///
/// # Errors
/// [`Error::File`](crate::Error::File), or what evaluating a tensor gives.
pub fn save_training<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    metadata: &Metadata,
    path: impl AsRef<Path>,
) -> Result<()> {
    save_run(model, optimizer, None, metadata, path.as_ref())
}

/// [`save_training`] with averages of the weights (EMA, SWA) and how many there were.
///
/// # Errors
/// As [`save_training`].
pub fn save_averaged<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    average: &AveragedModel,
    metadata: &Metadata,
    path: impl AsRef<Path>,
) -> Result<()> {
    save_run(model, optimizer, Some(average), metadata, path.as_ref())
}

/// The same, with averages of the weights if there are some.
pub(crate) fn save_run<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    average: Option<&AveragedModel>,
    metadata: &Metadata,
    path: &Path,
) -> Result<()> {
    let all = run_state(model, optimizer, average)?;
    save_tensors(&all, metadata, path)
}

/// Everything in cells that a training goes on from, as values.
pub(crate) fn run_state<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    average: Option<&AveragedModel>,
) -> Result<StateDict> {
    let parts = Parts { model, counters: model.named_counters(), optimizer: optimizer.states(), average };
    let all = parts.state_dict();
    Tensor::eval_all(&all.values().collect::<Vec<_>>())?;
    Ok(all)
}

/// Puts everything that [`save_training`] wrote back and gives the metadata.
///
/// # Errors
/// [`Error::File`](crate::Error::File) if the file cannot be read; [`Error::State`](crate::Error::State)
/// if it is of another model or optimizer, and nothing has been changed then.
pub fn load_training<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    device: &Device,
    path: impl AsRef<Path>,
) -> Result<Metadata> {
    let (tensors, metadata) = load_tensors(device, path)?;
    load_run(model, optimizer, None, &tensors)?;
    Ok(metadata)
}

/// Puts everything that [`save_averaged`] wrote back and gives the metadata.
///
/// # Errors
/// As [`load_training`]; a file without averages is of another model.
pub fn load_averaged<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    average: &AveragedModel,
    device: &Device,
    path: impl AsRef<Path>,
) -> Result<Metadata> {
    let (tensors, metadata) = load_tensors(device, path)?;
    load_run(model, optimizer, Some(average), &tensors)?;
    Ok(metadata)
}

/// Puts back what [`run_state`] gave.
pub(crate) fn load_run<M: Module + ?Sized>(
    model: &M,
    optimizer: &(impl Optimizer + ?Sized),
    average: Option<&AveragedModel>,
    tensors: &StateDict,
) -> Result<()> {
    let parts = Parts { model, counters: model.named_counters(), optimizer: optimizer.states(), average };
    parts.load_state_dict(tensors)
}

/// All of them as one module, so that they are checked together before anything is replaced.
struct Parts<'a, M: Module + ?Sized> {
    model: &'a M,
    counters: Vec<(String, State)>,
    optimizer: Vec<(String, State)>,
    average: Option<&'a AveragedModel>,
}

impl<M: Module + ?Sized> Module for Parts<'_, M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.field("model", self.model);
        for (kind, states) in [("counter", &self.counters), ("optimizer", &self.optimizer)] {
            for (name, state) in states {
                visitor.field(format_args!("{kind}.{name}"), state);
            }
        }
        if let Some(average) = self.average {
            visitor.field("average", average);
        }
    }
}
