//! Reductions: by rows or by columns, in parts where they are long.

use super::{Lowerer, Lowers, Stop, product, scalar};
use crate::Shape;
use crate::emit::{Axis, Kernel, Operand, Refusal};
use crate::fuse::Group;
use crate::layout::ViewOp;
use crate::node::{Op, Reduction};
use kiln_device::kernels::{Kind, lanes, reduce, softmax};

impl<'a> Lowerer<'a> {
    pub(super) fn reduce(&mut self, node: u32, group: &Group, kind: Reduction, mask: u8) -> Lowers {
        let graph = self.graph;
        let x = graph.inputs(node)[0];
        let own = graph.shape(x);
        let reduced = |a: &usize| mask & (1 << a) != 0;
        if own.numel() == 0 {
            return self.fill(node, group, crate::ops::reduce::identity(kind));
        }
        let gone: Vec<usize> = (0..own.rank()).filter(reduced).collect();
        let kept: Vec<usize> = (0..own.rank()).filter(|a| !reduced(a)).collect();
        let last_reduced = gone.iter().copied().filter(|&a| own[a] > 1).max();
        let inner: Vec<usize> = kept.iter().copied().filter(|&a| last_reduced.is_some_and(|l| a > l)).collect();
        let by_columns = product(&inner.iter().map(|&a| own[a]).collect::<Vec<_>>()) > 1;
        let simple = kind.of_itself();
        if by_columns && simple {
            let outer: Vec<usize> = kept.iter().copied().filter(|a| !inner.contains(a)).collect();
            return self.reduce_columns(node, group, [outer, gone, inner]);
        }
        self.reduce_rows(node, group, kept, gone, kind)
    }

    pub(super) fn order(own: &Shape, order: &[usize]) -> (Vec<ViewOp>, Vec<usize>) {
        let straight = order.iter().enumerate().all(|(i, &a)| i == a);
        let chain = if straight { vec![] } else { vec![ViewOp::Permute(order.iter().map(|&a| a as u8).collect())] };
        (chain, order.iter().map(|&a| own[a]).collect())
    }

    pub(super) fn reduce_columns(&mut self, node: u32, group: &Group, [outer, gone, inner]: [Vec<usize>; 3]) -> Lowers {
        let graph = self.graph;
        let Op::Reduce(kind, _) = graph.op(node) else { return Ok(()) };
        let x = graph.inputs(node)[0];
        let own = graph.shape(x);
        let order: Vec<usize> = outer.iter().chain(&gone).chain(&inner).copied().collect();
        let (chain, dims) = Self::order(&own, &order);
        let (a, b) = (outer.len(), outer.len() + gone.len());
        let [d0, d1, d2] = [&dims[..a], &dims[a..b], &dims[b..]];
        let ty = scalar(graph.dtype(node));
        let mut kernel = self.kernel(group);
        let axes = vec![Axis::new("outer", d0), Axis::new("row", d1), Axis::new("inner", d2)];
        let (load, width) = kernel.slot(axes, None)?.load_wide(x, &chain)?;
        let chunks = reduce::col_chunks(self.caps, product(d0), product(d1), product(d2), width);
        let p = reduce::Cols {
            kind: kind_of(*kind),
            ty,
            outer: product(d0),
            rows: product(d1),
            inner: product(d2),
            width,
            chunks,
        };
        let launch = reduce::cols(self.caps, &p)?;
        let label = self.label(group, &kernel);
        let out = [d0, d2].map(|d| d.to_vec());
        if chunks == 1 {
            let store = self.store_slot(
                &mut kernel,
                group,
                vec![Axis::new("outer", d0), Axis::new("inner", d2)],
                width,
                width,
            )?;
            let label = self.label(group, &kernel);
            self.push(kernel, launch, &[("load", load), ("store", store)], label, Vec::new(), Vec::new());
            return Ok(());
        }
        let part = self.scratch(node, 0, u64::from(p.outer) * u64::from(chunks) * u64::from(p.inner) * 4);
        self.push(kernel, launch, &[("load", load)], label, vec![("out".into(), part)], Vec::new());
        self.finish_columns(node, group, part, reduce::Cols { rows: chunks, chunks: 1, ..p }, out)
    }

    /// The second half of a sum in parts: [outer, parts, inner] → [outer, inner], with the output slot.
    pub(super) fn finish_columns(
        &mut self,
        _node: u32,
        group: &Group,
        part: Operand,
        p: reduce::Cols,
        [d0, d2]: [Vec<usize>; 2],
    ) -> Lowers {
        let axes = || vec![Axis::new("outer", &d0), Axis::new("inner", &d2)];
        let widths: &[u32] = if p.inner.is_multiple_of(4) { &[4, 1] } else { &[1] };
        let mut refused = Stop::Refused(Refusal::Slot);
        for &width in widths {
            let mut kernel = self.kernel(group);
            match self.store_slot(&mut kernel, group, axes(), width, width) {
                Ok(store) => {
                    let launch = reduce::cols(self.caps, &reduce::Cols { width, ..p })?;
                    let label = self.label(group, &kernel);
                    self.push(kernel, launch, &[("store", store)], label, vec![("x".into(), part)], Vec::new());
                    return Ok(());
                }
                Err(stop) => refused = stop,
            }
        }
        Err(refused)
    }

    pub(super) fn reduce_rows(
        &mut self,
        node: u32,
        group: &Group,
        kept: Vec<usize>,
        gone: Vec<usize>,
        kind: Reduction,
    ) -> Lowers {
        let graph = self.graph;
        let x = graph.inputs(node)[0];
        let own = graph.shape(x);
        let order: Vec<usize> = kept.iter().chain(&gone).copied().collect();
        let (chain, dims) = Self::order(&own, &order);
        let (outer, inner) = dims.split_at(kept.len());
        let (rows, cols) = (product(outer), product(inner));
        let ty = scalar(graph.dtype(x));
        let mut kernel = self.kernel(group);
        let axes = vec![Axis::new("row", outer), Axis::new("col", inner)];
        let arg = matches!(kind, Reduction::ArgMax | Reduction::ArgMin);
        let slot = kernel.slot(axes, None)?;
        let (load, width) = if arg { (slot.load(x, &chain, 1)?, 1) } else { slot.load_wide(x, &chain)? };
        let launch = match kind {
            Reduction::ArgMax | Reduction::ArgMin => {
                let p = reduce::Arg { max: kind == Reduction::ArgMax, ty, rows, cols };
                reduce::arg_rows_with(self.caps, &p, &lanes::pick(self.gpu, "reduce", &p.walk()))?
            }
            Reduction::LogSumExp => {
                let p = softmax::LogSumExp { rows, cols, width };
                softmax::logsumexp_with(self.caps, &p, &lanes::pick(self.gpu, "softmax", &p.walk()))?
            }
            _ => {
                let chunks = reduce::row_chunks(self.caps, rows, cols);
                let p = reduce::Rows { kind: kind_of(kind), ty, rows, cols, width, chunks };
                if chunks > 1 {
                    return self.reduce_in_parts(node, group, kernel, load, p, outer);
                }
                reduce::rows_with(self.caps, &p, &lanes::pick(self.gpu, "reduce", &p.walk()))?
            }
        };
        let store = self.store_slot(&mut kernel, group, vec![Axis::new("row", outer)], width, 1)?;
        let store = if arg { store.replace("I(v)", "I(index)").replace("= v;", "= index;") } else { store };
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("load", load), ("store", store)], label, Vec::new(), Vec::new());
        Ok(())
    }

    pub(super) fn reduce_in_parts(
        &mut self,
        node: u32,
        group: &Group,
        kernel: Kernel<'a>,
        load: String,
        p: reduce::Rows,
        outer: &[usize],
    ) -> Lowers {
        let part = self.scratch(node, 0, u64::from(p.rows) * u64::from(p.chunks) * 4);
        let label = self.label(group, &kernel);
        self.push(
            kernel,
            reduce::rows_with(self.caps, &p, &lanes::pick(self.gpu, "reduce", &p.walk()))?,
            &[("load", load)],
            label,
            vec![("out".into(), part)],
            Vec::new(),
        );
        let mut kernel = self.kernel(group);
        let rest = reduce::Rows { cols: p.chunks, width: 1, chunks: 1, ..p };
        let launch = reduce::rows_with(self.caps, &rest, &lanes::pick(self.gpu, "reduce", &rest.walk()))?;
        let store = self.store_slot(&mut kernel, group, vec![Axis::new("row", outer)], 1, 1)?;
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("store", store)], label, vec![("x".into(), part)], Vec::new());
        Ok(())
    }
}

fn kind_of(kind: Reduction) -> Kind {
    match kind {
        Reduction::Prod => Kind::Prod,
        Reduction::Max | Reduction::Amax => Kind::Max,
        Reduction::Min | Reduction::Amin => Kind::Min,
        _ => Kind::Sum,
    }
}
