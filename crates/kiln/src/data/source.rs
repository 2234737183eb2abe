//! What a training learns from: batches in passes, each of which can be begun anywhere.

use super::Dataset;
use crate::Result;

/// Batches in passes: what a [`Trainer`](crate::train::Trainer) takes its batches from. Every [`Dataset`] is one, and so is
/// a [`DataLoader`](super::DataLoader). One of your own needs a single method:
///
/// ```
/// # use kiln::prelude::*; use kiln::data::{Order, Passes, Source};
/// /// Batches that are computed and never stored: x and x².
/// struct Squares(Device);
///
/// impl Source for Squares {
///     type Batch = (Tensor, Tensor);
///
///     fn passes(&self, order: &Order) -> Passes<'_, (Tensor, Tensor)> {
///         let size = order.batch;
///         Passes::new(1000, size, move |pass, first| {
///             let steps = 1000usize.div_ceil(size);
///             Box::new((first..steps).map(move |step| {
///                 let rows = size.min(1000 - step * size);
///                 let x = Rng::new(&self.0, pass * 1000 + step as u64).uniform([rows, 1]);
///                 Ok((x.clone(), x.square()))
///             }))
///         })
///     }
/// }
/// let device = Device::open()?;
/// let model = Linear::new(1, 1, &mut Init::new(&device, 1));
/// let mut sgd = Sgd::new(&model, 0.1);
/// let history = Trainer::new(2).batch(100).fit(&model, &mut sgd, &Squares(device), None, |(x, y)| {
///     Outcome::loss(mse_loss(&model.forward(x), y), y.numel())
/// })?;
/// assert_eq!(history.epochs[1].step, 20);
/// # Ok::<(), Error>(())
/// ```
pub trait Source {
    /// What a batch is: often inputs and targets.
    type Batch;

    /// Its passes. `order` is what the trainer was asked for; a source with an order of its own says so with
    /// [`Passes::fixed`].
    fn passes(&self, order: &Order) -> Passes<'_, Self::Batch>;
}

/// How a [`Source`] is to give out its examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Examples in a batch, at least 1.
    pub batch: usize,
    /// What orders are drawn from; `None` for the source's own order in every pass, as in a validation.
    pub seed: Option<u64>,
}

/// The batches of one pass, in turn.
pub type Pass<'s, B> = Box<dyn Iterator<Item = Result<B>> + 's>;

/// The passes over a [`Source`].
pub struct Passes<'s, B> {
    examples: usize,
    batch: usize,
    fixed: Option<String>,
    begin: Box<dyn Fn(u64, usize) -> Pass<'s, B> + 's>,
}

impl<'s, B> Passes<'s, B> {
    /// Passes of `examples` examples, `batch` at a time. `begin(pass, first)` gives the batches of a pass, counted from 0,
    /// from batch `first` on: always the same ones, so that a training which is resumed goes on as if it had never
    /// stopped. The last may be smaller.
    pub fn new(examples: usize, batch: usize, begin: impl Fn(u64, usize) -> Pass<'s, B> + 's) -> Self {
        Self { examples, batch: batch.max(1), fixed: None, begin: Box::new(begin) }
    }

    /// Says that size and order of the batches are the source's own, whatever was asked for. A trainer whose batch or
    /// seed is set refuses it; `description` of them must be the same in a training that is resumed.
    #[must_use]
    pub fn fixed(mut self, description: impl Into<String>) -> Self {
        self.fixed = Some(description.into());
        self
    }

    /// Examples in a pass.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Batches in a pass.
    pub fn steps(&self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// Examples in batch `step` of a pass, counted from 0.
    pub fn examples_of(&self, step: usize) -> usize {
        let start = step.saturating_mul(self.batch).min(self.examples);
        self.batch.min(self.examples - start)
    }

    /// The order that is the source's own, in words.
    pub fn description(&self) -> Option<&str> {
        self.fixed.as_deref()
    }

    /// The batches of `pass`, counted from 0, from batch `first` on.
    pub fn begin(&self, pass: u64, first: usize) -> Pass<'s, B> {
        (self.begin)(pass, first)
    }
}

impl<D: Dataset> Source for D {
    type Batch = D::Batch;

    fn passes(&self, order: &Order) -> Passes<'_, D::Batch> {
        let Order { batch, seed } = *order;
        Passes::new(self.len(), batch, move |pass, first| {
            // of a run and its pass
            let drawn = |seed: u64| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(pass);
            let batches = match seed {
                Some(seed) => self.batches(batch, drawn(seed)),
                None => self.in_order(batch),
            };
            Box::new(batches.skip(first).map(Ok))
        })
    }
}
