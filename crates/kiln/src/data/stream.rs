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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::augment::Draw;
use crate::{Error, Result};

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
#[derive(Debug)]
pub struct Prefetch<T> {
    // Dropped before the thread is waited for, so that it does not wait for us.
    from: Option<Receiver<Result<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Runs `from` on a thread, at most `ahead` finished items and one in the making in front of the consumer.
    pub fn new(from: impl Iterator<Item = Result<T>> + Send + 'static, ahead: usize) -> Self {
        let (to, receiver) = sync_channel(ahead);
        let work = move || {
            let mut from = from;
            loop {
                let item = match catch_unwind(AssertUnwindSafe(|| from.next())) {
                    Ok(Some(item)) => item,
                    Ok(None) => return,
                    Err(panic) => {
                        // It is not known what the iterator is good for now.
                        let _ = to.send(Err(Error::Worker(message(panic.as_ref()))));
                        return;
                    }
                };
                if to.send(item).is_err() {
                    return; // nobody listens any more
                }
            }
        };
        match std::thread::Builder::new().name("kiln-data".into()).spawn(work) {
            Ok(thread) => Self { from: Some(receiver), thread: Some(thread) },
            Err(error) => {
                // No thread: the error is the only item.
                let (to, receiver) = sync_channel(1);
                let _ = to.send(Err(Error::Worker(error.to_string())));
                Self { from: Some(receiver), thread: None }
            }
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.from.as_ref().and_then(|from| from.recv().ok())
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.from = None;
        if let Some(thread) = self.thread.take() {
            // Its panics were caught and reported.
            let _ = thread.join();
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without a message".into()))
}
