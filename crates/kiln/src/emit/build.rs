//! From nodes to instructions: what each element of the space is made of, and where its operands lie.

use super::{Inst, Operand, Refusal, Slot};
use crate::graph::Role;
use crate::layout::{Layout, ViewOp};
use crate::node::Op;
use crate::{DType, Shape};

impl Slot<'_, '_> {
    /// The instruction that gives `node` seen through `chain`, which leads to the space.
    pub(crate) fn value(&mut self, node: u32, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let shape = self.kernel.graph.shape(node);
        let straight = || Layout::contiguous(&shape).after(chain).is_some_and(|l| l.is_linear());
        let chain = if !chain.is_empty() && shape.numel() == self.space.numel() && straight() { &[] } else { chain };
        let key = (node, chain.to_vec());
        if let Some(&at) = self.memo.get(&key) {
            return Ok(at);
        }
        let at = self.build(node, chain)?;
        let computed = matches!(self.insts[at].0, Inst::Primary | Inst::Apply { .. } | Inst::Concat(_));
        let seen = self.stores.contains(&node) || matches!(self.kernel.graph.op(node), Op::Cast);
        if computed && seen && self.insts[at].1 == DType::F16 && !self.halves.contains(&at) {
            self.halves.push(at);
        }
        self.memo.insert(key, at);
        Ok(at)
    }

    pub(super) fn push(&mut self, inst: Inst, dtype: DType) -> usize {
        self.insts.push((inst, dtype));
        self.insts.len() - 1
    }

    pub(super) fn build(&mut self, node: u32, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let graph = self.kernel.graph;
        let (dtype, shape) = (graph.dtype(node), graph.shape(node));
        if self.primary.is_some_and(|(primary, _)| primary == node) {
            let layout = self.layout(&shape, chain)?;
            return if layout.is_linear() { Ok(self.push(Inst::Primary, dtype)) } else { Err(Refusal::Slot) };
        }
        if graph.role(node) == Role::Empty {
            return Ok(self.push(Inst::Const(0), dtype)); // only what a pad puts around it is ever seen
        }
        if let (Op::Second, Role::Compute) = (graph.op(node), graph.role(node)) {
            let layout = self.layout(&shape, chain)?;
            let from = Operand::Second(graph.inputs(node)[0]);
            return Ok(self.push(Inst::Load { from, dtype, layout }, dtype));
        }
        let here = self.kernel.members.contains(&node);
        if graph.role(node) == Role::Leaf || (self.kernel.choice.stored(node) && !here) {
            let layout = self.layout(&shape, chain)?;
            return Ok(self.push(Inst::Load { from: Operand::Node(node), dtype, layout }, dtype));
        }
        if graph.role(node) == Role::Scalar {
            let value = self.push(Inst::Scalar(node), dtype);
            return self.mask(node, value, chain);
        }
        match graph.op(node) {
            Op::View(view) => {
                let mut longer = vec![view.clone()];
                longer.extend_from_slice(chain);
                let input = graph.inputs(node)[0];
                self.value(input, &longer).map_err(|refusal| match refusal {
                    Refusal::Fold(back) if back == longer.len() => Refusal::Store(input),
                    other => other,
                })
            }
            Op::Const(bits) => {
                let value = self.push(Inst::Const(*bits), dtype);
                self.mask(node, value, chain)
            }
            Op::Iota => {
                let layout = self.layout(&shape, chain)?;
                let value = self.push(Inst::Iota(layout), dtype);
                self.mask(node, value, chain)
            }
            // an expression under a pad is not zero where its operands are
            _ if chain.iter().any(|v| matches!(v, ViewOp::Pad(_))) => Err(Refusal::Store(node)),
            Op::Random(kind) => {
                let layout = self.layout(&shape, chain)?;
                let mut key = [0; 3];
                for (slot, &input) in key.iter_mut().zip(graph.inputs(node)) {
                    *slot = self.value(input, &self.whole(input))?;
                }
                Ok(self.push(Inst::Random { kind: *kind, layout, key }, dtype))
            }
            Op::Gather(axis) => self.gather(node, *axis, chain),
            Op::Concat(axis) => self.concat(node, *axis, chain),
            Op::Detach => self.value(graph.inputs(node)[0], chain),
            _ => {
                let mut args = Vec::new();
                for &input in graph.inputs(node) {
                    args.push(self.value(input, &self.spread(input, &shape, chain))?);
                }
                self.kernel.ops.push(graph.op(node).name());
                Ok(self.push(Inst::Apply { node, args }, dtype))
            }
        }
    }

    /// The chain of an input that broadcasts to `shape`, seen through `chain`.
    pub(super) fn spread(&self, input: u32, shape: &Shape, chain: &[ViewOp]) -> Vec<ViewOp> {
        let mut longer = Vec::new();
        if self.kernel.graph.shape(input) != *shape {
            longer.push(ViewOp::Broadcast(*shape));
        }
        longer.extend_from_slice(chain);
        longer
    }

    /// The chain of a single number that every element of the space sees.
    pub(super) fn whole(&self, input: u32) -> Vec<ViewOp> {
        if self.kernel.graph.shape(input) == self.space { vec![] } else { vec![ViewOp::Broadcast(self.space)] }
    }

    /// Where the elements of `node` lie, over the space.
    pub(super) fn layout(&self, shape: &Shape, chain: &[ViewOp]) -> Result<Layout, Refusal> {
        self.follow(Layout::contiguous(shape), chain)
    }

    pub(super) fn follow(&self, mut layout: Layout, chain: &[ViewOp]) -> Result<Layout, Refusal> {
        for (i, view) in chain.iter().enumerate() {
            layout = layout.apply(view).ok_or(Refusal::Fold(chain.len() - i))?;
        }
        if layout.dims[..] != self.space[..] {
            layout = layout.apply(&ViewOp::Reshape(self.space)).ok_or(Refusal::Slot)?;
        }
        Ok(layout)
    }

    /// A value without memory is zero where a pad says so.
    pub(super) fn mask(&mut self, node: u32, value: usize, chain: &[ViewOp]) -> Result<usize, Refusal> {
        if !chain.iter().any(|v| matches!(v, ViewOp::Pad(_))) {
            return Ok(value);
        }
        let shape = self.kernel.graph.shape(node);
        let layout = self.layout(&shape, chain)?;
        let dtype = self.insts[value].1;
        Ok(if layout.masked() { self.push(Inst::Masked { value, layout }, dtype) } else { value })
    }

    pub(super) fn gather(&mut self, node: u32, axis: usize, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let graph = self.kernel.graph;
        let (x, index) = (graph.inputs(node)[0], graph.inputs(node)[1]);
        let (dtype, shape) = (graph.dtype(node), graph.shape(node));
        let (base, views) = self.kernel.choice.resolve(graph, x);
        let counting =
            matches!(graph.op(base), Op::Iota) && graph.role(base) == Role::Compute && !self.kernel.choice.stored(base);
        if counting && views.is_empty() {
            let extent = graph.shape(base)[axis];
            let index = self.value(index, &self.spread(index, &shape, chain))?;
            return Ok(self.push(Inst::Check { node, extent, index }, dtype));
        }
        let memory = graph.role(base) == Role::Leaf || self.kernel.choice.stored(base);
        if !memory || self.kernel.members.contains(&base) || self.primary.is_some_and(|(p, _)| p == base) {
            return Err(if memory { Refusal::Slot } else { Refusal::Store(x) });
        }
        let table =
            Layout::contiguous(&graph.shape(base)).after(&views).filter(|l| !l.masked()).ok_or(Refusal::Store(x))?;
        let (stride, extent) = (table.strides[axis], table.dims[axis]);
        let mut over = table;
        over.strides[axis] = 0;
        over.dims[axis] = shape[axis];
        over.valid[axis] = (0, shape[axis]);
        let layout = self.follow(over, chain)?;
        let index = self.value(index, &self.spread(index, &shape, chain))?;
        let from = if graph.role(base) == Role::Compute && matches!(graph.op(base), Op::Second) {
            Operand::Second(graph.inputs(base)[0])
        } else {
            Operand::Node(base)
        };
        self.kernel.ops.push("gather");
        Ok(self.push(Inst::Gather { node, from, dtype, layout, stride, extent, index }, dtype))
    }

    pub(super) fn concat(&mut self, node: u32, axis: usize, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let graph = self.kernel.graph;
        let shape = graph.shape(node);
        let (mut from, mut parts) = (0, Vec::new());
        for &input in graph.inputs(node) {
            let len = graph.shape(input)[axis];
            if len > 0 {
                let mut sides = vec![(0, 0); shape.rank()];
                sides[axis] = (from, shape[axis] - from - len);
                let mut longer = vec![ViewOp::Pad(sides)];
                longer.extend_from_slice(chain);
                parts.push(self.value(input, &longer)?);
            }
            from += len;
        }
        self.kernel.ops.push("cat");
        Ok(self.push(Inst::Concat(parts), graph.dtype(node)))
    }
}
