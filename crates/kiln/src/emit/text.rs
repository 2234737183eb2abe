//! Pieces of WGSL.

use super::Inst;
use super::grid::Grid;
use crate::DType;
use crate::layout::Layout;

pub(super) fn layout_of(inst: &Inst) -> Option<&Layout> {
    match inst {
        Inst::Load { layout, .. }
        | Inst::Iota(layout)
        | Inst::Random { layout, .. }
        | Inst::Gather { layout, .. }
        | Inst::Masked { layout, .. } => Some(layout),
        _ => None,
    }
}

pub(super) fn inner_stride(layout: &Layout, grid: &Grid) -> isize {
    grid.runs.last().map_or(0, |run| layout.strides[run.end - 1])
}

/// Whether four neighbours lie in one aligned vector.
pub(super) fn aligned(layout: &Layout, grid: &Grid) -> bool {
    let Some((inner, outer)) = grid.runs.split_last() else { return false };
    layout.strides[inner.end - 1] == 1
        && layout.offset % 4 == 0
        && outer.iter().all(|r| layout.strides[r.end - 1] % 4 == 0)
}

/// Elements of memory as a value.
pub(super) fn from_memory(dtype: DType, lanes: &[String]) -> String {
    let list = lanes.join(", ");
    match dtype {
        DType::Bool => format!("U({list}) != U(0u)"),
        DType::F16 if lanes.len() == 4 => format!("F(vec4<f16>({list}))"),
        DType::F16 => format!("F(f32({list}))"),
        _ => format!("{}({list})", dtype.wgsl()),
    }
}

pub(super) fn zero(dtype: DType) -> String {
    constant(dtype, 0)
}

pub(super) fn constant(dtype: DType, bits: u32) -> String {
    match dtype {
        DType::F32 | DType::F16 => format!("F({:?})", f32::from_bits(bits)),
        DType::I32 => format!("I({})", bits as i32),
        DType::U32 => format!("U({bits}u)"),
        DType::Bool => format!("L({})", bits != 0),
    }
}

/// The text of a row with its arguments put in for `x` and `y`.
pub(super) fn substitute(text: &str, dtype: DType, x: &str, y: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        match word.as_str() {
            "x" => out.push_str(x),
            "y" => out.push_str(y),
            "I" => out.push_str(dtype.wgsl()),
            "irem_" | "ifmod_" if dtype == DType::U32 => out.push_str("urem_"),
            "idiv_floor_" if dtype == DType::U32 => out.push_str("udiv_"),
            other => out.push_str(other),
        }
        word.clear();
    };
    for c in text.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

pub(super) fn cast(from: DType, to: DType, x: &str) -> String {
    match (from, to) {
        (DType::Bool, DType::Bool) => x.into(),
        (DType::Bool, to) => format!("select({}, {}, {x})", constant(to, 0), one(to)),
        // not `!=`, which is false of NaN on some drivers
        (from, DType::Bool) if from.is_float() => format!("!({x} == {})", zero(from)),
        (from, DType::Bool) => format!("{x} != {}", zero(from)),
        (from, to) if from.wgsl() == to.wgsl() => x.into(),
        (_, to) => format!("{}({x})", to.wgsl()),
    }
}

fn one(dtype: DType) -> String {
    constant(dtype, if dtype.is_float() { 1f32.to_bits() } else { 1 })
}

/// The WGSL type of an element in memory.
pub(super) fn memory_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::I32 => "i32",
        DType::U32 | DType::Bool => "u32",
    }
}
