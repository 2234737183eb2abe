//! Examples that come one after another, for data larger than memory: anything that is an iterator over results, such as
//! [`lines`](super::files::text::lines) of a text or [`records`](super::files::csv::Csv::open) of a table.
//!
//! ```
//! # use kiln::prelude::*;
//! use kiln::data::stream::{Prefetch, batches, shuffle};
//!
//! let numbers = (0..100).map(Ok);                                   // a file's records
//! let shuffled = shuffle(numbers, 32, 7);                           // through a buffer of 32
//! let pairs = batches(shuffled, 10, |ten: Vec<i32>| Ok(ten.len())); // collated
//! for batch in Prefetch::new(pairs, 2) {                            // on a thread, two ahead
//!     assert_eq!(batch?, 10);
//! }
//! # Ok::<(), Error>(())
//! ```

use std::sync::{Mutex, PoisonError};

use super::augment::Draw;
use super::workers::Workers;
use crate::Result;

/// The items of `from` in another order: a buffer of `size` items is filled, and each item that leaves it, drawn from
/// `seed`, makes room for the next one. An error is passed on when it is met. The same seed gives the same order.
pub fn shuffle<T, I: Iterator<Item = Result<T>>>(from: I, size: usize, seed: u64) -> Shuffle<T, I> {
    Shuffle { from: Some(from), buffer: Vec::new(), size: size.max(1), draw: Draw::new(seed, u64::MAX) }
}

/// The iterator of [`shuffle`].
#[derive(Debug)]
pub struct Shuffle<T, I> {
    from: Option<I>,
    buffer: Vec<T>,
    size: usize,
    draw: Draw,
}

impl<T, I: Iterator<Item = Result<T>>> Iterator for Shuffle<T, I> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        while self.buffer.len() < self.size {
            match self.from.as_mut().and_then(Iterator::next) {
                Some(Ok(item)) => self.buffer.push(item),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.from = None;
                    break;
                }
            }
        }
        let chosen = self.draw.below(self.buffer.len());
        (!self.buffer.is_empty()).then(|| Ok(self.buffer.swap_remove(chosen)))
    }
}

/// Every `size` items of `from` as one batch, made by `collate`; the last may be smaller. An error is passed on when it is
/// met, and ends the stream.
pub fn batches<T, B, I, C>(from: I, size: usize, collate: C) -> BatchesOf<I, C>
where
    I: Iterator<Item = Result<T>>,
    C: FnMut(Vec<T>) -> Result<B>,
{
    BatchesOf { from, size: size.max(1), collate, drop_last: false, ended: false }
}

/// The iterator of [`batches`].
#[derive(Debug)]
pub struct BatchesOf<I, C> {
    from: I,
    size: usize,
    collate: C,
    drop_last: bool,
    ended: bool,
}

impl<I, C> BatchesOf<I, C> {
    /// Leaves out the last batch if it is smaller than the others.
    #[must_use]
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }
}

impl<T, B, I, C> Iterator for BatchesOf<I, C>
where
    I: Iterator<Item = Result<T>>,
    C: FnMut(Vec<T>) -> Result<B>,
{
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        if self.ended {
            return None;
        }
        let items: Result<Vec<T>> = self.from.by_ref().take(self.size).collect();
        let batch = match items {
            Ok(items) if items.is_empty() || (self.drop_last && items.len() < self.size) => None,
            Ok(items) => Some((self.collate)(items)),
            Err(error) => Some(Err(error)),
        };
        self.ended = !matches!(batch, Some(Ok(_)));
        batch
    }
}

/// Items of an iterator that a thread takes in advance, in the same order. A panic there is an [`Error::Worker`] here, and
/// the last item. Dropping it ends the thread.
///
/// [`Error::Worker`]: crate::Error::Worker
#[derive(Debug)]
pub struct Prefetch<T>(Workers<T>);

impl<T: Send + 'static> Prefetch<T> {
    /// Runs `from` on a thread, at most `ahead` finished items and one in the making in front of the consumer.
    pub fn new(from: impl Iterator<Item = Result<T>> + Send + 'static, ahead: usize) -> Self {
        let from = Mutex::new(from);
        let take = move |_| from.lock().unwrap_or_else(PoisonError::into_inner).next();
        Self(Workers::new(1, ahead.saturating_add(1), take))
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.0.next()
    }
}
