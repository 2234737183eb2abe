//! Device memory that is used again: idle buffers by size class, under a byte budget.
//!
//! A buffer goes back to the pool as soon as its last owner drops it, while the device may still be using it. That is
//! safe: all work goes through one queue, so whatever the next owner does with it happens afterwards.

use std::collections::BTreeMap;

/// A piece of device memory.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) raw: wgpu::Buffer,
    pub(crate) id: u64,
    pub(crate) size: u64,
    /// Never written: wgpu hands it out zeroed.
    pub(crate) fresh: bool,
}

/// Idle blocks, and how many bytes exist.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: BTreeMap<u64, Vec<Block>>,
    idle_bytes: u64,
    live_bytes: u64,
    peak_bytes: u64,
}

/// What [`Pool::reserve`] says when the budget does not allow it.
pub(crate) struct Exceeded {
    pub(crate) live: u64,
}

/// The size that a request is rounded up to: multiples of 256 bytes up to 8 KiB, from there 32 steps to each power
/// of two, which wastes 3 % at most.
pub(crate) fn class(bytes: u64) -> u64 {
    let bytes = bytes.max(1);
    let step = (1 << bytes.ilog2()).max(32 * 256) / 32;
    bytes.next_multiple_of(step)
}

impl Pool {
    /// An idle block of exactly this class, the one used last: its bind groups are the most likely to fit again.
    pub(crate) fn take(&mut self, size: u64) -> Option<Block> {
        let block = self.idle.get_mut(&size)?.pop()?;
        self.idle_bytes -= size;
        self.count(size);
        Some(block)
    }

    /// Room for a new block of `size`. Idle blocks are given up for it, the largest first; they are returned so that
    /// their bind groups can be forgotten.
    pub(crate) fn reserve(&mut self, size: u64, budget: u64) -> Result<Vec<Block>, Exceeded> {
        if self.live_bytes.saturating_add(size) > budget {
            return Err(Exceeded { live: self.live_bytes });
        }
        let mut freed = Vec::new();
        while self.live_bytes + self.idle_bytes + size > budget {
            let Some(mut entry) = self.idle.last_entry() else { break };
            match entry.get_mut().pop() {
                Some(block) => {
                    self.idle_bytes -= block.size;
                    freed.push(block);
                }
                None => drop(entry.remove()),
            }
        }
        self.count(size);
        Ok(freed)
    }

    /// Undoes a [`reserve`](Self::reserve) whose block could not be made.
    pub(crate) fn cancel(&mut self, size: u64) {
        self.live_bytes -= size;
    }

    /// Takes a block back.
    pub(crate) fn put(&mut self, block: Block) {
        self.live_bytes -= block.size;
        self.idle_bytes += block.size;
        self.idle.entry(block.size).or_default().push(block);
    }

    /// Gives up every idle block.
    pub(crate) fn drain(&mut self) -> Vec<Block> {
        self.idle_bytes = 0;
        std::mem::take(&mut self.idle).into_values().flatten().collect()
    }

    fn count(&mut self, size: u64) {
        self.live_bytes += size;
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
    }

    pub(crate) fn idle_bytes(&self) -> u64 {
        self.idle_bytes
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    pub(crate) fn reset_peak(&mut self) {
        self.peak_bytes = self.live_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_hold_what_they_round() {
        assert_eq!((class(0), class(1), class(256), class(257)), (256, 256, 256, 512));
        for bytes in (1..1 << 20).step_by(97).chain([1 << 30, (1 << 30) + 1, 3_000_000_017]) {
            let size = class(bytes);
            assert!(size >= bytes && size.is_multiple_of(256) && class(size) == size, "{bytes} → {size}");
            assert!(bytes < 8192 || (size - bytes) * 32 <= bytes, "{bytes} → {size} wastes too much");
        }
    }
}
