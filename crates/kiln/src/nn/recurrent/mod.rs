//! Recurrent layers over sequences.
//!
//! The input's part of all gates of all time steps is one matrix product. The steps are then one node of the graph
//! and one kernel launch each, forward and back; the gradient of the recurrent weights is one product again. Layers
//! with a projected state, or of f16, are unrolled over time.

mod cell;
mod step;

pub use cell::{GruCell, LstmCell, RnnCell};
pub use step::{Nonlinearity, RecurrentWeights};

use super::{Dropout, Forward, Module, Visitor};
use crate::init::Init;
use crate::ops::recurrence::{Cell, Given, Recurrence};
use crate::{Tensor, composed};
use step::{Carry, Kind, Sizes};

/// Settings of recurrent layers, with PyTorch's defaults.
#[derive(Debug, Clone)]
pub struct RecurrentOptions {
    /// Layers on top of each other; 1.
    pub num_layers: usize,
    /// Whether there are biases; true.
    pub bias: bool,
    /// Whether batches are the first axis of input and output rather than the second; false.
    pub batch_first: bool,
    /// The probability of a zero in what one layer hands to the next, while training; 0.
    pub dropout: f32,
    /// Whether a second direction runs from the end to the start; false.
    pub bidirectional: bool,
    /// The extent of the projected hidden state of an [`Lstm`]; 0: no projection.
    pub proj_size: usize,
    /// What an [`Rnn`] applies to its sum; tanh.
    pub nonlinearity: Nonlinearity,
}

impl Default for RecurrentOptions {
    fn default() -> Self {
        Self {
            num_layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            bidirectional: false,
            proj_size: 0,
            nonlinearity: Nonlinearity::Tanh,
        }
    }
}

/// Layers × directions of one recurrence.
struct Stack {
    kind: Kind,
    options: RecurrentOptions,
    inputs: usize,
    hidden: usize,
    /// By layer, then direction.
    layers: Vec<Vec<RecurrentWeights>>,
    dropout: Dropout,
}

impl Module for Stack {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (index, layer) in self.layers.iter().enumerate() {
            for (weights, reverse) in layer.iter().zip(["", "_reverse"]) {
                weights.visit_as(&format!("_l{index}{reverse}"), visitor);
            }
        }
        visitor.field("dropout", &self.dropout);
    }
}

/// What a run needs to know of its input.
struct Input {
    /// `[time, batch, ..]` or `[batch, time, ..]`.
    x: Tensor,
    /// The axis of time in it.
    time: i64,
    steps: usize,
    batch: usize,
    /// `[batch, 1]`: how many steps of each row count.
    lengths: Option<Tensor>,
}

impl Stack {
    fn new(kind: Kind, inputs: usize, hidden: usize, options: RecurrentOptions, init: &mut Init) -> Self {
        let directions = if options.bidirectional { 2 } else { 1 };
        let first = Sizes { inputs, hidden, projection: options.proj_size };
        let later = Sizes { inputs: directions * first.state(), ..first };
        let layers = (0..options.num_layers)
            .map(|layer| {
                let sizes = if layer == 0 { first } else { later };
                (0..directions).map(|_| RecurrentWeights::new(kind, sizes, options.bias, init)).collect()
            })
            .collect();
        let dropout = Dropout::new(options.dropout, init);
        Self { kind, options, inputs, hidden, layers, dropout }
    }

    fn state(&self) -> usize {
        Sizes { inputs: self.inputs, hidden: self.hidden, projection: self.options.proj_size }.state()
    }

    /// Output, h and c at the end; all three carry the error if something does not fit.
    #[track_caller]
    fn run(&self, x: &Tensor, states: &[&Tensor], lengths: Option<&Tensor>) -> [Tensor; 3] {
        composed(self.kind.name(), || match self.checked(x, states, lengths) {
            Ok(input) if x.rank() == 3 => self.layers(input, states),
            Ok(input) => {
                let lifted: Vec<Tensor> = states.iter().map(|s| s.unsqueeze(1)).collect();
                let axis = 1 - input.time;
                let [y, h, c] = self.layers(input, &lifted.iter().collect::<Vec<_>>());
                [y.squeeze(axis), h.squeeze(1), c.squeeze(1)]
            }
            Err(bad) => [bad.clone(), bad.clone(), bad],
        })
    }

    #[track_caller]
    fn checked(&self, x: &Tensor, states: &[&Tensor], lengths: Option<&Tensor>) -> Result<Input, Tensor> {
        let (name, options) = (self.kind.name(), &self.options);
        let Ok(shape) = x.shape() else { return Err(x.clone()) };
        if self.hidden == 0 || options.num_layers == 0 {
            let value = format!("{}, {}", self.hidden, options.num_layers);
            return Err(x.bad_argument(name, "hidden, num_layers", value, "at least 1 each"));
        }
        if options.proj_size > 0 && (self.kind != Kind::Lstm || options.proj_size >= self.hidden) {
            return Err(x.bad_argument(name, "proj_size", options.proj_size, "an LSTM's, smaller than its state"));
        }
        if !(0.0..=1.0).contains(&options.dropout) {
            return Err(x.bad_argument(name, "dropout", options.dropout, "a probability"));
        }
        if !matches!(shape.len(), 2 | 3) || shape.last() != Some(&self.inputs) {
            return Err(Tensor::bad_shape(name, &[x], "x is [time, batch, inputs], or [time, inputs]"));
        }
        if !x.dtype().is_float() {
            return Err(Tensor::bad_dtype(name, &[x], "x is floats"));
        }
        let time = usize::from(options.batch_first && shape.len() == 3);
        let (steps, batch) = (shape[time], if shape.len() == 3 { shape[1 - time] } else { 1 });
        if steps == 0 {
            return Err(Tensor::bad_shape(name, &[x], "at least one time step"));
        }
        let rows = self.layers.len() * self.layers[0].len();
        for (state, width) in states.iter().zip([self.state(), self.hidden]) {
            let Ok(given) = state.shape() else { return Err((*state).clone()) };
            let want = if shape.len() == 3 { vec![rows, batch, width] } else { vec![rows, width] };
            if given[..] != want[..] {
                return Err(Tensor::bad_shape(name, &[x, state], "a state is [layers · directions, batch, hidden]"));
            }
        }
        let lengths = match lengths {
            Some(lengths) => {
                let Ok(given) = lengths.shape() else { return Err(lengths.clone()) };
                if shape.len() == 2 || given[..] != [batch] {
                    return Err(Tensor::bad_shape(name, &[x, lengths], "one length for each row of the batch"));
                }
                if !lengths.dtype().is_int() {
                    return Err(Tensor::bad_dtype(name, &[x, lengths], "lengths are i32 or u32"));
                }
                // the table notices a length that is negative or past the end
                let table = Tensor::arange(x.device(), 0, steps as i32 + 1, 1);
                Some(table.index_select(0, lengths).unsqueeze(-1))
            }
            None => None,
        };
        let x = if shape.len() == 3 { x.clone() } else { x.unsqueeze(1) };
        Ok(Input { x, time: time as i64, steps, batch, lengths })
    }

    fn layers(&self, mut input: Input, states: &[&Tensor]) -> [Tensor; 3] {
        let device = input.x.device().clone();
        if let Some(inside) = input.inside() {
            // what lies past the end may be anything, even NaN: it must not reach a product
            input.x = Tensor::where_(&inside, &input.x, crate::Lit(0.0));
        }
        let directions = self.layers[0].len();
        let initial = |which: usize, row: usize, width: usize| match states.get(which) {
            Some(state) => state.select(0, row as i64),
            None => Tensor::zeros(&device, [input.batch, width]),
        };
        let (mut h_n, mut c_n) = (Vec::new(), Vec::new());
        for (index, layer) in self.layers.iter().enumerate() {
            let mut outputs = Vec::new();
            for (direction, weights) in layer.iter().enumerate() {
                let row = index * directions + direction;
                let c = (self.kind == Kind::Lstm).then(|| initial(1, row, self.hidden));
                let start = Carry { h: initial(0, row, self.state()), c };
                let (output, end) = self.scan(weights, &input, start, direction == 1);
                outputs.push(output);
                h_n.push(end.h);
                c_n.extend(end.c);
            }
            let y = if outputs.len() == 1 { outputs.swap_remove(0) } else { Tensor::cat(&outputs, -1) };
            input.x = if index + 1 < self.layers.len() { self.dropout.forward(&y) } else { y };
        }
        let h = Tensor::stack(&h_n, 0);
        let c = if c_n.is_empty() { h.clone() } else { Tensor::stack(&c_n, 0) };
        [input.x, h, c]
    }

    /// One layer in one direction: the outputs of all steps, and the state at each row's end.
    fn scan(&self, weights: &RecurrentWeights, input: &Input, start: Carry, reverse: bool) -> (Tensor, Carry) {
        let gates = weights.input_gates(self.kind, &input.x);
        if let Some(found) = self.fused(weights, &gates, input, &start, reverse) {
            return found;
        }
        let mut carry = start;
        let mut outputs = Vec::with_capacity(input.steps);
        for at in 0..input.steps {
            let t = if reverse { input.steps - 1 - at } else { at };
            let next = weights.step(self.kind, &gates.select(input.time, t as i64), &carry);
            match &input.lengths {
                None => {
                    outputs.push(next.h.clone());
                    carry = next;
                }
                Some(lengths) => {
                    let inside = lengths.gt(t as i32);
                    outputs.push(Tensor::where_(&inside, &next.h, crate::Lit(0.0)));
                    let keep = |new: &Tensor, old: &Tensor| Tensor::where_(&inside, new, old);
                    let c = next.c.as_ref().zip(carry.c.as_ref()).map(|(new, old)| keep(new, old));
                    carry = Carry { h: keep(&next.h, &carry.h), c };
                }
            }
        }
        if reverse {
            outputs.reverse();
        }
        (Tensor::stack(&outputs, input.time), carry)
    }
}

impl Stack {
    /// [`Stack::scan`] by kernels that run all steps from one node; `None` for a projected state, and for types other
    /// than f32.
    fn fused(
        &self,
        weights: &RecurrentWeights,
        gates: &Tensor,
        input: &Input,
        start: &Carry,
        reverse: bool,
    ) -> Option<(Tensor, Carry)> {
        let cell = self.kind.cell();
        let bias = || match &weights.bias_hh {
            Some(bias) => bias.value(),
            None => Tensor::zeros(gates.device(), [self.kind.gates() * self.hidden]),
        };
        let given = Given {
            gates: gates.clone(),
            weight: weights.weight_hh.value(),
            h: start.h.clone(),
            c: start.c.clone(),
            bias: (cell == Cell::Gru).then(bias),
            lengths: input.lengths.as_ref().map(|lengths| lengths.squeeze(-1)),
        };
        if weights.weight_hr.is_some() || !Recurrence::takes(&given) {
            return None;
        }
        let (batch_first, masked) = (input.time == 1, given.lengths.is_some());
        let states = Recurrence { cell, reverse, batch_first, masked }.run(&given);
        let end = states.select(input.time, if reverse { 0 } else { input.steps as i64 - 1 });
        let part = |of: &Tensor, index: usize| of.narrow(-1, (index * self.hidden) as i64, self.hidden);
        let h = part(&states, 0);
        let output = match input.inside() {
            Some(inside) => Tensor::where_(&inside, &h, crate::Lit(0.0)),
            None => h,
        };
        let c = (cell == Cell::Lstm).then(|| part(&end, 1));
        Some((output, Carry { h: part(&end, 0), c }))
    }
}

impl Input {
    /// Which steps of which rows count, as `x` has time and batch: `[.., .., 1]`; `None` where all do.
    fn inside(&self) -> Option<Tensor> {
        let lengths = self.lengths.as_ref()?;
        let places = Tensor::arange(self.x.device(), 0, self.steps as i32, 1);
        let inside = lengths.gt(places); // [batch, time]
        Some(if self.time == 0 { inside.t() } else { inside }.unsqueeze(-1))
    }
}

/// A layer around a [`Stack`].
macro_rules! recurrent {
    ($(#[$doc:meta])* $name:ident, |$options:ident| $kind:expr) => {
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name(Stack);

        impl $name {
            /// From `inputs` numbers a step to a state of `hidden`, with PyTorch's defaults: one layer, one
            /// direction, biases, time first.
            pub fn new(inputs: usize, hidden: usize, init: &mut Init) -> Self {
                Self::with(inputs, hidden, RecurrentOptions::default(), init)
            }

            /// The same with other settings.
            pub fn with(inputs: usize, hidden: usize, $options: RecurrentOptions, init: &mut Init) -> Self {
                Self(Stack::new($kind, inputs, hidden, $options, init))
            }

            /// The parameters by layer, then direction.
            pub fn layers(&self) -> &[Vec<RecurrentWeights>] {
                &self.0.layers
            }

            /// The settings it was made with.
            pub fn options(&self) -> &RecurrentOptions {
                &self.0.options
            }
        }

        impl Forward for $name {
            /// The outputs of all steps, from a state of zeros.
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let [y, _, _] = self.0.run(x, &[], None);
                y
            }
        }
    };
}

recurrent! {
    /// h_t = tanh(W_ih x_t + b_ih + W_hh h_(t−1) + b_hh), or relu.
    ///
    /// Shapes: `x [time, batch, inputs]` → `[time, batch, directions · hidden]`; `[batch, time, ..]` with
    /// `batch_first`; `[time, ..]` for a single sequence. States are `[layers · directions, batch, hidden]`.
    ///
    /// Source: Elman 1990, "Finding structure in time".
    Rnn, |options| Kind::Rnn(options.nonlinearity)
}

recurrent! {
    /// Long short-term memory: i, f, o = σ(..), g = tanh(..); c_t = f·c_(t−1) + i·g; h_t = o·tanh(c_t).
    ///
    /// Shapes: `x [time, batch, inputs]` → `[time, batch, directions · hidden]`; `[batch, time, ..]` with
    /// `batch_first`; `[time, ..]` for a single sequence. States are `[layers · directions, batch, hidden]`. With
    /// `proj_size` the hidden state (not the cell's) has that extent.
    ///
    /// Sources: Hochreiter & Schmidhuber 1997, "Long short-term memory"; Sak et al. 2014, "Long short-term memory
    /// based recurrent neural network architectures" (projection).
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// # let device = Device::open()?;
    /// let lstm = Lstm::with(3, 8, RecurrentOptions { batch_first: true, ..Default::default() }, &mut Init::new(&device, 0));
    /// let lengths = Tensor::new(&device, [5i32, 2]);
    /// let (y, (h, _)) = lstm.run(&Tensor::ones(&device, [2, 5, 3]), None, Some(&lengths));
    /// assert_eq!((y.shape()?, h.shape()?), (Shape::new(&[2, 5, 8]).unwrap(), Shape::new(&[1, 2, 8]).unwrap()));
    /// # Ok::<(), Error>(())
    /// ```
    Lstm, |_options| Kind::Lstm
}

recurrent! {
    /// Gated recurrent unit: r, z = σ(..); n = tanh(W_in x + b_in + r·(W_hn h + b_hn));
    /// h_t = (1 − z)·n + z·h_(t−1).
    ///
    /// Shapes: `x [time, batch, inputs]` → `[time, batch, directions · hidden]`; `[batch, time, ..]` with
    /// `batch_first`; `[time, ..]` for a single sequence. States are `[layers · directions, batch, hidden]`.
    ///
    /// Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", §2.3.
    Gru, |_options| Kind::Gru
}

/// What the layers with one state have in common.
macro_rules! single_state {
    ($($name:ident)*) => {$(
        impl $name {
            /// Outputs of all steps, and the state `[layers · directions, batch, hidden]` after the last.
            ///
            /// `h0` is the state before the first step, zeros where it is not given. With `lengths [batch]` row b
            /// ends after `lengths[b]` steps, as in a packed sequence of PyTorch: outputs past the end are zero,
            /// the state is that of the row's end, and the reverse direction starts there. What `x` holds past the
            /// end does not matter.
            ///
            /// # Errors
            /// On evaluation, [`Error::Shape`](crate::Error::Shape), [`Error::DType`](crate::Error::DType) or
            /// [`Error::Argument`](crate::Error::Argument) for what does not fit; a length outside of 0..=time is
            /// an [`Error::Index`](crate::Error::Index) when a result is read.
            #[track_caller]
            pub fn run(&self, x: &Tensor, h0: Option<&Tensor>, lengths: Option<&Tensor>) -> (Tensor, Tensor) {
                let [y, h, _] = self.0.run(x, h0.as_slice(), lengths);
                (y, h)
            }
        }
    )*};
}

single_state!(Rnn Gru);

impl Lstm {
    /// Outputs of all steps, and the hidden and cell states `[layers · directions, batch, ..]` after the last;
    /// otherwise as [`Gru::run`].
    ///
    /// # Errors
    /// As [`Gru::run`].
    #[track_caller]
    pub fn run(
        &self,
        x: &Tensor,
        state: Option<(&Tensor, &Tensor)>,
        lengths: Option<&Tensor>,
    ) -> (Tensor, (Tensor, Tensor)) {
        let states: Vec<&Tensor> = state.into_iter().flat_map(|(h, c)| [h, c]).collect();
        let [y, h, c] = self.0.run(x, &states, lengths);
        (y, (h, c))
    }
}
