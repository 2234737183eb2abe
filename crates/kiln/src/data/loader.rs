//! Batches of a set prepared on other threads: in which order, how many at a time, what becomes of the last, and where
//! a pass was broken off.

use std::sync::Arc;

use super::augment::{Draw, Image, stack};
use super::order::{argument, epoch_seed, permutation, weighted};
use super::workers::Workers;
use super::{Dataset, Order, Pass, Passes, Source, TensorDataset};
use crate::error::At;
use crate::{Result, Tensor};

/// What becomes of a last batch that would be smaller than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Last {
    /// It stays smaller.
    #[default]
    Keep,
    /// It is left out.
    Drop,
    /// It is filled up with examples from the beginning of the pass; [`Batch::padding`] says with how many.
    Pad,
}

/// Where a run is: what a checkpoint keeps so that the run goes on with the same batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The pass, from 0.
    pub epoch: u64,
    /// The number of batches of it that have been given out.
    pub step: usize,
}

/// The examples of a batch that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Their numbers in the set.
    pub rows: Vec<usize>,
    /// How many at the end only fill the batch up.
    pub padding: usize,
    seed: u64,
    first: u64,
}

impl Rows {
    /// Random numbers for the example at `index` of the batch, whichever thread makes it.
    pub fn draw(&self, index: usize) -> Draw {
        Draw::new(self.seed, self.first + index as u64)
    }
}

/// A batch and what it is made of.
#[derive(Debug, Clone)]
pub struct Batch<B> {
    /// What was made.
    pub content: B,
    /// How many examples at the end only fill it up; see [`Last::Pad`].
    pub padding: usize,
    /// Where the run is once this batch has been used.
    pub next: Position,
}

#[derive(Debug, Clone)]
enum Sampler {
    InOrder,
    Shuffled,
    Weighted(Arc<[f64]>, usize),
}

type Make<B> = Arc<dyn Fn(&Rows) -> Result<B> + Send + Sync>;

/// Batches of a set, pass by pass, made by threads in advance.
///
/// By default batches of one example in the set's order, made when asked for; `shuffle`, `workers` and the rest change
/// that, as in PyTorch. The batches are a function of seed, epoch and step: not of the number of threads.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let (train, _) = data::digits::split(&device)?;
/// let loader = data::DataLoader::new(train).batch_size(64).shuffle(true).seed(1).workers(1);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch) {
///         let (x, y) = batch?.content;
///         assert_eq!(x.shape()?[0], y.shape()?[0]);
///     }
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct DataLoader<B> {
    len: usize,
    make: Make<B>,
    size: usize,
    sampler: Sampler,
    last: Last,
    seed: u64,
    workers: usize,
    ahead: usize,
}

impl<B> std::fmt::Debug for DataLoader<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataLoader({} examples by {}, {:?})", self.len, self.size, self.sampler)
    }
}

impl<B: Send + 'static> DataLoader<B> {
    /// The batches of a set.
    pub fn new(set: impl Dataset<Batch = B> + Send + Sync + 'static) -> Self {
        Self::from_rows(set.len(), move |rows| Ok(set.batch(&rows.rows)))
    }

    /// Batches of `len` examples, each made by `get` from its number and random numbers for changing it, and joined by
    /// `collate`. Both run on the workers.
    pub fn from_examples<E>(
        len: usize,
        get: impl Fn(usize, &mut Draw) -> Result<E> + Send + Sync + 'static,
        collate: impl Fn(Vec<E>) -> Result<B> + Send + Sync + 'static,
    ) -> Self {
        Self::from_rows(len, move |rows| {
            let example = |(index, &row): (usize, &usize)| get(row, &mut rows.draw(index));
            collate(rows.rows.iter().enumerate().map(example).collect::<Result<_>>()?)
        })
    }

    /// Batches of `len` examples, each made by `make` as a whole.
    pub fn from_rows(len: usize, make: impl Fn(&Rows) -> Result<B> + Send + Sync + 'static) -> Self {
        Self {
            len,
            make: Arc::new(make),
            size: 1,
            sampler: Sampler::InOrder,
            last: Last::Keep,
            seed: 0,
            workers: 0,
            ahead: 2,
        }
    }

    /// Sets the number of examples in a batch; at least 1.
    #[must_use]
    pub fn batch_size(mut self, size: usize) -> Self {
        self.size = size.max(1);
        self
    }

    /// Sets whether each pass has an order of its own, drawn from the seed.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.sampler = if shuffle { Sampler::Shuffled } else { Sampler::InOrder };
        self
    }

    /// Draws `count` examples a pass with replacement, each in proportion to its weight.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if there is not one weight for each example, one is negative or not
    /// finite, or all are 0.
    #[track_caller]
    pub fn weighted(mut self, weights: &[f64], count: usize) -> Result<Self> {
        let fine = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        let sum: f64 = weights.iter().sum();
        if weights.len() != self.len || !weights.iter().all(fine) || !(sum > 0.0 && sum.is_finite()) {
            let value = format!("{} weights of sum {sum} for {} examples", weights.len(), self.len);
            return Err(argument("weighted", "weights", value, "one for each, from 0 and not all 0", At::here()));
        }
        self.sampler = Sampler::Weighted(weights.into(), count);
        Ok(self)
    }

    /// Sets what becomes of a smaller last batch.
    #[must_use]
    pub fn last(mut self, last: Last) -> Self {
        self.last = last;
        self
    }

    /// Sets what orders and changes are drawn from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the number of threads; with 0, batches are made when asked for.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets how many finished batches there are in advance for each thread, beside the one that it is making; 2.
    #[must_use]
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.ahead = batches;
        self
    }

    /// The number of examples in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without examples.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of batches in a pass.
    pub fn steps(&self) -> usize {
        let drawn = self.drawn();
        if self.last == Last::Drop { drawn / self.size } else { drawn.div_ceil(self.size) }
    }

    /// The number of examples of a pass, before the last batch is filled up or left out.
    fn drawn(&self) -> usize {
        match self.sampler {
            Sampler::Weighted(_, count) => count,
            _ => self.len,
        }
    }

    /// What the batches are a function of, besides the examples themselves.
    fn description(&self) -> String {
        let sampler = match &self.sampler {
            Sampler::InOrder => "in order".to_string(),
            Sampler::Shuffled => "shuffled".to_string(),
            Sampler::Weighted(weights, count) => {
                // FNV-1a of their bits: other weights are another order
                let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
                let sum = weights.iter().flat_map(|weight| weight.to_le_bytes()).fold(0xCBF2_9CE4_8422_2325, mix);
                format!("{count} drawn by weights {sum:016x}")
            }
        };
        format!("a loader's batch {}, seed {}, {sampler}, last {:?}", self.size, self.seed, self.last)
    }

    /// The numbers of the examples of a pass, in its order.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let seed = epoch_seed(self.seed, epoch);
        match &self.sampler {
            Sampler::InOrder => (0..self.len).collect(),
            Sampler::Shuffled => permutation(self.len, seed),
            Sampler::Weighted(weights, count) => weighted(weights, *count, seed),
        }
    }

    /// One pass over the set.
    pub fn epoch(&self, epoch: u64) -> Epoch<B> {
        self.resume(Position { epoch, step: 0 })
    }

    /// What is left of a pass from `position` on: the same batches that it would have given.
    pub fn resume(&self, position: Position) -> Epoch<B> {
        let plan = Plan {
            order: self.order(position.epoch).into(),
            steps: self.steps(),
            size: self.size,
            pad: self.last == Last::Pad,
            seed: epoch_seed(self.seed, position.epoch),
            make: self.make.clone(),
        };
        let first = position.step.min(plan.steps);
        let threads = self.workers.min(plan.steps - first);
        let workers = (threads > 0).then(|| {
            let plan = plan.clone();
            let make = move |number: usize| (first + number < plan.steps).then(|| plan.batch(first + number));
            Workers::new(threads, self.ahead.saturating_add(1).saturating_mul(threads), make)
        });
        Epoch { workers, plan, epoch: position.epoch, step: first, ended: false }
    }
}

impl DataLoader<(Tensor, Tensor)> {
    /// The batches of a set of images, each of which `change` changes on the workers: inputs `[batch, channels, height,
    /// width]` as they come from it, and targets.
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// use kiln::data::augment::{random_crop, random_hflip};
    /// # let device = Device::open()?;
    /// let set = TensorDataset::new(&device, (vec![0u8; 8 * 3 * 32 * 32], [3, 32, 32]), (vec![0i32; 8], []))?;
    /// let loader = DataLoader::images(set, |image, draw| random_crop(&random_hflip(image, 0.5, draw), 32, 32, 4, draw));
    /// for batch in loader.batch_size(4).shuffle(true).workers(1).epoch(0) {
    ///     assert_eq!(batch?.content.0.shape()?, [4, 3, 32, 32]);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// From a batch: what `change` gives, and [`Error::Argument`](crate::Error::Argument) if the inputs are no images
    /// ([`TensorDataset::image`]) or those of a batch are changed to several sizes.
    pub fn images(
        set: TensorDataset,
        change: impl Fn(Image, &mut Draw) -> Result<Image> + Send + Sync + 'static,
    ) -> Self {
        Self::from_rows(set.len(), move |rows| {
            let changed = |(index, &row)| change(set.image(row)?, &mut rows.draw(index));
            let images = rows.rows.iter().enumerate().map(changed).collect::<Result<Vec<_>>>()?;
            Ok((stack(set.device(), &images)?, set.targets_of(&rows.rows)))
        })
    }
}

/// A trainer takes batch size, order and seed from the loader. A validation runs its pass 0 each time.
impl<B: Send + 'static> Source for DataLoader<B> {
    type Batch = B;

    fn passes(&self, order: &Order) -> Passes<'_, B> {
        let examples = match self.last {
            Last::Keep => self.drawn(),
            Last::Drop | Last::Pad => self.steps() * self.size,
        };
        let validates = order.seed.is_none();
        let begin = move |pass: u64, step: usize| {
            let epoch = if validates { 0 } else { pass };
            let batches = self.resume(Position { epoch, step });
            Box::new(batches.map(|batch| Ok(batch?.content))) as Pass<'_, B>
        };
        Passes::new(examples, self.size, begin).fixed(self.description())
    }
}

/// What a pass consists of; shared by the workers.
struct Plan<B> {
    order: Arc<[usize]>,
    steps: usize,
    size: usize,
    pad: bool,
    seed: u64,
    make: Make<B>,
}

impl<B> Clone for Plan<B> {
    fn clone(&self) -> Self {
        Self { order: self.order.clone(), make: self.make.clone(), ..*self }
    }
}

impl<B> Plan<B> {
    fn batch(&self, step: usize) -> Result<(B, usize)> {
        let start = step * self.size;
        let end = (start + self.size).min(self.order.len());
        let mut rows = self.order[start..end].to_vec();
        let padding = if self.pad { self.size - rows.len() } else { 0 };
        rows.extend(self.order.iter().cycle().take(padding));
        let rows = Rows { rows, padding, seed: self.seed, first: start as u64 };
        Ok(((self.make)(&rows)?, padding))
    }
}

/// The batches of one pass. An error is the last item; a panic of a worker is an [`Error::Worker`](crate::Error::Worker).
pub struct Epoch<B> {
    workers: Option<Workers<(B, usize)>>,
    plan: Plan<B>,
    epoch: u64,
    step: usize,
    ended: bool,
}

impl<B> Epoch<B> {
    /// Where the pass is: what [`DataLoader::resume`] needs to go on with the batch that comes next.
    pub fn at(&self) -> Position {
        match self.step < self.plan.steps {
            true => Position { epoch: self.epoch, step: self.step },
            false => Position { epoch: self.epoch + 1, step: 0 },
        }
    }
}

impl<B: Send + 'static> Iterator for Epoch<B> {
    type Item = Result<Batch<B>>;

    fn next(&mut self) -> Option<Result<Batch<B>>> {
        if self.ended || self.step >= self.plan.steps {
            return None;
        }
        let made = match &mut self.workers {
            None => self.plan.batch(self.step),
            Some(workers) => {
                workers.next().unwrap_or_else(|| Err(crate::Error::Worker("ended before its last batch".into())))
            }
        };
        self.ended = made.is_err();
        Some(made.map(|(content, padding)| {
            self.step += 1;
            Batch { content, padding, next: self.at() }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.ended { 0 } else { self.plan.steps - self.step };
        (left.min(1), Some(left))
    }
}
