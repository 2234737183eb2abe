//! Which kernel does what: a place for everything that is stored, and replacements last.

use super::order::controls;
use super::{Fuser, Group, elementwise, has_output, heavy, is_virtual};
use crate::graph::{Role, content};
use crate::node::Op;
use std::collections::HashSet;

/// Up to so many elements a dispatch costs more than the work, and what is alike only in size is put together.
const SMALL: usize = 256;

/// Up to so many elements cells of one size are replaced together: step counts, bias corrections.
const COUNTERS: usize = 8;

/// The cells that a set of replacements writes, and those of others that it reads.
type Cells = (HashSet<u64>, HashSet<u64>);

impl Fuser<'_> {
    /// Writes of one size that have an expression or an operand of that size in common share a kernel, and so do all
    /// small ones of one size.
    pub(super) fn write_groups(&self) -> Vec<usize> {
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
    pub(super) fn group(&mut self) -> Vec<Group> {
        let graph = self.graph;
        let mut groups: Vec<Group> = Vec::new();
        let mut home: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        self.reread();
        for node in self.nodes() {
            if !self.stored[node as usize] {
                continue;
            }
            let reads = self.operands(node);
            let mut needs: HashSet<usize> = reads.iter().filter_map(|&read| self.home_of(&home, read)).collect();
            if self.ordered {
                for after in controls(graph, &self.stored, node) {
                    let of = if self.stored[after as usize] { vec![after] } else { self.operands(after) };
                    needs.extend(of.into_iter().filter_map(|read| self.home_of(&home, read)));
                }
            }
            if heavy(graph, node) {
                home[node as usize] = Some(groups.len());
                groups.push(Group { heavy: Some(node), before: needs, reads, ..Group::default() });
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
            let own: HashSet<u32> = groups[at].heavy.iter().chain(&groups[at].members).copied().collect();
            let new: Vec<u32> =
                reads.into_iter().filter(|r| !own.contains(r) && !groups[at].reads.contains(r)).collect();
            groups[at].reads.extend(new);
        }
        self.finish(groups, &home)
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

    /// A kernel whose slot or map `node` can join: one that makes an operand of its size, else a map that shares one.
    pub(super) fn place(
        &self,
        node: u32,
        groups: &[Group],
        home: &[Option<usize>],
        needs: &HashSet<usize>,
    ) -> Option<usize> {
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
        if open.is_empty() {
            return None;
        }
        let earlier: Vec<(usize, Vec<bool>)> = needs.iter().map(|&other| (other, reached(groups, other))).collect();
        open.into_iter().rev().find(|&at| {
            let group = &groups[at];
            // what a kernel writes beside its result is not there yet in its slot
            let beside = |h: u32| {
                let second = |r: &u32| matches!(graph.op(*r), Op::Second) && graph.inputs(*r).first() == Some(&h);
                self.reads[node as usize].iter().any(second)
            };
            let slot = match group.heavy {
                Some(h) => has_output(graph.op(h)) && graph.shape(h).numel() == size && !beside(h),
                None => group.members.first().is_some_and(|&m| graph.shape(m).numel() == size),
            };
            let free = !earlier.iter().any(|(other, reached)| *other != at && reached[at]);
            slot && free && self.count_bindings(group, node) <= self.bindings
        })
    }

    pub(super) fn count_bindings(&self, group: &Group, extra: u32) -> usize {
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

    /// The sets of replacements, those that read a cell before the one that replaces it, where that is possible.
    pub(super) fn ordered_sets(&self) -> Vec<Vec<usize>> {
        let writers = self.write_groups();
        let sets =
            (0..writers.len()).map(|first| (0..writers.len()).filter(|&w| writers[w] == first).collect::<Vec<_>>());
        let mut open: Vec<(Vec<usize>, Cells)> = sets
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

/// The groups that run before `from` necessarily, and itself.
fn reached(groups: &[Group], from: usize) -> Vec<bool> {
    let mut seen = vec![false; groups.len()];
    let mut stack = vec![from];
    while let Some(at) = stack.pop() {
        if !std::mem::replace(&mut seen[at], true) {
            stack.extend(groups[at].before.iter().filter(|&&before| !seen[before]));
        }
    }
    seen
}
