//! Captured steps: a recipe, and for which batches and modes it stands.

use super::recipe::{Left, Recipe};
use crate::error::{At, Result};
use crate::node::{Node, Op, Value};
use crate::trace::Notes;
use crate::{DType, Shape, State, Tensor};

/// A step that was made once: for batches of the same kind it only runs.
pub(crate) struct Capture {
    recipe: Recipe,
    batch: Vec<Kind>,
    notes: Notes,
    results: Vec<(Kind, At)>,
}

/// What a tensor of the batch is to the plan.
#[derive(PartialEq)]
struct Kind {
    shape: Shape,
    dtype: DType,
    /// A number of the host, not an array.
    number: bool,
}

fn kind(tensor: &Tensor) -> Kind {
    let number = matches!(tensor.0.op, Op::Scalar(_));
    Kind { shape: tensor.0.shape, dtype: tensor.0.dtype, number }
}

/// [`super::step`], recorded, to run it again with another batch. There is nothing to be kept where no recipe can be.
///
/// `notes` are what was noted while the step was made; `optimizer` are the numbers of its update.
pub(crate) fn capture_step(
    guards: &[&Tensor],
    replace: Vec<(State, Tensor)>,
    also: &[&Tensor],
    batch: &[Tensor],
    notes: Notes,
    optimizer: &[Tensor],
) -> Result<Option<Capture>> {
    let wanted: Vec<Tensor> = guards.iter().take(1).chain(also).map(|t| t.current()).collect();
    let mut recipe = None;
    super::step_then(guards, replace, also, |executor, graph, key| {
        recipe = executor.recipe(graph, key, &wanted, batch, optimizer);
    })?;
    Ok(recipe.map(|recipe| Capture {
        recipe,
        batch: batch.iter().map(kind).collect(),
        notes: Notes { modes: notes.modes, numbers: Vec::new() },
        results: wanted.iter().map(|tensor| (kind(tensor), tensor.0.at)).collect(),
    }))
}

impl Capture {
    /// Whether the step would be made in the same way for `batch`.
    pub(crate) fn fits(&self, batch: &[Tensor]) -> bool {
        self.batch.len() == batch.len()
            && self.batch.iter().zip(batch).all(|(known, tensor)| *known == kind(tensor))
            && self.notes.hold()
            && self.recipe.reads.iter().all(|(cell, was)| cell.trainable() == *was)
    }

    /// Takes the optimizer's numbers anew: as many as there were.
    pub(crate) fn renumber(&mut self, numbers: &[Tensor]) {
        self.recipe.renumber(numbers);
    }

    /// Runs the step with another batch, whose tensors are in memory. `None` if its plan is gone: record it again.
    pub(crate) fn run(&mut self, batch: &[Tensor]) -> Result<Option<Vec<Tensor>>> {
        let device = self.recipe.device.clone();
        let mut executor = device.executor();
        executor.settle_waiting(|cell| self.recipe.concerns(cell.info.id))?;
        let Some(results) = executor.rerun(&mut self.recipe, batch, None)? else { return Ok(None) };
        let leaf = |(left, (kind, at)): (Left, &(Kind, At))| {
            Node::leaf(&device, Op::Value, kind.shape, kind.dtype, *at, Value::Ready(left.stored))
        };
        Ok(Some(results.into_iter().zip(&self.results).map(leaf).collect()))
    }
}
