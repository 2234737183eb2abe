//! What a model is made of. A [`Module`] shows its parts to a [`Visitor`]; parameter lists, state
//! dicts, train and eval mode and freezing are all one walk over them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{Display, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lora::Adaptable;
use super::pattern;
use super::state_dict::{self, StateDict};
use crate::{Conv, DType, Device, Param, Pool, Result, State, StateReport, Tensor};

/// A part of a model: a layer, or a struct of layers. Derived, seldom written by hand.
///
/// Paths are PyTorch's state-dict paths: field names joined by dots, list items by their index.
///
/// ```
/// # use kiln::prelude::*;
/// #[derive(Module)]
/// struct Mlp { hidden: Linear, out: Linear }
///
/// # let device = Device::open()?;
/// let mut init = Init::new(&device, 42);
/// let mlp = Mlp { hidden: Linear::new(4, 8, &mut init), out: Linear::new(8, 2, &mut init) };
/// let names: Vec<String> = mlp.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]);
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Module`",
    note = "derive it with `#[derive(Module)]`, or leave the field out with `#[module(skip)]`"
)]
pub trait Module {
    /// Shows every part to the visitor.
    fn visit(&self, visitor: &mut Visitor<'_>);

    /// Every parameter with its path, in order of the fields. One that is shared appears once.
    fn named_parameters(&self) -> Vec<(String, Param)> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        walk(self, |path, leaf| {
            if let Leaf::Param(param) = leaf
                && seen.insert(param.id())
            {
                out.push((path.to_string(), param.clone()));
            }
        });
        out
    }

    /// Every parameter, in order of the fields. One that is shared appears once.
    fn parameters(&self) -> Vec<Param> {
        self.named_parameters().into_iter().map(|(_, param)| param).collect()
    }

    /// Every buffer (running statistics, counters) with its path.
    fn named_states(&self) -> Vec<(String, State)> {
        let mut out = Vec::new();
        walk(self, |path, leaf| {
            if let Leaf::State(state) = leaf {
                out.push((path.to_string(), state.clone()));
            }
        });
        out
    }

    /// The counter of every random stream (dropout) with its path.
    fn named_counters(&self) -> Vec<(String, State)> {
        let mut out = Vec::new();
        walk(self, |path, leaf| {
            if let Leaf::Counter(state) = leaf {
                out.push((path.to_string(), state.clone()));
            }
        });
        out
    }

    /// The number of elements in all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(|param| param.numel()).sum()
    }

    /// The present values of all parameters and buffers, by path.
    fn state_dict(&self) -> StateDict {
        let mut out = StateDict::new();
        walk(self, |path, leaf| match leaf {
            Leaf::Param(param) => drop(out.insert(path.to_string(), param.value())),
            Leaf::State(state) => drop(out.insert(path.to_string(), state.value())),
            _ => {}
        });
        out
    }

    /// Replaces every parameter and buffer by the values of `dict`.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) lists what is missing, unexpected or of
    /// another shape; nothing has been changed then.
    fn load_state_dict(&self, dict: &StateDict) -> Result<()> {
        state_dict::load(self, dict, true).map(drop)
    }

    /// Takes from `dict` what fits and reports the rest.
    ///
    /// # Errors
    /// An invalid tensor in `dict`; nothing has been changed then.
    fn load_matching(&self, dict: &StateDict) -> Result<StateReport> {
        state_dict::load(self, dict, false)
    }

    /// Training mode: dropout drops, batch norm uses the batch's statistics. The mode at first.
    fn train(&self) {
        walk(self, |_, leaf| {
            if let Leaf::Mode(mode) = leaf {
                mode.set(true)
            }
        });
    }

    /// Evaluation mode: no dropout, running statistics.
    fn eval(&self) {
        walk(self, |_, leaf| {
            if let Leaf::Mode(mode) = leaf {
                mode.set(false)
            }
        });
    }

    /// Leaves every parameter out of gradients from now on.
    fn freeze(&self) {
        self.parameters().iter().for_each(|param| param.set_trainable(false));
    }

    /// Undoes [`freeze`](Module::freeze).
    fn unfreeze(&self) {
        self.parameters().iter().for_each(|param| param.set_trainable(true));
    }

    /// Freezes the parameters that `pattern` names, and gives their number. A pattern is a path, of a parameter or of a
    /// part of the model with all that is in it; in it `*` stands for any letters of one name and `**` for any names:
    /// `wte`, `h.*.attn`, `**.bias`.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if it names nothing.
    #[track_caller]
    fn freeze_matching(&self, pattern: &str) -> Result<usize> {
        pattern::set_trainable(self, pattern, false)
    }

    /// Undoes it for the parameters that `pattern` names, and gives their number: after
    /// [`freeze`](Module::freeze), what alone is to be trained.
    ///
    /// # Errors
    /// As for [`freeze_matching`](Module::freeze_matching).
    #[track_caller]
    fn unfreeze_matching(&self, pattern: &str) -> Result<usize> {
        pattern::set_trainable(self, pattern, true)
    }
}

/// A module from one tensor to one tensor: what [`Sequential`](super::Sequential) holds.
pub trait Forward: Module + Send + Sync {
    /// The module's output for `x`.
    fn forward(&self, x: &Tensor) -> Tensor;
}

impl<T: Forward + ?Sized> Forward for Box<T> {
    fn forward(&self, x: &Tensor) -> Tensor {
        (**self).forward(x)
    }
}

impl<T: Forward + ?Sized> Forward for Arc<T> {
    fn forward(&self, x: &Tensor) -> Tensor {
        (**self).forward(x)
    }
}

/// What a walk over a module meets.
pub enum Leaf<'a> {
    /// A layer or a struct of layers begins: its type's name. What follows lies in it, at this path or below. Derived;
    /// of several at one path (a type around another) the first is the outermost.
    Layer(&'static str),
    /// A place for a low-rank adapter.
    Adaptable(&'a Adaptable),
    /// Something that is trained.
    Param(&'a Param),
    /// A buffer.
    State(&'a State),
    /// The counter of a stream of random numbers: not in the state dict, but in a checkpoint of training.
    Counter(&'a State),
    /// A layer's train/eval flag.
    Mode(&'a Mode),
}

/// Keeps the path during a walk over a module.
pub struct Visitor<'a> {
    path: String,
    sink: &'a mut dyn FnMut(&str, Leaf<'_>),
}

impl Visitor<'_> {
    /// Visits a part under `name`.
    pub fn field<M: Module + ?Sized>(&mut self, name: impl Display, module: &M) {
        let outer = self.path.len();
        let dot = if outer == 0 { "" } else { "." };
        // Writing to a String cannot fail.
        let _ = write!(self.path, "{dot}{name}");
        module.visit(self);
        self.path.truncate(outer);
    }

    /// Reports a leaf at the present path.
    pub fn leaf(&mut self, leaf: Leaf<'_>) {
        (self.sink)(&self.path, leaf);
    }
}

/// Calls `sink` with the path of every parameter, buffer and mode flag of `module`.
pub fn walk<M: Module + ?Sized>(module: &M, mut sink: impl FnMut(&str, Leaf<'_>)) {
    module.visit(&mut Visitor { path: String::new(), sink: &mut sink });
}

/// The train/eval flag of a layer. Training at first; [`Module::eval`] switches it off.
#[derive(Debug)]
pub struct Mode(Arc<AtomicBool>, AtomicBool);

impl Mode {
    /// True in training mode.
    pub fn training(&self) -> bool {
        let training = self.0.load(Ordering::Relaxed);
        crate::trace::note_mode(&self.0, training);
        training
    }

    /// Whether running statistics are at present means over all batches alike: see [`crate::optim::update_bn`].
    pub fn averaging(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    /// Lets running statistics be means over all batches alike, whatever the layer's momentum is.
    pub fn set_averaging(&self, on: bool) {
        self.1.store(on, Ordering::Relaxed);
    }

    /// Sets the mode of this layer alone.
    pub fn set(&self, training: bool) {
        self.0.store(training, Ordering::Relaxed);
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)), AtomicBool::new(false))
    }
}

impl Module for Mode {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Mode(self));
    }
}

impl Module for Param {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Param(self));
    }
}

impl Module for State {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::State(self));
    }
}

impl<M: Module> Module for Option<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        if let Some(module) = self {
            module.visit(visitor);
        }
    }
}

impl<M: Module> Module for [M] {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (index, module) in self.iter().enumerate() {
            visitor.field(index, module);
        }
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.as_slice().visit(visitor);
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.as_slice().visit(visitor);
    }
}

impl<K: Display, M: Module> Module for BTreeMap<K, M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (name, module) in self {
            visitor.field(name, module);
        }
    }
}

/// `&M`, `Box<M>` and `Arc<M>` are the module they point to.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<M: Module + ?Sized> Module for $pointer {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                (**self).visit(visitor);
            }
        }
    )*};
}

pointers!(&M, Box<M>, Arc<M>);

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Module),+> Module for ($($name,)+) {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                $(visitor.field($index, &self.$index);)+
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// Settings, constants and functions hold nothing to train or save.
macro_rules! nothing {
    ($($plain:ty),* $(,)?) => {$(
        impl Module for $plain {
            fn visit(&self, _visitor: &mut Visitor<'_>) {}
        }
    )*};
}

nothing!(
    (),
    bool,
    char,
    i8,
    i16,
    i32,
    i64,
    isize,
    u8,
    u16,
    u32,
    u64,
    usize,
    f32,
    f64,
    str,
    String,
    Tensor,
    Device,
    DType,
    Conv,
    Pool,
);

impl<T: ?Sized> Module for PhantomData<T> {
    fn visit(&self, _visitor: &mut Visitor<'_>) {}
}

impl Module for fn(&Tensor) -> Tensor {
    fn visit(&self, _visitor: &mut Visitor<'_>) {}
}
