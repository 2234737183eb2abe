//! Kiln trains neural networks on any GPU through compute shaders.
//!
//! A [`Tensor`] is an expression: operations record what is to be done, and nothing runs until a value is asked for
//! or a step is taken. Then the whole expression becomes one plan of hand-written WGSL kernels, with elementwise
//! work fused into them, which is found again the next time.
//!
//! ```
//! use kiln::prelude::*;
//!
//! let device = Device::open()?;
//! let x = Tensor::new(&device, [[1.0, 2.0], [3.0, 4.0]]);
//! let y = x.matmul(&x).relu().sum();
//! assert_eq!(y.item()?, 54.0);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Where tensors differ from PyTorch's
//!
//! Functions have PyTorch's names, arguments in its order, its results for NaN, infinities, ties and empty tensors, and its
//! gradients. What is different on purpose:
//!
//! * Nothing is thrown: a wrong call gives a tensor that carries an [`Error`], which the first call that returns a
//!   [`Result`] gives back.
//! * Nothing happens in place: `scatter`, `index_put`, `masked_fill` and the like give a new tensor.
//! * Types are bool, u32, i32, f16 and f32. Indices and integer sums are i32, where PyTorch has int64; integers wrap at 32 bits, one
//!   divided by zero is 0.
//! * A tensor has at most 8 axes.
//! * `torch.max`, `min`, `sum` and their kind are functions of all elements (`max`, `sum`), along a list of axes of which an empty
//!   one means all (`amax`, `sum_axes`), or with indices (`max_with_index`). `norm` is `torch.linalg.vector_norm`.
//! * `x[:, a:b]` is `range(1, a..b)`, with a step, which may be negative, `slice`; `x[i]` is `select`, `x[i, j]` with tensors is
//!   `index`, `torch.where` is `where_`, `x.to(dtype)` is `cast`.
//! * `a, b = x.chunk(2, -1)` is `let [a, b] = x.chunk_into(-1)`, and so are `split_into` and `unbind_into`; `b, t, c = x.shape` is
//!   `x.dims()?`, or `x.with_dims(|[b, t, c]| ..)` in a function without `?`.
//! * Results whose shape depends on the data wait for the device and are a [`Result`]: `nonzero`, `masked_select`, `unique`,
//!   `repeat_interleave_with` (of a tensor of counts). `bincount` is told its length.
//! * `torch.linalg` is methods: `solve`, `solve_triangular`, `inv`, `det`, `slogdet`, `cholesky` take f32 matrices of at most 192 rows.
//!   Of a singular matrix they give infinities and NaN, of one that is not positive definite `cholesky` gives NaN, where PyTorch
//!   throws; the gradient of `det` at a singular matrix is not finite. There are no eigenvalues, singular values or QR factors.
//! * Results do not depend on the order in which a device works. Sorts are stable; where an index is repeated, sums are taken in
//!   order and what is put counts last; `topk`, `argmax` and `max_with_index` take the first of equals.
//! * A view that changes nothing (`reshape` to its own shape, the only part of `chunk(1, 0)`) is the tensor itself, and so is the
//!   gradient with respect to it. Where `index_put` and `put` name a place twice, only what counts has a gradient.
//! * A gradient that PyTorch says is NaN at a corner (a norm or `atan2` at the origin in second order) may be the number it tends to.
//! * Numbers in a tensor are not looked at before they are used: probabilities outside of [0, 1] give NaN as
//!   `binary_cross_entropy`, where PyTorch throws. Indices and labels are checked as they are used.
//! * A driver may take subnormal numbers (less than 1.2e-38) for zero, as WGSL permits: Mesa 26 does in comparisons.

extern crate self as kiln;

pub mod cell;
mod check;
pub mod data;
mod device;
pub mod distributions;
mod dtype;
mod emit;
pub mod error;
mod fuse;
mod grad;
mod graph;
pub mod init;
mod layout;
pub mod loss;
mod lower;
mod memory;
pub mod metrics;
mod mixed;
pub mod nn;
mod node;
mod op;
pub mod ops;
pub mod optim;
mod plan;
mod remade;
pub mod schedule;
mod shape;
mod split;
pub mod store;
mod tensor;
mod trace;
pub mod train;

pub use cell::{CellGroup, Param, State};
pub use check::{GradientCheck, check_gradients};
pub use device::Device;
pub use dtype::{DType, Element, TensorData};
pub use error::{Error, Result, StateReport};
pub use grad::Gradients;
pub use kiln_device as gpu;
pub use kiln_device::kernels::matmul::Precision as MatmulPrecision;
pub(crate) use node::composed;
pub use node::{Tensor, checkpoint, in_module};
pub use ops::attention::Attention;
pub use ops::conv::Conv;
pub use ops::conv_transpose::ConvTranspose;
pub use ops::custom::{Custom, CustomLaunch, KernelText};
pub use ops::pad::PadMode;
pub use ops::patches::Patches;
pub use ops::pool::Pool;
pub use ops::random::{Rng, dropout_mask};
pub use ops::scatter_reduce::ScatterReduce;
pub use ops::view::Extents;
pub use ops::{Lit, Number, Operand};
pub(crate) use plan::{Again, Capture, Recipe, capture_step, evaluate, formula_key, record_step, step_again};
pub use plan::{PlanInfo, PlanMemory, PlanTensor, TensorUse, step};
pub use shape::{MAX_RANK, Shape};
pub use tensor::Reading;

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// What most programs need.
pub mod prelude {
    pub use crate::data::{self, DataLoader, Dataset, TensorDataset};
    pub use crate::init::Init;
    pub use crate::loss::{
        BinaryCrossEntropy, CosineEmbedding, CrossEntropy, Ctc, Dice, Focal, GaussianNll, HingeEmbedding, Huber, KlDiv,
        MarginRanking, MultiLabelSoftMargin, MultiMargin, PoissonNll, Reduction, SmoothL1, TripletMargin, Tversky,
        binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, ctc_loss, gaussian_nll_loss, huber_loss,
        kl_div, l1_loss, mse_loss, multilabel_margin_loss, nll_loss, poisson_nll_loss, sigmoid_focal_loss,
        smooth_l1_loss, soft_margin_loss,
    };
    pub use crate::metrics::{ConfusionMatrix, accuracy};
    pub use crate::nn::{
        self, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d,
        AdaptiveMaxPool3d, AlphaDropout, AvgPool1d, AvgPool2d, AvgPool3d, BagMode, BatchNorm1d, BatchNorm2d,
        BatchNorm3d, Bilinear, Celu, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
        Dropout, Dropout1d, Dropout2d, Dropout3d, Elu, Embedding, EmbeddingBag, Flatten, Forward, Gelu, GeluTanh, Glu,
        GroupNorm, Gru, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, Identity, InstanceNorm1d, InstanceNorm2d,
        InstanceNorm3d, Interpolation, LayerNorm, LeakyRelu, Linear, LocalResponseNorm, LogSigmoid, LogSoftmax, Lora,
        Lstm, MaxPool1d, MaxPool2d, MaxPool3d, Mish, Mode, Module, Orthogonal, PRelu, PaddingMode, PixelShuffle,
        PixelUnshuffle, RRelu, RecurrentOptions, Relu, Relu6, RmsNorm, Rnn, Selu, Sequential, Sigmoid, Silu, Softmax,
        Softmin, Softplus, Softshrink, Softsign, SpectralNorm, StochasticDepth, Tanh, Tanhshrink, Threshold, Unflatten,
        Upsample, Visitor, WeightNorm,
    };
    pub use crate::optim::{
        Accumulator, Adam, AdamW, AveragedModel, Lbfgs, MixedPrecision, Muon, Optimizer, RmsProp, Sgd, clip_grad_norm,
        clip_grad_value,
    };
    pub use crate::train::{Checkpoints, Ending, Epoch, Every, Figures, History, Outcome, Trainer};
    pub use crate::{
        Attention, Conv, ConvTranspose, DType, Device, Error, Gradients, MatmulPrecision, PadMode, Param, Patches,
        Pool, Result, Rng, Shape, State, Tensor,
    };
    pub use crate::{distributions, metrics, schedule, store};
}
