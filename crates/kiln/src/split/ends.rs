//! The ends of a graph in parts: the leaves that it reads, the roots that it hands out, the cells that it replaces.

use super::region::{ALIGN, Region, STEP, shape_of, whole};
use super::{Result, Splitter, views};
use crate::Shape;
use crate::graph::{GraphNode, Role, Write, content};
use crate::layout::ViewOp;
use crate::node::Op;
use std::ops::Range;

impl Splitter<'_> {
    /// A leaf in parts of its buffer.
    pub(super) fn leaf(&mut self, i: u32) {
        let old = self.old;
        let (shape, dtype, tensor) = (old.shape(i), old.dtype(i), &old.nodes[i as usize].tensor);
        let write =
            content(tensor).and_then(|cell| (0..old.writes.len()).find(|&w| old.writes[w].cell.info.id == cell.id));
        let (strides, bytes) = (shape.strides(), dtype.bytes() as u64);
        let regions = self.chop(&shape);
        let first = |r: &Region| r.iter().zip(&strides).map(|(r, &s)| r.start * s as usize).sum::<usize>();
        let straight = regions.iter().all(|r| (first(r) as u64 * bytes).is_multiple_of(ALIGN));
        let mut parts = Vec::new();
        for region in regions {
            let own = shape_of(&region);
            let start = first(&region) as u64 * bytes;
            let from = start / ALIGN * ALIGN;
            let lead = ((start - from) / bytes) as usize;
            let (op, value) = (tensor.0.op.clone(), tensor.0.links().value.clone());
            // where the cell is replaced in place, each part is a cell of its own
            let op = match write.filter(|_| straight) {
                Some(w) => {
                    let cell = old.writes[w].cell.part(own);
                    self.cells.insert((w, start as usize), cell.clone());
                    Op::Content(cell.info.clone())
                }
                None => op,
            };
            let shape = if lead == 0 { own } else { Shape::of(&[lead + own.numel()]) };
            let twin = tensor.twin(&tensor.0.device, op, shape, dtype, value);
            let node = self.push(GraphNode { tensor: twin, inputs: Default::default(), role: Role::Leaf });
            self.windows.insert(node, from..start + own.numel() as u64 * bytes);
            let mut node = node;
            if lead > 0 {
                let len = own.numel();
                node = self.view(node, ViewOp::Slice { axis: 0, start: lead, step: 1, len }, Shape::of(&[len]));
                node = self.reshape(node, own);
            }
            if write.is_some() && !straight {
                // the parts that are replaced are others than those that are read: what is read is copied first
                node = self.expression(node);
                self.new.kept.insert(node);
            }
            parts.push((region, node));
        }
        self.parts.insert(i, parts);
    }

    /// The new roots for an old one.
    pub(super) fn root(&mut self, i: u32) -> Result<Vec<u32>> {
        let shape = self.old.shape(i);
        if let (false, Some(node)) = (self.parts.contains_key(&i), self.small[i as usize]) {
            return Ok(vec![node]);
        }
        // parts in their order in memory are handed out as they are, with the second results of their kernels
        let own: Option<Vec<u32>> = self.parts.get(&i).and_then(|parts| {
            let mut ends = parts.iter().scan(0, |at, (region, _)| {
                let range = views::flat_range(&shape, region).filter(|r| r.start == *at);
                Some(range.map(|r| *at = r.end))
            });
            let straight = ends.all(|end| end.is_some());
            straight.then(|| parts.iter().map(|p| p.1).collect())
        });
        let regions = if self.large(i) { self.chop(&shape) } else { vec![whole(&shape)] };
        let nodes = match own {
            Some(nodes) => nodes,
            None => regions.iter().map(|r| self.take(i, r)).collect::<Result<_>>()?,
        };
        // what is handed out is computed
        let compute = |s: &Self, n: u32| s.new.role(n) == Role::Compute;
        Ok(nodes.into_iter().map(|n| if compute(self, n) { n } else { self.expression(n) }).collect())
    }

    /// A replacement, in parts if the cell is large.
    pub(super) fn write(&mut self, w: usize, writes: &mut Vec<(usize, Option<Range<u64>>)>) -> Result<()> {
        let (cell, value) = (self.old.writes[w].cell.clone(), self.old.writes[w].value);
        self.at = value;
        if !self.large(value) {
            let value = self.take(value, &whole(&cell.shape))?;
            self.new.writes.push(Write { cell, value });
            writes.push((w, None));
            return Ok(());
        }
        let (strides, bytes) = (cell.shape.strides(), cell.dtype.bytes());
        let regions = self.chop(&cell.shape);
        let first = |r: &Region| r.iter().zip(&strides).map(|(r, &s)| r.start * s as usize).sum::<usize>();
        if regions.iter().all(|r| ((first(r) * bytes) as u64).is_multiple_of(ALIGN)) {
            for region in regions {
                let (start, value) = (first(&region) * bytes, self.take(value, &region)?);
                let own = shape_of(&region);
                let part = self.cells.get(&(w, start)).cloned().unwrap_or_else(|| cell.part(own));
                self.new.writes.push(Write { cell: part, value });
                writes.push((w, Some(start as u64..(start + own.numel() * bytes) as u64)));
            }
            return Ok(());
        }
        let rows = (self.most - STEP) / STEP * STEP;
        for start in (0..cell.shape.numel()).step_by(rows.max(STEP)) {
            let end = cell.shape.numel().min(start + rows.max(STEP));
            let flat = self.flat(value, start..end)?;
            self.new.writes.push(Write { cell: cell.part(Shape::of(&[end - start])), value: flat });
            writes.push((w, Some((start * bytes) as u64..(end * bytes) as u64)));
        }
        Ok(())
    }
}
