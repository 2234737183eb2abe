//! Launchers: one file a shader. Each turns a problem into a specialised source, its parameters and its grid.

pub mod attention;
mod common;
pub mod conv;
pub mod guard;
pub mod lanes;
pub mod linalg;
pub mod map;
pub mod matmul;
pub mod norm;
pub mod pool;
pub mod random;
pub mod recurrence;
pub mod reduce;
pub mod scan;
pub mod segment;
pub mod softmax;
pub mod sort;
mod stages;

use crate::trial::Family;

pub use common::{Kind, Scalar};
pub use stages::{Stage, Stages};

/// The families that are tested before they are trusted, and that can be tuned.
pub static FAMILIES: &[Family] =
    &[matmul::FAMILY, conv::FAMILY, attention::FAMILY, softmax::FAMILY, norm::FAMILY, reduce::FAMILY];
