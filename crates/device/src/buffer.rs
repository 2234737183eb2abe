//! Buffers: device memory with an owner.

use std::fmt;
use std::sync::Arc;

use crate::counters::add;
use crate::device::{Device, lock};
use crate::error::{Error, Result};
use crate::pool::{self, Block};

/// What every buffer can be used for.
const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// After this many bytes written without a submission, one is made, so that wgpu can free its staging memory.
const FLUSH_AFTER: u64 = 128 << 20;

/// Device memory. A clone is another owner of the same bytes; the last owner gives them back to the pool.
#[derive(Clone)]
pub struct Buffer(Arc<Memory>);

struct Memory {
    device: Device,
    block: Option<Block>,
    raw: wgpu::Buffer,
    id: u64,
    bytes: u64,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(mut block) = self.block.take() {
            block.fresh = false;
            lock(&self.device.inner.pool).put(block);
        }
    }
}

impl Buffer {
    /// Identifies the memory among all that is alive; a later buffer may get the same memory and id.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The bytes that were asked for.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// The bytes that a kernel may bind: `bytes` rounded up to 16, so that vector loads need no special end.
    pub fn padded(&self) -> u64 {
        self.0.bytes.max(1).next_multiple_of(16)
    }

    /// The wgpu buffer, for programs that use it beside Kiln. It may be larger than [`bytes`](Self::bytes).
    pub fn raw(&self) -> &wgpu::Buffer {
        &self.0.raw
    }

    /// The device that owns the memory.
    pub fn device(&self) -> &Device {
        &self.0.device
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer {} ({} bytes)", self.0.id, self.0.bytes)
    }
}

/// A part of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Where it lies.
    pub buffer: Buffer,
    /// Its first byte.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

impl From<&Buffer> for Slice {
    fn from(buffer: &Buffer) -> Self {
        Slice { buffer: buffer.clone(), offset: 0, bytes: buffer.bytes() }
    }
}

impl From<Buffer> for Slice {
    fn from(buffer: Buffer) -> Self {
        Slice { offset: 0, bytes: buffer.bytes(), buffer }
    }
}

impl Slice {
    /// An error unless the part lies within its buffer.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        match self.offset.checked_add(self.bytes) {
            Some(end) if end <= self.buffer.padded() => Ok(()),
            _ => Err(Error::Validation(format!(
                "{what}: bytes {}..+{} of a buffer of {}",
                self.offset,
                self.bytes,
                self.buffer.bytes()
            ))),
        }
    }
}

impl Device {
    /// A buffer of `bytes`, rounded up to 16, from the pool where it has one. **Its contents are undefined.**
    ///
    /// # Errors
    /// [`Error::Limit`] past the largest buffer of the device, [`Error::Budget`] past the budget,
    /// [`Error::OutOfMemory`], [`Error::Lost`].
    pub fn alloc(&self, bytes: u64, label: &str) -> Result<Buffer> {
        Ok(self.take(bytes, label)?.0)
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn zeroed(&self, bytes: u64, label: &str) -> Result<Buffer> {
        let (buffer, fresh) = self.take(bytes, label)?;
        if !fresh {
            self.scoped(label, || {
                let mut encoder = self.encoder("kiln zeroed");
                encoder.clear_buffer(buffer.raw(), 0, Some(buffer.padded()));
                self.submit(encoder);
            })?;
        }
        Ok(buffer)
    }

    /// A buffer that holds `bytes`.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn upload(&self, bytes: &[u8], label: &str) -> Result<Buffer> {
        let buffer = self.alloc(bytes.len() as u64, label)?;
        self.write(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    /// Writes `bytes` into a buffer, after all work that was submitted before and before all that comes later.
    /// `offset` is a multiple of 4, and so is the length, unless it reaches the buffer's end.
    ///
    /// # Errors
    /// [`Error::Validation`] if the range is not as said, [`Error::Lost`].
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        Slice { buffer: buffer.clone(), offset, bytes: len }.check("write")?;
        let to_end = offset + len >= buffer.bytes();
        if !offset.is_multiple_of(4) || !(len.is_multiple_of(4) || to_end) {
            return Err(Error::Validation(format!("write: bytes {offset}..+{len} are not whole words")));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let _span = self.span("upload");
        self.scoped("write", || {
            let whole = bytes.len() & !3;
            if whole > 0 {
                self.inner.queue.write_buffer(buffer.raw(), offset, &bytes[..whole]);
            }
            if whole < bytes.len() {
                let mut word = [0; 4];
                word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                self.inner.queue.write_buffer(buffer.raw(), offset + whole as u64, &word);
            }
        })?;
        add(&self.inner.tally.uploaded_bytes, len);
        if self.count_unsubmitted(len) > FLUSH_AFTER {
            self.scoped("flush", || self.submit(self.encoder("kiln flush")))?;
        }
        Ok(())
    }

    /// Gives the pool's idle buffers back to the driver.
    pub fn trim(&self) {
        drop(lock(&self.inner.pool).drain());
    }

    /// A block for `bytes`, and whether nobody has written to it.
    fn take(&self, bytes: u64, label: &str) -> Result<(Buffer, bool)> {
        self.check()?;
        let max = self.caps().max_buffer & !255;
        let padded = bytes.max(1).checked_next_multiple_of(16).unwrap_or(u64::MAX);
        if padded > max {
            return Err(Error::Limit { kernel: label.into(), what: "bytes in a buffer", needs: padded, has: max });
        }
        let size = pool::class(padded).min(max);
        let idle = lock(&self.inner.pool).take(size);
        let block = match idle {
            Some(block) => block,
            None => self.create(size, label)?,
        };
        let fresh = block.fresh;
        let memory = Memory { device: self.clone(), raw: block.raw.clone(), id: block.id, bytes, block: Some(block) };
        Ok((Buffer(Arc::new(memory)), fresh))
    }

    /// New memory, within the budget. When the driver has none left, idle buffers are freed and it is asked again.
    fn create(&self, size: u64, label: &str) -> Result<Block> {
        let budget = self.inner.budget;
        let reserved = lock(&self.inner.pool).reserve(size, budget);
        drop(reserved.map_err(|e| Error::Budget { label: label.into(), bytes: size, live: e.live, budget })?);
        let create = || {
            let desc = wgpu::BufferDescriptor { label: Some(label), size, usage: USAGE, mapped_at_creation: false };
            self.scoped(label, || self.inner.device.create_buffer(&desc))
        };
        let raw = match create() {
            Err(Error::OutOfMemory { .. }) => {
                self.trim();
                let _ = self.inner.device.poll(wgpu::PollType::wait_indefinitely());
                create()
            }
            other => other,
        };
        match raw {
            Ok(raw) => {
                add(&self.inner.tally.buffers, 1);
                Ok(Block { raw, id: self.next_id(), size, fresh: true })
            }
            Err(error) => {
                lock(&self.inner.pool).cancel(size);
                Err(error)
            }
        }
    }
}
