//! Where results go when a run ends.

use crate::error::Result;
use kiln_device::{Buffer, Copy, Slice};

/// Small results share pages: a history of losses makes no buffer a step.
#[derive(Default)]
pub(super) struct Pages {
    page: Option<Buffer>,
    used: u64,
}

const PAGE: u64 = 1 << 16;

impl Pages {
    pub(super) fn slot(&mut self, gpu: &kiln_device::Device, bytes: u64) -> Result<Slice> {
        let bytes = bytes.next_multiple_of(4);
        if self.page.is_none() || self.used + bytes > PAGE {
            self.page = Some(gpu.alloc(PAGE, "page of results")?);
            self.used = 0;
        }
        let offset = self.used;
        self.used += bytes;
        match &self.page {
            Some(page) => Ok(Slice { buffer: page.clone(), offset, bytes }),
            None => unreachable!("the page was just made"),
        }
    }

    /// Memory for a result of `bytes` that lies in `from` when the run ends, and the copy that brings it there.
    pub(super) fn hand_out(
        &mut self,
        gpu: &kiln_device::Device,
        from: &Buffer,
        bytes: u64,
        after: &mut Vec<Copy>,
    ) -> Result<Slice> {
        let slice = if bytes <= 64 {
            Slice { bytes, ..self.slot(gpu, bytes)? }
        } else {
            Slice { buffer: gpu.alloc(bytes, "result")?, offset: 0, bytes }
        };
        let copied = bytes.next_multiple_of(4);
        after.push(Copy {
            from: from.clone(),
            from_offset: 0,
            to: slice.buffer.clone(),
            to_offset: slice.offset,
            bytes: copied,
        });
        Ok(slice)
    }
}
