//! What the launchers share: element types, vector widths, and how the invocations of a row come together.

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

    /// The body of `total(v: V, ..) -> Acc` where a row has one subgroup.
    fn subgroup(self, ty: Scalar) -> String {
        let op = match self {
            Kind::Sum => "subgroupAdd",
            Kind::Prod => "subgroupMul",
            Kind::Max => "subgroupMax",
            Kind::Min => "subgroupMin",
        };
        if ty != Scalar::F32 || matches!(self, Kind::Sum | Kind::Prod) {
            return format!("    return {op}(fold(v));");
        }
        format!(
            "    let s = fold(v);
    let nan = subgroupAny((bitcast<u32>(s) & 0x7fffffffu) > 0x7f800000u);
    return select({op}(s), bitcast<f32>(bitcast<u32>(s) | 0x7fc00000u), nan);"
        )
    }

    /// Fills the slots `join` and `identity`.
    pub(crate) fn fill(self, ty: Scalar, source: Source) -> Source {
        source.slot("join", self.join(ty)).slot("identity", self.identity(ty))
    }

    /// Fills the slots `fold` and `total` for the lanes of a row.
    pub(crate) fn fill_total(self, ty: Scalar, width: u32, lanes: Lanes, source: Source) -> Source {
        let source = match width {
            4 => source.slot("fold", "    let a = join(v, v.zwxy);\n    return join(a, a.yxwz).x;"),
            _ => source,
        };
        match lanes.way {
            Way::Alone => source.slot("total", "    return fold(v);"),
            Way::Subgroup => source.slot("total", self.subgroup(ty)),
            Way::Tree => source,
        }
    }
}

/// Sets the aliases of a kernel's vector width: `F`, `I`, `U` and `B`.
pub(crate) fn at_width(source: Source, width: u32) -> Source {
    if width == 1 {
        return source;
    }
    source.alias("F", "vec4<f32>").alias("I", "vec4<i32>").alias("U", "vec4<u32>").alias("B", "vec4<bool>")
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

/// How a row's invocations join what they found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One invocation has the whole row.
    Alone,
    /// A workgroup is one subgroup, with subgroup operations: no barrier, no shared memory.
    Subgroup,
    /// A tree in shared memory.
    Tree,
}

/// The invocations of a row, and the rows of a workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// Invocations that share a row.
    pub(crate) lanes: u32,
    /// Rows in a workgroup.
    pub(crate) rows: u32,
    /// How they join.
    pub(crate) way: Way,
}

/// Iterations that one invocation may make over elements. lavapipe 22.3 silently stops after 65,535 in all, and a loop
/// in blocks of 32 makes 1/32 more.
pub(crate) const MAX_ITERATIONS: u32 = 60_000;

impl Lanes {
    /// For rows that take `steps` loads, walked `passes` times.
    pub(crate) fn choose(caps: &Caps, kernel: &str, steps: u32, passes: u32) -> Result<Lanes> {
        let widest = caps.max_invocations.min(256);
        let tree = |lanes: u32, rows: u32| Lanes { lanes: lanes.min(widest), rows, way: Way::Tree };
        let alone = Lanes { lanes: 1, rows: 64.min(widest), way: Way::Alone };
        let subgroup = caps.subgroup.filter(|(min, max)| min == max && *max <= widest).map(|(size, _)| size);
        let fits = |lanes: u32| u64::from(steps.div_ceil(lanes)) * u64::from(passes) <= u64::from(MAX_ITERATIONS);
        let best = match (caps.is_cpu(), subgroup) {
            (true, _) if steps <= 64 => alone, // measured: 2-20 times faster than a subgroup a row
            (true, Some(lanes)) if fits(lanes) => Lanes { lanes, rows: 1, way: Way::Subgroup },
            (true, None) if fits(8) => tree(8, 1),
            (false, _) if steps <= 4 => alone,
            (false, _) if steps <= 128 => tree(32, 4),
            _ => tree(256, 1),
        };
        if fits(best.lanes) {
            return Ok(best);
        }
        let (needs, has) = (u64::from(steps) * u64::from(passes), u64::from(MAX_ITERATIONS) * u64::from(best.lanes));
        Err(Error::Limit { kernel: kernel.to_string(), what: "loads for one row", needs, has })
    }

    /// Sets the consts `LANES` and `ROWS`.
    pub(crate) fn fill(self, source: Source) -> Source {
        source.constant("LANES", format!("{}u", self.lanes)).constant("ROWS", format!("{}u", self.rows))
    }

    /// Fills `sum_lanes(v: F, local: u32) -> F` and `fold_sum`, the sum in every lane and component.
    pub(crate) fn fill_sum(self, width: u32, source: Source) -> Source {
        self.fill_every("sum", "subgroupAdd", width, source)
    }

    /// Fills `max_lanes` and `fold_max`; NaN is the greatest.
    pub(crate) fn fill_max(self, width: u32, source: Source) -> Source {
        self.fill_every("max", "subgroupMax", width, source)
    }

    fn fill_every(self, name: &str, subgroup: &str, width: u32, source: Source) -> Source {
        let op = |a: &str, b: &str| if name == "sum" { format!("{a} + {b}") } else { format!("max_({a}, {b})") };
        let (fold, lanes) = (format!("fold_{name}"), format!("{name}_lanes"));
        let source = match width {
            4 => source.slot(&fold, format!("    let a = {};\n    return {};", op("v", "v.zwxy"), op("a", "a.yxwz"))),
            _ => source,
        };
        let first = if width == 4 { ".x" } else { "" };
        match self.way {
            Way::Alone => source.slot(&lanes, format!("    return {fold}(v);")),
            Way::Subgroup if name == "sum" => {
                source.slot(&lanes, format!("    return F({subgroup}({fold}(v){first}));"))
            }
            Way::Subgroup => source.slot(
                &lanes,
                format!(
                    "    let s = {fold}(v){first};
    let nan = subgroupAny((bitcast<u32>(s) & 0x7fffffffu) > 0x7f800000u);
    return F(select({subgroup}(s), bitcast<f32>(bitcast<u32>(s) | 0x7fc00000u), nan));"
                ),
            ),
            Way::Tree => source,
        }
    }
}
