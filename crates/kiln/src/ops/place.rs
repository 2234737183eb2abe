//! Elements put in the place of others. Where an index is repeated the last one counts, as it does on PyTorch's CPU.

use super::Number;
use super::index::{checked, flat_places, from_end};
use super::scatter_reduce::ScatterReduce;
use crate::node::composed;
use crate::{DType, Shape, Tensor};

impl Tensor {
    /// This tensor with the elements of `source` in the places that `index` names along `axis`: PyTorch's `scatter`.
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn scatter(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        composed("scatter", || {
            let at = match self.axis("scatter", axis) {
                Ok(at) => at,
                Err(invalid) => return invalid,
            };
            if let Some(bad) = [index, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("scatter", &[self, index, source], "indices are i32 or u32");
            }
            let (own, shape, given) = (self.shape_or_scalar(), index.shape_or_scalar(), source.shape_or_scalar());
            if own.rank() == 0 {
                let [x, index, source] = [self, index, source].map(|t| t.reshape([1]));
                return x.scatter(0, &index, &source).reshape([0i64; 0]);
            }
            let fits = own.rank() == shape.rank()
                && own.rank() == given.rank()
                && (0..own.rank()).all(|a| shape[a] <= given[a] && (a == at || shape[a] <= own[a]));
            if !fits {
                let why = "index fits into source, and into the tensor but along the axis";
                return Tensor::bad_shape("scatter", &[self, index, source], why);
            }
            if shape.numel() == 0 {
                return self.current();
            }
            let source = (0..own.rank()).fold(source.cast(self.dtype()), |s, a| s.slice_op(a, 0, 1, shape[a]));
            let places = flat_places(own, at, index).reshape([-1i64]);
            replaced(&self.reshape([-1i64]), &places, &source.reshape([-1i64])).to_shape(own)
        })
    }

    /// [`Tensor::scatter`] of one number.
    #[track_caller]
    pub fn scatter_value(&self, axis: i64, index: &Tensor, value: impl Number) -> Tensor {
        composed("scatter", || {
            let number = value.beside(self).cast(self.dtype());
            self.scatter(axis, index, &number.expand_to(index.shape_or_scalar()))
        })
    }

    /// This tensor with the slices of `source` in the place of the slices of `axis` that the vector `index` names.
    #[track_caller]
    pub fn index_copy(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        composed("index_copy", || {
            let at = match self.axis("index_copy", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("index_copy", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            if let Some(bad) = [index, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            if !index.dtype().is_int() {
                return Tensor::bad_dtype("index_copy", &[self, index, source], "indices are i32 or u32");
            }
            let own = self.shape_or_scalar();
            if index.rank() > 1 || source.shape_or_scalar() != own.with(at, index.numel()) {
                let why = "a vector of as many indices as source has slices";
                return Tensor::bad_shape("index_copy", &[self, index, source], why);
            }
            if index.numel() == 0 {
                return self.current();
            }
            let rows = |t: &Tensor| t.transpose(0, at as i64);
            let index = index.reshape([-1i64]);
            rows(&replaced(&rows(self), &index, &rows(&source.cast(self.dtype()))))
        })
    }

    /// This tensor with a number in the slices of `axis` that the vector `index` names.
    #[track_caller]
    pub fn index_fill(&self, axis: i64, index: &Tensor, value: impl Number) -> Tensor {
        composed("index_fill", || {
            let at = match self.axis("index_fill", axis) {
                Ok(at) if self.rank() > 0 => at,
                Ok(_) => return Tensor::bad_shape("index_fill", &[self], "a single number has no axes"),
                Err(invalid) => return invalid,
            };
            let slices = self.shape_or_scalar().with(at, index.numel());
            self.index_copy(axis, index, &value.beside(self).cast(self.dtype()).expand_to(slices))
        })
    }

    /// This tensor with `source` in the place of slice `index` of `axis`.
    #[track_caller]
    pub fn select_scatter(&self, source: &Tensor, axis: i64, index: i64) -> Tensor {
        composed("select_scatter", || {
            let end = if index == -1 { i64::MAX } else { index.saturating_add(1) };
            let taken = self.select(axis, index);
            if taken.error().is_some() {
                return taken;
            }
            if source.error().is_none() && source.shape_or_scalar() != taken.shape_or_scalar() {
                return Tensor::bad_shape("select_scatter", &[&taken, source], "the shapes differ");
            }
            let own = self.shape_or_scalar();
            let at = own.axis(axis).unwrap_or(0);
            self.slice_scatter(&source.unsqueeze(at as i64), axis, index, end, 1)
        })
    }

    /// This tensor with `source` in the place of the slice that [`Tensor::slice`] takes of it.
    #[track_caller]
    pub fn slice_scatter(&self, source: &Tensor, axis: i64, start: i64, end: i64, step: i64) -> Tensor {
        composed("slice_scatter", || match self.axis("slice_scatter", axis) {
            Ok(at) if self.rank() > 0 => {
                let places = Tensor::iota(&self.0.device, self.shape_or_scalar()[at]).slice(0, start, end, step);
                self.index_copy(axis, &places, source)
            }
            Ok(_) => Tensor::bad_shape("slice_scatter", &[self], "a single number has no axes"),
            Err(invalid) => invalid,
        })
    }

    /// The elements at the places that `index` names in the flattened tensor; negative ones count from the end.
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Tensor {
        composed("take", || self.reshape([-1i64]).index(&[index]))
    }

    /// This tensor with `source` at the places that `index` names in it when flattened, put there or added.
    #[track_caller]
    pub fn put(&self, index: &Tensor, source: &Tensor, accumulate: bool) -> Tensor {
        composed("put", || {
            let flat = self.reshape([-1i64]).index_put(&[index], source, accumulate);
            if flat.error().is_some() { flat } else { flat.to_shape(self.shape_or_scalar()) }
        })
    }

    /// The elements, or slices, at the coordinates that `indices` name along the first axes: PyTorch's `x[i, j]` with
    /// tensors. The indices broadcast against each other; negative ones count from the end.
    ///
    /// An index out of range is an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn index(&self, indices: &[&Tensor]) -> Tensor {
        composed("index", || match self.coordinates("index", indices) {
            Ok((places, shape)) => self.slices(indices.len()).index_select(0, &places).to_shape(shape),
            Err(invalid) => invalid,
        })
    }

    /// This tensor with `values` at the coordinates that `indices` name, as in [`Tensor::index`], put there or added. The
    /// values broadcast.
    #[track_caller]
    pub fn index_put(&self, indices: &[&Tensor], values: &Tensor, accumulate: bool) -> Tensor {
        composed("index_put", || {
            let (places, shape) = match self.coordinates("index_put", indices) {
                Ok(found) => found,
                Err(invalid) => return invalid,
            };
            let values = values.cast(self.dtype()).expand(shape);
            if values.error().is_some() || values.numel() == 0 {
                return if values.error().is_some() { values } else { self.current() };
            }
            let slices = self.slices(indices.len());
            let mut dims = slices.shape_or_scalar().to_vec();
            dims[0] = places.numel();
            let values = values.to_shape(Shape::of(&dims));
            let out =
                if accumulate { slices.index_add(0, &places, &values) } else { replaced(&slices, &places, &values) };
            out.reshape(self.shape_or_scalar())
        })
    }

    /// The first `count` axes as one.
    fn slices(&self, count: usize) -> Tensor {
        let own = self.shape_or_scalar();
        let first = own[..count].iter().product();
        let dims: Vec<usize> = std::iter::once(first).chain(own[count..].iter().copied()).collect();
        self.to_shape(Shape::of(&dims))
    }

    /// The places that coordinates name among [`Tensor::slices`], and the shape of what lies there.
    fn coordinates(&self, op: &'static str, indices: &[&Tensor]) -> Result<(Tensor, Shape), Tensor> {
        if let Some(bad) = [self].into_iter().chain(indices.iter().copied()).find(|t| t.error().is_some()) {
            return Err(bad.current());
        }
        let own = self.shape_or_scalar();
        let operands: Vec<&Tensor> = [self].into_iter().chain(indices.iter().copied()).collect();
        if indices.iter().any(|i| !i.dtype().is_int()) {
            return Err(Tensor::bad_dtype(op, &operands, "indices are i32 or u32"));
        }
        let together = indices.iter().try_fold(Shape::SCALAR, |shape, i| shape.broadcast(&i.shape_or_scalar()));
        let (true, Some(named)) = (!indices.is_empty() && indices.len() <= own.rank(), together) else {
            return Err(Tensor::bad_shape(op, &operands, "1 index for an axis, which broadcast against each other"));
        };
        let dims: Vec<usize> = named.iter().chain(&own[indices.len()..]).copied().collect();
        let Some(shape) = Shape::new(&dims) else {
            return Err(Tensor::bad_shape(op, &operands, "at most 8 axes"));
        };
        if named.numel() > 0 && own[..indices.len()].contains(&0) {
            return Err(Tensor::bad_shape(op, &operands, "there is no element to take"));
        }
        let place = indices.iter().zip(&own[..]).fold(None, |place: Option<Tensor>, (index, &extent)| {
            let index = checked(&from_end(index, extent), extent);
            Some(place.map_or(index.clone(), |place| place * extent + index))
        });
        let place = place.unwrap_or_else(|| unreachable!("there is an index"));
        Ok((place.expand_to(named).reshape([-1i64]), shape))
    }

    /// This tensor with the elements of `source`, one after another, where `mask` is true.
    ///
    /// Fewer elements than there are places are an [`crate::Error::Index`] when the result is read.
    #[track_caller]
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Tensor {
        composed("masked_scatter", || {
            let mask = mask.cast(DType::Bool).expand_as(self);
            if let Some(bad) = [&mask, source].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            if self.numel() == 0 || source.numel() == 0 {
                return self.current();
            }
            let flat = mask.reshape([-1i64]);
            let place = Tensor::where_(&flat, flat.cumsum(0) - 1, 0);
            let taken = source.cast(self.dtype()).reshape([-1i64]).index_select(0, &place);
            Tensor::where_(&mask, taken.to_shape(self.shape_or_scalar()), self)
        })
    }
}

/// `own` with row j of `source` at row `index[j]`, the last one where several are.
fn replaced(own: &Tensor, index: &Tensor, source: &Tensor) -> Tensor {
    let shape = own.shape_or_scalar();
    let device = &own.0.device;
    let none = Tensor::full_of(device, Shape::of(&[shape[0]]), DType::I32, super::Lit(-1.0));
    let order = Tensor::iota(device, index.numel());
    let last = none.index_reduce(0, index, &order, ScatterReduce::Amax, true);
    let mut column = vec![1; shape.rank()];
    column[0] = shape[0];
    let named = last.ge(0).to_shape(Shape::of(&column));
    Tensor::where_(&named, source.index_select(0, &last.maximum(0)), own)
}
