//! `norm.wgsl`, `norm_grad.wgsl`: rows brought to mean 0 and variance 1, and the way back.

use super::common::{at_width, check_width};
use super::lanes::{self, Variant, Walk};
use crate::caps::Caps;
use crate::error::Result;
use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;
use crate::trial::{Family, Fill, Input, Trial};

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

impl Rows {
    /// What the kernel does with rows, for the choice of a variant.
    pub fn walk(&self) -> Walk {
        let steps = self.cols / self.width.max(1);
        Walk { kernel: "norm", rows: self.rows, steps, width: self.width, passes: 3 }
    }
}

impl Grad {
    /// What the kernel does with rows, for the choice of a variant.
    pub fn walk(&self) -> Walk {
        let steps = self.cols / self.width.max(1);
        Walk { kernel: "norm_grad", rows: self.rows, steps, width: self.width, passes: 2 }
    }
}

/// Normalised rows by the variant that [`lanes::choose`] gives.
///
/// # Errors
/// As [`rows_with`].
pub fn rows(caps: &Caps, p: &Rows) -> Result<Launch> {
    rows_with(caps, p, &lanes::choose(caps, &p.walk()))
}

/// Normalised rows by a given variant.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) for rows that are too long, [`Error::Validation`](crate::Error::Validation) for
/// a variant that is not for these rows or this device.
pub fn rows_with(caps: &Caps, p: &Rows, variant: &Variant) -> Result<Launch> {
    let source = Source::new("norm", kiln_shaders::NORM);
    let source = if p.width == 4 { source.slot("one", "    return v.x;") } else { source };
    launch(caps, source, (p.center, p.cols), &p.walk(), variant, |params| params.f32(p.eps))
}

/// The gradient by the variant that [`lanes::choose`] gives.
///
/// # Errors
/// As [`rows_with`].
pub fn grad(caps: &Caps, p: &Grad) -> Result<Launch> {
    grad_with(caps, p, &lanes::choose(caps, &p.walk()))
}

/// The gradient by a given variant.
///
/// # Errors
/// As [`rows_with`].
pub fn grad_with(caps: &Caps, p: &Grad, variant: &Variant) -> Result<Launch> {
    let source = Source::new("norm_grad", kiln_shaders::NORM_GRAD);
    launch(caps, source, (p.center, p.cols), &p.walk(), variant, |params| params)
}

fn launch(
    caps: &Caps,
    source: Source,
    (center, cols): (bool, u32),
    walk: &Walk,
    variant: &Variant,
    more: impl Fn(Params) -> Params,
) -> Result<Launch> {
    check_width(source.name(), cols, walk.width)?;
    lanes::check(caps, walk, variant)?;
    let source = variant.fill(at_width(source, walk.width)).constant("WIDTH", format!("{}u", walk.width));
    let source = variant.fill_sum(caps, walk.width, source.constant("CENTER", center));
    let groups = fold_groups(u64::from(walk.rows.div_ceil(variant.rows)));
    Ok(Launch::new(source, more(Params::new().u32(walk.rows).u32(cols)), groups).wide(walk.width))
}

/// Norms among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family =
    Family { name: "norm", texts: &[kiln_shaders::NORM, kiln_shaders::NORM_GRAD], test, tune };

fn problem([rows, cols]: [u32; 2]) -> Rows {
    Rows { center: true, rows, cols, width: 4, eps: 1e-5 }
}

fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let p = problem([5, lanes::TEST_COLS]);
    let definition = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
        x.iter().map(|v| (v - mean) / (variance + f64::from(p.eps)).sqrt()).collect()
    };
    lanes::test(caps, class, &p.walk(), |walk, list| trial(caps, walk, list), definition)
}

fn tune(caps: &Caps) -> Vec<Trial> {
    lanes::tuned_sizes(caps).into_iter().filter_map(|size| trial(caps, &problem(size).walk(), None)).collect()
}

fn trial(caps: &Caps, walk: &Walk, list: Option<Vec<Variant>>) -> Option<Trial> {
    let p = problem([walk.rows, walk.steps * walk.width]);
    let out = u64::from(p.rows) * u64::from(p.cols);
    let input = |name, elements| Input { name, elements, fill: Fill::F32 };
    let inputs = vec![input("x", out), input("rstd", u64::from(p.rows))];
    lanes::trial(caps, walk, list, (inputs, out, 1e-5), |variant| rows_with(caps, &p, variant))
}
