//! Table look-up.

use super::{Forward, Module};
use crate::init::Init;
use crate::{DType, Lit, Param, Tensor, composed};

/// A table of vectors: `y[.., :] = weight[index[..], :]`.
///
/// Shapes: `index [..]` of `I32` → `[.., width]`; `weight [rows, width]`.
#[derive(Module)]
pub struct Embedding {
    /// The table, drawn from N(0, 1).
    pub weight: Param,
    /// A row that is zero at first and gets no gradient.
    pub padding: Option<usize>,
}

impl Embedding {
    /// A table of `rows` vectors of `width` numbers.
    pub fn new(rows: usize, width: usize, init: &mut Init) -> Self {
        Self { weight: init.normal(&[rows, width], 0.0, 1.0), padding: None }
    }

    /// The same, whose row `padding` starts as zeros and is not trained (PyTorch's `padding_idx`).
    pub fn padded(rows: usize, width: usize, padding: usize, init: &mut Init) -> Self {
        let weight = init.values(&[rows, width], |stream, values| {
            stream.normal(values, 0.0, 1.0);
            values.chunks_mut(width.max(1)).skip(padding).take(1).for_each(|row| row.fill(0.0));
        });
        Self { weight, padding: Some(padding) }
    }
}

impl Forward for Embedding {
    /// `index [..]` → `[.., width]`. An index outside the table is an
    /// [`Error::Index`](crate::Error::Index).
    #[track_caller]
    fn forward(&self, index: &Tensor) -> Tensor {
        let rows = self.weight.embedding(index);
        match self.padding {
            None => rows,
            Some(padding) => {
                let frozen = index.eq(padding).unsqueeze(-1);
                Tensor::where_(&frozen, rows.detach(), &rows)
            }
        }
    }
}

/// How [`EmbeddingBag`] joins the vectors of a bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BagMode {
    /// Their sum, each times its weight if weights are given.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The largest of each number.
    Max,
}

impl Module for BagMode {
    fn visit(&self, _visitor: &mut super::Visitor<'_>) {}
}

/// Rows of a table, joined by bags: the look-up of many values at once. An empty bag gives zeros.
///
/// PyTorch's `max_norm`, `scale_grad_by_freq` and sparse gradients are not here.
#[derive(Module)]
pub struct EmbeddingBag {
    /// The table `[rows, width]`, drawn from N(0, 1).
    pub weight: Param,
    /// How vectors are joined; the mean.
    pub mode: BagMode,
    /// A row that counts for nothing, in the mean neither; PyTorch's `padding_idx`.
    pub padding: Option<usize>,
}

impl EmbeddingBag {
    /// A table of `rows` vectors of `width` numbers.
    pub fn new(rows: usize, width: usize, mode: BagMode, init: &mut Init) -> Self {
        Self { weight: init.normal(&[rows, width], 0.0, 1.0), mode, padding: None }
    }

    /// Sets the row that counts for nothing.
    #[must_use]
    pub fn padding(mut self, row: usize) -> Self {
        self.padding = Some(row);
        self
    }

    /// Bags that begin at `offsets [bags]` of the vector `index [n]` → `[bags, width]`. The first offset is 0;
    /// offsets grow. `weights [n]` are for the sum alone.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) or [`Error::DType`](crate::Error::DType) if the
    /// operands do not fit, [`Error::Argument`](crate::Error::Argument) for weights in another mode than the sum.
    #[track_caller]
    pub fn offsets(&self, index: &Tensor, offsets: &Tensor, weights: Option<&Tensor>) -> Tensor {
        composed("embedding_bag", || {
            if index.rank() != 1 || offsets.rank() != 1 {
                return Tensor::bad_shape("embedding_bag", &[index, offsets], "two vectors");
            }
            if !offsets.dtype().is_int() {
                return Tensor::bad_dtype("embedding_bag", &[index, offsets], "offsets are integers");
            }
            let place = Tensor::arange(index.device(), 0, index.numel() as i32, 1);
            // [bags, n]: an element belongs to the last bag that begins at or before it
            let begun = place.ge(offsets.unsqueeze(-1)).cast(DType::I32);
            let bags = begun.numel() / index.numel().max(1);
            let later = if bags > 1 {
                Tensor::cat(&[&begun.narrow(0, 1, bags - 1), &begun.narrow(0, 0, 1).zeros_like()], 0)
            } else {
                begun.zeros_like()
            };
            self.join(index, &(begun - later).gt(0), weights)
        })
    }

    /// Joins rows `index [n]` by `member [bags, n]`.
    #[track_caller]
    fn join(&self, index: &Tensor, member: &Tensor, weights: Option<&Tensor>) -> Tensor {
        if let Some(weights) = weights {
            if self.mode != BagMode::Sum {
                return index.bad_argument("embedding_bag", "weights", "given", "none but for the sum");
            }
            if weights.shape().ok() != index.shape().ok() {
                return Tensor::bad_shape("embedding_bag", &[index, weights], "a weight for each index");
            }
        }
        let rows = self.weight.embedding(index); // [n, width]
        let member = match self.padding {
            Some(padding) => member.logical_and(index.ne(padding)),
            None => member.clone(),
        };
        let share = member.cast(DType::F32);
        match self.mode {
            BagMode::Sum => match weights {
                Some(weights) => (share * weights).matmul(&rows),
                None => share.matmul(&rows),
            },
            BagMode::Mean => {
                let count = share.sum_axes(-1, true).maximum(Lit(1.0));
                share.matmul(&rows) / count
            }
            BagMode::Max => {
                let each = Tensor::where_(&member.unsqueeze(-1), rows.unsqueeze(0), f32::NEG_INFINITY);
                let (most, _) = each.max_with_index(1, false);
                Tensor::where_(&member.any(-1, true), most, Lit(0.0))
            }
        }
    }
}

impl Forward for EmbeddingBag {
    /// Bags of equal size: `index [bags, n]` → `[bags, width]`.
    #[track_caller]
    fn forward(&self, index: &Tensor) -> Tensor {
        self.weighted(index, None)
    }
}

impl EmbeddingBag {
    /// Bags of equal size, `index [bags, n]`, with a weight for each index → `[bags, width]`.
    #[track_caller]
    pub fn weighted(&self, index: &Tensor, weights: Option<&Tensor>) -> Tensor {
        composed("embedding_bag", || {
            let Ok([bags, n]) = index.dims::<2>() else {
                return Tensor::bad_shape("embedding_bag", &[index], "[bags, n]; for a vector, give offsets");
            };
            let device = index.device();
            let of = Tensor::arange(device, 0, (bags * n) as i32, 1).floor_divide(n.max(1) as i32);
            let member = of.eq(Tensor::arange(device, 0, bags as i32, 1).unsqueeze(-1));
            let flat = weights.map(|w| w.reshape(-1));
            self.join(&index.reshape(-1), &member, flat.as_ref())
        })
    }
}
