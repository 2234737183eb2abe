//! Other arrangements of the same elements, out of the views of [`super::view`].

use super::join::{MOST_PIECES, pieces, references};
use super::view::Extents;
use crate::node::composed;
use crate::shape::MAX_RANK;
use crate::{Result, Shape, Tensor};

impl Tensor {
    /// Without all axes of extent 1.
    #[track_caller]
    pub fn squeeze_all(&self) -> Tensor {
        let dims: Vec<usize> = self.shape_or_scalar().iter().copied().filter(|&d| d != 1).collect();
        if self.error().is_some() { self.current() } else { self.to_shape(Shape::of(&dims)) }
    }

    /// Axis `from[i]` becomes axis `to[i]`; the others keep their order.
    #[track_caller]
    pub fn movedim(&self, from: impl Extents, to: impl Extents) -> Tensor {
        composed("movedim", || {
            let (mut sources, mut targets) = (Vec::new(), Vec::new());
            for (list, into) in [(from.list(), &mut sources), (to.list(), &mut targets)] {
                for axis in list {
                    match self.axis("movedim", axis) {
                        Ok(at) => into.push(at),
                        Err(invalid) => return invalid,
                    }
                }
            }
            let distinct = |list: &[usize]| (0..list.len()).all(|i| !list[..i].contains(&list[i]));
            if sources.len() != targets.len() || !distinct(&sources) || !distinct(&targets) {
                let value = format!("{sources:?} to {targets:?}");
                return self.bad_argument("movedim", "axes", value, "as many from as to, each once");
            }
            if self.rank() == 0 {
                return self.current();
            }
            let mut others = (0..self.rank()).filter(|a| !sources.contains(a));
            let order: Vec<usize> = (0..self.rank())
                .filter_map(|at| match targets.iter().position(|&t| t == at) {
                    Some(i) => Some(sources[i]),
                    None => others.next(),
                })
                .collect();
            self.permute(order)
        })
    }

    /// `axis` split into axes of the given extents, one of which may be −1.
    #[track_caller]
    pub fn unflatten(&self, axis: i64, extents: impl Extents) -> Tensor {
        composed("unflatten", || {
            let at = match self.axis("unflatten", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("unflatten", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            let (own, mut parts) = (self.shape_or_scalar(), extents.list());
            let product =
                |parts: &[i64]| parts.iter().filter(|&&d| d != -1).try_fold(1i64, |product, &d| product.checked_mul(d));
            if let (Some(known), Some(part)) = (product(&parts), parts.iter_mut().find(|d| **d == -1))
                && known > 0
            {
                *part = own[at] as i64 / known;
            }
            if parts.is_empty() || parts.iter().any(|&d| d < 0) || product(&parts) != Some(own[at] as i64) {
                let value = format!("{parts:?} of {}", own[at]);
                return self.bad_argument("unflatten", "extents", value, "their product is the extent; one may be -1");
            }
            let mut dims: Vec<i64> = own.iter().map(|&d| d as i64).collect();
            dims.splice(at..=at, parts);
            self.reshape(dims)
        })
    }

    /// The whole tensor repeated `times[i]` times along axis `i`; more counts than axes make new axes in front.
    #[track_caller]
    pub fn repeat(&self, times: impl Extents) -> Tensor {
        composed("repeat", || {
            if self.error().is_some() {
                return self.current();
            }
            let (times, own) = (times.list(), self.shape_or_scalar());
            if times.len() < own.rank() || times.len() > MAX_RANK || times.iter().any(|&n| n < 0) {
                let why = "not negative, at least one for each axis, at most 8";
                return self.bad_argument("repeat", "times", format!("{times:?} of {own}"), why);
            }
            let mut dims = vec![1; times.len() - own.rank()];
            dims.extend_from_slice(&own);
            let whole = self.to_shape(Shape::of(&dims));
            times.iter().enumerate().filter(|(_, n)| **n != 1).fold(whole, |x, (axis, &n)| x.repeated(axis, n, false))
        })
    }

    /// As [`Tensor::repeat`]; axes that fewer counts leave out are not repeated.
    #[track_caller]
    pub fn tile(&self, times: impl Extents) -> Tensor {
        composed("tile", || {
            let mut times = times.list();
            while times.len() < self.rank() {
                times.insert(0, 1);
            }
            self.repeat(times)
        })
    }

    /// Each element repeated `times` times along `axis`, one after another.
    #[track_caller]
    pub fn repeat_interleave(&self, times: usize, axis: i64) -> Tensor {
        composed("repeat_interleave", || match self.axis("repeat_interleave", axis) {
            Ok(at) => {
                let x = if self.rank() == 0 { self.reshape([1]) } else { self.current() };
                x.repeated(at, i64::try_from(times).unwrap_or(i64::MAX), true)
            }
            Err(invalid) => invalid,
        })
    }

    /// Element i of `axis` repeated `counts[i]` times, one after another; a single count is for all of them. What comes out
    /// depends on the counts, so this waits for the device to have them.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if there is not a count for each element, [`crate::Error::DType`] if counts are no integers,
    /// [`crate::Error::Argument`] if one is negative or they are more than 2³¹ − 1 in all, and what evaluating them gives.
    ///
    /// Source: `torch.repeat_interleave(x, counts, dim)`.
    #[track_caller]
    pub fn repeat_interleave_with(&self, counts: &Tensor, axis: i64) -> Result<Tensor> {
        const OP: &str = "repeat_interleave";
        let at = match self.axis(OP, axis) {
            Ok(at) => at,
            Err(invalid) => return invalid.shape().map(|_| invalid),
        };
        let x = if self.rank() == 0 { self.reshape([1]) } else { self.current() };
        let extent = x.shape()?[at];
        let given = counts.shape()?;
        if given.rank() > 1 || (given.numel() != 1 && given.numel() != extent) {
            Tensor::bad_shape(OP, &[self, counts], "a vector of as many counts as the axis has elements").shape()?;
        }
        if !counts.dtype().is_int() {
            Tensor::bad_dtype(OP, &[self, counts], "counts are integers").shape()?;
        }
        let list = counts.to_vec::<i64>()?;
        let list = if list.len() == extent { list } else { vec![list[0]; extent] };
        if let Some(count) = list.iter().find(|&&count| count < 0) {
            self.bad_argument(OP, "counts", count, "not negative").shape()?;
        }
        let all = list.iter().fold(0i64, |sum, count| sum.saturating_add(*count));
        if all > i32::MAX.into() {
            self.bad_argument(OP, "counts", all, "at most 2147483647 in all").shape()?;
        }
        let each = |(at, count): (usize, &i64)| std::iter::repeat_n(at as i32, *count as usize);
        let index: Vec<i32> = list.iter().enumerate().flat_map(each).collect();
        let index = Tensor::from_slice(x.device(), &index, &[index.len()]);
        Ok(x.index_select(at as i64, &index))
    }

    /// `axis` repeated as a whole, or each of its elements.
    #[track_caller]
    fn repeated(&self, axis: usize, times: i64, each: bool) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let own = self.shape_or_scalar();
        let (before, extent): (usize, usize) = (own[..axis].iter().product(), own[axis]);
        let after: usize = own[axis + 1..].iter().product();
        let (at, split) = if each { (2, [before, extent, 1, after]) } else { (1, [before, 1, extent, after]) };
        let mut wide = split.map(|d| d as i64);
        wide[at] = times;
        let mut dims: Vec<i64> = own.iter().map(|&d| d as i64).collect();
        dims[axis] = dims[axis].saturating_mul(times);
        self.to_shape(Shape::of(&split)).expand(wide).reshape(dims)
    }

    /// Turned by `k` quarters, from the first towards the second of two `axes`.
    #[track_caller]
    pub fn rot90(&self, k: i64, first: i64, second: i64) -> Tensor {
        composed("rot90", || {
            let (a, b) = match (self.axis("rot90", first), self.axis("rot90", second)) {
                (Ok(a), Ok(b)) => (a, b),
                (Err(invalid), _) | (_, Err(invalid)) => return invalid,
            };
            if a == b {
                return self.bad_argument("rot90", "axes", format!("{first}, {second}"), "two different axes");
            }
            match k.rem_euclid(4) {
                0 => self.current(),
                1 => self.flip(second).transpose(first, second),
                2 => self.flip([first, second]),
                _ => self.flip(first).transpose(first, second),
            }
        })
    }

    /// The slices along `axis`, which disappears. Of a tensor that carries an error there is one, which carries it; where
    /// their number is known, see [`Tensor::unbind_into`].
    #[track_caller]
    pub fn unbind(&self, axis: i64) -> Vec<Tensor> {
        composed("unbind", || match self.axis("unbind", axis) {
            Ok(at) if self.rank() > 0 => {
                (0..self.shape_or_scalar()[at] as i64).map(|i| self.select(at as i64, i)).collect()
            }
            Ok(_) => vec![Tensor::bad_shape("unbind", &[self], "a single number has no axes")],
            Err(invalid) => vec![invalid],
        })
    }

    /// `count` pieces along `axis`, as equal as can be; the first ones are longer by one where they cannot.
    #[track_caller]
    pub fn tensor_split(&self, count: usize, axis: i64) -> Vec<Tensor> {
        composed("tensor_split", || match self.axis("tensor_split", axis) {
            Ok(at) if self.rank() > 0 && (1..=MOST_PIECES).contains(&count) => {
                let extent = self.shape_or_scalar()[at];
                let sizes: Vec<usize> = (0..count).map(|i| extent / count + usize::from(i < extent % count)).collect();
                self.split_sizes(&sizes, axis)
            }
            Ok(_) => {
                let bad = self.bad_argument("tensor_split", "count", count, "1 to 2²⁰, of a tensor with axes");
                pieces(bad, count)
            }
            Err(invalid) => pieces(invalid, count),
        })
    }

    /// The tensors side by side: along the second axis, vectors along their only one.
    #[track_caller]
    pub fn hstack<T: AsRef<Tensor>>(tensors: &[T]) -> Tensor {
        composed("hstack", || {
            let parts: Vec<Tensor> = references(tensors)
                .into_iter()
                .map(|t| if t.rank() == 0 { t.reshape([1]) } else { t.current() })
                .collect();
            let axis = i64::from(parts.first().is_some_and(|t| t.rank() > 1));
            Tensor::cat(&parts, axis)
        })
    }

    /// The tensors one above the other: along the first axis, vectors as rows.
    #[track_caller]
    pub fn vstack<T: AsRef<Tensor>>(tensors: &[T]) -> Tensor {
        composed("vstack", || {
            let parts: Vec<Tensor> = references(tensors)
                .into_iter()
                .map(|t| if t.rank() < 2 { t.reshape([1, -1]) } else { t.current() })
                .collect();
            Tensor::cat(&parts, 0)
        })
    }

    /// The vectors as coordinates of a grid: tensor `i` of the result varies along axis `i`, PyTorch's `indexing='ij'`.
    #[track_caller]
    pub fn meshgrid<T: AsRef<Tensor>>(tensors: &[T]) -> Vec<Tensor> {
        composed("meshgrid", || {
            let tensors = references(tensors);
            if let Some(bad) = tensors.iter().find(|t| t.error().is_some()) {
                return vec![bad.current()];
            }
            if let Some(bad) = tensors.iter().find(|t| t.rank() > 1 || tensors.len() > MAX_RANK) {
                return vec![Tensor::bad_shape("meshgrid", &[bad], "at most 8 vectors or numbers")];
            }
            let full: Vec<i64> = tensors.iter().map(|t| t.numel() as i64).collect();
            let along = |(i, t): (usize, &&Tensor)| {
                let mut dims = vec![1; full.len()];
                dims[i] = full[i];
                t.reshape(dims).expand(&full)
            };
            tensors.iter().enumerate().map(along).collect()
        })
    }

    /// The same elements in the shape of `other`, which has as many.
    #[track_caller]
    pub fn reshape_as(&self, other: &Tensor) -> Tensor {
        if other.error().is_some() { other.current() } else { self.reshape(other.shape_or_scalar()) }
    }

    /// Axes of extent 1 repeated to the shape of `other`, new ones in front: [`Tensor::expand`].
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Tensor {
        if other.error().is_some() { other.current() } else { self.expand(other.shape_or_scalar()) }
    }
}
