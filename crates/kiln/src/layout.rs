//! Views as index arithmetic. A [`Layout`] says where in its buffer the element at some coordinates lies;
//! a [`ViewOp`] turns one layout into another without touching memory, or says that it cannot.

use crate::Shape;

/// One step from a tensor to a view of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ViewOp {
    /// Same elements in the same order, other extents.
    Reshape(Shape),
    /// Output axis `i` is input axis `axes[i]`.
    Permute(Vec<u8>),
    /// New leading axes, and axes of extent 1 repeated.
    Broadcast(Shape),
    /// `len` elements of `axis`: `start`, `start + step`, …; `step` may be negative.
    Slice { axis: usize, start: usize, step: isize, len: usize },
    /// Zeros before and after each axis.
    Pad(Vec<(usize, usize)>),
    /// The elements with equal coordinates on two axes (the second moved by `offset`), as a new last axis of `len`.
    Diagonal { first: usize, second: usize, offset: isize, len: usize },
}

/// Where the elements of a view lie: `offset + Σ coordinate · stride`, elements outside of a mask being zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    pub(crate) dims: Vec<usize>,
    pub(crate) strides: Vec<isize>,
    pub(crate) offset: isize,
    /// The coordinates of each axis that hold an element; the others read zero.
    pub(crate) valid: Vec<(usize, usize)>,
}

impl Layout {
    /// Row-major, all elements there.
    pub(crate) fn contiguous(shape: &Shape) -> Self {
        Self {
            dims: shape.to_vec(),
            strides: shape.strides(),
            offset: 0,
            valid: shape.iter().map(|&d| (0, d)).collect(),
        }
    }

    /// Whether element `i` in row-major order lies at address `i`.
    pub(crate) fn is_linear(&self) -> bool {
        let mut step = 1isize;
        let straight = (0..self.dims.len()).rev().all(|axis| {
            let ok = self.dims[axis] == 1 || self.strides[axis] == step;
            step *= self.dims[axis] as isize;
            ok
        });
        straight && self.offset == 0 && !self.masked()
    }

    /// Whether a matrix product can follow it: no mask, nothing backwards, a row and a column axis.
    pub(crate) fn is_strided(&self) -> bool {
        !self.masked() && self.offset >= 0 && self.strides.iter().all(|&s| s >= 0) && self.dims.len() >= 2
    }

    /// Whether some coordinates read zero.
    pub(crate) fn masked(&self) -> bool {
        (0..self.dims.len()).any(|axis| self.masks(axis))
    }

    /// Whether `axis` has coordinates that read zero.
    pub(crate) fn masks(&self, axis: usize) -> bool {
        self.valid[axis] != (0, self.dims[axis])
    }

    /// The layout after all of `ops`, or `None` if one needs a copy first.
    pub(crate) fn after(mut self, ops: &[ViewOp]) -> Option<Self> {
        for op in ops {
            self = self.apply(op)?;
        }
        Some(self)
    }

    /// The layout after `op`, or `None` if it needs a copy first.
    pub(crate) fn apply(mut self, op: &ViewOp) -> Option<Self> {
        match op {
            ViewOp::Reshape(shape) => return self.reshape(shape),
            ViewOp::Permute(axes) => {
                let pick = |axis: &u8| *axis as usize;
                self = Self {
                    dims: axes.iter().map(|a| self.dims[pick(a)]).collect(),
                    strides: axes.iter().map(|a| self.strides[pick(a)]).collect(),
                    valid: axes.iter().map(|a| self.valid[pick(a)]).collect(),
                    offset: self.offset,
                };
            }
            ViewOp::Broadcast(shape) => self.broadcast(shape),
            ViewOp::Slice { axis, start, step, len } => self.slice(*axis, *start, *step, *len),
            ViewOp::Pad(sides) => {
                for (axis, &(before, after)) in sides.iter().enumerate() {
                    self.dims[axis] += before + after;
                    self.offset -= before as isize * self.strides[axis];
                    self.valid[axis] = (self.valid[axis].0 + before, self.valid[axis].1 + before);
                }
            }
            ViewOp::Diagonal { first, second, offset, len } => {
                if self.masks(*first) || self.masks(*second) {
                    return None;
                }
                let (rows, cols) = (self.strides[*first], self.strides[*second]);
                self.offset += if *offset >= 0 { offset * cols } else { -offset * rows };
                for axis in [*first.max(second), *first.min(second)] {
                    self.dims.remove(axis);
                    self.strides.remove(axis);
                    self.valid.remove(axis);
                }
                self.dims.push(*len);
                self.strides.push(rows + cols);
                self.valid.push((0, *len));
            }
        }
        Some(self)
    }

    fn broadcast(&mut self, shape: &Shape) {
        let new = shape.rank() - self.dims.len();
        self.dims.splice(0..0, std::iter::repeat_n(1, new));
        self.strides.splice(0..0, std::iter::repeat_n(0, new));
        self.valid.splice(0..0, std::iter::repeat_n((0, 1), new));
        for axis in 0..shape.rank() {
            if self.dims[axis] != shape[axis] {
                let there = self.valid[axis] == (0, 1);
                self.dims[axis] = shape[axis];
                self.strides[axis] = 0;
                self.valid[axis] = if there { (0, shape[axis]) } else { (0, 0) };
            }
        }
    }

    fn slice(&mut self, axis: usize, start: usize, step: isize, len: usize) {
        let (low, high) = self.valid[axis];
        self.offset += start as isize * self.strides[axis];
        self.strides[axis] *= step;
        self.dims[axis] = len;
        // the new coordinates c for which low <= start + step * c < high
        let at = |bound: usize| bound as isize - start as isize;
        let (from, to) = if step > 0 {
            (ceil_div(at(low), step), ceil_div(at(high), step))
        } else {
            (ceil_div(1 - at(high), -step), ceil_div(1 - at(low), -step))
        };
        let from = from.clamp(0, len as isize) as usize;
        self.valid[axis] = (from, to.clamp(from as isize, len as isize) as usize);
    }

    /// Regroups axes: runs of old axes whose product equals a run of new ones, each run lying straight in memory.
    fn reshape(&self, shape: &Shape) -> Option<Self> {
        let mut new = Self { dims: shape.to_vec(), strides: Vec::new(), valid: Vec::new(), offset: self.offset };
        if shape.numel() <= 1 {
            let empty = self.masked() && shape.numel() == 1;
            new.strides = vec![0; shape.rank()];
            new.valid = shape.iter().map(|&d| if empty { (0, 0) } else { (0, d) }).collect();
            if empty && shape.rank() == 0 {
                return None;
            }
            return Some(new);
        }
        let (mut i, mut j) = (0, 0);
        while j < shape.rank() {
            if shape[j] == 1 {
                new.strides.push(0);
                new.valid.push((0, 1));
                j += 1;
                continue;
            }
            while self.dims[i] == 1 {
                if self.masks(i) {
                    return None;
                }
                i += 1;
            }
            // a run of old axes i..k and one of new axes j..l with the same product
            let (mut k, mut l, mut old, mut fresh) = (i + 1, j + 1, self.dims[i], shape[j]);
            while old != fresh {
                if old < fresh {
                    old *= self.dims[k];
                    k += 1;
                } else {
                    fresh *= shape[l];
                    l += 1;
                }
            }
            if k - i == 1 && l - j == 1 {
                new.strides.push(self.strides[i]);
                new.valid.push(self.valid[i]);
            } else {
                let straight = |a: usize| {
                    let next = (a + 1..k).find(|&b| self.dims[b] != 1);
                    next.is_none_or(|b| self.dims[a] == 1 || self.strides[a] == self.strides[b] * self.dims[b] as isize)
                };
                if (i..k).any(|a| self.masks(a)) || !(i..k).all(straight) {
                    return None;
                }
                let last = (i..k).rev().find(|&a| self.dims[a] != 1).unwrap_or(k - 1);
                let mut step = self.strides[last];
                let mut run = Vec::new();
                for axis in (j..l).rev() {
                    run.push((step, (0, shape[axis])));
                    step *= shape[axis] as isize;
                }
                for (stride, valid) in run.into_iter().rev() {
                    new.strides.push(stride);
                    new.valid.push(valid);
                }
            }
            (i, j) = (k, l);
        }
        if (i..self.dims.len()).any(|axis| self.masks(axis)) {
            return None;
        }
        Some(new)
    }
}

fn ceil_div(a: isize, b: isize) -> isize {
    a.div_euclid(b) + isize::from(a.rem_euclid(b) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a layout reads from a buffer that holds its own addresses, by the definition.
    fn read(layout: &Layout) -> Vec<isize> {
        let n: usize = layout.dims.iter().product();
        (0..n)
            .map(|flat| {
                let (mut rest, mut at, mut inside) = (flat, layout.offset, true);
                for axis in (0..layout.dims.len()).rev() {
                    let c = rest % layout.dims[axis];
                    rest /= layout.dims[axis];
                    at += c as isize * layout.strides[axis];
                    inside &= (layout.valid[axis].0..layout.valid[axis].1).contains(&c);
                }
                if inside { at } else { -1 }
            })
            .collect()
    }

    #[test]
    fn views_compose() {
        let base = Layout::contiguous(&Shape::of(&[2, 3, 4]));
        let flip = ViewOp::Slice { axis: 2, start: 3, step: -2, len: 2 };
        let pad = ViewOp::Pad(vec![(0, 0), (1, 1), (0, 0)]);
        let view = base.clone().after(&[flip, pad, ViewOp::Slice { axis: 1, start: 0, step: 2, len: 3 }]);
        assert_eq!(read(&view.unwrap_or(base)), [-1, -1, 7, 5, -1, -1, -1, -1, 19, 17, -1, -1]);
    }

    #[test]
    fn reshape_regroups_or_refuses() {
        let base = Layout::contiguous(&Shape::of(&[2, 3, 4]));
        let turned = base.clone().apply(&ViewOp::Permute(vec![1, 0, 2]));
        assert!(turned.clone().is_some_and(|t| t.clone().apply(&ViewOp::Reshape(Shape::of(&[6, 4]))).is_none()));
        let split = turned.and_then(|t| t.apply(&ViewOp::Reshape(Shape::of(&[3, 1, 2, 2, 2]))));
        assert_eq!(split.map(|s| s.strides), Some(vec![4, 0, 12, 2, 1]));
        let spread = base.apply(&ViewOp::Reshape(Shape::of(&[24, 1])));
        let spread = spread.and_then(|s| s.apply(&ViewOp::Broadcast(Shape::of(&[24, 5]))));
        assert!(spread.is_some_and(|s| s.apply(&ViewOp::Reshape(Shape::of(&[120]))).is_none()));
    }
}
