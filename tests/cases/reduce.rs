//! Reductions. Extremes share their gradient evenly among ties (PyTorch's amax and amin, and max and min of
//! everything); argmax and argmin name the first of them, and NaN wins.

use super::input::{b, f, f_in, ties, v, v_as};
use super::{Fun, Table};
use kiln::prelude::*;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// A reduction over axes, with or without keeping them.
type Over = fn(&Tensor, &[i64], bool) -> Tensor;

/// A search along an axis, which is kept or not.
type Search = fn(&Tensor, i64, bool) -> Tensor;

const ROWS: [(&str, Over); 9] = [
    ("sum", |x, a, k| x.sum_axes(a, k)),
    ("mean", |x, a, k| x.mean_axes(a, k)),
    ("prod", |x, a, k| x.prod_axes(a, k)),
    ("amax", |x, a, k| x.amax(a, k)),
    ("amin", |x, a, k| x.amin(a, k)),
    ("var", |x, a, k| x.var(a, 1, k)),
    ("std", |x, a, k| x.std(a, 1, k)),
    ("norm2", |x, a, k| x.norm(2.0, a, k)),
    ("logsumexp", |x, a, k| x.logsumexp(a, k)),
];

const AXES: [&[i64]; 8] = [&[0], &[1], &[2], &[-1], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

pub fn reduce(t: &mut Table) {
    for (op, fun) in ROWS {
        for (n, axes) in AXES.into_iter().enumerate() {
            let keep = n % 2 == 1;
            let list: Vec<String> = axes.iter().map(i64::to_string).collect();
            let name = format!("reduce/{op}/{}{}", list.join("_"), if keep { "/keep" } else { "" });
            t.case(name, [f(&[3, 5, 7])], move |x| fun(&x[0], axes, keep));
        }
        for n in [1, 3, 17, 65, 129, 1000] {
            if n == 1 && ["var", "std"].contains(&op) {
                continue;
            }
            // A product of a thousand numbers must not overflow.
            let of = |shape: &[usize]| if op == "prod" { f_in(shape, 0.9, 1.1) } else { f(shape) };
            t.case(format!("reduce/{op}/rows/{n}"), [of(&[5, n])], move |x| fun(&x[0], &[1], false));
            t.case(format!("reduce/{op}/columns/{n}"), [of(&[n, 5])], move |x| fun(&x[0], &[0], false));
        }
        t.case(format!("reduce/{op}/permuted"), [f(&[5, 7, 9])], move |x| fun(&x[0].permute([2, 0, 1]), &[1], false));
        t.case(format!("reduce/{op}/expanded"), [f(&[5, 1])], move |x| fun(&(x[0].expand([5, 9]) * 1.0), &[0], false));
    }
    whole(t);
    extremes(t);
    spread(t);
    norms(t);
    truths(t);
    places(t);
}

fn whole(t: &mut Table) {
    let all: [(&str, Fun, Over); 5] = [
        ("sum", |x| x.sum(), |x, a, k| x.sum_axes(a, k)),
        ("mean", |x| x.mean(), |x, a, k| x.mean_axes(a, k)),
        ("prod", |x| x.prod(), |x, a, k| x.prod_axes(a, k)),
        ("max", |x| x.max(), |x, a, k| x.amax(a, k)),
        ("min", |x| x.min(), |x, a, k| x.amin(a, k)),
    ];
    for (op, fun, over) in all {
        let x = if op == "prod" { f_in(&[17, 3], 0.5, 1.5) } else { f(&[17, 9]) };
        t.case(format!("reduce/{op}/all"), [x], move |x| fun(&x[0]));
        t.case(format!("reduce/{op}/scalar"), [f(&[])], move |x| fun(&x[0]));
        let rows = v_as(&[2, 3], &[1.0, NAN, 3.0, 2.0, INF, -INF]);
        t.case(format!("reduce/{op}/nan"), [rows], move |x| over(&x[0], &[1], false));
        if !["max", "min"].contains(&op) {
            t.case(format!("reduce/{op}/empty"), [f(&[0])], move |x| fun(&x[0]));
            t.case(format!("reduce/{op}/empty_rows"), [f(&[3, 0])], move |x| over(&x[0], &[1], false));
            t.case(format!("reduce/{op}/empty_columns"), [f(&[3, 0])], move |x| over(&x[0], &[0], false));
        }
    }
    t.case("reduce/sum/twice", [f(&[5, 17])], |x| x[0].sum_axes([1], false).square());
    t.case("reduce/mean/large_offset", [f_in(&[5, 129], 1000.0, 1001.0)], |x| x[0].mean_axes([1], false));
    let zeros = [1.0, 2.0, 3.0, 4.0, 0.0, 5.0, 6.0, 7.0, 0.0, 2.0, 0.0, 3.0];
    t.case("reduce/prod/zeros", [v_as(&[3, 4], &zeros)], |x| x[0].prod_axes([1], false));
    t.case("reduce/prod/zeros/all", [v(&[1.0, 2.0, 0.0, 4.0])], |x| x[0].prod());
    t.case("reduce/prod/twice", [f_in(&[3, 5], 0.5, 1.5)], |x| x[0].prod_axes([1], false));
}

fn extremes(t: &mut Table) {
    t.case("reduce/amax/ties", [ties(&[5, 17])], |x| x[0].amax([1], false));
    t.case("reduce/amin/ties", [ties(&[5, 17])], |x| x[0].amin([1], false));
    t.case("reduce/amax/ties/columns", [ties(&[17, 5])], |x| x[0].amax([0], false));
    t.case("reduce/amin/ties/columns", [ties(&[17, 5])], |x| x[0].amin([0], false));
    t.case("reduce/max/ties", [ties(&[5, 17])], |x| x[0].max());
    t.case("reduce/min/ties", [ties(&[5, 17])], |x| x[0].min());
    // max and min along one axis, with the place: only the first of equal ones gets the gradient
    for (op, fun) in
        [("max", Tensor::max_with_index as fn(&Tensor, i64, bool) -> (Tensor, Tensor)), ("min", Tensor::min_with_index)]
    {
        t.case(format!("reduce/{op}_with_index"), [f(&[5, 17])], move |x| fun(&x[0], 1, false));
        t.case(format!("reduce/{op}_with_index/keep"), [f(&[5, 17])], move |x| fun(&x[0], 0, true));
        t.case(
            format!("reduce/{op}_with_index/ties"),
            [v_as(&[2, 4], &[1.0, 3.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0])],
            move |x| fun(&x[0], 1, false),
        );
    }
    t.case("reduce/amax/empty_columns", [f(&[3, 0])], |x| x[0].amax([0], false));
    t.case("reduce/logsumexp/empty_rows", [f(&[3, 0])], |x| x[0].logsumexp([1], false));
    let rows = [-INF, -INF, -INF, -INF, 1.0, 2.0, INF, 1.0, 2.0, NAN, 1.0, -INF];
    t.case("reduce/logsumexp/inf", [v_as(&[4, 3], &rows)], |x| x[0].logsumexp([1], false));
    t.case("reduce/logsumexp/part", [v_as(&[2, 3], &[-INF, 1.0, 2.0, 3.0, -INF, -INF])], |x| {
        x[0].logsumexp([1], false)
    });
    t.case("reduce/logsumexp/large", [f_in(&[5, 17], -1e4, 1e4)], |x| x[0].logsumexp([1], false));
    t.case("reduce/logsumexp/twice", [f(&[3, 5])], |x| x[0].logsumexp([1], false));
}

fn spread(t: &mut Table) {
    for c in [0, 1, 2] {
        t.case(format!("reduce/var/correction/{c}"), [f(&[5, 17])], move |x| x[0].var([1], c, false));
        t.case(format!("reduce/std/correction/{c}"), [f(&[5, 17])], move |x| x[0].std([1], c, false));
    }
    t.case("reduce/var/empty", [f(&[0, 5])], |x| (x[0].var([0], 0, true) + 0.1).sqrt());
    t.case("reduce/mean/empty_then_ops", [f(&[3, 0, 5])], |x| (x[0].mean_axes([1], false) + 0.1).tanh());
    t.case("reduce/var/one", [f(&[3, 1])], |x| x[0].var([1], 1, false));
    t.case("reduce/var/one/biased", [f(&[3, 1])], |x| x[0].var([1], 0, false));
    t.case("reduce/var/twice", [f(&[3, 5])], |x| x[0].var([1], 1, false));
    t.case("reduce/std/constant", [v_as(&[2, 3], &[2.0, 2.0, 2.0, 1.0, 2.0, 3.0])], |x| x[0].std([1], 1, false));
    t.case("reduce/var/large_offset", [f_in(&[5, 129], 1000.0, 1001.0)], |x| x[0].var([1], 1, false));
}

fn norms(t: &mut Table) {
    for p in [0.0, 0.5, 1.0, 2.0, 3.0, INF, -INF] {
        t.case(format!("reduce/norm/{p:?}"), [f(&[5, 17])], move |x| x[0].norm(p, [1], false));
    }
    t.case("reduce/norm/zero_row", [v_as(&[2, 3], &[0.0, 0.0, 0.0, 3.0, 0.0, 4.0])], |x| x[0].norm(2.0, [1], false));
    t.case("reduce/norm/all", [f(&[5, 17])], |x| x[0].norm(2.0, [0, 1], false));
}

fn truths(t: &mut Table) {
    let rows: [(&str, Fun, Fun); 2] = [
        ("any", |x| x.any([0i64; 0], false), |x| x.any([1], false)),
        ("all", |x| x.all([0i64; 0], false), |x| x.all([1], false)),
    ];
    for (op, full, over) in rows {
        t.case(format!("reduce/{op}/bool"), [b(&[65, 3])], move |x| over(&x[0]));
        let x = v_as(&[3, 3], &[0.0, 0.0, 0.0, 1.0, NAN, 0.0, 2.0, 3.0, 4.0]);
        t.case(format!("reduce/{op}/f32"), [x], move |x| over(&x[0]));
        t.case(format!("reduce/{op}/full"), [b(&[17])], move |x| full(&x[0]));
        t.case(format!("reduce/{op}/empty"), [b(&[3, 0])], move |x| over(&x[0]));
    }
}

fn places(t: &mut Table) {
    let rows: [(&str, Search); 2] = [("argmax", |x, a, k| x.argmax(a, k)), ("argmin", |x, a, k| x.argmin(a, k))];
    for (op, fun) in rows {
        for n in [1, 3, 17, 65, 129, 1000] {
            t.case(format!("reduce/{op}/rows/{n}"), [f(&[5, n])], move |x| fun(&x[0], 1, false));
        }
        t.case(format!("reduce/{op}/columns"), [f(&[65, 5])], move |x| fun(&x[0], 0, false));
        t.case(format!("reduce/{op}/keep"), [f(&[3, 5, 7])], move |x| fun(&x[0], 1, true));
        let rows = v_as(&[3, 3], &[1.0, NAN, 3.0, NAN, NAN, 1.0, 2.0, INF, 2.0]);
        t.case(format!("reduce/{op}/nan"), [rows], move |x| fun(&x[0], 1, false));
        t.case(format!("reduce/{op}/strided"), [f(&[17, 5, 2])], move |x| fun(&x[0].permute([2, 1, 0]), -1, false));
        t.case(format!("reduce/{op}/scalar"), [f(&[])], move |x| fun(&x[0], 0, false));
        t.case(format!("reduce/{op}/ties"), [ties(&[9, 65])], move |x| fun(&x[0], 1, false));
    }
}
