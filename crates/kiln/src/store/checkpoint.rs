//! Checkpoints of a training that is to go on: the model, the optimizer's memory and the random
//! counters in one file, so that a run that was killed continues to the same bits.

use std::path::Path;

use super::{Metadata, load_tensors, save_tensors};
use crate::nn::{Module, StateDict, Visitor};
use crate::optim::Optimizer;
use crate::{Device, Result, State};

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
    let mut all = StateDict::new();
    all.extend(model.state_dict().into_iter().map(|(name, tensor)| (format!("model.{name}"), tensor)));
    let counters = model.named_counters().into_iter().map(|(name, state)| (format!("counter.{name}"), state.value()));
    all.extend(counters);
    all.extend(optimizer.state_dict().into_iter().map(|(name, tensor)| (format!("optimizer.{name}"), tensor)));
    save_tensors(&all, metadata, path)
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
    let parts = Parts { model, counters: model.named_counters(), optimizer: optimizer.states() };
    parts.load_state_dict(&tensors)?;
    Ok(metadata)
}

/// All three as one module, so that they are checked together before anything is replaced.
struct Parts<'a, M: Module + ?Sized> {
    model: &'a M,
    counters: Vec<(String, State)>,
    optimizer: Vec<(String, State)>,
}

impl<M: Module + ?Sized> Module for Parts<'_, M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.field("model", self.model);
        for (kind, states) in [("counter", &self.counters), ("optimizer", &self.optimizer)] {
            for (name, state) in states {
                visitor.field(format_args!("{kind}.{name}"), state);
            }
        }
    }
}
