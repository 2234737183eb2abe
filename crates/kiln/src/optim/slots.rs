//! The parameters of an optimizer, in groups.

use crate::nn::Module;
use crate::{Error, Gradients, Param, Result, State, Tensor};

/// The parameters of an optimizer.
pub struct Slots {
    /// One for each parameter.
    pub all: Vec<Slot>,
    /// PyTorch's parameter groups; the first holds what no other one does.
    pub groups: Vec<Group>,
    /// What is wrong with the learning rate that a schedule was to set.
    refused: Option<Error>,
}

/// Parameters with a learning rate of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name; that of the first is empty.
    pub name: String,
    /// Its learning rate. Schedules change it.
    pub lr: f64,
    /// The learning rate that it was made with, from which schedules start.
    pub initial_lr: f64,
}

/// A parameter and what is particular to it.
pub struct Slot {
    /// Its path in the model.
    pub name: String,
    /// The parameter.
    pub param: Param,
    /// Which group it is in.
    pub group: usize,
    /// A factor of the group's learning rate; 1 at first.
    pub lr_scale: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// Whether it moves along its gradient, not against it.
    pub maximize: bool,
}

impl Slots {
    /// Every parameter of `model` in one group.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        let slot = |(name, param): (String, Param)| {
            param.name(&name);
            Slot { name, param, group: 0, lr_scale: 1.0, weight_decay: 0.0, maximize: false }
        };
        let first = Group { name: String::new(), lr, initial_lr: lr };
        Self { all: model.named_parameters().into_iter().map(slot).collect(), groups: vec![first], refused: None }
    }

    /// Makes this the error of every step from now on, until a learning rate is set. The first one counts.
    pub fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// Forgets it.
    pub(super) fn allow(&mut self) {
        self.refused = None;
    }

    /// What was [refused](Slots::refuse).
    pub(super) fn allowed(&self) -> Result<()> {
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// The learning rate of a parameter.
    pub fn lr_of(&self, slot: &Slot) -> f64 {
        self.groups.get(slot.group).map_or(0.0, |group| group.lr) * slot.lr_scale
    }

    /// The parameters that have a gradient, with their place in the list.
    pub fn with_gradients<'a>(&'a self, gradients: &'a Gradients) -> impl Iterator<Item = (usize, &'a Slot, Tensor)> {
        let mut known: Vec<(u64, &Tensor)> = gradients.iter().collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        let found = self.all.iter().enumerate();
        found.filter_map(move |(index, slot)| {
            let at = known.binary_search_by_key(&slot.param.id(), |(id, _)| *id).ok()?;
            Some((index, slot, known[at].1.clone()))
        })
    }

    /// Cells of the optimizer's own, one number each. An optimizer of nothing has no device, and needs none.
    pub fn numbers(&self, values: &[f64]) -> Vec<State> {
        let group = self.all.first().map(|slot| slot.param.group());
        group
            .iter()
            .flat_map(|group| values.iter().map(|&v| group.state(&Tensor::new(group.device(), v as f32))))
            .collect()
    }
}
