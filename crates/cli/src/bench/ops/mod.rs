//! The table of ops, a file a family. To add an op, add a row.

mod attention;
mod conv;
mod elementwise;
mod index;
mod matmul;
mod order;
mod pool;
mod reduce;
mod rows;
pub(crate) mod steps;

use super::op::Op;

/// Every family.
pub(crate) const FAMILIES: &[&[Op]] = &[
    matmul::OPS,
    conv::OPS,
    rows::OPS,
    attention::OPS,
    reduce::OPS,
    order::OPS,
    index::OPS,
    elementwise::OPS,
    pool::OPS,
    steps::OPS,
];
