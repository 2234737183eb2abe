//! Recurrent layers: one node, a launch for each time step.

use super::{Lowered, Lowerer, Lowers};
use crate::emit::Operand;
use crate::node::Op;
use crate::ops::recurrence::{Cell, Recurrence};
use kiln_device::kernels::recurrence::{self, Problem};

impl Lowerer<'_> {
    /// All steps of a layer in one direction, or of its gradient.
    pub(super) fn recurrence(&mut self, node: u32, what: Recurrence) -> Lowers {
        let graph = self.graph;
        let inputs = graph.inputs(node);
        let (gates, h) = (graph.shape(inputs[0]), graph.shape(inputs[2]));
        let p = Problem {
            cell: what.cell,
            steps: gates[usize::from(what.batch_first)] as u32,
            batch: h[0] as u32,
            hidden: h[1] as u32,
            reverse: what.reverse,
            batch_first: what.batch_first,
            masked: what.masked,
        };
        let back = matches!(graph.op(node), Op::RecurrenceGrad(_));
        let mut names = vec!["gx", "w", "h0"];
        match what.cell {
            Cell::Lstm => names.push("c0"),
            Cell::Gru => names.push("bias"),
            Cell::Tanh | Cell::Relu => {}
        }
        if what.masked {
            names.push("lengths");
        }
        let launches = if back {
            // what the way back does not read has no name
            let (start, other) = if what.cell == Cell::Lstm { (3, 2) } else { (2, 3) };
            names[0] = "";
            names[start] = "start";
            if what.cell.keeps_gates() {
                names[other] = "";
            }
            names.extend(["y", "dy", "gates"]);
            recurrence::grad(self.caps, &p)?
        } else {
            recurrence::forward(self.caps, &p)?
        };
        let (first, second) = if back { ("out", "carry") } else { ("y", "gates") };
        let mut bindings: Vec<(String, Operand)> =
            names.into_iter().zip(inputs).map(|(name, &input)| (name.to_string(), self.operand(input))).collect();
        bindings.retain(|(name, _)| !name.is_empty());
        bindings.push((first.to_string(), Operand::Node(node)));
        if back || what.cell.keeps_gates() {
            bindings.push((second.to_string(), Operand::Second(node)));
        }
        for launch in launches {
            self.steps.push(Lowered {
                source: launch.source,
                label: graph.op(node).name().into(),
                groups: launch.groups,
                ops: launch.ops,
                params: launch.params.0,
                words: Vec::new(),
                bindings: bindings.clone(),
            });
        }
        Ok(())
    }
}
