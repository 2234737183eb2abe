//! What the program still holds of a graph whose cells a step replaces.

use super::copy_of;
use crate::Tensor;
use crate::cell::{Cell, Pending};
use crate::error::Result;
use crate::graph::{Graph, GraphNode, Role};
use crate::node::Op;
use kiln_device::{Copy, Slice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often each node is held by the graph and by this evaluation.
pub(super) fn count_edges(graph: &Graph, roots: &[Tensor], pendings: &[Pending], guards: &[Tensor]) -> Vec<usize> {
    let mut edges = vec![1; graph.nodes.len()];
    for node in &graph.nodes {
        node.inputs.iter().for_each(|&i| edges[i as usize] += 1);
    }
    let known = roots.iter().chain(guards).chain(pendings.iter().map(|p| &p.value));
    for tensor in known {
        if let Some(i) = graph.find(tensor) {
            edges[i as usize] += 1;
        }
    }
    for write in &graph.writes {
        edges[write.value as usize] += 1; // the cell's own pending replacement
    }
    edges
}

/// Expressions of the graph that somebody outside of it holds. A step computes them, since their inputs are replaced.
pub(super) fn held(graph: &Graph, edges: &[usize]) -> Vec<u32> {
    let outside = |i: &usize| {
        let node = &graph.nodes[*i];
        node.role == Role::Compute
            && !matches!(node.tensor.0.op, Op::Const(_) | Op::Iota)
            && Arc::strong_count(&node.tensor.0) > edges[*i] + node.tensor.0.quiet.load(Ordering::Relaxed)
    };
    let mut held: Vec<u32> = (0..graph.nodes.len()).filter(outside).map(|i| i as u32).collect();
    held.extend(graph.rewritten.iter().filter(|old| held_as(graph, old)).filter_map(|old| graph.find(old)));
    held
}

/// Whether somebody holds a node by what it was before a rewrite: more than read it in the graph.
fn held_as(graph: &Graph, old: &Tensor) -> bool {
    let reads = |node: &GraphNode| node.tensor.0.links().inputs.iter().filter(|t| t.id() == old.id()).count();
    let known = 1 + graph.nodes.iter().map(reads).sum::<usize>();
    Arc::strong_count(&old.0) > known + old.0.quiet.load(Ordering::Relaxed)
}

/// Copies the old content of cells that somebody outside still wants; the nodes, with their copies.
pub(super) fn save_old(
    gpu: &kiln_device::Device,
    graph: &Graph,
    edges: &[usize],
    before: &mut Vec<Copy>,
) -> Result<Vec<(Tensor, Option<Slice>)>> {
    let mut saved = Vec::new();
    for write in &graph.writes {
        let leaf = write.cell.content().leaf.clone();
        // our clone, the cell's own handle, and the graph's
        let known = graph.find(&leaf).map_or(0, |i| edges[i as usize]) + 2;
        let wanted = Arc::strong_count(&leaf.0) > known;
        let copy = if wanted { copy_old(gpu, &write.cell, before)? } else { None };
        saved.push((leaf, copy));
    }
    Ok(saved)
}

/// A copy, made by the coming run, of what a cell holds before it.
pub(super) fn copy_old(gpu: &kiln_device::Device, cell: &Cell, before: &mut Vec<Copy>) -> Result<Option<Slice>> {
    let Some(buffer) = &cell.buffer else { return Ok(None) };
    let bytes = cell.bytes();
    let to = gpu.alloc(bytes, "kept content")?;
    before.push(copy_of(&Slice { buffer: buffer.clone(), offset: 0, bytes }, &to));
    Ok(Some(Slice { buffer: to, offset: 0, bytes }))
}

/// The cells' new contents take the place of the old ones.
pub(super) fn replace(graph: &Graph, saved: Vec<(Tensor, Option<Slice>)>) {
    for (write, (old, copy)) in graph.writes.iter().zip(saved) {
        write.cell.replaced(&old, copy);
    }
}
