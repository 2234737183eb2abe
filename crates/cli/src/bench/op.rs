//! What can be measured: an op is a row of a table with its axes, its default sizes, its cost, and how to make it.

use kiln::gpu::Caps;
use kiln::prelude::*;

use super::ops;
use super::peak::Peaks;
use super::subject::Subject;
use crate::failure::{Failure, Result};

/// One op of the table.
pub(crate) struct Op {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    /// The formula, with its shapes.
    pub(crate) about: &'static str,
    /// What the numbers of a size mean.
    pub(crate) axes: &'static [&'static str],
    /// Sizes from small to large; the adapter's speed decides which of them is the default.
    pub(crate) ladder: &'static [&'static [usize]],
    /// Whether there are f16 rows.
    pub(crate) half: bool,
    /// What a size costs.
    pub(crate) work: fn(&[usize]) -> Work,
    /// Sizes that mean nothing, and why.
    pub(crate) valid: fn(&[usize]) -> Option<&'static str>,
    /// The algorithms to choose from by name, where there are several.
    pub(crate) variants: fn(&Caps, &Case) -> Vec<String>,
    pub(crate) make: fn(&Device, &Case) -> Result<Subject>,
}

/// A size at which an op is measured.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) size: Vec<usize>,
    pub(crate) dtype: DType,
    /// The algorithm asked for; `None` leaves it to the library.
    pub(crate) variant: Option<String>,
}

/// What a case costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Work {
    /// Floating-point operations.
    pub(crate) flops: f64,
    /// Elements that have to be read and written, each once.
    pub(crate) moved: f64,
    /// More of them that are f32 whatever the case's type is.
    pub(crate) moved_f32: f64,
    /// Elements in memory at the same time.
    pub(crate) held: f64,
    /// Elements of the largest tensor.
    pub(crate) largest: f64,
}

impl Work {
    /// Bytes that have to be read and written.
    pub(crate) fn bytes(&self, dtype: DType) -> f64 {
        self.moved * dtype.bytes() as f64 + self.moved_f32 * DType::F32.bytes() as f64
    }
}

impl Op {
    /// Every op, by family.
    pub(crate) fn all() -> impl Iterator<Item = &'static Op> {
        ops::FAMILIES.iter().flat_map(|family| family.iter())
    }

    /// The ops that the words name: an op, or a family; all of them without words.
    pub(crate) fn named(words: &[String]) -> Result<Vec<&'static Op>> {
        for word in words {
            if !Op::all().any(|op| op.is(word)) {
                return Err(Failure::Usage(format!("there is no op or family `{word}`; `kiln bench list` shows them")));
            }
        }
        Ok(Op::all().filter(|op| words.is_empty() || words.iter().any(|word| op.is(word))).collect())
    }

    fn is(&self, word: &str) -> bool {
        self.name == word || self.family == word
    }

    /// The size that `text` gives, such as 512x512x512.
    pub(crate) fn size(&self, text: &str) -> Result<Vec<usize>> {
        let axes = self.axes.join("x");
        let wrong = |why: String| Failure::Usage(format!("{}: --size {text}: {why} (it takes {axes})", self.name));
        let numbers: Vec<&str> = text.split(['x', ',', '×']).collect();
        if numbers.len() != self.axes.len() {
            return Err(wrong(format!("{} numbers for {} axes", numbers.len(), self.axes.len())));
        }
        let mut size = Vec::new();
        for (number, axis) in numbers.into_iter().zip(self.axes) {
            match number.trim().parse::<usize>() {
                Ok(0) => return Err(wrong(format!("{axis} is zero"))),
                Ok(n) if n > i32::MAX as usize => return Err(wrong(format!("{axis} is larger than any tensor"))),
                Ok(n) => size.push(n),
                Err(_) => return Err(wrong(format!("`{number}` is no size"))),
            }
        }
        match (self.valid)(&size) {
            Some(why) => Err(wrong(why.into())),
            None => Ok(size),
        }
    }

    /// The largest of the default sizes that this adapter should do within `ms`; the first, if none is so small.
    pub(crate) fn default_size(&self, peaks: &Peaks, caps: &Caps, ms: f64) -> Vec<usize> {
        let affordable = |size: &&&[usize]| {
            let work = (self.work)(size);
            // Half of what the peaks promise is what to expect.
            let (least, _) = peaks.least(work.flops, work.bytes(DType::F32), DType::F32, 0);
            2.0 * least <= ms && 4.0 * work.largest <= caps.max_binding as f64
        };
        let fits = self.ladder.iter().rfind(affordable).or(self.ladder.first());
        fits.map_or_else(Vec::new, |size| size.to_vec())
    }

    fn refuse(&self, case: &Case, why: String) -> Result<()> {
        Err(Failure::Usage(format!("{} {}: {why}", self.name, case.shape())))
    }

    /// An error for a case that this device cannot hold.
    pub(crate) fn fits(&self, device: &Device, case: &Case) -> Result<()> {
        let work = (self.work)(&case.size);
        let no = |why: String| self.refuse(case, why);
        if work.largest > f64::from(i32::MAX) {
            return no(format!("a tensor of {:.3e} elements; the most is 2³¹ - 1", work.largest));
        }
        // training in mixed precision holds its weights in f32, and rounded as well
        let bytes = if work.moved_f32 > 0.0 { DType::F32 } else { case.dtype }.bytes() as f64;
        let (largest, held) = (work.largest * bytes, work.held * bytes);
        let has = device.caps().max_buffer as f64;
        if largest > has {
            return no(format!("a tensor of {}; the adapter's buffers have at most {}", size(largest), size(has)));
        }
        // A software adapter's memory is the host's, which holds the operands as well while they are made.
        let budget = device.budget() as f64 / if device.caps().is_cpu() { 1.5 } else { 1.0 };
        if held > budget {
            return no(format!("needs {} of memory, there are {}", size(held), size(budget)));
        }
        Ok(())
    }

    /// An error for a case that would take minutes.
    pub(crate) fn ends(&self, case: &Case, peaks: &Peaks) -> Result<()> {
        let work = (self.work)(&case.size);
        let seconds = peaks.least(work.flops, work.bytes(case.dtype), case.dtype, 0).0 / 1e3;
        if seconds > 20.0 {
            let why = format!("one run would take {seconds:.0} s at this adapter's peak; give a smaller --size");
            return self.refuse(case, why);
        }
        Ok(())
    }
}

impl Case {
    /// 512×512×512.
    pub(crate) fn shape(&self) -> String {
        self.size.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
    }

    /// The size of an op with that many axes.
    pub(crate) fn dims<const N: usize>(&self) -> Result<[usize; N]> {
        dims(&self.size).ok_or_else(|| Failure::Usage(format!("a size of {N} axes, not {}", self.shape())))
    }
}

/// The axes of a size.
pub(crate) fn dims<const N: usize>(size: &[usize]) -> Option<[usize; N]> {
    size.try_into().ok()
}

/// The axes of a size as numbers to calculate costs with, which may be of any size.
pub(crate) fn wide<const N: usize>(size: &[usize]) -> [f64; N] {
    std::array::from_fn(|i| size.get(i).copied().unwrap_or(1) as f64)
}

/// Every size means something.
pub(crate) fn any_size(_: &[usize]) -> Option<&'static str> {
    None
}

/// One algorithm only.
pub(crate) fn no_variants(_: &Caps, _: &Case) -> Vec<String> {
    Vec::new()
}

/// Bytes for people.
pub(crate) fn size(bytes: f64) -> String {
    match bytes {
        b if b >= 1e12 => format!("{:.1} TB", b / 1e12),
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e4 => format!("{:.1} kB", b / 1e3),
        b => format!("{b:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_table_is_whole() {
        let mut names: Vec<&str> = Op::all().map(|op| op.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "an op has its name alone");
        for op in Op::all() {
            assert!(!op.ladder.is_empty() && !op.about.is_empty(), "{}", op.name);
            for size in op.ladder {
                assert_eq!(size.len(), op.axes.len(), "{}", op.name);
                assert_eq!((op.valid)(size), None, "{}", op.name);
                let work = (op.work)(size);
                assert!(work.moved > 0.0 && work.held >= work.largest && work.largest >= 1.0, "{} {work:?}", op.name);
            }
        }
    }

    #[test]
    fn sizes_are_read_or_explained() {
        let op = Op::named(&["matmul".into()]).unwrap()[0];
        assert_eq!(op.size("2x3,4").unwrap(), [2, 3, 4]);
        for (text, word) in [("", "no size"), ("1x2", "axes"), ("0x1x1", "zero"), ("ax1x1", "`a`"), ("-1x1x1", "`-1`")]
        {
            let why = op.size(text).unwrap_err().to_string();
            assert!(why.contains(word) || why.contains("axes"), "{text}: {why}");
        }
    }
}
