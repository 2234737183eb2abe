//! Recurrent layers over all time steps as one operation: a kernel launch for each step, forward and back, and no nodes
//! but one. What a step computes stands here once more in plain operations: for cells, for layers that the kernels do
//! not take, and for gradients of gradients.

use crate::error::Result;
use crate::node::Op;
use crate::{DType, Shape, Tensor};
pub(crate) use kiln_device::kernels::recurrence::Cell;
use kiln_device::kernels::recurrence::MAX_HIDDEN;

/// One layer in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Recurrence {
    pub(crate) cell: Cell,
    /// From the last step to the first.
    pub(crate) reverse: bool,
    /// `[batch, time, ..]` rather than `[time, batch, ..]`.
    pub(crate) batch_first: bool,
    /// Rows end after their lengths.
    pub(crate) masked: bool,
}

/// What a layer computes from. All are f32, but the lengths.
#[derive(Clone)]
pub(crate) struct Given {
    /// What the gates get from the input, `[time, batch, g·hidden]`, with all biases but a GRU's from the state.
    pub(crate) gates: Tensor,
    /// `[g·hidden, hidden]`.
    pub(crate) weight: Tensor,
    /// `[batch, hidden]`.
    pub(crate) h: Tensor,
    /// `[batch, hidden]`, of an LSTM.
    pub(crate) c: Option<Tensor>,
    /// `[g·hidden]`, of a GRU.
    pub(crate) bias: Option<Tensor>,
    /// `[batch]` of `I32`.
    pub(crate) lengths: Option<Tensor>,
}

impl Given {
    fn all(&self) -> Vec<&Tensor> {
        let Self { gates, weight, h, c, bias, lengths } = self;
        [gates, weight, h].into_iter().chain(c).chain(bias).chain(lengths).collect()
    }

    /// The inputs of a node as they were given.
    fn of(what: Recurrence, inputs: &[Tensor]) -> Self {
        let mut rest = inputs.iter().skip(3).cloned();
        let mut next = |there: bool| if there { rest.next() } else { None };
        let (c, bias) = (next(what.cell == Cell::Lstm), next(what.cell == Cell::Gru));
        let lengths = next(what.masked);
        Self { gates: inputs[0].clone(), weight: inputs[1].clone(), h: inputs[2].clone(), c, bias, lengths }
    }

    fn count(what: Recurrence) -> usize {
        3 + usize::from(matches!(what.cell, Cell::Lstm | Cell::Gru)) + usize::from(what.masked)
    }
}

impl Recurrence {
    pub(crate) fn name(self) -> &'static str {
        match self.cell {
            Cell::Tanh | Cell::Relu => "rnn",
            Cell::Lstm => "lstm",
            Cell::Gru => "gru",
        }
    }

    fn time(self) -> i64 {
        i64::from(self.batch_first)
    }

    /// The shape of the gates that are kept beside a result of `shape`.
    pub(crate) fn kept(self, shape: Shape) -> Shape {
        shape.with(2, if self.cell.keeps_gates() { shape[2] / self.cell.states() as usize * 4 } else { 0 })
    }

    /// The shape of the gradient of the initial state, of which h is of shape `h`.
    pub(crate) fn start(self, h: Shape) -> Shape {
        Shape::of(&[self.cell.states() as usize, h[0], h[1]])
    }

    /// Whether the kernels take it.
    pub(crate) fn takes(given: &Given) -> bool {
        let floats = given.all().iter().all(|t| t.error().is_none() && matches!(t.dtype(), DType::F32 | DType::I32));
        let hidden = given.h.shape_or_scalar().extent_from_end(1);
        floats && given.gates.numel() > 0 && hidden <= MAX_HIDDEN as usize
    }

    /// h after every step, `[time, batch, hidden]`, and behind it c of an LSTM: `[time, batch, 2·hidden]`. A row past its
    /// end keeps its state.
    #[track_caller]
    pub(crate) fn run(self, given: &Given) -> Tensor {
        let width = given.h.shape_or_scalar().extent_from_end(1) * self.cell.states() as usize;
        let shape = given.gates.shape_or_scalar();
        Tensor::make(Op::Recurrence(self), &given.all(), shape.with(2, width), DType::F32)
    }

    /// The same from plain operations. `biases`, of a GRU, are one for each step.
    fn unrolled(self, given: &Given, biases: Option<&Tensor>) -> Tensor {
        let steps = given.gates.shape_or_scalar()[self.time() as usize];
        let (mut h, mut c) = (given.h.clone(), given.c.clone());
        let mut states = Vec::with_capacity(steps);
        for at in 0..steps {
            let t = if self.reverse { steps - 1 - at } else { at };
            let of = |x: &Tensor| x.select(self.time(), t as i64);
            let product = h.matmul(&given.weight.t());
            let (new_h, new_c) = step(self.cell, &of(&given.gates), &product, biases.map(of).as_ref(), &h, c.as_ref());
            match &given.lengths {
                None => (h, c) = (new_h, new_c),
                Some(lengths) => {
                    let inside = lengths.gt(t as i32).unsqueeze(-1);
                    h = Tensor::where_(&inside, &new_h, &h);
                    c = new_c.zip(c).map(|(new, old)| Tensor::where_(&inside, &new, &old));
                }
            }
            let parts: Vec<&Tensor> = [&h].into_iter().chain(&c).collect();
            states.push(Tensor::cat(&parts, -1));
        }
        if self.reverse {
            states.reverse();
        }
        Tensor::stack(&states, self.time())
    }
}

/// The next h, and c of an LSTM, from what the gates get from the input and the product with the state, `[batch,
/// g·hidden]`. `bias`, of a GRU, is added to the product.
///
/// Sources: Elman 1990; Hochreiter & Schmidhuber 1997, "Long short-term memory", with forget gate (Gers et al. 2000);
/// Cho et al. 2014, §2.3, with the reset gate after the product as PyTorch and cuDNN have it.
pub(crate) fn step(
    cell: Cell,
    gx: &Tensor,
    product: &Tensor,
    bias: Option<&Tensor>,
    h: &Tensor,
    c: Option<&Tensor>,
) -> (Tensor, Option<Tensor>) {
    let gate = |of: &Tensor, index: u32| {
        let Ok(shape) = of.shape() else { return of.clone() };
        let hidden = shape.last().map_or(0, |width| width / cell.gates() as usize);
        of.narrow(-1, i64::from(index) * hidden as i64, hidden)
    };
    match (cell, c) {
        (Cell::Tanh, _) => ((product + gx).tanh(), None),
        (Cell::Relu, _) => ((product + gx).relu(), None),
        (Cell::Lstm, Some(c)) => {
            let sum = product + gx;
            let [i, f, g, o] = [0, 1, 2, 3].map(|index| gate(&sum, index));
            let c = f.sigmoid() * c + i.sigmoid() * g.tanh();
            (o.sigmoid() * c.tanh(), Some(c))
        }
        (Cell::Lstm, None) => unreachable!("an LSTM always carries a cell state"),
        (Cell::Gru, _) => {
            let product = bias.map_or_else(|| product.clone(), |bias| product + bias);
            let part = |index| (gate(gx, index), gate(&product, index));
            let [(rx, rh), (zx, zh), (nx, nh)] = [part(0), part(1), part(2)];
            let n = (nx + (rx + rh).sigmoid() * nh).tanh();
            let z = (zx + zh).sigmoid();
            ((1.0 - &z) * n + z * h, None)
        }
    }
}

/// The gradients of everything that is given: a launch for each step back, and one product for the weights.
pub(crate) fn vjp(what: Recurrence, dy: &Tensor, inputs: &[Tensor], y: &Tensor) -> Vec<Option<Tensor>> {
    let given = Given::of(what, inputs);
    let own = y.shape_or_scalar();
    let hidden = given.h.shape_or_scalar().extent_from_end(1);
    let blocks = what.cell.blocks() as usize;
    let mut all: Vec<Tensor> = inputs.to_vec();
    all.extend([y.clone(), dy.clone()]);
    if what.cell.keeps_gates() {
        all.push(Tensor::make(Op::Second, &[y], what.kept(own), DType::F32));
    }
    let d = Tensor::make(
        Op::RecurrenceGrad(what),
        &all.iter().collect::<Vec<_>>(),
        own.with(2, blocks * hidden),
        DType::F32,
    );
    let initial = Tensor::make(Op::Second, &[&d], what.start(given.h.shape_or_scalar()), DType::F32);

    let part = |from: usize, count: usize| d.narrow(2, (from * hidden) as i64, count * hidden);
    // a GRU's new gate: through the product third, beside it fourth
    let gru = what.cell == Cell::Gru;
    let through = if gru { part(0, 3) } else { d.clone() };
    let gates = if gru { Tensor::cat(&[&part(0, 2), &part(3, 1)], 2) } else { d.clone() };
    let steps = own[what.time() as usize];
    let h = y.narrow(2, 0, hidden);
    let start = given.h.unsqueeze(what.time());
    let before = match what.reverse {
        false => Tensor::cat(&[&start, &h.narrow(what.time(), 0, steps - 1)], what.time()),
        true => Tensor::cat(&[&h.narrow(what.time(), 1, steps - 1), &start], what.time()),
    };
    let rows = |x: &Tensor| {
        let shape = x.shape_or_scalar();
        x.to_shape(Shape::of(&[shape[0] * shape[1], shape[2]]))
    };
    let weight = rows(&through).t().matmul(&rows(&before));
    let mut found = vec![Some(gates), Some(weight), Some(initial.select(0, 0))];
    if what.cell == Cell::Lstm {
        found.push(Some(initial.select(0, 1)));
    }
    if gru {
        found.push(Some(through.sum_axes([0i64, 1], false)));
    }
    if what.masked {
        found.push(None);
    }
    found
}

/// The gradient kernel's results as formulas of what it is given, for gradients of gradients: the gradients of the gates,
/// and of the initial state. `gradients` differentiates: a tensor, the gradient of it, with respect to what.
pub(crate) fn formula(
    what: Recurrence,
    inputs: &[Tensor],
    gradients: impl Fn(&Tensor, &Tensor, &[Tensor]) -> Result<Vec<Option<Tensor>>>,
) -> Result<[Tensor; 2]> {
    let count = Given::count(what);
    let given = Given::of(what, &inputs[..count]);
    let dy = &inputs[count + 1];
    // one bias for each step has the gradient of each step's product
    let biases = given.bias.as_ref().map(|b| b.expand_to(given.gates.shape_or_scalar()));
    let y = what.unrolled(&given, biases.as_ref());
    let wanted: Vec<Tensor> = [&given.gates, &given.h].into_iter().chain(&given.c).chain(&biases).cloned().collect();
    let found = gradients(&y, dy, &wanted)?;
    let of = |i: usize| found[i].clone().unwrap_or_else(|| wanted[i].zeros_like());
    let gates = match biases {
        None => of(0),
        Some(_) => {
            let hidden = given.h.shape_or_scalar().extent_from_end(1);
            Tensor::cat(&[&of(2), &of(0).narrow(2, 2 * hidden as i64, hidden)], 2)
        }
    };
    let initial: Vec<Tensor> = (1..=what.cell.states() as usize).map(of).collect();
    Ok([gates, Tensor::stack(&initial, 0)])
}
