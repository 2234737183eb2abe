//! Keys and values of a sequence so far, for generation.

use crate::{CellGroup, DType, Device, Lit, Result, State, Tensor};

/// Keys and values of one attention layer for up to `capacity` elements: what has been seen need not be computed
/// again when the next token comes.
///
/// The contents are cells on the device. Positions are numbers of the host that travel at run time: each new token
/// runs the same plan and compiles nothing.
pub struct KvCache {
    key: State,
    value: State,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `batch` sequences, `heads` heads of keys and `width` numbers each.
    pub fn new(batch: usize, heads: usize, capacity: usize, width: usize, device: &Device) -> Self {
        let group = CellGroup::new(device);
        let empty = || group.state(&Tensor::zeros(device, [batch, heads, capacity, width]));
        Self { key: empty(), value: empty(), capacity }
    }

    /// How many elements it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Puts keys and values `[batch, heads, length, width]` at `position` and gives all of them,
    /// `[batch, heads, capacity, width]`; what lies past `position + length` is to be hidden by
    /// [`KvCache::hidden`]. The cells change when the result is evaluated.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if they reach past the capacity,
    /// [`Error::Shape`](crate::Error::Shape) if they do not fit otherwise, or the error that one of them carries.
    #[track_caller]
    pub fn append(&self, key: &Tensor, value: &Tensor, position: usize) -> Result<(Tensor, Tensor)> {
        let new = [(&self.key, key), (&self.value, value)].map(|(cell, part)| self.placed(cell, part, position));
        let [key, value] = &new;
        key.shape()?;
        value.shape()?;
        // either is evaluated with the other: they stand for one moment
        self.key.set_with(key, &[value])?;
        self.value.set_with(value, &[key])?;
        Ok((key.clone(), value.clone()))
    }

    #[track_caller]
    fn placed(&self, cell: &State, part: &Tensor, position: usize) -> Tensor {
        let old = cell.value();
        let (Ok(own), Ok(shape)) = (old.shape(), part.shape()) else { return part.clone() };
        let fits = shape.len() == 4 && [0, 1, 3].iter().all(|&axis| shape[axis] == own[axis]);
        if !fits {
            return Tensor::bad_shape("kv_cache", &[&old, part], "[batch, heads, length, width], as the cache");
        }
        let length = shape[2];
        if length == 0 || position.saturating_add(length) > self.capacity {
            let value = format!("{position} + {length}");
            return old.bad_argument("kv_cache", "position + length", value, "at least 1 element, within the capacity");
        }
        let places = Tensor::arange(old.device(), 0, self.capacity as i32, 1);
        let from = &places - position as i32;
        let inside =
            if length == 1 { from.eq(Lit(0.0)) } else { from.ge(Lit(0.0)).logical_and(from.lt(length as i32)) };
        let spread = if length == 1 {
            part.clone()
        } else {
            part.index_select(2, &from.clamp(0, length as i32 - 1).cast(DType::I32))
        };
        Tensor::where_(&inside.unsqueeze(-1), spread.cast(old.dtype()), &old)
    }

    /// True where one of `length` queries, the first at `position`, must not see a place of the cache:
    /// `[length, capacity]`.
    #[track_caller]
    pub fn hidden(&self, length: usize, position: usize) -> Tensor {
        super::core::future(self.key.device(), length, self.capacity, position)
    }
}
