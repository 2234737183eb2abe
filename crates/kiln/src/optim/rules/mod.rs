//! The optimizers' formulas, one parameter at a time.

pub(super) mod adam;
pub(super) mod asgd;
pub(super) mod layerwise;
pub(super) mod moments;
pub(super) mod muon;
pub(super) mod sgd;
pub(super) mod signs;
pub(super) mod squares;
