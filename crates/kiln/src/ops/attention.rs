//! Scaled dot-product attention. One kernel forward, two backward, none of which has the scores in memory; where they
//! do not fit, and for gradients of gradients, the same from plain operations.

use super::random::{drawn, kept};
use super::{Lit, Number};
use crate::node::{Op, composed};
use crate::{DType, Shape, Tensor};
use kiln_device::kernels::attention::MAX_HEAD;

/// Options of [`Tensor::scaled_dot_product_attention`]; by default none.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// Broadcasts to `[.., heads, length, keys]`. Of `Bool`: whether the query sees the key. Of floats: added to the
    /// scores. A mask that needs a gradient has the scores in memory.
    pub mask: Option<Tensor>,
    /// What the weights `[.., heads, length, keys]` are multiplied by. A mask of that shape from [`crate::dropout_mask`],
    /// PyTorch's `dropout_p`, is drawn by the kernels, again in the backward pass, and is never in memory; with any other
    /// tensor the scores are.
    pub dropout: Option<Tensor>,
    /// Query i sees keys 0..=i, whatever the number of keys. As in PyTorch not together with a mask.
    pub causal: bool,
    /// What the scores are multiplied by; 1/√(size of a query) by default.
    pub scale: Option<f32>,
    /// Keys and values have fewer heads, each for as many neighbouring heads of the queries.
    pub gqa: bool,
}

/// What shapes the kernels, besides their operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attends {
    pub(crate) causal: bool,
    /// Weights are dropped: the words that say which are an operand.
    pub(crate) dropout: bool,
}

impl Attends {
    /// The mask among the operands of a kernel that always has `fixed` of them: after the words of the dropout.
    pub(crate) fn mask<T>(self, inputs: &[T], fixed: usize) -> Option<&T> {
        inputs.get(fixed + usize::from(self.dropout))
    }
}

/// Operands that have been looked at: all of one batch, queries `[.., heads, length, e]`.
struct Heads {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    /// Says which weights are dropped: see [`drawn`].
    words: Option<Tensor>,
    causal: bool,
    scale: Tensor,
}

impl Tensor {
    /// softmax(q kᵀ · scale + mask) v: PyTorch's `scaled_dot_product_attention`, of this tensor as the queries. A row
    /// that sees no key is zero.
    ///
    /// Shapes: queries `[.., heads, length, e]`, `k` `[.., heads, keys, e]`, `v` `[.., heads, keys, ev]` →
    /// `[.., heads, length, ev]`; leading axes broadcast, and may be missing.
    ///
    /// Memory is linear in the length: the scores are made block by block, forward and backward. Exceptions, which are
    /// made from plain operations: a mask that needs a gradient, factors other than a dropout mask, heads of more than
    /// 256 elements, and gradients of gradients. f16 is accumulated in f32.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if the shapes do not fit, [`crate::Error::DType`] if the operands are not
    /// floats of one type or the mask is of integers, [`crate::Error::Argument`] for a mask together with `causal`; and
    /// [`kiln_device::Error::Limit`] on a software adapter for more keys than one invocation of the kernel can walk
    /// (heads of 64: half a million; larger heads: from some thousands on, fewer the larger they are).
    ///
    /// Source: Vaswani et al. 2017, "Attention is all you need", eq. 1; Dao et al. 2022, "FlashAttention".
    ///
    /// ```
    /// # use kiln::prelude::*;
    /// # let device = Device::open()?;
    /// let q = Tensor::ones(&device, [1, 2, 3, 4]);
    /// let causal = Attention { causal: true, ..Attention::default() };
    /// let y = q.scaled_dot_product_attention(&q, &q, &causal);
    /// assert_eq!(y.to_vec::<f32>()?, vec![1.0; 24]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, k: &Tensor, v: &Tensor, options: &Attention) -> Tensor {
        composed("scaled_dot_product_attention", || self.attend(k, v, options).unwrap_or_else(|invalid| invalid))
    }

    fn attend(&self, k: &Tensor, v: &Tensor, options: &Attention) -> std::result::Result<Tensor, Tensor> {
        let op = "scaled_dot_product_attention";
        let all: Vec<&Tensor> = [self, k, v].into_iter().chain(&options.mask).chain(&options.dropout).collect();
        if let Some(bad) = all.iter().find(|t| t.error().is_some()) {
            return Err(bad.current());
        }
        let shape = |why| Err(Tensor::bad_shape(op, &[self, k, v], why));
        if [self, k, v].iter().any(|t| t.rank() < 2) {
            return shape("at least two axes each");
        }
        if !self.dtype().is_float() || k.dtype() != self.dtype() || v.dtype() != self.dtype() {
            return Err(Tensor::bad_dtype(op, &[self, k, v], "floats of one type"));
        }
        if let Some(mask) = options.mask.iter().find(|m| m.dtype().is_int()) {
            return Err(Tensor::bad_dtype(op, &[mask], "a mask of bools or floats"));
        }
        if options.causal && options.mask.is_some() {
            return Err(self.bad_argument(op, "causal", "true", "a mask says itself which keys are seen"));
        }
        let [sq, sk, sv] = [self, k, v].map(Tensor::shape_or_scalar);
        let (length, keys) = (sq.extent_from_end(2), sk.extent_from_end(2));
        if sq.extent_from_end(1) != sk.extent_from_end(1) {
            return shape("queries and keys have one size");
        }
        if keys != sv.extent_from_end(2) {
            return shape("as many values as keys");
        }
        let grouped = options.gqa && [self, k, v].iter().all(|t| t.rank() > 2);
        if options.gqa {
            let heads = [sk, sv].map(|s| if s.rank() > 2 { s.extent_from_end(3) } else { 0 });
            let fits = grouped && heads.iter().all(|&n| n > 0 && sq.extent_from_end(3).is_multiple_of(n));
            if !fits {
                return shape("grouped heads: three axes, and the heads of keys and values divide those of queries");
            }
        }
        // the head axis does not broadcast where it is grouped
        let inner = if grouped { 3 } else { 2 };
        let lead = |s: &Shape| Shape::of(&s[..s.rank() - inner]);
        let batch = lead(&sq).broadcast(&lead(&sk)).and_then(|b| b.broadcast(&lead(&sv)));
        let Some(batch) = batch else { return shape("the leading axes do not broadcast") };
        let spread = |x: &Tensor| {
            let own = x.shape_or_scalar();
            let dims: Vec<usize> = batch.iter().chain(&own[own.rank() - inner..]).copied().collect();
            let x = x.expand_to(Shape::of(&dims));
            if dims.len() == 2 { x.unsqueeze(0) } else { x }
        };
        let (q, mut k, mut v) = (spread(self), spread(k), spread(v));
        if grouped && sk.extent_from_end(3) != sv.extent_from_end(3) {
            (k, v) = (repeat(&k, &q), repeat(&v, &q));
        }
        let scores = scores_shape(&q, keys);
        for factor in options.mask.iter().chain(&options.dropout) {
            if factor.shape_or_scalar().broadcast(&scores) != Some(scores) {
                return Err(Tensor::bad_shape(op, &[self, factor], "the mask does not broadcast to the scores"));
            }
        }
        let scale = options.scale.unwrap_or_else(|| 1.0 / (sq.extent_from_end(1).max(1) as f32).sqrt());
        let scale = scale.beside(&q);
        let heads = Heads { q, k, v, mask: options.mask.clone(), words: None, causal: options.causal, scale };
        let draw = options.dropout.as_ref().filter(|d| same_places(&d.shape_or_scalar(), &scores)).and_then(drawn);
        let y = match (&options.dropout, draw) {
            (Some(_), Some(draw)) if heads.has_kernel(1) => {
                let heads = Heads { words: Some(draw.words), ..heads };
                (heads.kernel() * draw.factor).cast(self.dtype())
            }
            (None, _) if heads.has_kernel(0) => heads.kernel(),
            (dropout, _) => heads.plain(dropout.as_ref()),
        };
        let dims: Vec<usize> = batch
            .iter()
            .copied()
            .chain(grouped.then(|| sq.extent_from_end(3)))
            .chain([length, sv.extent_from_end(1)])
            .collect();
        Ok(if y.rank() == dims.len() { y } else { y.squeeze(0) })
    }

    /// A mask for [`Attention`] from the lengths `[batch]` of padded sequences: `[batch, 1, 1, keys]` of `Bool`, true
    /// where the key is one of the sequence.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] if this is no vector, [`crate::Error::DType`] if it is not of integers.
    #[track_caller]
    pub fn key_padding_mask(&self, keys: usize) -> Tensor {
        composed("key_padding_mask", || {
            if self.error().is_none() && self.rank() != 1 {
                return Tensor::bad_shape("key_padding_mask", &[self], "a vector of lengths");
            }
            if self.error().is_none() && !self.dtype().is_int() {
                return Tensor::bad_dtype("key_padding_mask", &[self], "lengths are i32 or u32");
            }
            let places = Tensor::iota(&self.0.device, keys);
            places.lt(self.reshape([-1i64, 1]).cast(DType::I32)).unsqueeze(1).unsqueeze(1)
        })
    }
}

/// The shape of the scores of `q` [.., length, e].
fn scores_shape(q: &Tensor, keys: usize) -> Shape {
    let own = q.shape_or_scalar();
    own.with(own.rank() - 1, keys)
}

/// Whether two shapes count their elements alike: they differ in leading axes of one at most.
fn same_places(a: &Shape, b: &Shape) -> bool {
    let axes = |s: &Shape| s.iter().copied().skip_while(|&d| d == 1).collect::<Vec<_>>();
    axes(a) == axes(b)
}

/// Keys or values with every head as often as queries need it.
fn repeat(x: &Tensor, q: &Tensor) -> Tensor {
    let (own, wanted) = (x.shape_or_scalar(), q.shape_or_scalar());
    let (at, heads) = (own.rank() - 3, wanted.extent_from_end(3));
    if own[at] == heads {
        return x.clone();
    }
    let mut dims = own.to_vec();
    dims.insert(at + 1, heads / own[at]);
    x.unsqueeze(at as i64 + 1).expand_to(Shape::of(&dims)).to_shape(own.with(at, heads))
}

impl Heads {
    /// Whether the kernels take it, with `more` operands: see [`Tensor::scaled_dot_product_attention`].
    fn has_kernel(&self, more: u32) -> bool {
        let (q, v) = (self.q.shape_or_scalar(), self.v.shape_or_scalar());
        let size = q.extent_from_end(1).max(v.extent_from_end(1));
        let some = q.numel() > 0 && v.numel() > 0;
        let learned = self.mask.as_ref().is_some_and(Tensor::requires_grad);
        // the query gradient binds eight buffers and what there is besides
        let more = more + u32::from(self.mask.is_some());
        let fits = more == 0 || self.q.device().gpu().caps().max_storage_buffers >= 8 + more;
        some && size <= MAX_HEAD as usize && !learned && fits
    }

    /// By the kernel, whose result has the heads inside: [.., length, heads, ev].
    fn kernel(&self) -> Tensor {
        let (q, v) = (self.q.shape_or_scalar(), self.v.shape_or_scalar());
        let (rank, keys) = (q.rank(), v.extent_from_end(2));
        let dims: Vec<usize> =
            q[..rank - 3].iter().copied().chain([q[rank - 2], q[rank - 3], v.extent_from_end(1)]).collect();
        let mask = self.mask.as_ref().map(|m| m.expand_to(scores_shape(&self.q, keys)));
        let inputs: Vec<&Tensor> =
            [&self.q, &self.k, &self.v, &self.scale].into_iter().chain(&self.words).chain(&mask).collect();
        let how = Attends { causal: self.causal, dropout: self.words.is_some() };
        Tensor::make(Op::Attention(how), &inputs, Shape::of(&dims), self.q.dtype()).transpose(-3, -2)
    }

    /// The weights from plain operations, in f32: [.., heads, length, keys].
    fn weights(&self) -> Tensor {
        let (q, k) = (self.q.cast(DType::F32), repeat(&self.k, &self.q).cast(DType::F32));
        let mut scores = q.matmul(&k.mt()) * &self.scale;
        let (length, keys) = (self.q.shape_or_scalar().extent_from_end(2), self.k.shape_or_scalar().extent_from_end(2));
        if self.causal {
            let row = Tensor::iota(self.q.device(), length).unsqueeze(1);
            scores = scores.masked_fill(&row.lt(Tensor::iota(self.q.device(), keys)), Lit(f32::NEG_INFINITY));
        }
        let Some(mask) = &self.mask else { return scores.softmax(-1) };
        scores = match mask.dtype() {
            DType::Bool => scores + Tensor::where_(mask, Lit(0.0), Lit(f32::NEG_INFINITY)),
            _ => scores + mask.cast(DType::F32),
        };
        // a row that sees nothing has no weights, and no gradient
        let blind = scores.detach().amax([-1i64], true).eq(Lit(f32::NEG_INFINITY));
        scores.masked_fill(&blind, Lit(0.0)).softmax(-1).masked_fill(&blind, Lit(0.0))
    }

    fn plain(&self, dropout: Option<&Tensor>) -> Tensor {
        let keys = self.k.shape_or_scalar().extent_from_end(2);
        if keys == 0 {
            return self.q.matmul(&self.k.mt()).matmul(&repeat(&self.v, &self.q));
        }
        let mut weights = self.weights();
        if let Some(dropout) = dropout {
            weights = weights * dropout.cast(DType::F32);
        }
        weights.matmul(&repeat(&self.v, &self.q).cast(DType::F32)).cast(self.q.dtype())
    }
}

/// The gradients of q, k and v by two kernels.
pub(crate) fn vjp(how: Attends, dy: &Tensor, inputs: &[Tensor], y: &Tensor) -> Vec<Option<Tensor>> {
    let [q, k, v, scale] = [0, 1, 2, 3].map(|i| &inputs[i]);
    let more = &inputs[4..];
    let (own, rank) = (q.shape_or_scalar(), q.rank());
    let lead: Vec<usize> = own[..rank - 3].to_vec();
    let shape = |tail: &[usize]| Shape::of(&[&lead, tail].concat());
    let (heads, length, e) = (own[rank - 3], own[rank - 2], own[rank - 1]);
    let values = v.shape_or_scalar();
    let (kv, keys, ev) = (values[rank - 3], values[rank - 2], values[rank - 1]);

    let lse = Tensor::make(Op::Second, &[y], shape(&[heads, length]), DType::F32);
    let given: Vec<&Tensor> = [q, k, v, scale, y, dy, &lse].into_iter().chain(more).collect();
    let dq = Tensor::make(Op::AttentionQuery(how), &given, shape(&[length, heads, e]), q.dtype());
    let norms = Tensor::make(Op::Second, &[&dq], shape(&[heads, length, 2]), DType::F32);
    let given: Vec<&Tensor> = [q, k, v, scale, dy, &norms].into_iter().chain(more).collect();
    let dk = Tensor::make(Op::AttentionKeys(how), &given, shape(&[keys, kv, e]), k.dtype());
    let dv = Tensor::make(Op::Second, &[&dk], shape(&[keys, kv, ev]), DType::F32);
    let turned = |t: &Tensor| Some(t.transpose(-3, -2));
    let mut all = vec![turned(&dq), turned(&dk), turned(&dv)];
    all.resize(inputs.len(), None);
    all
}

/// The heads of a kernel with `inputs` q, k, v, scale, and others, `fixed` in all before those that it may have.
fn heads_of(how: Attends, inputs: &[Tensor], fixed: usize) -> Heads {
    let [q, k, v, scale] = [0, 1, 2, 3].map(|i| inputs[i].clone());
    let words = inputs.get(fixed).filter(|_| how.dropout).cloned();
    Heads { q, k, v, mask: how.mask(inputs, fixed).cloned(), words, causal: how.causal, scale }
}

impl Heads {
    /// The gradient of what the weights are the softmax of, from that of the result, `above`.
    fn scores_vjp(&self, weights: &Tensor, above: &Tensor) -> Tensor {
        let along = self.dropped(above.matmul(&repeat(&self.v, &self.q).cast(DType::F32).mt()));
        weights * (&along - (weights * &along).sum_axes([-1i64], true))
    }

    /// What is there for each weight, 0 where the weight is dropped.
    fn dropped(&self, x: Tensor) -> Tensor {
        match &self.words {
            Some(words) => &x * kept(words, x.shape_or_scalar()),
            None => x,
        }
    }
}

/// The gradient of the mask of the kernel with `inputs`, from that of its result.
pub(crate) fn mask_vjp(how: Attends, dy: &Tensor, inputs: &[Tensor]) -> Tensor {
    let heads = heads_of(how, inputs, 4);
    heads.scores_vjp(&heads.weights(), &dy.transpose(-3, -2).cast(DType::F32))
}

/// One of the gradients as a formula of q, k, v and the gradient of the result, for gradients of gradients. `inputs` are
/// those of the kernel.
pub(crate) fn formula(how: Attends, inputs: &[Tensor], of: Gradient) -> Tensor {
    let (dy, fixed) = if of == Gradient::Query { (5, 7) } else { (4, 6) };
    let heads = heads_of(how, inputs, fixed);
    let above = inputs[dy].transpose(-3, -2).cast(DType::F32);
    let weights = heads.weights();
    let together = |x: Tensor, like: &Tensor| {
        // heads that share a key are summed
        let own = like.shape_or_scalar();
        let (at, all) = (own.rank() - 3, x.shape_or_scalar());
        let mut dims = all.to_vec();
        dims.splice(at..=at, [own[at], all[at] / own[at]]);
        x.to_shape(Shape::of(&dims)).sum_axes([at as i64 + 1], false).transpose(-3, -2)
    };
    if of == Gradient::Values {
        return together(heads.dropped(weights).mt().matmul(&above), &heads.v);
    }
    let scores = heads.scores_vjp(&weights, &above) * &heads.scale;
    match of {
        Gradient::Query => scores.matmul(&repeat(&heads.k, &heads.q).cast(DType::F32)).transpose(-3, -2),
        _ => together(scores.mt().matmul(&heads.q.cast(DType::F32)), &heads.k),
    }
}

/// The gradient of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gradient {
    Query,
    Key,
    Values,
}
