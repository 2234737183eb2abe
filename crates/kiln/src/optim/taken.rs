//! The steps that an optimizer has taken, so that a loss of the same structure needs neither gradients nor an update made
//! anew: see [`crate::step_again`]. The numbers of the settings are taken again when the settings may have changed.

use std::collections::HashMap;

use super::Optimizer;
use crate::remade::Formula;
use crate::trace::noted;
use crate::{Again, Gradients, Recipe, Result, Tensor, record_step, step_again};

/// Recipes by the key of the loss.
#[derive(Default)]
pub struct Taken {
    known: HashMap<[u64; 2], Known>,
    updates: Vec<Update>,
    /// The settings may differ from those in `updates`.
    changed: bool,
    clock: u64,
    /// The optimizer's, of which steps that were made before another one are forgotten.
    version: u64,
}

struct Known {
    recipe: Recipe,
    /// Which of the updates it has, and the version of its numbers.
    update: usize,
    version: u64,
    used: u64,
}

/// The update of some parameters, as the present settings have it.
struct Update {
    /// Gradients of these parameters. They are never computed.
    gradients: Gradients,
    formula: Formula,
    key: Vec<u64>,
    numbers: Vec<Tensor>,
    version: u64,
}

/// More structures than this are not kept.
const MOST: usize = 64;

impl Taken {
    /// The settings may have changed.
    pub(super) fn change(&mut self) {
        self.changed = true;
    }

    /// Takes a step on `loss` as `method` does; false if it has to be made in full.
    pub(super) fn step(&mut self, method: &(impl Optimizer + ?Sized), loss: &Tensor, also: &[&Tensor]) -> Result<bool> {
        self.outdate(method);
        if std::mem::take(&mut self.changed) {
            self.refresh(method);
        }
        self.clock += 1;
        let Self { known, updates, clock, .. } = self;
        let again = step_again(loss, also, |key| {
            let known = known.get_mut(key)?;
            let update = &updates[known.update];
            if known.version != update.version {
                known.recipe.renumber(&update.numbers);
                known.version = update.version;
            }
            known.used = *clock;
            Some(&mut known.recipe)
        })?;
        let seen = match again {
            Again::Taken => return Ok(true),
            Again::Unknown => return Ok(false),
            Again::New(seen) => seen,
        };
        let gradients = method.backward(loss)?;
        let span = loss.device().span("update expressions");
        let (replace, notes) = noted(|| method.update(&gradients));
        drop(span);
        self.outdate(method);
        // gradients that the optimizer does not use would count as held by the program
        let (guards, shapes) = (gradients.guards().to_vec(), gradients.stand_ins());
        drop(gradients);
        let recipe = record_step(&seen, &guards.iter().collect::<Vec<_>>(), replace, also, &notes.numbers)?;
        if let Some(recipe) = recipe
            && let Some(update) = self.update_of(method, shapes, &notes.numbers)
        {
            if self.known.len() >= MOST
                && let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.used).map(|(key, _)| *key)
            {
                self.known.remove(&oldest);
            }
            let (version, used) = (self.updates[update].version, self.clock);
            self.known.insert(seen.key, Known { recipe, update, version, used });
        }
        Ok(true)
    }

    /// Forgets what was made for another version of the optimizer.
    fn outdate(&mut self, method: &(impl Optimizer + ?Sized)) {
        let version = method.version();
        if version != self.version {
            *self = Self { version, clock: self.clock, ..Self::default() };
        }
    }

    /// Which of the updates is that of these gradients; a new one if need be. `None` if its numbers are not `numbers`.
    fn update_of(
        &mut self,
        method: &(impl Optimizer + ?Sized),
        gradients: Gradients,
        numbers: &[Tensor],
    ) -> Option<usize> {
        let same =
            |update: &Update| {
                update.gradients.len() == gradients.len()
                    && update.gradients.iter().zip(gradients.iter()).all(|((a, x), (b, y))| {
                        (a, x.shape_or_scalar(), x.dtype()) == (b, y.shape_or_scalar(), y.dtype())
                    })
            };
        let at = match self.updates.iter().position(same) {
            Some(at) => at,
            None => {
                let mut formula = Formula::default();
                let (key, numbers) = formula.make(|| method.formulas(&gradients)).ok()?;
                self.updates.push(Update { gradients, formula, key, numbers, version: 0 });
                self.updates.len() - 1
            }
        };
        equal(&self.updates[at].numbers, numbers).then_some(at)
    }

    /// Asks for the numbers again. Recipes with other formulas than the present ones are forgotten.
    fn refresh(&mut self, method: &(impl Optimizer + ?Sized)) {
        for update in &mut self.updates {
            match update.formula.make(|| method.formulas(&update.gradients)) {
                Ok((key, numbers)) if key == update.key && numbers.len() == update.numbers.len() => {
                    if !equal(&update.numbers, &numbers) {
                        (update.numbers, update.version) = (numbers, update.version + 1);
                    }
                }
                _ => {
                    *self = Self { version: self.version, ..Self::default() };
                    return;
                }
            }
        }
    }
}

/// Whether both are the same numbers of the host.
pub(super) fn equal(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.number() == b.number() && a.dtype() == b.dtype())
}
