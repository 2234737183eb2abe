//! The compact protocol of Thrift, as far as a file's structures need it. Whatever is there, reading ends: each element takes
//! a byte at least, and structures within structures have a limit.
//!
//! Source: thrift/doc/specs/thrift-compact-protocol.md.

/// Structures are not nested deeper in any known version.
const DEEPEST: usize = 16;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    const TRUE: u8 = 1;
    const FALSE: u8 = 2;

    /// A boolean field, which is its kind.
    pub(super) fn truth(self) -> Option<bool> {
        match self.0 {
            Self::TRUE => Some(true),
            Self::FALSE => Some(false),
            _ => None,
        }
    }
}

/// Bytes that are read from front to back. `None` means that they are not what they should be.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// An integer of 8 to 64 bits.
    pub(super) fn int(&mut self, kind: Kind) -> Option<i64> {
        match kind.0 {
            3 => self.byte().map(|byte| i64::from(byte as i8)),
            4..=6 => self.zigzag(),
            _ => None,
        }
    }

    /// A size: an integer from 0.
    pub(super) fn size(&mut self, kind: Kind) -> Option<u64> {
        self.int(kind).and_then(|value| u64::try_from(value).ok())
    }

    pub(super) fn text(&mut self, kind: Kind) -> Option<String> {
        if kind.0 != 8 {
            return None;
        }
        let length = usize::try_from(self.varint()?).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// The elements of a list, each made by `one`.
    pub(super) fn list<T>(&mut self, kind: Kind, mut one: impl FnMut(&mut Self, Kind) -> Option<T>) -> Option<Vec<T>> {
        if !matches!(kind.0, 9 | 10) {
            return None;
        }
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        let mut all = Vec::new(); // grows with what is really there
        for _ in 0..count {
            all.push(one(self, Kind(head & 15))?);
        }
        Some(all)
    }

    /// A structure: `field` is given each field's number and kind, and says whether it has read the value.
    pub(super) fn structure(
        &mut self,
        kind: Kind,
        mut field: impl FnMut(&mut Self, i64, Kind) -> Option<bool>,
    ) -> Option<()> {
        if kind.0 != 12 || self.depth >= DEEPEST {
            return None;
        }
        self.depth += 1;
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                self.depth -= 1;
                return Some(());
            }
            id = match head >> 4 {
                0 => self.zigzag()?,
                more => id.checked_add(i64::from(more))?,
            };
            if !field(self, id, Kind(head & 15))? {
                self.skip(Kind(head & 15))?;
            }
        }
    }

    /// The structure that the bytes begin with.
    pub(super) fn outer(&mut self, field: impl FnMut(&mut Self, i64, Kind) -> Option<bool>) -> Option<()> {
        self.structure(Kind(12), field)
    }

    fn skip(&mut self, kind: Kind) -> Option<()> {
        match kind.0 {
            Kind::TRUE | Kind::FALSE => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.take(8).map(drop),
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(drop)
            }
            9 | 10 => {
                if self.depth >= DEEPEST {
                    return None;
                }
                self.depth += 1;
                let done = self.list(kind, Self::element).map(drop);
                self.depth -= 1;
                done
            }
            12 => self.structure(kind, |_, _, _| Some(false)),
            _ => None, // maps are in no structure that is read here
        }
    }

    /// An element of a list that is not of interest: there, a boolean takes a byte.
    fn element(&mut self, kind: Kind) -> Option<()> {
        match kind.0 {
            Kind::TRUE | Kind::FALSE => self.byte().map(drop),
            _ => self.skip(kind),
        }
    }
}
