//! Reading back: parts of buffers are copied into a staging buffer, which is mapped when the device is done. Staging
//! buffers go round in a ring, so that in the steady state none is created.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use futures_intrusive::channel::shared::oneshot_channel;

use crate::buffer::Slice;
use crate::counters::add;
use crate::device::{Device, lock};
use crate::error::{Error, Result};

/// The smallest staging buffer.
const SMALLEST: u64 = 4 << 10;
/// Idle staging buffers are kept up to this many bytes.
const KEEP: u64 = 64 << 20;

/// Idle staging buffers, and the thread that wakes futures.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    idle: Vec<wgpu::Buffer>,
    waiter: Option<mpsc::Sender<wgpu::SubmissionIndex>>,
}

impl Ring {
    fn take(&mut self, size: u64) -> Option<wgpu::Buffer> {
        let at = self.idle.iter().position(|buffer| buffer.size() == size)?;
        Some(self.idle.swap_remove(at))
    }

    fn put(&mut self, buffer: wgpu::Buffer) {
        let kept: u64 = self.idle.iter().map(wgpu::Buffer::size).sum();
        if kept + buffer.size() <= KEEP {
            self.idle.push(buffer);
        }
    }
}

type Receive = Pin<Box<dyn Future<Output = Option<Result<(), wgpu::BufferAsyncError>>> + Send>>;

/// A read on its way. Await it, [`wait`](Self::wait) for it, or ask now and then with [`try_get`](Self::try_get).
#[must_use = "a read that nobody takes is wasted"]
pub struct Pending {
    device: Device,
    flight: Option<Flight>,
    lengths: Vec<u64>,
}

/// What is between submission and result.
struct Flight {
    staging: wgpu::Buffer,
    mapped: Receive,
    submission: wgpu::SubmissionIndex,
    /// A thread waits for the device on behalf of a waker.
    watched: bool,
}

impl Pending {
    /// The bytes of each part, once they have arrived; `None` before that. They are given out once.
    pub fn try_get(&mut self) -> Option<Result<Vec<Vec<u8>>>> {
        let _ = self.device.inner.device.poll(wgpu::PollType::Poll);
        match self.poll_mapped(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => self.device.check().err().map(Err),
        }
    }

    /// Blocks until the bytes have arrived.
    ///
    /// # Errors
    /// [`Error::Lost`] if the device went away.
    pub fn wait(mut self) -> Result<Vec<Vec<u8>>> {
        let _span = self.device.span("wait");
        if let Some(flight) = &self.flight {
            let submission_index = Some(flight.submission.clone());
            let wait = wgpu::PollType::Wait { submission_index, timeout: None };
            self.device.inner.device.poll(wait).map_err(|error| Error::Lost(error.to_string()))?;
        }
        loop {
            match self.poll_mapped(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => return result,
                // The copy is done, but another thread is still delivering the news.
                Poll::Pending => {
                    self.device.check()?;
                    std::thread::yield_now();
                }
            }
        }
    }

    fn poll_mapped(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Vec<u8>>>> {
        let Some(flight) = &mut self.flight else {
            // Nothing to wait for: every part is empty, or the bytes were given out.
            return Poll::Ready(match self.lengths.iter().all(|&len| len == 0) {
                true => Ok(self.lengths.iter().map(|_| Vec::new()).collect()),
                false => Err(Error::Validation("this read was already taken".to_string())),
            });
        };
        match flight.mapped.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(()))) => Poll::Ready(self.take()),
            Poll::Ready(_) => {
                self.flight = None;
                self.device.mark_lost("a staging buffer could not be mapped");
                Poll::Ready(self.device.check().map(|()| Vec::new()))
            }
        }
    }

    /// Copies the parts out of the mapped staging buffer and gives it back to the ring.
    fn take(&mut self) -> Result<Vec<Vec<u8>>> {
        let Some(Flight { staging, .. }) = self.flight.take() else { return Ok(Vec::new()) };
        let parts = {
            let view = staging.get_mapped_range(..).map_err(|error| Error::Validation(format!("read: {error}")))?;
            let mut at = 0;
            let mut parts = Vec::with_capacity(self.lengths.len());
            for &length in &self.lengths {
                parts.push(view[at..at + length as usize].to_vec());
                at += length.next_multiple_of(4) as usize;
            }
            parts
        };
        staging.unmap();
        lock(&self.device.inner.ring).put(staging);
        add(&self.device.inner.tally.downloaded_bytes, self.lengths.iter().sum());
        Ok(parts)
    }
}

impl Future for Pending {
    type Output = Result<Vec<Vec<u8>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _ = self.device.inner.device.poll(wgpu::PollType::Poll);
        let polled = self.poll_mapped(cx);
        let device = self.device.clone();
        if polled.is_pending() {
            if let Err(error) = device.check() {
                return Poll::Ready(Err(error));
            }
            if let Some(flight) = self.flight.as_mut().filter(|flight| !flight.watched) {
                flight.watched = true;
                device.watch(flight.submission.clone());
            }
        }
        polled
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            flight.staging.unmap();
            lock(&self.device.inner.ring).put(flight.staging);
        }
    }
}

impl Device {
    /// Reads parts of buffers, and waits for them.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn read(&self, parts: &[Slice]) -> Result<Vec<Vec<u8>>> {
        self.read_async(parts)?.wait()
    }

    /// Reads parts of buffers as they are after all work submitted so far, in one submission. Offsets are multiples
    /// of 4.
    ///
    /// # Errors
    /// [`Error::Validation`] for a part that does not lie in its buffer, [`Error::OutOfMemory`], [`Error::Lost`].
    pub fn read_async(&self, parts: &[Slice]) -> Result<Pending> {
        self.check()?;
        let lengths: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
        for part in parts {
            part.check("read")?;
            if !part.offset.is_multiple_of(4) {
                return Err(Error::Validation(format!("read: byte {} is not a multiple of 4", part.offset)));
            }
        }
        let total: u64 = lengths.iter().map(|length| length.next_multiple_of(4)).sum();
        if total == 0 {
            return Ok(Pending { device: self.clone(), flight: None, lengths });
        }
        let staging = self.staging(total.max(SMALLEST).next_power_of_two())?;
        let (sender, receiver) = oneshot_channel();
        let submission = self.scoped("read", || {
            let mut encoder = self.encoder("kiln read");
            let mut at = 0;
            for part in parts.iter().filter(|part| part.bytes > 0) {
                let bytes = part.bytes.next_multiple_of(4);
                encoder.copy_buffer_to_buffer(part.buffer.raw(), part.offset, &staging, at, Some(bytes));
                at += bytes;
            }
            let submission = self.submit(encoder);
            staging.map_async(wgpu::MapMode::Read, .., move |mapped| drop(sender.send(mapped)));
            submission
        })?;
        let mapped = Box::pin(async move { receiver.receive().await });
        let flight = Flight { staging, mapped, submission, watched: false };
        Ok(Pending { device: self.clone(), flight: Some(flight), lengths })
    }

    fn staging(&self, size: u64) -> Result<wgpu::Buffer> {
        if let Some(buffer) = lock(&self.inner.ring).take(size) {
            return Ok(buffer);
        }
        let buffer = self.scoped("kiln staging", || {
            self.inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("kiln staging"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        add(&self.inner.tally.buffers, 1);
        Ok(buffer)
    }

    /// Lets a thread wait for a submission, so that wakers of its reads are called. The thread is started by the
    /// first read that is awaited, and ends with the device.
    fn watch(&self, submission: wgpu::SubmissionIndex) {
        let mut ring = lock(&self.inner.ring);
        let device = self.inner.device.clone();
        let waiter = ring.waiter.get_or_insert_with(|| {
            let (sender, submissions) = mpsc::channel();
            let run = move || {
                for submission in submissions {
                    let _ = device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
                }
            };
            // Without a thread, the future still completes whenever someone else polls the device.
            if let Err(error) = std::thread::Builder::new().name("kiln reads".to_string()).spawn(run) {
                log::warn!("no thread for asynchronous reads: {error}");
            }
            sender
        });
        let _ = waiter.send(submission);
    }
}
