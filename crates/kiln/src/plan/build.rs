//! Making a plan: in parts where tensors are large, lowered, compiled, with its buffers.

use super::account::account;
use super::place::{Placement, output_of, second_bytes};
use super::search::Blueprint;
use super::{Executor, Leaf, Output, Plan};
use crate::DType;
use crate::emit::{Operand, Word};
use crate::error::Result;
use crate::graph::{Graph, Role, content};
use crate::lower::{Lowered, lower};
use crate::node::Stored;
use crate::split::{Split, split};
use kiln_device::kernels::guard;
use kiln_device::{Buffer, Program, Slice, Step};
use std::collections::HashMap;
use std::sync::Arc;

impl Executor {
    /// Lowers a graph, compiles its kernels, places its buffers.
    pub(super) fn build(&mut self, graph: &Graph) -> Result<Plan> {
        let _span = self.gpu.span("plan");
        let caps = self.gpu.caps();
        let split = split(graph, caps.max_binding, caps.max_buffer)?;
        let small = split.as_ref().map_or(graph, |s| &s.graph);
        // the node of the plan's graph that a node belongs to
        let whole = |node: u32| split.as_ref().map_or(node, |s| s.from[node as usize]);
        let lowering = lower(small, &self.gpu, self.fusion)?;
        let kernels = self.gpu.kernels(lowering.steps.iter().map(|s| &s.source))?;
        let mut layout = Placement { gpu: &self.gpu, workspace: &mut self.workspace, of: HashMap::new() };
        let mut leaves: Vec<Leaf> = Vec::new();
        let mut bound_of: HashMap<u32, Buffer> = HashMap::new();
        for i in (0..small.nodes.len() as u32).filter(|&i| small.role(i) == Role::Leaf) {
            let node = whole(i);
            let tensor = &graph.nodes[node as usize].tensor;
            let Some(Stored { slice: Some(slice), .. }) = tensor.stored() else { continue };
            let bound = match bound_of.get(&node) {
                Some(bound) => bound.clone(),
                None => {
                    // small values share pages and cannot be bound where they are; others are copied once they change
                    let own = slice.offset != 0 || slice.buffer.bytes() > slice.bytes.next_multiple_of(16);
                    let bound = if own { self.gpu.alloc(slice.bytes, "input")? } else { slice.buffer };
                    leaves.push(Leaf { node, bound: bound.clone(), own, cell: content(tensor).is_some() });
                    bound_of.entry(node).or_insert(bound).clone()
                }
            };
            layout.of.insert(Operand::Node(i), window(bound, split.as_ref().and_then(|s| s.windows.get(&i))));
        }
        for (w, write) in small.writes.iter().enumerate() {
            if let Some(buffer) = &write.cell.buffer {
                let range = split.as_ref().and_then(|s| s.writes[w].1.as_ref());
                layout.of.insert(Operand::Cell(w), window(buffer.clone(), range));
            }
        }
        let faults = lowering.steps.iter().any(|s| s.bindings.iter().any(|(_, o)| *o == Operand::Fault));
        let record = match graph.writes.first() {
            _ if !faults => None,
            Some(write) => Some(write.cell.info.record.buffer(&self.gpu)?),
            None => Some(self.gpu.zeroed(16, "fault record")?),
        };
        if let Some(record) = &record {
            layout.of.insert(Operand::Fault, record.into());
        }
        let tenants = layout.place(small, &lowering.steps, &lowering.scratch)?;
        let Placement { of, .. } = layout;
        let inputs = leaves.iter().filter(|leaf| !leaf.cell).map(|leaf| leaf.bound.bytes()).sum();
        let memory = account(small, &lowering.steps, &tenants, inputs);
        let label: Vec<&str> = lowering.steps.iter().map(|s| s.label.as_str()).take(8).collect();
        let label = label.join(", ");
        let mut words = Vec::new();
        let mut steps = Vec::new();
        for (at, (lowered, kernel)) in lowering.steps.into_iter().zip(kernels).enumerate() {
            words.extend(lowered.words.iter().map(|&(offset, word)| {
                let word = match word {
                    Word::Scalar(node) => Word::Scalar(whole(node)),
                    Word::Site(node) => Word::Site(whole(node)),
                    Word::Fixed(_) | Word::Guard(_) => word,
                };
                (at, offset, word)
            }));
            steps.push(record_step(lowered, kernel, &of));
        }
        Ok(Plan {
            program: Program::new(&self.gpu, steps)?,
            label,
            leaves,
            words,
            outputs: outputs(graph, split.as_ref(), &of, record.as_ref()),
            own_record: graph.writes.is_empty(),
            record,
            blueprint: (!graph.guards.is_empty()).then(|| Blueprint::new(&self.gpu, graph)),
            memory,
            nodes: graph.nodes.len(),
            runs: 0,
            used: 0,
            words_of: 0,
        })
    }
}

/// A range of a buffer's bytes, or all of it.
pub(super) fn window(buffer: Buffer, range: Option<&std::ops::Range<u64>>) -> Slice {
    match range {
        Some(range) => Slice { buffer, offset: range.start, bytes: range.end - range.start },
        None => buffer.into(),
    }
}

/// Where the parts of each root are when the program ends. Guards are in the fault record, which every run hands out.
fn outputs(
    graph: &Graph,
    split: Option<&Split>,
    of: &HashMap<Operand, Slice>,
    record: Option<&Buffer>,
) -> Vec<Vec<Output>> {
    let small = split.map_or(graph, |s| &s.graph);
    let kept = |node: u32| {
        let number = small.guards.iter().position(|&g| g == node && small.dtype(g) == DType::F32)?;
        let offset = 4 * u64::from(guard::place(number)?);
        Some(Output { first: Slice { buffer: record?.clone(), offset, bytes: 4 }, second: None })
    };
    let part = |node: u32| {
        if small.role(node) != Role::Compute {
            return None; // it is in memory already
        }
        if let Some(kept) = kept(node) {
            return Some(kept);
        }
        let bytes = (small.shape(node).numel() * small.dtype(node).bytes()) as u64;
        let first = of.get(&output_of(small, node))?;
        let second = of.get(&Operand::Second(node)).map(|s| Slice { bytes: second_bytes(small, node), ..s.clone() });
        Some(Output { first: Slice { bytes, ..first.clone() }, second })
    };
    let roots = graph.roots.iter().enumerate();
    roots
        .map(|(at, &root)| split.map_or(vec![root], |s| s.roots[at].clone()).into_iter().filter_map(part).collect())
        .collect()
}

/// A launch as a step, with the buffers of its operands.
pub(super) fn record_step(lowered: Lowered, kernel: Arc<kiln_device::Kernel>, of: &HashMap<Operand, Slice>) -> Step {
    let bindings = lowered
        .bindings
        .into_iter()
        .filter_map(|(name, operand)| of.get(&operand).map(|b| (name.into(), b.clone())))
        .collect();
    let Lowered { label, groups, ops, params, .. } = lowered;
    Step { label: label.into(), kernel, bindings, params, groups, ops }
}
