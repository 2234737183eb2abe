//! Tensors put together and cut apart.

use super::view::Extents;
use crate::Tensor;
use crate::node::{Op, called, composed};

/// Pieces that one call makes: more are a mistake, and their list alone would fill the memory.
pub(crate) const MOST_PIECES: usize = 1 << 20;

/// What is wrong, as often as pieces were asked for, within reason: a pattern finds it in each place.
pub(crate) fn pieces(bad: Tensor, count: usize) -> Vec<Tensor> {
    vec![bad; count.clamp(1, 1 << 12)]
}

/// What operations on lists of tensors work with.
pub(crate) fn references<T: AsRef<Tensor>>(tensors: &[T]) -> Vec<&Tensor> {
    tensors.iter().map(AsRef::as_ref).collect()
}

impl Tensor {
    /// The tensors one after another along `axis`; the other extents must agree. A list of tensors, parameters or
    /// references to them: `&[&a, &b]`, or a `Vec` that a loop has filled. Where a parameter stands beside a tensor, the
    /// type says what they are taken as:
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// let device = Device::open()?;
    /// let class_token = Init::new(&device, 0).zeros(&[1, 4]); // a Param
    /// let patches = Tensor::ones(&device, [9, 4]);
    /// assert_eq!(Tensor::cat::<&Tensor>(&[&class_token, &patches], 0).shape()?, [10, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cat<T: AsRef<Tensor>>(tensors: &[T], axis: i64) -> Tensor {
        Self::concatenated(&references(tensors), axis)
    }

    #[track_caller]
    fn concatenated(tensors: &[&Tensor], axis: i64) -> Tensor {
        let Some(first) = tensors.first() else {
            return Tensor::orphan(crate::Error::Argument {
                op: called("cat"),
                name: "tensors",
                value: "[]".into(),
                why: "at least one",
                at: Tensor::origin_at(crate::error::At::here()),
            });
        };
        // PyTorch drops vectors of no elements, whatever the rank of the others, but for their types
        let dtype = tensors.iter().fold(first.dtype(), |d, t| d.promote(t.dtype()));
        let whole: Vec<&Tensor> =
            tensors.iter().copied().filter(|t| t.shape_or_scalar() != [0] || t.error().is_some()).collect();
        let Some(model) = whole.first() else { return first.cast(dtype) };
        if let Some(bad) = whole.iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        let axis = match model.axis("cat", axis) {
            Ok(axis) if model.rank() > 0 => axis,
            Ok(_) => return Tensor::bad_shape("cat", tensors, "single numbers cannot be concatenated; use stack"),
            Err(invalid) => return invalid,
        };
        let own = model.shape_or_scalar();
        let fits = |t: &&&Tensor| t.rank() == own.rank() && t.shape_or_scalar().with(axis, 0) == own.with(axis, 0);
        if !whole.iter().all(|t| fits(&t)) {
            return Tensor::bad_shape("cat", &whole, "the extents of the other axes differ");
        }
        let mut parts: Vec<Tensor> = whole.iter().map(|t| t.cast(dtype)).collect();
        // a kernel has few bindings: many parts are joined in groups
        while parts.len() > 1 {
            parts = parts.chunks(5).map(|group| Self::cat_group(group, axis)).collect();
        }
        parts.swap_remove(0)
    }

    #[track_caller]
    fn cat_group(group: &[Tensor], axis: usize) -> Tensor {
        let group: Vec<&Tensor> = group.iter().collect();
        match group.as_slice() {
            [one] => one.current(),
            _ => {
                let extent = group.iter().map(|t| t.shape_or_scalar()[axis]).sum();
                Tensor::make(Op::Concat(axis), &group, group[0].shape_or_scalar().with(axis, extent), group[0].dtype())
            }
        }
    }

    /// The tensors, of equal shapes, along a new axis.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let steps: Vec<Tensor> = (0..3).map(|i| Tensor::full(&device, [2, 4], i as f32)).collect();
    /// assert_eq!(Tensor::stack(&steps, 1).shape()?, [2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stack<T: AsRef<Tensor>>(tensors: &[T], axis: i64) -> Tensor {
        composed("stack", || {
            let tensors = references(tensors);
            if let Some(pair) = tensors.windows(2).find(|p| p[0].shape_or_scalar() != p[1].shape_or_scalar()) {
                return Tensor::bad_shape("stack", pair, "the shapes differ");
            }
            let parts: Vec<Tensor> = tensors.iter().map(|t| t.unsqueeze(axis)).collect();
            Tensor::cat(&parts, axis)
        })
    }

    /// Pieces of `size` along `axis`; the last one may be shorter. Of a tensor that carries an error there is one piece, which
    /// carries it; [`Tensor::split_into`] gives as many as one takes.
    #[track_caller]
    pub fn split(&self, size: usize, axis: i64) -> Vec<Tensor> {
        let at = match self.axis("split", axis) {
            Ok(at) if self.rank() > 0 => at,
            Ok(_) => return vec![Tensor::bad_shape("split", &[self], "a single number has no axes")],
            Err(invalid) => return vec![invalid],
        };
        let extent = self.shape_or_scalar()[at];
        if size == 0 {
            return vec![self.bad_argument("split", "size", size, "at least 1")];
        }
        (0..extent.max(1)).step_by(size).map(|from| self.slice_op(at, from, 1, size.min(extent - from))).collect()
    }

    /// Pieces of the given sizes along `axis`; as many that carry the error where they do not add up.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], axis: i64) -> Vec<Tensor> {
        let at = match self.axis("split", axis) {
            Ok(at) if self.rank() > 0 => at,
            Ok(_) => {
                return pieces(Tensor::bad_shape("split", &[self], "a single number has no axes"), sizes.len());
            }
            Err(invalid) => return pieces(invalid, sizes.len()),
        };
        if sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(self.shape_or_scalar()[at]) {
            let bad = self.bad_argument("split", "sizes", format!("{sizes:?}"), "they must add up to the extent");
            return pieces(bad, sizes.len());
        }
        let mut from = 0;
        sizes
            .iter()
            .map(|&len| {
                let piece = self.slice_op(at, from, 1, len);
                from += len;
                piece
            })
            .collect()
    }

    /// At most `count` pieces of equal size along `axis`; the last one may be shorter. Of a tensor that carries an error there
    /// is one piece, which carries it; [`Tensor::chunk_into`] gives exactly as many as one takes.
    #[track_caller]
    pub fn chunk(&self, count: usize, axis: i64) -> Vec<Tensor> {
        composed("chunk", || {
            if count == 0 {
                return vec![self.bad_argument("chunk", "count", count, "at least 1")];
            }
            match self.axis("chunk", axis) {
                // as many as asked for where there is nothing to share
                Ok(at) if self.rank() > 0 && self.shape_or_scalar()[at] == 0 => {
                    if count > MOST_PIECES {
                        return vec![self.bad_argument("chunk", "count", count, "at most 2²⁰ of nothing")];
                    }
                    vec![self.current(); count]
                }
                Ok(at) if self.rank() > 0 => self.split(self.shape_or_scalar()[at].div_ceil(count), axis),
                Ok(_) => pieces(Tensor::bad_shape("chunk", &[self], "a single number has no axes"), count),
                Err(invalid) => pieces(invalid, count),
            }
        })
    }

    /// `N` pieces of equal size along `axis`, the last of which may be shorter: [`Tensor::chunk`] for a pattern. All carry
    /// the error if there are fewer.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let qkv = Tensor::ones(&device, [2, 5, 12]);
    /// let [q, k, v] = qkv.chunk_into(-1);
    /// assert_eq!(q.matmul(&k.transpose(1, 2)).matmul(&v).shape()?, [2, 5, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn chunk_into<const N: usize>(&self, axis: i64) -> [Tensor; N] {
        composed("chunk", || self.exactly("chunk", self.chunk(N, axis)))
    }

    /// Pieces of the given sizes along `axis`: [`Tensor::split_sizes`] for a pattern. All carry the error if they do not
    /// add up.
    #[track_caller]
    pub fn split_into<const N: usize>(&self, sizes: [usize; N], axis: i64) -> [Tensor; N] {
        composed("split", || self.exactly("split", self.split_sizes(&sizes, axis)))
    }

    /// The `N` slices along `axis`, which disappears: [`Tensor::unbind`] for a pattern. All carry the error if there are
    /// more or fewer.
    #[track_caller]
    pub fn unbind_into<const N: usize>(&self, axis: i64) -> [Tensor; N] {
        composed("unbind", || self.exactly("unbind", self.unbind(axis)))
    }

    /// `parts` as an array, or an error in each place of it.
    #[track_caller]
    fn exactly<const N: usize>(&self, op: &'static str, parts: Vec<Tensor>) -> [Tensor; N] {
        <[Tensor; N]>::try_from(parts).unwrap_or_else(|parts| {
            let bad = parts.into_iter().find(|part| part.error().is_some());
            let bad = bad.unwrap_or_else(|| Tensor::bad_shape(op, &[self], "another number of pieces was expected"));
            std::array::from_fn(|_| bad.clone())
        })
    }

    /// The elements of each of `axes` moved up by its shift, those past the end coming back at the start. Without axes, all
    /// elements are moved as one row.
    #[track_caller]
    pub fn roll(&self, shifts: impl Extents, axes: impl Extents) -> Tensor {
        composed("roll", || {
            let (shifts, axes) = (shifts.list(), axes.list());
            if axes.is_empty() && shifts.len() == 1 && self.error().is_none() {
                return self.reshape([-1i64]).roll(shifts[0], 0).to_shape(self.shape_or_scalar());
            }
            if shifts.len() != axes.len() {
                return self.bad_argument("roll", "shifts", format!("{shifts:?}"), "one for each axis");
            }
            shifts.iter().zip(axes).fold(self.current(), |x, (&shift, axis)| x.roll_one(shift, axis))
        })
    }

    #[track_caller]
    fn roll_one(&self, shift: i64, axis: i64) -> Tensor {
        let at = match self.axis("roll", axis) {
            Ok(at) if self.rank() > 0 => at,
            Ok(_) => return self.current(),
            Err(invalid) => return invalid,
        };
        let extent = self.shape_or_scalar()[at];
        let shift = if extent == 0 { 0 } else { shift.rem_euclid(extent as i64) as usize };
        if shift == 0 {
            return self.current();
        }
        let (tail, head) = (self.slice_op(at, extent - shift, 1, shift), self.slice_op(at, 0, 1, extent - shift));
        Tensor::cat(&[&tail, &head], at as i64)
    }
}

/// The gradient of a concatenation: each input gets its piece.
pub(crate) fn cat_vjp(axis: usize, dy: &Tensor, inputs: &[Tensor]) -> Vec<Option<Tensor>> {
    let mut from = 0;
    inputs
        .iter()
        .map(|x| {
            let len = x.shape_or_scalar()[axis];
            let piece = dy.slice_op(axis, from, 1, len);
            from += len;
            Some(piece)
        })
        .collect()
}
