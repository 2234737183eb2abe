//! Two optimizers that step together.

use super::taken::Taken;
use super::{Optimizer, Slots, Updates};
use crate::nn::StateDict;
use crate::{Gradients, Result, State, Tensor};

/// Two optimizers of different parameters as one: both step in the same plan. `lr` and `set_lr` are those of the first,
/// and the second's learning rate keeps its ratio to it.
///
/// For Muon on the matrices and AdamW on the rest, see [`Muon`](super::Muon).
pub struct Joined<A, B> {
    first: A,
    second: B,
    taken: Taken,
}

impl<A: Optimizer, B: Optimizer> Joined<A, B> {
    /// Joins them.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second, taken: Taken::default() }
    }

    /// The first.
    pub fn first(&self) -> &A {
        &self.first
    }

    /// The second.
    pub fn second(&self) -> &B {
        &self.second
    }
}

impl<A: Optimizer, B: Optimizer> Optimizer for Joined<A, B> {
    /// Those of the first.
    fn slots(&self) -> &Slots {
        self.first.slots()
    }

    fn slots_mut(&mut self) -> &mut Slots {
        self.taken.change();
        self.first.slots_mut()
    }

    fn taken(&mut self) -> Option<&mut Taken> {
        let both = self.first.taken().is_some() && self.second.taken().is_some();
        both.then_some(&mut self.taken)
    }

    fn update(&self, gradients: &Gradients) -> Updates {
        let mut updates = self.first.update(gradients);
        updates.extend(self.second.update(gradients));
        updates
    }

    fn formulas(&self, gradients: &Gradients) -> Result<(Vec<u64>, Vec<Tensor>)> {
        let (mut key, mut numbers) = self.first.formulas(gradients)?;
        let second = self.second.formulas(gradients)?;
        key.extend(second.0);
        numbers.extend(second.1);
        Ok((key, numbers))
    }

    fn states(&self) -> Vec<(String, State)> {
        let named = |states: Vec<(String, State)>, prefix: &'static str| {
            states.into_iter().map(move |(name, state)| (format!("{prefix}.{name}"), state))
        };
        named(self.first.states(), "first").chain(named(self.second.states(), "second")).collect()
    }

    fn adapt(&self, dict: StateDict) -> Result<StateDict> {
        let (mut first, mut second, mut rest) = (StateDict::new(), StateDict::new(), StateDict::new());
        for (path, value) in dict {
            match path.split_once('.') {
                Some(("first", name)) => first.insert(name.to_string(), value),
                Some(("second", name)) => second.insert(name.to_string(), value),
                _ => rest.insert(path, value),
            };
        }
        for (part, prefix) in [(self.first.adapt(first)?, "first"), (self.second.adapt(second)?, "second")] {
            rest.extend(part.into_iter().map(|(name, value)| (format!("{prefix}.{name}"), value)));
        }
        Ok(rest)
    }

    fn version(&self) -> u64 {
        self.first.version() + self.second.version()
    }

    fn set_lr(&mut self, lr: f64) {
        self.taken.change();
        let ratio = self.second.lr() / self.first.lr();
        self.first.set_lr(lr);
        if ratio.is_finite() {
            self.second.set_lr(lr * ratio);
        }
    }

    fn present_momentum(&self) -> Option<f64> {
        self.first.present_momentum().or(self.second.present_momentum())
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.taken.change();
        self.first.set_momentum(momentum);
        self.second.set_momentum(momentum);
    }
}
