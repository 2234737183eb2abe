//! Matrix products of strided, batched operands: `out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]`.
//!
//! Bindings `a`, `b`, `out`; slot `store(v: F, batch: u32, row: u32, col: u32)`, where F is f32, or `vec4<f32>` when
//! [`Launch::width`] is 4, which it is exactly when `n` is a multiple of 4. A class of pipelines is fixed by the
//! variant, the width, the two element types, and for each operand whether and along which axis four elements can be
//! loaded at once. Sizes and strides are run-time parameters.

use crate::{Caps, Error, Launch, Params, Result, Source, fold_groups};

/// How an operand is stored. Products are accumulated in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
}

/// Where an operand's elements lie, in elements. A stride of 0 broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strides {
    /// The first element.
    pub offset: u32,
    /// Strides of the outer and the inner batch axis.
    pub batch: [u32; 2],
    /// Stride of the first matrix axis: m of `a`, k of `b`.
    pub row: u32,
    /// Stride of the second matrix axis: k of `a`, n of `b`.
    pub col: u32,
}

impl Strides {
    /// A contiguous stack of matrices of `rows` x `cols`, `inner` of them to an outer batch.
    pub fn contiguous(inner: u32, rows: u32, cols: u32) -> Strides {
        Strides { offset: 0, batch: [inner * rows * cols, rows * cols], row: cols, col: 1 }
    }
}

/// A product: `a` is [batch, m, k], `b` is [batch, k, n], `out` is contiguous [batch, m, n].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Outer and inner batch sizes; the batch index of `store` is `outer * batch[1] + inner`.
    pub batch: [u32; 2],
    /// Rows of `a` and `out`.
    pub m: u32,
    /// Columns of `b` and `out`.
    pub n: u32,
    /// The axis that is summed.
    pub k: u32,
    /// The left operand.
    pub a: Strides,
    /// The right operand.
    pub b: Strides,
    /// How `a` is stored.
    pub a_elem: Elem,
    /// How `b` is stored.
    pub b_elem: Elem,
    /// Into how many slices `k` is cut; 1 for none. With more, `store` gets partial sums under the batch index
    /// `slice * batches + batch`, to be summed over the slices afterwards.
    pub split: u32,
}

impl Problem {
    /// An f32 product that is not split.
    pub fn new(batch: [u32; 2], m: u32, n: u32, k: u32, a: Strides, b: Strides) -> Problem {
        Problem { batch, m, n, k, a, b, a_elem: Elem::F32, b_elem: Elem::F32, split: 1 }
    }

    fn batches(&self) -> u64 {
        u64::from(self.batch[0]) * u64::from(self.batch[1])
    }

    /// The same problem with the strides of axes of one element set to 0, so that they forbid nothing.
    fn plain(&self) -> Problem {
        let mut p = *self;
        for axis in 0..2 {
            if p.batch[axis] == 1 {
                (p.a.batch[axis], p.b.batch[axis]) = (0, 0);
            }
        }
        if p.m == 1 {
            p.a.row = 0;
        }
        if p.n == 1 {
            p.b.col = 0;
        }
        if p.k == 1 {
            (p.a.col, p.b.row) = (0, 0);
        }
        p
    }
}

/// The algorithms, each a shader file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// CPU adapters whose subgroups have 8 lanes or more.
    Subgroup,
    /// Registers only: CPU adapters without subgroups, and the plain variant that others are judged by.
    Block,
    /// GPUs: tiles of 32, 64 or 128 in workgroup memory.
    Tile(u32),
    /// GPUs, at most 8 rows.
    Thin,
}

/// The variant that [`launch`] takes.
pub fn variant(caps: &Caps, p: &Problem) -> Variant {
    if caps.is_cpu() {
        return match caps.subgroup {
            Some((least, _)) if least >= 8 => Variant::Subgroup,
            _ => Variant::Block,
        };
    }
    if p.m <= 8 {
        return Variant::Thin;
    }
    let tiles = |size: u32| u64::from(p.m.div_ceil(size)) * u64::from(p.n.div_ceil(size)) * p.batches();
    match () {
        () if tiles(128) >= 256 && caps.max_invocations >= 256 => Variant::Tile(128),
        () if tiles(64) >= 64 => Variant::Tile(64),
        () => Variant::Tile(32),
    }
}

/// The most of `k` that one invocation may take: loops of more than 65,535 rounds stop silently on lavapipe 22.3.
const LONGEST: u32 = 200_000;

/// Into how many slices `k` should be cut: more than 1 when the output is too small to keep the device busy, or `k`
/// too long for one invocation.
pub fn splits(caps: &Caps, p: &Problem) -> u32 {
    let [rows, cols] = block(variant(caps, p), p);
    let groups = u64::from(p.m.div_ceil(rows)) * u64::from(p.n.div_ceil(cols)) * p.batches();
    let (wanted, shortest) = if caps.is_cpu() { (8, 512) } else { (128, 256) };
    let most = u64::from((p.k / shortest).max(1));
    let split = (wanted / groups.max(1)).clamp(1, most.min(64)) as u32;
    split.max(p.k.div_ceil(LONGEST))
}

/// The product by the variant that suits the device.
///
/// # Errors
/// As [`launch_as`].
pub fn launch(caps: &Caps, p: &Problem) -> Result<Launch> {
    launch_as(caps, p, variant(caps, p))
}

/// The product by a given variant.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements, for [`Variant::Thin`] with more than 8 rows, for another tile
/// than 32, 64 and 128; [`Error::Limit`] for a `k` of more than 200,000 a slice, or a grid that no device takes.
pub fn launch_as(caps: &Caps, p: &Problem, variant: Variant) -> Result<Launch> {
    let p = &p.plain();
    if p.batches() * u64::from(p.m) * u64::from(p.n) * u64::from(p.k) * u64::from(p.split) == 0 {
        return Err(Error::Validation(format!("matmul of no elements: {p:?}")));
    }
    let slice = p.k.div_ceil(p.split);
    if slice > LONGEST {
        let (needs, has) = (slice.into(), LONGEST.into());
        return Err(Error::Limit { kernel: "matmul".into(), what: "products in a slice of k", needs, has });
    }
    let [rows, cols] = block(variant, p);
    let groups = [p.m.div_ceil(rows).into(), p.n.div_ceil(cols).into(), p.batches(), u64::from(p.split)];
    let groups = groups.iter().try_fold(1u64, |all, &n| all.checked_mul(n)).unwrap_or(u64::MAX);
    let has = u64::from(u32::MAX).min(u64::from(caps.max_groups) * 65_535);
    if groups > has {
        return Err(Error::Limit { kernel: "matmul".into(), what: "workgroups", needs: groups, has });
    }
    let width = if p.n.is_multiple_of(4) { 4 } else { 1 };
    let source = operands(source(variant, p)?, variant, p);
    Ok(Launch::new(output(source, width), params(p), fold_groups(groups)).wide(width))
}

/// Rows and columns of `out` that a workgroup computes.
fn block(variant: Variant, p: &Problem) -> [u32; 2] {
    match variant {
        Variant::Subgroup => [8 * rows_per_lane(p), 32],
        Variant::Block => [8, 64],
        Variant::Tile(size) => [size, size],
        Variant::Thin => [8, 4 * thin_columns(p)],
    }
}

/// Subgroup variant: one, three or four rows a lane. Three cost a tenth more each than four, but leave less of a last
/// block empty; one costs twice as much. Fours along m need blocks of four rows.
fn rows_per_lane(p: &Problem) -> u32 {
    let blocks = |rows: u32| u64::from(p.m.div_ceil(rows)) * u64::from(rows);
    let p4 = fours(&p.plain().a, false);
    match () {
        () if p.m <= 8 => 1,
        () if p4.width == 4 && p4.down => 4,
        () if 11 * blocks(24) < 10 * blocks(32) => 3,
        () => 4,
    }
}

/// Thin variant: invocations along n. The others go along k, where neighbours should read neighbouring elements.
fn thin_columns(p: &Problem) -> u32 {
    if fours(&p.plain().b, true).down { 4 } else { 16 }
}

fn source(variant: Variant, p: &Problem) -> Result<Source> {
    let invalid = |text: &str| Err(Error::Validation(format!("matmul: {text}")));
    match variant {
        Variant::Subgroup => {
            let source = Source::new("matmul_subgroup", kiln_shaders::MATMUL_SUBGROUP);
            Ok(source.constant("PER", format!("{}u", rows_per_lane(p))))
        }
        Variant::Block => Ok(Source::new("matmul_block", kiln_shaders::MATMUL_BLOCK)),
        Variant::Tile(size @ (32 | 64 | 128)) => {
            let blocks = if size == 32 { "1u" } else { "2u" };
            let source = Source::new(format!("matmul_tile{size}"), kiln_shaders::MATMUL_TILE);
            let source = source.constant("TILE_M", format!("{size}u")).constant("TILE_N", format!("{size}u"));
            Ok(source.constant("RB", blocks).constant("CB", blocks))
        }
        Variant::Tile(_) => invalid("tiles are 32, 64 or 128 wide"),
        Variant::Thin if p.m > 8 => invalid("the thin variant takes at most 8 rows"),
        Variant::Thin => {
            let rows = if p.m == 1 { 1 } else { p.m.next_multiple_of(4) };
            let columns = thin_columns(p);
            let source = Source::new("matmul_thin", kiln_shaders::MATMUL_THIN).constant("ROWS", format!("{rows}u"));
            Ok(source.constant("NT", format!("{columns}u")).constant("KT", format!("{}u", 128 / columns)))
        }
    }
}

/// How an operand is loaded: `width` elements at once, along its second axis, or `down` along its first.
struct Fours {
    width: u32,
    down: bool,
}

/// Four elements can be loaded at once along an axis of stride 1 if everything else is a multiple of 4.
/// With `both`, a class of single elements also says along which axis neighbours should go.
fn fours(s: &Strides, both: bool) -> Fours {
    let aligned = |other: u32| [s.offset, s.batch[0], s.batch[1], other].iter().all(|n| n.is_multiple_of(4));
    match (s.row, s.col) {
        (row, 1) if aligned(row) => Fours { width: 4, down: false },
        (1, col) if aligned(col) => Fours { width: 4, down: true },
        (row, col) => Fours { width: 1, down: both && row < col },
    }
}

fn operands(source: Source, variant: Variant, p: &Problem) -> Source {
    let subgroup = variant == Variant::Subgroup;
    let mut a = fours(&p.a, !subgroup);
    let mut b = fours(&p.b, !subgroup);
    if subgroup {
        if a.down && rows_per_lane(p) != 4 {
            a = Fours { width: 1, down: false };
        }
        // The subgroup kernel takes single elements along k only.
        b.down |= b.width == 1;
    }
    let source = operand(source, ["EA", "EA4", "A_WIDTH", "A_DOWN"], &a, p.a_elem);
    operand(source, ["EB", "EB4", "B_WIDTH", "B_DOWN"], &b, p.b_elem)
}

fn operand(source: Source, names: [&str; 4], fours: &Fours, elem: Elem) -> Source {
    let (one, four) = match elem {
        Elem::F32 => ("f32", "vec4<f32>"),
        Elem::F16 => ("f16", "vec4<f16>"),
    };
    let [load, vector, width, down] = names;
    source
        .alias(load, if fours.width == 4 { four } else { one })
        .alias(vector, four)
        .constant(width, format!("{}u", fours.width))
        .constant(down, fours.down)
}

fn output(source: Source, width: u32) -> Source {
    if width == 1 {
        return source;
    }
    source
        .alias("F", "vec4<f32>")
        .constant("WIDTH", "4u")
        .slot("emit", "    if col < sizes.n { store(v, batch, row, col); }")
}

fn params(p: &Problem) -> Params {
    let params = Params::new().u32(p.m).u32(p.n).u32(p.k).u32(p.split).u32(p.batches() as u32).u32(p.batch[1]);
    [p.a, p.b]
        .iter()
        .fold(params, |params, s| params.u32(s.offset).u32(s.batch[0]).u32(s.batch[1]).u32(s.row).u32(s.col))
}
