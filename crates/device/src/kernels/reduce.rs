//! `reduce_rows.wgsl`, `reduce_cols.wgsl`, `arg_rows.wgsl`: sums, products, extremes, and where they are.

use super::common::{Kind, MAX_ITERATIONS, Scalar, at_width, check_width, count};
use super::lanes::{self, Variant, Walk};
use super::map::workgroup;
use crate::caps::Caps;
use crate::error::{Error, Result};
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;
use crate::trial::{Family, Fill, Input, Trial};

/// Rows [rows, cols] → [rows, chunks]; slots `load(row, col) -> V` and `store(v: Acc, row * chunks + chunk)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The operation.
    pub kind: Kind,
    /// Type of the accumulator, and of what `load` gives.
    pub ty: Scalar,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Elements that `load` gives: 1 or 4, a divisor of `cols`.
    pub width: u32,
    /// Parts that a row is cut into; from [`row_chunks`]. With more than one, a second launch reduces them.
    pub chunks: u32,
}

/// [outer, rows, inner] → [outer, chunks, inner]; slots `load(outer, row, inner) -> V`,
/// `store(v: V, outer * chunks + chunk, inner)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cols {
    /// The operation.
    pub kind: Kind,
    /// Type of the accumulator, and of what `load` gives.
    pub ty: Scalar,
    /// Number of matrices.
    pub outer: u32,
    /// Rows of each: the axis that is reduced.
    pub rows: u32,
    /// Columns of each.
    pub inner: u32,
    /// Columns that `load` gives: 1 or 4, a divisor of `inner`.
    pub width: u32,
    /// Parts that the rows are cut into; from [`col_chunks`]. With more than one, a second launch reduces them.
    pub chunks: u32,
}

/// The position of the greatest or least element of each row; slots `load(row, col) -> Acc`, `store(index: i32, row)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// The greatest, else the least.
    pub max: bool,
    /// Type of the elements.
    pub ty: Scalar,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
}

/// Length of one of `chunks` parts of `n` elements, a multiple of 4 so that vectors stay whole.
fn chunk(n: u32, chunks: u32) -> u32 {
    if chunks <= 1 { n } else { n.div_ceil(chunks).next_multiple_of(4) }
}

/// Into how many chunks rows should be cut: for short sums, for loops within limits, and on GPUs for enough workgroups.
pub fn row_chunks(caps: &Caps, rows: u32, cols: u32) -> u32 {
    if caps.is_cpu() {
        return if cols <= 32768 { 1 } else { cols.div_ceil(16384) };
    }
    let enough = 1024u32.div_ceil(rows.max(1)).min(cols.div_ceil(4096));
    enough.max(cols.div_ceil(1 << 18)).max(1)
}

/// Into how many chunks the rows of [`Cols`] should be cut; `width` as there.
pub fn col_chunks(caps: &Caps, outer: u32, rows: u32, inner: u32, width: u32) -> u32 {
    let loads = (u64::from(outer) * u64::from(inner) / u64::from(width.max(1))).max(1);
    // a few cores are busy with little, and a second launch costs more than it would bring
    if caps.is_cpu() && rows <= 4096 && u64::from(outer) * u64::from(rows) * u64::from(inner) <= 1 << 18 {
        return 1;
    }
    let down = Block::of(caps, outer, rows, inner, width).down;
    let wanted: u64 = if caps.is_cpu() { 256 } else { 1 << 16 };
    let enough = wanted.div_ceil(loads * u64::from(down)).min(u64::from(rows.div_ceil(64 * down))) as u32;
    enough.max(rows.div_ceil(4096 * down)).max(1)
}

/// How many loads of an invocation are under way together: memory of a GPU answers late.
fn batch(caps: &Caps) -> &'static str {
    if caps.is_cpu() { "1u" } else { "4u" }
}

/// What a workgroup of the kernel of columns has.
struct Block {
    /// Columns, in loads.
    cols: u32,
    /// Invocations that share a column.
    down: u32,
}

impl Block {
    /// Columns that are few and long are shared, so that a GPU has enough to do without a second launch.
    fn of(caps: &Caps, outer: u32, rows: u32, inner: u32, width: u32) -> Block {
        let all = workgroup(caps);
        let across = inner / width.max(1);
        if caps.is_cpu() || rows <= 32 || u64::from(outer) * u64::from(across) >= 1 << 15 {
            return Block { cols: all.min(64), down: 1 };
        }
        // a power of two of invocations; 16 loads of neighbours are whole lines of memory
        let (all, cols) = (1 << all.ilog2(), if across >= 8 { 16 } else { 4 });
        Block { cols, down: (all / cols).max(1) }
    }
}

impl Rows {
    /// What the kernel does with rows, for the choice of a variant.
    pub fn walk(&self) -> Walk {
        self.walk_of(chunk(self.cols, self.chunks))
    }

    fn walk_of(&self, chunk: u32) -> Walk {
        let (rows, steps) = (self.rows.saturating_mul(self.chunks), chunk.div_ceil(self.width.max(1)));
        Walk { kernel: "reduce_rows", rows, steps, width: self.width, passes: 1 }
    }
}

impl Arg {
    /// What the kernel does with rows, for the choice of a variant.
    pub fn walk(&self) -> Walk {
        Walk { kernel: "arg_rows", rows: self.rows, steps: self.cols, width: 1, passes: 1 }
    }
}

/// Rows reduced by the variant that [`lanes::choose`] gives.
///
/// # Errors
/// As [`rows_with`].
pub fn rows(caps: &Caps, p: &Rows) -> Result<Launch> {
    rows_with(caps, p, &lanes::choose(caps, &p.walk()))
}

/// Rows reduced by a given variant.
///
/// # Errors
/// [`Error::Limit`] for a chunk that is too long for one launch, or too many elements; [`Error::Validation`] for a
/// variant that is not for these rows or this device.
pub fn rows_with(caps: &Caps, p: &Rows, variant: &Variant) -> Result<Launch> {
    blocks_with(caps, p, chunk(p.cols, p.chunks), variant)
}

/// As [`rows`], with chunks of `chunk` elements.
pub(crate) fn blocks(caps: &Caps, p: &Rows, chunk: u32) -> Result<Launch> {
    blocks_with(caps, p, chunk, &lanes::choose_among(caps, &p.walk_of(chunk), |v| caps.is_cpu() || v.class().is_none()))
}

fn blocks_with(caps: &Caps, p: &Rows, chunk: u32, variant: &Variant) -> Result<Launch> {
    check_width("reduce_rows", p.cols, p.width)?;
    let parts = count("reduce_rows", &[p.rows, p.chunks])?;
    lanes::check(caps, &p.walk_of(chunk), variant)?;
    let source = at_width(Source::new("reduce_rows", kiln_shaders::REDUCE_ROWS), p.width)
        .constant("WIDTH", format!("{}u", p.width))
        .constant("BATCH", batch(caps))
        .alias("Acc", p.ty.name())
        .alias("V", p.ty.vector(p.width));
    let source = p.kind.fill_total(caps, p.ty, p.width, variant, p.kind.fill(p.ty, variant.fill(source)));
    let params = Params::new().u32(p.rows).u32(p.cols).u32(p.chunks).u32(chunk);
    Ok(Launch::new(source, params, fold_groups(u64::from(parts.div_ceil(variant.rows)))).wide(p.width))
}

/// Columns reduced.
///
/// # Errors
/// [`Error::Limit`] for a chunk that is too long for one launch, or too many elements.
pub fn cols(caps: &Caps, p: &Cols) -> Result<Launch> {
    check_width("reduce_cols", p.inner, p.width)?;
    let work = count("reduce_cols", &[p.outer, p.chunks, p.inner])? / p.width;
    let chunk = chunk(p.rows, p.chunks);
    let block = Block::of(caps, p.outer, chunk, p.inner, p.width);
    let walked = chunk.div_ceil(block.down);
    if walked > MAX_ITERATIONS {
        let (needs, has) = (u64::from(walked), u64::from(MAX_ITERATIONS));
        return Err(Error::Limit { kernel: "reduce_cols".into(), what: "rows in a chunk", needs, has });
    }
    let source = at_width(Source::new("reduce_cols", kiln_shaders::REDUCE_COLS), p.width)
        .constant("WIDTH", format!("{}u", p.width))
        .constant("COLS", format!("{}u", block.cols))
        .constant("DOWN", format!("{}u", block.down))
        .constant("BATCH", batch(caps))
        .alias("Acc", p.ty.name())
        .alias("V", p.ty.vector(p.width));
    let source = if block.down == 1 { source.slot("total", "    return v;") } else { source };
    let params = Params::new().u32(p.outer).u32(p.rows).u32(p.inner).u32(p.chunks).u32(chunk);
    let groups = fold_groups(u64::from(work.div_ceil(block.cols)));
    Ok(Launch::new(p.kind.fill(p.ty, source), params, groups).wide(p.width))
}

/// The body of `key`: the greater key wins.
fn arg_key(max: bool, ty: Scalar) -> &'static str {
    match (max, ty) {
        (true, Scalar::F32) => "    return order_f32_(v);",
        (false, Scalar::F32) => "    return order_f32_down_(v);",
        (true, Scalar::I32) => "    return order_i32_(v);",
        (false, Scalar::I32) => "    return ~order_i32_(v);",
        (true, Scalar::U32) => "    return v;",
        (false, Scalar::U32) => "    return ~v;",
    }
}

/// The first position of the greatest or least element, by the variant that [`lanes::choose`] gives; the first NaN wins.
///
/// # Errors
/// As [`rows_with`].
pub fn arg_rows(caps: &Caps, p: &Arg) -> Result<Launch> {
    arg_rows_with(caps, p, &lanes::choose(caps, &p.walk()))
}

/// The same by a given variant.
///
/// # Errors
/// As [`rows_with`].
pub fn arg_rows_with(caps: &Caps, p: &Arg, variant: &Variant) -> Result<Launch> {
    lanes::check(caps, &p.walk(), variant)?;
    let source = variant
        .fill(Source::new("arg_rows", kiln_shaders::ARG_ROWS))
        .alias("Acc", p.ty.name())
        .slot("key", arg_key(p.max, p.ty));
    let one = "    let top = subgroupMax(v.x);
    let s = vec2(top, subgroupMin(select(0xffffffffu, v.y, v.x == top)));";
    let source = match variant.body(caps, "v", one, |a, b| format!("better({a}, {b})"), ["vec2<u32>", "all"]) {
        Some(body) => source.slot("best_lane", body),
        None => source,
    };
    let params = Params::new().u32(p.rows).u32(p.cols);
    Ok(Launch::new(source, params, fold_groups(u64::from(p.rows.div_ceil(variant.rows)))))
}

/// Reductions of rows among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family =
    Family { name: "reduce", texts: &[kiln_shaders::REDUCE_ROWS, kiln_shaders::ARG_ROWS], test, tune };

fn problem([rows, cols]: [u32; 2]) -> Rows {
    Rows { kind: Kind::Sum, ty: Scalar::F32, rows, cols, width: 4, chunks: 1 }
}

fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let p = problem([5, lanes::TEST_COLS]);
    lanes::test(caps, class, &p.walk(), |walk, list| trial(caps, walk, list), |x| vec![x.iter().sum()])
}

fn tune(caps: &Caps) -> Vec<Trial> {
    lanes::tuned_sizes(caps).into_iter().filter_map(|size| trial(caps, &problem(size).walk(), None)).collect()
}

fn trial(caps: &Caps, walk: &Walk, list: Option<Vec<Variant>>) -> Option<Trial> {
    let p = problem([walk.rows, walk.steps * walk.width]);
    let inputs = vec![Input { name: "x", elements: u64::from(p.rows) * u64::from(p.cols), fill: Fill::F32 }];
    // the operands are eighths: every sum is exact
    lanes::trial(caps, walk, list, (inputs, u64::from(p.rows), 1e-6), |variant| rows_with(caps, &p, variant))
}
