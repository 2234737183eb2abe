//! WAV: PCM of 8, 16, 24 and 32 bits, floats of 32 and 64 bits, any number of channels.
//!
//! Source: IBM & Microsoft 1991, *Multimedia Programming Interface and Data Specifications* 1.0, pages 56-65; the
//! extensible form of 1999.

use std::path::Path;

use super::{malformed, read_file};
use crate::error::Place;
use crate::{Device, Error, Result, Tensor};

/// A recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Wav {
    /// Frames a second.
    pub rate: u32,
    /// Samples in a frame.
    pub channels: usize,
    /// Frame by frame, from -1 to 1: whole numbers are divided by 2⁷, 2¹⁵, 2²³ or 2³¹.
    pub samples: Vec<f32>,
}

impl Wav {
    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels.max(1)
    }

    /// The mean of the channels.
    #[must_use]
    pub fn mono(&self) -> Self {
        let channels = self.channels.max(1);
        let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
        Self { rate: self.rate, channels: 1, samples: self.samples.chunks_exact(channels).map(mean).collect() }
    }

    /// The samples `[channels, frames]`.
    #[track_caller]
    pub fn tensor(&self, device: &Device) -> Tensor {
        Tensor::from_slice(device, &self.samples, &[self.frames(), self.channels]).t()
    }
}

/// Reads a WAV file.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Malformed`] with the byte at which it is no WAV file, is compressed,
/// or ends too early.
pub fn read(path: impl AsRef<Path>) -> Result<Wav> {
    parse(&read_file(path.as_ref())?, path)
}

/// The recording in the bytes of a file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<Wav> {
    let path = name.as_ref();
    let bad = |at: usize, expected: &str, found: String| Err(malformed(path, Place::Byte(at as u64), expected, found));
    if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        return bad(
            0,
            "RIFF, a size and WAVE",
            format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(12)])),
        );
    }
    let (mut at, mut format) = (12, None);
    while at < bytes.len() {
        let Some(&[a, b, c, d, s0, s1, s2, s3]) = bytes.get(at..at + 8) else {
            return bad(at, "the head of a chunk", format!("{} bytes", bytes.len() - at));
        };
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let Some(chunk) = (at + 8).checked_add(size).and_then(|end| bytes.get(at + 8..end)) else {
            let what = String::from_utf8_lossy(&[a, b, c, d]).into_owned();
            return bad(
                at + 4,
                "a chunk inside the file",
                format!("{what:?} of {size} bytes, {} left", bytes.len() - at - 8),
            );
        };
        match &[a, b, c, d] {
            b"fmt " => format = Some(Format::parse(chunk, path, at + 8)?),
            b"data" => {
                let Some(format) = format else {
                    return bad(at, "a fmt chunk before the data", "none".into());
                };
                return format.samples(chunk, path, at + 8);
            }
            _ => {}
        }
        at += 8 + size + size % 2; // chunks begin at even bytes
    }
    bad(bytes.len(), "a data chunk", "the end".into())
}

struct Format {
    float: bool,
    bits: u16,
    channels: usize,
    rate: u32,
}

impl Format {
    fn parse(chunk: &[u8], path: &Path, at: usize) -> Result<Self> {
        let bad = |offset: usize, expected: &str, found: String| -> Error {
            malformed(path, Place::Byte((at + offset) as u64), expected, found)
        };
        if chunk.len() < 16 {
            return Err(bad(0, "16 bytes of format", chunk.len().to_string()));
        }
        let u16_at = |i: usize| u16::from_le_bytes([chunk[i], chunk[i + 1]]);
        let rate = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let (mut code, channels, align, bits) = (u16_at(0), u16_at(2), u16_at(12), u16_at(14));
        if code == 0xfffe {
            if chunk.len() < 40 {
                return Err(bad(0, "40 bytes of extended format", chunk.len().to_string()));
            }
            code = u16_at(24); // the first two bytes of the format's identity
        }
        let float = match (code, bits) {
            (1, 8 | 16 | 24 | 32) => false,
            (3, 32 | 64) => true,
            _ => {
                let expected = "PCM of 8, 16, 24 or 32 bits or floats of 32 or 64";
                return Err(bad(0, expected, format!("format {code} of {bits} bits")));
            }
        };
        if channels == 0 || rate == 0 {
            return Err(bad(2, "channels and a rate", format!("{channels} channels, {rate} frames a second")));
        }
        if u32::from(align) != u32::from(channels) * u32::from(bits / 8) {
            return Err(bad(12, "the bytes of a frame", align.to_string()));
        }
        Ok(Self { float, bits, channels: usize::from(channels), rate })
    }

    fn samples(&self, data: &[u8], path: &Path, at: usize) -> Result<Wav> {
        let frame = self.channels * usize::from(self.bits / 8);
        if !data.len().is_multiple_of(frame) {
            let place = Place::Byte((at + data.len() / frame * frame) as u64);
            return Err(malformed(path, place, format!("frames of {frame} bytes"), "a part of one"));
        }
        let samples = match (self.float, self.bits) {
            (true, 64) => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            (true, _) => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            (_, 8) => data.iter().map(|&b| (f32::from(b) - 128.0) / 128.0).collect(),
            (_, 16) => data.as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b)) / 32768.0).collect(),
            (_, 24) => {
                let wide = |&[a, b, c]: &[u8; 3]| i32::from_le_bytes([0, a, b, c]) as f32 / 2147483648.0;
                data.as_chunks().0.iter().map(wide).collect()
            }
            _ => data.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32 / 2147483648.0).collect(),
        };
        Ok(Wav { rate: self.rate, channels: self.channels, samples })
    }
}
