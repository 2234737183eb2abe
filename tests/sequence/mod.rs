//! What PyTorch computed for recurrent, attention and graph layers (scripts/reference_sequence.py), case by case.

#![allow(dead_code)] // each test program uses a part

use crate::support::{below, close, reference};
use kiln::nn::StateDict;
use kiln::prelude::*;

pub(crate) struct Reference(StateDict);

impl Reference {
    pub(crate) fn load(device: &Device) -> Self {
        Self(reference(device, "sequence"))
    }

    /// The entries of one case.
    pub(crate) fn case(&self, name: &str) -> Case {
        let part = below(&self.0, &format!("{name}."));
        assert!(!part.is_empty(), "no {name} in the reference");
        Case { name: name.to_string(), part }
    }
}

pub(crate) struct Case {
    name: String,
    part: StateDict,
}

impl Case {
    pub(crate) fn get(&self, name: &str) -> Tensor {
        self.find(name).unwrap_or_else(|| panic!("no {}.{name} in the reference", self.name))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Tensor> {
        self.part.get(name).cloned()
    }

    /// All entries.
    pub(crate) fn all(&self) -> &StateDict {
        &self.part
    }

    /// Loads the parameters that the case starts with: every name must fit.
    pub(crate) fn start<M: Module + ?Sized>(&self, module: &M) {
        module.load_state_dict(&below(&self.part, "before.")).unwrap_or_else(|e| panic!("{}: {e}", self.name));
    }

    /// Holds outputs, and the gradients of the named inputs and of all parameters, against the reference.
    pub(crate) fn check<M: Module + ?Sized>(
        &self,
        module: &M,
        inputs: &[(&str, &Tensor)],
        outputs: &[(&str, &Tensor)],
    ) {
        let mut loss: Option<Tensor> = None;
        for (name, y) in outputs {
            let want = self.get(name);
            close(&format!("{}.{name}", self.name), y, &want, 1e-5);
            let counted = Tensor::where_(&want.isnan(), 0.0, *y);
            let along = (counted * self.get(&format!("up.{name}"))).sum();
            loss = Some(loss.map_or(along.clone(), |l| l + along));
        }
        let loss = loss.unwrap();
        let inputs: Vec<(&str, &Tensor)> = inputs.to_vec();
        let tensors: Vec<&Tensor> = inputs.iter().map(|(_, t)| *t).collect();
        for ((name, _), got) in inputs.iter().zip(loss.grad(&tensors).unwrap()) {
            close(&format!("{}.d.{name}", self.name), &got, &self.get(&format!("d.{name}")), 1e-4);
        }
        let gradients = loss.backward().unwrap();
        for (path, param) in module.named_parameters() {
            let want = self.get(&format!("d.{path}"));
            let got = gradients.get(&param).unwrap_or_else(|| panic!("{}.{path} has no gradient", self.name));
            close(&format!("{}.d.{path}", self.name), &got, &want, 1e-4);
        }
    }
}
