//! Event files that TensorBoard reads, with scalars.

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::checkpoints::failed;
use super::{Callback, Start, Step, Validation};
use crate::Result;

/// Writes a TensorBoard event file into a folder: `train/loss`, `train/…` of the metric, `lr`, `validation/loss` and
/// `validation/…`, each by step.
///
/// A resumed training begins another file, which tells TensorBoard to forget what was logged of the steps that come
/// again. A record is `length u64, crc(length), data, crc(data)` in little endian, with CRC-32C masked, and `data` an
/// `Event` message of protocol buffers.
///
/// Source: tensorflow/core/lib/io/record_writer.h; tensorflow/core/util/event.proto.
pub struct TensorBoard {
    folder: PathBuf,
    file: Option<(PathBuf, File)>,
    metric: Option<&'static str>,
}

impl TensorBoard {
    /// Into this folder, which is made when the training starts.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), file: None, metric: None }
    }

    /// Writes one event; `content` is its field besides time and step.
    fn event(&mut self, step: usize, content: &[u8]) -> Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut event = Vec::new();
        event.push(0x09); // 1: wall_time, double
        event.extend(now().to_le_bytes());
        event.push(0x10); // 2: step, varint
        varint(&mut event, step as u64);
        event.extend(content);
        file.write_all(&record(&event)).map_err(|why| failed(path, why))
    }

    fn scalars(&mut self, step: usize, values: &[(String, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut message = bytes(0x0A, tag.as_bytes()); // 1: tag
            message.push(0x15); // 2: simple_value, float
            message.extend((*value as f32).to_le_bytes());
            summary.extend(bytes(0x0A, &message)); // 1: value
        }
        self.event(step, &bytes(0x2A, &summary)) // 5: summary
    }
}

impl Callback for TensorBoard {
    fn on_start(&mut self, start: &Start) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|why| failed(&self.folder, why))?;
        // TensorBoard reads files in the order of their names
        let stem = format!("events.out.tfevents.{:017.6}.kiln.{}", now(), std::process::id());
        let path = self.folder.join(stem);
        let file = File::options().write(true).create_new(true).open(&path).map_err(|why| failed(&path, why))?;
        self.file = Some((path, file));
        self.event(0, &bytes(0x1A, b"brain.Event:2"))?; // 3: file_version
        if start.step > 0 {
            self.event(start.step + 1, &bytes(0x3A, &[0x08, 1]))?; // 7: session_log { 1: status START }
        }
        Ok(())
    }

    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        let mut values = vec![("train/loss".to_string(), step.loss), ("lr".to_string(), step.lr)];
        if let Some((name, value)) = step.metric {
            self.metric = Some(name);
            values.push((format!("train/{name}"), value));
        }
        self.scalars(step.step, &values)?;
        Ok(ControlFlow::Continue(()))
    }

    fn on_validation(&mut self, validation: &Validation) -> Result<()> {
        let mut values = vec![("validation/loss".to_string(), validation.figures.loss)];
        if let Some(value) = validation.figures.metric {
            values.push((format!("validation/{}", self.metric.unwrap_or("metric")), value));
        }
        self.scalars(validation.step, &values)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A field of bytes: its key, their number, the bytes.
fn bytes(key: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    varint(&mut out, content.len() as u64);
    out.extend(content);
    out
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked(data).to_le_bytes());
    out
}

/// The checksum of a record, turned so that a checksum of data with checksums in it stays a good one.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C, polynomial 0x1EDC6F41 in reversed bits (RFC 3720, §12.1).
fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
    !data.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, §B.4, and the check value of the polynomial.
    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46DD_794E);
    }
}
