//! One time step of the three recurrences: what layers over sequences and single cells share.

use crate::Param;
use crate::Tensor;
use crate::init::Init;
use crate::nn::{Module, Visitor};
use crate::ops::recurrence::{self, Cell};

/// Which recurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rnn(Nonlinearity),
    Lstm,
    Gru,
}

/// What an [`Rnn`](super::Rnn) applies to the sum of its input and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nonlinearity {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// max(x, 0).
    Relu,
}

impl Kind {
    /// What a step computes.
    pub(super) fn cell(self) -> Cell {
        match self {
            Kind::Rnn(Nonlinearity::Tanh) => Cell::Tanh,
            Kind::Rnn(Nonlinearity::Relu) => Cell::Relu,
            Kind::Lstm => Cell::Lstm,
            Kind::Gru => Cell::Gru,
        }
    }

    /// How many vectors of the size of the state each step computes from input and state.
    pub(super) fn gates(self) -> usize {
        self.cell().gates() as usize
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Rnn(_) => "rnn",
            Kind::Lstm => "lstm",
            Kind::Gru => "gru",
        }
    }
}

/// The parameters of one recurrence: of a cell, or of one layer and direction.
///
/// With g = 1 gate for [`Rnn`](super::Rnn), 4 for [`Lstm`](super::Lstm) (input, forget, cell, output), 3 for
/// [`Gru`](super::Gru) (reset, update, new); all are drawn from U(-1/√hidden, 1/√hidden).
#[derive(Module)]
pub struct RecurrentWeights {
    /// From the input, `[g·hidden, inputs]`.
    pub weight_ih: Param,
    /// From the state, `[g·hidden, state]`.
    pub weight_hh: Param,
    /// `[g·hidden]`.
    pub bias_ih: Option<Param>,
    /// `[g·hidden]`.
    pub bias_hh: Option<Param>,
    /// From the hidden state to its projection, `[projection, hidden]`.
    pub weight_hr: Option<Param>,
}

/// The hidden state `h`, and the cell state `c` of an LSTM.
#[derive(Clone)]
pub(super) struct Carry {
    pub(super) h: Tensor,
    pub(super) c: Option<Tensor>,
}

impl RecurrentWeights {
    pub(super) fn new(kind: Kind, sizes: Sizes, bias: bool, init: &mut Init) -> Self {
        let rows = kind.gates() * sizes.hidden;
        let mut draw = |shape: &[usize]| init.fan_in_uniform(shape, sizes.hidden);
        Self {
            weight_ih: draw(&[rows, sizes.inputs]),
            weight_hh: draw(&[rows, sizes.state()]),
            bias_ih: bias.then(|| draw(&[rows])),
            bias_hh: bias.then(|| draw(&[rows])),
            weight_hr: (sizes.projection > 0).then(|| draw(&[sizes.projection, sizes.hidden])),
        }
    }

    /// Shows the parameters with `suffix` after their names: `weight_ih_l0_reverse`.
    pub(super) fn visit_as(&self, suffix: &str, visitor: &mut Visitor<'_>) {
        visitor.field(format!("weight_ih{suffix}"), &self.weight_ih);
        visitor.field(format!("weight_hh{suffix}"), &self.weight_hh);
        for (name, param) in [("bias_ih", &self.bias_ih), ("bias_hh", &self.bias_hh), ("weight_hr", &self.weight_hr)] {
            if let Some(param) = param {
                visitor.field(format!("{name}{suffix}"), param);
            }
        }
    }

    /// What the gates get from the input, for any number of time steps in one product: `x [.., inputs]` →
    /// `[.., g·hidden]`. Both biases are in it, but the GRU's second one, which the reset gate scales.
    pub(super) fn input_gates(&self, kind: Kind, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.weight_ih.t());
        match (&self.bias_ih, &self.bias_hh) {
            (Some(ih), Some(_)) if kind == Kind::Gru => y + ih,
            (Some(ih), Some(hh)) => y + (ih.value() + hh.value()),
            _ => y,
        }
    }

    /// The next state from `gx`, the input's part of the gates `[batch, g·hidden]`.
    pub(super) fn step(&self, kind: Kind, gx: &Tensor, carry: &Carry) -> Carry {
        let gh = carry.h.matmul(&self.weight_hh.t());
        let bias = self.bias_hh.as_ref().map(|bias| bias.value());
        let (h, c) = recurrence::step(kind.cell(), gx, &gh, bias.as_ref(), &carry.h, carry.c.as_ref());
        match &self.weight_hr {
            Some(weight) => Carry { h: h.matmul(&weight.t()), c },
            None => Carry { h, c },
        }
    }
}

/// Extents of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) inputs: usize,
    pub(super) hidden: usize,
    /// Of the projected hidden state; 0 without projection.
    pub(super) projection: usize,
}

impl Sizes {
    /// The extent of the hidden state.
    pub(super) fn state(&self) -> usize {
        if self.projection > 0 { self.projection } else { self.hidden }
    }
}
