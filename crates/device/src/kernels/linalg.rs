//! `lu.wgsl`, `cholesky.wgsl`, `solve_triangular.wgsl`: batches of small matrices.

use crate::program::{Launch, Params, fold_groups};
use crate::source::Source;

/// The most rows of a matrix: an invocation must not loop more than 65,535 times in all.
pub const MAX_ROWS: u32 = 192;

/// Square matrices `[matrices, n, n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Square {
    /// How many.
    pub matrices: u32,
    /// Rows of each, at most [`MAX_ROWS`].
    pub n: u32,
}

impl Square {
    fn launch(&self, source: Source) -> Launch {
        let groups = fold_groups(self.matrices.into());
        Launch::new(source, Params::new().u32(self.matrices).u32(self.n), groups).costing([
            self.matrices,
            self.n,
            self.n,
            self.n,
        ])
    }
}

/// Factors of `x`, packed into `out [matrices, n + 2, n]`.
pub fn lu(p: &Square) -> Launch {
    p.launch(Source::new("lu", kiln_shaders::LU))
}

/// The lower triangular root of `x` into `out`.
pub fn cholesky(p: &Square) -> Launch {
    p.launch(Source::new("cholesky", kiln_shaders::CHOLESKY))
}

/// Equations with a triangular matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Triangular {
    /// The matrices `a`.
    pub of: Square,
    /// Columns of `b` and `out [matrices, n, columns]`.
    pub columns: u32,
    /// Whether the triangle above the diagonal counts, and not the one below.
    pub upper: bool,
    /// Whether the diagonal is 1.
    pub unit: bool,
}

/// The solutions of `a · out = b`.
pub fn triangular(p: &Triangular) -> Launch {
    const WG: u32 = 64;
    let source = Source::new("solve_triangular", kiln_shaders::SOLVE_TRIANGULAR)
        .constant("WG", format!("{WG}u"))
        .constant("UPPER", p.upper)
        .constant("UNIT", p.unit);
    let Square { matrices, n } = p.of;
    let groups = fold_groups((u64::from(matrices) * u64::from(p.columns)).div_ceil(WG.into()));
    Launch::new(source, Params::new().u32(matrices).u32(n).u32(p.columns), groups).costing([matrices, p.columns, n, n])
}
