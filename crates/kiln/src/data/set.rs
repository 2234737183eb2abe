//! Sets of examples and the batches made of them.

use std::sync::Arc;

use super::augment::Image;
use super::order::{check_share, folds, parts, permutation, random_parts, stratified_folds, stratified_parts};
use crate::error::{At, List};
use crate::{Device, Error, Result, Shape, Tensor};

/// Examples that can be counted and brought to the device in batches.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let set = TensorDataset::new(&device, (vec![0.0f32; 20], [2]), (vec![0i32; 10], []))?;
/// for (x, y) in set.batches(4, 1) {
///     assert_eq!((x.shape()?[1], y.rank()), (2, 1));
/// }
/// assert_eq!(set.batches(4, 1).count(), 3);               // 4 + 4 + 2
/// assert_eq!(set.batches(4, 1).drop_last().count(), 2);
/// # Ok::<(), Error>(())
/// ```
pub trait Dataset {
    /// What a batch is: often inputs and targets.
    type Batch;

    /// The number of examples.
    fn len(&self) -> usize;

    /// The examples `rows` on the device. Rows are less than [`len`](Dataset::len).
    fn batch(&self, rows: &[usize]) -> Self::Batch;

    /// True without examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every example once, `size` at a time, in an order drawn from `seed`: give the epoch here, or
    /// a number made of run and epoch.
    fn batches(&self, size: usize, seed: u64) -> Batches<'_, Self> {
        Batches { set: self, size: size.max(1), at: 0, order: permutation(self.len(), seed) }
    }

    /// Every example once, `size` at a time, in the set's own order.
    fn in_order(&self, size: usize) -> Batches<'_, Self> {
        Batches { set: self, size: size.max(1), at: 0, order: (0..self.len()).collect() }
    }
}

/// The batches of one pass over a set.
pub struct Batches<'a, D: Dataset + ?Sized> {
    set: &'a D,
    size: usize,
    at: usize,
    order: Vec<usize>,
}

impl<D: Dataset + ?Sized> Batches<'_, D> {
    /// Leaves out the last batch if it is smaller than the others.
    #[must_use]
    pub fn drop_last(mut self) -> Self {
        self.order.truncate(self.order.len() / self.size * self.size);
        self
    }
}

impl<D: Dataset + ?Sized> Iterator for Batches<'_, D> {
    type Item = D::Batch;

    fn next(&mut self) -> Option<D::Batch> {
        let rows = self.order.get(self.at..self.at.saturating_add(self.size).min(self.order.len()))?;
        self.at += rows.len();
        (!rows.is_empty()).then(|| self.set.batch(rows))
    }

    /// Goes past `n` batches without making them, so that a resumed epoch starts at once.
    fn nth(&mut self, n: usize) -> Option<D::Batch> {
        self.at = self.at.saturating_add(n.saturating_mul(self.size)).min(self.order.len());
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.at).div_ceil(self.size);
        (left, Some(left))
    }
}

impl<D: Dataset + ?Sized> ExactSizeIterator for Batches<'_, D> {}

/// Numbers of all examples, one row each, with the shape of a row.
#[derive(Debug, Clone)]
pub enum Column {
    /// Real numbers.
    F32(Arc<[f32]>, Vec<usize>),
    /// Class labels, token numbers.
    I32(Arc<[i32]>, Vec<usize>),
    /// Pixels from 0 to 255, kept as bytes; in a batch they are real numbers from 0 to 1.
    Bytes(Arc<[u8]>, Vec<usize>),
}

impl<const N: usize> From<(Vec<f32>, [usize; N])> for Column {
    fn from((values, row): (Vec<f32>, [usize; N])) -> Self {
        Column::F32(values.into(), row.to_vec())
    }
}

impl<const N: usize> From<(Vec<i32>, [usize; N])> for Column {
    fn from((values, row): (Vec<i32>, [usize; N])) -> Self {
        Column::I32(values.into(), row.to_vec())
    }
}

impl<const N: usize> From<(Vec<u8>, [usize; N])> for Column {
    fn from((values, row): (Vec<u8>, [usize; N])) -> Self {
        Column::Bytes(values.into(), row.to_vec())
    }
}

impl Column {
    fn row_shape(&self) -> &[usize] {
        let (Column::F32(_, row) | Column::I32(_, row) | Column::Bytes(_, row)) = self;
        row
    }

    fn numel(&self) -> usize {
        match self {
            Column::F32(values, _) => values.len(),
            Column::I32(values, _) => values.len(),
            Column::Bytes(values, _) => values.len(),
        }
    }

    /// The number of rows, if the values fill whole rows.
    fn rows(&self) -> Option<usize> {
        let width = self.row_shape().iter().try_fold(1usize, |width, &extent| width.checked_mul(extent))?;
        (width > 0 && self.numel().is_multiple_of(width)).then(|| self.numel() / width)
    }

    fn gather(&self, device: &Device, rows: &[usize]) -> Tensor {
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(self.row_shape().iter().copied()).collect();
        match self {
            Column::F32(values, row) => Tensor::from_vec(device, pick(values, rows, row.iter().product()), &shape),
            Column::I32(values, row) => Tensor::from_vec(device, pick(values, rows, row.iter().product()), &shape),
            Column::Bytes(values, row) => {
                let bytes = pick(values, rows, row.iter().product());
                Tensor::from_vec(device, bytes.into_iter().map(|b| f32::from(b) / 255.0).collect(), &shape)
            }
        }
    }
}

fn pick<T: Copy>(values: &[T], rows: &[usize], width: usize) -> Vec<T> {
    rows.iter().flat_map(|&row| values[row * width..(row + 1) * width].iter().copied()).collect()
}

/// Inputs and targets in the host's memory. Splits share the numbers.
#[derive(Debug, Clone)]
pub struct TensorDataset {
    device: Device,
    inputs: Column,
    targets: Column,
    rows: Arc<[usize]>,
}

impl TensorDataset {
    /// Examples from inputs and targets, each with the shape of a row:
    /// `(pixels, [1, 8, 8])`, `(labels, [])`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the values are not whole rows, [`Error::Shape`] if the two have
    /// different numbers of rows.
    #[track_caller]
    pub fn new(device: &Device, inputs: impl Into<Column>, targets: impl Into<Column>) -> Result<Self> {
        let at = At::here();
        let (inputs, targets) = (inputs.into(), targets.into());
        let count = |name, column: &Column| {
            column.rows().ok_or_else(|| Error::Argument {
                op: "TensorDataset",
                name,
                value: format!("{} values", column.numel()),
                why: "the values must be whole rows of at least one element",
                at,
            })
        };
        let (rows, others) = (count("inputs", &inputs)?, count("targets", &targets)?);
        if rows != others {
            let shapes = List([rows, others].iter().filter_map(|&n| Shape::new(&[n])).collect());
            return Err(Error::Shape { op: "TensorDataset", shapes, why: "the numbers of rows differ", at });
        }
        Ok(Self { device: device.clone(), inputs, targets, rows: (0..rows).collect() })
    }

    /// All inputs and targets in one batch.
    pub fn all(&self) -> (Tensor, Tensor) {
        self.gather(&self.rows)
    }

    /// All inputs. To be kept: each call brings them to the device anew.
    pub fn inputs(&self) -> Tensor {
        self.inputs.gather(&self.device, &self.rows)
    }

    /// All targets.
    pub fn targets(&self) -> Tensor {
        self.targets.gather(&self.device, &self.rows)
    }

    /// The class of each example, where the targets are one integer each; else none.
    pub fn labels(&self) -> Vec<i32> {
        match &self.targets {
            Column::I32(values, row) if row.iter().product::<usize>() == 1 => pick(values, &self.rows, 1),
            Column::I32(..) | Column::F32(..) | Column::Bytes(..) => Vec::new(),
        }
    }

    /// The input of the example at `row` as an image in the host's memory.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such example, or its input is not `[channels, height, width]` of numbers or
    /// bytes.
    #[track_caller]
    pub fn image(&self, row: usize) -> Result<Image> {
        let at = At::here();
        let refused = |name, value, why| Err(Error::Argument { op: "image", name, value, why, at });
        let Some(&row) = self.rows.get(row) else {
            return refused("row", row.to_string(), "less than the number of examples");
        };
        let &[channels, height, width] = self.inputs.row_shape() else {
            return refused("input", format!("{:?}", self.inputs.row_shape()), "[channels, height, width]");
        };
        let size = channels * height * width;
        let of = row * size..(row + 1) * size;
        match &self.inputs {
            Column::F32(values, _) => Image::new(channels, height, width, values[of].to_vec()),
            Column::Bytes(values, _) => Image::from_bytes(channels, height, width, &values[of]),
            Column::I32(..) => refused("input", "I32".into(), "real numbers or bytes"),
        }
    }

    /// Where its batches are.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The targets of the examples `rows`.
    pub(super) fn targets_of(&self, rows: &[usize]) -> Tensor {
        let rows: Vec<usize> = rows.iter().filter_map(|&row| self.rows.get(row).copied()).collect();
        self.targets.gather(&self.device, &rows)
    }

    /// The same examples whose inputs have another shape of the same size: `[64]` as `[1, 8, 8]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes differ.
    #[track_caller]
    pub fn reshaped(&self, row: &[usize]) -> Result<Self> {
        let old = self.inputs.row_shape();
        let size = row.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
        if size != Some(old.iter().product()) {
            let shapes = List([old, row].iter().filter_map(|dims| Shape::new(dims)).collect());
            return Err(Error::Shape { op: "reshaped", shapes, why: "the sizes of a row differ", at: At::here() });
        }
        let inputs = match &self.inputs {
            Column::F32(values, _) => Column::F32(values.clone(), row.to_vec()),
            Column::I32(values, _) => Column::I32(values.clone(), row.to_vec()),
            Column::Bytes(values, _) => Column::Bytes(values.clone(), row.to_vec()),
        };
        Ok(Self { inputs, ..self.clone() })
    }

    /// Only the examples `rows`; rows past the end are left out.
    #[must_use]
    pub fn subset(&self, rows: &[usize]) -> Self {
        let rows = rows.iter().filter_map(|&row| self.rows.get(row).copied()).collect();
        Self { rows, ..self.clone() }
    }

    /// Two parts, the second with the share `held_out` of the examples (to the nearest whole one), drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the share is not from 0 to 1.
    #[track_caller]
    pub fn split(&self, held_out: f64, seed: u64) -> Result<(Self, Self)> {
        check_share("split", held_out, At::here())?;
        let (first, second) = random_parts(self.rows.len(), held_out, seed);
        Ok((self.subset(&first), self.subset(&second)))
    }

    /// The same, with the share taken from each class, so that both parts have the classes in the
    /// same proportions.
    ///
    /// # Errors
    /// As for [`split`](TensorDataset::split).
    #[track_caller]
    pub fn stratified_split(&self, held_out: f64, seed: u64) -> Result<(Self, Self)> {
        check_share("stratified_split", held_out, At::here())?;
        let (first, second) = stratified_parts(&self.classes(), held_out, seed);
        Ok((self.subset(&first), self.subset(&second)))
    }

    /// One part for each of `shares`, which add up to 1: `[0.8, 0.1, 0.1]` for training, validation and test.
    ///
    /// # Errors
    /// [`Error::Argument`] if the shares are negative or do not add up to 1.
    #[track_caller]
    pub fn random_split(&self, shares: &[f64], seed: u64) -> Result<Vec<Self>> {
        Ok(parts(self.rows.len(), shares, seed)?.iter().map(|rows| self.subset(rows)).collect())
    }

    /// `k` pairs of training and held-out examples, in which every example is held out once.
    ///
    /// # Errors
    /// [`Error::Argument`] if `k` is under 2 or more than there are examples.
    #[track_caller]
    pub fn k_fold(&self, k: usize, seed: u64) -> Result<Vec<(Self, Self)>> {
        Ok(self.pairs(&folds(self.rows.len(), k, seed)?))
    }

    /// The same with each class spread evenly over the folds.
    ///
    /// # Errors
    /// As for [`k_fold`](TensorDataset::k_fold).
    #[track_caller]
    pub fn stratified_k_fold(&self, k: usize, seed: u64) -> Result<Vec<(Self, Self)>> {
        Ok(self.pairs(&stratified_folds(&self.classes(), k, seed)?))
    }

    fn pairs(&self, folds: &[(Vec<usize>, Vec<usize>)]) -> Vec<(Self, Self)> {
        folds.iter().map(|(train, held)| (self.subset(train), self.subset(held))).collect()
    }

    /// The label of each example; one class for all where there are no labels.
    fn classes(&self) -> Vec<i32> {
        let labels = self.labels();
        (0..self.rows.len()).map(|row| labels.get(row).copied().unwrap_or(0)).collect()
    }

    fn gather(&self, rows: &[usize]) -> (Tensor, Tensor) {
        (self.inputs.gather(&self.device, rows), self.targets.gather(&self.device, rows))
    }
}

impl Dataset for TensorDataset {
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn batch(&self, rows: &[usize]) -> (Tensor, Tensor) {
        let rows: Vec<usize> = rows.iter().filter_map(|&row| self.rows.get(row).copied()).collect();
        self.gather(&rows)
    }
}
