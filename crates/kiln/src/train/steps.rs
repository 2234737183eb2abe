//! How a batch becomes a step: as it is, added up with others, or captured.

use std::cell::RefCell;
use std::collections::HashMap;

use super::Outcome;
use crate::optim::{Accumulator, Batch, Captured, Clipped, Optimizer, Traced};
use crate::{Result, Tensor};

/// Takes batches in and makes steps of them.
pub(super) trait Steps<B> {
    type Optimizer: Optimizer;

    fn optimizer(&self) -> &Self::Optimizer;

    fn optimizer_mut(&mut self) -> &mut Self::Optimizer;

    /// Takes in a batch; one that `completes` a step takes it.
    fn take(&mut self, batch: &B, completes: bool) -> Result<Outcome>;
}

/// A graph for each batch; several batches are added up if there is an accumulator.
pub(super) struct Plain<'o, O, F> {
    pub(super) optimizer: Clipped<&'o mut O>,
    pub(super) forward: F,
    pub(super) sum: Option<Accumulator>,
}

impl<'o, B, O: Optimizer, F: Fn(&B) -> Outcome> Steps<B> for Plain<'o, O, F> {
    type Optimizer = Clipped<&'o mut O>;

    fn optimizer(&self) -> &Clipped<&'o mut O> {
        &self.optimizer
    }

    fn optimizer_mut(&mut self) -> &mut Clipped<&'o mut O> {
        &mut self.optimizer
    }

    fn take(&mut self, batch: &B, completes: bool) -> Result<Outcome> {
        let outcome = (self.forward)(batch);
        let also: Vec<&Tensor> = outcome.metric.iter().map(|(_, metric)| metric).collect();
        match &mut self.sum {
            None => self.optimizer.step_with(&outcome.loss, &also)?,
            Some(sum) => {
                // the sum is clipped, not its parts
                sum.add_with(&self.optimizer.inner().backward(&outcome.loss)?, &also)?;
                if completes {
                    let mut gradients = sum.mean()?;
                    self.optimizer.clip(&mut gradients);
                    self.optimizer.step(&gradients)?;
                }
            }
        }
        Ok(outcome)
    }
}

/// What an outcome has besides tensors, for each structure of a batch: a captured step has tensors only.
pub(super) type Noted = RefCell<HashMap<Vec<Vec<usize>>, (Option<&'static str>, usize)>>;

/// The shapes of a batch's tensors.
fn structure(batch: &impl Batch) -> Vec<Vec<usize>> {
    batch.tensors().iter().map(|t| t.shape().map_or_else(|_| Vec::new(), |shape| shape.to_vec())).collect()
}

/// The function that is captured: `forward`, with what is no tensor noted.
pub(super) fn traced<B: Batch>(batch: &B, forward: impl Fn(&B) -> Outcome, noted: &Noted) -> Traced {
    let Outcome { loss, metric, count } = forward(batch);
    noted.borrow_mut().insert(structure(batch), (metric.as_ref().map(|(name, _)| *name), count));
    let traced = Traced::from(loss);
    match &metric {
        Some((_, metric)) => traced.also(&[metric]),
        None => traced,
    }
}

/// One graph for each structure of a batch.
pub(super) struct Recorded<'c, 'n, O: Optimizer, B, F> {
    pub(super) captured: Captured<'c, O, B, F>,
    pub(super) noted: &'n Noted,
}

impl<O: Optimizer, B: Batch, F: FnMut(&B) -> Traced> Steps<B> for Recorded<'_, '_, O, B, F> {
    type Optimizer = O;

    fn optimizer(&self) -> &O {
        self.captured.optimizer()
    }

    fn optimizer_mut(&mut self) -> &mut O {
        self.captured.optimizer_mut()
    }

    fn take(&mut self, batch: &B, _completes: bool) -> Result<Outcome> {
        let loss = self.captured.step(batch)?;
        let (name, count) = self.noted.borrow().get(&structure(batch)).copied().unwrap_or_default();
        let metric = name.zip(self.captured.also().first().cloned());
        Ok(Outcome { loss, metric, count })
    }
}
