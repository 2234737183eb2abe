//! A model with other tensors in the place of its parameters.

use std::collections::HashMap;

use super::module::{Leaf, Module, walk};
use super::state_dict::StateDict;
use crate::cell::standing_for;
use crate::{Error, Result, StateReport, Tensor};

/// What `body` makes of `module` while the parameters and buffers that `values` names stand for the tensors beside their
/// paths: a model at weights that are expressions, through which gradients flow (learning to learn, weights from another
/// network, second derivatives along a direction). Parts that are not named stay what they are; of parts that share a
/// parameter, naming one names all. A named buffer is not changed by what runs in `body`.
///
/// ```
/// # use kiln::prelude::*; use kiln::nn::{StateDict, functional_call};
/// # let device = Device::open()?;
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut adam = Adam::new(&model, 1e-2);
/// let (x, y) = (Tensor::ones(&device, [8, 3]), Tensor::ones(&device, [8, 1]));
/// // one step of gradient descent, and the step of Adam that makes that one better
/// let now: StateDict = model.named_parameters().into_iter().map(|(path, p)| (path, p.value())).collect();
/// let slopes = mse_loss(&model.forward(&x), &y).grad(&now.values().collect::<Vec<_>>())?;
/// let moved: StateDict = now.iter().zip(&slopes).map(|((path, w), g)| (path.clone(), w - g * 0.1)).collect();
/// adam.step(&mse_loss(&functional_call(&model, &moved, || model.forward(&x))?, &y))?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::State`] lists paths that the module does not have and tensors of another shape; [`Error::DType`] if one is of
/// another type; the error that a tensor carries.
///
/// Source: `torch.func.functional_call`.
#[track_caller]
pub fn functional_call<M: Module + ?Sized, T>(module: &M, values: &StateDict, body: impl FnOnce() -> T) -> Result<T> {
    let mut known = HashMap::new();
    walk(module, |path, leaf| match leaf {
        Leaf::Param(param) => drop(known.insert(path.to_string(), (**param).clone())),
        Leaf::State(state) => drop(known.insert(path.to_string(), state.clone())),
        _ => {}
    });
    let (mut report, mut standing) = (StateReport::default(), HashMap::new());
    for (path, value) in values {
        let is = value.shape()?;
        let Some(state) = known.get(path) else {
            report.unexpected.push(path.clone());
            continue;
        };
        let shape = state.shape()?;
        if shape != is {
            report.mismatched.push((path.clone(), shape.to_vec(), is.to_vec()));
        } else if state.dtype() != value.dtype() {
            Tensor::bad_dtype("functional_call", &[state, value], "a parameter's type").shape()?;
        }
        standing.insert(state.id(), value.clone());
    }
    if report != StateReport::default() {
        return Err(Error::State(Box::new(report)));
    }
    Ok(standing_for(standing, body))
}
