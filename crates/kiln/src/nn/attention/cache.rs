//! Keys and values of a sequence so far, for generation.

use std::sync::{Mutex, PoisonError};

use super::core::{attend, future};
use crate::nn::{Dropout, Forward};
use crate::{CellGroup, DType, Device, Lit, Result, State, Tensor};

/// Keys and values of one attention layer for up to `capacity` elements: what has been seen need not be computed
/// again when the next token comes.
///
/// The contents are cells on the device: a small page, into which new tokens go one by one, and the whole, which takes
/// a page in when it is full. So a token costs the same however large the cache is, but for the reading of what has
/// been seen. Positions are numbers of the host that travel at run time: a new token runs a plan that is there
/// already, but where a text outgrows the next power of two.
pub struct KvCache {
    key: Side,
    value: Side,
    /// `[1]`: the position of the page's first element. The device alone knows whether a step was refused, which leaves
    /// all cells as they were.
    first: State,
    capacity: usize,
    page: usize,
    ends: Mutex<Ends>,
}

/// Where elements end, if their steps were carried out.
#[derive(Clone, Copy, Default)]
struct Ends {
    /// Those that came last.
    last: usize,
    /// The furthest that ever came.
    furthest: usize,
}

/// Keys, or values.
struct Side {
    /// `[batch, heads, capacity, width]`: full pages.
    whole: State,
    /// `[batch, heads, page, width]`: what came after them.
    page: State,
}

/// The longest page, and the least number of places that are looked at.
const PAGE: usize = 64;

impl KvCache {
    /// An empty cache for `batch` sequences, `heads` heads of keys and `width` numbers each.
    pub fn new(batch: usize, heads: usize, capacity: usize, width: usize, device: &Device) -> Self {
        let (group, page) = (CellGroup::new(device), capacity.clamp(1, PAGE));
        let empty = |places: usize| group.state(&Tensor::zeros(device, [batch, heads, places, width]));
        let side = || Side { whole: empty(capacity), page: empty(page) };
        let first = group.state(&Tensor::full(device, [1], 0));
        Self { key: side(), value: side(), first, capacity, page, ends: Mutex::default() }
    }

    /// How many elements it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What queries at `position` find, causally, in the cache before it and in the keys and values that stand with them:
    /// softmax(q·kᵀ/√width)·v. The cache takes keys and values in when the result is evaluated.
    ///
    /// Shapes: `q [batch, heads, length, width]`, `key`, `value [batch, kv_heads, length, width]` →
    /// `[batch, heads, length, width]`; heads are a multiple of those of the cache.
    ///
    /// # Errors
    /// As [`KvCache::append`].
    #[track_caller]
    pub fn attend(&self, q: &Tensor, key: &Tensor, value: &Tensor, position: usize) -> Result<Tensor> {
        self.attend_with(q, key, value, position, None)
    }

    /// [`KvCache::attend`] with dropout of the weights.
    #[track_caller]
    pub(in crate::nn) fn attend_with(
        &self,
        q: &Tensor,
        key: &Tensor,
        value: &Tensor,
        position: usize,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let [keys, values] = self.held([key, value], position)?;
        let y = if position == 0 {
            attend(q, key, value, None, true, dropout)
        } else {
            self.search(q, &keys, &values, position, dropout)?
        };
        y.shape()?;
        self.take_in([keys, values], position, &y)?;
        Ok(y)
    }

    /// Puts keys and values `[batch, heads, length, width]` at `position` and gives all of them,
    /// `[batch, heads, capacity, width]`, for an attention of one's own; what lies past `position + length` is to be
    /// hidden by [`KvCache::hidden`]. The cells change when the result is evaluated.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if they reach past the capacity, or leave places out,
    /// [`Error::Shape`](crate::Error::Shape) if they do not fit otherwise, or the error that one of them carries.
    #[track_caller]
    pub fn append(&self, key: &Tensor, value: &Tensor, position: usize) -> Result<(Tensor, Tensor)> {
        let both = self.held([key, value], position)?;
        let [keys, values] = [&both[0], &both[1]].map(|held| held.all(self.capacity, position));
        self.take_in(both, position, &keys)?;
        Ok((keys, values))
    }

    /// True where one of `length` queries, the first at `position`, must not see a place of the cache:
    /// `[length, capacity]`.
    #[track_caller]
    pub fn hidden(&self, length: usize, position: usize) -> Tensor {
        future(self.key.whole.device(), length, self.capacity, position)
    }

    /// What there is before `position`, and the new elements.
    #[track_caller]
    fn held(&self, parts: [&Tensor; 2], position: usize) -> Result<[Held; 2]> {
        let length = self.checked(parts, position)?;
        let first = self.first_at(position);
        // who goes on where the last step ended knows that it was carried out
        let known = position == self.ends().last;
        let side = |side: &Side, part: &Tensor| {
            let (whole, mut page) = (side.whole.value(), side.page.value());
            if !known {
                // after a step that was refused or taken back, the page may be another one: one that is full is in the whole
                let places = Tensor::arange(whole.device(), 0, self.page as i32, 1) + first as i32;
                let full = whole.index_select(2, &places.clamp(0, self.capacity as i32 - 1));
                page = Tensor::where_(&self.first.value().eq(first as i32), page, full);
            }
            let part = part.cast(whole.dtype());
            Held { whole, page, part, first, length }
        };
        Ok([side(&self.key, parts[0]), side(&self.value, parts[1])])
    }

    /// Where the page of a position begins.
    fn first_at(&self, position: usize) -> usize {
        position - position % self.page
    }

    fn ends(&self) -> Ends {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length of keys and values that fit.
    #[track_caller]
    fn checked(&self, parts: [&Tensor; 2], position: usize) -> Result<usize> {
        let own = self.key.whole.shape()?;
        let (mut length, furthest) = (0, self.ends().furthest);
        if position > furthest {
            let why = "no place that the cache has got nothing before";
            parts[0].bad_argument("kv_cache", "position", format!("{position}, past {furthest}"), why).shape()?;
        }
        for part in parts {
            let shape = part.shape()?;
            let fits = shape.len() == 4 && [0, 1, 3].iter().all(|&axis| shape[axis] == own[axis]);
            if !fits || (length > 0 && shape[2] != length) {
                let why = "[batch, heads, length, width], as the cache, keys and values alike";
                Tensor::bad_shape("kv_cache", &[&self.key.whole, part], why).shape()?;
            }
            length = shape[2];
            if length == 0 || position.saturating_add(length) > self.capacity {
                let (value, why) = (format!("{position} + {length}"), "at least 1 element, within the capacity");
                part.bad_argument("kv_cache", "position + length", value, why).shape()?;
            }
        }
        Ok(length)
    }

    /// Notes the new contents, for the evaluation of `y`.
    #[track_caller]
    fn take_in(&self, both: [Held; 2], position: usize, y: &Tensor) -> Result<()> {
        let end = position + both[0].length;
        let new = both.map(|held| {
            let full = self.first_at(end) > position || held.length > 1;
            (held.paged(self.page, position), full.then(|| held.all(self.capacity, position)))
        });
        for (side, (page, whole)) in [&self.key, &self.value].into_iter().zip(&new) {
            side.page.set_with(page, &[y])?;
            if let Some(whole) = whole {
                side.whole.set_with(whole, &[y])?;
            }
        }
        let first = self.first_at(end);
        if position != self.ends().last || first != self.first_at(position) {
            self.first.set_with(&Tensor::full(y.device(), [1], first as i32), &[y])?;
        }
        let furthest = self.ends().furthest.max(end);
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Ends { last: end, furthest };
        Ok(())
    }

    /// Attention to full pages, to the page before `position`, and to the new elements.
    #[track_caller]
    fn search(
        &self,
        q: &Tensor,
        keys: &Held,
        values: &Held,
        position: usize,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let ([batch, heads, length, width], [_, kv, _, _]) = (q.dims::<4>()?, keys.whole.dims::<4>()?);
        if kv == 0 || !heads.is_multiple_of(kv) || length != keys.length {
            let why = "[batch, heads, length, width] with a multiple of the cache's heads";
            Tensor::bad_shape("kv_cache", &[q, &keys.part], why).shape()?;
        }
        // heads that share keys are rows of one product
        let rows = heads / kv * length;
        let q =
            q.reshape([batch, kv, rows, width]).cast(keys.whole.dtype()) * Lit((1.0 / (width as f64).sqrt()) as f32);
        let scores = |k: &Tensor| q.matmul(&k.mt());
        let before = |k: &Tensor, places: usize, end: usize| {
            let later = Tensor::arange(q.device(), 0, places as i32, 1).ge(end as i32);
            scores(k).masked_fill(&later, Lit(f32::NEG_INFINITY))
        };
        let mut parts = Vec::new();
        // of full pages no more than the next power of two: few plans, and no work for what is not there yet
        let seen = keys.first.next_power_of_two().min(self.capacity);
        if keys.first > 0 {
            parts.push((before(&keys.whole.narrow(2, 0, seen), seen, keys.first), values.whole.narrow(2, 0, seen)));
        }
        parts.push((before(&keys.page, self.page, position - keys.first), values.page.clone()));
        let mut own = scores(&keys.part);
        if length > 1 {
            let each = own.reshape([batch, kv, heads / kv, length, length]);
            let hidden = each.masked_fill(&future(q.device(), length, length, 0), Lit(f32::NEG_INFINITY));
            own = hidden.reshape([batch, kv, rows, length]);
        }
        parts.push((own, values.part.clone()));
        let all: Vec<&Tensor> = parts.iter().map(|(scores, _)| scores).collect();
        let mut weights = Tensor::cat(&all, -1).softmax(-1);
        if let Some(dropout) = dropout {
            weights = dropout.forward(&weights);
        }
        let ends = parts.iter().scan(0, |at, (scores, _)| {
            let from = *at;
            *at += scores.shape().map_or(0, |shape| shape[3]);
            Some((from, *at - from))
        });
        let found = parts
            .iter()
            .zip(ends)
            .map(|((_, values), (from, places))| weights.narrow(-1, from as i64, places).matmul(values));
        let sum = found.reduce(|a, b| a + b).unwrap_or(q);
        Ok(sum.reshape([batch, heads, length, width]))
    }
}

/// One side of the cache before `position`, and what is put there.
struct Held {
    whole: Tensor,
    page: Tensor,
    part: Tensor,
    /// The position of the page's first element.
    first: usize,
    /// The new elements.
    length: usize,
}

impl Held {
    /// The page of the last new element, with all of its elements so far.
    #[track_caller]
    fn paged(&self, page: usize, position: usize) -> Tensor {
        let end = position + self.length;
        let first = end - end % page;
        let places = Tensor::arange(self.page.device(), 0, page as i32, 1) + first as i32;
        // in a new page nothing of the one before is left
        self.put(&places, position, &self.page)
    }

    /// All elements: those of full pages, of the page, and the new ones.
    #[track_caller]
    fn all(&self, capacity: usize, position: usize) -> Tensor {
        let places = Tensor::arange(self.whole.device(), 0, capacity as i32, 1);
        let page = self.page.dims::<4>().map_or(1, |shape| shape[2]) as i32;
        let from = &places - self.first as i32;
        let inside = from.ge(0).logical_and(places.lt(position as i32));
        let paged = self.page.index_select(2, &from.clamp(0, page - 1));
        self.put(&places, position, &Tensor::where_(&inside.unsqueeze(-1), paged, &self.whole))
    }

    /// The new elements at those of `places` that are theirs, `others` elsewhere.
    #[track_caller]
    fn put(&self, places: &Tensor, position: usize, others: &Tensor) -> Tensor {
        let from = places - position as i32;
        if self.length == 1 {
            return Tensor::where_(&from.eq(0).unsqueeze(-1), &self.part, others);
        }
        let last = self.length as i32 - 1;
        let inside = from.ge(0).logical_and(from.le(last));
        let spread = self.part.index_select(2, &from.clamp(0, last).cast(DType::I32));
        Tensor::where_(&inside.unsqueeze(-1), spread, others)
    }
}
