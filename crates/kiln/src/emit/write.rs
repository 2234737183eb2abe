//! An instruction as an expression of WGSL.

use super::grid::Grid;
use super::text::{aligned, cast, constant, inner_stride, substitute, zero};
use super::{Inst, Refusal, Slot, Word};
use crate::DType;
use crate::layout::Layout;
use crate::node::{Op, Random};
use crate::ops::binary::Kind;

impl Slot<'_, '_> {
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

    fn write_random(
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

    /// The parts of a concatenation are zero outside of their place; the masks choose.
    fn write_concat(&mut self, parts: &[usize], dtype: DType) -> String {
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

    /// An integer or a truth value as a float, where the driver could see that it is 0.
    fn cast_hidden(&mut self, at: usize, dtype: DType) -> Option<String> {
        let (computed, from) = match self.insts[at] {
            (_, DType::Bool) => (false, DType::Bool),
            (Inst::Const(0), from @ (DType::I32 | DType::U32)) => (false, from),
            (Inst::Apply { .. }, from @ (DType::I32 | DType::U32)) => (true, from),
            _ => return None,
        };
        let zero = format!("F({})", self.kernel.unknown_zero());
        Some(match from {
            DType::Bool => format!("select({zero}, F(1.0), v{at})"),
            _ if computed => format!("{} + {zero}", cast(from, dtype, &format!("v{at}"))),
            _ => zero,
        })
    }

    fn apply(&mut self, node: u32, args: &[usize]) -> String {
        let graph = self.kernel.graph;
        let dtype = graph.dtype(node);
        let from = self.insts[args[0]].1;
        if matches!(graph.op(node), Op::Cast)
            && dtype.is_float()
            && let Some(number) = self.cast_hidden(args[0], dtype)
        {
            return number;
        }
        // a factor, or what may become one
        let hides = match graph.op(node) {
            Op::Binary(row) => row.name == "mul",
            Op::Where => true,
            _ => false,
        };
        let mut names: Vec<String> = args.iter().map(|at| format!("v{at}")).collect();
        for (name, &at) in names.iter_mut().zip(args) {
            if let (true, (Inst::Const(bits), DType::F32 | DType::F16)) = (hides, &self.insts[at])
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
