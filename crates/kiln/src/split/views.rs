//! Regions seen through views.

use super::region::{Region, count, project, shape_of, whole};
use super::{Result, Splitter};
use crate::layout::ViewOp;
use crate::node::Op;
use crate::{DType, Shape};
use std::ops::Range;

impl Splitter<'_> {
    /// A region of a view.
    pub(super) fn through(&mut self, i: u32, view: &ViewOp, region: &[Range<usize>]) -> Result<u32> {
        let input = self.old.inputs(i)[0];
        let inner = self.old.shape(input);
        let own = shape_of(region);
        match view {
            ViewOp::Reshape(_) => self.reshaped(i, region),
            ViewOp::Permute(axes) => {
                let mut below = whole(&inner);
                axes.iter().zip(region).for_each(|(&a, r)| below[a as usize] = r.clone());
                let node = self.take(input, &below)?;
                Ok(self.view(node, view.clone(), own))
            }
            ViewOp::Broadcast(_) => {
                let node = self.take(input, &project(&inner, region))?;
                let same = self.new.shape(node) == own;
                Ok(if same { node } else { self.view(node, ViewOp::Broadcast(own), own) })
            }
            ViewOp::Slice { axis, start, step, .. } => {
                let at = |k: usize| (*start as isize + step * k as isize) as usize;
                let (first, last) = (at(region[*axis].start), at(region[*axis].end - 1));
                let mut below = region.to_vec();
                below[*axis] = first.min(last)..first.max(last) + 1;
                if count(&below) > self.most && region[*axis].len() > 1 {
                    // what lies between the steps does not fit: half of them at a time
                    let Range { start, end } = region[*axis];
                    let mut halves = Vec::new();
                    for half in [start..start.midpoint(end), start.midpoint(end)..end] {
                        let mut part = region.to_vec();
                        part[*axis] = half;
                        halves.push(self.through(i, view, &part)?);
                    }
                    return Ok(self.concat(*axis, halves));
                }
                let node = self.take(input, &below)?;
                let (start, len) = (first - first.min(last), own[*axis]);
                let straight = *step == 1 || len == 1;
                let view = ViewOp::Slice { axis: *axis, start, step: *step, len };
                Ok(if straight { node } else { self.view(node, view, own) })
            }
            ViewOp::Pad(sides) => {
                let (mut below, mut around) = (Vec::new(), Vec::new());
                for ((r, &(before, _)), &extent) in region.iter().zip(sides).zip(inner.iter()) {
                    let (low, high) = (r.start.max(before), r.end.min(before + extent));
                    below.push(low - before..high.max(low) - before);
                    around.push((low - r.start, r.end - high.min(r.end)));
                }
                if count(&below) == 0 {
                    let dtype = self.old.dtype(i);
                    return Ok(self.make(Op::Const(0), Vec::new(), own, dtype));
                }
                let node = self.take(input, &below)?;
                let same = self.new.shape(node) == own;
                Ok(if same { node } else { self.view(node, ViewOp::Pad(around), own) })
            }
            ViewOp::Diagonal { first, second, offset, .. } => {
                let along = &region[region.len() - 1];
                let (down, right) = ((-offset).max(0) as usize, (*offset).max(0) as usize);
                let mut others = region.iter();
                let below: Region = (0..inner.rank())
                    .map(|a| match a {
                        a if a == *first => along.start + down..along.end + down,
                        a if a == *second => along.start + right..along.end + right,
                        _ => others.next().cloned().unwrap_or(0..1),
                    })
                    .collect();
                if count(&below) > self.most {
                    return Err(self.too_large(i)); // a square around a long piece of the diagonal
                }
                let node = self.take(input, &below)?;
                let view = ViewOp::Diagonal { first: *first, second: *second, offset: 0, len: along.len() };
                Ok(self.view(node, view, own))
            }
        }
    }

    /// A region of a reshaped node: exactly one of the node itself, if runs of axes allow; else pieces of it.
    fn reshaped(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        let input = self.straight(self.old.inputs(i)[0]);
        let (inner, outer) = (self.old.shape(input), self.old.shape(i));
        if inner == outer {
            return self.take(input, region);
        }
        let own = shape_of(region);
        if let Some(below) = regroup(&inner, &outer, region) {
            let node = self.take(input, &below)?;
            return Ok(self.reshape(node, own));
        }
        match flat_range(&outer, region) {
            Some(range) => {
                let node = self.flat(input, range)?;
                Ok(self.reshape(node, own))
            }
            // a range of the outermost axis at a time
            None if count(region) <= self.most => {
                let axis = region.iter().position(|r| r.len() > 1).unwrap_or(0);
                let mut nodes = Vec::new();
                for at in region[axis].clone() {
                    let mut one = region.to_vec();
                    one[axis] = at..at + 1;
                    nodes.push(self.reshaped(i, &one)?);
                }
                Ok(self.concat(axis, nodes))
            }
            None => Err(self.too_large(i)),
        }
    }

    /// What a large node is a reshape of: a reshape of a reshape is one, often none.
    fn straight(&self, mut i: u32) -> u32 {
        while self.large(i) && self.lazy(i) && matches!(self.old.op(i), Op::View(ViewOp::Reshape(_))) {
            i = self.old.inputs(i)[0];
        }
        i
    }

    /// Ranges of an axis of a table, `row` elements at each place, that fit in a binding: those that its parts are, if they
    /// lie along the axis.
    pub(super) fn windows(&self, table: u32, axis: usize, row: usize) -> Vec<Range<usize>> {
        let base = self.straight(table);
        let shape = self.old.shape(base);
        let parts = self.parts.get(&base).filter(|_| axis == 0);
        let mut end = 0;
        let known: Option<Vec<Range<usize>>> = parts.and_then(|parts| {
            let mut window = |region: &Region| {
                let flat = flat_range(&shape, region).filter(|flat| flat.start == end && flat.end % row == 0)?;
                end = flat.end;
                Some(flat.start / row..flat.end / row)
            };
            parts.iter().map(|(region, _)| window(region)).collect()
        });
        known.unwrap_or_else(|| self.ranges(&(0..self.old.shape(table)[axis]), row))
    }

    /// Elements of an old node in row-major order, as a vector.
    pub(super) fn flat(&mut self, i: u32, range: Range<usize>) -> Result<u32> {
        let shape = self.old.shape(i);
        let mut nodes = Vec::new();
        for region in boxes(&shape, range) {
            let node = self.take(i, &region)?;
            nodes.push(self.reshape(node, Shape::of(&[count(&region)])));
        }
        Ok(self.concat(0, nodes))
    }

    /// Numbers 0, 1, … of a region.
    pub(super) fn counted(&mut self, i: u32, region: &[Range<usize>]) -> u32 {
        let shape = self.old.shape(i);
        let all = self.make(Op::Iota, Vec::new(), shape, DType::I32);
        self.slice(all, &vec![0; shape.rank()], region)
    }
}

/// The elements of a region as a range in row-major order, if they are one.
pub(super) fn flat_range(shape: &Shape, region: &[Range<usize>]) -> Option<Range<usize>> {
    let strides = shape.strides();
    let start: usize = region.iter().zip(&strides).map(|(r, &s)| r.start * s as usize).sum();
    // one index of each axis, then a range, then whole axes
    let open = region.iter().position(|r| r.len() != 1).unwrap_or(region.len());
    let after = (open + 1).min(region.len());
    let rest = after..region.len();
    rest.clone().all(|a| region[a] == (0..shape[a])).then(|| start..start + count(region))
}

/// A range in row-major order as regions, in order.
fn boxes(shape: &Shape, range: Range<usize>) -> Vec<Region> {
    fn walk(dims: &[usize], range: Range<usize>, prefix: &[Range<usize>], out: &mut Vec<Region>) {
        let Some((_, rest)) = dims.split_first() else {
            out.push(prefix.to_vec());
            return;
        };
        let inner: usize = rest.iter().product();
        let push = |rows: Range<usize>, out: &mut Vec<Region>| {
            let all = rest.iter().map(|&d| 0..d);
            out.push(prefix.iter().cloned().chain([rows]).chain(all).collect());
        };
        let deeper = |row: usize, part: Range<usize>, out: &mut Vec<Region>| {
            let prefix: Region = prefix.iter().cloned().chain(std::iter::once(row..row + 1)).collect();
            walk(rest, part, &prefix, out);
        };
        let (first, last) = (range.start.div_ceil(inner), range.end / inner);
        if first > last {
            let row = range.start / inner; // within one row
            deeper(row, range.start - row * inner..range.end - row * inner, out);
            return;
        }
        if first * inner > range.start {
            deeper(first - 1, range.start - (first - 1) * inner..inner, out);
        }
        if last > first {
            push(first..last, out);
        }
        if range.end > last * inner {
            deeper(last, 0..range.end - last * inner, out);
        }
    }
    let mut out = Vec::new();
    walk(shape, range, &[], &mut out);
    out
}

/// The region of `inner` that a region of its reshape to `outer` is, if runs of axes with equal products each are one.
fn regroup(inner: &Shape, outer: &Shape, region: &[Range<usize>]) -> Option<Region> {
    let mut below: Region = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < inner.rank() || j < outer.rank() {
        let (mut k, mut l, mut a, mut b) = (i, j, 1, 1);
        loop {
            if k < inner.rank() && (a < b || (a == b && k == i)) {
                a *= inner[k];
                k += 1;
            } else if l < outer.rank() && (b < a || (a == b && l == j)) {
                b *= outer[l];
                l += 1;
            } else {
                break;
            }
        }
        if a != b {
            return None;
        }
        let range = flat_range(&Shape::of(&outer[j..l]), &region[j..l])?;
        let mut regions = boxes(&Shape::of(&inner[i..k]), range);
        if regions.len() != 1 {
            return None;
        }
        below.append(&mut regions[0]);
        (i, j) = (k, l);
    }
    Some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_made_of_regions() {
        let shape = Shape::of(&[3, 4, 5]);
        for (start, end) in [(0, 60), (3, 4), (0, 20), (7, 53), (19, 21), (20, 45), (59, 60), (5, 15)] {
            let mut covered = Vec::new();
            for region in boxes(&shape, start..end) {
                let range = flat_range(&shape, &region);
                assert!(range.is_some(), "{region:?} is straight");
                covered.extend(range.into_iter().flatten());
            }
            assert_eq!(covered, (start..end).collect::<Vec<_>>(), "{start}..{end}");
        }
    }

    #[test]
    fn runs_of_axes_are_regrouped() {
        let (inner, outer) = (Shape::of(&[6, 4, 5]), Shape::of(&[2, 3, 20, 1]));
        assert_eq!(regroup(&inner, &outer, &[1..2, 0..2, 5..10, 0..1]), Some(vec![3..5, 1..2, 0..5]));
        assert_eq!(regroup(&inner, &outer, &[1..2, 0..2, 4..9, 0..1]), None);
        assert_eq!(regroup(&Shape::of(&[6, 20]), &Shape::of(&[1, 120]), &[0..1, 20..60]), Some(vec![1..3, 0..20]));
    }
}
