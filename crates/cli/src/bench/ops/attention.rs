//! Causal attention of a sequence to itself, forward and with its gradient.

use kiln::prelude::*;

use super::conv::gradient;
use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, any_size, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::Result;

const fn row(
    name: &'static str,
    about: &'static str,
    work: fn(&[usize]) -> Work,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let axes = &["heads", "length", "size"];
    let ladder: &[&[usize]] = &[&[32, 64, 32], &[8, 256, 64], &[96, 1024, 64], &[96, 2048, 64], &[256, 4096, 128]];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op { name, family: "attention", about, axes, ladder, half: true, work, valid, variants, make }
}

pub(crate) const OPS: &[Op] = &[
    row("attention", "softmax(x xᵀ / √size, causal) x", |s| work(s, 2.0, 4.0), forward),
    // the scores once more in each of two kernels, and five products of their gradients
    row("attention_grad", "its value and the gradient with respect to x", |s| work(s, 9.0, 12.0), backward),
];

/// So many products of queries and keys, of which half are seen, and so many tensors read and written.
fn work(size: &[usize], products: f64, tensors: f64) -> Work {
    let [heads, length, e] = wide(size);
    let elements = heads * length * e;
    Work {
        flops: products * elements * length,
        moved: tensors * elements,
        moved_f32: 0.0,
        held: tensors * elements,
        largest: elements,
    }
}

/// The scores' weights of one head, row by row, and what they make of it.
fn attend(x: &[f64], e: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    let rows: Vec<&[f64]> = x.chunks(e).collect();
    let scale = 1.0 / (e as f64).sqrt();
    let weights = |(i, q): (usize, &&[f64])| {
        let score = |k: &&[f64]| scale * q.iter().zip(*k).map(|(a, b)| a * b).sum::<f64>();
        let scores: Vec<f64> = rows[..=i].iter().map(score).collect();
        let top = scores.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        scores.iter().map(|s| (s - top).exp() / sum).collect()
    };
    let weights: Vec<Vec<f64>> = rows.iter().enumerate().map(weights).collect();
    let mut y = vec![0.0; x.len()];
    for (w, y) in weights.iter().zip(y.chunks_mut(e)) {
        w.iter().zip(&rows).for_each(|(w, v)| add(y, *w, v));
    }
    (weights, y)
}

/// to += factor · from.
fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// The gradient of Σ y dy of one head with respect to it, as queries, keys and values.
fn slope(x: &[f64], dy: &[f64], e: usize) -> Vec<f64> {
    let (weights, y) = attend(x, e);
    let scale = 1.0 / (e as f64).sqrt();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let row = |x: &[f64], i: usize| x[i * e..(i + 1) * e].to_vec();
    let mut dx = vec![0.0; x.len()];
    for (i, weights) in weights.iter().enumerate() {
        let (q, above) = (row(x, i), row(dy, i));
        let along = dot(&above, &row(&y, i));
        for (j, w) in weights.iter().enumerate() {
            let k = row(x, j);
            let ds = w * (dot(&above, &k) - along) * scale;
            add(&mut dx[i * e..(i + 1) * e], ds, &k);
            add(&mut dx[j * e..(j + 1) * e], ds, &q);
            add(&mut dx[j * e..(j + 1) * e], *w, &above);
        }
    }
    dx
}

/// Error of results rounded to their own type; sums of some hundred terms.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F16 { 4e-3 } else { 2e-5 }
}

/// One head of a tensor [heads, length, size].
fn head_of(data: Data, head: usize, elements: usize) -> Vec<f64> {
    (head * elements..(head + 1) * elements).map(|i| data.wide(i)).collect()
}

fn value(x: &Tensor) -> Tensor {
    x.scaled_dot_product_attention(x, x, &Attention { causal: true, ..Attention::default() })
}

fn forward(device: &Device, case: &Case) -> Result<Subject> {
    let [heads, length, e] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[heads, length, e])?;
    let cost = 4 * length * length * e;
    let twin = Twin::rows(heads, length * e, cost, move |head| attend(&head_of(data, head, length * e), e).1);
    Ok(Subject::tensor(move || value(&x), twin, tolerance(case.dtype)))
}

fn backward(device: &Device, case: &Case) -> Result<Subject> {
    let [heads, length, e] = case.dims()?;
    let (data, up) = (Data::new(1, case.dtype), Data::new(2, case.dtype));
    let (x, dy) = (data.tensor(device, &[heads, length, e])?, up.tensor(device, &[heads, length, e])?);
    let twin = Twin::rows(heads, length * e, 12 * length * length * e, move |head| {
        let [x, dy] = [data, up].map(|d| head_of(d, head, length * e));
        slope(&x, &dy, e)
    });
    // gradients of half-precision values are added up from three parts that are rounded each
    let wider = if case.dtype == DType::F16 { 4.0 } else { 1.0 };
    Ok(Subject::tensor(move || gradient(&(value(&x) * &dy), &x), twin, wider * tolerance(case.dtype)))
}
