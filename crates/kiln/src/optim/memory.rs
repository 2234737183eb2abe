//! What an optimizer remembers between steps: cells for each parameter, and counts of steps.
//!
//! As in PyTorch a parameter counts the steps in which it has a gradient. Those of a group that step together share the
//! counts: at first all of them. Where some have a gradient and some have none, the latter go apart, with counts of their
//! own that begin as they are.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Rule, Slot, Slots};
use crate::nn::StateDict;
use crate::{Result, State, Tensor};

/// Cells by name.
pub(super) type Cells = Vec<(&'static str, State)>;

/// The cells of an optimizer. Builder methods may change what there is to remember, so they are made when first needed.
#[derive(Default)]
pub(super) struct Memory(Mutex<Known>);

#[derive(Default)]
pub(super) struct Known {
    made: bool,
    /// By parameter.
    pub(super) of: Vec<Cells>,
    /// Counts that parameters of one group share: those of the groups first.
    pub(super) counts: Vec<Counts>,
    /// Which of them a parameter has.
    share: Vec<usize>,
    /// How often parameters went apart: what was made before that counts wrong.
    version: u64,
}

/// The counts of some parameters of a group.
pub(super) struct Counts {
    pub(super) group: usize,
    pub(super) cells: Cells,
}

/// The present contents of cells.
pub(super) fn values(cells: &[(&'static str, State)]) -> Vec<Tensor> {
    cells.iter().map(|(_, state)| state.value()).collect()
}

/// `new` with the cells of `old` where they have the same names.
fn kept(mut new: Cells, old: &Cells) -> Cells {
    for (name, state) in &mut new {
        if let Some((_, known)) = old.iter().find(|(known, _)| known == name) {
            *state = known.clone();
        }
    }
    new
}

/// The path of a count of the group `name`.
fn of_group(name: &str, count: &str) -> String {
    if name.is_empty() { count.to_string() } else { format!("{name}.{count}") }
}

impl Memory {
    /// The cells, made now if there are none yet.
    pub(super) fn known<R: Rule>(&self, slots: &Slots, rules: &[R]) -> MutexGuard<'_, Known> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.made {
            let of = slots.all.iter().map(|slot| {
                let first = rules.get(slot.group).map(|rule| rule.memory(&slot.param, slots.lr_of(slot)));
                first.into_iter().flatten().map(|(name, value)| (name, slot.param.group().state(&value))).collect()
            });
            let counts = rules.iter().zip(&slots.groups).enumerate().map(|(group, (rule, settings))| {
                let (names, values): (Vec<_>, Vec<_>) = rule.counts(settings.lr).into_iter().unzip();
                Counts { group, cells: names.into_iter().zip(slots.numbers(&values)).collect() }
            });
            (known.of, known.counts, known.made) = (of.collect(), counts.collect(), true);
            known.share = slots.all.iter().map(|slot| slot.group).collect();
        }
        known
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// How often parameters went apart.
    pub(super) fn version(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Makes the cells anew where there are some, and keeps those that there are already.
    pub(super) fn extend<R: Rule>(&mut self, slots: &Slots, rules: &[R]) {
        let old = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !old.made {
            return;
        }
        let mut new = self.known(slots, rules);
        new.of = std::mem::take(&mut new.of).into_iter().zip(&old.of).map(|(new, old)| kept(new, old)).collect();
        let first = std::mem::take(&mut new.counts);
        let of_group = |group: usize| first.get(group).map_or(Cells::new(), |counts| counts.cells.clone());
        let counts =
            old.counts.iter().map(|old| Counts { group: old.group, cells: kept(of_group(old.group), &old.cells) });
        new.counts = counts.collect();
        (new.share, new.version) = (old.share, old.version + 1);
    }
}

impl Known {
    /// Which counts a parameter has.
    pub(super) fn share_of(&self, index: usize) -> Option<usize> {
        self.share.get(index).copied()
    }

    /// The counts that go on in a step in which the parameters `present` have a gradient. If it is taken, those that share
    /// them and have none go apart.
    pub(super) fn stepping(&mut self, slots: &Slots, present: &[usize], taken: bool) -> Vec<usize> {
        let mut stepping = vec![false; self.counts.len()];
        for &index in present {
            if let Some(goes_on) = self.share.get(index).and_then(|&share| stepping.get_mut(share)) {
                *goes_on = true;
            }
        }
        let places = (0..stepping.len()).filter(|&place| stepping[place]).collect();
        if taken && present.len() < self.share.len() {
            let mut left = HashMap::new();
            for index in (0..self.share.len()).filter(|index| present.binary_search(index).is_err()) {
                let share = self.share[index];
                if stepping.get(share) == Some(&true) && !self.counts[share].cells.is_empty() {
                    let slot = &slots.all[index];
                    self.share[index] = *left.entry(share).or_insert_with(|| self.part(share, slot));
                }
            }
        }
        places
    }

    /// A copy of some counts, for parameters that go apart.
    fn part(&mut self, share: usize, slot: &Slot) -> usize {
        let Counts { group, cells } = &self.counts[share];
        let copies = cells.iter().map(|(name, state)| (*name, slot.param.group().state(&state.value())));
        let apart = Counts { group: *group, cells: copies.collect() };
        self.counts.push(apart);
        self.version += 1;
        self.counts.len() - 1
    }

    /// All cells by the names that a state dict has. Counts that are not the group's are named by the parameters.
    pub(super) fn named(&self, slots: &Slots) -> Vec<(String, State)> {
        let mut all = Vec::new();
        for (group, counts) in slots.groups.iter().zip(&self.counts) {
            all.extend(counts.cells.iter().map(|(name, state)| (of_group(&group.name, name), state.clone())));
        }
        for ((slot, cells), &share) in slots.all.iter().zip(&self.of).zip(&self.share) {
            let apart = self.counts.get(share).filter(|_| share >= slots.groups.len());
            let cells = cells.iter().chain(apart.into_iter().flat_map(|counts| &counts.cells));
            all.extend(cells.map(|(name, state)| (format!("{}.{name}", slot.name), state.clone())));
        }
        all
    }

    /// Makes ready for the values of `dict`: parameters that have counts of their own there go apart, together where these
    /// are equal. One that went apart since has those of its group, which are put beside the others.
    pub(super) fn adapt(&mut self, slots: &Slots, mut dict: StateDict) -> Result<StateDict> {
        let mut left = HashMap::new();
        for (index, slot) in slots.all.iter().enumerate() {
            let Some(&share) = self.share.get(index) else { continue };
            let Some(Counts { group, cells }) = self.counts.get(share) else { continue };
            let path = |name: &str| format!("{}.{name}", slot.name);
            let given: Vec<&Tensor> = cells.iter().filter_map(|(name, _)| dict.get(&path(name))).collect();
            let apart = !given.is_empty();
            let key = (share, Tensor::read_all(&given)?);
            if share >= slots.groups.len() && !apart {
                let name = slots.groups.get(*group).map_or("", |group| &group.name);
                let values = cells
                    .iter()
                    .filter_map(|(count, _)| Some((path(count), dict.get(&of_group(name, count))?.clone())));
                let values: Vec<_> = values.collect();
                dict.extend(values);
            }
            self.share[index] = match left.get(&key) {
                Some(&known) => known,
                // the first keep what they share, unless it is the group's
                None if !apart || (share >= slots.groups.len() && left.keys().all(|(other, _)| *other != share)) => {
                    share
                }
                None => self.part(share, slot),
            };
            left.insert(key, self.share[index]);
        }
        Ok(dict)
    }
}
