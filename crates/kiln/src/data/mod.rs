//! Examples to learn from: files, sets in memory, streams, seeded shuffled batches prepared on other threads, splits,
//! changes to images, tokenizers, and the digits.

pub mod augment;
pub mod digits;
pub mod files;
mod graph;
mod loader;
mod order;
mod set;
mod source;
pub mod stream;
pub mod tokens;
mod workers;

pub use graph::{Graph, GraphBatch};
pub use loader::{Batch, DataLoader, Epoch, Last, Position, Rows};
pub use order::{folds, parts, stratified_folds};
pub use set::{Batches, Column, Dataset, TensorDataset};
pub use source::{Order, Pass, Passes, Source};
