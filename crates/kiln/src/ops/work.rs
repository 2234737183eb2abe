//! What an expression costs: its operations in order, the parameters that they read, and their multiply-adds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::At;
use crate::node::Op;
use crate::{Shape, Tensor};

/// An operation of an expression that multiplies, pools, looks up or reads cells.
pub(crate) struct Work {
    /// What the program called.
    pub(crate) name: &'static str,
    /// The module it was made in, where one is known.
    pub(crate) scope: Option<Arc<str>>,
    /// The shape of what the call that it is part of makes of it, as far as that only arranges it anew.
    pub(crate) shape: Shape,
    pub(crate) bytes: usize,
    pub(crate) multiply_adds: u64,
    /// The cells that it reads, itself or through expressions of nothing but cells.
    pub(crate) cells: BTreeSet<u64>,
    /// Whether it multiplies, pools or looks up: work of its own, rather than something done to its input.
    pub(crate) own: bool,
    /// An earlier one of the same call that it reads.
    pub(crate) joins: Option<usize>,
    at: At,
}

/// What a value is made of.
#[derive(Clone)]
enum Kind {
    /// Numbers and cells only: a constant, a weight, what is computed of weights.
    Fixed(BTreeSet<u64>),
    /// An input, or what depends on one, and the work of the call that made it.
    Data(Option<usize>),
}

/// The operations of `output` that do work, inputs before what reads them. Leaves that are neither cells nor single
/// numbers are inputs. What was released by a step is not listed.
pub(crate) fn work(output: &Tensor) -> Vec<Work> {
    let mut kinds: HashMap<usize, Kind> = HashMap::new();
    let mut found: Vec<Work> = Vec::new();
    let mut kept = Vec::new(); // keeps what the identities are of
    let mut stack = vec![(output.current(), false)];
    while let Some((tensor, ready)) = stack.pop() {
        if kinds.contains_key(&tensor.id()) {
            continue;
        }
        let inputs = tensor.inputs();
        if !ready {
            stack.push((tensor, true));
            stack.extend(inputs.into_iter().rev().map(|input| (input, false)));
            continue;
        }
        let of: Vec<Kind> = inputs.iter().filter_map(|input| kinds.get(&input.id()).cloned()).collect();
        let kind = kind(&tensor, &inputs, &of, &mut found);
        kinds.insert(tensor.id(), kind);
        kept.push(tensor);
    }
    found
}

/// What `tensor` is, given what its inputs are; its work, if it does any, is added to `found`.
fn kind(tensor: &Tensor, inputs: &[Tensor], of: &[Kind], found: &mut Vec<Work>) -> Kind {
    let node = &tensor.0;
    let mut cells = BTreeSet::new();
    let (mut data, mut number) = (false, false);
    // the last work of this very call that it reads, if any
    let mut joins = None;
    for kind in of {
        match kind {
            Kind::Fixed(read) => {
                number |= read.is_empty();
                cells.extend(read);
            }
            Kind::Data(work) => {
                data = true;
                let same = |at: &usize| {
                    let before = &found[*at];
                    before.name == node.name && before.at == node.at && before.scope == node.scope
                };
                joins = joins.max(work.filter(same));
            }
        }
    }
    let multiply_adds = multiply_adds(tensor, inputs);
    // an input may be a single number; what is computed of cells alone is a weight
    let multiplies = multiply_adds > 0 && (data || number);
    let pools = matches!(node.op, Op::MaxPool(_) | Op::AvgPool(_));
    let own = multiplies || pools || (matches!(node.op, Op::Gather(_)) && !cells.is_empty());
    match &node.op {
        Op::Content(cell) => return Kind::Fixed(BTreeSet::from([cell.id])),
        _ if inputs.is_empty() && tensor.numel() == 1 => return Kind::Fixed(BTreeSet::new()),
        _ if inputs.is_empty() => return Kind::Data(None),
        // an input may be zeros: a number, spread out
        Op::View(_) if !data && cells.is_empty() => return Kind::Data(None),
        _ if !data && !own => return Kind::Fixed(cells),
        _ => {}
    }
    if own || !cells.is_empty() {
        let (name, scope, at) = (node.name, node.scope.clone(), node.at);
        let (shape, bytes) = (node.shape, node.shape.numel() * node.dtype.bytes());
        found.push(Work { name, scope, shape, bytes, multiply_adds, cells, own, joins, at });
        return Kind::Data(Some(found.len() - 1));
    }
    if let Some(at) = joins {
        found[at].shape = node.shape;
    }
    Kind::Data(joins)
}

/// Products that are summed: those of matrices, convolutions, attention and recurrence.
fn multiply_adds(tensor: &Tensor, inputs: &[Tensor]) -> u64 {
    let dims = |k: usize| inputs.get(k).map_or(Shape::SCALAR, |t| t.shape_or_scalar());
    let last = |shape: Shape, back: usize| shape.len().checked_sub(back).map_or(1, |at| shape[at]) as u64;
    match &tensor.0.op {
        Op::Matmul => tensor.numel() as u64 * last(dims(0), 1),
        Op::Conv(spec) | Op::ConvInput(spec) | Op::ConvWeight(spec) => {
            let places = (spec.batch * spec.outputs) as u64 * spec.output.iter().product::<usize>() as u64;
            let window = (spec.inputs / spec.groups.max(1)) as u64 * spec.kernel.iter().product::<usize>() as u64;
            places * window
        }
        // every query with every key, then with every value
        Op::Attention(_) => {
            let (q, k, v) = (dims(0), dims(1), dims(2));
            let rows = q.numel() as u64 / last(q, 1).max(1);
            rows * last(k, 2) * (last(q, 1) + last(v, 1))
        }
        // the gates of each step from the state before it
        Op::Recurrence(_) => dims(0).numel() as u64 * last(dims(1), 1),
        _ => 0,
    }
}
