//! Tensors made from nothing. Each row has one input, whose only part is to say on which device.

use super::input::{f, i};
use super::{Fun, Table};
use kiln::prelude::*;

pub fn create(t: &mut Table) {
    let rows: [(&str, Fun); 15] = [
        ("zeros", |x| Tensor::zeros(x.device(), [3, 5])),
        ("ones", |x| Tensor::ones(x.device(), [3, 5])),
        ("ones/scalar", |x| Tensor::ones(x.device(), [0i64; 0])),
        ("zeros/empty", |x| Tensor::zeros(x.device(), [0, 5])),
        ("full", |x| Tensor::full(x.device(), [3, 5], 0.3)),
        ("full/i32", |x| Tensor::full(x.device(), [3, 5], 7)),
        ("arange", |x| Tensor::arange(x.device(), 0, 17, 1)),
        ("arange/step", |x| Tensor::arange(x.device(), 3, 50, 7)),
        ("arange/down", |x| Tensor::arange(x.device(), 5, -5, -3)),
        ("arange/empty", |x| Tensor::arange(x.device(), 5, 5, 1)),
        ("arange/f32", |x| Tensor::arange(x.device(), -1.0, 1.0, 0.25)),
        ("linspace", |x| Tensor::linspace(x.device(), -1.0, 2.0, 17)),
        ("linspace/one", |x| Tensor::linspace(x.device(), 3.0, 5.0, 1)),
        ("eye", |x| Tensor::eye(x.device(), 5)),
        ("arange/used", |x| Tensor::arange(x.device(), 0, 65, 1) * x),
    ];
    for (op, fun) in rows {
        t.case(format!("create/{op}"), [f(&[])], move |x| fun(&x[0]));
    }
    t.case("create/zeros_like", [i(&[3, 5], 0, 9)], |x| x[0].zeros_like());
    t.case("create/ones_like", [f(&[3, 5])], |x| x[0].ones_like());
    t.case("create/full_like", [f(&[3, 5])], |x| x[0].full_like(0.25) * &x[0]);
}
