//! Layers on graphs: nodes with features, and edges `[2, count]` from sources to targets.

mod attention;
mod conv;
mod message;

pub use attention::{GatConv, GatOptions, Gatv2Conv};
pub use conv::{GcnConv, GinConv, GraphConv, SageConv};
pub use message::{Aggregation, Messages, global_add_pool, global_max_pool, global_mean_pool};
