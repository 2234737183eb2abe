//! How each operation makes a region of its result.

use super::region::{Region, count, project, shape_of, whole};
use super::{Result, Splitter};
use crate::node::{Op, Random};
use crate::ops::binary::{Binary, rows};
use crate::{DType, Shape};
use std::ops::Range;

/// Whether there is a rule for a part of its result. What has none takes operands that fit as they are.
pub(super) fn cuts(op: &Op) -> bool {
    !matches!(
        op,
        Op::Attention(_)
            | Op::AttentionQuery(_)
            | Op::AttentionKeys(_)
            | Op::Recurrence(_)
            | Op::RecurrenceGrad(_)
            | Op::Custom(_)
    )
}

impl Splitter<'_> {
    /// The regions in which an operation's result is made.
    pub(super) fn regions(&self, i: u32) -> Result<Vec<Region>> {
        let old = self.old;
        let shape = old.shape(i);
        let dims = |i: u32| old.shape(i);
        // so many leading axes are free; what is behind them takes so many elements
        let (free, behind) = match old.op(i) {
            Op::Softmax { .. } | Op::Norm { .. } | Op::NormGrad { .. } | Op::Scan { .. } | Op::Sort { .. } => {
                (shape.rank() - 1, shape[shape.rank() - 1])
            }
            Op::Conv(_) | Op::ConvInput(_) => {
                let largest = dims(i).numel().max(dims(old.inputs(i)[0]).numel());
                (1, largest / shape[0])
            }
            Op::MaxPool(w) | Op::AvgPool(w) | Op::MaxPoolGrad(w) | Op::AvgPoolGrad(w) => {
                let (x, y): (usize, usize) = (w.input.iter().product(), w.output.iter().product());
                let area = if matches!(old.op(i), Op::MaxPool(_) | Op::AvgPool(_)) { y } else { x };
                let mut free = shape.rank();
                while shape[free..].iter().product::<usize>() < area
                    || shape[..free].iter().product::<usize>() > w.planes
                {
                    free -= 1;
                }
                (free, x.max(y))
            }
            Op::Gather(axis) if *axis > 0 && self.large(old.inputs(i)[0]) => {
                // rows with all that they are taken from, if that fits
                let extent = shape[*axis].max(dims(old.inputs(i)[0])[*axis]);
                match extent * shape[axis + 1..].iter().product::<usize>() {
                    behind if behind <= self.most => (*axis, behind),
                    _ => return Ok(if self.large(i) { self.chop(&shape) } else { vec![whole(&shape)] }),
                }
            }
            Op::SegmentSum => return self.segment_regions(i),
            op if !cuts(op) => return Err(self.too_large(i)),
            _ if self.large(i) => return Ok(self.chop(&shape)),
            _ => return Ok(vec![whole(&shape)]),
        };
        if behind > self.most {
            return Err(self.too_large(i));
        }
        let rows: Vec<usize> = shape[..free].iter().copied().chain([behind]).collect();
        let mut regions = self.chop(&rows);
        if regions.iter().any(|r| r[free].len() < behind) {
            // a row is as long as a binding, but for the room that is left for alignment
            regions.dedup_by(|a, b| a[..free] == b[..free]);
        }
        for region in &mut regions {
            region.truncate(free);
            region.extend(shape[free..].iter().map(|&d| 0..d));
        }
        Ok(regions)
    }

    /// A region of an operation's result, as a new node.
    pub(super) fn build(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        let old = self.old;
        let (dtype, own, inputs) = (old.dtype(i), shape_of(region), old.inputs(i));
        let op = old.op(i);
        match op {
            Op::View(view) => self.through(i, view, region),
            Op::Const(_) => Ok(self.make(op.clone(), Vec::new(), own, dtype)),
            Op::Iota => Ok(self.counted(i, region)),
            Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast | Op::Detach => {
                let mut parts = Vec::new();
                for &input in inputs {
                    parts.push(self.take(input, &project(&old.shape(input), region))?);
                }
                Ok(self.make(op.clone(), parts, own, dtype))
            }
            Op::Random(kind) => self.random(i, *kind, region),
            Op::Concat(axis) => self.joined(i, *axis, region),
            Op::Gather(axis) => self.gathered(i, *axis, region),
            Op::Reduce(kind, mask) => self.reduced(i, *kind, *mask, region),
            Op::Matmul => self.product(i, region),
            Op::Softmax { .. } | Op::Scan { .. } | Op::Sort { .. } => {
                let x = self.take(inputs[0], region)?;
                Ok(self.make(op.clone(), vec![x], own, dtype))
            }
            Op::Norm { .. } => {
                let x = self.take(inputs[0], region)?;
                let eps = self.take(inputs[1], &whole(&old.shape(inputs[1])))?;
                Ok(self.make(op.clone(), vec![x, eps], own, dtype))
            }
            Op::NormGrad { .. } => {
                let x = self.take(inputs[0], region)?;
                let rstd = self.take(inputs[1], &region[..old.shape(inputs[1]).rank()])?;
                let dy = self.take(inputs[2], region)?;
                Ok(self.make(op.clone(), vec![x, rstd, dy], own, dtype))
            }
            Op::SegmentSum => {
                let all = |s: &Shape| whole(s);
                let keys = self.take(inputs[0], &all(&old.shape(inputs[0])))?;
                let perm = self.take(inputs[1], &all(&old.shape(inputs[1])))?;
                let mut below = region.to_vec();
                below[0] = 0..old.shape(inputs[2])[0];
                let source = self.take(inputs[2], &below)?;
                Ok(self.make(Op::SegmentSum, vec![keys, perm, source], own, dtype))
            }
            Op::Conv(_) | Op::ConvInput(_) => self.convolved(i, region),
            Op::ConvWeight(_) => self.conv_weight(i, region),
            Op::MaxPool(_) | Op::AvgPool(_) | Op::MaxPoolGrad(_) | Op::AvgPoolGrad(_) => self.pooled(i, region),
            _ => Err(self.too_large(i)),
        }
    }

    /// Words of the stream by their places in the whole tensor: a slice of the expression, which is never stored whole.
    fn random(&mut self, i: u32, kind: Random, region: &[Range<usize>]) -> Result<u32> {
        let (shape, dtype) = (self.old.shape(i), self.old.dtype(i));
        let mut key = Vec::new();
        for &input in self.old.inputs(i) {
            key.push(self.take(input, &whole(&self.old.shape(input)))?);
        }
        let all = self.make(Op::Random(kind), key, shape, dtype);
        let part = self.slice(all, &vec![0; shape.rank()], region);
        Ok(self.expression(part))
    }

    fn joined(&mut self, i: u32, axis: usize, region: &[Range<usize>]) -> Result<u32> {
        let (mut from, mut nodes) = (0, Vec::new());
        for &input in self.old.inputs(i) {
            let extent = self.old.shape(input)[axis];
            let (low, high) = (region[axis].start.max(from), region[axis].end.min(from + extent));
            if low < high {
                let mut below = region.to_vec();
                below[axis] = low - from..high - from;
                nodes.push(self.take(input, &below)?);
            }
            from += extent;
        }
        let node = self.concat(axis, nodes);
        Ok(self.expression(node))
    }

    /// Elements named by an index. Of a table past the limit, from one window of it after the other.
    fn gathered(&mut self, i: u32, axis: usize, region: &[Range<usize>]) -> Result<u32> {
        let (x, index) = (self.old.inputs(i)[0], self.old.inputs(i)[1]);
        let (own, dtype, table) = (shape_of(region), self.old.dtype(i), self.old.shape(x));
        let places = self.take(index, &project(&self.old.shape(index), region))?;
        let mut below = region.to_vec();
        below[axis] = 0..table[axis];
        if count(&below) <= self.most {
            let from = self.table(x, &below)?;
            return Ok(self.make(Op::Gather(axis), vec![from, places], own, dtype));
        }
        let row = count(&below) / table[axis];
        if row > self.most {
            return Err(self.too_large(i));
        }
        // reports an index that is out of range, once
        let shape = self.new.shape(places);
        let counted = self.make(Op::Iota, Vec::new(), Shape::of(&[table[axis]]), DType::I32);
        let places = self.make(Op::Gather(0), vec![counted, places], shape, DType::I32);
        self.new.kept.insert(places);
        let number = |s: &mut Self, n: usize| s.make(Op::Const(n as u32), Vec::new(), Shape::SCALAR, DType::I32);
        let binary = |s: &mut Self, op: &'static Binary, a: u32, b: u32, dtype: DType| {
            s.make(Op::Binary(op), vec![a, b], shape, dtype)
        };
        let mut out = None;
        for (turn, Range { start, end }) in self.windows(x, axis, row).into_iter().rev().enumerate() {
            below[axis] = start..end;
            let window = self.table(x, &below)?;
            let [first, last, past] = [start, end - start - 1, end].map(|n| number(self, n));
            let zero = number(self, 0);
            let near = binary(self, &rows::sub, places, first, DType::I32);
            let near = binary(self, &rows::maximum, near, zero, DType::I32);
            let near = binary(self, &rows::minimum, near, last, DType::I32);
            let found = self.make(Op::Gather(axis), vec![window, near], own, dtype);
            out = Some(match out {
                None => found,
                Some(rest) => {
                    let here = binary(self, &rows::lt, places, past, DType::Bool);
                    self.make(Op::Where, vec![here, found, rest], own, dtype)
                }
            });
            if turn % 3 == 2 {
                self.new.kept.extend(out); // a kernel reads a few windows at once
            }
        }
        out.ok_or_else(|| self.too_large(i))
    }

    /// A region that is read at places which are not known: in memory, and made once.
    fn table(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        if let Some(&node) = self.tables.get(&(i, region.to_vec())) {
            return Ok(node);
        }
        let node = self.take(i, region)?;
        let mut base = node;
        while let Op::View(_) = self.new.op(base) {
            base = self.new.inputs(base)[0];
        }
        if matches!(self.new.op(base), Op::Concat(_)) {
            self.new.kept.insert(base);
        }
        self.tables.insert((i, region.to_vec()), node);
        Ok(node)
    }

    /// Second results of kernels that were split.
    pub(super) fn second(&mut self, i: u32) {
        let (rank, dtype) = (self.old.shape(i).rank(), self.old.dtype(i));
        let first = self.parts[&self.old.inputs(i)[0]].clone();
        let parts = first
            .into_iter()
            .map(|(region, node)| {
                let own: Region = region[..rank].to_vec();
                let shape = shape_of(&own);
                (own, self.make(Op::Second, vec![node], shape, dtype))
            })
            .collect();
        self.parts.insert(i, parts);
    }
}
