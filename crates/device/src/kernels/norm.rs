//! `norm.wgsl`, `norm_grad.wgsl`: rows brought to mean 0 and variance 1, and the way back.

use super::common::{Lanes, at_width, check_width};
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// The rows of [rows, cols], normalised; slots `load(row, col) -> F`, `store(v: F, row, col)`, binding `rstd` [rows].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows {
    /// Subtract the mean (layer norm), or not (RMS norm).
    pub center: bool,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Elements that the slots handle: 1 or 4, a divisor of `cols`.
    pub width: u32,
    /// Added to the variance.
    pub eps: f32,
}

/// The gradient of [`Rows`]; slots `load(row, col) -> F` of the gradient with respect to the normalised rows,
/// `store(v: F, row, col)`; bindings `xhat` and `rstd`, which the forward kernel wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grad {
    /// As in [`Rows`].
    pub center: bool,
    /// Number of rows.
    pub rows: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Elements that the slots handle: 1 or 4, a divisor of `cols`.
    pub width: u32,
}

/// Normalised rows.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for rows that are too long.
pub fn rows(caps: &Caps, p: &Rows) -> Result<Launch> {
    let source = Source::new("norm", kiln_shaders::NORM);
    let source = if p.width == 4 { source.slot("one", "    return v.x;") } else { source };
    launch(caps, source, p.center, [p.rows, p.cols, p.width], Params::new().u32(p.rows).u32(p.cols).f32(p.eps))
}

/// The gradient.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for rows that are too long.
pub fn grad(caps: &Caps, p: &Grad) -> Result<Launch> {
    let source = Source::new("norm_grad", kiln_shaders::NORM_GRAD);
    launch(caps, source, p.center, [p.rows, p.cols, p.width], Params::new().u32(p.rows).u32(p.cols))
}

fn launch(caps: &Caps, source: Source, center: bool, [rows, cols, width]: [u32; 3], params: Params) -> Result<Launch> {
    check_width(source.name(), cols, width)?;
    let lanes = Lanes::choose(caps, source.name(), cols / width, 3)?;
    let source = lanes.fill(at_width(source, width)).constant("WIDTH", format!("{width}u")).constant("CENTER", center);
    let groups = fold_groups(u64::from(rows.div_ceil(lanes.rows)));
    Ok(Launch::new(lanes.fill_sum(width, source), params, groups).wide(width))
}
