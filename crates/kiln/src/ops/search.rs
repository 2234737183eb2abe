//! Where elements are: places in sorted ones, and results whose length depends on the data, which are read from the device
//! at once.

use crate::error::Result;
use crate::node::composed;
use crate::{DType, Tensor};

impl Tensor {
    /// How many elements of the sorted last axis come before each of `values`: less than it, or with `right` not greater. All
    /// come before NaN.
    ///
    /// Shapes: this `[n]` and values `[..]`, or `[.., n]` and `[.., m]` → that of `values`, as `I32`. Each value is compared
    /// with all n elements.
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Tensor {
        composed("searchsorted", || {
            if let Some(bad) = [self, values].into_iter().find(|t| t.error().is_some()) {
                return bad.current();
            }
            let (own, given) = (self.shape_or_scalar(), values.shape_or_scalar());
            let batched =
                own.rank() > 1 && own.rank() == given.rank() && own[..own.rank() - 1] == given[..own.rank() - 1];
            if own.rank() != 1 && !batched {
                let why = "a sorted vector, or as many sorted rows as there are rows of values";
                return Tensor::bad_shape("searchsorted", &[self, values], why);
            }
            let sorted = if batched { self.unsqueeze(-2) } else { self.current() };
            let value = values.unsqueeze(-1);
            let before = if right { sorted.le(&value) } else { sorted.lt(&value) };
            let before = if values.dtype().is_float() { before.logical_or(value.isnan()) } else { before };
            before.sum_axes(-1, false)
        })
    }

    /// Which of the spaces between the sorted `boundaries` each element lies in: see [`Tensor::searchsorted`].
    #[track_caller]
    pub fn bucketize(&self, boundaries: &Tensor, right: bool) -> Tensor {
        composed("bucketize", || match boundaries.rank() {
            1 => boundaries.searchsorted(self, right),
            _ => Tensor::bad_shape("bucketize", &[boundaries, self], "the boundaries are a vector"),
        })
    }

    /// The coordinates `[count, rank]` of the elements that are not 0, in order, as `I32`. Waits for the device, since the
    /// count is part of the shape.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    #[track_caller]
    pub fn nonzero(&self) -> Result<Tensor> {
        composed("nonzero", || {
            let shape = self.shape()?;
            let mut place = self.places()?;
            let mut columns = Vec::new();
            for &extent in shape.iter().rev() {
                let extent = i32::try_from(extent.max(1)).unwrap_or(i32::MAX);
                columns.insert(0, place.remainder(extent));
                place = place.floor_divide(extent);
            }
            match columns.is_empty() {
                true => Ok(place.reshape([-1, 1]).narrow(1, 0, 0)),
                false => Ok(Tensor::stack(&columns, 1)),
            }
        })
    }

    /// The elements where `mask` is true, in order, as a vector; both broadcast. Waits for the device, since the count is the
    /// shape.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`]; [`crate::Error::Shape`] if the shapes do not broadcast.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        composed("masked_select", || {
            let mask = mask.cast(DType::Bool);
            let all = match self.shape()?.broadcast(&mask.shape()?) {
                Some(all) => all,
                None => {
                    return Tensor::bad_shape("masked_select", &[self, &mask], "the shapes do not broadcast").checked();
                }
            };
            let places = mask.expand_to(all).places()?;
            Ok(self.expand_to(all).reshape([-1i64]).index_select(0, &places))
        })
    }

    /// The distinct elements in order, where among them each element is, and how often each occurs. Waits for the device,
    /// since their number is part of the shape.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    #[track_caller]
    pub fn unique(&self) -> Result<(Tensor, Tensor, Tensor)> {
        composed("unique", || {
            let shape = self.shape()?;
            let count = shape.numel();
            if count == 0 {
                let none = Tensor::iota(&self.0.device, 0);
                return Ok((self.reshape([-1i64]), none.to_shape(shape), none));
            }
            let (sorted, order) = self.reshape([-1i64]).sort(0, false);
            let new = sorted.narrow(0, 1, count - 1).ne(sorted.narrow(0, 0, count - 1));
            let first = Tensor::cat(&[&Tensor::ones(&self.0.device, 1).cast(DType::Bool), &new], 0);
            let rank = first.cumsum(0) - 1;
            let starts = first.places()?;
            let found = starts.numel();
            let inverse = rank.index_select(0, &order.argsort(0, false)).to_shape(shape);
            Ok((sorted.index_select(0, &starts), inverse.clone(), inverse.bincount(None, found)))
        })
    }

    /// Where in the flattened tensor the elements that are not 0 are, in order.
    fn places(&self) -> Result<Tensor> {
        let flat = self.cast(DType::Bool).reshape([-1i64]);
        let count = match self.shape()?.numel() {
            0 => 0,
            _ => flat.sum().item_as::<i32>()?,
        };
        // a stable sort brings them to the front
        Ok(flat.logical_not().argsort(0, false).narrow(0, 0, usize::try_from(count).unwrap_or(0)))
    }

    /// The tensor, or the error that it carries.
    fn checked(self) -> Result<Tensor> {
        self.shape().map(|_| self)
    }
}
