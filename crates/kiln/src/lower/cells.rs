//! Replacements of cells, and the guards before them.

use super::{Lowered, Lowerer, Lowers};
use crate::DType;
use crate::emit::{Axis, Operand, Refusal, Target, Word};
use crate::fuse::Group;
use crate::graph::{Role, content};
use crate::node::Op;
use kiln_device::kernels::{guard, map};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

impl<'a> Lowerer<'a> {
    /// A kernel that checks a guard, unless the one that stores it has.
    pub(super) fn guard(&mut self, number: usize) -> Lowers {
        let word = Word::Guard(number);
        if self.steps.iter().any(|step| step.words.iter().any(|(_, known)| *known == word)) {
            return Ok(());
        }
        let half = self.graph.dtype(self.graph.guards[number]) == DType::F16;
        let launch = guard::launch(self.caps, 1, half, 0, guard::place(number))?;
        let bindings =
            vec![("x".to_string(), self.operand(self.graph.guards[number])), ("fault".to_string(), Operand::Fault)];
        self.steps.push(Lowered {
            source: launch.source,
            label: "guard".into(),
            groups: launch.groups,
            ops: launch.ops,
            params: launch.params.0,
            words: vec![(4, word)],
            bindings,
        });
        Ok(())
    }

    /// Replacements of cells, in place, unless the run has met a fault: one `map` kernel, each set of cells after the other.
    pub(super) fn write_cells(&mut self, group: &Group) -> Lowers {
        let in_place = self.in_place(group)?;
        let mut sets = Vec::new();
        for set in &group.writes {
            self.failed = set.clone();
            let targets: Vec<Target> =
                set.iter().map(|&w| Target { node: self.graph.writes[w].value, to: Operand::Cell(w) }).collect();
            let shape = self.graph.shape(targets[0].node);
            let lanes = if self.tried(group, &in_place, &shape, &targets, |slot| slot.widens(true))? { 4 } else { 1 };
            sets.push((shape, targets, lanes));
        }
        let width = sets.iter().map(|(_, _, lanes)| *lanes).max().unwrap_or(1);
        let mut kernel = self.kernel(group);
        kernel.in_place = in_place;
        let mut body = kernel.stop_on_fault();
        let mut work = 0;
        body.push_str("    var j = i;\n");
        for ((shape, targets, lanes), set) in sets.iter().zip(&group.writes) {
            self.failed = set.clone();
            let count = shape.numel().div_ceil(*lanes as usize) as u32;
            work += count;
            let size = kernel.param("u32", Word::Fixed(count));
            let head = format!("    let e = j{};\n", if *lanes == 4 { " * 4u" } else { "" });
            let store = kernel.slot(vec![Axis::new("e", shape)], None)?.store(targets, width, *lanes, true, &head)?;
            let _ = write!(body, "    if j < {size} {{\n{store}    return;\n    }}\n    j -= {size};\n");
        }
        let launch = map::launch(self.caps, work, width)?;
        self.replaced.extend(group.writes.iter().flatten().map(|&w| self.graph.writes[w].cell.info.id));
        let label = format!("update {}", self.label(group, &kernel));
        self.push(kernel, launch, &[("body", body)], label, Vec::new(), Vec::new());
        Ok(())
    }

    /// The present contents that a group of writes replaces where it reads them.
    pub(super) fn in_place(&mut self, group: &Group) -> Lowers<HashMap<u32, usize>> {
        let graph = self.graph;
        let id = |w: usize| graph.writes[w].cell.info.id;
        let set_of: HashMap<u64, usize> =
            group.writes.iter().enumerate().flat_map(|(s, set)| set.iter().map(move |&w| (id(w), s))).collect();
        let written: HashMap<u64, usize> = (0..graph.writes.len()).map(|w| (id(w), w)).collect();
        let mut in_place = HashMap::new();
        for (number, set) in group.writes.iter().enumerate() {
            self.failed = set.clone();
            let (mut stack, mut seen): (Vec<u32>, _) =
                (set.iter().map(|&w| graph.writes[w].value).collect(), HashSet::new());
            while let Some(node) = stack.pop() {
                if !seen.insert(node) {
                    continue;
                }
                if let Some(cell) = content(&graph.nodes[node as usize].tensor)
                    && let Some(&write) = written.get(&cell.id)
                {
                    match set_of.get(&cell.id) {
                        Some(own) if *own == number => {
                            in_place.insert(node, write);
                        }
                        // somebody else has replaced it already, or may have
                        Some(_) => return Err(Refusal::Slot.into()),
                        None if self.replaced.contains(&cell.id) => return Err(Refusal::Slot.into()),
                        None => {}
                    }
                }
                if graph.role(node) == Role::Compute && !self.choice.stored(node) {
                    if matches!(graph.op(node), Op::Gather(_)) {
                        return Err(Refusal::Slot.into()); // an index out of range must be known before
                    }
                    stack.extend(graph.inputs(node));
                }
            }
        }
        Ok(in_place)
    }
}
