//! Values of a model by path, and putting them back.

use std::collections::{BTreeMap, HashSet};

use super::module::{Leaf, Module, walk};
use crate::{Error, Result, State, StateReport, Tensor};

/// Tensors by PyTorch's state-dict path (`encoder.layers.0.weight`).
pub type StateDict = BTreeMap<String, Tensor>;

/// Checks every name first, then replaces; a strict load that fails has changed nothing.
pub(super) fn load<M: Module + ?Sized>(module: &M, dict: &StateDict, strict: bool) -> Result<StateReport> {
    let mut targets: Vec<(String, State)> = Vec::new();
    walk(module, |path, leaf| match leaf {
        Leaf::Param(param) => targets.push((path.to_string(), State::clone(param))),
        Leaf::State(state) => targets.push((path.to_string(), state.clone())),
        _ => {}
    });

    let mut report = StateReport::default();
    let mut found = Vec::new();
    for (path, target) in &targets {
        let Some(tensor) = dict.get(path) else {
            report.missing.push(path.clone());
            continue;
        };
        let (shape, is) = (target.shape()?, tensor.shape()?);
        if shape != is {
            report.mismatched.push((path.clone(), shape.to_vec(), is.to_vec()));
            continue;
        }
        found.push((target.clone(), tensor.cast(target.dtype())));
    }
    let known: HashSet<&str> = targets.iter().map(|(path, _)| path.as_str()).collect();
    report.unexpected.extend(dict.keys().filter(|name| !known.contains(name.as_str())).cloned());

    if strict && report != StateReport::default() {
        return Err(Error::State(Box::new(report)));
    }
    crate::step(&[], found, &[])?; // all at once or not at all
    Ok(report)
}
