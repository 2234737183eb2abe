//! Threads that make numbered items in advance, each the lowest number that none has begun; they are handed out in the
//! order of their numbers. So a slow item holds up no thread but its own.
//!
//! A thread that is woken takes the processor from the one that woke it, on a machine without a free one. So threads rest
//! once they are far enough ahead, and the consumer wakes one when half of that is used up.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::{Error, Result};

/// Items from threads. A panic of one is an [`Error::Worker`], and the last item. Dropping this ends the threads.
pub(super) struct Workers<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    /// How many items there are at most that are begun and not handed out.
    ahead: usize,
    state: Mutex<State<T>>,
    /// An item was finished, or the end is known.
    made: Condvar,
    /// There is room for others.
    room: Condvar,
}

struct State<T> {
    /// Finished items, by number.
    ready: BTreeMap<usize, Result<T>>,
    /// The number of the item to be handed out next.
    next: usize,
    /// The number of the item to be begun next.
    begun: usize,
    /// Items from this number on are not made.
    end: usize,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an item to make, once there is room for it; `None` after the last.
    fn claim(&self) -> Option<usize> {
        let full = |state: &mut State<T>| state.begun < state.end && state.begun - state.next >= self.ahead;
        let mut state = self.room.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        let number = state.begun;
        (number < state.end).then(|| {
            state.begun += 1;
            number
        })
    }

    /// Keeps what was made for a number: nothing means that the end was reached before it.
    fn put(&self, number: usize, item: Option<Result<T>>, last: bool) {
        let mut state = self.state();
        let end = number + usize::from(item.is_some());
        if last {
            state.end = state.end.min(end);
        }
        state.ready.extend(item.map(|item| (number, item)));
        drop(state);
        self.made.notify_one();
        if last {
            self.room.notify_all();
        }
    }
}

impl<T: Send + 'static> Workers<T> {
    /// `threads` of them, at least one, with `ahead` items finished or in the making in front of the consumer, at least one.
    /// `make` gets numbers from 0 on, each once, and gives nothing for those past the end.
    pub(super) fn new(
        threads: usize,
        ahead: usize,
        make: impl Fn(usize) -> Option<Result<T>> + Send + Sync + 'static,
    ) -> Self {
        let state = State { ready: BTreeMap::new(), next: 0, begun: 0, end: usize::MAX };
        let (state, ahead) = (Mutex::new(state), ahead.max(1));
        let shared = Arc::new(Shared { ahead, state, made: Condvar::new(), room: Condvar::new() });
        let make = Arc::new(make);
        let mut workers = Self { shared: shared.clone(), threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let (shared, make) = (shared.clone(), make.clone());
            let work = move || {
                while let Some(number) = shared.claim() {
                    match catch_unwind(AssertUnwindSafe(|| make(number))) {
                        Ok(item) => {
                            let last = item.is_none();
                            shared.put(number, item, last);
                        }
                        // it is not known what it is good for now
                        Err(panic) => shared.put(number, Some(Err(Error::Worker(message(panic.as_ref())))), true),
                    }
                }
            };
            match std::thread::Builder::new().name("kiln-data".into()).spawn(work) {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    if workers.threads.is_empty() {
                        workers.shared.put(0, Some(Err(Error::Worker(error.to_string()))), true);
                    }
                    break; // those that there are make all of them
                }
            }
        }
        workers
    }
}

impl<T> Iterator for Workers<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let missing = |state: &mut State<T>| state.next < state.end && !state.ready.contains_key(&state.next);
        let mut state =
            self.shared.made.wait_while(self.shared.state(), missing).unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        let item = state.ready.remove(&number)?;
        state.next += 1;
        let half = state.begun - state.next <= self.shared.ahead / 2;
        drop(state);
        if half {
            self.shared.room.notify_one();
        }
        Some(item)
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        self.shared.state().end = 0;
        self.shared.room.notify_all();
        // their panics were caught and reported
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl<T> std::fmt::Debug for Workers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state();
        write!(f, "{} threads, {} items handed out, {} ready", self.threads.len(), state.next, state.ready.len())
    }
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without a message".into()))
}
