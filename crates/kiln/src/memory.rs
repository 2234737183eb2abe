//! Buffers by liveness: what a plan computes on the way shares memory, and so do all plans of a device, since they
//! never run at the same time.

use crate::error::Result;
use kiln_device::{Buffer, Device};

/// A tensor that a plan makes: its bytes, and the steps from the first to the last that bind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenant {
    pub(crate) bytes: u64,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Which buffer each tenant lives in, and how large those are, the largest first. Two that are needed in the same
/// step never share: one buffer cannot be read and written through two bindings of a dispatch.
///
/// The largest tenants choose first, and each takes the smallest buffer that is free all the while: "greedy by size"
/// for shared objects of Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference".
pub(crate) fn share(tenants: &[Tenant]) -> (Vec<usize>, Vec<u64>) {
    let mut by_size: Vec<usize> = (0..tenants.len()).collect();
    by_size.sort_by_key(|&i| (std::cmp::Reverse(tenants[i].bytes), tenants[i].first));
    let (mut home, mut sizes) = (vec![0; tenants.len()], Vec::new());
    // the tenants of each buffer: last step by first step
    let mut taken: Vec<std::collections::BTreeMap<usize, usize>> = Vec::new();
    for i in by_size {
        let Tenant { bytes, first, last } = tenants[i];
        // they do not overlap, so the latest that begins before the end of this one tells
        let free = |held: &std::collections::BTreeMap<usize, usize>| {
            held.range(..=last).next_back().is_none_or(|(_, &end)| end < first)
        };
        let at = (0..taken.len()).rev().find(|&at| free(&taken[at])).unwrap_or_else(|| {
            taken.push(Default::default());
            sizes.push(size_class(bytes));
            taken.len() - 1
        });
        taken[at].insert(first, last);
        home[i] = at;
    }
    (home, sizes)
}

/// The most bytes that are needed in one step: no placement can do with less.
pub(crate) fn peak(tenants: &[Tenant]) -> u64 {
    let mut changes: Vec<(usize, bool, u64)> = Vec::with_capacity(2 * tenants.len());
    for t in tenants {
        changes.push((t.first, true, t.bytes));
        changes.push((t.last.saturating_add(1), false, t.bytes));
    }
    // what ends before a step goes before what begins with it
    changes.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, begins, bytes) in changes {
        now = if begins { now + bytes } else { now - bytes };
        most = most.max(now);
    }
    most
}

/// Sizes grow by a sixteenth at most, so that plans of neighbouring sizes share buffers.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 32).max(256);
    bytes.next_multiple_of(step)
}

/// The buffers that the plans of a device work in, the smallest first.
#[derive(Default)]
pub(crate) struct Workspace {
    buffers: Vec<Buffer>,
}

impl Workspace {
    /// For each of `sizes`, the largest first, a buffer of its own with at least so many bytes: the smallest that is
    /// left of those there are, or a new one.
    pub(crate) fn lend(&mut self, gpu: &Device, sizes: &[u64]) -> Result<Vec<Buffer>> {
        let mut lent = vec![false; self.buffers.len()];
        let mut all = Vec::with_capacity(sizes.len());
        let mut new = Vec::new();
        for &bytes in sizes {
            let from = self.buffers.partition_point(|b| b.bytes() < bytes);
            let buffer = match (from..lent.len()).find(|&i| !lent[i]) {
                Some(i) => {
                    lent[i] = true;
                    self.buffers[i].clone()
                }
                None => {
                    let buffer = gpu.alloc(bytes, "workspace")?;
                    new.push(buffer.clone());
                    buffer
                }
            };
            all.push(buffer);
        }
        self.buffers.extend(new);
        self.buffers.sort_by_key(|b| b.bytes());
        Ok(all)
    }

    /// Forgets all buffers; those that plans still use live on with them.
    pub(crate) fn clear(&mut self) {
        self.buffers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Tenant, peak, share};

    #[test]
    fn tenants_never_meet() {
        let mut tenants = Vec::new();
        let mut random = 1_u64;
        for _ in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (first, long) = ((random >> 33) as usize % 200, (random >> 50) as usize % 12);
            let last = if long == 11 { usize::MAX } else { first + long };
            tenants.push(Tenant { bytes: 256 << ((random >> 60) % 8), first, last });
        }
        let (home, sizes) = share(&tenants);
        for (i, a) in tenants.iter().enumerate() {
            assert!(a.bytes <= sizes[home[i]]);
            for (b, other) in tenants.iter().zip(&home).take(i) {
                assert!(*other != home[i] || a.last < b.first || b.last < a.first, "{a:?} and {b:?} meet");
            }
        }
        let (all, least) = (sizes.iter().sum::<u64>(), peak(&tenants));
        assert!(least <= all && all <= least * 3 / 2, "{all} bytes where {least} are needed at once");
    }

    #[test]
    fn small_ones_follow_large_ones() {
        let tenant = |bytes, first, last| Tenant { bytes, first, last };
        let (home, sizes) = share(&[tenant(4096, 0, 1), tenant(256, 2, 3), tenant(1024, 1, 2)]);
        assert_eq!((home[0], home[1], sizes.len()), (0, 0, 2), "the last is needed with both of them");
        assert_eq!(peak(&[tenant(4096, 0, 1), tenant(256, 2, 3), tenant(1024, 1, 2)]), 5120);
    }
}
