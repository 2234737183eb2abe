//! The search for what went wrong first. A step whose loss is not finite has changed nothing, so it can be run again:
//! unfused, forward as far as its guards need, with a look at every value. Then the way back from the loss is walked.
//!
//! For this, a plan with guards keeps its graph without tensors of the program (a [`Blueprint`]), and the last few
//! runs keep their inputs and numbers. A healthy step pays for a short list.

use super::build::{record_step, window};
use super::fault::{Record, guarded, module_of_node};
use super::place::Placement;
use super::{Executor, copy_of};
use crate::emit::{Operand, Word};
use crate::error::{Error, Module, Result};
use crate::graph::{Graph, GraphNode, Role, content};
use crate::lower::lower;
use crate::node::{Op, Stored, Value};
use crate::split::split;
use crate::{DType, Device};
use kiln_device::kernels::guard;
use kiln_device::{Program, Slice, Step};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Runs that can be run again.
const RUNS: usize = 8;

/// Bytes of inputs that are kept for it, beside those of the latest run.
const BYTES: u64 = 64 << 20;

/// Infinity and NaN among a tensor's elements.
const INFINITE: u32 = 1;
const NAN: u32 = 2;

/// What the guards of a plan are made of, without the tensors of the program.
pub(super) struct Blueprint {
    graph: Graph,
    /// The layer of each node, where known.
    modules: Vec<Option<Arc<str>>>,
    /// The number of each node in the graph of the plan.
    numbers: Vec<u32>,
    /// Nodes that the loss is made of; the others belong to its gradients.
    forward: Vec<bool>,
}

/// The inputs and numbers of one run, by their nodes in the graph of the plan.
pub(super) struct Run {
    pub(super) plan: [u64; 2],
    pub(super) record: Arc<Record>,
    pub(super) inputs: Vec<(u32, Slice)>,
    pub(super) numbers: Arc<[(u32, u32)]>,
}

/// The last runs, the latest at the end.
#[derive(Default)]
pub(super) struct Runs(VecDeque<Run>);

impl Runs {
    pub(super) fn add(&mut self, run: Run) {
        self.0.push_back(run);
        let bytes = |run: &Run| run.inputs.iter().map(|(_, s)| s.bytes).sum::<u64>();
        let mut kept = 0;
        let fits = |run: &&Run| {
            kept += bytes(run);
            kept <= BYTES
        };
        let fit = self.0.iter().rev().take(RUNS).take_while(fits).count().max(1);
        self.0.drain(..self.0.len() - fit);
    }

    /// Lets go of the runs that write to `record`.
    pub(super) fn forget(&mut self, record: &Arc<Record>) {
        self.0.retain(|run| !Arc::ptr_eq(&run.record, record));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Blueprint {
    /// Of a graph with guards.
    pub(super) fn new(gpu: &kiln_device::Device, graph: &Graph) -> Self {
        let device = Device::without_plans(gpu);
        let mut needed = vec![false; graph.nodes.len()];
        let mut forward = vec![false; graph.nodes.len()];
        for (number, &guard) in graph.guards.iter().enumerate() {
            let mut stack = vec![guard];
            while let Some(node) = stack.pop() {
                forward[node as usize] |= number == 0;
                if !std::mem::replace(&mut needed[node as usize], true) {
                    stack.extend(graph.inputs(node));
                }
            }
        }
        let mut new = Self { graph: Graph::new(), modules: Vec::new(), numbers: Vec::new(), forward: Vec::new() };
        let mut place = vec![0; graph.nodes.len()];
        for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
            place[i] = new.graph.nodes.len() as u32;
            let value = match node.tensor.stored() {
                Some(stored) if content(&node.tensor).is_some() => Value::Ready(Stored { fault: None, ..stored }),
                _ => Value::Pending,
            };
            new.graph.nodes.push(GraphNode {
                tensor: node.tensor.twin(
                    &device,
                    node.tensor.0.op.clone(),
                    node.tensor.0.shape,
                    node.tensor.0.dtype,
                    value,
                ),
                inputs: node.inputs.iter().map(|&j| place[j as usize]).collect(),
                role: node.role,
            });
            new.modules.push(module_of_node(graph, i as u32));
            new.numbers.push(i as u32);
            new.forward.push(forward[i]);
        }
        new.graph.guards = graph.guards.iter().map(|&g| place[g as usize]).collect();
        new
    }

    /// Whether it is of the same lines as `graph`, which has the same structure.
    pub(super) fn is_of(&self, graph: &Graph) -> bool {
        let at = |graph: &Graph, guard: u32| graph.nodes[guard as usize].tensor.0.at;
        self.graph.guards.iter().zip(&graph.guards).all(|(&own, &other)| at(&self.graph, own) == at(graph, other))
    }

    /// The graph on the inputs and numbers of a run.
    fn filled(&self, gpu: &kiln_device::Device, run: &Run) -> Graph {
        let device = Device::without_plans(gpu);
        let inputs: HashMap<u32, &Slice> = run.inputs.iter().map(|(node, slice)| (*node, slice)).collect();
        let numbers: HashMap<u32, u32> = run.numbers.iter().copied().collect();
        let mut graph = Graph::new();
        for (node, number) in self.graph.nodes.iter().zip(&self.numbers) {
            let tensor = match (inputs.get(number), numbers.get(number)) {
                (Some(&slice), _) => {
                    let slice = Some(slice.clone());
                    let value = Value::Ready(Stored { slice, second: None, fault: None });
                    node.tensor.twin(&device, node.tensor.0.op.clone(), node.tensor.0.shape, node.tensor.0.dtype, value)
                }
                (_, Some(&bits)) => node.tensor.twin(
                    &device,
                    Op::Scalar(bits),
                    node.tensor.0.shape,
                    node.tensor.0.dtype,
                    Value::Pending,
                ),
                _ => node.tensor.clone(),
            };
            graph.nodes.push(GraphNode { tensor, inputs: node.inputs.clone(), role: node.role });
        }
        graph.roots = self.graph.guards.clone();
        graph
    }

    /// What went wrong first, said as an error.
    fn error(&self, guard: usize, culprit: u32) -> Error {
        let node = &self.graph.nodes[culprit as usize].tensor.0;
        let parameter = matches!(node.op, Op::Content(_));
        Error::NotFinite {
            what: guarded(guard),
            op: if parameter { "parameter" } else { node.name },
            backward: !self.forward[culprit as usize],
            module: Module(match &node.op {
                Op::Content(cell) => cell.name(),
                _ => self.modules[culprit as usize].clone(),
            }),
            at: node.at,
        }
    }
}

impl Executor {
    /// What first went wrong in the runs that left a fault of a guard in `record`, if it can be found.
    pub(super) fn search(&mut self, record: &Arc<Record>) -> Option<Error> {
        let runs = std::mem::take(&mut self.runs);
        // the runs before the bad one went well, and those behind it changed nothing
        runs.0.iter().filter(|run| Arc::ptr_eq(&run.record, record)).find_map(|run| {
            let blueprint = self.plans.get_mut(&run.plan)?.blueprint.take()?;
            let found = self.look(&blueprint, run).unwrap_or_else(|error| {
                log::warn!("cannot look for what is not finite: {error}");
                None
            });
            if let Some(plan) = self.plans.get_mut(&run.plan) {
                plan.blueprint = Some(blueprint);
            }
            found
        })
    }

    /// Runs `run` again with a look at every value.
    fn look(&mut self, blueprint: &Blueprint, run: &Run) -> Result<Option<Error>> {
        let graph = blueprint.filled(&self.gpu, run);
        let split = split(&graph, self.gpu.caps().max_binding, self.gpu.caps().max_buffer)?;
        let small = split.as_ref().map_or(&graph, |s| &s.graph);
        let marks = self.marks(small, |i| split.as_ref().and_then(|s| s.windows.get(&i)))?;
        for (number, &guard) in graph.roots.iter().enumerate() {
            let guard = split.as_ref().map_or(guard, |s| s.roots[number][0]);
            if let Some(node) = culprit(small, &marks, guard) {
                let node = split.as_ref().map_or(node, |s| s.from[node as usize]);
                return Ok(Some(blueprint.error(number, node)));
            }
        }
        Ok(None)
    }

    /// Computes a graph unfused; which kinds of numbers that are not finite each node has.
    fn marks<'s>(&mut self, graph: &Graph, windows: impl Fn(u32) -> Option<&'s Range<u64>>) -> Result<Vec<u32>> {
        let lowering = lower(graph, &self.gpu, false)?;
        let sources: Vec<_> = lowering.steps.iter().map(|s| s.source.clone()).collect();
        let kernels = self.gpu.kernels(&sources)?;
        let mut layout = Placement { gpu: &self.gpu, workspace: &mut self.workspace, of: HashMap::new() };
        let count = graph.nodes.len();
        let flags = self.gpu.zeroed(8 * count as u64, "flags")?;
        let (mut before, mut steps) = (Vec::new(), Vec::new());
        let look = |operand: Operand, part: &Slice| -> Result<Option<Step>> {
            let (node, place) = match operand {
                Operand::Node(node) => (node, node as usize),
                Operand::Second(node) => (node, count + node as usize),
                _ => return Ok(None),
            };
            let (dtype, elements) = match operand {
                Operand::Second(_) if !matches!(graph.op(node), Op::Norm { .. }) => return Ok(None),
                Operand::Second(_) => (DType::F32, super::place::second_bytes(graph, node) as usize / 4),
                _ => (graph.dtype(node), graph.shape(node).numel()),
            };
            if !dtype.is_float() {
                return Ok(None);
            }
            let launch = guard::mark(self.gpu.caps(), elements as u32, dtype == DType::F16, place as u32)?;
            let mut step = Step::new(&self.gpu, &launch, &[("flags", &flags)])?;
            step.bindings.push(("x".into(), part.clone()));
            Ok(Some(step))
        };
        for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.role == Role::Leaf) {
            let Some(Stored { slice: Some(slice), .. }) = node.tensor.stored() else { continue };
            let own = slice.offset != 0 || slice.buffer.bytes() > slice.bytes.next_multiple_of(16);
            let bound = if own { self.gpu.alloc(slice.bytes, "input")? } else { slice.buffer.clone() };
            if own {
                before.push(copy_of(&slice, &bound));
            }
            let part = window(bound, windows(i as u32));
            steps.extend(look(Operand::Node(i as u32), &part)?);
            layout.of.insert(Operand::Node(i as u32), part);
        }
        layout.of.insert(Operand::Fault, self.gpu.zeroed(16, "fault record")?.into());
        layout.place(graph, &lowering.steps, &lowering.scratch)?;
        let mut last: HashMap<Operand, usize> = HashMap::new();
        for (at, step) in lowering.steps.iter().enumerate() {
            last.extend(step.bindings.iter().map(|(_, operand)| (*operand, at)));
        }
        for (at, (mut lowered, kernel)) in lowering.steps.into_iter().zip(kernels).enumerate() {
            for &(offset, word) in &lowered.words {
                let bits = match word {
                    Word::Fixed(bits) => bits,
                    Word::Scalar(node) => number(graph, node),
                    Word::Site(_) | Word::Guard(_) => 0,
                };
                lowered.params[offset..offset + 4].copy_from_slice(&bits.to_le_bytes());
            }
            let mut done: Vec<Operand> =
                lowered.bindings.iter().map(|(_, o)| *o).filter(|o| last.get(o) == Some(&at)).collect();
            done.dedup();
            steps.push(record_step(lowered, kernel, &layout.of));
            for operand in done {
                let computed = !matches!(operand, Operand::Node(node) if graph.role(node) != Role::Compute);
                if let Some(buffer) = layout.of.get(&operand).filter(|_| computed) {
                    steps.extend(look(operand, buffer)?);
                }
            }
        }
        Program::new(&self.gpu, steps)?.run(&before, &[], &[])?;
        let bytes = self.gpu.read(&[Slice::from(&flags)])?.swap_remove(0);
        Ok(bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect())
    }
}

/// The bits of a number of the host.
fn number(graph: &Graph, node: u32) -> u32 {
    match graph.op(node) {
        Op::Scalar(bits) => *bits,
        other => unreachable!("{} is no number of the host", other.name()),
    }
}

/// The kinds of numbers of a node that are not finite, seen through views.
fn kinds(graph: &Graph, marks: &[u32], mut node: u32) -> u32 {
    while let (Op::View(_), Role::Compute) = (graph.op(node), graph.role(node)) {
        node = graph.inputs(node)[0];
    }
    let of_bits = |bits: u32| match f32::from_bits(bits) {
        x if x.is_nan() => NAN,
        x if x.is_infinite() => INFINITE,
        _ => 0,
    };
    match graph.op(node) {
        Op::Scalar(bits) | Op::Const(bits) if graph.role(node) != Role::Leaf && graph.dtype(node).is_float() => {
            of_bits(*bits)
        }
        Op::Second if graph.role(node) == Role::Compute => marks[graph.nodes.len() + graph.inputs(node)[0] as usize],
        _ => marks[node as usize],
    }
}

/// The first node that went wrong on the way to `guard`: NaN made of none, or infinity of finite numbers. Infinity that
/// somebody wrote (a mask of −∞) is no mistake; making NaN of it is.
fn culprit(graph: &Graph, marks: &[u32], guard: u32) -> Option<u32> {
    let kind = kinds(graph, marks, guard);
    if kind == 0 || graph.role(guard) == Role::Leaf {
        return None; // what was computed before the step has no way back
    }
    // the node where numbers of that kind come from, and the one that reads it
    let origin = |mut node: u32, kind: u32| {
        let mut reader = node;
        while let Some(&input) = graph.inputs(node).iter().find(|&&i| kinds(graph, marks, i) & kind != 0) {
            if !matches!(graph.op(node), Op::View(_)) {
                reader = node;
            }
            node = input;
        }
        (node, reader)
    };
    let written = |node: u32| graph.role(node) != Role::Compute || matches!(graph.op(node), Op::Const(_));
    let is_cell = |node: u32| matches!(graph.op(node), Op::Content(_));
    let mut from = guard;
    if kind & NAN != 0 {
        let (node, reader) = origin(guard, NAN);
        if written(node) {
            return Some(if is_cell(node) { node } else { reader });
        }
        from = node;
    }
    let (node, reader) = origin(from, INFINITE);
    Some(match written(node) {
        true if is_cell(node) => node,
        true if kind & NAN != 0 => from,
        true => reader,
        false => node,
    })
}
