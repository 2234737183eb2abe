//! Where elements lie: addresses, the bounds of masked layouts, indices, and the loads that go there.

use super::grid::Grid;
use super::text::{aligned, from_memory, inner_stride, zero};
use super::{Inst, Operand, Refusal, Slot, Word};
use crate::DType;
use crate::layout::Layout;
use crate::node::Op;
use std::fmt::Write as _;

impl Slot<'_, '_> {
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
            let _ = writeln!(text, "    if any(b{at}) {{ report_fault({site}, {row} + {first}); }}");
        } else {
            let _ = writeln!(text, "    if any(k{at} >= U({extent})) {{ report_fault({site}, {row}); }}");
        }
        let _ = writeln!(text, "    let g{at} = min(k{at}, U({extent} - 1u));");
    }

    /// The place of an index in its own tensor, for the fault record.
    fn row_of(&mut self, mut index: usize, grid: &Grid) -> String {
        loop {
            index = match &self.insts[index].0 {
                Inst::Apply { node, args } if matches!(self.kernel.graph.op(*node), Op::Cast) => args[0],
                Inst::Check { index, .. } => *index,
                _ => break,
            };
        }
        match &self.insts[index].0 {
            // where its address is a variable: an axis of one element does not count, whatever its stride
            Inst::Load { layout, .. }
                if !layout.is_linear()
                    && layout.strides.iter().zip(&layout.dims).any(|(&stride, &extent)| stride != 0 && extent > 1)
                    && !layout.masked() =>
            {
                format!("a{index}")
            }
            _ => grid.linear.clone(),
        }
    }

    /// Whether the four lanes of an instruction are the same.
    fn uniform(&self, at: usize, grid: &Grid) -> bool {
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
}
