//! Tensors larger than one binding, as lists of smaller ones. A kernel sees at most so many bytes of a buffer at once;
//! so before anything is fused, a graph with a larger tensor is written anew: each such tensor becomes parts along its
//! rows, each operation on it one operation per part. What comes after never meets a large tensor. A graph without one
//! is not touched.
//!
//! A *region* is a range of each axis. [`Splitter::take`] gives the node that holds a region of an old node, put
//! together of the parts that it lies in; `rules.rs` says how each operation makes a region of its result out of regions
//! of its operands, `views.rs` how a region is seen through a view, `ends.rs` what becomes of leaves, roots and cells.

mod ends;
mod heavy;
mod nodes;
mod region;
mod rules;
mod views;

use crate::Shape;
use crate::error::{Error, List, Result};
use crate::graph::{Graph, GraphNode, Role};
use crate::node::Op;
use region::{Region, whole};
use std::collections::HashMap;
use std::ops::Range;

/// A graph without large tensors, and what its nodes are in the graph that it was made from.
pub(crate) struct Split {
    pub(crate) graph: Graph,
    /// The old node that each new one belongs to: the same leaf or number, or the operation it is a part of.
    pub(crate) from: Vec<u32>,
    /// Leaves that are parts of a buffer, in bytes.
    pub(crate) windows: HashMap<u32, Range<u64>>,
    /// The new roots that are the parts of each old one, in order.
    pub(crate) roots: Vec<Vec<u32>>,
    /// The old replacement that each new one is a part of, and its bytes of the cell.
    pub(crate) writes: Vec<(usize, Option<Range<u64>>)>,
}

/// The graph in parts, if one of its tensors has more than `limit` bytes.
///
/// # Errors
/// [`Error::Limit`] if an operation cannot be split: one row of a sort, say, is too long. Also for a result of more than
/// `max_buffer` bytes, which no buffer holds.
pub(crate) fn split(graph: &Graph, limit: u64, max_buffer: u64) -> Result<Option<Split>> {
    let most = (limit / 4) as usize;
    let node = |i: usize| &graph.nodes[i].tensor.0;
    if (0..graph.nodes.len()).all(|i| node(i).shape.numel() <= most) {
        return Ok(None);
    }
    for &root in &graph.roots {
        let bytes = (graph.shape(root).numel() * graph.dtype(root).bytes()) as u64;
        if bytes > max_buffer {
            let node = &graph.nodes[root as usize].tensor.0;
            let (what, shapes) = ("bytes in a buffer", List(vec![node.shape]));
            return Err(Error::Limit { op: node.name, shapes, what, needs: bytes, has: max_buffer, at: node.at });
        }
    }
    let splitter = Splitter {
        old: graph,
        most,
        new: Graph::new(),
        from: Vec::new(),
        at: 0,
        small: vec![None; graph.nodes.len()],
        parts: HashMap::new(),
        windows: HashMap::new(),
        tables: HashMap::new(),
        cells: HashMap::new(),
    };
    splitter.run()
}

struct Splitter<'a> {
    old: &'a Graph,
    /// Elements that fit in a binding.
    most: usize,
    new: Graph,
    from: Vec<u32>,
    /// The old node that is being written anew.
    at: u32,
    /// The new node of each old one that is whole.
    small: Vec<Option<u32>>,
    /// The parts of the others.
    parts: HashMap<u32, Vec<(Region, u32)>>,
    windows: HashMap<u32, Range<u64>>,
    /// Regions of tables that are in memory.
    tables: HashMap<(u32, Region), u32>,
    /// The parts of large cells that are replaced: new replacements find theirs by the region.
    cells: HashMap<(usize, usize), std::sync::Arc<crate::cell::Cell>>,
}

impl Splitter<'_> {
    fn run(mut self) -> Result<Option<Split>> {
        let live = self.live();
        for i in (0..self.old.nodes.len() as u32).filter(|&i| live[i as usize]) {
            self.at = i;
            self.node(i)?;
        }
        let mut roots = Vec::new();
        for &root in &self.old.roots {
            self.at = root;
            roots.push(self.root(root)?);
        }
        self.new.roots = roots.iter().flatten().copied().collect();
        self.new.roots.dedup();
        for &guard in &self.old.guards {
            let node = self.take(guard, &whole(&self.old.shape(guard)))?;
            self.new.guards.push(node);
        }
        let mut writes = Vec::new();
        for w in 0..self.old.writes.len() {
            self.write(w, &mut writes)?;
        }
        let Splitter { new: graph, from, windows, .. } = self;
        Ok(Some(Split { graph, from, windows, roots, writes }))
    }

    /// What roots, guards and replacements need.
    fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.old.nodes.len()];
        let wanted = self.old.roots.iter().chain(&self.old.guards).copied();
        let mut stack: Vec<u32> = wanted.chain(self.old.writes.iter().map(|w| w.value)).collect();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut live[node as usize], true) {
                stack.extend(self.old.inputs(node));
            }
        }
        live
    }

    fn large(&self, i: u32) -> bool {
        self.old.shape(i).numel() > self.most
    }

    /// Numbers and views, which are written wherever they are read.
    fn lazy(&self, i: u32) -> bool {
        self.old.role(i) == Role::Compute && matches!(self.old.op(i), Op::View(_) | Op::Const(_) | Op::Iota)
    }

    /// Writes an old node anew.
    fn node(&mut self, i: u32) -> Result<()> {
        let old = self.old;
        if self.large(i) && self.lazy(i) {
            return Ok(());
        }
        if old.role(i) != Role::Compute {
            if self.large(i) {
                self.leaf(i);
            } else {
                self.copy(i);
            }
            return Ok(());
        }
        let inputs = old.inputs(i);
        let large = self.large(i) || inputs.iter().any(|&j| self.large(j));
        let touched = large || inputs.iter().any(|j| self.parts.contains_key(j));
        if !touched || (!large && !rules::cuts(old.op(i))) {
            self.copy(i);
            return Ok(());
        }
        if matches!(old.op(i), Op::Second) {
            self.second(i);
        } else {
            let regions = self.regions(i)?;
            let parts = regions.into_iter().map(|r| Ok((r.clone(), self.build(i, &r)?))).collect::<Result<_>>()?;
            self.parts.insert(i, parts);
        }
        if !self.large(i) {
            self.small[i as usize] = Some(self.assemble(i, &whole(&old.shape(i))));
        }
        Ok(())
    }

    fn copy(&mut self, i: u32) {
        let node = &self.old.nodes[i as usize];
        let inputs = node.inputs.iter().filter_map(|&j| self.small[j as usize]).collect();
        let node = GraphNode { tensor: node.tensor.clone(), inputs, role: node.role };
        self.small[i as usize] = Some(self.push(node));
    }

    /// The error of an operation that cannot be split.
    fn too_large(&self, i: u32) -> Error {
        let node = &self.old.nodes[i as usize].tensor.0;
        let inputs = self.old.inputs(i).iter().map(|&j| self.old.shape(j));
        let shapes: Vec<Shape> = inputs.chain([node.shape]).collect();
        let needs = shapes.iter().map(|s| 4 * s.numel() as u64).max().unwrap_or(0);
        let has = 4 * self.most as u64;
        let what = "bytes in one binding and cannot be split";
        Error::Limit { op: node.name, shapes: List(shapes), what, needs, has, at: node.at }
    }
}
