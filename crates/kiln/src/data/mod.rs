//! Examples to learn from: sets in memory, seeded shuffled batches, splits, and the digits.

pub mod digits;
mod set;

pub use set::{Batches, Column, Dataset, TensorDataset};
