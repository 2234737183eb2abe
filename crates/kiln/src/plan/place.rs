//! Buffers for what a plan computes on the way.

use crate::emit::Operand;
use crate::error::{Error, List, Result};
use crate::graph::{Graph, Role};
use crate::lower::Lowered;
use crate::memory::{Tenant, Workspace, share};
use crate::node::Op;
use kiln_device::Slice;
use std::collections::{HashMap, HashSet};

/// The buffers of a plan while they are being chosen.
pub(super) struct Placement<'a> {
    pub(super) gpu: &'a kiln_device::Device,
    pub(super) workspace: &'a mut Workspace,
    pub(super) of: HashMap<Operand, Slice>,
}

/// What a plan makes on the way, in the order of making, and the bytes of the buffers that it makes it in.
pub(super) struct Tenants {
    pub(super) all: Vec<(Operand, Tenant)>,
    pub(super) bytes: u64,
}

impl Placement<'_> {
    /// Gives every intermediate a buffer from the step that first binds it to the one that last does.
    pub(super) fn place(&mut self, graph: &Graph, steps: &[Lowered], scratch: &[(Operand, u64)]) -> Result<Tenants> {
        let scratch: HashMap<Operand, u64> = scratch.iter().copied().collect();
        let bytes_of = |operand: &Operand| match operand {
            Operand::Scratch(..) => scratch.get(operand).copied().unwrap_or(0),
            Operand::Second(node) => second_bytes(graph, *node),
            Operand::Node(node) => (graph.shape(*node).numel() * graph.dtype(*node).bytes()) as u64,
            Operand::Cell(_) | Operand::Fault => 0,
        };
        let mut stay: HashSet<Operand> = HashSet::new();
        for &root in graph.roots.iter().filter(|&&r| graph.role(r) == Role::Compute) {
            stay.extend([output_of(graph, root), Operand::Second(root)]);
        }
        let mut all: Vec<(Operand, Tenant)> = Vec::new();
        let mut number: HashMap<Operand, usize> = HashMap::new();
        for (at, step) in steps.iter().enumerate() {
            for (_, operand) in step.bindings.iter().filter(|(_, o)| !self.of.contains_key(o)) {
                match number.get(operand) {
                    Some(&known) => all[known].1.last = all[known].1.last.max(at),
                    None => {
                        let bytes = bytes_of(operand);
                        self.fits(graph, operand, bytes)?;
                        let last = if stay.contains(operand) { usize::MAX } else { at };
                        number.insert(*operand, all.len());
                        all.push((*operand, Tenant { bytes, first: at, last }));
                    }
                }
            }
        }
        let (home, sizes) = share(&all.iter().map(|(_, tenant)| *tenant).collect::<Vec<_>>());
        let buffers = self.workspace.lend(self.gpu, &sizes)?;
        let most = self.gpu.caps().max_binding & !15;
        for ((operand, _), home) in all.iter().zip(home) {
            // a buffer may be larger than what a binding holds, though the tensor is not
            let buffer = buffers[home].clone();
            let bytes = buffer.bytes().min(most);
            self.of.insert(*operand, Slice { buffer, offset: 0, bytes });
        }
        Ok(Tenants { all, bytes: sizes.iter().sum() })
    }
}

impl Placement<'_> {
    /// An error unless a binding holds so many bytes.
    fn fits(&self, graph: &Graph, operand: &Operand, needs: u64) -> Result<()> {
        let (Operand::Node(node) | Operand::Second(node) | Operand::Scratch(node, _)) = operand else { return Ok(()) };
        let has = self.gpu.caps().max_binding;
        if needs <= has {
            return Ok(());
        }
        let shapes = graph.inputs(*node).iter().map(|&i| graph.shape(i)).chain([graph.shape(*node)]).collect();
        let node = &graph.nodes[*node as usize].tensor.0;
        Err(Error::Limit { op: node.name, shapes: List(shapes), what: "bytes in one binding", needs, has, at: node.at })
    }
}

/// Bytes of a kernel's second result.
pub(super) fn second_bytes(graph: &Graph, node: u32) -> u64 {
    let shape = graph.shape(node);
    let elements = match graph.op(node) {
        Op::Norm { .. } => shape.without(shape.rank() - 1).numel(),
        Op::Recurrence(what) => what.kept(shape).numel(),
        Op::RecurrenceGrad(what) => what.start(graph.shape(graph.inputs(node)[2])).numel(),
        // a number for each row, or two
        Op::Attention(_) => shape.without(shape.rank() - 1).numel(),
        Op::AttentionQuery(_) => 2 * shape.without(shape.rank() - 1).numel(),
        // dv: the same rows, of another size
        Op::AttentionKeys(_) => {
            shape.without(shape.rank() - 1).numel() * graph.shape(graph.inputs(node)[2]).extent_from_end(1)
        }
        _ => shape.numel(),
    };
    4 * elements as u64
}

/// What a root's elements are called in the program.
pub(super) fn output_of(graph: &Graph, root: u32) -> Operand {
    match graph.op(root) {
        Op::Second => Operand::Second(graph.inputs(root)[0]),
        _ => Operand::Node(root),
    }
}
