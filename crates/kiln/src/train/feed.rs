//! The batches of a training and of its validation.

use super::{Trainer, refused};
use crate::Result;
use crate::data::{Order, Passes, Source};

/// Examples in a batch, unless it is asked for something else.
pub(super) const BATCH: usize = 64;

/// Where the batches come from.
pub(super) struct Feed<'s, B> {
    pub(super) train: Passes<'s, B>,
    pub(super) validation: Option<Passes<'s, B>>,
}

impl<'s, B> Feed<'s, B> {
    /// Refuses settings that the source of the batches has for itself.
    #[track_caller]
    pub(super) fn new<S: Source<Batch = B> + ?Sized>(
        trainer: &Trainer<'_>,
        train: &'s S,
        validation: Option<&'s dyn Source<Batch = B>>,
    ) -> Result<Self> {
        let batch = trainer.batch.unwrap_or(BATCH);
        let train = train.passes(&Order { batch, seed: Some(trainer.seed.unwrap_or(0)) });
        if train.description().is_some() {
            if let Some(batch) = trainer.batch {
                return Err(refused("batch", batch, "the loader has a batch size of its own"));
            }
            if let Some(seed) = trainer.seed {
                return Err(refused("seed", seed, "the loader has a seed of its own"));
            }
        }
        let validation = validation.map(|set| set.passes(&Order { batch, seed: None }));
        Ok(Self { train, validation })
    }
}
