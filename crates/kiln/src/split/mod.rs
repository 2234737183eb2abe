//! Tensors larger than one binding, as lists of smaller ones. A kernel sees at most so many bytes of a buffer at once;
//! so before anything is fused, a graph with a larger tensor is written anew: each such tensor becomes parts along its
//! rows, each operation on it one operation per part. What comes after never meets a large tensor. A graph without one
//! is not touched.
//!
//! A *region* is a range of each axis. [`Splitter::take`] gives the node that holds a region of an old node, put
//! together of the parts that it lies in; `rules.rs` says how each operation makes a region of its result out of regions
//! of its operands, `views.rs` how a region is seen through a view.

mod heavy;
mod rules;
mod views;

use crate::error::{Error, List, Result};
use crate::graph::{Graph, GraphNode, Role, Write, content};
use crate::layout::ViewOp;
use crate::node::{Op, Value};
use crate::{DType, Shape};
use std::collections::HashMap;
use std::ops::Range;

/// A range of each axis.
type Region = Vec<Range<usize>>;

/// Bytes at whose multiples a part of a buffer may be bound, on every device.
const ALIGN: u64 = 256;

/// Elements of any type that are whole multiples of [`ALIGN`] bytes.
const STEP: usize = 128;

/// Inputs that a concatenation reads at once, so that it never needs more bindings than there are.
const WIDEST: usize = 4;

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

/// The region that is all of a tensor.
fn whole(shape: &Shape) -> Region {
    shape.iter().map(|&d| 0..d).collect()
}

fn shape_of(region: &[Range<usize>]) -> Shape {
    Shape::of(&region.iter().map(ExactSizeIterator::len).collect::<Vec<_>>())
}

fn count(region: &[Range<usize>]) -> usize {
    region.iter().map(ExactSizeIterator::len).product()
}

/// The region of an operand of `shape` that broadcasts to a result of which `region` is wanted.
fn project(shape: &Shape, region: &[Range<usize>]) -> Region {
    let skip = region.len() - shape.rank();
    shape.iter().zip(&region[skip..]).map(|(&d, r)| if d == 1 { 0..1 } else { r.clone() }).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
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
        // large cells are read where they are replaced, though nothing may read them
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
        let touched = inputs.iter().any(|&j| self.large(j) || self.parts.contains_key(&j));
        if !self.large(i) && !touched {
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

    fn push(&mut self, node: GraphNode) -> u32 {
        self.new.nodes.push(node);
        self.from.push(self.at);
        self.new.nodes.len() as u32 - 1
    }

    /// A new node that belongs to the old one that is being written anew.
    fn make(&mut self, op: Op, inputs: Vec<u32>, shape: Shape, dtype: DType) -> u32 {
        let model = &self.old.nodes[self.at as usize].tensor;
        let tensor = model.twin(&model.0.device, op, shape, dtype, Value::Pending);
        self.push(GraphNode { tensor, inputs: inputs.into(), role: Role::Compute })
    }

    fn view(&mut self, of: u32, view: ViewOp, shape: Shape) -> u32 {
        let dtype = self.new.dtype(of);
        self.make(Op::View(view), vec![of], shape, dtype)
    }

    fn reshape(&mut self, of: u32, shape: Shape) -> u32 {
        if self.new.shape(of) == shape { of } else { self.view(of, ViewOp::Reshape(shape), shape) }
    }

    /// A region of a new node, whose own region starts at `start`.
    fn slice(&mut self, mut of: u32, start: &[usize], region: &[Range<usize>]) -> u32 {
        for (axis, range) in region.iter().enumerate() {
            let shape = self.new.shape(of);
            if shape[axis] != range.len() {
                let (from, len) = (range.start - start[axis], range.len());
                of = self.view(of, ViewOp::Slice { axis, start: from, step: 1, len }, shape.with(axis, len));
            }
        }
        of
    }

    fn concat(&mut self, axis: usize, mut nodes: Vec<u32>) -> u32 {
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
    fn expression(&mut self, of: u32) -> u32 {
        let (shape, dtype) = (self.new.shape(of), self.new.dtype(of));
        self.make(Op::Detach, vec![of], shape, dtype)
    }

    /// A region of an old node.
    fn take(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
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
    fn assemble(&mut self, i: u32, region: &[Range<usize>]) -> u32 {
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
    fn join(&mut self, pieces: Vec<(Region, u32)>) -> u32 {
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

    /// The regions of a tensor along its rows, each small enough for a binding, and at [`ALIGN`] where that is possible.
    fn chop(&self, dims: &[usize]) -> Vec<Region> {
        let cap = self.most.saturating_sub(STEP).max(1);
        let inner = |axis: usize| dims[axis + 1..].iter().product::<usize>();
        let Some(axis) = (0..dims.len()).find(|&a| inner(a) <= cap) else { return vec![Vec::new()] };
        let step = STEP / gcd(inner(axis).max(1), STEP);
        let mut rows = (cap / inner(axis).max(1)).max(1);
        if rows >= step {
            rows -= rows % step;
        }
        let mut regions = Vec::new();
        for prefix in 0..dims[..axis].iter().product::<usize>() {
            let (mut rest, mut region) = (prefix, vec![0..0; dims.len()]);
            for a in (0..axis).rev() {
                region[a] = rest % dims[a]..rest % dims[a] + 1;
                rest /= dims[a];
            }
            (axis + 1..dims.len()).for_each(|a| region[a] = 0..dims[a]);
            for start in (0..dims[axis]).step_by(rows) {
                region[axis] = start..dims[axis].min(start + rows);
                regions.push(region.clone());
            }
        }
        regions
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

    /// A leaf in parts of its buffer.
    fn leaf(&mut self, i: u32) {
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
    fn root(&mut self, i: u32) -> Result<Vec<u32>> {
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
    fn write(&mut self, w: usize, writes: &mut Vec<(usize, Option<Range<u64>>)>) -> Result<()> {
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
