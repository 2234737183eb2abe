//! From instructions to text.

use super::grid::Grid;
use super::text::{aligned, cast, constant, from_memory, inner_stride, one, substitute, zero};
use super::{Inst, Operand, Refusal, Slot, Target, Word};
use crate::DType;
use crate::layout::{Layout, ViewOp};
use crate::node::{Op, Random};
use crate::ops::binary::Kind;
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
        self.write_all(&grid, &mut text)?;
        let _ = writeln!(text, "    return v{value};");
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
            match &self.insts[at].0 {
                Inst::Apply { args, .. } | Inst::Concat(args) => stack.extend(args),
                Inst::Random { key, .. } => stack.extend(key),
                Inst::Gather { index, .. } | Inst::Check { index, .. } => stack.push(*index),
                Inst::Masked { value, .. } => stack.push(*value),
                Inst::Primary | Inst::Load { .. } | Inst::Const(_) | Inst::Scalar(_) | Inst::Iota(_) => {}
            }
        }
        needed
    }

    pub(super) fn write_all(&mut self, grid: &Grid, text: &mut String) -> Result<(), Refusal> {
        self.write_some(grid, text, |_| true)
    }

    fn write_some(&mut self, grid: &Grid, text: &mut String, some: impl Fn(usize) -> bool) -> Result<(), Refusal> {
        for at in (0..self.insts.len()).filter(|&at| some(at)) {
            let (inst, dtype) = self.insts[at].clone();
            let value = self.write(at, &inst, dtype, grid, text)?;
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

    pub(super) fn write(
        &mut self,
        at: usize,
        inst: &Inst,
        dtype: DType,
        grid: &Grid,
        text: &mut String,
    ) -> Result<String, Refusal> {
        Ok(match inst {
            Inst::Primary => {
                let name = self.primary.map_or("v", |p| p.1);
                if grid.width > grid.lanes { format!("{}({name})", dtype.wgsl()) } else { name.to_string() }
            }
            Inst::Const(bits) => constant(dtype, *bits),
            Inst::Scalar(node) => {
                let ty = match dtype {
                    DType::F32 | DType::F16 => "f32",
                    DType::I32 => "i32",
                    DType::U32 | DType::Bool => "u32",
                };
                let name = match self.kernel.scalars.get(node) {
                    Some(name) => name.clone(),
                    None => {
                        let name = self.kernel.param(ty, Word::Scalar(*node));
                        self.kernel.scalars.insert(*node, name.clone());
                        name
                    }
                };
                if dtype == DType::Bool { format!("L({name} != 0u)") } else { format!("{}({name})", dtype.wgsl()) }
            }
            Inst::Load { from, dtype, layout } => self.write_load(at, *from, *dtype, layout, grid, text)?,
            Inst::Iota(layout) => {
                let address = self.address(layout, grid, &format!("a{at}"), text);
                let stride = inner_stride(layout, grid);
                match (grid.lanes, stride) {
                    (1, _) | (_, 0) => format!("I(i32({address}))"),
                    (_, 1) => format!("I(i32({address})) + I(0, 1, 2, 3)"),
                    (_, s) => {
                        let s = self.kernel.param("i32", Word::Fixed(s as u32));
                        format!("I(i32({address})) + I(0, 1, 2, 3) * {s}")
                    }
                }
            }
            Inst::Random { kind, layout, key } => self.write_random(at, *kind, layout, key, grid, text),
            Inst::Apply { node, args } => self.apply(*node, args),
            Inst::Gather { .. } => self.write_gather(at, inst, grid, text)?,
            Inst::Check { node, extent, index } => {
                self.check_index(at, *node, *extent, *index, grid, text);
                format!("I(g{at})")
            }
            Inst::Concat(parts) => self.write_concat(parts, dtype),
            Inst::Masked { value, layout } => {
                let inside = self.inside(layout, grid);
                format!("select({}, v{value}, {inside})", zero(dtype))
            }
        })
    }

    /// The address of the first element of a layout at the current place, as a variable.
    pub(super) fn address(&mut self, layout: &Layout, grid: &Grid, name: &str, text: &mut String) -> String {
        if layout.is_linear() {
            return grid.linear.clone();
        }
        let mut terms = Vec::new();
        for ((_, coordinate), run) in grid.dims.iter().zip(&grid.runs) {
            match layout.strides[run.end - 1] {
                0 => {}
                1 => terms.push(coordinate.clone()),
                stride => {
                    let stride = self.kernel.param("u32", Word::Fixed(stride as i32 as u32));
                    terms.push(format!("{coordinate} * {stride}"));
                }
            }
        }
        if layout.offset != 0 {
            terms.push(self.kernel.param("u32", Word::Fixed(layout.offset as i32 as u32)));
        }
        if terms.is_empty() {
            return "0u".into();
        }
        let _ = writeln!(text, "    let {name} = {};", terms.join(" + "));
        name.to_string()
    }

    /// The condition under which a masked layout holds an element.
    pub(super) fn inside(&mut self, layout: &Layout, grid: &Grid) -> String {
        let last = grid.runs.len().wrapping_sub(1);
        let mut terms = Vec::new();
        for (k, run) in grid.runs.iter().enumerate() {
            let d = run.end - 1;
            if !layout.masks(d) {
                continue;
            }
            let low = self.kernel.param("u32", Word::Fixed(layout.valid[d].0 as u32));
            let high = self.kernel.param("u32", Word::Fixed(layout.valid[d].1 as u32));
            let coordinate = if grid.dims[k].1.is_empty() { "0u".to_string() } else { grid.dims[k].1.clone() };
            if k == last && grid.lanes == 4 {
                let lanes = format!("(U({coordinate}) + U(0u, 1u, 2u, 3u))");
                terms.push(format!("({lanes} >= U({low})) & ({lanes} < U({high}))"));
            } else {
                terms.push(format!("L({coordinate} >= {low} && {coordinate} < {high})"));
            }
        }
        if terms.is_empty() { "L(true)".into() } else { terms.join(" & ") }
    }

    pub(super) fn write_load(
        &mut self,
        at: usize,
        from: Operand,
        dtype: DType,
        layout: &Layout,
        grid: &Grid,
        text: &mut String,
    ) -> Result<String, Refusal> {
        let address = self.address(layout, grid, &format!("a{at}"), text);
        if let Operand::Node(node) = from
            && self.kernel.in_place.contains_key(&node)
            && !layout.is_linear()
        {
            return Err(Refusal::Slot);
        }
        let stride = inner_stride(layout, grid);
        if layout.masked() {
            let inside = self.inside(layout, grid);
            let _ = writeln!(text, "    let m{at} = {inside};");
            let array = self.kernel.array(from, dtype, false)?;
            let lanes =
                self.lanes(grid, stride, |k, step| format!("{array}[select(0u, {address} + {step}, m{at}{k})]"));
            return Ok(format!("select({}, {}, m{at})", zero(dtype), from_memory(dtype, &lanes)));
        }
        if grid.lanes == 4 && aligned(layout, grid) {
            let array = self.kernel.array(from, dtype, true)?;
            let raw = format!("{array}[({address}) / 4u]");
            return Ok(match dtype {
                DType::Bool => format!("{raw} != U(0u)"),
                DType::F16 => format!("F({raw})"),
                _ => raw,
            });
        }
        let array = self.kernel.array(from, dtype, false)?;
        if grid.lanes == 1 || stride == 0 {
            return Ok(from_memory(dtype, &[format!("{array}[{address}]")]));
        }
        let lanes = self.lanes(grid, stride, |k, step| {
            if k == ".x" { format!("{array}[{address}]") } else { format!("{array}[{address} + {step}]") }
        });
        Ok(from_memory(dtype, &lanes))
    }

    /// An expression per lane; `each` gets the lane's component and its distance from the first one.
    pub(super) fn lanes(&mut self, grid: &Grid, stride: isize, each: impl Fn(&str, &str) -> String) -> Vec<String> {
        if grid.lanes == 1 {
            return vec![each(if grid.width == 4 { ".x" } else { "" }, "0u")];
        }
        let step = if stride.unsigned_abs() <= 1 {
            format!("{}u", stride.max(0))
        } else {
            self.kernel.param("u32", Word::Fixed(stride as i32 as u32))
        };
        let step = if stride == -1 { "0xffffffffu".to_string() } else { step };
        [".x", ".y", ".z", ".w"].iter().enumerate().map(|(k, c)| each(c, &format!("{k}u * {step}"))).collect()
    }

    pub(super) fn write_random(
        &mut self,
        at: usize,
        kind: Random,
        layout: &Layout,
        key: &[usize; 3],
        grid: &Grid,
        text: &mut String,
    ) -> String {
        let name = match kind {
            Random::Word => "word",
            Random::Uniform => "uniform",
            Random::Normal => "normal",
        };
        let pick = if grid.width == 4 { ".x" } else { "" };
        let [k0, k1, call] = key.map(|k| format!("v{k}{pick}"));
        let address = self.address(layout, grid, &format!("a{at}"), text);
        if grid.lanes == 4 && aligned(layout, grid) {
            return format!("philox_{name}s_(({address}) / 4u, {k0}, {k1}, {call}, 0u)");
        }
        let stride = inner_stride(layout, grid);
        let one = |place: String| format!("philox_{name}1_({place}, {k0}, {k1}, {call}, 0u)");
        let ty = if kind == Random::Word { "U" } else { "F" };
        if grid.lanes == 1 || stride == 0 {
            return format!("{ty}({})", one(address));
        }
        let lanes = self.lanes(grid, stride, |_, step| one(format!("{address} + {step}")));
        format!("{ty}({})", lanes.join(", "))
    }

    /// The index as `g{at}`, brought into range; one that was not is reported.
    pub(super) fn check_index(
        &mut self,
        at: usize,
        node: u32,
        extent: usize,
        index: usize,
        grid: &Grid,
        text: &mut String,
    ) {
        let extent = self.kernel.param("u32", Word::Fixed(extent as u32));
        let site = self.kernel.param("u32", Word::Site(node));
        self.kernel.report();
        let row = self.row_of(index, grid);
        let _ = writeln!(text, "    let k{at} = U(v{index});");
        if grid.lanes == 4 && !self.uniform(index, grid) {
            let _ = writeln!(text, "    let b{at} = k{at} >= U({extent});");
            let first = format!("select(select(select(3u, 2u, b{at}.z), 1u, b{at}.y), 0u, b{at}.x)");
            let _ = writeln!(text, "    if any(b{at}) {{ out_of_range({site}, {row} + {first}); }}");
        } else {
            let _ = writeln!(text, "    if any(k{at} >= U({extent})) {{ out_of_range({site}, {row}); }}");
        }
        let _ = writeln!(text, "    let g{at} = min(k{at}, U({extent} - 1u));");
    }

    pub(super) fn write_gather(
        &mut self,
        at: usize,
        inst: &Inst,
        grid: &Grid,
        text: &mut String,
    ) -> Result<String, Refusal> {
        let Inst::Gather { node, from, dtype, layout, stride, extent, index } = inst else { return Err(Refusal::Slot) };
        self.check_index(at, *node, *extent, *index, grid, text);
        let address = self.address(layout, grid, &format!("a{at}"), text);
        let along = if *stride == 1 {
            String::new()
        } else {
            format!(" * {}", self.kernel.param("u32", Word::Fixed(*stride as i32 as u32)))
        };
        let same = self.uniform(*index, grid);
        if grid.lanes == 4 && same && aligned(layout, grid) && stride % 4 == 0 {
            let array = self.kernel.array(*from, *dtype, true)?;
            let raw = format!("{array}[({address} + g{at}.x{along}) / 4u]");
            return Ok(match dtype {
                DType::Bool => format!("{raw} != U(0u)"),
                DType::F16 => format!("F({raw})"),
                _ => raw,
            });
        }
        let array = self.kernel.array(*from, *dtype, false)?;
        let lanes = self.lanes(grid, inner_stride(layout, grid), |k, step| {
            format!("{array}[{address} + {step} + g{at}{k}{along}]")
        });
        Ok(from_memory(*dtype, &lanes))
    }

    /// The place of an index in its own tensor, for the fault record.
    pub(super) fn row_of(&mut self, mut index: usize, grid: &Grid) -> String {
        loop {
            index = match &self.insts[index].0 {
                Inst::Apply { node, args } if matches!(self.kernel.graph.op(*node), Op::Cast) => args[0],
                Inst::Check { index, .. } => *index,
                _ => break,
            };
        }
        match &self.insts[index].0 {
            Inst::Load { layout, .. }
                if !layout.is_linear() && layout.strides.iter().any(|&s| s != 0) && !layout.masked() =>
            {
                format!("a{index}")
            }
            _ => grid.linear.clone(),
        }
    }

    /// Whether the four lanes of an instruction are the same.
    pub(super) fn uniform(&self, at: usize, grid: &Grid) -> bool {
        match &self.insts[at].0 {
            Inst::Const(_) | Inst::Scalar(_) => true,
            Inst::Primary | Inst::Concat(_) | Inst::Masked { .. } => false,
            Inst::Load { layout, .. } => inner_stride(layout, grid) == 0 && !layout.masked(),
            Inst::Iota(layout) | Inst::Random { layout, .. } => inner_stride(layout, grid) == 0,
            Inst::Gather { layout, index, .. } => inner_stride(layout, grid) == 0 && self.uniform(*index, grid),
            Inst::Apply { args, .. } => args.iter().all(|&a| self.uniform(a, grid)),
            Inst::Check { index, .. } => self.uniform(*index, grid),
        }
    }

    /// The parts of a concatenation are zero outside of their place; the masks choose.
    pub(super) fn write_concat(&mut self, parts: &[usize], dtype: DType) -> String {
        let mut text = zero(dtype);
        for &part in parts {
            // a part that fills the whole axis has no mask
            match &self.insts[part].0 {
                Inst::Load { layout, .. } if layout.masked() => text = format!("select({text}, v{part}, m{part})"),
                Inst::Load { .. } => text = format!("v{part}"),
                _ if dtype == DType::Bool => text = format!("({text} | v{part})"),
                _ => text = format!("({text} + v{part})"),
            }
        }
        text
    }

    pub(super) fn apply(&mut self, node: u32, args: &[usize]) -> String {
        let graph = self.kernel.graph;
        let dtype = graph.dtype(node);
        let from = self.insts[args[0]].1;
        if matches!(graph.op(node), Op::Cast) && from == DType::Bool && dtype.is_float() {
            let zero = self.kernel.unknown_zero();
            return format!("select(F({zero}), {}, v{})", one(dtype), args[0]);
        }
        let product = matches!(graph.op(node), Op::Binary(row) if row.name == "mul");
        let mut names: Vec<String> = args.iter().map(|at| format!("v{at}")).collect();
        for (name, &at) in names.iter_mut().zip(args) {
            if let (true, (Inst::Const(bits), DType::F32 | DType::F16)) = (product, &self.insts[at])
                && f32::from_bits(*bits) == 0.0
            {
                let sign = if *bits == 0 { "" } else { "-" };
                *name = format!("{sign}F({})", self.kernel.unknown_zero());
            }
        }
        let arg = |k: usize| names[k].clone();
        match graph.op(node) {
            Op::Unary(row) => {
                let text = match row.int {
                    Some(int) if !from.is_float() => int,
                    _ => row.float,
                };
                substitute(text, from, &arg(0), "")
            }
            Op::Binary(row) => {
                let text =
                    if row.kind == Kind::Logic || from.is_float() || from == DType::Bool { row.float } else { row.int };
                substitute(text, from, &arg(0), &arg(1))
            }
            Op::Where => format!("select({}, {}, {})", arg(2), arg(1), arg(0)),
            Op::Cast => cast(from, dtype, &arg(0)),
            _ => arg(0),
        }
    }
}
