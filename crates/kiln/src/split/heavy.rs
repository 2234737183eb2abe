//! Regions of reductions, products, convolutions and pooling: where operands are larger than results, sums of parts.

use super::region::{Region, count, project, shape_of, whole};
use super::{Result, Splitter};
use crate::layout::ViewOp;
use crate::node::{Op, Reduction};
use crate::ops::binary::{Binary, rows};
use crate::ops::unary::{Unary, rows as unary};
use crate::{DType, Shape};
use std::ops::Range;

impl Splitter<'_> {
    /// What two parts of a reduction give together.
    fn both(&mut self, kind: Reduction, a: u32, b: u32) -> u32 {
        let dtype = self.new.dtype(a);
        match kind {
            Reduction::Prod => self.binary(&rows::mul, a, b, dtype),
            Reduction::Max | Reduction::Amax => self.binary(&rows::maximum, a, b, dtype),
            Reduction::Min | Reduction::Amin => self.binary(&rows::minimum, a, b, dtype),
            Reduction::LogSumExp => {
                // of two infinities their difference is no number
                let [most, least] = [&rows::maximum, &rows::minimum].map(|op| self.binary(op, a, b, dtype));
                let less = self.binary(&rows::sub, least, most, dtype);
                let less = self.unary(&unary::exp, less);
                let less = self.unary(&unary::log1p, less);
                let ln2 = self.make(Op::Const(std::f32::consts::LN_2.to_bits()), Vec::new(), Shape::SCALAR, dtype);
                let [apart, twice] = [less, ln2].map(|more| self.binary(&rows::add, most, more, dtype));
                let same = self.binary(&rows::eq, a, b, DType::Bool);
                let shape = self.new.shape(a);
                self.make(Op::Where, vec![same, twice, apart], shape, dtype)
            }
            _ => self.binary(&rows::add, a, b, dtype),
        }
    }

    fn binary(&mut self, op: &'static Binary, a: u32, b: u32, dtype: DType) -> u32 {
        let shape = self.new.shape(a);
        self.make(Op::Binary(op), vec![a, b], shape, dtype)
    }

    fn unary(&mut self, op: &'static Unary, a: u32) -> u32 {
        let (shape, dtype) = (self.new.shape(a), self.new.dtype(a));
        self.make(Op::Unary(op), vec![a], shape, dtype)
    }

    pub(super) fn reduced(&mut self, i: u32, kind: Reduction, mask: u8, region: &[Range<usize>]) -> Result<u32> {
        let x = self.old.inputs(i)[0];
        let (mut kept, shape) = (region.iter().cloned(), self.old.shape(x));
        let gone = |a: usize| mask & (1 << a) != 0;
        let below: Region =
            (0..shape.rank()).map(|a| if gone(a) { 0..shape[a] } else { kept.next().unwrap_or(0..1) }).collect();
        self.reduce_part(i, kind, mask, &below)
    }

    /// The reduction of a region of its operand.
    fn reduce_part(&mut self, i: u32, kind: Reduction, mask: u8, below: &Region) -> Result<u32> {
        let x = self.old.inputs(i)[0];
        let arg = matches!(kind, Reduction::ArgMax | Reduction::ArgMin);
        let dtype = if arg { DType::I32 } else { self.old.dtype(x) };
        let gone = |a: usize| mask & (1 << a) != 0;
        let result: Vec<usize> = (0..below.len()).filter(|&a| !gone(a)).map(|a| below[a].len()).collect();
        if count(below) <= self.most {
            let part = self.take(x, below)?;
            return Ok(self.make(Op::Reduce(kind, mask), vec![part], Shape::of(&result), dtype));
        }
        let Some(axis) = (0..below.len()).find(|&a| below[a].len() > 1) else { return Err(self.too_large(i)) };
        let ranges = self.ranges(&below[axis], below[axis + 1..].iter().map(ExactSizeIterator::len).product());
        let part = |range: &Range<usize>| {
            let mut part = below.clone();
            part[axis] = range.clone();
            part
        };
        if arg && gone(axis) {
            return self.extreme_part(i, kind, mask, below, axis, ranges.into_iter().map(|r| part(&r)).collect());
        }
        let mut nodes = Vec::new();
        for range in &ranges {
            nodes.push(self.reduce_part(i, kind, mask, &part(range))?);
        }
        if !gone(axis) {
            let place = (0..axis).filter(|&a| !gone(a)).count();
            return Ok(self.concat(place, nodes));
        }
        let all = nodes.into_iter().reduce(|a, b| self.both(kind, a, b));
        all.ok_or_else(|| self.too_large(i))
    }

    /// The place of the extreme over parts of an axis: that of the first part which has it.
    fn extreme_part(
        &mut self,
        i: u32,
        kind: Reduction,
        mask: u8,
        below: &Region,
        axis: usize,
        parts: Vec<Region>,
    ) -> Result<u32> {
        let extreme = if kind == Reduction::ArgMax { Reduction::Max } else { Reduction::Min };
        let inner: usize = (axis + 1..below.len()).filter(|&a| mask & (1 << a) != 0).map(|a| below[a].len()).product();
        let mut best: Option<(u32, u32)> = None;
        for part in parts {
            let value = self.reduce_part(i, extreme, mask, &part)?;
            let place = self.reduce_part(i, kind, mask, &part)?;
            let before = ((part[axis].start - below[axis].start) * inner) as u32;
            let before = self.make(Op::Const(before), Vec::new(), Shape::SCALAR, DType::I32);
            let place = self.binary(&rows::add, place, before, DType::I32);
            best = Some(match best {
                None => (value, place),
                Some((known, known_place)) => {
                    let both = self.both(extreme, known, value);
                    let (shape, dtype) = (self.new.shape(both), self.new.dtype(both));
                    let mut first = self.binary(&rows::eq, known, both, DType::Bool);
                    if dtype.is_float() {
                        let nan = self.make(Op::Unary(&unary::isnan), vec![known], shape, DType::Bool);
                        first = self.binary(&rows::logical_or, first, nan, DType::Bool);
                    }
                    (both, self.make(Op::Where, vec![first, known_place, place], shape, DType::I32))
                }
            });
        }
        best.map(|b| b.1).ok_or_else(|| self.too_large(i))
    }

    pub(super) fn product(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        let k = self.old.shape(self.old.inputs(i)[0]).extent_from_end(1);
        self.product_part(i, region, 0..k)
    }

    /// The part of a product that comes from a range of the inner axis.
    fn product_part(&mut self, i: u32, region: &[Range<usize>], inner: Range<usize>) -> Result<u32> {
        let (a, b) = (self.old.inputs(i)[0], self.old.inputs(i)[1]);
        let (m, n) = (region.len() - 2, region.len() - 1);
        let mut left = project(&self.old.shape(a), region);
        left[n] = inner.clone();
        let mut right = project(&self.old.shape(b), region);
        right[m] = inner.clone();
        right[n] = region[n].clone();
        left[m] = region[m].clone();
        let size = |r: &Region| count(r);
        if size(&left) <= self.most && size(&right) <= self.most {
            let (x, y) = (self.take(a, &left)?, self.take(b, &right)?);
            return Ok(self.make(Op::Matmul, vec![x, y], shape_of(region), self.old.dtype(i)));
        }
        // the operand that is too large is cut where its rows are in memory, so that its parts are whole
        let first = size(&left) > self.most;
        let (operand, wanted) = if first { (a, &left) } else { (b, &right) };
        let mut cut = self.outer(operand);
        if wanted[cut].len() < 2 {
            cut = (0..wanted.len()).find(|&x| wanted[x].len() > 1).unwrap_or(cut);
        }
        let across = size(wanted) / wanted[cut].len();
        let sums = if first { cut == n } else { cut == m };
        let mut nodes = Vec::new();
        let ranges = self.ranges(if sums { &inner } else { &region[cut] }, across);
        if ranges.len() < 2 {
            return Err(self.too_large(i));
        }
        for range in ranges {
            let mut part = region.to_vec();
            let mut depth = inner.clone();
            *(if sums { &mut depth } else { &mut part[cut] }) = range;
            nodes.push(self.product_part(i, &part, depth)?);
        }
        Ok(if sums { self.sum(nodes) } else { self.concat(cut, nodes) })
    }

    /// Sums of nodes of one shape, one after the other: each is an output slot of the next product.
    fn sum(&mut self, nodes: Vec<u32>) -> u32 {
        let dtype = self.new.dtype(nodes[0]);
        let all = nodes.into_iter().reduce(|sum, node| self.binary(&rows::add, sum, node, dtype));
        all.unwrap_or_else(|| unreachable!("there are two parts at least"))
    }

    /// The axis along which an old node lies in parts.
    fn outer(&self, i: u32) -> usize {
        let shape = self.old.shape(i);
        match self.old.op(i) {
            Op::View(ViewOp::Permute(axes)) if self.lazy(i) => {
                let below = self.outer(self.old.inputs(i)[0]);
                axes.iter().position(|&a| a as usize == below).unwrap_or(0)
            }
            _ => (0..shape.rank()).find(|&a| shape[a] > 1).unwrap_or(0),
        }
    }

    /// A convolution of some of the images.
    pub(super) fn convolved(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        let (x, w) = (self.old.inputs(i)[0], self.old.inputs(i)[1]);
        let mut images = whole(&self.old.shape(x));
        images[0] = region[0].clone();
        if count(&images) > self.most || self.large(w) {
            return Err(self.too_large(i));
        }
        let (x, w) = (self.take(x, &images)?, self.take(w, &whole(&self.old.shape(w)))?);
        let op = match self.old.op(i) {
            Op::Conv(spec) => {
                Op::Conv(Box::new(crate::ops::conv::ConvSpec { batch: images[0].len(), ..(**spec).clone() }))
            }
            Op::ConvInput(spec) => {
                Op::ConvInput(Box::new(crate::ops::conv::ConvSpec { batch: images[0].len(), ..(**spec).clone() }))
            }
            other => unreachable!("{} is no convolution", other.name()),
        };
        let dtype = self.old.dtype(i);
        Ok(self.make(op, vec![x, w], shape_of(region), dtype))
    }

    /// The gradient of a convolution's weights: a sum over the images, some of them at a time.
    pub(super) fn conv_weight(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        let Op::ConvWeight(spec) = self.old.op(i) else { return Err(self.too_large(i)) };
        let (x, dy) = (self.old.inputs(i)[0], self.old.inputs(i)[1]);
        let (sx, sy) = (self.old.shape(x), self.old.shape(dy));
        let image = (sx.numel() / sx[0]).max(sy.numel() / sy[0]);
        if *region != whole(&self.old.shape(i)) || image > self.most {
            return Err(self.too_large(i));
        }
        let mut nodes = Vec::new();
        for range in self.ranges(&(0..sx[0]), image) {
            let (mut images, mut grads) = (whole(&sx), whole(&sy));
            (images[0], grads[0]) = (range.clone(), range.clone());
            let parts = vec![self.take(x, &images)?, self.take(dy, &grads)?];
            let spec = crate::ops::conv::ConvSpec { batch: range.len(), ..(**spec).clone() };
            nodes.push(self.make(Op::ConvWeight(Box::new(spec)), parts, shape_of(region), self.old.dtype(i)));
        }
        Ok(if nodes.len() == 1 { nodes[0] } else { self.sum(nodes) })
    }

    /// Pooling of some of the planes.
    pub(super) fn pooled(&mut self, i: u32, region: &[Range<usize>]) -> Result<u32> {
        let (op, shape) = (self.old.op(i), self.old.shape(i));
        let some = |w: &crate::ops::pool::Window| {
            let area: usize = match op {
                Op::MaxPool(_) | Op::AvgPool(_) => w.output.iter().product(),
                _ => w.input.iter().product(),
            };
            Box::new(crate::ops::pool::Window { planes: count(region) / area, ..w.clone() })
        };
        let (op, free) = match op {
            Op::MaxPool(w) => (Op::MaxPool(some(w)), w.planes),
            Op::AvgPool(w) => (Op::AvgPool(some(w)), w.planes),
            Op::MaxPoolGrad(w) => (Op::MaxPoolGrad(some(w)), w.planes),
            Op::AvgPoolGrad(w) => (Op::AvgPoolGrad(some(w)), w.planes),
            other => unreachable!("{} is no pooling", other.name()),
        };
        // the leading axes are the planes
        let axes = (0..=shape.rank()).find(|&a| shape[..a].iter().product::<usize>() == free).unwrap_or(0);
        let mut parts = Vec::new();
        for &input in self.old.inputs(i) {
            let mut below = whole(&self.old.shape(input));
            below[..axes].clone_from_slice(&region[..axes]);
            parts.push(self.take(input, &below)?);
        }
        let dtype = self.old.dtype(i);
        Ok(self.make(op, parts, shape_of(region), dtype))
    }

    /// Sums of rows with equal keys need all rows, but each column is by itself.
    pub(super) fn segment_regions(&self, i: u32) -> Result<Vec<Region>> {
        let (shape, source) = (self.old.shape(i), self.old.shape(self.old.inputs(i)[2]));
        let rows = shape[0].max(source[0]);
        let all = whole(&shape);
        if rows * shape[1..].iter().product::<usize>() <= self.most {
            return Ok(vec![all]);
        }
        let Some(axis) = (1..shape.rank()).find(|&a| rows * shape[a + 1..].iter().product::<usize>() <= self.most)
        else {
            return Err(self.too_large(i));
        };
        let inner = rows * shape[axis + 1..].iter().product::<usize>();
        let mut regions = Vec::new();
        for prefix in 0..shape[1..axis].iter().product::<usize>() {
            let (mut rest, mut region) = (prefix, all.clone());
            for a in (1..axis).rev() {
                region[a] = rest % shape[a]..rest % shape[a] + 1;
                rest /= shape[a];
            }
            // whole vectors of four where there is room for them
            let step = match self.most / inner {
                few if few < 4 => few.max(1),
                many => many / 4 * 4,
            };
            for start in (0..shape[axis]).step_by(step) {
                region[axis] = start..shape[axis].min(start + step);
                regions.push(region.clone());
            }
        }
        Ok(regions)
    }
}
