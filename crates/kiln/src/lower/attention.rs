//! Attention and its gradients.

use super::{Lowerer, Lowers, product};
use crate::DType;
use crate::emit::{Axis, Operand, Refusal, Word};
use crate::fuse::Group;
use crate::layout::Layout;
use crate::node::Op;
use crate::ops::attention::Attends;
use kiln_device::kernels::attention::{self, Mask, MaskKind, Part, Place, Problem};
use kiln_device::kernels::matmul::Elem;

impl Lowerer<'_> {
    /// Attention, or one of its gradients. Operands are read where they lie if their rows do.
    pub(super) fn attention(&mut self, node: u32, group: &Group, how: Attends) -> Lowers {
        let graph = self.graph;
        let inputs = graph.inputs(node).to_vec();
        let (q, v) = (graph.shape(inputs[0]), graph.shape(inputs[2]));
        let rank = q.rank();
        let elem = |x: u32| if graph.dtype(x) == DType::F16 { Elem::F16 } else { Elem::F32 };
        // the names of the operands after q, k, v and scale, and of the second result
        let (part, mut names, second) = match graph.op(node) {
            Op::Attention(_) => (Part::Forward, vec![], "lse"),
            Op::AttentionQuery(_) => (Part::Query, vec!["y", "dy", "lse"], "norms"),
            _ => (Part::Keys, vec!["dy", "norms"], "dv"),
        };
        let mut mask = None;
        let masked = how.mask(&inputs, 4 + names.len());
        names.extend(how.dropout.then_some("draw"));
        if let Some(&at) = masked {
            let (place, col) = self.rows_of(at, false)?;
            let kind = if graph.dtype(at) == DType::Bool { MaskKind::Bool } else { MaskKind::Add(elem(at)) };
            mask = Some(Mask { kind, place, col });
            names.push("mask");
        }
        let place = |x: u32| self.rows_of(x, true).map(|(place, _)| place);
        let p = Problem {
            batch: product(&q[..rank - 3]),
            heads: q[rank - 3] as u32,
            kv_heads: v[rank - 3] as u32,
            length: q[rank - 2] as u32,
            keys: v[rank - 2] as u32,
            e: q[rank - 1] as u32,
            ev: v[rank - 1] as u32,
            causal: how.causal,
            scale: 0.0, // comes when the plan runs
            elem: elem(inputs[0]),
            q: place(inputs[0])?,
            k: place(inputs[1])?,
            v: place(inputs[2])?,
            mask,
            dropout: how.dropout,
        };
        let launch = attention::launch_with(self.caps, &p, part, attention::pick(self.gpu, &p, part))?;
        let operands = ["q", "k", "v"].into_iter().zip(&inputs).chain(names.into_iter().zip(&inputs[4..]));
        let mut fixed: Vec<(String, Operand)> =
            operands.map(|(name, &input)| (name.to_string(), self.operand(input))).collect();
        fixed.push((second.to_string(), Operand::Second(node)));
        let own = graph.shape(node);
        let axes = vec![
            Axis::new("batch", &own[..rank - 3]),
            Axis::new("row", &own[rank - 3..rank - 2]),
            Axis::new("head", &own[rank - 2..rank - 1]),
            Axis::new("col", &own[rank - 1..]),
        ];
        let mut kernel = self.kernel(group);
        // the kernel's own numbers are always of four
        let store = self.store_slot(&mut kernel, group, axes, 4, launch.width)?;
        let label = self.label(group, &kernel);
        let scale = vec![(0, Word::Scalar(inputs[3]))];
        self.push(kernel, launch, &[("store", store)], label, fixed, scale);
        Ok(())
    }

    /// Where the rows of [.., heads, rows, columns] lie, and the stride of a column: 1 if they are to be `whole`.
    fn rows_of(&self, x: u32, whole: bool) -> Lowers<(Place, u32)> {
        let graph = self.graph;
        let (base, chain) = self.choice.resolve(graph, x);
        let layout = Layout::contiguous(&graph.shape(base)).after(&chain).filter(Layout::is_strided);
        let layout = layout.ok_or(Refusal::Store(x))?;
        let rank = layout.dims.len();
        let mut batch = 0;
        let mut extent = 1;
        for axis in (0..rank - 3).rev().filter(|&a| layout.dims[a] > 1) {
            if extent == 1 {
                batch = layout.strides[axis];
            } else if layout.strides[axis] != batch * extent as isize {
                return Err(Refusal::Store(x).into());
            }
            extent *= layout.dims[axis];
        }
        let stride = |back: usize| {
            let axis = rank - back;
            if layout.dims[axis] == 1 { 0 } else { layout.strides[axis] as u32 }
        };
        if whole && stride(1) != 1 && layout.dims[rank - 1] > 1 {
            return Err(Refusal::Store(x).into());
        }
        let place = Place { offset: layout.offset as u32, batch: batch as u32, head: stride(3), row: stride(2) };
        Ok((place, stride(1)))
    }
}
