//! Attention and its gradients by their definitions, in f64, for self-tests.

use super::{Part, Problem};

/// The results of a part, one after the other, for operands of one batch that follow each other in memory.
pub(super) fn define(p: &Problem, part: Part, operands: &[Vec<f64>]) -> Vec<f64> {
    match part {
        Part::Forward => attend(p, operands),
        Part::Query | Part::Keys => slopes(p, part, operands),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, x: &[f64]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
}

/// Row `row` of operands or results with so many columns.
fn row(x: &[f64], row: usize, cols: usize) -> &[f64] {
    &x[row * cols..(row + 1) * cols]
}

fn row_mut(x: &mut [f64], row: usize, cols: usize) -> &mut [f64] {
    &mut x[row * cols..(row + 1) * cols]
}

/// Of q, k, v: the result, then the logarithm of each row's sum.
fn attend(p: &Problem, operands: &[Vec<f64>]) -> Vec<f64> {
    let [heads, length, keys, e, ev] = [p.heads, p.length, p.keys, p.e, p.ev].map(|n| n as usize);
    let share = (p.heads / p.kv_heads) as usize;
    let (mut out, mut lse) = (vec![0.0; heads * length * ev], Vec::new());
    for (head, i) in (0..heads * length).map(|n| (n / length, n % length)) {
        let key = |j: usize| head / share * keys + j;
        let query = row(&operands[0], head * length + i, e);
        let score = |j: usize| f64::from(p.scale) * dot(query, row(&operands[1], key(j), e));
        let scores: Vec<f64> = (0..keys).map(score).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        let y = row_mut(&mut out, i * heads + head, ev);
        for (j, score) in scores.iter().enumerate() {
            add(y, (score - top).exp() / sum, row(&operands[2], key(j), ev));
        }
        lse.push(top + sum.ln());
    }
    out.extend(lse);
    out
}

/// Of q, k, v, y, dy and lse: dq, then lse and Σ dy y of each row; of q, k, v, dy and those norms: dk, then dv.
fn slopes(p: &Problem, part: Part, operands: &[Vec<f64>]) -> Vec<f64> {
    let [heads, kvs, length, keys, e, ev] = [p.heads, p.kv_heads, p.length, p.keys, p.e, p.ev].map(|n| n as usize);
    let [q, k, v] = [0, 1, 2].map(|at| &operands[at]);
    let of_query = part == Part::Query;
    let dy = &operands[if of_query { 4 } else { 3 }];
    let norm = |head: usize, i: usize| {
        let (n, at) = (head * length + i, i * heads + head);
        match part {
            Part::Query => [operands[5][n], dot(row(&operands[3], at, ev), row(dy, at, ev))],
            _ => [operands[4][2 * n], operands[4][2 * n + 1]],
        }
    };
    let (mut dq, mut norms) = (vec![0.0; heads * length * e], Vec::new());
    let (mut dk, mut dv) = (vec![0.0; kvs * keys * e], vec![0.0; kvs * keys * ev]);
    for (head, i) in (0..heads * length).map(|n| (n / length, n % length)) {
        let kv = head / (heads / kvs);
        let (query, above) = (row(q, head * length + i, e), row(dy, i * heads + head, ev));
        let [lse, delta] = norm(head, i);
        norms.extend([lse, delta]);
        for j in 0..keys {
            let (key, value) = (row(k, kv * keys + j, e), row(v, kv * keys + j, ev));
            let weight = (f64::from(p.scale) * dot(query, key) - lse).exp();
            let ds = f64::from(p.scale) * weight * (dot(above, value) - delta);
            let to = j * kvs + kv;
            if of_query {
                add(row_mut(&mut dq, i * heads + head, e), ds, key);
            } else {
                add(row_mut(&mut dk, to, e), ds, query);
                add(row_mut(&mut dv, to, ev), weight, above);
            }
        }
    }
    let mut all = if of_query { dq } else { dk };
    all.extend(if of_query { norms } else { dv });
    all
}
