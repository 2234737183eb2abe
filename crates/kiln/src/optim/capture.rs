//! Captured steps: the graph is made once for each structure, and later steps only bring another batch.

use std::marker::PhantomData;

use super::taken::equal;
use super::{Optimizer, StepInput};
use crate::remade::Formula;
use crate::trace::{Notes, noted};
use crate::{Capture, Gradients, Result, Tensor, capture_step, evaluate};

/// Tensors that come anew with each step: one, a tuple, an array or a list of them.
pub trait Batch {
    /// The tensors, always in the same order.
    fn tensors(&self) -> Vec<&Tensor>;
}

impl Batch for Tensor {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![self]
    }
}

impl<const N: usize> Batch for [Tensor; N] {
    fn tensors(&self) -> Vec<&Tensor> {
        self.iter().collect()
    }
}

impl Batch for Vec<Tensor> {
    fn tensors(&self) -> Vec<&Tensor> {
        self.iter().collect()
    }
}

macro_rules! tuples {
    ($($name:ident $at:tt),*) => {
        impl<$($name: Batch),*> Batch for ($($name,)*) {
            fn tensors(&self) -> Vec<&Tensor> {
                let mut all = Vec::new();
                $(all.extend(self.$at.tensors());)*
                all
            }
        }
    };
}
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);

/// What the function of a captured step returns: a loss, or gradients already made (clipped), and with
/// [`Traced::also`] other results of the forward pass.
pub struct Traced {
    from: Result<Made>,
    also: Vec<Tensor>,
}

enum Made {
    Loss(Tensor),
    Gradients(Gradients),
}

impl Traced {
    /// Adds results (logits, accuracy) that every step computes too; [`Captured::also`] has them.
    #[must_use]
    pub fn also(mut self, results: &[&Tensor]) -> Self {
        self.also.extend(results.iter().map(|&t| t.clone()));
        self
    }
}

impl From<Tensor> for Traced {
    fn from(loss: Tensor) -> Self {
        Self { from: Ok(Made::Loss(loss)), also: Vec::new() }
    }
}

impl From<Gradients> for Traced {
    fn from(gradients: Gradients) -> Self {
        Self { from: Ok(Made::Gradients(gradients)), also: Vec::new() }
    }
}

impl<T: Into<Traced>> From<Result<T>> for Traced {
    fn from(made: Result<T>) -> Self {
        made.map_or_else(|error| Self { from: Err(error), also: Vec::new() }, Into::into)
    }
}

/// Steps of an optimizer that are made once and then only run: see [`Optimizer::capture`].
pub struct Captured<'a, O: Optimizer, B, F> {
    optimizer: &'a mut O,
    make: F,
    known: Vec<Known>,
    /// The optimizer's settings may differ from those in `known`.
    changed: bool,
    /// The optimizer's, of which steps that were made before another one are forgotten.
    version: u64,
    also: Vec<Tensor>,
    batch: PhantomData<fn(&B)>,
}

/// A structure that was captured.
struct Known {
    step: Capture,
    formula: Formula,
    /// What the optimizer makes of the gradients: see [`Optimizer::formulas`].
    key: Vec<u64>,
    /// How many numbers that has.
    numbers: usize,
    /// Whether the step has the present settings.
    fresh: bool,
    /// Gradients of the same parameters, to ask the optimizer with. They are never computed.
    gradients: Gradients,
}

/// More structures than this are not kept: the oldest goes.
const MOST: usize = 64;

impl<'a, O: Optimizer, B: Batch, T: Into<Traced>, F: FnMut(&B) -> T> Captured<'a, O, B, F> {
    pub(super) fn new(optimizer: &'a mut O, make: F) -> Self {
        Self { optimizer, make, known: Vec::new(), changed: false, version: 0, also: Vec::new(), batch: PhantomData }
    }

    /// Takes one step with `batch`, and gives its loss. As with [`Optimizer::step`], nothing is changed if the loss is
    /// not finite; the loss says so when it is read.
    ///
    /// # Errors
    /// As for [`Optimizer::step`].
    #[track_caller]
    pub fn step(&mut self, batch: &B) -> Result<Tensor> {
        self.optimizer.slots().allowed()?;
        let given = batch.tensors();
        evaluate(&given)?;
        let tensors: Vec<Tensor> = given.iter().map(|t| t.current()).collect();
        self.outdate();
        if self.changed {
            self.changed = false;
            self.known.iter_mut().for_each(|known| known.fresh = false);
        }
        if let Some(at) = self.known.iter().position(|known| known.step.fits(&tensors)) {
            if self.refresh(at)
                && let Some(mut results) = self.known[at].step.run(&tensors)?
            {
                self.also = results.split_off(1);
                return Ok(results.remove(0));
            }
            self.known.remove(at);
        }
        self.trace(batch, &tensors)
    }

    /// The other results of the last step: see [`Traced::also`].
    pub fn also(&self) -> &[Tensor] {
        &self.also
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        self.optimizer
    }

    /// The optimizer, to change its settings: the next step has them.
    pub fn optimizer_mut(&mut self) -> &mut O {
        self.changed = true;
        self.optimizer
    }

    /// Sets the learning rate. It is a number that travels with the step, as it does for [`Optimizer::step`].
    pub fn set_lr(&mut self, lr: f64) {
        if self.optimizer.lr() != lr {
            self.optimizer_mut().set_lr(lr);
        }
    }

    /// Forgets what was made for another version of the optimizer.
    fn outdate(&mut self) {
        let version = self.optimizer.version();
        if version != self.version {
            self.known.clear();
            self.version = version;
        }
    }

    /// Makes the step, runs it, and keeps what it takes to run it again.
    fn trace(&mut self, batch: &B, tensors: &[Tensor]) -> Result<Tensor> {
        let (traced, notes) = noted(|| (self.make)(batch).into());
        let Traced { from, also } = traced;
        let from = from?;
        let input = match &from {
            Made::Loss(loss) => StepInput::Loss(loss),
            Made::Gradients(gradients) => StepInput::Gradients(gradients),
        };
        let gradients = input.gradients(&*self.optimizer)?;
        let (updates, Notes { numbers, .. }) = noted(|| self.optimizer.update(&gradients));
        self.outdate();
        let guards: Vec<&Tensor> = gradients.guards().iter().collect();
        let others: Vec<&Tensor> = also.iter().collect();
        let captured = capture_step(&guards, updates, &others, tensors, notes, &numbers)?;
        let loss = gradients.loss().current();
        let gradients = gradients.stand_ins();
        let mut formula = Formula::default();
        if let Some(step) = captured
            && let Ok((key, again)) = formula.make(|| self.optimizer.formulas(&gradients))
            && equal(&numbers, &again)
        {
            if self.known.len() >= MOST {
                self.known.remove(0);
            }
            self.known.push(Known { step, formula, key, numbers: again.len(), fresh: true, gradients });
        }
        self.also = also;
        Ok(loss)
    }

    /// Gives a captured step the optimizer's present numbers; false if its formulas are others by now.
    fn refresh(&mut self, at: usize) -> bool {
        let known = &mut self.known[at];
        if !known.fresh
            && let Ok((key, numbers)) = known.formula.make(|| self.optimizer.formulas(&known.gradients))
            && (&key, numbers.len()) == (&known.key, known.numbers)
        {
            known.step.renumber(&numbers);
            known.fresh = true;
        }
        known.fresh
    }
}
