//! What the launchers share: element types, vector widths, operations that join, limits.

use super::lanes::{Variant, extreme};
use crate::caps::Caps;
use crate::error::{Error, Result};
use crate::source::Source;

/// The type of an element, or of an accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// 32-bit float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
}

impl Scalar {
    /// Its name in WGSL.
    pub fn name(self) -> &'static str {
        self.vector(1)
    }

    /// The name of a vector of `width` of them, 1 or 4.
    pub fn vector(self, width: u32) -> &'static str {
        match (self, width) {
            (Scalar::F32, 4) => "vec4<f32>",
            (Scalar::I32, 4) => "vec4<i32>",
            (Scalar::U32, 4) => "vec4<u32>",
            (Scalar::F32, _) => "f32",
            (Scalar::I32, _) => "i32",
            (Scalar::U32, _) => "u32",
        }
    }
}

/// An operation that joins two values into one: associative, with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// a + b.
    Sum,
    /// a · b.
    Prod,
    /// The greater; NaN if one is NaN.
    Max,
    /// The less; NaN if one is NaN.
    Min,
}

impl Kind {
    /// The body of the slot `join(a: V, b: V) -> V`.
    pub(crate) fn join(self, ty: Scalar) -> &'static str {
        match (self, ty) {
            (Kind::Sum, _) => "    return a + b;",
            (Kind::Prod, _) => "    return a * b;",
            (Kind::Max, Scalar::F32) => "    return max_(a, b);",
            (Kind::Min, Scalar::F32) => "    return min_(a, b);",
            (Kind::Max, _) => "    return max(a, b);",
            (Kind::Min, _) => "    return min(a, b);",
        }
    }

    /// The body of the slot `identity() -> V`.
    pub(crate) fn identity(self, ty: Scalar) -> &'static str {
        match (self, ty) {
            (Kind::Sum, _) => "    return V();",
            (Kind::Prod, Scalar::F32) => "    return V(1.0);",
            (Kind::Prod, Scalar::I32) => "    return V(1);",
            (Kind::Prod, Scalar::U32) => "    return V(1u);",
            (Kind::Max, Scalar::F32) => "    return -inf_();",
            (Kind::Max, Scalar::I32) => "    return V(-2147483648);",
            (Kind::Max, Scalar::U32) => "    return V(0u);",
            (Kind::Min, Scalar::F32) => "    return inf_();",
            (Kind::Min, Scalar::I32) => "    return V(2147483647);",
            (Kind::Min, Scalar::U32) => "    return V(4294967295u);",
        }
    }

    /// Joins a value over a subgroup into `s`.
    fn subgroup(self, ty: Scalar) -> String {
        let op = match self {
            Kind::Sum => "subgroupAdd",
            Kind::Prod => "subgroupMul",
            Kind::Max => "subgroupMax",
            Kind::Min => "subgroupMin",
        };
        match (self, ty) {
            (Kind::Max | Kind::Min, Scalar::F32) => extreme(op, "fold(v)"),
            _ => format!("    let s = {op}(fold(v));"),
        }
    }

    /// Fills the slots `join` and `identity`.
    pub(crate) fn fill(self, ty: Scalar, source: Source) -> Source {
        source.slot("join", self.join(ty)).slot("identity", self.identity(ty))
    }

    /// Fills the slots `fold` and `total` for the lanes of a row.
    pub(crate) fn fill_total(self, caps: &Caps, ty: Scalar, width: u32, variant: &Variant, source: Source) -> Source {
        let source = match width {
            4 => source.slot("fold", "    let a = join(v, v.zwxy);\n    return join(a, a.yxwz).x;"),
            _ => source,
        };
        let give = if width == 4 { "all.x" } else { "all" };
        match variant.body(caps, "fold(v)", &self.subgroup(ty), |a, b| format!("join({a}, {b})"), ["V", give]) {
            Some(body) => source.slot("total", body),
            None => source,
        }
    }
}

/// Sets the aliases of a kernel's vector width: `F`, `I`, `U` and `L`.
pub(crate) fn at_width(source: Source, width: u32) -> Source {
    if width == 1 {
        return source;
    }
    source.alias("F", "vec4<f32>").alias("I", "vec4<i32>").alias("U", "vec4<u32>").alias("L", "vec4<bool>")
}

/// Checks that rows of `cols` elements can be handled `width` at a time.
pub(crate) fn check_width(kernel: &str, cols: u32, width: u32) -> Result<()> {
    if (width == 1 || width == 4) && cols.is_multiple_of(width) {
        return Ok(());
    }
    Err(Error::Validation(format!("{kernel}: rows of {cols} elements cannot be handled {width} at a time")))
}

/// The product of sizes that a kernel counts in u32.
pub(crate) fn count(kernel: &str, sizes: &[u32]) -> Result<u32> {
    let needs = sizes.iter().fold(1u64, |n, &size| n.saturating_mul(u64::from(size)));
    let has = i32::MAX as u64;
    if needs <= has {
        return Ok(needs as u32);
    }
    Err(Error::Limit { kernel: kernel.to_string(), what: "elements", needs, has })
}

/// Iterations that one invocation may make over elements. lavapipe 22.3 silently stops after 65,535 in all, and a loop
/// in blocks of 32 makes 1/32 more.
pub(crate) const MAX_ITERATIONS: u32 = 60_000;

/// What share of its multiply-adds a GPU reaches on a tile in workgroup memory of which an invocation owns such a block: 8x8 are fed at
/// nearly the arithmetic units' rate, 4x4 at half of it.
pub(crate) fn fed(caps: &Caps, own: [u32; 2]) -> f64 {
    match own[0] * own[1] {
        64 if few_registers(caps) => 0.1,
        64 => 0.8,
        32 => 0.7,
        _ => 0.5,
    }
}

/// Whether compilers have but 128 registers for a lane, as Intel's: it is told by its subgroups, of 8 lanes or more.
/// Blocks of 8x8 then go to memory and back in the inner loop, which makes it seven times as long (Mesa's, for Arc).
pub(crate) fn few_registers(caps: &Caps) -> bool {
    !caps.is_cpu() && caps.subgroup.is_some_and(|(least, most)| least == 8 && most > 8)
}
