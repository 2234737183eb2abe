//! Matrix products, convolutions and pooling.

use super::{Lowerer, Lowers};
use crate::DType;
use crate::emit::{Axis, Kernel, Operand, Refusal};
use crate::fuse::Group;
use crate::graph::Role;
use crate::layout::Layout;
use crate::node::Op;
use crate::ops::conv::ConvSpec;
use crate::ops::pool::{Divide, Window};
use kiln_device::Launch;
use kiln_device::kernels::{Kind, Scalar, conv, matmul, pool, reduce};

impl<'a> Lowerer<'a> {
    pub(super) fn matmul(&mut self, node: u32, group: &Group) -> Lowers {
        let graph = self.graph;
        let own = graph.shape(node);
        let (a, b) = (graph.inputs(node)[0], graph.inputs(node)[1]);
        let batch: Vec<usize> = own[..own.rank() - 2].to_vec();
        let (m, n, k) = (own.extent_from_end(2), own.extent_from_end(1), graph.shape(a).extent_from_end(1));
        if k == 0 {
            return self.fill(node, group, 0.0);
        }
        let layout = |x: u32| {
            let (base, chain) = self.choice.resolve(graph, x);
            Layout::contiguous(&graph.shape(base)).after(&chain).filter(Layout::is_strided).ok_or(Refusal::Store(x))
        };
        let (la, lb) = (layout(a)?, layout(b)?);
        let Some(merged) = merge_batches(&batch, &la, &lb) else {
            // one of the operands is copied; the one with more axes that do not merge
            return Err(Refusal::Store(if la.is_linear() { b } else { a }).into());
        };
        let rank = own.rank();
        let strides = |l: &Layout, batch: [usize; 2]| matmul::Strides {
            offset: l.offset as u32,
            batch: batch.map(|s| s as u32),
            row: l.strides[rank - 2] as u32,
            col: l.strides[rank - 1] as u32,
        };
        let elem = |x: u32| if graph.dtype(x) == DType::F16 { matmul::Elem::F16 } else { matmul::Elem::F32 };
        let mut p = matmul::Problem::new(
            merged.dims.map(|d| d as u32),
            m as u32,
            n as u32,
            k as u32,
            strides(&la, merged.a),
            strides(&lb, merged.b),
        );
        (p.a_elem, p.b_elem) = (elem(a), elem(b));
        p.precision = self.gpu.matmul_precision();
        let variant = matmul::pick(self.gpu, &p);
        let launch = matmul::launch_with(self.caps, &p, &variant)?;
        let fixed = vec![("a".to_string(), self.operand(a)), ("b".to_string(), self.operand(b))];
        let mut kernel = self.kernel(group);
        if variant.split == 1 {
            let axes = vec![Axis::new("batch", &batch), Axis::new("row", &[m]), Axis::new("col", &[n])];
            let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
            let label = self.label(group, &kernel);
            self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
            return Ok(());
        }
        self.push_split(node, group, kernel, launch, fixed, variant.split)
    }

    /// A product whose sums are cut into `split` parts, and the kernel that adds them up, with the output slot.
    fn push_split(
        &mut self,
        node: u32,
        group: &Group,
        kernel: Kernel<'a>,
        launch: Launch,
        mut fixed: Vec<(String, Operand)>,
        split: u32,
    ) -> Lowers {
        let own = self.graph.shape(node);
        let inner = own.numel() as u32;
        let part = self.scratch(node, 0, u64::from(split) * u64::from(inner) * 4);
        fixed.push(("out".into(), part));
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[], label, fixed, Vec::new());
        let p = reduce::Cols { kind: Kind::Sum, ty: Scalar::F32, outer: 1, rows: split, inner, width: 1, chunks: 1 };
        self.finish_columns(node, group, part, p, [vec![], own.to_vec()])
    }

    pub(super) fn conv(&mut self, node: u32, group: &Group, spec: &ConvSpec) -> Lowers {
        let graph = self.graph;
        let inputs = graph.inputs(node);
        if inputs.iter().any(|&i| graph.role(i) == Role::Empty) {
            return self.fill(node, group, 0.0);
        }
        let (direction, names) = match graph.op(node) {
            Op::Conv(_) => (conv::Direction::Forward, ["x", "w"]),
            Op::ConvInput(_) => (conv::Direction::Input, ["dy", "w"]),
            _ => (conv::Direction::Weight, ["x", "dy"]),
        };
        if direction != conv::Direction::Weight && spec.is_product() {
            return self.conv_as_product(node, group, spec, direction);
        }
        let three = |d: [usize; 3]| d.map(|v| v as u32);
        let p = conv::Problem {
            direction,
            elem: if graph.dtype(inputs[0]) == DType::F16 { conv::Elem::F16 } else { conv::Elem::F32 },
            n: spec.batch as u32,
            c_in: spec.inputs as u32,
            c_out: spec.outputs as u32,
            groups: spec.groups as u32,
            input: three(spec.input),
            output: three(spec.output),
            kernel: three(spec.kernel),
            stride: three(spec.stride),
            padding: three(spec.padding),
            dilation: three(spec.dilation),
        };
        let fixed = names.iter().zip(inputs).map(|(name, &i)| (name.to_string(), self.operand(i))).collect();
        let variant = conv::pick(self.gpu, &p)?;
        let launch = conv::launch_with(self.caps, &p, &variant)?;
        let mut kernel = self.kernel(group);
        if variant.split > 1 {
            return self.push_split(node, group, kernel, launch, fixed, variant.split);
        }
        let own = graph.shape(node);
        let axes = match direction {
            conv::Direction::Weight => [Axis::new("s", &[1]), Axis::new("c", &own[..1]), Axis::new("q", &own[1..])],
            _ => [Axis::new("n", &own[..1]), Axis::new("c", &own[1..2]), Axis::new("p", &own[2..])],
        };
        let store = self.store_slot(&mut kernel, group, axes.into(), launch.width, launch.width)?;
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
        Ok(())
    }

    /// Windows of one element: y[n] = W x[n], dx[n] = Wᵀ dy[n], with an image for a batch and its positions for columns.
    fn conv_as_product(&mut self, node: u32, group: &Group, spec: &ConvSpec, direction: conv::Direction) -> Lowers {
        let graph = self.graph;
        let own = graph.shape(node);
        let (image, weight) = (graph.inputs(node)[0], graph.inputs(node)[1]);
        let [inputs, outputs, area] =
            [spec.inputs, spec.outputs, spec.input.iter().product::<usize>()].map(|n| n as u32);
        // W is [outputs, inputs]
        let (m, k, row, col) = match direction {
            conv::Direction::Input => (inputs, outputs, 1, inputs),
            _ => (outputs, inputs, inputs, 1),
        };
        let a = matmul::Strides { offset: 0, batch: [0, 0], row, col };
        let b = matmul::Strides { offset: 0, batch: [0, k * area], row: area, col: 1 };
        let elem = if graph.dtype(image) == DType::F16 { matmul::Elem::F16 } else { matmul::Elem::F32 };
        let mut p = matmul::Problem::new([1, spec.batch as u32], m, area, k, a, b);
        (p.a_elem, p.b_elem) = (elem, elem);
        let variant = matmul::pick(self.gpu, &p);
        let launch = matmul::launch_with(self.caps, &p, &variant)?;
        let fixed = vec![("a".to_string(), self.operand(weight)), ("b".to_string(), self.operand(image))];
        let mut kernel = self.kernel(group);
        if variant.split > 1 {
            return self.push_split(node, group, kernel, launch, fixed, variant.split);
        }
        let axes = vec![Axis::new("batch", &own[..1]), Axis::new("row", &own[1..2]), Axis::new("col", &own[2..])];
        let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
        Ok(())
    }

    pub(super) fn pool(&mut self, node: u32, group: &Group, window: &Window) -> Lowers {
        let graph = self.graph;
        let three = |d: [usize; 3]| d.map(|v| v as u32);
        let p = pool::Problem {
            planes: window.planes as u32,
            input: three(window.input),
            output: three(window.output),
            kernel: three(window.kernel),
            stride: three(window.stride),
            padding: three(window.padding),
            dilation: three(window.dilation),
            adaptive: window.adaptive,
        };
        if graph.inputs(node).iter().any(|&i| graph.role(i) == Role::Empty) {
            return self.fill(node, group, 0.0);
        }
        let divisor = match window.divide {
            Divide::WithPadding => pool::Divisor::WithPadding,
            Divide::WithoutPadding => pool::Divisor::WithoutPadding,
            Divide::By(n) => pool::Divisor::Fixed(n as u32),
        };
        let operand = |i: usize| self.operand(graph.inputs(node)[i]);
        let (launch, fixed) = match graph.op(node) {
            Op::MaxPool(_) => (pool::max(self.caps, &p)?, vec![("x", operand(0)), ("index", Operand::Second(node))]),
            Op::MaxPoolGrad(_) => (pool::max_grad(self.caps, &p)?, vec![("index", operand(0)), ("dy", operand(1))]),
            Op::AvgPool(_) => (pool::avg(self.caps, &p, divisor)?, vec![("x", operand(0))]),
            _ => (pool::avg_grad(self.caps, &p, divisor)?, vec![("dy", operand(0))]),
        };
        let own = graph.shape(node);
        // planes are the leading axes, however many there are
        let area: usize = if matches!(graph.op(node), Op::MaxPool(_) | Op::AvgPool(_)) {
            window.output.iter().product()
        } else {
            window.input.iter().product()
        };
        let mut split = own.rank();
        while split > 0 && own[split..].iter().product::<usize>() < area {
            split -= 1;
        }
        while own[split..].iter().product::<usize>() > area {
            split += 1;
        }
        let mut kernel = self.kernel(group);
        let axes = vec![Axis::new("nc", &own[..split]), Axis::new("p", &own[split..])];
        let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
        let label = self.label(group, &kernel);
        let fixed = fixed.into_iter().map(|(name, o)| (name.to_string(), o)).collect();
        self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
        Ok(())
    }
}

/// The batch axes of a product as two, with the strides of both operands.
struct Batches {
    dims: [usize; 2],
    a: [usize; 2],
    b: [usize; 2],
}

fn merge_batches(batch: &[usize], a: &Layout, b: &Layout) -> Option<Batches> {
    let mut runs: Vec<(usize, isize, isize)> = Vec::new();
    for (axis, &extent) in batch.iter().enumerate() {
        if extent == 1 {
            continue;
        }
        let (sa, sb) = (a.strides[axis], b.strides[axis]);
        match runs.last_mut() {
            Some(run) if run.1 == sa * extent as isize && run.2 == sb * extent as isize => {
                *run = (run.0 * extent, sa, sb)
            }
            _ => runs.push((extent, sa, sb)),
        }
    }
    if runs.len() > 2 {
        return None;
    }
    while runs.len() < 2 {
        runs.insert(0, (1, 0, 0));
    }
    let at = |i: usize| (runs[i].0, runs[i].1 as usize, runs[i].2 as usize);
    Some(Batches { dims: [at(0).0, at(1).0], a: [at(0).1, at(1).1], b: [at(0).2, at(1).2] })
}
