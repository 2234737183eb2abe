//! What a plan's memory is for, known before it runs.

use super::place::Tenants;
use crate::emit::Operand;
use crate::error::At;
use crate::graph::{Graph, Role, content};
use crate::lower::Lowered;
use crate::memory::peak;
use crate::{DType, Shape};
use std::collections::HashSet;

/// How many of the largest tensors are named.
const NAMED: usize = 12;

/// The memory of a plan in bytes, by what it is for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PlanMemory {
    /// Parameters that the plan reads or replaces.
    pub parameters: u64,
    /// Other state: what optimizers remember, running statistics, counters.
    pub state: u64,
    /// Gradients that the replacements read.
    pub gradients: u64,
    /// What is made on the way to the loss and read again by its gradients.
    pub activations: u64,
    /// The most bytes of intermediate tensors, gradients and activations included, that one dispatch leaves or finds
    /// in memory.
    pub peak: u64,
    /// The buffers that all intermediate tensors live in, by turns. Shared with the other plans of the device.
    pub workspace: u64,
    /// Inputs that are no state: batches, constants.
    pub inputs: u64,
    /// The largest intermediate tensors, the largest first.
    pub largest: Vec<PlanTensor>,
}

impl PlanMemory {
    /// All that the plan needs.
    pub fn total(&self) -> u64 {
        self.parameters + self.state + self.workspace + self.inputs
    }

    /// What no way of training can do without: parameters, state, gradients and activations.
    pub fn needed(&self) -> u64 {
        self.parameters + self.state + self.gradients + self.activations
    }
}

/// What an intermediate tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorUse {
    /// Made on the way to the loss and read by its gradients.
    Activation,
    /// Read by a replacement of a parameter.
    Gradient,
    /// Needed for a while.
    Temporary,
}

/// An intermediate tensor of a plan.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanTensor {
    /// The operation that makes it.
    pub op: &'static str,
    /// The line of the program that asked for it, or for what it is the gradient of.
    pub at: At,
    /// The operation's shape; scratch memory of a kernel has that of its result.
    pub shape: Shape,
    /// The operation's element type.
    pub dtype: DType,
    /// Bytes in memory.
    pub bytes: u64,
    /// What it is for.
    pub for_what: TensorUse,
}

/// The account of a plan whose intermediates are placed.
pub(super) fn account(graph: &Graph, steps: &[Lowered], tenants: &Tenants, inputs: u64) -> PlanMemory {
    let (parameters, state) = cells(graph);
    let mut memory = PlanMemory { parameters, state, inputs, workspace: tenants.bytes, ..PlanMemory::default() };
    memory.peak = peak(&tenants.all.iter().map(|(_, tenant)| *tenant).collect::<Vec<_>>());
    let forward = forward(graph);
    let is_forward = |operand: &Operand| node_of(operand).is_some_and(|node| forward[node as usize]);
    // the steps that make something which is no part of the loss, and what those and the replacements read
    let mut backward = vec![false; steps.len()];
    for (operand, tenant) in &tenants.all {
        backward[tenant.first] |= !matches!(operand, Operand::Scratch(..)) && !is_forward(operand);
    }
    let (mut by_gradients, mut by_writes) = (HashSet::new(), HashSet::new());
    for (at, step) in steps.iter().enumerate() {
        let operands = step.bindings.iter().map(|(_, operand)| *operand);
        if step.bindings.iter().any(|(_, operand)| matches!(operand, Operand::Cell(_))) {
            by_writes.extend(operands);
        } else if backward[at] {
            by_gradients.extend(operands);
        }
    }
    for (operand, tenant) in &tenants.all {
        let Some(node) = node_of(operand) else { continue };
        let for_what = match operand {
            Operand::Scratch(..) => TensorUse::Temporary,
            _ if forward[node as usize] && !backward[tenant.first] && by_gradients.contains(operand) => {
                TensorUse::Activation
            }
            _ if !forward[node as usize] && by_writes.contains(operand) => TensorUse::Gradient,
            _ => TensorUse::Temporary,
        };
        match for_what {
            TensorUse::Activation => memory.activations += tenant.bytes,
            TensorUse::Gradient => memory.gradients += tenant.bytes,
            TensorUse::Temporary => {}
        }
        let made = &graph.nodes[node as usize].tensor.0;
        let (op, at, shape, dtype) = (made.op.name(), made.at, made.shape, made.dtype);
        memory.largest.push(PlanTensor { op, at, shape, dtype, bytes: tenant.bytes, for_what });
    }
    memory.largest.sort_by_key(|tensor| std::cmp::Reverse(tensor.bytes));
    memory.largest.truncate(NAMED);
    memory
}

/// Bytes of the parameters and of the other cells that a graph reads or replaces.
fn cells(graph: &Graph) -> (u64, u64) {
    let mut seen = HashSet::new();
    let (mut parameters, mut state) = (0, 0);
    let read = graph.nodes.iter().filter_map(|n| {
        let bytes = (n.tensor.0.shape.numel() * n.tensor.0.dtype.bytes()) as u64;
        content(&n.tensor).map(|info| (info.id, info.trainable(), bytes))
    });
    let written = graph.writes.iter().map(|w| (w.cell.info.id, w.cell.info.trainable(), w.cell.bytes()));
    for (id, trainable, bytes) in read.chain(written) {
        if seen.insert(id) {
            *(if trainable { &mut parameters } else { &mut state }) += bytes;
        }
    }
    (parameters, state)
}

/// The nodes that the loss is made of; all of them where nothing is a loss.
fn forward(graph: &Graph) -> Vec<bool> {
    let mut forward = vec![graph.guards.is_empty(); graph.nodes.len()];
    let mut stack = graph.guards.clone();
    while let Some(node) = stack.pop() {
        if !std::mem::replace(&mut forward[node as usize], true) && graph.role(node) == Role::Compute {
            stack.extend(graph.inputs(node));
        }
    }
    forward
}

fn node_of(operand: &Operand) -> Option<u32> {
    match operand {
        Operand::Node(node) | Operand::Second(node) | Operand::Scratch(node, _) => Some(*node),
        Operand::Cell(_) | Operand::Fault => None,
    }
}
