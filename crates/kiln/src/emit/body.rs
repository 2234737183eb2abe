//! The body of a slot: its instructions in order, and what becomes of their results.

use super::grid::Grid;
use super::{Inst, Operand, Refusal, Slot, Target, Word};
use crate::DType;
use crate::layout::ViewOp;
use crate::node::Op;
use kiln_device::kernels::guard;
use std::collections::HashSet;
use std::fmt::Write as _;

impl Slot<'_, '_> {
    /// The body of a slot that gives `node` back, and how many elements at once: four where that pays.
    pub(crate) fn load_wide(mut self, node: u32, chain: &[ViewOp]) -> Result<(String, u32), Refusal> {
        self.value(node, chain)?;
        let width = if self.widens(false) { 4 } else { 1 };
        Ok((self.load(node, chain, width)?, width))
    }

    /// The body of a slot that gives `node` back.
    pub(crate) fn load(mut self, node: u32, chain: &[ViewOp], width: u32) -> Result<String, Refusal> {
        let value = self.value(node, chain)?;
        let (grid, mut text) = self.grid(width as usize, width as usize, false)?;
        self.write_some(&grid, &mut text, |_| true)?;
        let mut result = format!("v{value}");
        if self.halves.contains(&value) && !self.reads(value) {
            result = format!("F({})", self.kernel.half(&result, grid.width));
        }
        let _ = writeln!(text, "    return {result};");
        Ok(text)
    }

    /// The body of a slot that stores. The kernel's types have `width` components; `lanes` elements are handled at once.
    pub(crate) fn store(
        mut self,
        targets: &[Target],
        width: u32,
        lanes: u32,
        tail: bool,
        prelude: &str,
    ) -> Result<String, Refusal> {
        self.stores = targets.iter().map(|target| target.node).collect();
        let mut values = Vec::new();
        for target in targets {
            values.push(self.value(target.node, &[])?);
        }
        let (grid, head) = self.grid(width as usize, lanes as usize, tail)?;
        let mut text = prelude.to_string();
        text.push_str(&head);
        let changes = self.changes(targets, &values);
        let first = self.needed(changes.as_deref().unwrap_or_default());
        self.write_some(&grid, &mut text, |at| first.contains(&at))?;
        if let Some(changes) = &changes {
            let any: Vec<String> = changes.iter().map(|c| format!("any(v{c})")).collect();
            let _ = writeln!(text, "    if {} {{", any.join(" || "));
        }
        self.write_some(&grid, &mut text, |at| !first.contains(&at))?;
        for (target, value) in targets.iter().zip(values) {
            let dtype = self.insts[value].1;
            let array = self.kernel.output(target.to, dtype, lanes == 4)?;
            let place = if lanes == 4 { format!("({}) / 4u", grid.linear) } else { grid.linear.clone() };
            let one = if width > lanes { format!("v{value}.x") } else { format!("v{value}") };
            self.watch(*target, dtype, &one, &mut text);
            let stored = match dtype {
                DType::Bool if lanes == 4 => format!("select(U(0u), U(1u), {one})"),
                DType::Bool => format!("select(0u, 1u, {one})"),
                DType::F16 if lanes == 4 => format!("vec4<f16>({one})"),
                DType::F16 => format!("f16({one})"),
                _ => one,
            };
            let _ = writeln!(text, "    {array}[{place}] = {stored};");
        }
        if changes.is_some() {
            text.push_str("    }\n");
        }
        Ok(text)
    }

    /// Reports a guard that is NaN or infinite where it is stored, and leaves it in the fault record.
    fn watch(&mut self, target: Target, dtype: DType, value: &str, text: &mut String) {
        let graph = self.kernel.graph;
        let guard = graph.guards.iter().position(|&guard| target.to == Operand::Node(guard));
        if let (true, Some(number)) = (self.kernel.watches, guard) {
            let site = self.kernel.param("u32", Word::Guard(number));
            self.kernel.report();
            let value = match dtype {
                DType::F16 => format!("f32({})", self.kernel.half(value, 1)),
                _ => value.to_string(),
            };
            let infinite = format!("(bitcast<u32>({value}) & 0x7f800000u) == 0x7f800000u");
            let _ = writeln!(text, "    if {infinite} {{ report_fault({site}, 0u); }}");
            if let Some(place) = guard::place(number) {
                let _ = writeln!(text, "    atomicStore(&fault[{place}], bitcast<u32>({value}));");
            }
        }
    }

    /// The conditions under which targets change, where each is a cell that keeps its elements elsewhere: a cache that
    /// takes in one element of a sequence then moves no others. What is left out must notice no fault.
    fn changes(&self, targets: &[Target], values: &[usize]) -> Option<Vec<usize>> {
        let mut conditions = Vec::new();
        for (target, &value) in targets.iter().zip(values) {
            let (Operand::Cell(write), (Inst::Apply { node, args }, _)) = (target.to, &self.insts[value]) else {
                return None;
            };
            let Inst::Load { from: Operand::Node(old), layout, .. } = &self.insts[*args.get(2)?].0 else { return None };
            let keeps = matches!(self.kernel.graph.op(*node), Op::Where)
                && self.kernel.in_place.get(old) == Some(&write)
                && layout.is_linear();
            if !keeps {
                return None;
            }
            if !conditions.contains(&args[0]) {
                conditions.push(args[0]);
            }
        }
        let first = self.needed(&conditions);
        let mut rest = self.insts.iter().enumerate().filter(|(at, _)| !first.contains(at));
        let silent = rest.all(|(_, (inst, _))| !matches!(inst, Inst::Gather { .. } | Inst::Check { .. }));
        (silent && !conditions.is_empty()).then_some(conditions)
    }

    /// Instructions and all that they need.
    fn needed(&self, of: &[usize]) -> HashSet<usize> {
        let (mut needed, mut stack) = (HashSet::new(), of.to_vec());
        while let Some(at) = stack.pop() {
            if !needed.insert(at) {
                continue;
            }
            stack.extend(self.insts[at].0.args());
        }
        needed
    }

    /// Whether an instruction reads this one.
    fn reads(&self, at: usize) -> bool {
        self.insts.iter().any(|(inst, _)| inst.args().contains(&at))
    }

    fn write_some(&mut self, grid: &Grid, text: &mut String, some: impl Fn(usize) -> bool) -> Result<(), Refusal> {
        for at in (0..self.insts.len()).filter(|&at| some(at)) {
            let (inst, dtype) = self.insts[at].clone();
            let mut value = self.write(at, &inst, dtype, grid, text)?;
            if self.halves.contains(&at) && self.reads(at) {
                value = format!("F({})", self.kernel.half(&value, grid.width));
            }
            let note = match &inst {
                Inst::Apply { node, .. } | Inst::Gather { node, .. } => {
                    let tensor = &self.kernel.graph.nodes[*node as usize].tensor;
                    format!("       // {}", tensor.0.op.name())
                }
                _ => String::new(),
            };
            let _ = writeln!(text, "    let v{at}: {} = {value};{note}", dtype.wgsl());
        }
        Ok(())
    }
}
