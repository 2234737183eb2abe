//! Kernels over the rows of the last axis: softmax and norms, scans, sorts, segmented sums.

use super::{Lowerer, Lowers, Stop, product, scalar};
use crate::emit::{Axis, Operand, Refusal, Word};
use crate::fuse::Group;
use crate::node::Op;
use kiln_device::kernels::{Kind, Scalar, Stages, lanes, norm, scan, segment, softmax, sort};

impl<'a> Lowerer<'a> {
    /// Softmax, norms and their gradient: rows of the last axis, read and written through slots.
    pub(super) fn rows(&mut self, node: u32, group: &Group) -> Lowers {
        let graph = self.graph;
        let own = graph.shape(node);
        let (outer, inner) = own.split_at(own.rank() - 1);
        let (rows, cols) = (product(outer), product(inner));
        let inputs = graph.inputs(node).to_vec();
        let through = if matches!(graph.op(node), Op::NormGrad { .. }) { inputs[2] } else { inputs[0] };
        let axes = || vec![Axis::new("row", outer), Axis::new("col", inner)];
        let mut refused = Stop::Refused(Refusal::Slot);
        for width in [4, 1] {
            if width == 4 && cols % 4 != 0 {
                continue;
            }
            let mut kernel = self.kernel(group);
            let load = kernel.slot(axes(), None)?.load(through, &[], width);
            let stored = load
                .map_err(Stop::from)
                .and_then(|load| Ok((load, self.store_slot(&mut kernel, group, axes(), width, width)?)));
            let (load, store) = match stored {
                Ok(pair) => pair,
                Err(stop) => {
                    refused = stop;
                    continue;
                }
            };
            let (mut fixed, mut words) = (Vec::new(), Vec::new());
            let launch = match graph.op(node) {
                Op::Softmax { log } => {
                    let p = softmax::Rows { log: *log, rows, cols, width };
                    softmax::rows_with(self.caps, &p, &lanes::pick(self.gpu, "softmax", &p.walk()))?
                }
                Op::Norm { center } => {
                    let p = norm::Rows { center: *center, rows, cols, width, eps: 0.0 };
                    let launch = norm::rows_with(self.caps, &p, &lanes::pick(self.gpu, "norm", &p.walk()))?;
                    words.push((launch.params.0.len() - 4, Word::Scalar(inputs[1])));
                    fixed.push(("rstd".into(), Operand::Second(node)));
                    launch
                }
                Op::NormGrad { center } => {
                    fixed.push(("xhat".into(), self.operand(inputs[0])));
                    fixed.push(("rstd".into(), self.operand(inputs[1])));
                    let p = norm::Grad { center: *center, rows, cols, width };
                    norm::grad_with(self.caps, &p, &lanes::pick(self.gpu, "norm", &p.walk()))?
                }
                other => unreachable!("{} has no rows", other.name()),
            };
            let label = self.label(group, &kernel);
            self.push(kernel, launch, &[("load", load), ("store", store)], label, fixed, words);
            return Ok(());
        }
        Err(refused)
    }

    /// Kernels of several launches: scans, sorts, segmented sums.
    pub(super) fn stages(&mut self, node: u32, group: &Group) -> Lowers {
        let graph = self.graph;
        let inputs = graph.inputs(node).to_vec();
        let own = graph.shape(node);
        let sorting = matches!(graph.op(node), Op::Sort { .. });
        let (through, (outer, inner)) = match graph.op(node) {
            Op::SegmentSum => (inputs[2], own.split_at(1)),
            _ => (inputs[0], own.split_at(own.rank() - 1)),
        };
        let (rows, cols) = (product(outer), product(inner));
        let ty = scalar(graph.dtype(node));
        let source_dims = graph.shape(through);
        let (mut fixed, mut width) = (Vec::new(), 1);
        let stages: Stages = match graph.op(node) {
            Op::Scan { product } => {
                let kind = if *product { Kind::Prod } else { Kind::Sum };
                scan::rows(self.caps, &scan::Rows { kind, ty, rows, cols })?
            }
            Op::Sort { descending } => {
                fixed.push(("out".to_string(), Operand::Node(node)));
                fixed.push(("indices".to_string(), Operand::Second(node)));
                sort::rows(self.caps, &sort::Rows { ty, rows, cols, descending: *descending, bits: 32 })?
            }
            _ => {
                fixed.push(("sorted".to_string(), self.operand(inputs[0])));
                fixed.push(("perm".to_string(), self.operand(inputs[1])));
                let n = source_dims[0] as u32;
                width = if cols % 4 == 0 { 4 } else { 1 };
                segment::sum(self.caps, &segment::Sum { n, rows, cols, width, ty, key: Scalar::I32 })?
            }
        };
        if source_dims.numel() == 0 {
            return self.fill(node, group, 0.0);
        }
        let scratch: Vec<Operand> =
            stages.scratch.iter().enumerate().map(|(i, &bytes)| self.scratch(node, i, bytes)).collect();
        let load_axes = || match graph.op(node) {
            Op::SegmentSum => vec![Axis::new("row", &source_dims[..1]), Axis::new("col", &source_dims[1..])],
            _ => vec![Axis::new("row", outer), Axis::new("col", inner)],
        };
        for stage in stages.stages {
            let mut kernel = self.kernel(group);
            let mut slots = Vec::new();
            if stage.loads {
                slots.push(("load", kernel.slot(load_axes(), None)?.load(through, &[], width)?));
            }
            let mut bound = fixed.clone();
            if stage.stores && !sorting {
                let axes = vec![Axis::new("row", outer), Axis::new("col", inner)];
                slots.push(("store", self.store_slot(&mut kernel, group, axes, width, width)?));
            }
            bound.retain(|(name, _)| !stage.scratch.iter().any(|(own, _)| own == name));
            bound.extend(stage.scratch.iter().map(|&(name, i)| (name.to_string(), scratch[i])));
            let label = self.label(group, &kernel);
            self.push(kernel, stage.launch, &slots, label, bound, Vec::new());
        }
        Ok(())
    }
}
