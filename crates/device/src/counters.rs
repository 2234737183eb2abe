//! What the device has been asked to do so far. In the steady state of a training only `dispatches`, `submissions`
//! and the byte counts of transfers grow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Totals since the device was opened, and the bytes in use now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Buffers created (not those taken from the pool), staging buffers included.
    pub buffers: u64,
    /// Dispatches encoded.
    pub dispatches: u64,
    /// Command buffers handed to the queue.
    pub submissions: u64,
    /// Bytes written from the host.
    pub uploaded_bytes: u64,
    /// Bytes read back to the host.
    pub downloaded_bytes: u64,
    /// Bytes of buffers that are owned by someone now.
    pub live_bytes: u64,
    /// The most that `live_bytes` has been.
    pub peak_bytes: u64,
    /// Bytes that wait in the pool to be used again.
    pub idle_bytes: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pipelines: AtomicU64,
    pub(crate) bind_groups: AtomicU64,
    pub(crate) buffers: AtomicU64,
    pub(crate) dispatches: AtomicU64,
    pub(crate) submissions: AtomicU64,
    pub(crate) uploaded_bytes: AtomicU64,
    pub(crate) downloaded_bytes: AtomicU64,
}

impl Tally {
    pub(crate) fn read(&self) -> Counters {
        Counters {
            pipelines: self.pipelines.load(Relaxed),
            bind_groups: self.bind_groups.load(Relaxed),
            buffers: self.buffers.load(Relaxed),
            dispatches: self.dispatches.load(Relaxed),
            submissions: self.submissions.load(Relaxed),
            uploaded_bytes: self.uploaded_bytes.load(Relaxed),
            downloaded_bytes: self.downloaded_bytes.load(Relaxed),
            ..Counters::default()
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}
