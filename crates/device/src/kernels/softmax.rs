//! `softmax.wgsl`, `logsumexp.wgsl`: exponentials of rows, safe for any size of number.

use super::common::{Lanes, at_width, check_width};
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// Softmax of the rows of [rows, cols]; slots `load(row, col) -> F`, `store(v: F, row, col)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Its logarithm instead.
    pub log: bool,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Elements that the slots handle: 1 or 4, a divisor of `cols`.
    pub width: u32,
}

/// log Σ exp of the rows of [rows, cols]; slots `load(row, col) -> F`, `store(v: f32, row)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSumExp {
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Elements that `load` gives: 1 or 4, a divisor of `cols`.
    pub width: u32,
}

/// Softmax or log-softmax.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for rows that are too long.
pub fn rows(caps: &Caps, p: &Rows) -> Result<Launch> {
    let source = Source::new(if p.log { "log_softmax" } else { "softmax" }, kiln_shaders::SOFTMAX);
    let source = if p.log { source.slot("finish", "    return v - log_(sum);") } else { source };
    launch(caps, source, p.rows, p.cols, p.width)
}

/// The logarithm of the sum of exponentials.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for rows that are too long.
pub fn logsumexp(caps: &Caps, p: &LogSumExp) -> Result<Launch> {
    let source = Source::new("logsumexp", kiln_shaders::LOGSUMEXP);
    let source = if p.width == 4 { source.slot("one", "    return v.x;") } else { source };
    launch(caps, source, p.rows, p.cols, p.width)
}

fn launch(caps: &Caps, source: Source, rows: u32, cols: u32, width: u32) -> Result<Launch> {
    check_width(source.name(), cols, width)?;
    let lanes = Lanes::choose(caps, source.name(), cols / width, 2)?;
    let source = lanes.fill(at_width(source, width)).constant("WIDTH", format!("{width}u"));
    let source = lanes.fill_sum(width, lanes.fill_max(width, source));
    let groups = fold_groups(u64::from(rows.div_ceil(lanes.rows)));
    Ok(Launch::new(source, Params::new().u32(rows).u32(cols), groups).wide(width))
}
