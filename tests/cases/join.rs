//! Putting tensors together and taking them apart.

use super::Table;
use super::input::{Input, f};
use kiln::prelude::*;

/// All inputs along `axis`.
fn cat(x: &[Tensor], axis: i64) -> Tensor {
    Tensor::cat(x, axis)
}

fn stack(x: &[Tensor], axis: i64) -> Tensor {
    Tensor::stack(x, axis)
}

pub fn join(t: &mut Table) {
    let many = |n: usize, shape: &[usize]| -> Vec<Input> { (0..n).map(|_| f(shape)).collect() };
    t.case("join/cat/axis0", [f(&[3, 5]), f(&[2, 5])], |x| cat(x, 0));
    t.case("join/cat/last", [f(&[3, 5, 2]), f(&[3, 5, 1]), f(&[3, 5, 4])], |x| cat(x, -1));
    t.case("join/cat/empty_part", [f(&[3, 0]), f(&[3, 2])], |x| cat(x, 1));
    t.case("join/cat/one", [f(&[3, 2])], |x| cat(x, 0));
    t.case("join/cat/same", [f(&[3, 2])], |x| Tensor::cat(&[&x[0], &x[0], &x[0]], 1));
    t.case("join/cat/strided", [f(&[17, 5]), f(&[3, 17])], |x| Tensor::cat(&[&x[0].t(), &x[1].flip([1])], 0));
    t.case("join/cat/nine", many(9, &[2, 3]), |x| cat(x, 0));
    t.case("join/cat/17", many(17, &[1, 3]), |x| cat(x, 0));
    t.case("join/cat/after_ops", [f(&[3, 5]), f(&[3, 2])], |x| Tensor::cat(&[&x[0].exp(), &x[1].tanh()], 1) * 2.0);
    t.case("join/cat/twice", [f(&[3, 2]), f(&[3, 1])], |x| cat(x, 1).square());
    t.case("join/stack/front", [f(&[3, 5]), f(&[3, 5])], |x| stack(x, 0));
    t.case("join/stack/last", [f(&[3, 5]), f(&[3, 5])], |x| stack(x, -1));
    t.case("join/stack/scalars", many(3, &[]), |x| stack(x, 0));
    t.case("join/split", [f(&[3, 17])], |x| x[0].split(5, 1));
    t.case("join/split/exact", [f(&[6, 3])], |x| x[0].split(2, 0));
    t.case("join/split/part_used", [f(&[17, 3])], |x| x[0].split(5, 0).swap_remove(1));
    t.case("join/split_sizes", [f(&[3, 17])], |x| x[0].split_sizes(&[4, 0, 6, 7], 1));
    t.case("join/chunk", [f(&[3, 17])], |x| x[0].chunk(4, -1));
    t.case("join/chunk/fewer", [f(&[5, 2])], |x| x[0].chunk(4, 0));
}
