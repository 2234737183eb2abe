//! What a captured step must know of how its graph was made: the modes that layers looked at, and the numbers that an
//! optimizer took from its settings. And numbers that are made again and again, which can be the same leaves.

use crate::node::Op;
use crate::{DType, Device, Tensor};
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

/// Numbers that a function made when it was run before, in their order.
#[derive(Default)]
pub(crate) struct Numbers {
    made: Vec<Tensor>,
    next: usize,
}

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
    static KNOWN: RefCell<Option<Numbers>> = const { RefCell::new(None) };
}

/// Runs `body`, whose numbers are the leaves that it made before, each as long as it is the same number.
pub(crate) fn with_numbers<T>(numbers: &mut Numbers, body: impl FnOnce() -> T) -> T {
    struct Restore<'n>(Option<Numbers>, &'n mut Numbers);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            *self.1 = KNOWN.with(|k| k.replace(self.0.take())).unwrap_or_default();
        }
    }
    numbers.next = 0;
    let outer = KNOWN.with(|k| k.replace(Some(std::mem::take(numbers))));
    let _restore = Restore(outer, numbers);
    body()
}

/// The leaf of the number that is made now, if it was made before.
pub(crate) fn known_number(bits: u32, dtype: DType, device: &Device) -> Option<Tensor> {
    KNOWN.with(|k| {
        let mut known = k.borrow_mut();
        let numbers = known.as_mut()?;
        numbers.next += 1;
        let leaf = numbers.made.get(numbers.next - 1)?;
        let same = matches!(leaf.0.op, Op::Scalar(b) if b == bits) && leaf.dtype() == dtype;
        (same && leaf.device().same(device)).then(|| leaf.clone())
    })
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
    KNOWN.with(|k| {
        if let Some(Numbers { made, next }) = &mut *k.borrow_mut() {
            match made.get_mut(*next - 1) {
                Some(other) => *other = leaf.clone(),
                None => made.push(leaf.clone()),
            }
        }
    });
    NOTES.with(|n| {
        if let Some(notes) = &mut *n.borrow_mut() {
            notes.numbers.push(leaf.clone());
        }
    });
}
