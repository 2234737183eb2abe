//! Regions of tensors, and where a large one is cut.

use super::Splitter;
use crate::Shape;
use std::ops::Range;

/// A range of each axis.
pub(super) type Region = Vec<Range<usize>>;

/// Bytes at whose multiples a part of a buffer may be bound, on every device.
pub(super) const ALIGN: u64 = 256;

/// Elements of any type that are whole multiples of [`ALIGN`] bytes.
pub(super) const STEP: usize = 128;

/// The region that is all of a tensor.
pub(super) fn whole(shape: &Shape) -> Region {
    shape.iter().map(|&d| 0..d).collect()
}

pub(super) fn shape_of(region: &[Range<usize>]) -> Shape {
    Shape::of(&region.iter().map(ExactSizeIterator::len).collect::<Vec<_>>())
}

pub(super) fn count(region: &[Range<usize>]) -> usize {
    region.iter().map(ExactSizeIterator::len).product()
}

/// The region of an operand of `shape` that broadcasts to a result of which `region` is wanted.
pub(super) fn project(shape: &Shape, region: &[Range<usize>]) -> Region {
    let skip = region.len() - shape.rank();
    shape.iter().zip(&region[skip..]).map(|(&d, r)| if d == 1 { 0..1 } else { r.clone() }).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Splitter<'_> {
    /// The elements of a part, with room left for its alignment.
    fn cap(&self) -> usize {
        self.most.saturating_sub(STEP).max(1)
    }

    /// How many places of an axis, `inner` elements at each, make a part; a multiple of [`STEP`] elements if possible.
    fn rows(&self, inner: usize) -> usize {
        let step = STEP / gcd(inner.max(1), STEP);
        let rows = (self.cap() / inner.max(1)).max(1);
        if rows >= step { rows - rows % step } else { rows }
    }

    /// The regions of a tensor along its rows, each small enough for a binding, and at [`ALIGN`] where that is possible.
    pub(super) fn chop(&self, dims: &[usize]) -> Vec<Region> {
        let cap = self.cap();
        let inner = |axis: usize| dims[axis + 1..].iter().product::<usize>();
        let Some(axis) = (0..dims.len()).find(|&a| inner(a) <= cap) else { return vec![Vec::new()] };
        let rows = self.rows(inner(axis));
        let mut regions = Vec::new();
        for prefix in 0..dims[..axis].iter().product::<usize>() {
            let (mut rest, mut region) = (prefix, vec![0..0; dims.len()]);
            for a in (0..axis).rev() {
                region[a] = rest % dims[a]..rest % dims[a] + 1;
                rest /= dims[a];
            }
            (axis + 1..dims.len()).for_each(|a| region[a] = 0..dims[a]);
            for start in (0..dims[axis]).step_by(rows) {
                region[axis] = start..dims[axis].min(start + rows);
                regions.push(region.clone());
            }
        }
        regions
    }

    /// Ranges of an axis, `inner` elements at each place, that fit in a binding; where [`Splitter::chop`] cuts too.
    pub(super) fn ranges(&self, range: &Range<usize>, inner: usize) -> Vec<Range<usize>> {
        let rows = self.rows(inner);
        range.clone().step_by(rows).map(|start| start..range.end.min(start + rows)).collect()
    }
}
