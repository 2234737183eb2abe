//! `recurrence.wgsl`, `recurrence_grad.wgsl`: a layer of RNN, LSTM or GRU in one direction, a launch for each time step.
//!
//! [`forward`] binds `gx, w, h0, y`, for an LSTM `c0, gates`, for a GRU `bias, gates`; [`grad`] binds `w, y, dy, out,
//! carry`, for an LSTM (`start` is c0) and a GRU (`start` is h0) `start, gates`. Where rows have lengths both bind
//! `lengths`. The kind of cell is structure; time, batch and hidden size are run-time parameters.

use super::common::count;
use crate::{Caps, Error, Launch, Params, Result, Source, fold_groups};

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// tanh(gx + W h).
    Tanh,
    /// max(gx + W h, 0).
    Relu,
    /// Long short-term memory; gates in the order input, forget, cell, output.
    Lstm,
    /// Gated recurrent unit; gates in the order reset, update, new, the reset gate after the product.
    Gru,
}

impl Cell {
    /// Vectors of the size of the state that a step computes from its input and from its state.
    pub fn gates(self) -> u32 {
        match self {
            Cell::Tanh | Cell::Relu => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    /// Vectors of the gradient: one for each gate, and a GRU's fourth, n's part without the reset gate.
    pub fn blocks(self) -> u32 {
        if self == Cell::Gru { 4 } else { self.gates() }
    }

    /// Vectors that go from step to step: h, and c of an LSTM.
    pub fn states(self) -> u32 {
        if self == Cell::Lstm { 2 } else { 1 }
    }

    /// Whether a step keeps its four gates for the gradient.
    pub fn keeps_gates(self) -> bool {
        matches!(self, Cell::Lstm | Cell::Gru)
    }
}

/// One layer in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// What a step computes.
    pub cell: Cell,
    /// Time steps.
    pub steps: u32,
    /// Rows.
    pub batch: u32,
    /// Size of the state.
    pub hidden: u32,
    /// From the last step to the first.
    pub reverse: bool,
    /// Whether time is the second axis rather than the first.
    pub batch_first: bool,
    /// Whether rows end early, after `lengths [batch]` steps.
    pub masked: bool,
}

/// The algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// An invocation has a unit of the state: the plain variant.
    Alone,
    /// 32 invocations share a unit's products, for GPUs.
    Shared,
}

/// States up to this size have kernels: CPU adapters limit how long one invocation may loop.
pub const MAX_HIDDEN: u32 = 8192;

/// The variants that this device allows, the plain one first.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    let fits = caps.max_invocations >= 128 && caps.workgroup_memory >= 128 * 8 * 16;
    if fits { vec![Variant::Alone, Variant::Shared] } else { vec![Variant::Alone] }
}

/// The variant that the launches take.
pub fn choose(caps: &Caps) -> Variant {
    if caps.is_cpu() { Variant::Alone } else { variants(caps).last().copied().unwrap_or(Variant::Alone) }
}

/// The launches of all steps, in order.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements or a state past [`MAX_HIDDEN`]; [`Error::Limit`] for too many
/// elements.
pub fn forward(caps: &Caps, p: &Problem) -> Result<Vec<Launch>> {
    forward_with(p, choose(caps))
}

/// The launches of all steps back, and the one for the initial state.
///
/// # Errors
/// As [`forward`].
pub fn grad(caps: &Caps, p: &Problem) -> Result<Vec<Launch>> {
    grad_with(p, choose(caps))
}

/// [`forward`] by a given variant.
///
/// # Errors
/// As [`forward`].
pub fn forward_with(p: &Problem, variant: Variant) -> Result<Vec<Launch>> {
    check(p)?;
    let source = common(Source::new("recurrence", kiln_shaders::RECURRENCE), p, variant);
    let source = if p.cell == Cell::Gru { source } else { source.slot("bias_of", "    return 0.0;") };
    let later = if p.cell.keeps_gates() { source } else { source.slot("keep", "") };
    let initial = |source: Source, states: [&str; 2]| {
        let of = |array: &str| format!("    return {array}[row * sizes.hidden + unit];");
        source.constant("FIRST", "true").slot("h_before", of(states[0])).slot("c_before", of(states[1]))
    };
    let (first, later) = match p.cell {
        Cell::Lstm => (initial(later.clone(), ["h0", "c0"]), later),
        // no c: what stands for it is not read
        _ => (initial(later.clone(), ["h0", "h0"]), later.slot("c_before", "    return 0.0;")),
    };
    let launch = |at: u32| {
        let source = if at == 0 { &first } else { &later };
        let params = sizes(p).u32(row(p, at)).u32(row(p, at.saturating_sub(1))).u32(time(p, at));
        Launch::new(source.clone(), params, groups(p, variant)).costing(cost(p))
    };
    Ok((0..p.steps).map(launch).collect())
}

/// [`grad`] by a given variant.
///
/// # Errors
/// As [`forward`].
pub fn grad_with(p: &Problem, variant: Variant) -> Result<Vec<Launch>> {
    check(p)?;
    let middle = common(Source::new("recurrence_grad", kiln_shaders::RECURRENCE_GRAD), p, variant);
    let middle = if p.cell.keeps_gates() { middle } else { middle.slot("kept", "    return 0.0;") };
    let end = middle.clone().constant("END", "true");
    let initial = |source: Source| source.slot("before", "    return start[row * sizes.hidden + unit];");
    let (last, latest) = (p.steps - 1, middle.clone().constant("FIRST", "true"));
    let (first, only) = (initial(middle.clone()), initial(latest.clone()));
    let launch = |at: u32| {
        let source = match (at == last, at == 0) {
            (true, true) => &only,
            (true, false) => &latest,
            (false, true) => &first,
            (false, false) => &middle,
        };
        let params = sizes(p).u32(row(p, at)).u32(row(p, (at + 1).min(last))).u32(time(p, at));
        Launch::new(source.clone(), params.u32(row(p, at.saturating_sub(1))), groups(p, variant)).costing(cost(p))
    };
    let to_start = sizes(p).u32(0).u32(row(p, 0)).u32(0).u32(0);
    Ok((0..p.steps)
        .rev()
        .map(launch)
        .chain([Launch::new(end, to_start, groups(p, variant)).costing(cost(p))])
        .collect())
}

fn check(p: &Problem) -> Result<()> {
    if p.steps == 0 || p.batch == 0 || p.hidden == 0 || p.hidden > MAX_HIDDEN {
        return Err(Error::Validation(format!("recurrence has no kernel for {p:?}")));
    }
    count("recurrence", &[p.steps, p.batch, 4, p.hidden])?;
    count("recurrence", &[4, p.hidden, p.hidden])?;
    Ok(())
}

/// The rows of a workgroup: those that share a load of the weights.
fn rows(p: &Problem, variant: Variant) -> u32 {
    match variant {
        _ if p.batch == 1 => 1,
        Variant::Alone => 4,
        Variant::Shared => 8,
    }
}

fn units(variant: Variant) -> u32 {
    if variant == Variant::Alone { 8 } else { 4 }
}

/// Operations of a step: a product of the states with a matrix for each gate.
fn cost(p: &Problem) -> [u32; 5] {
    [2, p.batch, p.cell.gates(), p.hidden, p.hidden]
}

fn groups(p: &Problem, variant: Variant) -> [u32; 3] {
    fold_groups(u64::from(p.hidden.div_ceil(units(variant))) * u64::from(p.batch.div_ceil(rows(p, variant))))
}

fn common(source: Source, p: &Problem, variant: Variant) -> Source {
    let lanes = if variant == Variant::Alone { 1 } else { 32 };
    let source = source
        .constant("CELL", format!("{}u", p.cell as u32))
        .constant("LANES", format!("{lanes}u"))
        .constant("UNITS", format!("{}u", units(variant)))
        .constant("ROWS", format!("{}u", rows(p, variant)));
    if p.masked { source } else { source.slot("inside", "    return true;") }
}

fn sizes(p: &Problem) -> Params {
    Params::new().u32(p.batch).u32(p.hidden).u32(if p.batch_first { p.steps } else { 1 })
}

/// The time of step number `at`.
fn time(p: &Problem, at: u32) -> u32 {
    if p.reverse { p.steps - 1 - at } else { at }
}

/// The row of step number `at` and the first of the batch.
fn row(p: &Problem, at: u32) -> u32 {
    time(p, at) * if p.batch_first { 1 } else { p.batch }
}
