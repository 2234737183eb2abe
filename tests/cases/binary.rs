//! Functions of two tensors, and choices between them.

use super::input::{TAME, b, f, f_in, i, ties, v, v_as};
use super::{Fun2, Table, dims};
use kiln::prelude::*;

pub const ARITHMETIC: [(&str, Fun2); 10] = [
    ("add", |x, y| x.add(y)),
    ("sub", |x, y| x.sub(y)),
    ("mul", |x, y| x.mul(y)),
    ("div", |x, y| x.div(y)),
    ("maximum", |x, y| x.maximum(y)),
    ("minimum", |x, y| x.minimum(y)),
    ("atan2", |x, y| x.atan2(y)),
    ("fmod", |x, y| x.fmod(y)),
    ("remainder", |x, y| x.remainder(y)),
    ("floor_divide", |x, y| x.floor_divide(y)),
];

pub const COMPARE: [(&str, Fun2); 6] = [
    ("eq", |x, y| x.eq(y)),
    ("ne", |x, y| x.ne(y)),
    ("lt", |x, y| x.lt(y)),
    ("le", |x, y| x.le(y)),
    ("gt", |x, y| x.gt(y)),
    ("ge", |x, y| x.ge(y)),
];

/// Shapes that broadcast, rank 0 to 6, with ones and zeros.
const PAIRS: [(&[usize], &[usize]); 14] = [
    (&[], &[]),
    (&[3], &[]),
    (&[], &[3]),
    (&[1], &[1]),
    (&[17, 1], &[1, 65]),
    (&[3, 17, 65], &[65]),
    (&[65], &[3, 17, 65]),
    (&[3, 1, 5], &[17, 1]),
    (&[2, 1, 3, 1, 5], &[7, 1, 4, 1]),
    (&[2, 3, 1, 2, 1, 3], &[1, 3, 2, 1, 2, 1]),
    (&[0], &[1]),
    (&[3, 0], &[1, 0]),
    (&[0, 3], &[3]),
    (&[129, 3], &[129, 1]),
];

pub fn binary(t: &mut Table) {
    let every_pair = || [v_as(&[20, 1], &TAME), v_as(&[1, 20], &TAME)];
    for (p, q) in PAIRS {
        t.case(format!("binary/mul/{}/{}", dims(p), dims(q)), [f(p), f(q)], |x| &x[0] * &x[1]);
        t.case(format!("binary/div/{}/{}", dims(p), dims(q)), [f(p), f_in(q, 0.5, 2.0)], |x| &x[0] / &x[1]);
    }
    for (op, fun) in ARITHMETIC {
        t.case(format!("binary/{op}"), [f(&[5, 17]), f_in(&[17], 0.5, 2.0)], move |x| fun(&x[0], &x[1]));
        t.case(format!("binary/{op}/specials"), every_pair(), move |x| fun(&x[0], &x[1]));
        t.case(format!("binary/{op}/strided"), [f(&[17, 5]), f_in(&[17, 10], 0.5, 2.0)], move |x| {
            fun(&x[0].t().flip([0]), &x[1].slice(1, 0, 10, 2).t())
        });
    }
    t.case("binary/pow", [f_in(&[5, 17], 0.2, 2.0), f(&[17])], |x| x[0].pow(&x[1]));
    t.case("binary/pow/specials", every_pair(), |x| x[0].pow(&x[1]));
    t.case("binary/pow/zero_base", [v(&[0.0; 3]), v(&[1.0, 2.0, 3.0])], |x| x[0].pow(&x[1]));
    t.case("binary/maximum/ties", [ties(&[65]), ties(&[65])], |x| x[0].maximum(&x[1]));
    t.case("binary/minimum/ties", [ties(&[65]), ties(&[65])], |x| x[0].minimum(&x[1]));
    for (op, fun) in COMPARE {
        t.case(format!("binary/{op}"), [ties(&[5, 17]), ties(&[17])], move |x| fun(&x[0], &x[1]));
        t.case(format!("binary/{op}/specials"), every_pair(), move |x| fun(&x[0], &x[1]));
    }
    let logic: [(&str, Fun2); 3] = [
        ("logical_and", |x, y| x.logical_and(y)),
        ("logical_or", |x, y| x.logical_or(y)),
        ("logical_xor", |x, y| x.logical_xor(y)),
    ];
    for (op, fun) in logic {
        t.case(format!("binary/{op}/bool"), [b(&[17, 1]), b(&[1, 5])], move |x| fun(&x[0], &x[1]));
        t.case(format!("binary/{op}/f32"), [ties(&[17, 1]), ties(&[1, 5])], move |x| fun(&x[0], &x[1]));
    }
    t.case("binary/logical_not/bool", [b(&[17])], |x| x[0].logical_not());
    t.case("binary/logical_not/f32", [v(&TAME)], |x| x[0].logical_not());
    choices(t);
}

fn choices(t: &mut Table) {
    t.case("binary/where", [b(&[5, 17]), f(&[5, 17]), f(&[5, 17])], |x| Tensor::where_(&x[0], &x[1], &x[2]));
    t.case("binary/where/broadcast", [b(&[17]), f(&[5, 1]), f(&[])], |x| Tensor::where_(&x[0], &x[1], &x[2]));
    t.case("binary/where/nan_unchosen", [v(&[1.0, -1.0, 4.0, 0.0])], |x| {
        Tensor::where_(&x[0].gt(0.0), x[0].sqrt(), x[0].zeros_like())
    });
    t.case("binary/where/i32", [b(&[17]), i(&[17], -9, 9), i(&[1], -9, 9)], |x| Tensor::where_(&x[0], &x[1], &x[2]));
}
