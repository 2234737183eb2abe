//! Examples to learn from: sets in memory, seeded shuffled batches, splits, and the digits.

pub mod digits;
mod graph;
mod set;

pub use graph::{Graph, GraphBatch};
pub use set::{Batches, Column, Dataset, TensorDataset};
