//! Matrix products of strided, batched operands: `out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]`.
//!
//! Bindings `a`, `b`, `out`; slot `store(v: F, batch: u32, row: u32, col: u32)`, where F is f32, or `vec4<f32>` when
//! [`Launch::width`] is 4, which it is exactly when `n` is a multiple of 4. A class of pipelines is fixed by the
//! variant, the width, the two element types, and for each operand whether and along which axis four elements can be
//! loaded at once. Sizes and strides are run-time parameters.
//!
//! [`variants`] lists what a device can run, [`choose`] is the heuristics' choice, [`pick`] the one that also follows
//! tuning and self-tests, [`launch_with`] launches any of them.

mod choose;
mod tuned;
mod variant;

pub use choose::choose;
pub(crate) use tuned::FAMILY;
pub use tuned::pick;
pub use variant::{Algorithm, Coop, Tile, Variant};

use super::Stages;
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
    /// Whether f32 operands may be rounded to f16 for matrix units.
    pub precision: Precision,
}

/// What a product of f32 operands may do to be faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Operands as they are, f32 sums.
    #[default]
    Exact,
    /// Operands may be rounded to f16, with f32 sums, where the device has matrix units for that: 11 bits instead of
    /// 24, and infinite beyond 65,504.
    Fast,
}

impl Problem {
    /// An exact f32 product.
    pub fn new(batch: [u32; 2], m: u32, n: u32, k: u32, a: Strides, b: Strides) -> Problem {
        Problem { batch, m, n, k, a, b, a_elem: Elem::F32, b_elem: Elem::F32, precision: Precision::Exact }
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

/// The most of `k` that one invocation may take: loops of more than 65,535 rounds stop silently on lavapipe 22.3.
const LONGEST: u32 = 200_000;

/// Every variant that this device can run for this problem, the plain one first. Those of many slices are listed where
/// the heuristics would cut `k` for that algorithm.
pub fn variants(caps: &Caps, p: &Problem) -> Vec<Variant> {
    let p = &p.plain();
    let both = |algorithm| {
        let split = choose::split(caps, p, algorithm);
        let least = p.k.div_ceil(LONGEST).max(1);
        [least, split].into_iter().skip(usize::from(split <= least)).map(move |split| Variant { algorithm, split })
    };
    variant::algorithms(caps, p).into_iter().flat_map(both).collect()
}

/// The product by the variant that [`choose`] gives.
///
/// # Errors
/// As [`launch_with`].
pub fn launch(caps: &Caps, p: &Problem) -> Result<Launch> {
    launch_with(caps, p, &choose(caps, p))
}

/// The product by a given variant.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements, or a variant that is not for this problem or device;
/// [`Error::Limit`] for a `k` of more than 200,000 a slice, or a grid that no device takes.
pub fn launch_with(caps: &Caps, p: &Problem, variant: &Variant) -> Result<Launch> {
    let p = &p.plain();
    if p.batches() * u64::from(p.m) * u64::from(p.n) * u64::from(p.k) * u64::from(variant.split) == 0 {
        return Err(Error::Validation(format!("matmul of no elements: {p:?}, {} slices", variant.split)));
    }
    if !variant.algorithm.fits(caps, p) {
        return Err(Error::Validation(format!("matmul: {variant} is not for {p:?} on {}", caps.name)));
    }
    let slice = p.k.div_ceil(variant.split);
    if slice > LONGEST {
        let (needs, has) = (slice.into(), LONGEST.into());
        return Err(Error::Limit { kernel: "matmul".into(), what: "products in a slice of k", needs, has });
    }
    let [rows, cols] = variant.algorithm.block(p);
    let groups = [p.m.div_ceil(rows).into(), p.n.div_ceil(cols).into(), p.batches(), u64::from(variant.split)];
    let groups = groups.iter().try_fold(1u64, |all, &n| all.checked_mul(n)).unwrap_or(u64::MAX);
    let has = u64::from(u32::MAX).min(u64::from(caps.max_groups) * 65_535);
    if groups > has {
        return Err(Error::Limit { kernel: "matmul".into(), what: "workgroups", needs: groups, has });
    }
    let width = if p.n.is_multiple_of(4) { 4 } else { 1 };
    let source = operands(source(caps, variant.algorithm, p), variant.algorithm, p);
    let launch = Launch::new(output(source, width), params(p, variant.split), fold_groups(groups));
    Ok(launch.wide(width).costing([2, p.batch[0], p.batch[1], p.m, p.n, p.k]))
}

/// The product by a given variant with everything that belongs to it: where `k` is cut, a second launch adds the
/// slices up. For tuning and benches; bindings `a`, `b`, `out`.
///
/// # Errors
/// As [`launch_with`].
pub fn stages(caps: &Caps, p: &Problem, variant: &Variant) -> Result<Stages> {
    let launch = launch_with(caps, p, variant)?;
    let results = (p.batches() as u32).saturating_mul(p.m).saturating_mul(p.n);
    let width = launch.width;
    Stages::sliced(caps, launch, variant.split, results, width)
}

/// Thin variant: invocations along n. The others go along k, where neighbours should read neighbouring elements.
fn thin_columns(p: &Problem) -> u32 {
    if fours(&p.b, true).down { 4 } else { 16 }
}

/// Narrow variant: invocations along m, likewise.
fn narrow_rows(p: &Problem) -> u32 {
    if fours(&p.a, true).down { 16 } else { 4 }
}

fn source(caps: &Caps, algorithm: Algorithm, p: &Problem) -> Source {
    let u = |n: u32| format!("{n}u");
    match algorithm {
        Algorithm::Subgroup { rows } => {
            Source::new("matmul_subgroup", kiln_shaders::MATMUL_SUBGROUP).constant("PER", u(rows / 8))
        }
        Algorithm::Block => Source::new("matmul_block", kiln_shaders::MATMUL_BLOCK),
        Algorithm::Tile(tile) => Source::new("matmul_tile", kiln_shaders::MATMUL_TILE)
            .constant("TILE_M", u(tile.m))
            .constant("TILE_N", u(tile.n))
            .constant("TILE_K", u(tile.k))
            .constant("RB", u(tile.own[0] / 4))
            .constant("CB", u(tile.own[1] / 4))
            .constant("BUFFERS", u(tile.buffers)),
        Algorithm::Thin => {
            let rows = if p.m == 1 { 1 } else { p.m.next_multiple_of(4) };
            let columns = thin_columns(p);
            Source::new("matmul_thin", kiln_shaders::MATMUL_THIN)
                .constant("ROWS", u(rows))
                .constant("NT", u(columns))
                .constant("KT", u(128 / columns))
        }
        Algorithm::Narrow => {
            let rows = narrow_rows(p);
            Source::new("matmul_narrow", kiln_shaders::MATMUL_NARROW)
                .constant("COLS", u(p.n.div_ceil(4)))
                .constant("MT", u(rows))
                .constant("KT", u(128 / rows))
        }
        Algorithm::Coop(coop) => {
            let source = if coop.staged {
                Source::new("matmul_coop", kiln_shaders::MATMUL_COOP).constant("TILE_K", u(Coop::STEP))
            } else {
                Source::new("matmul_coop_direct", kiln_shaders::MATMUL_COOP_DIRECT)
            };
            let fragment = |role: &str| format!("coop_mat{0}x{0}<{role}>", coop.size);
            source
                .alias("FragA", &fragment("f16, A"))
                .alias("FragB", &fragment("f16, B"))
                .alias("FragC", &fragment("f32, C"))
                .constant("SIZE", u(coop.size))
                .constant("SM", u(coop.subgroups[0]))
                .constant("SN", u(coop.subgroups[1]))
                .constant("FM", u(coop.fragments[0]))
                .constant("FN", u(coop.fragments[1]))
                .constant("WG", u(coop.invocations(caps)))
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

fn operands(source: Source, algorithm: Algorithm, p: &Problem) -> Source {
    if let Algorithm::Coop(Coop { staged: false, .. }) = algorithm {
        return source.constant("A_DOWN", p.a.col != 1).constant("B_DOWN", p.b.col != 1);
    }
    let subgroup = matches!(algorithm, Algorithm::Subgroup { .. });
    let mut a = fours(&p.a, !subgroup);
    let mut b = fours(&p.b, !subgroup);
    if let Algorithm::Subgroup { rows } = algorithm {
        if a.down && rows != 32 {
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

fn params(p: &Problem, split: u32) -> Params {
    let params = Params::new().u32(p.m).u32(p.n).u32(p.k).u32(split).u32(p.batches() as u32).u32(p.batch[1]);
    [p.a, p.b]
        .iter()
        .fold(params, |params, s| params.u32(s.offset).u32(s.batch[0]).u32(s.batch[1]).u32(s.row).u32(s.col))
}
