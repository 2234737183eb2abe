//! Gradients as a transform of the graph: each operation says how the gradient of its result becomes that of its
//! inputs, in tensor operations, so gradients fuse like anything else and have gradients themselves.
//!
//! `walk.rs` goes from the loss back, `rules.rs` lists what each operation hands on, `slices.rs` puts the gradients of
//! parts of a tensor together, `again.rs` computes again what a checkpoint has not kept.

mod again;
mod rules;
mod slices;
mod walk;

use crate::Tensor;
use crate::cell::Param;
use crate::error::{At, Error, Result};
use crate::node::{Node, Op, Quiet, Stored, Value};
use crate::ops::Lit;
pub(crate) use rules::of_formula;
use walk::{Backward, gradients_of};

/// The gradients of a loss with respect to every trainable parameter it depends on.
///
/// A step with them replaces what they were made from: read or clone a gradient before the step to keep it.
#[derive(Clone)]
pub struct Gradients {
    loss: Tensor,
    /// What must be finite for a step to change anything: the loss first.
    guards: Vec<Tensor>,
    /// A number: where it is not 0, a step changes nothing.
    skip: Option<Quiet>,
    /// By cell, in the order in which the backward pass meets them.
    of_cells: Vec<(u64, Quiet)>,
}

impl Tensor {
    /// The gradients of this loss (one element) with respect to the trainable parameters it depends on. They are
    /// expressions: nothing runs until a step or a read needs them.
    ///
    /// # Errors
    /// The error that the loss carries; [`Error::Gradient`] if it is not one float.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let x = Tensor::new(&device, [1.0, 2.0, 3.0]);
    /// let dx = (&x * &x).sum().backward()?.get(&x).map(|g| g.to_vec::<f32>());
    /// assert_eq!(dx, Some(Ok(vec![2.0, 4.0, 6.0])));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn backward(&self) -> Result<Gradients> {
        self.backward_with(&self.ones_like())
    }

    /// As [`Tensor::backward`], with `gradient` (one float) as the gradient of the loss itself: all gradients are
    /// that many times as large. A scale in front of f16 gradients keeps small ones from vanishing.
    ///
    /// # Errors
    /// As [`Tensor::backward`], or the error that `gradient` carries.
    #[track_caller]
    pub fn backward_with(&self, gradient: &Tensor) -> Result<Gradients> {
        gradient.shape()?;
        let loss = self.differentiable("backward", At::here())?;
        let found = Backward::run(&loss, gradient.to_shape(loss.shape_or_scalar()), |t| t.0.grad)?;
        let mut of_cells = Vec::new();
        for (leaf, gradient) in found.leaves {
            if let Op::Content(cell) = &leaf.0.op {
                of_cells.push((cell.id, Quiet::new(gradient)));
            }
        }
        Ok(Gradients { guards: vec![loss.clone()], skip: None, loss, of_cells })
    }

    /// The gradients of this loss (one element) with respect to any tensors it was made from, as tensors which can be
    /// differentiated again. A tensor that the loss does not depend on gets zeros.
    ///
    /// # Errors
    /// As [`Tensor::backward`], or the error that one of the tensors carries.
    #[track_caller]
    pub fn grad<T: AsRef<Tensor>>(&self, with_respect_to: &[T]) -> Result<Vec<Tensor>> {
        let loss = self.differentiable("grad", At::here())?;
        let wanted: Vec<Tensor> = with_respect_to.iter().map(|t| t.as_ref().current()).collect();
        for t in &wanted {
            t.shape()?;
        }
        let found = gradients_of(&loss, &loss.ones_like(), &wanted, false)?;
        Ok(found.into_iter().zip(&wanted).map(|(g, t)| g.unwrap_or_else(|| t.zeros_like())).collect())
    }

    fn differentiable(&self, op: &'static str, at: At) -> Result<Tensor> {
        let loss = self.current();
        loss.shape()?;
        if loss.numel() != 1 || !loss.dtype().is_float() {
            return Err(Error::Gradient { op, why: "a loss is one float: sum or average it first", at });
        }
        Ok(loss)
    }
}

impl Gradients {
    /// No gradients yet, of a loss that is a value already; [`Gradients::set`] adds some.
    pub fn none(loss: &Tensor) -> Self {
        Self { loss: loss.current(), guards: Vec::new(), skip: None, of_cells: Vec::new() }
    }

    /// The loss they are the gradients of.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }

    /// Also asks of a step that `number` (one float, such as a gradient norm) is finite, unless it is skipped.
    pub fn guard(&mut self, number: &Tensor) {
        self.guards.push(match &self.skip {
            Some(skip) => Tensor::where_(&skip.tensor().ne(Lit(0.0)), Lit(0.0), number),
            None => number.current(),
        });
    }

    /// Asks of a step to leave parameters and the optimizer's memory as they are where `number` (one float) is not 0.
    /// Unlike a guard that fails, that is no error and lasts for this step only.
    pub fn skip_where(&mut self, number: &Tensor) {
        let all = match &self.skip {
            Some(skip) => skip.tensor() + number,
            None => number.current(),
        };
        self.skip = Some(Quiet::new(all));
    }

    /// The number that makes a step be skipped where it is not 0.
    pub fn skip(&self) -> Option<&Tensor> {
        self.skip.as_ref().map(Quiet::tensor)
    }

    /// What must be finite for a step to change anything: the loss first.
    pub fn guards(&self) -> &[Tensor] {
        &self.guards
    }

    /// The gradient with respect to a parameter, or to any tensor the loss was made from; `None` if it does not depend on it.
    pub fn get(&self, of: &Tensor) -> Option<Tensor> {
        if let Some(cell) = of.cell() {
            let known = self.of_cells.iter().find(|(id, _)| *id == cell.info.id);
            if let Some((_, gradient)) = known {
                return Some(gradient.tensor().clone());
            }
        }
        gradients_of(&self.loss, &self.loss.ones_like(), &[of.current()], false).ok()?.remove(0)
    }

    /// Puts another gradient in the place of the one of `param`: clipped, scaled, accumulated.
    pub fn set(&mut self, param: &Param, gradient: Tensor) {
        let id = param.id();
        match self.of_cells.iter_mut().find(|(cell, _)| *cell == id) {
            Some((_, slot)) => *slot = Quiet::new(gradient),
            None => self.of_cells.push((id, Quiet::new(gradient))),
        }
    }

    /// Every gradient replaced by what `change` makes of it.
    #[must_use]
    pub fn map(&self, mut change: impl FnMut(&Tensor) -> Tensor) -> Gradients {
        let of_cells = self.of_cells.iter().map(|(id, g)| (*id, Quiet::new(change(g.tensor())))).collect();
        Gradients { loss: self.loss.clone(), guards: self.guards.clone(), skip: self.skip.clone(), of_cells }
    }

    /// The same with empty tensors of the same shapes, which hold nothing and are never read.
    pub(crate) fn stand_ins(&self) -> Gradients {
        let empty = |t: &Tensor| {
            let nothing = Value::Ready(Stored { slice: None, second: None, fault: None });
            Node::leaf(&t.0.device, Op::Value, t.0.shape, t.0.dtype, t.0.at, nothing)
        };
        let of_cells = self.of_cells.iter().map(|(id, g)| (*id, Quiet::new(empty(g.tensor())))).collect();
        let skip = self.skip.as_ref().map(|s| Quiet::new(empty(s.tensor())));
        Gradients { loss: empty(&self.loss), guards: Vec::new(), skip, of_cells }
    }

    /// The parameters' numbers and gradients.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Tensor)> {
        self.of_cells.iter().map(|(id, g)| (*id, g.tensor()))
    }

    /// How many parameters have a gradient.
    pub fn len(&self) -> usize {
        self.of_cells.len()
    }

    /// Whether the loss depends on no parameter.
    pub fn is_empty(&self) -> bool {
        self.of_cells.is_empty()
    }
}
