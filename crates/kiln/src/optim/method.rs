//! What all optimizers share: from a rule for one parameter to an optimizer of a model, in groups, with its memory.

use std::collections::{HashMap, HashSet};

use super::memory::{Memory, values};
use super::taken::Taken;
use super::{Group, Optimizer, Slot, Slots, Updates};
use crate::nn::{Module, StateDict};
use crate::trace::{Numbers, noted, with_numbers};
use crate::{DType, Gradients, Result, Shape, State, Tensor, formula_key};

/// What an optimizer does to one parameter, and its settings. Write one, and [`Method`] makes an optimizer of it.
pub trait Rule: Clone {
    /// What is remembered for each parameter: names, PyTorch's where it has them, and the first values. `value` is the
    /// parameter and `lr` its learning rate.
    fn memory(&self, _value: &Tensor, _lr: f64) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }

    /// Numbers that all parameters of a group share, such as the count of steps: names and first values.
    fn counts(&self, _lr: f64) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// What those numbers are in the step after this one.
    fn count(&self, _counts: &[Tensor], _lr: f64) -> Vec<Tensor> {
        Vec::new()
    }

    /// One step: the parameter's new value and the new values of its memory, in order.
    fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>);

    /// A setting that is out of range: an error of the step.
    fn refused(&self) -> Option<Refused> {
        None
    }

    /// The momentum (β₁, where there is one), which schedules may cycle.
    fn momentum(&self) -> Option<f64> {
        None
    }

    /// Sets it.
    fn set_momentum(&mut self, _momentum: f64) {}

    /// Whether `step` and `count` follow from these settings and their arguments alone. Then they are not asked again for
    /// a loss of a structure that is known, unless settings have changed. A rule that looks at anything else (a clock, a
    /// number behind a lock) must say no, which is the default.
    fn pure(&self) -> bool {
        false
    }

    /// Whether `step` has the same formula and the same numbers for parameters of every shape: what becomes of an element
    /// follows from that element of the gradient, the value and the memory. Parameters of all shapes then share the numbers.
    fn elementwise(&self) -> bool {
        false
    }
}

/// A setting out of range: its name, its value, and what it may be.
pub type Refused = (&'static str, f64, &'static str);

/// The first of these settings that is negative or no number.
pub(super) fn negative(settings: &[(&'static str, f64)]) -> Option<Refused> {
    settings.iter().find(|(_, value)| value.is_nan() || *value < 0.0).map(|&(name, value)| (name, value, "at least 0"))
}

/// The first of β₁ and β₂ that is not in 0..1.
pub(super) fn no_share(betas: (f64, f64)) -> Option<Refused> {
    let bad = [betas.0, betas.1].into_iter().find(|beta| !(0.0..1.0).contains(beta));
    bad.map(|beta| ("betas", beta, "at least 0 and below 1"))
}

/// A parameter when its turn has come.
pub struct Turn<'a> {
    /// Its value.
    pub value: Tensor,
    /// Its gradient, with the sign that is to be moved against.
    pub gradient: Tensor,
    /// Its learning rate.
    pub lr: f64,
    /// What its learning rate is of its group's, of which the counts know.
    pub lr_scale: f64,
    /// Its weight decay.
    pub weight_decay: f64,
    /// What is remembered of it.
    pub memory: &'a [Tensor],
    /// The numbers of its group.
    pub counts: &'a [Tensor],
}

impl Turn<'_> {
    /// The gradient plus `weight_decay · value`: the decay that is part of the loss.
    pub fn decayed_gradient(&self) -> Tensor {
        match self.weight_decay {
            0.0 => self.gradient.clone(),
            rate => &self.gradient + &self.value * rate,
        }
    }

    /// The value times `1 − lr · weight_decay`: the decay apart from the gradient.
    pub fn decayed_value(&self) -> Tensor {
        match self.weight_decay {
            0.0 => self.value.clone(),
            rate => &self.value * (1.0 - self.lr * rate),
        }
    }
}

/// An optimizer: a rule applied to every parameter of a model.
///
/// Settings are those of the rule's own builder methods (see the aliases, such as [`Adam`](super::Adam)) and these,
/// which every optimizer has. Numbers that do not shape the formula travel at run time: changing them makes no plan.
///
/// A setting that PyTorch refuses (a negative learning rate, a β of 1) is an [`Error::Argument`](crate::Error::Argument)
/// of the step.
///
/// A parameter that has no gradient in some step (it is frozen, or the loss does not depend on it) is left alone then,
/// without weight decay, and does not count the step.
pub struct Method<R: Rule> {
    slots: Slots,
    /// The settings of each group.
    rules: Vec<R>,
    memory: Memory,
    taken: Taken,
}

impl<R: Rule> Method<R> {
    /// An optimizer of the parameters of `model` by `rule`.
    pub fn with_rule<M: Module + ?Sized>(model: &M, lr: f64, rule: R) -> Self {
        Self { slots: Slots::new(model, lr), rules: vec![rule], memory: Memory::default(), taken: Taken::default() }
    }

    /// Decays the weights of every parameter towards zero by this rate.
    #[must_use]
    pub fn weight_decay(mut self, rate: f64) -> Self {
        self.slots_mut().all.iter_mut().for_each(|slot| slot.weight_decay = rate);
        self
    }

    /// Climbs: moves parameters along their gradients.
    #[must_use]
    pub fn maximize(mut self) -> Self {
        self.slots_mut().all.iter_mut().for_each(|slot| slot.maximize = true);
        self
    }

    /// Changes the settings of single parameters: `|slot| if slot.name.ends_with("bias") { slot.weight_decay = 0.0 }`.
    #[must_use]
    pub fn each(mut self, change: impl FnMut(&mut Slot)) -> Self {
        self.slots_mut().all.iter_mut().for_each(change);
        self
    }

    /// Leaves out the parameters that do not fit: `|slot| slot.param.rank() == 2`.
    #[must_use]
    pub fn only(mut self, fits: impl FnMut(&Slot) -> bool) -> Self {
        let mut fits = fits;
        self.slots.all.retain(|slot| fits(slot));
        self.forget();
        self
    }

    /// Puts the parameters that fit into a group of their own, PyTorch's `param_groups`, with learning rate `lr` and
    /// the rule's present settings as `change` alters them. A parameter is in the last group that it fits.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// # let model = Linear::new(3, 1, &mut Init::new(&device, 0));
    /// let adam = Adam::new(&model, 1e-3).group("biases", 1e-2, |slot| slot.name.ends_with("bias"), |rule| rule.eps = 1e-6);
    /// assert_eq!(adam.slots().groups[1].lr, 1e-2);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn group(
        mut self,
        name: &str,
        lr: f64,
        mut fits: impl FnMut(&Slot) -> bool,
        change: impl FnOnce(&mut R),
    ) -> Self {
        let mut rule = self.rules[0].clone();
        change(&mut rule);
        let at = self.rules.len();
        self.rules.push(rule);
        self.slots.groups.push(super::Group { name: name.into(), lr, initial_lr: lr });
        for slot in &mut self.slots.all {
            if fits(slot) {
                slot.group = at;
            }
        }
        self.forget();
        self
    }

    /// Changes the settings of all groups, before the first step.
    #[must_use]
    pub fn rule(mut self, mut change: impl FnMut(&mut R)) -> Self {
        self.rules.iter_mut().for_each(&mut change);
        self.forget();
        self
    }

    /// What there is to remember may have changed.
    fn forget(&mut self) {
        self.memory.forget();
        self.taken = Taken::default();
    }
}

/// What a rule's formula and numbers can depend on: group, shape (for an elementwise rule only that of a parameter of no
/// elements), type, scale of the learning rate, weight decay, direction. Parameters that have it in common share the numbers, which makes for a smaller graph and fewer to send.
type Kind = (usize, Shape, DType, u64, u64, bool);

impl<R: Rule> Method<R> {
    fn kind(&self, slot: &Slot) -> Kind {
        let (scale, decay) = (slot.lr_scale.to_bits(), slot.weight_decay.to_bits());
        let own = slot.param.shape_or_scalar();
        let any = self.rules.get(slot.group).is_some_and(Rule::elementwise) && own.numel() > 0;
        let shape = if any { Shape::SCALAR } else { own };
        (slot.group, shape, slot.param.dtype(), scale, decay, slot.maximize)
    }

    /// A setting for this parameter that PyTorch's constructors refuse.
    fn refused(rule: &R, group: &Group, slot: &Slot) -> Option<Refused> {
        negative(&[("lr", group.initial_lr), ("weight_decay", slot.weight_decay)]).or_else(|| rule.refused())
    }

    /// The updates from the gradients of the slots that `wanted` names; with `counting`, of a step that is taken.
    fn update_of(&self, gradients: &Gradients, counting: bool, mut wanted: impl FnMut(&Slot) -> bool) -> Updates {
        let mut known = self.memory.known(&self.slots, &self.rules);
        let present: Vec<(usize, &Slot, Tensor)> = self.slots.with_gradients(gradients).collect();
        let here: Vec<usize> = present.iter().map(|(index, ..)| *index).collect();
        let stepping = known.stepping(&self.slots, &here, counting);
        let counts: Vec<Vec<Tensor>> = known.counts.iter().map(|counts| values(&counts.cells)).collect();
        let mut numbers: HashMap<Kind, Numbers> = HashMap::new();
        let mut updates = Updates::new();
        for (index, slot, gradient) in present.into_iter().filter(|(_, slot, _)| wanted(slot)) {
            let settings = (self.rules.get(slot.group), self.slots.groups.get(slot.group));
            let cells = (known.of.get(index), known.share_of(index).and_then(|share| counts.get(share)));
            let ((Some(rule), Some(group)), (Some(states), Some(counts))) = (settings, cells) else {
                // slots and groups are open to everybody
                let why = "one of the optimizer's, which `group` makes";
                let value = slot.param.value().bad_argument("step", "group", slot.group, why);
                updates.push((State::clone(&slot.param), value));
                continue;
            };
            let memory = values(states);
            let (value, memory) = with_numbers(numbers.entry(self.kind(slot)).or_default(), || {
                rule.step(&Turn {
                    value: slot.param.value(),
                    gradient: if slot.maximize { -gradient } else { gradient },
                    lr: self.slots.lr_of(slot),
                    lr_scale: slot.lr_scale,
                    weight_decay: slot.weight_decay,
                    memory: &memory,
                    counts,
                })
            });
            let value = match Self::refused(rule, group, slot) {
                Some((name, given, why)) => value.bad_argument("step", name, given, why),
                None => value,
            };
            updates.push((State::clone(&slot.param), value));
            updates.extend(states.iter().map(|(_, state)| state.clone()).zip(memory));
        }
        // all counts of a group have the same numbers
        let mut numbers: HashMap<usize, Numbers> = HashMap::new();
        for place in stepping {
            let (of, counts) = (&known.counts[place], &counts[place]);
            if let (Some(rule), Some(group)) = (self.rules.get(of.group), self.slots.groups.get(of.group)) {
                let next = with_numbers(numbers.entry(of.group).or_default(), || rule.count(counts, group.lr));
                updates.extend(of.cells.iter().map(|(_, state)| state.clone()).zip(next));
            }
        }
        updates
    }

    /// The updates of the first parameter of each kind, which make the numbers of all.
    fn sample(&self, gradients: &Gradients) -> Updates {
        let mut met = HashSet::new();
        self.update_of(gradients, false, |slot| met.insert(self.kind(slot)))
    }
}

impl<R: Rule> Optimizer for Method<R> {
    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        self.taken.change();
        &mut self.slots
    }

    fn taken(&mut self) -> Option<&mut Taken> {
        self.rules.iter().all(Rule::pure).then_some(&mut self.taken)
    }

    fn update(&self, gradients: &Gradients) -> Updates {
        self.update_of(gradients, true, |_| true)
    }

    fn formulas(&self, gradients: &Gradients) -> Result<(Vec<u64>, Vec<Tensor>)> {
        let (sample, notes) = noted(|| self.sample(gradients));
        let mut key = formula_key(&sample)?.to_vec();
        // the others have the formulas of their kind
        let mut kinds: HashMap<Kind, u64> = HashMap::new();
        let known = self.memory.known(&self.slots, &self.rules);
        for (index, slot, _) in self.slots.with_gradients(gradients) {
            let next = kinds.len() as u64;
            key.extend([slot.param.id(), *kinds.entry(self.kind(slot)).or_insert(next)]);
            key.extend(known.of.get(index).into_iter().flatten().map(|(_, state)| state.id()));
        }
        Ok((key, notes.numbers))
    }

    fn states(&self) -> Vec<(String, State)> {
        self.memory.known(&self.slots, &self.rules).named(&self.slots)
    }

    fn adapt(&self, dict: StateDict) -> Result<StateDict> {
        self.memory.known(&self.slots, &self.rules).adapt(&self.slots, dict)
    }

    fn version(&self) -> u64 {
        self.memory.version()
    }

    fn present_momentum(&self) -> Option<f64> {
        self.rules[0].momentum()
    }

    fn set_momentum(&mut self, momentum: f64) {
        self.taken.change();
        let without = self.rules.iter().any(|rule| rule.momentum().is_none());
        self.rules.iter_mut().for_each(|rule| rule.set_momentum(momentum));
        // as in PyTorch a schedule may bring momentum to what had none, and with it something to remember
        if without && self.rules.iter().any(|rule| rule.momentum().is_some()) {
            self.memory.extend(&self.slots, &self.rules);
        }
    }
}

/// Builder methods that set a field of the rule in all groups.
macro_rules! setters {
    ($alias:ident: $($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        impl $alias {
            $($(#[$doc])*
            #[must_use]
            pub fn $field(self, $field: $type) -> Self {
                self.rule(|rule| rule.$field = $field)
            })*
        }
    };
}
pub(super) use setters;

/// `1 − βᵗ` = −expm1(t ln β), which has no cancellation; it is 1 from t ln β = −100 on, so β = 0 needs no care.
pub(super) fn correction(beta: f64, t: &Tensor) -> Tensor {
    -(t * beta.ln().max(-100.0)).expm1()
}
