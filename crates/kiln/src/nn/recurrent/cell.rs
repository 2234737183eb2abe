//! Single steps of the recurrences, for loops of one's own.

use super::step::{Carry, Kind, Nonlinearity, RecurrentWeights, Sizes};
use crate::Tensor;
use crate::init::Init;
use crate::nn::Module;

/// A cell: its kind and the parts of its documentation that differ.
macro_rules! cell {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            /// The parameters, `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
            #[module(flatten)]
            pub weights: RecurrentWeights,
            #[module(skip)]
            kind: Kind,
            hidden: usize,
            inputs: usize,
        }

        impl $name {
            /// A cell from `inputs` numbers to a state of `hidden`, with biases.
            pub fn new(inputs: usize, hidden: usize, init: &mut Init) -> Self {
                Self::of($kind, inputs, hidden, true, init)
            }

            /// The same without biases.
            pub fn no_bias(inputs: usize, hidden: usize, init: &mut Init) -> Self {
                Self::of($kind, inputs, hidden, false, init)
            }

            fn of(kind: Kind, inputs: usize, hidden: usize, bias: bool, init: &mut Init) -> Self {
                let sizes = Sizes { inputs, hidden, projection: 0 };
                Self { weights: RecurrentWeights::new(kind, sizes, bias, init), kind, hidden, inputs }
            }

            /// One step: checks, a batch of one where there is none, zeros where no state is given.
            #[track_caller]
            fn run(&self, x: &Tensor, states: &[&Tensor]) -> Vec<Tensor> {
                let name = concat!(stringify!($name));
                let refuse = |bad: Tensor| vec![bad.clone(), bad];
                let Ok(shape) = x.shape() else { return refuse(x.clone()) };
                let fits = matches!(shape.len(), 1 | 2) && shape.last() == Some(&self.inputs);
                if !fits {
                    return refuse(Tensor::bad_shape(name, &[x], "x is [batch, inputs] or [inputs]"));
                }
                let mut own = shape.to_vec();
                own.splice(shape.len() - 1.., [self.hidden]);
                if let Some(bad) = states.iter().find(|s| s.shape().is_ok_and(|s| s[..] != own[..])) {
                    return refuse(Tensor::bad_shape(name, &[x, bad], "a state is [batch, hidden], as x has batches"));
                }
                let lift = |t: &Tensor| if shape.len() == 1 { t.unsqueeze(0) } else { t.clone() };
                let state = |index: usize| match states.get(index) {
                    Some(state) => lift(state),
                    None => lift(&Tensor::zeros(x.device(), own.clone())),
                };
                let c = (self.kind == Kind::Lstm).then(|| state(1));
                let gx = self.weights.input_gates(self.kind, &lift(x));
                let next = self.weights.step(self.kind, &gx, &Carry { h: state(0), c });
                let lower = |t: Tensor| if shape.len() == 1 { t.squeeze(0) } else { t };
                [Some(next.h), next.c].into_iter().flatten().map(lower).collect()
            }
        }
    };
}

cell! {
    /// One step of [`Rnn`](super::Rnn): h' = tanh(W_ih x + b_ih + W_hh h + b_hh).
    ///
    /// Shapes: `x [batch, inputs]`, `h [batch, hidden]` → `[batch, hidden]`; all of them without batch too.
    RnnCell, Kind::Rnn(Nonlinearity::Tanh)
}

cell! {
    /// One step of [`Lstm`](super::Lstm).
    ///
    /// Shapes: `x [batch, inputs]`, `h`, `c [batch, hidden]` → two of `[batch, hidden]`; all of them without batch
    /// too.
    LstmCell, Kind::Lstm
}

cell! {
    /// One step of [`Gru`](super::Gru).
    ///
    /// Shapes: `x [batch, inputs]`, `h [batch, hidden]` → `[batch, hidden]`; all of them without batch too.
    GruCell, Kind::Gru
}

impl RnnCell {
    /// Sets the function of the sum.
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.kind = Kind::Rnn(nonlinearity);
        self
    }

    /// The next state; zeros stand for a state that is not given.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Tensor {
        self.run(x, h.as_slice()).swap_remove(0)
    }
}

impl GruCell {
    /// The next state; zeros stand for a state that is not given.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Tensor {
        self.run(x, h.as_slice()).swap_remove(0)
    }
}

impl LstmCell {
    /// The next hidden and cell state; zeros stand for states that are not given.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<(&Tensor, &Tensor)>) -> (Tensor, Tensor) {
        let states: Vec<&Tensor> = state.into_iter().flat_map(|(h, c)| [h, c]).collect();
        let mut next = self.run(x, &states);
        let c = next.swap_remove(1);
        (next.swap_remove(0), c)
    }
}
