//! Attempts at lowering a graph. What cannot be lowered as it was chosen is learned from, and everything is chosen again.

use super::{Lowerer, Lowering, Stop};
use crate::emit::Refusal;
use crate::error::Result;
use crate::fuse::{Choice, Group, Lessons};
use crate::graph::{Graph, Role};
use crate::node::Op;
use std::collections::HashSet;

/// Where lowering stopped: the group, and the replacements in it that were to blame.
struct Failure {
    group: usize,
    stop: Stop,
    writes: Vec<usize>,
}

/// Lowers a graph.
pub(crate) fn lower(graph: &Graph, gpu: &kiln_device::Device, fusion: bool) -> Result<Lowering> {
    let caps = gpu.caps();
    let mut lessons = Lessons::default();
    let bindings = caps.max_storage_buffers.min(32) as usize;
    // each failed attempt adds a node to one of four lists, so this ends
    for _ in 0..8 * graph.nodes.len() + 8 {
        let choice = crate::fuse::choose(graph, &lessons, fusion, bindings);
        let failures = match attempt(graph, gpu, &choice, fusion, bindings) {
            Ok(lowering) => return Ok(lowering),
            Err(failures) => failures,
        };
        // a long sequence fails alike at each of its steps: all of that is learned at once
        let (mut learned, known) = (false, lessons.store.clone());
        for Failure { group, stop, writes } in failures {
            match stop {
                Stop::Failed(error) => return Err(error),
                Stop::Refused(refusal) => {
                    learned |= learn(graph, &choice, &choice.groups[group], refusal, &writes, &known, &mut lessons);
                }
            }
        }
        assert!(learned, "a graph of {} nodes cannot be lowered", graph.nodes.len());
    }
    unreachable!("every graph can be lowered with every node in a kernel of its own")
}

/// What to do otherwise next time; false if another failure of this attempt has taught it already. `known` are the
/// nodes that this attempt knew it had to store.
fn learn(
    graph: &Graph,
    choice: &Choice,
    group: &Group,
    refusal: Refusal,
    writes: &[usize],
    known: &HashSet<u32>,
    lessons: &mut Lessons,
) -> bool {
    if let Refusal::Store(node) = refusal
        && !choice.stored(node)
        && !known.contains(&node)
    {
        return lessons.store.insert(node);
    }
    if let Some(&last) = group
        .members
        .iter()
        .rev()
        .find(|m| !lessons.apart.contains(m))
        .filter(|_| group.members.len() > 1 || group.heavy.is_some())
    {
        lessons.apart.insert(last);
        return true;
    }
    let fresh =
        writes.iter().map(|&w| graph.writes[w].value).filter(|v| !lessons.copied.contains(v)).collect::<Vec<_>>();
    if !fresh.is_empty() {
        lessons.copied.extend(fresh);
        return true;
    }
    if group.writes.iter().flatten().count() > 1 {
        lessons.alone.extend(group.writes.iter().flatten());
        return true;
    }
    let operands = group.heavy.iter().chain(group.members.last()).flat_map(|&n| graph.inputs(n)).copied();
    for input in operands {
        let apart = graph.role(input) == Role::Compute
            && !choice.stored(input)
            && !matches!(graph.op(input), Op::Const(_) | Op::Iota | Op::Second);
        if apart && lessons.store.insert(input) {
            return true;
        }
    }
    false
}

fn attempt(
    graph: &Graph,
    gpu: &kiln_device::Device,
    choice: &Choice,
    fusion: bool,
    bindings: usize,
) -> std::result::Result<Lowering, Vec<Failure>> {
    let mut failures = Vec::new();
    let mut lowerer = Lowerer {
        graph,
        gpu,
        caps: gpu.caps(),
        choice,
        fusion,
        needed: needed(graph, choice),
        steps: Vec::new(),
        scratch: Vec::new(),
        replaced: HashSet::new(),
        failed: Vec::new(),
    };
    for at in crate::fuse::order(graph, &choice.groups) {
        let first = lowerer.steps.len();
        if !failures.is_empty() && !choice.groups[at].writes.is_empty() {
            break; // replacements are judged once all before them stands
        }
        if let Err(stop) = lowerer.group(&choice.groups[at]) {
            failures.push(Failure { group: at, stop, writes: std::mem::take(&mut lowerer.failed) });
            continue;
        }
        let most = lowerer.steps[first..].iter().map(|s| s.bindings.len()).max().unwrap_or(0);
        let shrinks = choice.groups[at].members.len() + choice.groups[at].writes.iter().flatten().count() > 1
            || (choice.groups[at].heavy.is_some() && !choice.groups[at].members.is_empty());
        if most > bindings && shrinks {
            let stop = Stop::Refused(Refusal::Slot);
            failures.push(Failure { group: at, stop, writes: Vec::new() });
        }
    }
    if failures.is_empty() { Ok(Lowering { steps: lowerer.steps, scratch: lowerer.scratch }) } else { Err(failures) }
}

/// Nodes whose elements somebody outside of their kernel reads.
fn needed(graph: &Graph, choice: &Choice) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes.len()];
    for &root in graph.roots.iter().chain(&graph.guards) {
        needed[root as usize] = true;
    }
    // the last group that has met each node
    let mut met = vec![0; graph.nodes.len()];
    for (number, group) in (1..).zip(&choice.groups) {
        let own = |node: u32| group.heavy == Some(node) || group.members.contains(&node);
        let starts = group.heavy.iter().chain(&group.members).copied();
        let mut stack: Vec<u32> = starts.flat_map(|n| graph.inputs(n)).copied().collect();
        stack.extend(group.writes.iter().flatten().map(|&w| graph.writes[w].value));
        while let Some(node) = stack.pop() {
            if std::mem::replace(&mut met[node as usize], number) == number || graph.role(node) != Role::Compute {
                continue;
            }
            if matches!(graph.op(node), Op::Second) {
                needed[node as usize] = true;
            } else if choice.stored(node) {
                needed[node as usize] |= !own(node);
            } else {
                stack.extend(graph.inputs(node));
            }
        }
    }
    needed
}
