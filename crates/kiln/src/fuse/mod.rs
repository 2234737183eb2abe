//! What runs together. Nodes that must be in memory are chosen first; then each of them finds a kernel: its own, the
//! output slot of the kernel that makes one of its inputs, or a `map` kernel with its neighbours.
//!
//! An elementwise node is not stored, but repeated in every kernel that needs it, if that costs no more than reading
//! it would: one consumer, or one full-size operand and little arithmetic.

mod group;
mod joining;
mod order;

pub(crate) use order::order;

use crate::graph::{Graph, Role};
use crate::layout::{Layout, ViewOp};
use crate::node::Op;
use crate::ops::attention::Attends;
use std::collections::{HashMap, HashSet};

/// What is in memory, and which kernels there are.
pub(crate) struct Choice {
    stored: Vec<bool>,
    pub(crate) groups: Vec<Group>,
}

/// A kernel: the node of a hand-written one, or none for `map`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) heavy: Option<u32>,
    /// Elementwise nodes computed and stored here.
    pub(crate) members: Vec<u32>,
    /// Replacements of cells carried out here: sets of one size each, which share what they compute.
    pub(crate) writes: Vec<Vec<usize>>,
    /// Which of the graph's guards it checks to be finite.
    pub(crate) guard: Option<usize>,
    /// Groups that must run before, each once.
    pub(crate) before: Vec<usize>,
    /// Nodes in memory that it reads.
    pub(crate) reads: Vec<u32>,
}

impl Group {
    /// Whether `node` is computed here.
    fn makes(&self, node: u32) -> bool {
        self.heavy == Some(node) || self.members.contains(&node)
    }
}

/// What was learned from attempts that failed.
#[derive(Default)]
pub(crate) struct Lessons {
    /// Nodes that must be stored.
    pub(crate) store: HashSet<u32>,
    /// Elementwise nodes that cannot go into the output slot of another kernel.
    pub(crate) apart: HashSet<u32>,
    /// Replacements that must be computed before and only copied.
    pub(crate) copied: HashSet<u32>,
    /// Writes that share no kernel.
    pub(crate) alone: HashSet<usize>,
}

/// How an operand reaches a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the kernel's load slot, so often.
    Slot(u32),
    /// As memory, contiguous.
    Memory,
    /// As memory with strides.
    Strided,
    /// As a number that travels with the sizes.
    Number,
}

/// How a kernel takes its operand number `k`.
pub(crate) fn way(op: &Op, k: usize) -> Way {
    match (op, k) {
        (Op::Reduce(..), _) => Way::Slot(1),
        (Op::Softmax { .. } | Op::Norm { .. }, 0) => Way::Slot(2),
        (Op::NormGrad { .. }, 2) => Way::Slot(2),
        (Op::Norm { .. }, 1) => Way::Number,
        (Op::Scan { .. }, _) => Way::Slot(2),
        (Op::SegmentSum, 2) => Way::Slot(1),
        (Op::Matmul, _) => Way::Strided,
        (Op::Attention(how), k) => attention_way(*how, 4, k),
        (Op::AttentionQuery(how), k) => attention_way(*how, 7, k),
        (Op::AttentionKeys(how), k) => attention_way(*how, 6, k),
        _ => Way::Memory,
    }
}

/// Attention has `fixed` operands before those that it may have.
fn attention_way(how: Attends, fixed: usize, k: usize) -> Way {
    match k {
        0..=2 => Way::Strided,
        3 => Way::Number,
        k if k < fixed => Way::Memory,
        k if how.dropout && k == fixed => Way::Memory,
        _ => Way::Strided,
    }
}

/// Whether a kernel has an output slot into which elementwise nodes fit.
pub(crate) fn has_output(op: &Op) -> bool {
    !matches!(op, Op::Custom(_) | Op::Sort { .. } | Op::Recurrence(_) | Op::RecurrenceGrad(_))
}

impl Choice {
    pub(crate) fn stored(&self, node: u32) -> bool {
        self.stored[node as usize]
    }

    /// The node in memory, or the expression, that `node` is a view of, and the views between.
    pub(crate) fn resolve(&self, graph: &Graph, node: u32) -> (u32, Vec<ViewOp>) {
        resolve(graph, &self.stored, node)
    }
}

fn resolve(graph: &Graph, stored: &[bool], mut node: u32) -> (u32, Vec<ViewOp>) {
    let mut chain = Vec::new();
    while graph.role(node) == Role::Compute && !stored[node as usize] {
        let Op::View(view) = graph.op(node) else { break };
        chain.push(view.clone());
        node = graph.inputs(node)[0];
    }
    chain.reverse();
    (node, chain)
}

/// The node in memory, or the expression, that `node` is a view of.
fn base(graph: &Graph, stored: &[bool], mut node: u32) -> u32 {
    while graph.role(node) == Role::Compute && !stored[node as usize] && matches!(graph.op(node), Op::View(_)) {
        node = graph.inputs(node)[0];
    }
    node
}

fn elementwise(graph: &Graph, node: u32) -> bool {
    graph.role(node) == Role::Compute && graph.op(node).is_elementwise()
}

/// Numbers that need no memory.
fn is_virtual(graph: &Graph, node: u32) -> bool {
    graph.role(node) == Role::Scalar
        || (graph.role(node) == Role::Compute && matches!(graph.op(node), Op::Const(_) | Op::Iota))
}

pub(crate) fn heavy(graph: &Graph, node: u32) -> bool {
    graph.role(node) == Role::Compute
        && !graph.op(node).is_elementwise()
        && !matches!(graph.op(node), Op::View(_) | Op::Const(_) | Op::Iota | Op::Second)
}

/// The choice under construction.
struct Fuser<'a> {
    graph: &'a Graph,
    lessons: &'a Lessons,
    fusion: bool,
    bindings: usize,
    /// Whether some nodes wait for others that they do not read.
    ordered: bool,
    live: Vec<bool>,
    stored: Vec<bool>,
    /// Who needs each node, seen through views: the consumer, and whether views repeat elements on the way.
    uses: Vec<Vec<(u32, bool)>>,
    weight: Vec<u32>,
    /// Memory that an expression reads: nodes in memory under it.
    reads: Vec<Vec<u32>>,
}

/// Chooses what is stored and which kernels there are.
pub(crate) fn choose(graph: &Graph, lessons: &Lessons, fusion: bool, bindings: usize) -> Choice {
    let n = graph.nodes.len();
    let mut fuser = Fuser {
        graph,
        lessons,
        fusion,
        bindings,
        ordered: (0..n as u32).any(|i| matches!(graph.op(i), Op::View(_)) && graph.inputs(i).len() > 1),
        live: vec![false; n],
        stored: vec![false; n],
        uses: vec![Vec::new(); n],
        weight: vec![0; n],
        reads: vec![Vec::new(); n],
    };
    fuser.mark_live();
    fuser.must_store();
    fuser.find_uses();
    fuser.weigh();
    fuser.decide();
    let groups = fuser.group();
    Choice { stored: fuser.stored, groups }
}

impl Fuser<'_> {
    fn mark_live(&mut self) {
        let graph = self.graph;
        let mut stack: Vec<u32> = graph
            .roots
            .iter()
            .copied()
            .chain(graph.writes.iter().map(|w| w.value))
            .chain(graph.guards.iter().copied())
            .collect();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut self.live[node as usize], true) {
                stack.extend(graph.inputs(node));
            }
        }
    }

    fn nodes(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        let live: Vec<u32> = (0..self.graph.nodes.len() as u32)
            .filter(|&i| self.live[i as usize] && self.graph.role(i) == Role::Compute)
            .collect();
        live.into_iter()
    }

    /// What has to be in memory whatever it costs: results of kernels, results asked for, operands of kernels.
    fn must_store(&mut self) {
        let graph = self.graph;
        for node in self.nodes() {
            // random words are cheap to repeat, and those of a tensor in parts are never stored whole
            let apart = !self.fusion && elementwise(graph, node) && !matches!(graph.op(node), Op::Random(_));
            let forced = self.lessons.store.contains(&node) || graph.kept.contains(&node) || apart;
            if heavy(graph, node) || forced {
                self.stored[node as usize] = true;
            }
        }
        for &root in graph.roots.iter().chain(&graph.guards) {
            let plain = graph.role(root) == Role::Leaf
                || graph.role(root) == Role::Empty
                || matches!(graph.op(root), Op::Second);
            self.stored[root as usize] |= !plain;
        }
        for write in &graph.writes {
            if self.lessons.copied.contains(&write.value) && graph.role(write.value) == Role::Compute {
                self.stored[write.value as usize] = true;
            }
        }
        // a view that is stored for one kernel ends the views of another's operand, which then may not fit any more
        while self.store_operands() {}
    }

    /// Stores what kernels read as memory; whether a view is among it that was not stored before.
    fn store_operands(&mut self) -> bool {
        let (graph, mut more) = (self.graph, false);
        for node in self.nodes().filter(|&i| heavy(graph, i)) {
            for (k, &input) in graph.inputs(node).iter().enumerate() {
                if let way @ (Way::Memory | Way::Strided) = way(graph.op(node), k) {
                    more |= self.operand(input, way);
                }
            }
        }
        more
    }

    /// Stores what a kernel reads as memory: the base of the operand's views if they amount to strides it can follow,
    /// else a copy of the view, and says so if that is new.
    fn operand(&mut self, input: u32, way: Way) -> bool {
        let graph = self.graph;
        if matches!(graph.role(input), Role::Leaf | Role::Empty) || matches!(graph.op(input), Op::Second) {
            return false;
        }
        let (base, chain) = resolve(graph, &self.stored, input);
        let layout = Layout::contiguous(&graph.shape(base)).after(&chain);
        let fits = layout.is_some_and(|l| match way {
            Way::Strided => l.is_strided(),
            _ => l.is_linear(),
        });
        let base_in_memory = graph.role(base) == Role::Leaf || matches!(graph.op(base), Op::Second);
        if !fits || is_virtual(graph, base) {
            return !std::mem::replace(&mut self.stored[input as usize], true);
        }
        if !base_in_memory {
            self.stored[base as usize] = true;
        }
        false
    }

    fn find_uses(&mut self) {
        let graph = self.graph;
        for node in self.nodes() {
            if matches!(graph.op(node), Op::View(_)) && !self.stored[node as usize] {
                continue;
            }
            for &input in graph.inputs(node) {
                let base = base(graph, &self.stored, input);
                let repeats = graph.shape(base).numel() < graph.shape(node).numel() && elementwise(graph, node);
                self.uses[base as usize].push((node, repeats));
            }
        }
    }

    /// The arithmetic and the memory under each expression, were it all repeated.
    fn weigh(&mut self) {
        let graph = self.graph;
        for node in self.nodes() {
            let at = node as usize;
            if heavy(graph, node) || matches!(graph.op(node), Op::Second) {
                continue;
            }
            let own = match graph.op(node) {
                Op::Unary(row) => row.weight,
                Op::Binary(row) => row.weight,
                Op::Random(_) => 64,
                Op::Gather(_) => 4,
                Op::View(_) | Op::Const(_) | Op::Iota | Op::Detach => 0,
                _ => 1,
            };
            let mut inputs: Vec<u32> = graph.inputs(node).to_vec();
            loop {
                let (weight, reads) = self.under(&inputs);
                let most = self.bindings.saturating_sub(3).max(2);
                if (weight + own <= 160 && reads.len() <= most) || matches!(graph.op(node), Op::View(_)) {
                    self.weight[at] = weight + own;
                    self.reads[at] = reads;
                    break;
                }
                // too much for one kernel: the largest operand becomes memory
                let base = match inputs
                    .iter()
                    .map(|&i| base(graph, &self.stored, i))
                    .filter(|&b| elementwise(graph, b) && !self.stored[b as usize])
                    .max_by_key(|&b| (self.reads[b as usize].len(), self.weight[b as usize]))
                {
                    Some(largest) => largest,
                    None => {
                        self.weight[at] = weight + own;
                        self.reads[at] = reads;
                        break;
                    }
                };
                self.stored[base as usize] = true;
                inputs = graph.inputs(node).to_vec();
            }
        }
    }

    fn under(&self, inputs: &[u32]) -> (u32, Vec<u32>) {
        let graph = self.graph;
        let (mut weight, mut reads) = (0, Vec::new());
        for &input in inputs {
            let base = base(graph, &self.stored, input);
            if graph.role(base) == Role::Empty || (is_virtual(graph, base) && !self.stored[base as usize]) {
                continue;
            }
            if elementwise(graph, base) && !self.stored[base as usize] {
                weight += self.weight[base as usize];
                reads.extend(&self.reads[base as usize]);
            } else {
                reads.push(base);
            }
        }
        reads.sort_unstable();
        reads.dedup();
        (weight, reads)
    }

    /// Which elementwise nodes are stored rather than repeated. Consumers come first.
    fn decide(&mut self) {
        let graph = self.graph;
        let writers = self.write_groups();
        // nothing below changes what is seen through views
        let mut written: HashMap<u32, Vec<u32>> = HashMap::new();
        for (write, &writer) in graph.writes.iter().zip(&writers) {
            written.entry(base(graph, &self.stored, write.value)).or_default().push(u32::MAX - writer as u32);
        }
        let mut sites: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes.len()];
        for node in self.nodes().rev() {
            let at = node as usize;
            if !elementwise(graph, node) || self.stored[at] {
                continue;
            }
            let mut here: Vec<u32> = Vec::new();
            let mut must = false;
            for &(by, repeats) in &self.uses[at] {
                must |= repeats && self.weight[at] > 8;
                if elementwise(graph, by) && !self.stored[by as usize] {
                    here.extend(&sites[by as usize]);
                } else {
                    here.push(by);
                    if heavy(graph, by) {
                        let times = graph
                            .inputs(by)
                            .iter()
                            .enumerate()
                            .map(|(k, _)| way(graph.op(by), k))
                            .map(|w| if let Way::Slot(t) = w { t } else { 1 })
                            .max();
                        must |= times.unwrap_or(1) > 1 && self.weight[at] > 24;
                    }
                }
            }
            here.extend(written.get(&node).into_iter().flatten());
            here.sort_unstable();
            here.dedup();
            let full = self.reads[at].iter().filter(|&&r| graph.shape(r).numel() >= graph.shape(node).numel()).count();
            let cheap = full <= 1 && self.weight[at] as usize * here.len() <= 64;
            if must || (here.len() > 1 && !cheap) {
                self.stored[at] = true;
            } else {
                sites[at] = here;
            }
        }
    }
}
