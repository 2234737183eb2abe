//! Attention: several heads, grouped heads, positions, and the cache for generation.

mod cache;
mod core;
mod grouped;
mod multihead;
mod positions;

pub use cache::KvCache;
pub(super) use core::attend;
pub use core::causal_mask;
pub use grouped::GroupedQueryAttention;
pub use multihead::{AttentionArgs, MultiheadAttention, MultiheadOptions};
pub use positions::{LearnedPositions, Rotary, SinusoidalPositions, alibi};
