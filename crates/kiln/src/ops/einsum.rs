//! Einstein's summation as permutes, one batched matrix product per pair of operands, and sums.

use crate::error::At;
use crate::{Error, Shape, Tensor};
use std::collections::HashMap;

/// An operand with a letter per axis.
struct Term {
    letters: Vec<char>,
    tensor: Tensor,
}

/// See [`Tensor::einsum`].
#[track_caller]
pub(crate) fn einsum(formula: &str, tensors: &[&Tensor]) -> Tensor {
    let Some(first) = tensors.first() else {
        let (op, at) = ("einsum", At::here());
        return Tensor::orphan(Error::Argument { op, name: "tensors", value: "[]".into(), why: "at least one", at });
    };
    if let Some(bad) = tensors.iter().find(|t| t.error().is_some()) {
        return bad.current();
    }
    match parse(formula, tensors) {
        Ok((terms, result)) => contract(terms, &result),
        Err(why) => first.bad_argument("einsum", "formula", formula, why),
    }
}

/// Ellipsis axes get upper private letters, counted from the last axis.
fn dots(n: usize) -> Vec<char> {
    (0..n).rev().map(|i| char::from(b'0' + i as u8)).collect()
}

fn parse(formula: &str, tensors: &[&Tensor]) -> Result<(Vec<Term>, Vec<char>), &'static str> {
    let clean: String = formula.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match clean.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (clean, None),
    };
    let sides: Vec<&str> = left.split(',').collect();
    if sides.len() != tensors.len() {
        return Err("one group of letters per tensor");
    }
    let (mut terms, mut extents, mut widest) = (Vec::new(), HashMap::new(), 0);
    for (side, tensor) in sides.iter().zip(tensors) {
        let named = side.replace("...", "").chars().count();
        let extra = tensor.rank().checked_sub(named).ok_or("more letters than axes")?;
        if extra > 0 && !side.contains("...") {
            return Err("fewer letters than axes");
        }
        widest = widest.max(extra);
        let letters = spell(side, extra)?;
        let own = tensor.shape_or_scalar();
        if (0..letters.len()).any(|i| (0..i).any(|j| letters[i] == letters[j] && own[i] != own[j])) {
            return Err("a letter that a term repeats stands for two different extents");
        }
        for (&letter, &extent) in letters.iter().zip(own.iter()) {
            let seen = extents.entry(letter).or_insert(extent);
            if *seen != extent && extent != 1 && *seen != 1 {
                return Err("a letter stands for two different extents");
            }
            *seen = (*seen).max(extent);
        }
        terms.push(Term { letters, tensor: tensor.current() });
    }
    let result = match right {
        Some(right) => spell(&right, widest)?,
        None => {
            let mut once: Vec<char> = extents.keys().copied().filter(|c| c.is_alphabetic()).collect();
            once.retain(|c| sides.iter().map(|s| s.matches(*c).count()).sum::<usize>() == 1);
            once.sort_unstable();
            dots(widest).into_iter().chain(once).collect()
        }
    };
    let mut sorted = result.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != result.len() || result.iter().any(|c| !extents.contains_key(c)) {
        return Err("the result's letters are distinct and appear on the left");
    }
    for term in &mut terms {
        diagonals(term);
        let own = term.tensor.shape_or_scalar();
        let full: Vec<usize> =
            term.letters.iter().zip(own.iter()).map(|(c, &d)| extents.get(c).copied().unwrap_or(d)).collect();
        term.tensor = term.tensor.expand_to(Shape::of(&full));
    }
    Ok((terms, result))
}

fn spell(side: &str, extra: usize) -> Result<Vec<char>, &'static str> {
    let (before, after) = side.split_once("...").map_or((side, None), |(a, b)| (a, Some(b)));
    let mut letters: Vec<char> = before.chars().collect();
    if let Some(after) = after {
        letters.extend(dots(extra));
        letters.extend(after.chars());
    }
    let fine = |c: &char| c.is_ascii_alphabetic() || c.is_ascii_digit();
    if letters.iter().all(fine) && !side.chars().any(|c| c.is_ascii_digit()) {
        Ok(letters)
    } else {
        Err("letters, commas, '...' and '->' only")
    }
}

/// A letter that a term repeats means its diagonal.
fn diagonals(term: &mut Term) {
    let repeated = |letters: &[char]| {
        (0..letters.len())
            .flat_map(|i| (i + 1..letters.len()).map(move |j| (i, j)))
            .find(|&(i, j)| letters[i] == letters[j])
    };
    while let Some((i, j)) = repeated(&term.letters) {
        let letter = term.letters[i];
        term.tensor = term.tensor.diagonal(0, i as i64, j as i64);
        term.letters.remove(j);
        term.letters.remove(i);
        term.letters.push(letter);
    }
}

fn contract(mut terms: Vec<Term>, result: &[char]) -> Tensor {
    let mut out = terms.remove(0);
    while !terms.is_empty() {
        let next = terms.remove(0);
        let needed = |c: &char| result.contains(c) || terms.iter().any(|t| t.letters.contains(c));
        out = pair(&out, &next, &needed);
    }
    let gone: Vec<i64> =
        (0..out.letters.len()).filter(|&i| !result.contains(&out.letters[i])).map(|i| i as i64).collect();
    if !gone.is_empty() {
        out.tensor = out.tensor.sum_axes(gone, false);
        out.letters.retain(|c| result.contains(c));
    }
    arrange(&out, result)
}

/// The term with its axes in the order of `letters`.
fn arrange(term: &Term, letters: &[char]) -> Tensor {
    let order: Vec<usize> = letters.iter().filter_map(|c| term.letters.iter().position(|l| l == c)).collect();
    term.tensor.permute(order)
}

/// Two terms as a batched matrix product `[batch, rows, inner] · [batch, inner, cols]`.
fn pair(a: &Term, b: &Term, needed: &dyn Fn(&char) -> bool) -> Term {
    let a = drop_private(a, b, needed);
    let b = drop_private(b, &a, needed);
    let both = |c: &char| b.letters.contains(c);
    let batch: Vec<char> = a.letters.iter().copied().filter(|c| both(c) && needed(c)).collect();
    let inner: Vec<char> = a.letters.iter().copied().filter(|c| both(c) && !needed(c)).collect();
    let rows: Vec<char> = a.letters.iter().copied().filter(|c| !both(c)).collect();
    let cols: Vec<char> = b.letters.iter().copied().filter(|c| !a.letters.contains(c)).collect();
    let extent =
        |t: &Term, c: &char| t.letters.iter().position(|l| l == c).map_or(1, |i| t.tensor.shape_or_scalar()[i]);
    let size = |t: &Term, group: &[char]| group.iter().map(|c| extent(t, c)).product::<usize>();
    let (nb, nr, ni, nc) = (size(&a, &batch), size(&a, &rows), size(&a, &inner), size(&b, &cols));
    let left = arrange(&a, &[&batch[..], &rows, &inner].concat()).to_shape(Shape::of(&[nb, nr, ni]));
    let right = arrange(&b, &[&batch[..], &inner, &cols].concat()).to_shape(Shape::of(&[nb, ni, nc]));
    let product = if inner.is_empty() { left * right } else { left.matmul(&right) };
    let letters = [&batch[..], &rows, &cols].concat();
    let dims: Vec<usize> =
        letters.iter().map(|c| if a.letters.contains(c) { extent(&a, c) } else { extent(&b, c) }).collect();
    Term { letters, tensor: product.to_shape(Shape::of(&dims)) }
}

/// Sums over the letters that only this term has and nobody needs.
fn drop_private(term: &Term, other: &Term, needed: &dyn Fn(&char) -> bool) -> Term {
    let goes = |c: &char| !other.letters.contains(c) && !needed(c);
    let axes: Vec<i64> = (0..term.letters.len()).filter(|&i| goes(&term.letters[i])).map(|i| i as i64).collect();
    let tensor = if axes.is_empty() { term.tensor.clone() } else { term.tensor.sum_axes(axes, false) };
    Term { letters: term.letters.iter().copied().filter(|c| !goes(c)).collect(), tensor }
}
