//! Which kernel does what: a place for everything that is stored, and replacements last.

use super::joining::Joining;
use super::order::controls;
use super::{Fuser, Group, elementwise, has_output, heavy, is_virtual};
use crate::graph::{Role, content};
use crate::node::Op;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The cells that a set of replacements writes, and those of others that it reads.
type Cells = (HashSet<u64>, HashSet<u64>);

impl Fuser<'_> {
    /// Writes of one size that have an expression or an operand of that size in common are one set.
    pub(super) fn write_groups(&self) -> Vec<usize> {
        let graph = self.graph;
        let count = graph.writes.len();
        let mut group: Vec<usize> = (0..count).collect();
        // the first write that has met each expression, and the last
        let mut owner: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        let mut met = vec![0; graph.nodes.len()];
        for w in 0..count {
            if self.lessons.alone.contains(&w) {
                continue;
            }
            let size = graph.shape(graph.writes[w].value).numel();
            let mut stack = vec![graph.writes[w].value];
            while let Some(node) = stack.pop() {
                if std::mem::replace(&mut met[node as usize], w + 1) == w + 1 {
                    continue;
                }
                if graph.shape(node).numel() == size && !is_virtual(graph, node) {
                    let (a, b) = (group[*owner[node as usize].get_or_insert(w)], group[w]);
                    if a != b {
                        group.iter_mut().filter(|g| **g == b).for_each(|g| *g = a);
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
    pub(super) fn group(&mut self) -> Vec<Group> {
        let graph = self.graph;
        let mut joining = Joining::default();
        let mut home: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        self.reread();
        for node in self.nodes() {
            if !self.stored[node as usize] {
                continue;
            }
            let reads = self.operands(node);
            let mut needs: Vec<usize> = reads.iter().filter_map(|&read| self.home_of(&home, read)).collect();
            if self.ordered {
                for after in controls(graph, &self.stored, node) {
                    let of = if self.stored[after as usize] { vec![after] } else { self.operands(after) };
                    needs.extend(of.into_iter().filter_map(|read| self.home_of(&home, read)));
                }
            }
            needs.sort_unstable();
            needs.dedup();
            let at = if heavy(graph, node) {
                joining.add(Group { heavy: Some(node), ..Group::default() })
            } else {
                let place = if self.fusion { self.place(node, &joining, &home, &needs) } else { None };
                place.unwrap_or_else(|| {
                    let at = joining.add(Group::default());
                    joining.open_map(at, graph.shape(node).numel(), &self.alike(node));
                    at
                })
            };
            home[node as usize] = Some(at);
            joining.join(at, node, &reads, &needs);
        }
        self.finish(joining.groups, &home)
    }

    /// Recomputes what each expression reads now that it is known what is stored.
    pub(super) fn reread(&mut self) {
        let graph = self.graph;
        for node in self.nodes() {
            if !heavy(graph, node) && !matches!(graph.op(node), Op::Second) {
                let inputs = graph.inputs(node).to_vec();
                self.reads[node as usize] = self.under(&inputs).1;
            }
        }
    }

    /// The memory that computing `node` reads.
    pub(super) fn operands(&self, node: u32) -> Vec<u32> {
        let graph = self.graph;
        if heavy(graph, node) { self.under(graph.inputs(node)).1 } else { self.reads[node as usize].clone() }
    }

    pub(super) fn home_of(&self, home: &[Option<usize>], read: u32) -> Option<usize> {
        let graph = self.graph;
        if graph.role(read) != Role::Compute {
            return None;
        }
        let node = if matches!(graph.op(read), Op::Second) { graph.inputs(read)[0] } else { read };
        home[node as usize]
    }

    /// The memory of `node`'s own size that it reads.
    fn alike(&self, node: u32) -> Vec<u32> {
        let graph = self.graph;
        let size = graph.shape(node).numel();
        let same = |read: &u32| graph.shape(*read).numel() == size && !matches!(graph.op(*read), Op::Second);
        self.reads[node as usize].iter().copied().filter(same).collect()
    }

    /// A kernel whose slot or map `node` can join: one that makes an operand of its size, else a map that shares one.
    fn place(&self, node: u32, joining: &Joining, home: &[Option<usize>], needs: &[usize]) -> Option<usize> {
        let graph = self.graph;
        if self.lessons.apart.contains(&node) {
            return None;
        }
        let size = graph.shape(node).numel();
        let alike = self.alike(node);
        let makers = alike.iter().filter_map(|&read| self.home_of(home, read)).collect();
        let mut open = joining.candidates(makers, size, &alike);
        let mut earlier = joining.earlier(needs);
        open.find(|&at| {
            let group = &joining.groups[at];
            // what a kernel writes beside its result is not there yet in its slot
            let beside = |h: u32| {
                let second = |r: &u32| matches!(graph.op(*r), Op::Second) && graph.inputs(*r).first() == Some(&h);
                self.reads[node as usize].iter().any(second)
            };
            let slot = match group.heavy {
                Some(h) => has_output(graph.op(h)) && graph.shape(h).numel() == size && !beside(h),
                None => group.members.first().is_some_and(|&m| graph.shape(m).numel() == size),
            };
            slot && self.count_bindings(group, node) <= self.bindings && !earlier.holds(joining, at)
        })
    }

    /// How many bindings a group needs with one more member.
    fn count_bindings(&self, group: &Group, extra: u32) -> usize {
        let new = self.reads[extra as usize].iter().filter(|read| !group.reads.contains(read) && !group.makes(**read));
        // each array could be bound twice, as scalars and as vectors, but hardly ever is
        group.reads.len() + new.count() + group.members.len() + 1 + 2 * usize::from(group.heavy.is_some())
    }

    /// The cells that a set replaces, and those of others that it reads.
    pub(super) fn cells_of(&self, set: &[usize]) -> Cells {
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

    /// The sets of replacements with their cells, those that read a cell before the one that replaces it, where that
    /// is possible.
    fn ordered_sets(&self) -> Vec<(Vec<usize>, Cells)> {
        let writers = self.write_groups();
        let mut sets: Vec<Vec<usize>> = vec![Vec::new(); writers.len()];
        for (w, &writer) in writers.iter().enumerate() {
            sets[writer].push(w);
        }
        sets.retain(|set| !set.is_empty());
        let cells: Vec<Cells> = sets.iter().map(|set| self.cells_of(set)).collect();
        let writer_of: HashMap<u64, usize> =
            cells.iter().enumerate().flat_map(|(at, (writes, _))| writes.iter().map(move |&cell| (cell, at))).collect();
        // the sets that each one must come before
        let later: Vec<HashSet<usize>> = cells
            .iter()
            .map(|(_, reads)| reads.iter().filter_map(|cell| writer_of.get(cell).copied()).collect())
            .collect();
        let mut waits = vec![0; sets.len()];
        later.iter().flatten().for_each(|&at| waits[at] += 1);
        let mut open: BTreeSet<usize> = (0..sets.len()).collect();
        let mut free: BTreeSet<usize> = open.iter().copied().filter(|&at| waits[at] == 0).collect();
        let mut order = Vec::with_capacity(sets.len());
        // a circle is broken anywhere: lowering will ask for copies
        while let Some(next) = free.pop_first().or_else(|| open.first().copied()) {
            open.remove(&next);
            order.push(next);
            for &at in &later[next] {
                waits[at] -= 1;
                if waits[at] == 0 && open.contains(&at) {
                    free.insert(at);
                }
            }
        }
        let mut all: Vec<Option<(Vec<usize>, Cells)>> = sets.into_iter().zip(cells).map(Some).collect();
        order.into_iter().filter_map(|at| all[at].take()).collect()
    }

    /// How many bindings the replacements of some sets need.
    pub(super) fn write_bindings<'s>(&self, sets: impl Iterator<Item = &'s Vec<usize>>) -> usize {
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
    pub(super) fn finish(&self, mut groups: Vec<Group>, home: &[Option<usize>]) -> Vec<Group> {
        let graph = self.graph;
        for (number, &node) in graph.guards.iter().enumerate() {
            let before = self.home_of(home, node).into_iter().collect();
            groups.push(Group { guard: Some(number), before, ..Group::default() });
        }
        let mut last_reads = HashSet::new();
        for (set, (writes, reads)) in self.ordered_sets() {
            // many parameters are updated by one dispatch, as far as its bindings go
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
