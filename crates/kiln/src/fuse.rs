//! What runs together. Nodes that must be in memory are chosen first; then each of them finds a kernel: its own, the
//! output slot of the kernel that makes one of its inputs, or a `map` kernel with its neighbours.
//!
//! An elementwise node is not stored, but repeated in every kernel that needs it, if that costs no more than reading
//! it would: one consumer, or one full-size operand and little arithmetic.

use crate::graph::{Graph, Role, content};
use crate::layout::{Layout, ViewOp};
use crate::node::Op;
use std::collections::HashSet;

/// Up to so many elements a dispatch costs more than the work, and what is alike only in size is put together.
const SMALL: usize = 256;
/// Up to so many elements cells of one size are replaced together: step counts, bias corrections.
const COUNTERS: usize = 8;

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
    /// The number that it checks to be finite.
    pub(crate) guard: Option<u32>,
    /// Groups that must run before.
    pub(crate) before: HashSet<usize>,
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
        _ => Way::Memory,
    }
}

/// Whether a kernel has an output slot into which elementwise nodes fit.
pub(crate) fn has_output(op: &Op) -> bool {
    !matches!(op, Op::Custom(_) | Op::Sort { .. })
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
            let forced = self.lessons.store.contains(&node) || (!self.fusion && elementwise(graph, node));
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
        for node in self.nodes().filter(|&i| heavy(graph, i)) {
            for (k, &input) in graph.inputs(node).iter().enumerate() {
                if let way @ (Way::Memory | Way::Strided) = way(graph.op(node), k) {
                    self.operand(input, way);
                }
            }
        }
        for write in &graph.writes {
            if self.lessons.copied.contains(&write.value) && graph.role(write.value) == Role::Compute {
                self.stored[write.value as usize] = true;
            }
        }
    }

    /// Stores what a kernel reads as memory: the base of the operand's views if they amount to strides it can follow,
    /// else a copy of the view.
    fn operand(&mut self, input: u32, way: Way) {
        let graph = self.graph;
        if matches!(graph.role(input), Role::Leaf | Role::Empty) || matches!(graph.op(input), Op::Second) {
            return;
        }
        let (base, chain) = resolve(graph, &self.stored, input);
        let layout = Layout::contiguous(&graph.shape(base)).after(&chain);
        let fits = layout.is_some_and(|l| match way {
            Way::Strided => l.is_strided(),
            _ => l.is_linear(),
        });
        let base_in_memory = graph.role(base) == Role::Leaf || matches!(graph.op(base), Op::Second);
        if !fits || is_virtual(graph, base) {
            self.stored[input as usize] = true;
        } else if !base_in_memory {
            self.stored[base as usize] = true;
        }
    }

    fn find_uses(&mut self) {
        let graph = self.graph;
        for node in self.nodes() {
            if matches!(graph.op(node), Op::View(_)) && !self.stored[node as usize] {
                continue;
            }
            for &input in graph.inputs(node) {
                let (base, _) = resolve(graph, &self.stored, input);
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
                let (base, _) = match inputs
                    .iter()
                    .map(|&i| resolve(graph, &self.stored, i))
                    .filter(|(b, _)| elementwise(graph, *b) && !self.stored[*b as usize])
                    .max_by_key(|(b, _)| (self.reads[*b as usize].len(), self.weight[*b as usize]))
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
            let (base, _) = resolve(graph, &self.stored, input);
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
        let mut sites: Vec<HashSet<u32>> = vec![HashSet::new(); graph.nodes.len()];
        for node in self.nodes().rev() {
            let at = node as usize;
            if !elementwise(graph, node) || self.stored[at] {
                continue;
            }
            let mut here: HashSet<u32> = HashSet::new();
            let mut must = false;
            for &(by, repeats) in &self.uses[at] {
                must |= repeats && self.weight[at] > 8;
                if elementwise(graph, by) && !self.stored[by as usize] {
                    here.extend(&sites[by as usize]);
                } else {
                    here.insert(by);
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
            for (w, write) in graph.writes.iter().enumerate() {
                if resolve(graph, &self.stored, write.value).0 == node {
                    here.insert(u32::MAX - writers[w] as u32);
                }
            }
            let full = self.reads[at].iter().filter(|&&r| graph.shape(r).numel() >= graph.shape(node).numel()).count();
            let cheap = full <= 1 && self.weight[at] as usize * here.len() <= 64;
            if must || (here.len() > 1 && !cheap) {
                self.stored[at] = true;
            } else {
                sites[at] = here;
            }
        }
    }

    /// Writes of one size that have an expression or an operand of that size in common share a kernel, and so do all
    /// small ones of one size.
    fn write_groups(&self) -> Vec<usize> {
        let graph = self.graph;
        let count = graph.writes.len();
        let mut group: Vec<usize> = (0..count).collect();
        let mut owner: std::collections::HashMap<u32, usize> = std::collections::HashMap::new();
        for w in 0..count {
            if self.lessons.alone.contains(&w) {
                continue;
            }
            let size = graph.shape(graph.writes[w].value).numel();
            let alike = (0..w).find(|&v| {
                size <= COUNTERS
                    && graph.shape(graph.writes[v].value).numel() == size
                    && !self.lessons.alone.contains(&v)
            });
            if let Some(other) = alike.filter(|_| self.fusion) {
                group[w] = group[other];
            }
            let (mut stack, mut seen) = (vec![graph.writes[w].value], HashSet::new());
            while let Some(node) = stack.pop() {
                if !seen.insert(node) {
                    continue;
                }
                if graph.shape(node).numel() == size && !is_virtual(graph, node) {
                    let key = node;
                    match owner.get(&key) {
                        Some(&other) => {
                            let (a, b) = (group[other], group[w]);
                            group.iter_mut().filter(|g| **g == b).for_each(|g| *g = a);
                        }
                        None => {
                            owner.insert(key, w);
                        }
                    }
                }
                let open = elementwise(graph, node) || matches!(graph.op(node), Op::View(_));
                if open && graph.role(node) == Role::Compute && !self.stored[node as usize] {
                    stack.extend(graph.inputs(node));
                }
            }
        }
        group
    }

    /// Finds a kernel for everything that is stored.
    fn group(&mut self) -> Vec<Group> {
        let graph = self.graph;
        let mut groups: Vec<Group> = Vec::new();
        let mut home: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        self.reread();
        for node in self.nodes() {
            if !self.stored[node as usize] {
                continue;
            }
            let mut needs = HashSet::new();
            for read in self.operands(node) {
                needs.extend(self.home_of(&home, read));
            }
            if heavy(graph, node) {
                home[node as usize] = Some(groups.len());
                groups.push(Group { heavy: Some(node), before: needs, ..Group::default() });
                continue;
            }
            let place = if self.fusion { self.place(node, &groups, &home, &needs) } else { None };
            let at = place.unwrap_or_else(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            home[node as usize] = Some(at);
            groups[at].members.push(node);
            needs.remove(&at);
            groups[at].before.extend(needs);
        }
        self.finish(groups, &home)
    }

    /// Recomputes what each expression reads now that it is known what is stored.
    fn reread(&mut self) {
        let graph = self.graph;
        for node in self.nodes() {
            if !heavy(graph, node) && !matches!(graph.op(node), Op::Second) {
                let inputs = graph.inputs(node).to_vec();
                self.reads[node as usize] = self.under(&inputs).1;
            }
        }
    }

    /// The memory that computing `node` reads.
    fn operands(&self, node: u32) -> Vec<u32> {
        let graph = self.graph;
        if heavy(graph, node) { self.under(graph.inputs(node)).1 } else { self.reads[node as usize].clone() }
    }

    fn home_of(&self, home: &[Option<usize>], read: u32) -> Option<usize> {
        let graph = self.graph;
        if graph.role(read) != Role::Compute {
            return None;
        }
        let node = if matches!(graph.op(read), Op::Second) { graph.inputs(read)[0] } else { read };
        home[node as usize]
    }

    /// A kernel whose slot or map `node` can join: one that makes an operand of its size, else a map that shares one.
    fn place(&self, node: u32, groups: &[Group], home: &[Option<usize>], needs: &HashSet<usize>) -> Option<usize> {
        let graph = self.graph;
        if self.lessons.apart.contains(&node) {
            return None;
        }
        let size = graph.shape(node).numel();
        let same = |read: &u32| graph.shape(*read).numel() == size && !matches!(graph.op(*read), Op::Second);
        let mut open: Vec<usize> =
            self.reads[node as usize].iter().filter(|r| same(r)).filter_map(|&r| self.home_of(home, r)).collect();
        let shares = |g: &Group| {
            g.heavy.is_none()
                && g.members.first().is_some_and(|&m| {
                    graph.shape(m).numel() == size
                        && (size <= SMALL
                            || self.reads[m as usize].iter().any(|r| same(r) && self.reads[node as usize].contains(r)))
                })
        };
        open.extend((0..groups.len()).filter(|&g| shares(&groups[g])));
        open.sort_unstable();
        open.dedup();
        open.into_iter().rev().find(|&at| {
            let group = &groups[at];
            let slot = match group.heavy {
                Some(h) => has_output(graph.op(h)) && graph.shape(h).numel() == size,
                None => group.members.first().is_some_and(|&m| graph.shape(m).numel() == size),
            };
            let free = !needs.iter().any(|&other| other != at && reaches(groups, other, at));
            slot && free && self.count_bindings(group, node) <= self.bindings
        })
    }

    fn count_bindings(&self, group: &Group, extra: u32) -> usize {
        let mut reads: HashSet<u32> = HashSet::new();
        for &member in group.members.iter().chain([&extra]) {
            reads.extend(&self.reads[member as usize]);
        }
        if let Some(h) = group.heavy {
            reads.extend(self.operands(h));
            reads.remove(&h);
        }
        for member in &group.members {
            reads.remove(member);
        }
        // each array could be bound twice, as scalars and as vectors, but hardly ever is
        reads.len() + group.members.len() + 1 + 2 * usize::from(group.heavy.is_some())
    }

    /// The cells that a set replaces, and those of others that it reads.
    fn cells_of(&self, set: &[usize]) -> (HashSet<u64>, HashSet<u64>) {
        let graph = self.graph;
        let writes: HashSet<u64> = set.iter().map(|&w| graph.writes[w].cell.info.id).collect();
        let values = set.iter().map(|&w| graph.writes[w].value);
        let memory = values.flat_map(|v| self.under(&[v]).1);
        let reads = memory
            .filter_map(|r| content(&graph.nodes[r as usize].tensor).map(|c| c.id))
            .filter(|c| !writes.contains(c))
            .collect();
        (writes, reads)
    }

    /// The sets of replacements, those that read a cell before the one that replaces it, where that is possible.
    fn ordered_sets(&self) -> Vec<Vec<usize>> {
        let writers = self.write_groups();
        let sets =
            (0..writers.len()).map(|first| (0..writers.len()).filter(|&w| writers[w] == first).collect::<Vec<_>>());
        let mut open: Vec<(Vec<usize>, (HashSet<u64>, HashSet<u64>))> = sets
            .filter(|s| !s.is_empty())
            .map(|s| {
                let cells = self.cells_of(&s);
                (s, cells)
            })
            .collect();
        let mut ordered = Vec::new();
        while !open.is_empty() {
            let free =
                |at: &usize| (0..open.len()).all(|other| other == *at || open[*at].1.0.is_disjoint(&open[other].1.1));
            // a circle is broken anywhere: lowering will ask for copies
            let next = (0..open.len()).find(free).unwrap_or(0);
            ordered.push(open.remove(next).0);
        }
        ordered
    }

    /// How many bindings the replacements of some sets need.
    fn write_bindings<'s>(&self, sets: impl Iterator<Item = &'s Vec<usize>>) -> usize {
        let graph = self.graph;
        let (mut reads, mut cells) = (HashSet::new(), HashSet::new());
        for &w in sets.flatten() {
            let write = &graph.writes[w];
            cells.insert(write.cell.info.id);
            reads.extend(self.under(&[write.value]).1);
        }
        reads.retain(|&r| !content(&graph.nodes[r as usize].tensor).is_some_and(|c| cells.contains(&c.id)));
        reads.len() + cells.len() + 1
    }

    /// Adds the guard and the writes, which come after everything else.
    fn finish(&self, mut groups: Vec<Group>, home: &[Option<usize>]) -> Vec<Group> {
        let graph = self.graph;
        for &number in &graph.guards {
            let before = self.home_of(home, number).into_iter().collect();
            groups.push(Group { guard: Some(number), before, ..Group::default() });
        }
        let mut last_reads = HashSet::new();
        for set in self.ordered_sets() {
            // many parameters are updated by one dispatch, as far as its bindings go
            let (writes, reads) = self.cells_of(&set);
            let apart = set.iter().any(|w| self.lessons.alone.contains(w)) || !writes.is_disjoint(&last_reads);
            let last = groups.last_mut().filter(|g| !g.writes.is_empty() && self.fusion && !apart);
            match last {
                Some(last)
                    if last.writes.len() < 16
                        && self.write_bindings(last.writes.iter().chain([&set])) <= self.bindings =>
                {
                    last.writes.push(set)
                }
                _ => {
                    last_reads.clear();
                    groups.push(Group { writes: vec![set], ..Group::default() });
                }
            }
            last_reads.extend(reads);
        }
        groups
    }
}

/// Whether `to` runs before `from` necessarily: `from` depends on it.
fn reaches(groups: &[Group], from: usize, to: usize) -> bool {
    let (mut stack, mut seen) = (vec![from], HashSet::new());
    while let Some(at) = stack.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            stack.extend(&groups[at].before);
        }
    }
    false
}

/// An order in which every group comes after those it needs; writes last.
pub(crate) fn order(groups: &[Group]) -> Vec<usize> {
    let mut done = vec![false; groups.len()];
    let mut order = Vec::with_capacity(groups.len());
    let phase = |g: &Group| (u8::from(g.guard.is_some()) + 2 * u8::from(!g.writes.is_empty())) as usize;
    for round in 0..3 {
        for first in 0..groups.len() {
            if phase(&groups[first]) != round {
                continue;
            }
            let mut stack = vec![(first, false)];
            while let Some((at, ready)) = stack.pop() {
                if done[at] {
                    continue;
                }
                if ready {
                    done[at] = true;
                    order.push(at);
                } else {
                    stack.push((at, true));
                    let mut before: Vec<usize> = groups[at].before.iter().copied().filter(|&b| !done[b]).collect();
                    before.sort_unstable_by(|a, b| b.cmp(a));
                    stack.extend(before.into_iter().map(|b| (b, false)));
                }
            }
        }
    }
    order
}
