//! Table look-up.

use super::{Forward, Module};
use crate::init::Init;
use crate::{DType, Lit, Param, Result, ScatterReduce, Tensor, composed};

/// Settings of a table that PyTorch's `Embedding` and `EmbeddingBag` share.
#[derive(Module, Debug, Clone, Copy, PartialEq)]
pub struct TableOptions {
    /// Rows that are looked up and are longer are first shortened to this length, in the table itself; by default
    /// they are not.
    pub max_norm: Option<f32>,
    /// The p of the norm that measures them; 2.
    pub norm_type: f32,
    /// Whether the gradient of a row is divided by how often the row is looked up; false.
    pub scale_grad_by_freq: bool,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { max_norm: None, norm_type: 2.0, scale_grad_by_freq: false }
    }
}

impl TableOptions {
    /// Rows `index [..]` of the table → `[.., width]`.
    #[track_caller]
    fn look_up(&self, table: &Param, index: &Tensor) -> Tensor {
        if let Some(max_norm) = self.max_norm
            && let Err(error) = self.shorten(table, index, max_norm)
        {
            return Tensor::invalid(index.device(), error);
        }
        let rows = table.embedding(index);
        if !self.scale_grad_by_freq || rows.shape().is_err() {
            return rows;
        }
        let often = how_often(table, index).index_select(0, &index.reshape(-1)).reshape(index.shape_or_scalar());
        let share = &rows / often.unsqueeze(-1);
        rows.detach() + (&share - share.detach()) // the rows themselves, with the gradient of the shares
    }

    /// Shortens the rows that `index` names and that are longer than `max_norm`.
    #[track_caller]
    fn shorten(&self, table: &Param, index: &Tensor, max_norm: f32) -> Result<()> {
        if max_norm.is_nan() || max_norm < 0.0 {
            return index.bad_argument("embedding", "max_norm", max_norm, "at least 0").shape().map(drop);
        }
        let value = table.value().detach();
        let length = value.norm(self.norm_type, -1, true);
        let long = length.gt(max_norm).logical_and(how_often(table, index).gt(Lit(0.0)).unsqueeze(-1));
        table.project(&Tensor::where_(&long, &value * (max_norm / (length + Lit(1e-7))), &value))
    }
}

/// The error of a padding row that the table does not have.
#[track_caller]
fn checked(padding: Option<usize>, table: &Param, index: &Tensor) -> Result<(), Tensor> {
    match (padding, table.shape().map(|shape| shape.first().copied())) {
        (Some(padding), Ok(Some(rows))) if padding >= rows => {
            Err(index.bad_argument("embedding", "padding", padding, "a row of the table"))
        }
        _ => Ok(()),
    }
}

/// How often each row of the table is named: `[rows]`, as floats.
#[track_caller]
fn how_often(table: &Param, index: &Tensor) -> Tensor {
    let rows = table.shape().ok().and_then(|shape| shape.first().copied()).unwrap_or(0);
    let flat = index.reshape(-1);
    Tensor::zeros(index.device(), [rows]).index_add(0, &flat, &flat.ones_like().cast(DType::F32))
}

/// The builder methods of what has [`TableOptions`].
macro_rules! table_options {
    () => {
        /// Shortens rows that are looked up and longer than this, in the table itself.
        #[must_use]
        pub fn max_norm(mut self, max_norm: f32) -> Self {
            self.options.max_norm = Some(max_norm);
            self
        }

        /// Sets the p of the norm that measures them.
        #[must_use]
        pub fn norm_type(mut self, p: f32) -> Self {
            self.options.norm_type = p;
            self
        }

        /// Divides the gradient of a row by how often the row is looked up; not for the maximum of bags.
        #[must_use]
        pub fn scale_grad_by_freq(mut self) -> Self {
            self.options.scale_grad_by_freq = true;
            self
        }
    };
}

/// A table of vectors: `y[.., :] = weight[index[..], :]`.
///
/// Shapes: `index [..]` of `I32` → `[.., width]`; `weight [rows, width]`.
#[derive(Module)]
pub struct Embedding {
    /// The table, drawn from N(0, 1).
    pub weight: Param,
    /// A row that is zero at first and gets no gradient.
    pub padding: Option<usize>,
    /// The longest row, and how gradients are shared.
    pub options: TableOptions,
}

impl Embedding {
    /// A table of `rows` vectors of `width` numbers.
    pub fn new(rows: usize, width: usize, init: &mut Init) -> Self {
        Self::of(init.normal(&[rows, width], 0.0, 1.0))
    }

    /// The same, whose row `padding` starts as zeros and is not trained (PyTorch's `padding_idx`).
    pub fn padded(rows: usize, width: usize, padding: usize, init: &mut Init) -> Self {
        let weight = init.values(&[rows, width], |stream, values| {
            stream.normal(values, 0.0, 1.0);
            values.chunks_mut(width.max(1)).skip(padding).take(1).for_each(|row| row.fill(0.0));
        });
        Self { padding: Some(padding), ..Self::of(weight) }
    }

    /// Of a table that is there already: PyTorch's `from_pretrained`, which freezes it unless told otherwise. Here it is
    /// trained like any other.
    pub fn of(weight: Param) -> Self {
        Self { weight, padding: None, options: TableOptions::default() }
    }

    table_options!();
}

impl Forward for Embedding {
    /// `index [..]` → `[.., width]`. An index outside the table is an
    /// [`Error::Index`](crate::Error::Index).
    #[track_caller]
    fn forward(&self, index: &Tensor) -> Tensor {
        composed("embedding", || {
            if let Err(bad) = checked(self.padding, &self.weight, index) {
                return bad;
            }
            let rows = self.options.look_up(&self.weight, index);
            match self.padding {
                None => rows,
                Some(padding) => {
                    let frozen = index.eq(padding).unsqueeze(-1);
                    Tensor::where_(&frozen, rows.detach(), &rows)
                }
            }
        })
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
/// PyTorch's sparse gradients are not here.
#[derive(Module)]
pub struct EmbeddingBag {
    /// The table `[rows, width]`, drawn from N(0, 1).
    pub weight: Param,
    /// How vectors are joined; the mean.
    pub mode: BagMode,
    /// A row that counts for nothing, in the mean neither; PyTorch's `padding_idx`.
    pub padding: Option<usize>,
    /// Whether the last offset is the end of the last bag and not the start of another; false.
    pub include_last_offset: bool,
    /// The longest row, and how gradients are shared.
    pub options: TableOptions,
}

impl EmbeddingBag {
    /// A table of `rows` vectors of `width` numbers.
    pub fn new(rows: usize, width: usize, mode: BagMode, init: &mut Init) -> Self {
        let weight = init.normal(&[rows, width], 0.0, 1.0);
        Self { weight, mode, padding: None, include_last_offset: false, options: TableOptions::default() }
    }

    /// Sets the row that counts for nothing, and makes it zeros. (PyTorch's `from_pretrained` leaves it as it is: so does
    /// the field.)
    #[must_use]
    #[track_caller]
    pub fn padding(mut self, row: usize) -> Self {
        self.padding = Some(row);
        let rows = self.weight.shape().map_or(0, |shape| shape.first().copied().unwrap_or(0));
        let place = Tensor::arange(self.weight.device(), 0, rows as i32, 1).eq(row).unsqueeze(-1);
        // what is wrong with a table is said where it is used
        self.weight.project(&Tensor::where_(&place, Lit(0.0), &*self.weight)).ok();
        self
    }

    /// Takes the last offset for the end of the last bag.
    #[must_use]
    pub fn include_last_offset(mut self) -> Self {
        self.include_last_offset = true;
        self
    }

    table_options!();

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
            let (n, begun) = (index.numel(), offsets.numel());
            if self.include_last_offset && begun == 0 {
                return Tensor::bad_shape("embedding_bag", &[index, offsets], "at least the last offset");
            }
            // how many bags begin at or before an element; an offset past the end is noticed
            let starts =
                Tensor::zeros(index.device(), [n + 1]).index_add(0, offsets, &offsets.ones_like().cast(DType::F32));
            let bag = starts.narrow(0, 0, n).cumsum(0).cast(DType::I32) - 1;
            let bags = begun - usize::from(self.include_last_offset);
            self.join(index, &bag, bags, weights)
        })
    }

    /// Joins rows `index [n]`, each into bag number `bag [n]` of `bags`; a number past the last bag is left out.
    #[track_caller]
    fn join(&self, index: &Tensor, bag: &Tensor, bags: usize, weights: Option<&Tensor>) -> Tensor {
        const OP: &str = "embedding_bag";
        if let Some(weights) = weights {
            if self.mode != BagMode::Sum {
                return index.bad_argument(OP, "weights", "given", "none but for the sum");
            }
            if weights.shape().ok() != index.shape().ok() {
                return Tensor::bad_shape(OP, &[index, weights], "a weight for each index");
            }
        }
        if self.options.scale_grad_by_freq && self.mode == BagMode::Max {
            return index.bad_argument(OP, "scale_grad_by_freq", true, "false for the maximum");
        }
        if let Err(bad) = checked(self.padding, &self.weight, index) {
            return bad;
        }
        let rows = self.options.look_up(&self.weight, index); // [n, width]
        let Ok([n, width]) = rows.dims::<2>() else { return rows };
        if n == 0 || bags == 0 {
            return Tensor::zeros(index.device(), [bags, width]);
        }
        // what counts for nothing goes into a bag behind the last
        let bag = match self.padding {
            Some(padding) => Tensor::where_(&index.eq(padding), bags as i32, bag),
            None => bag.clone(),
        };
        let sums = |of: &Tensor, wide: usize| {
            Tensor::zeros(index.device(), [bags + 1, wide]).index_add(0, &bag, of).narrow(0, 0, bags)
        };
        match self.mode {
            BagMode::Sum => match weights {
                Some(weights) => sums(&(rows * weights.unsqueeze(-1)), width),
                None => sums(&rows, width),
            },
            BagMode::Mean => {
                let count = sums(&Tensor::ones(index.device(), [n, 1]), 1).maximum(Lit(1.0));
                sums(&rows, width) / count
            }
            BagMode::Max => {
                let fixed = rows.detach();
                let none = Tensor::zeros(index.device(), [bags + 1, width]);
                let most = none.index_reduce(0, &bag, &fixed, ScatterReduce::Amax, false).index_select(0, &bag);
                // of equals the first has the gradient
                let place = Tensor::arange(index.device(), 0, n as i32, 1).unsqueeze(-1);
                let hit = fixed.eq(&most).logical_or(fixed.isnan());
                let place = Tensor::where_(&hit, place, n as i32); // [n, width]
                let none = none.cast(DType::I32) + n as i32;
                let first = none.index_reduce(0, &bag, &place, ScatterReduce::Amin, true).narrow(0, 0, bags);
                let picked = rows.gather(0, &first.clamp(0, n as i32 - 1));
                Tensor::where_(&first.lt(n as i32), picked, Lit(0.0))
            }
        }
    }

    /// Bags of equal size, `index [bags, n]`, with a weight for each index → `[bags, width]`.
    #[track_caller]
    pub fn weighted(&self, index: &Tensor, weights: Option<&Tensor>) -> Tensor {
        composed("embedding_bag", || {
            let Ok([bags, n]) = index.dims::<2>() else {
                return Tensor::bad_shape("embedding_bag", &[index], "[bags, n]; for a vector, give offsets");
            };
            let bag = Tensor::arange(index.device(), 0, (bags * n) as i32, 1).floor_divide(n.max(1) as i32);
            let flat = weights.map(|w| w.reshape(-1));
            self.join(&index.reshape(-1), &bag, bags, flat.as_ref())
        })
    }
}

impl Forward for EmbeddingBag {
    /// Bags of equal size: `index [bags, n]` → `[bags, width]`.
    #[track_caller]
    fn forward(&self, index: &Tensor) -> Tensor {
        self.weighted(index, None)
    }
}
