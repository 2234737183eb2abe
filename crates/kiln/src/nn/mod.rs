//! Layers, and what a model is made of. Layers know only tensors: nothing here reaches into plans
//! or devices, and whatever is here could be written by a user in the same way.

mod activation;
mod attention;
mod conv;
mod distance;
mod dropout;
mod generate;
mod gpt2;
mod graph;
mod linear;
mod module;
mod norm;
mod pool;
mod recurrent;
mod sequential;
mod state_dict;
mod transformer;

pub use crate::init::Init;
pub use activation::{
    Elu, Flatten, Gelu, GeluTanh, Hardsigmoid, Hardswish, Identity, LeakyRelu, LogSigmoid, LogSoftmax, Mish, Relu,
    Relu6, Selu, Sigmoid, Silu, Softmax, Softplus, Softsign, Tanh,
};
pub use attention::{
    AttentionArgs, GroupedQueryAttention, KvCache, LearnedPositions, MultiheadAttention, MultiheadOptions, Rotary,
    SinusoidalPositions, alibi, causal_mask,
};
pub use conv::{Conv1d, Conv2d};
pub use distance::{CosineSimilarity, PairwiseDistance, cdist, cosine_similarity, pairwise_distance};
pub use dropout::Dropout;
pub use generate::{Sampler, Sampling, generate};
pub use gpt2::{Gpt2, Gpt2Options, Projection};
pub use graph::{
    Aggregation, GatConv, GatOptions, Gatv2Conv, GcnConv, GinConv, GraphConv, Messages, SageConv, global_add_pool,
    global_max_pool, global_mean_pool,
};
pub use kiln_derive::Module;
pub use linear::{Embedding, Linear};
pub use module::{Forward, Leaf, Mode, Module, Visitor, walk};
pub use norm::{BatchNorm, BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RmsNorm};
pub use pool::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
pub use recurrent::{Gru, GruCell, Lstm, LstmCell, Nonlinearity, RecurrentOptions, RecurrentWeights, Rnn, RnnCell};
pub use sequential::Sequential;
pub use state_dict::StateDict;
pub use transformer::{
    DecoderMasks, Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer, TransformerOptions,
};

use crate::Extents;

/// Extents as sizes; a negative one becomes 0, which the operation refuses.
fn sizes(list: &impl Extents) -> Vec<usize> {
    list.list().into_iter().map(|extent| usize::try_from(extent).unwrap_or(0)).collect()
}
