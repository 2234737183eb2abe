//! Gradients of several batches, added up.

use super::Optimizer;
use crate::{Gradients, Lit, Param, Result, State, Tensor};

/// Adds up the gradients of several batches for one step, in cells: each batch is a plan of its own, whose graph and
/// activations are let go of.
///
/// In mixed precision, a step is skipped if one of its batches overflowed.
///
/// ```
/// # use kiln::prelude::*; use kiln::optim::Accumulator;
/// # let device = Device::open()?;
/// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut sgd = Sgd::new(&model, 0.1);
/// let mut sum = Accumulator::new(&sgd);
/// for _ in 0..4 {
///     let loss = model.forward(&Tensor::ones(&device, &[8, 3])).square().mean();
///     sum.add(&sgd.backward(&loss)?)?;
/// }
/// sgd.step(&sum.mean()?)?;      // as one batch of 32
/// # Ok::<(), Error>(())
/// ```
pub struct Accumulator {
    cells: Vec<Sum>,
    skip: Option<State>,
    /// Whether some gradients came with a condition to skip the step.
    skips: bool,
    count: usize,
    loss: Option<Tensor>,
}

/// The sum of the gradients of a parameter.
struct Sum {
    of: Param,
    cell: State,
    /// Whether one of the batches has a gradient. Where none has, the step has none.
    present: bool,
}

impl Accumulator {
    /// For the parameters of `optimizer`.
    pub fn new(optimizer: &(impl Optimizer + ?Sized)) -> Self {
        let slots = optimizer.slots();
        let cell =
            |param: &Param| Sum { of: param.clone(), cell: param.group().state(&param.zeros_like()), present: false };
        let cells = slots.all.iter().map(|slot| cell(&slot.param)).collect();
        Self { cells, skip: slots.numbers(&[0.0]).pop(), skips: false, count: 0, loss: None }
    }

    /// How many were added since the last step.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds the gradients of a batch, which runs it. If its loss is not finite, nothing is added, and reading the loss
    /// says so.
    ///
    /// # Errors
    /// As for [`Optimizer::step`].
    pub fn add(&mut self, gradients: &Gradients) -> Result<()> {
        self.add_with(gradients, &[])
    }

    /// The same; `also` are other results of the forward pass that are computed in the same plan.
    ///
    /// # Errors
    /// As for [`Optimizer::step`].
    pub fn add_with(&mut self, gradients: &Gradients, also: &[&Tensor]) -> Result<()> {
        let first = self.count == 0;
        let mut updates = Vec::with_capacity(self.cells.len() + 1);
        let own = |sum: &Sum| gradients.iter().find(|(id, _)| *id == sum.of.id()).map(|(_, g)| g);
        for sum in &self.cells {
            if let Some(g) = own(sum) {
                let value = if !first && sum.present { sum.cell.value() + g } else { g.clone() };
                updates.push((sum.cell.clone(), value));
            }
        }
        if let Some(cell) = &self.skip {
            let before = if first { cell.zeros_like() } else { cell.value() };
            updates.push((cell.clone(), gradients.skip().map_or(before.clone(), |now| &before + now)));
        }
        self.skips = gradients.skip().is_some() || (self.skips && !first);
        let guards: Vec<&Tensor> = gradients.guards().iter().collect();
        crate::step(&guards, updates, also)?;
        for sum in &mut self.cells {
            sum.present = own(sum).is_some() || (sum.present && !first);
        }
        self.loss = Some(gradients.loss().clone());
        self.count += 1;
        Ok(())
    }

    /// The sum, for a step; the next batch begins anew.
    ///
    /// # Errors
    /// [`Error::Gradient`](crate::Error::Gradient) if nothing was added.
    pub fn sum(&mut self) -> Result<Gradients> {
        self.take(1.0)
    }

    /// The mean, for a step; the next batch begins anew. Batches of equal size count as one large batch.
    ///
    /// # Errors
    /// [`Error::Gradient`](crate::Error::Gradient) if nothing was added.
    pub fn mean(&mut self) -> Result<Gradients> {
        self.take(1.0 / self.count.max(1) as f64)
    }

    #[track_caller]
    fn take(&mut self, scale: f64) -> Result<Gradients> {
        let Some(loss) = self.loss.take() else {
            let at = crate::error::At::here();
            return Err(crate::Error::Gradient { op: "accumulate", why: "no gradients were added", at });
        };
        self.count = 0;
        let mut gradients = Gradients::none(&loss);
        for sum in self.cells.iter().filter(|sum| sum.present) {
            gradients.set(&sum.of, sum.cell.value() * scale);
        }
        if let (Some(cell), true) = (&self.skip, self.skips) {
            gradients.skip_where(&(cell.value() + Lit(0.0)));
        }
        Ok(gradients)
    }
}
