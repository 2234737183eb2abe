//! Values from the bytes of a page. `None` means that there are not as many as there should be, or that they are not what
//! they should be.
//!
//! Source: apache/parquet-format, Encodings.md; google/snappy, format_description.txt.

use std::io::Read;
use std::rc::Rc;

use super::footer::Stored;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Int(i64),
    /// Past the largest of the above.
    Large(u64),
    Float(f64),
    Text(Rc<str>),
    Null,
}

impl Value {
    /// The next value in plain encoding, which is taken off `bytes`.
    pub(super) fn plain(stored: Stored, bytes: &mut &[u8]) -> Option<Self> {
        fn word<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (word, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(*word)
        }
        Some(match stored {
            Stored::Bool => return None, // they are bits
            Stored::I32 => Value::Int(i32::from_le_bytes(word(bytes)?).into()),
            Stored::U32 => Value::Int(u32::from_le_bytes(word(bytes)?).into()),
            Stored::I64 => Value::Int(i64::from_le_bytes(word(bytes)?)),
            Stored::U64 => {
                let value = u64::from_le_bytes(word(bytes)?);
                i64::try_from(value).map_or(Value::Large(value), Value::Int)
            }
            Stored::F32 => Value::Float(f32::from_le_bytes(word(bytes)?).into()),
            Stored::F64 => Value::Float(f64::from_le_bytes(word(bytes)?)),
            Stored::Text => {
                let length = u32::from_le_bytes(word(bytes)?) as usize;
                let (text, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Value::Text(std::str::from_utf8(text).ok()?.into())
            }
        })
    }
}

/// Where a page's values come from.
pub(super) enum Values<'a> {
    Plain(Stored, &'a [u8]),
    /// A bit each, the lowest first.
    Bits(&'a [u8], usize),
    /// Booleans in runs.
    Truths(Hybrid<'a>),
    /// Places in a dictionary.
    Places(Hybrid<'a>, &'a [Value]),
    /// The first bytes of all values, then the second ones: how many values there are, and which is next.
    Split(Stored, &'a [u8], usize, usize),
}

impl<'a> Values<'a> {
    /// Values of `width` bytes each, the first bytes of all in front.
    pub(super) fn split(stored: Stored, bytes: &'a [u8], width: usize) -> Option<Self> {
        bytes.len().is_multiple_of(width).then(|| Values::Split(stored, bytes, bytes.len() / width, 0))
    }

    pub(super) fn next(&mut self) -> Option<Value> {
        match self {
            Values::Plain(stored, bytes) => Value::plain(*stored, bytes),
            Values::Bits(bytes, at) => {
                let bit = bytes.get(*at / 8)? >> (*at % 8) & 1;
                *at += 1;
                Some(Value::Int(bit.into()))
            }
            Values::Truths(runs) => runs.next().map(|bit| Value::Int(bit.into())),
            Values::Places(runs, dictionary) => dictionary.get(runs.next()? as usize).cloned(),
            Values::Split(stored, bytes, count, at) => {
                if at >= count {
                    return None;
                }
                let mut word = [0; 8];
                for (byte, part) in word.iter_mut().zip(bytes.chunks(*count)) {
                    *byte = part[*at];
                }
                *at += 1;
                Value::plain(*stored, &mut &word[..])
            }
        }
    }
}

/// Numbers of a few bits: runs of one number, and groups of eight packed numbers.
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    at: usize,
    width: u32,
    run: Run,
}

enum Run {
    Same { left: u64, value: u32 },
    Packed { left: u64, bit: usize },
}

impl<'a> Hybrid<'a> {
    /// Numbers of `width` bits, 32 at most.
    pub(super) fn new(bytes: &'a [u8], width: u32) -> Option<Self> {
        (width <= 32).then_some(Self { bytes, at: 0, width, run: Run::Same { left: 0, value: 0 } })
    }

    /// Numbers behind four bytes with the length of them all; and what follows.
    pub(super) fn sized(bytes: &'a [u8], width: u32) -> Option<(Self, &'a [u8])> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (own, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((Self::new(own, width)?, rest))
    }

    pub(super) fn next(&mut self) -> Option<u32> {
        loop {
            match &mut self.run {
                Run::Same { left, value } if *left > 0 => {
                    *left -= 1;
                    return Some(*value);
                }
                Run::Packed { left, bit } if *left > 0 => {
                    *left -= 1;
                    let at = *bit;
                    *bit += self.width as usize;
                    return bits(self.bytes, at, self.width);
                }
                _ => self.run = self.head()?,
            }
        }
    }

    /// The head of the next run takes a byte at least, so that empty runs come to an end.
    fn head(&mut self) -> Option<Run> {
        let mut head = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            head |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let left = head >> 1;
        if head & 1 == 1 {
            let bit = self.at * 8;
            self.at = self.at.checked_add(usize::try_from(left).ok()?.checked_mul(self.width as usize)?)?;
            return Some(Run::Packed { left: left * 8, bit });
        }
        let mut value = 0u32;
        for byte in 0..self.width.div_ceil(8) {
            value |= u32::from(*self.bytes.get(self.at)?) << (8 * byte);
            self.at += 1;
        }
        Some(Run::Same { left, value })
    }
}

/// `width` bits from bit `at` on, the lowest first.
fn bits(bytes: &[u8], at: usize, width: u32) -> Option<u32> {
    let last = (at + width as usize).div_ceil(8);
    let touched = bytes.get(at / 8..last)?;
    let word = touched.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    Some((word >> (at % 8) & ((1u64 << width) - 1)) as u32)
}

/// What `bytes` were before they were compressed, if that is `size` bytes. `Err` for a compression that is not read.
pub(super) fn unpacked(codec: i64, bytes: &[u8], size: usize) -> Result<Option<Vec<u8>>, &'static str> {
    match codec {
        0 => Ok((bytes.len() == size).then(|| bytes.to_vec())),
        1 => Ok(snappy(bytes, size)),
        2 => {
            let mut out = Vec::new();
            let read = flate2::read::MultiGzDecoder::new(bytes).take(size as u64 + 1).read_to_end(&mut out);
            Ok(read.ok().filter(|_| out.len() == size).map(|_| out))
        }
        3 => Err("LZO"),
        4 => Err("Brotli"),
        5 | 7 => Err("LZ4"),
        6 => Err("Zstandard"),
        _ => Err("an unknown compression"),
    }
}

/// Literal bytes, and copies of what came before.
fn snappy(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let (mut at, mut claimed) = (0, 0u64);
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        claimed |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    if claimed != size as u64 {
        return None;
    }
    let mut out = Vec::new();
    while let Some(&tag) = bytes.get(at) {
        at += 1;
        let mut little = |count: usize| {
            let word = bytes.get(at..at + count)?;
            at += count;
            Some(word.iter().rev().fold(0usize, |word, &byte| word << 8 | usize::from(byte)))
        };
        let high = usize::from(tag >> 2);
        let (length, back) = match tag & 3 {
            0 => (1 + if high < 60 { high } else { little(high - 59)? }, 0),
            1 => (4 + (high & 7), usize::from(tag >> 5) << 8 | little(1)?),
            2 => (1 + high, little(2)?),
            _ => (1 + high, little(4)?),
        };
        if length > size - out.len() {
            return None;
        }
        if tag & 3 == 0 {
            out.extend(bytes.get(at..at.checked_add(length)?)?);
            at += length;
        } else {
            let from = out.len().checked_sub(back).filter(|_| back > 0)?;
            (from..from + length).for_each(|i| out.push(out[i])); // a copy may overlap itself
        }
    }
    (out.len() == size).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Encodings.md, and runs by hand.
    #[test]
    fn packed_numbers_and_runs() {
        let all = |bytes: &[u8], width, count| {
            let mut runs = Hybrid::new(bytes, width)?;
            (0..count).map(|_| runs.next()).collect::<Option<Vec<u32>>>()
        };
        let packed = [0b0000_0011, 0b1000_1000, 0b1100_0110, 0b1111_1010]; // 0 to 7 in three bits each
        assert_eq!(all(&packed, 3, 8), Some((0..8).collect()));
        assert_eq!(all(&packed, 3, 9), None);
        assert_eq!(all(&[8, 5, 0, 0, 4, 7], 3, 6), Some(vec![5, 5, 5, 5, 7, 7]));
        assert_eq!(all(&[2, 1, 2], 16, 1), Some(vec![513]));
        assert_eq!(all(&[], 0, 1), None);
        assert_eq!(all(&[10], 0, 5), Some(vec![0; 5]));
        assert_eq!(all(&[0, 0, 0], 0, 1), None, "empty runs end");
        assert!(Hybrid::new(&[], 33).is_none());
    }

    #[test]
    fn snappy_copies_what_came_before() {
        // "abab" + "abab" by an overlapping copy of six behind two literals, and a long literal
        assert_eq!(snappy(&[8, 0b100, b'a', b'b', (6 - 1) << 2 | 2, 2, 0], 8), Some(b"abababab".to_vec()));
        let long = [&[70, 60 << 2, 69][..], &[7; 70]].concat();
        assert_eq!(snappy(&long, 70), Some(vec![7; 70]));
        assert_eq!(snappy(&[8, 0b100, b'a', b'b', (6 - 1) << 2 | 2, 3, 0], 8), None, "before the beginning");
        assert_eq!(snappy(&[8, 0b100, b'a', b'b', (6 - 1) << 2 | 2, 0, 0], 8), None, "itself");
        assert_eq!(snappy(&[7, 0b100, b'a', b'b', (6 - 1) << 2 | 2, 2, 0], 7), None, "more than it says");
        assert_eq!(snappy(&[0xFF; 9], 8), None);
    }
}
