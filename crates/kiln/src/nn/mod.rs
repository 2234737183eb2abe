//! Layers, and what a model is made of. Layers know only tensors: nothing here reaches into plans
//! or devices, and whatever is here could be written by a user in the same way.

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod conv_transpose;
mod distance;
mod dropout;
mod embedding;
mod functional;
mod fusion;
mod generate;
mod gpt2;
mod graph;
mod grid;
mod linear;
mod lora;
mod mix;
mod module;
mod norm;
mod orthogonal;
mod pad;
mod pattern;
mod pool;
mod recurrent;
mod reparam;
mod resize;
mod sequences;
mod sequential;
mod shape;
mod softmax_loss;
mod state_dict;
mod summary;
mod transformer;
mod vector;

pub use crate::init::Init;
pub use activation::{
    Celu, Elu, Gelu, GeluTanh, Glu, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, Identity, LeakyRelu, LogSigmoid,
    LogSoftmax, Mish, PRelu, RRelu, Relu, Relu6, Selu, Sigmoid, Silu, Softmax, Softmax2d, Softmin, Softplus,
    Softshrink, Softsign, Tanh, Tanhshrink, Threshold, gumbel_softmax,
};
pub use attention::{
    AttentionArgs, GroupedQueryAttention, KvCache, LearnedPositions, MultiheadAttention, MultiheadOptions, Rotary,
    SinusoidalPositions, alibi, causal_mask,
};
pub use batch_norm::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d,
    Running,
};
pub use conv::{Conv1d, Conv2d, Conv3d};
pub use conv_transpose::{ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
pub use distance::{CosineSimilarity, PairwiseDistance, cdist, cosine_similarity, normalize, pairwise_distance, pdist};
pub use dropout::{
    AlphaDropout, DropMode, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout, StochasticDepth,
};
pub use embedding::{BagMode, Embedding, EmbeddingBag, TableOptions};
pub use functional::functional_call;
pub use fusion::{fuse_conv_bn, fuse_linear_bn};
pub use generate::{Sampler, Sampling, generate};
pub use gpt2::{Gpt2, Gpt2Options, Projection};
pub use graph::{
    Aggregation, GatConv, GatOptions, Gatv2Conv, GcnConv, GinConv, GraphConv, Messages, SageConv, global_add_pool,
    global_max_pool, global_mean_pool,
};
pub use grid::{GridMode, GridOptions, GridPadding, affine_grid, grid_sample};
pub use kiln_derive::Module;
pub use linear::{Bilinear, Linear};
pub use lora::{Adaptable, Lora, LoraOptions};
pub use mix::{beta, cutmix, mixup};
pub use module::{Forward, Leaf, Mode, Module, Visitor, walk};
pub use norm::{GroupNorm, LayerNorm, LocalResponseNorm, RmsNorm};
pub use orthogonal::{Orthogonal, OrthogonalMap};
pub use pad::{
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d, PaddingMode,
    ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad1d,
    ZeroPad2d, ZeroPad3d,
};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d,
    AvgPool1d, AvgPool2d, AvgPool3d, FractionalMaxPool2d, FractionalMaxPool3d, LpPool1d, LpPool2d, LpPool3d, MaxPool1d,
    MaxPool2d, MaxPool3d, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d,
};
pub use recurrent::{Gru, GruCell, Lstm, LstmCell, Nonlinearity, RecurrentOptions, RecurrentWeights, Rnn, RnnCell};
pub use reparam::{SpectralNorm, WeightNorm, Weighted};
pub use resize::{Interpolation, Size, Upsample, interpolate};
pub use sequences::{PaddingSide, pad_sequence, unpad_sequence};
pub use sequential::Sequential;
pub use shape::{ChannelShuffle, Flatten, Fold, PixelShuffle, PixelUnshuffle, Unflatten, Unfold};
pub use softmax_loss::{AdaptiveLogSoftmax, LinearCrossEntropy};
pub use state_dict::StateDict;
pub use summary::{Summary, SummaryRow, summary};
pub use transformer::{
    DecoderMasks, Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer, TransformerOptions,
};
pub use vector::{parameters_to_vector, vector_to_parameters};

use crate::Extents;

/// Extents as sizes; a negative one becomes 0, which the operation refuses.
fn sizes(list: &impl Extents) -> Vec<usize> {
    list.list().into_iter().map(|extent| usize::try_from(extent).unwrap_or(0)).collect()
}
