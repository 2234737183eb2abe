//! New nodes, and regions of old ones put together of the parts that they lie in.

use super::region::{Region, count};
use super::{Result, Splitter};
use crate::graph::{GraphNode, Role};
use crate::layout::ViewOp;
use crate::node::{Op, Value};
use crate::{DType, Shape};
use std::ops::Range;

/// Inputs that a concatenation reads at once, so that it never needs more bindings than there are.
const WIDEST: usize = 4;

impl Splitter<'_> {
    pub(super) fn push(&mut self, node: GraphNode) -> u32 {
        self.new.nodes.push(node);
        self.from.push(self.at);
        self.new.nodes.len() as u32 - 1
    }

    /// A new node that belongs to the old one that is being written anew.
    pub(super) fn make(&mut self, op: Op, inputs: Vec<u32>, shape: Shape, dtype: DType) -> u32 {
        let model = &self.old.nodes[self.at as usize].tensor;
        let tensor = model.twin(&model.0.device, op, shape, dtype, Value::Pending);
        self.push(GraphNode { tensor, inputs: inputs.into(), role: Role::Compute })
    }

    pub(super) fn view(&mut self, of: u32, view: ViewOp, shape: Shape) -> u32 {
        let dtype = self.new.dtype(of);
        self.make(Op::View(view), vec![of], shape, dtype)
    }

    pub(super) fn reshape(&mut self, of: u32, shape: Shape) -> u32 {
        if self.new.shape(of) == shape { of } else { self.view(of, ViewOp::Reshape(shape), shape) }
    }

    /// A region of a new node, whose own region starts at `start`.
    pub(super) fn slice(&mut self, mut of: u32, start: &[usize], region: &[Range<usize>]) -> u32 {
        for (axis, range) in region.iter().enumerate() {
            let shape = self.new.shape(of);
            if shape[axis] != range.len() {
                let (from, len) = (range.start - start[axis], range.len());
                of = self.view(of, ViewOp::Slice { axis, start: from, step: 1, len }, shape.with(axis, len));
            }
        }
        of
    }

    pub(super) fn concat(&mut self, axis: usize, mut nodes: Vec<u32>) -> u32 {
        while nodes.len() > 1 {
            let chunks: Vec<Vec<u32>> = nodes.chunks(WIDEST).map(<[u32]>::to_vec).collect();
            nodes = chunks
                .into_iter()
                .map(|chunk| match chunk[..] {
                    [one] => one,
                    _ => {
                        let extent = chunk.iter().map(|&n| self.new.shape(n)[axis]).sum();
                        let (shape, dtype) = (self.new.shape(chunk[0]).with(axis, extent), self.new.dtype(chunk[0]));
                        self.make(Op::Concat(axis), chunk, shape, dtype)
                    }
                })
                .collect();
        }
        nodes[0]
    }

    /// Elements without a gradient or a memory of their own: makes a view an expression, which is stored where it pays.
    pub(super) fn expression(&mut self, of: u32) -> u32 {
        let (shape, dtype) = (self.new.shape(of), self.new.dtype(of));
        self.make(Op::Detach, vec![of], shape, dtype)
    }

    /// A region of an old node.
    pub(super) fn take(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        if let Some(node) = self.small[i as usize] {
            let start = vec![0; region.len()];
            return Ok(self.slice(node, &start, region));
        }
        if self.parts.contains_key(&i) {
            return Ok(self.assemble(i, region));
        }
        self.build(i, region)
    }

    /// A region of a node in parts.
    pub(super) fn assemble(&mut self, i: u32, region: &[Range<usize>]) -> u32 {
        let clip = |(own, node): &(Region, u32)| {
            let cut: Region =
                own.iter().zip(region).map(|(a, b)| a.start.max(b.start)..a.end.min(b.end).max(b.start)).collect();
            (count(&cut) > 0).then(|| (own.iter().map(|r| r.start).collect::<Vec<_>>(), cut, *node))
        };
        let pieces: Vec<_> = self.parts[&i].iter().filter_map(clip).collect();
        let pieces = pieces
            .into_iter()
            .map(|(start, cut, node)| {
                let node = self.slice(node, &start, &cut);
                (cut, node)
            })
            .collect();
        self.join(pieces)
    }

    /// Pieces that fill a region, as one.
    pub(super) fn join(&mut self, pieces: Vec<(Region, u32)>) -> u32 {
        let Some(axis) = (0..pieces[0].0.len()).find(|&a| pieces.iter().any(|p| p.0[a] != pieces[0].0[a])) else {
            return pieces[0].1;
        };
        let mut groups: Vec<(usize, Vec<(Region, u32)>)> = Vec::new();
        for piece in pieces {
            let start = piece.0[axis].start;
            match groups.iter_mut().find(|g| g.0 == start) {
                Some(group) => group.1.push(piece),
                None => groups.push((start, vec![piece])),
            }
        }
        groups.sort_by_key(|g| g.0);
        let joined = groups.into_iter().map(|(_, group)| self.join(group)).collect();
        self.concat(axis, joined)
    }
}
