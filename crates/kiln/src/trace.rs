//! What a captured step must know of how its graph was made: the modes that layers looked at, and the numbers that an
//! optimizer took from its settings.

use crate::Tensor;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What was noted while a graph was made.
#[derive(Default)]
pub(crate) struct Notes {
    /// Flags that were read, and what they said.
    pub(crate) modes: Vec<(Arc<AtomicBool>, bool)>,
    /// Scalar leaves, in the order in which they were made.
    pub(crate) numbers: Vec<Tensor>,
}

impl Notes {
    /// Whether every flag still says the same.
    pub(crate) fn hold(&self) -> bool {
        self.modes.iter().all(|(flag, was)| flag.load(Ordering::Relaxed) == *was)
    }
}

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
}

/// Runs `body` and notes what it does on this thread.
pub(crate) fn noted<T>(body: impl FnOnce() -> T) -> (T, Notes) {
    struct Restore(Option<Notes>);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOTES.with(|n| n.replace(self.0.take()));
        }
    }
    let _restore = Restore(NOTES.with(|n| n.replace(Some(Notes::default()))));
    let result = body();
    let notes = NOTES.with(|n| n.borrow_mut().take()).unwrap_or_default();
    (result, notes)
}

/// A layer looked at its mode.
pub(crate) fn note_mode(flag: &Arc<AtomicBool>, is: bool) {
    NOTES.with(|n| {
        if let Some(notes) = &mut *n.borrow_mut()
            && !notes.modes.iter().any(|(known, _)| Arc::ptr_eq(known, flag))
        {
            notes.modes.push((flag.clone(), is));
        }
    });
}

/// A scalar leaf was made.
pub(crate) fn note_number(leaf: &Tensor) {
    NOTES.with(|n| {
        if let Some(notes) = &mut *n.borrow_mut() {
            notes.numbers.push(leaf.clone());
        }
    });
}
