//! In which order the kernels of a plan run: each after those it needs, and of those that could be next the one that
//! leaves the least in memory. So a layer's weight gradient runs as soon as the gradient of its output is there, and
//! what only it reads is let go before the layer below.

use super::{Group, heavy};
use crate::graph::{Graph, Role};
use crate::node::Op;

/// An order in which every group comes after those it needs: guards after all values, writes last.
pub(crate) fn order(graph: &Graph, groups: &[Group]) -> Vec<usize> {
    let phase = |g: &Group| u8::from(g.guard.is_some()) + 2 * u8::from(!g.writes.is_empty());
    let mut waits: Vec<usize> = groups.iter().map(|g| g.before.len()).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for (at, group) in groups.iter().enumerate() {
        group.before.iter().for_each(|&before| followers[before].push(at));
    }
    let mut memory = Memory::new(graph, groups);
    let mut order = Vec::with_capacity(groups.len());
    for round in 0..3 {
        let mut ready: Vec<usize> =
            (0..groups.len()).filter(|&at| phase(&groups[at]) == round && waits[at] == 0).collect();
        while let Some(next) =
            (0..ready.len()).max_by_key(|&i| (memory.gain(&groups[ready[i]]), std::cmp::Reverse(ready[i])))
        {
            let at = ready.swap_remove(next);
            memory.run(&groups[at]);
            order.push(at);
            for &follower in &followers[at] {
                waits[follower] -= 1;
                if waits[follower] == 0 && phase(&groups[follower]) == round {
                    ready.push(follower);
                }
            }
        }
    }
    order
}

/// How many groups have yet to read each node's memory.
struct Memory<'a> {
    graph: &'a Graph,
    readers: Vec<u32>,
}

impl<'a> Memory<'a> {
    fn new(graph: &'a Graph, groups: &[Group]) -> Self {
        let mut readers = vec![0; graph.nodes.len()];
        groups.iter().flat_map(|g| &g.reads).for_each(|&node| readers[node as usize] += 1);
        // results, numbers to be checked and new values stay to the end
        let writes = graph.writes.iter().map(|w| w.value);
        graph.roots.iter().chain(&graph.guards).copied().chain(writes).for_each(|node| readers[node as usize] += 1);
        Self { graph, readers }
    }

    fn bytes(&self, node: u32) -> i64 {
        let computed = self.graph.role(node) == Role::Compute && !matches!(self.graph.op(node), Op::Second);
        if computed { (self.graph.shape(node).numel() * self.graph.dtype(node).bytes()) as i64 } else { 0 }
    }

    /// The bytes that are free after the group and were not before.
    fn gain(&self, group: &Group) -> i64 {
        let last = group.reads.iter().filter(|&&node| self.readers[node as usize] == 1);
        let freed: i64 = last.map(|&node| self.bytes(node)).sum();
        freed - group.heavy.iter().chain(&group.members).map(|&node| self.bytes(node)).sum::<i64>()
    }

    fn run(&mut self, group: &Group) {
        group.reads.iter().for_each(|&node| self.readers[node as usize] -= 1);
    }
}

/// What must run before `node` though it is not read: see [`crate::checkpoint`].
pub(super) fn controls(graph: &Graph, stored: &[bool], node: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut stack: Vec<u32> = match (graph.op(node), graph.inputs(node)) {
        (Op::View(_), [of, after]) => {
            found.push(*after);
            vec![*of]
        }
        (_, inputs) => inputs.to_vec(),
    };
    while let Some(at) = stack.pop() {
        if graph.role(at) != Role::Compute || stored[at as usize] || heavy(graph, at) {
            continue;
        }
        match (graph.op(at), graph.inputs(at)) {
            (Op::View(_), [of, after]) => {
                found.push(*after);
                stack.push(*of);
            }
            (_, inputs) => stack.extend(inputs),
        }
    }
    found
}
