//! Buffers for what a plan computes on the way.

use crate::emit::Operand;
use crate::error::{Error, List, Result};
use crate::graph::{Graph, Role};
use crate::lower::Lowered;
use crate::memory::{Tenancy, Workspace};
use crate::node::Op;
use kiln_device::Slice;
use std::collections::HashMap;

/// The buffers of a plan while they are being chosen.
pub(super) struct Placement<'a> {
    pub(super) gpu: &'a kiln_device::Device,
    pub(super) workspace: &'a mut Workspace,
    pub(super) tenancy: Tenancy,
    pub(super) of: HashMap<Operand, Slice>,
}

impl Placement<'_> {
    /// Gives every intermediate a buffer from the step that first binds it to the one that last does.
    pub(super) fn place(&mut self, graph: &Graph, steps: &[Lowered], scratch: &[(Operand, u64)]) -> Result<()> {
        let mut last: HashMap<Operand, usize> = HashMap::new();
        for (at, step) in steps.iter().enumerate() {
            step.bindings.iter().for_each(|(_, operand)| {
                last.insert(*operand, at);
            });
        }
        for &root in graph.roots.iter().filter(|&&r| graph.role(r) == Role::Compute) {
            last.insert(output_of(graph, root), usize::MAX);
            last.insert(Operand::Second(root), usize::MAX);
        }
        let bytes_of = |operand: &Operand| match operand {
            Operand::Scratch(..) => scratch.iter().find(|(o, _)| o == operand).map_or(0, |(_, b)| *b),
            Operand::Second(node) => second_bytes(graph, *node),
            Operand::Node(node) => (graph.shape(*node).numel() * graph.dtype(*node).bytes()) as u64,
            Operand::Cell(_) | Operand::Fault => 0,
        };
        for (at, step) in steps.iter().enumerate() {
            for (_, operand) in &step.bindings {
                if !self.of.contains_key(operand) {
                    self.fits(graph, operand, bytes_of(operand))?;
                    let buffer = self.workspace.take(self.gpu, &mut self.tenancy, bytes_of(operand))?;
                    // its class may be larger than what a binding holds, though the tensor is not
                    let bytes = buffer.bytes().min(self.gpu.caps().max_binding & !15);
                    self.of.insert(*operand, Slice { buffer, offset: 0, bytes });
                }
            }
            let done: Vec<Operand> =
                step.bindings.iter().map(|(_, o)| *o).filter(|o| last.get(o) == Some(&at)).collect();
            for operand in done {
                let temporary = match operand {
                    Operand::Node(node) => graph.role(node) == Role::Compute,
                    Operand::Second(_) | Operand::Scratch(..) => true,
                    Operand::Cell(_) | Operand::Fault => false,
                };
                if temporary && last.remove(&operand).is_some() {
                    let buffer = self.of[&operand].buffer.clone();
                    Workspace::give_back(&mut self.tenancy, bytes_of(&operand), buffer);
                }
            }
        }
        Ok(())
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
        Op::Attention { .. } => shape.without(shape.rank() - 1).numel(),
        Op::AttentionQuery { .. } => 2 * shape.without(shape.rank() - 1).numel(),
        // dv: the same rows, of another size
        Op::AttentionKeys { .. } => {
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
