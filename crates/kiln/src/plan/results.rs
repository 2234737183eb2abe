//! Where results go when a run ends.

use super::Output;
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

    /// Memory for a result whose parts lie so when the run ends, and the copies that bring them there.
    fn hand_out<'s>(
        &mut self,
        gpu: &kiln_device::Device,
        parts: impl Iterator<Item = &'s Slice> + Clone,
        after: &mut Vec<Copy>,
    ) -> Result<Slice> {
        let bytes = parts.clone().map(|p| p.bytes).sum();
        let slice = if bytes <= 64 {
            Slice { bytes, ..self.slot(gpu, bytes)? }
        } else {
            Slice { buffer: gpu.alloc(bytes, "result")?, offset: 0, bytes }
        };
        let mut to_offset = slice.offset;
        for part in parts {
            let bytes = part.bytes.next_multiple_of(4);
            let (from, to) = (part.buffer.clone(), slice.buffer.clone());
            after.push(Copy { from, from_offset: part.offset, to, to_offset, bytes });
            to_offset += part.bytes;
        }
        Ok(slice)
    }

    /// The same for a root, and for the second result of its kernel if there is one.
    pub(super) fn hand_out_all(
        &mut self,
        gpu: &kiln_device::Device,
        parts: &[Output],
        after: &mut Vec<Copy>,
    ) -> Result<(Slice, Option<Slice>)> {
        let first = self.hand_out(gpu, parts.iter().map(|part| &part.first), after)?;
        let second = parts.iter().all(|part| part.second.is_some());
        let second = second.then(|| self.hand_out(gpu, parts.iter().filter_map(|part| part.second.as_ref()), after));
        Ok((first, second.transpose()?))
    }
}
