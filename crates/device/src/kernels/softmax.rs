//! `softmax.wgsl`, `logsumexp.wgsl`: exponentials of rows, safe for any size of number.

use super::common::{at_width, check_width};
use super::lanes::{self, Variant, Walk};
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;
use crate::trial::{Family, Fill, Input, Trial};

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

impl Rows {
    /// What the kernel does with rows, for the choice of a variant.
    pub fn walk(&self) -> Walk {
        let kernel = if self.log { "log_softmax" } else { "softmax" };
        Walk { kernel, rows: self.rows, steps: self.cols / self.width.max(1), width: self.width, passes: 2 }
    }
}

impl LogSumExp {
    /// What the kernel does with rows, for the choice of a variant.
    pub fn walk(&self) -> Walk {
        let steps = self.cols / self.width.max(1);
        Walk { kernel: "logsumexp", rows: self.rows, steps, width: self.width, passes: 2 }
    }
}

/// Softmax or log-softmax by the variant that [`lanes::choose`] gives.
///
/// # Errors
/// As [`rows_with`].
pub fn rows(caps: &Caps, p: &Rows) -> Result<Launch> {
    rows_with(caps, p, &lanes::choose(caps, &p.walk()))
}

/// Softmax or log-softmax by a given variant.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for rows that are too long, [`Error::Validation`](crate::Error::Validation) for
/// a variant that is not for these rows or this device.
pub fn rows_with(caps: &Caps, p: &Rows, variant: &Variant) -> Result<Launch> {
    let source = Source::new(p.walk().kernel, kiln_shaders::SOFTMAX);
    let source =
        if p.log { source.slot("keep", "    return v;").slot("finish", "    return v - log_(sum);") } else { source };
    launch(caps, source, &p.walk(), p.cols, variant)
}

/// The logarithm of the sum of exponentials by the variant that [`lanes::choose`] gives.
///
/// # Errors
/// As [`rows_with`].
pub fn logsumexp(caps: &Caps, p: &LogSumExp) -> Result<Launch> {
    logsumexp_with(caps, p, &lanes::choose(caps, &p.walk()))
}

/// The logarithm of the sum of exponentials by a given variant.
///
/// # Errors
/// As [`rows_with`].
pub fn logsumexp_with(caps: &Caps, p: &LogSumExp, variant: &Variant) -> Result<Launch> {
    let source = Source::new("logsumexp", kiln_shaders::LOGSUMEXP);
    let source = if p.width == 4 { source.slot("one", "    return v.x;") } else { source };
    launch(caps, source, &p.walk(), p.cols, variant)
}

fn launch(caps: &Caps, source: Source, walk: &Walk, cols: u32, variant: &Variant) -> Result<Launch> {
    check_width(source.name(), cols, walk.width)?;
    lanes::check(caps, walk, variant)?;
    let source = variant.fill(at_width(source, walk.width)).constant("WIDTH", format!("{}u", walk.width));
    let source = variant.fill_sum(caps, walk.width, variant.fill_max(caps, walk.width, source));
    let groups = fold_groups(u64::from(walk.rows.div_ceil(variant.rows)));
    Ok(Launch::new(source, Params::new().u32(walk.rows).u32(cols), groups).wide(walk.width))
}

/// Softmax among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family =
    Family { name: "softmax", texts: &[kiln_shaders::SOFTMAX, kiln_shaders::LOGSUMEXP], test, tune };

fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let p = Rows { log: false, rows: 5, cols: lanes::TEST_COLS, width: 4 };
    let definition = |x: &[f64]| {
        let sum: f64 = x.iter().map(|v| v.exp()).sum();
        x.iter().map(|v| v.exp() / sum).collect()
    };
    lanes::test(caps, class, &p.walk(), |walk, list| trial(caps, walk, list), definition)
}

fn tune(caps: &Caps) -> Vec<Trial> {
    let walk = |[rows, cols]: [u32; 2]| Rows { log: false, rows, cols, width: 4 }.walk();
    lanes::tuned_sizes(caps).into_iter().filter_map(|size| trial(caps, &walk(size), None)).collect()
}

fn trial(caps: &Caps, walk: &Walk, list: Option<Vec<Variant>>) -> Option<Trial> {
    let cols = walk.steps * walk.width;
    let p = Rows { log: false, rows: walk.rows, cols, width: walk.width };
    let out = u64::from(walk.rows) * u64::from(cols);
    let inputs = vec![Input { name: "x", elements: out, fill: Fill::F32 }];
    // a share of e / cols, give or take rounding
    let tolerance = 4e-6 / f64::from(cols);
    lanes::trial(caps, walk, list, (inputs, out, tolerance), |variant| rows_with(caps, &p, variant))
}
