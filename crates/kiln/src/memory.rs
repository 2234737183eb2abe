//! Buffers by liveness: what a plan computes on the way shares memory, and so do all plans of a device, since they
//! never run at the same time.

use crate::error::Result;
use kiln_device::{Buffer, Device};
use std::collections::HashMap;

/// The buffers that the plans of a device work in, by size.
#[derive(Default)]
pub(crate) struct Workspace {
    sizes: HashMap<u64, Vec<Buffer>>,
}

/// A plan's use of the workspace while it is being laid out.
#[derive(Default)]
pub(crate) struct Tenancy {
    /// Buffers of each size taken so far, and those free again, the longest free first.
    taken: HashMap<u64, usize>,
    free: HashMap<u64, Vec<Buffer>>,
    /// Bytes of all buffers taken.
    pub(crate) bytes: u64,
}

/// Sizes grow by an eighth, so that neighbouring sizes share buffers.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 16).max(256);
    bytes.next_multiple_of(step)
}

impl Workspace {
    /// A buffer of at least `bytes` that no other tensor of the plan needs now.
    pub(crate) fn take(&mut self, gpu: &Device, tenancy: &mut Tenancy, bytes: u64) -> Result<Buffer> {
        let class = size_class(bytes);
        // the longest free one: reusing the last one freed would make neighbours wait for each other
        if let Some(free) = tenancy.free.get_mut(&class).filter(|f| !f.is_empty()) {
            return Ok(free.remove(0));
        }
        let number = tenancy.taken.entry(class).or_default();
        let all = self.sizes.entry(class).or_default();
        if *number == all.len() {
            all.push(gpu.alloc(class, "workspace")?);
        }
        *number += 1;
        tenancy.bytes += class;
        Ok(all[*number - 1].clone())
    }

    /// The buffer can be taken again.
    pub(crate) fn give_back(tenancy: &mut Tenancy, bytes: u64, buffer: Buffer) {
        tenancy.free.entry(size_class(bytes)).or_default().push(buffer);
    }

    /// Forgets all buffers; those that plans still use live on with them.
    pub(crate) fn clear(&mut self) {
        self.sizes.clear();
    }
}
