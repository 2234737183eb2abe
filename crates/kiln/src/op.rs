//! Every operation the graph knows.

use crate::cell::{Cell, CellInfo};
use crate::error::Error;
use crate::layout::ViewOp;
use crate::ops::attention::Attends;
use crate::ops::conv::ConvSpec;
use crate::ops::custom::Custom;
use crate::ops::pool::Window;
use crate::ops::recurrence::Recurrence;
use crate::ops::{binary::Binary, unary::Unary};
use std::sync::Arc;

/// Which numbers a reduction combines how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reduction {
    Sum,
    Prod,
    /// Of which NaNs share the gradient, as equal numbers do: `max` of all elements.
    Max,
    Min,
    /// Of which NaN has a gradient of NaN: `amax` along axes.
    Amax,
    Amin,
    ArgMax,
    ArgMin,
    LogSumExp,
}

impl Reduction {
    /// The largest or the smallest element.
    pub(crate) fn is_extreme(self) -> bool {
        matches!(self, Reduction::Max | Reduction::Min | Reduction::Amax | Reduction::Amin)
    }

    /// Whether one element is its own reduction.
    pub(crate) fn of_itself(self) -> bool {
        matches!(self, Reduction::Sum | Reduction::Prod) || self.is_extreme()
    }
}

/// What a random element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Random {
    /// 32 random bits.
    Word,
    /// Uniform in [0, 1).
    Uniform,
    /// Standard normal.
    Normal,
}

/// Every operation. Elementwise ones broadcast their inputs; views cost nothing; the others are kernels.
#[derive(Clone)]
pub(crate) enum Op {
    /// Carries the first error.
    Invalid(Arc<Error>),
    /// Elements that came from the host or from an earlier run.
    Value,
    /// The name by which a program holds a cell; replaced by its current content wherever it is used.
    Handle(Arc<Cell>),
    /// A cell's content.
    Content(Arc<CellInfo>),
    /// A number of the host: its bits travel when the plan runs.
    Scalar(u32),
    /// A number of the formula, by its bits: part of the kernel.
    Const(u32),
    /// Element `a` is `a`.
    Iota,
    /// Element `a` is word `a` of a counter-based stream. Inputs: two key words and the call's counter.
    Random(Random),

    Unary(&'static Unary),
    Binary(&'static Binary),
    /// Inputs: condition, then, else.
    Where,
    Cast,
    /// Inputs one after another along an axis.
    Concat(usize),
    /// Input 0 taken along the axis at input 1, which has the shape of the result.
    Gather(usize),

    View(ViewOp),

    /// Over the axes in the mask, which disappear.
    Reduce(Reduction, u8),
    Matmul,
    /// Over the last axis.
    Softmax {
        log: bool,
    },
    /// Input 0 over the last axis, divided by its deviation; `Second` is 1/deviation. Input 1: eps.
    Norm {
        center: bool,
    },
    /// Inputs: normalised rows, 1/deviation, upstream gradient.
    NormGrad {
        center: bool,
    },
    /// Inputs: q, k, v, scale, the words of the dropout and the mask, as far as there are any; `Second` is the logarithm of
    /// each row's sum.
    Attention(Attends),
    /// Inputs: q, k, v, scale, the result, its gradient, its `Second`, words, mask; `Second` is that and Σ dy y of each row.
    AttentionQuery(Attends),
    /// Inputs: q, k, v, scale, the result's gradient, `Second` of the query gradient, words, mask; `Second` is dv.
    AttentionKeys(Attends),
    /// Inputs: the gates' part of the input, weights, h and c of the start, bias, lengths, as far as there are any;
    /// `Second` are the gates.
    Recurrence(Recurrence),
    /// Inputs: those, the result, its gradient, its `Second`; `Second` is the gradient of the start.
    RecurrenceGrad(Recurrence),
    Conv(Box<ConvSpec>),
    ConvInput(Box<ConvSpec>),
    ConvWeight(Box<ConvSpec>),
    /// `Second` is where the maximum was.
    MaxPool(Box<Window>),
    MaxPoolGrad(Box<Window>),
    AvgPool(Box<Window>),
    AvgPoolGrad(Box<Window>),
    /// Running sum or product along the last axis.
    Scan {
        product: bool,
    },
    /// Stable, along the last axis; `Second` is where each value was.
    Sort {
        descending: bool,
    },
    /// Inputs: sorted keys [n], permutation [n], source [n, ..]: sums of the rows with equal keys.
    SegmentSum,
    /// The second result of the input.
    Second,
    Custom(Arc<dyn Custom>),
    /// The same elements, with no way back for gradients.
    Detach,
}

impl Op {
    /// Whether each element of the result depends on one element of each input, at the same place or at one
    /// that an index names.
    pub(crate) fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::Where
                | Op::Cast
                | Op::Concat(_)
                | Op::Gather(_)
                | Op::Random(_)
                | Op::Detach
        )
    }

    /// Whether it is surely the same operation. `false` for those that formulas of optimizers hardly use.
    pub(crate) fn same(&self, other: &Op) -> bool {
        match (self, other) {
            (Op::Scalar(a), Op::Scalar(b)) | (Op::Const(a), Op::Const(b)) => a == b,
            (Op::Unary(a), Op::Unary(b)) => std::ptr::eq(*a, *b),
            (Op::Binary(a), Op::Binary(b)) => std::ptr::eq(*a, *b),
            (Op::View(a), Op::View(b)) => a == b,
            (Op::Reduce(a, over), Op::Reduce(b, of)) => (a, over) == (b, of),
            (Op::Concat(a), Op::Concat(b)) => a == b,
            (Op::Iota, Op::Iota)
            | (Op::Where, Op::Where)
            | (Op::Cast, Op::Cast)
            | (Op::Detach, Op::Detach)
            | (Op::Matmul, Op::Matmul) => true,
            _ => false,
        }
    }

    /// A word for messages and labels.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Op::Invalid(_) => "invalid",
            Op::Value => "value",
            Op::Handle(_) | Op::Content(_) => "cell",
            Op::Scalar(_) | Op::Const(_) => "number",
            Op::Iota => "arange",
            Op::Random(_) => "random",
            Op::Unary(row) => row.name,
            Op::Binary(row) => row.name,
            Op::Where => "where",
            Op::Cast => "cast",
            Op::Concat(_) => "cat",
            Op::Gather(_) => "gather",
            Op::View(view) => match view {
                ViewOp::Reshape(_) => "reshape",
                ViewOp::Permute(_) => "permute",
                ViewOp::Broadcast(_) => "expand",
                ViewOp::Slice { .. } => "slice",
                ViewOp::Pad(_) => "pad",
                ViewOp::Diagonal { .. } => "diagonal",
            },
            Op::Reduce(kind, _) => match kind {
                Reduction::Sum => "sum",
                Reduction::Prod => "prod",
                Reduction::Max => "max",
                Reduction::Min => "min",
                Reduction::Amax => "amax",
                Reduction::Amin => "amin",
                Reduction::ArgMax => "argmax",
                Reduction::ArgMin => "argmin",
                Reduction::LogSumExp => "logsumexp",
            },
            Op::Matmul => "matmul",
            Op::Softmax { log: false } => "softmax",
            Op::Softmax { log: true } => "log_softmax",
            Op::Norm { center: true } => "layer_norm",
            Op::Norm { center: false } => "rms_norm",
            Op::NormGrad { .. } => "norm_grad",
            Op::Attention(_) => "attention",
            Op::AttentionQuery(_) => "attention_query_grad",
            Op::AttentionKeys(_) => "attention_key_grad",
            Op::Recurrence(what) => what.name(),
            Op::RecurrenceGrad(_) => "recurrence_grad",
            Op::Conv(_) => "conv",
            Op::ConvInput(_) => "conv_input_grad",
            Op::ConvWeight(_) => "conv_weight_grad",
            Op::MaxPool(_) => "max_pool",
            Op::MaxPoolGrad(_) => "max_pool_grad",
            Op::AvgPool(_) => "avg_pool",
            Op::AvgPoolGrad(_) => "avg_pool_grad",
            Op::Scan { product: false } => "cumsum",
            Op::Scan { product: true } => "cumprod",
            Op::Sort { .. } => "sort",
            Op::SegmentSum => "scatter_add",
            Op::Second => "second",
            Op::Custom(custom) => custom.name(),
            Op::Detach => "detach",
        }
    }
}
