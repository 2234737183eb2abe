//! Softmax and its logarithm.

use super::input::{f, f_in, v_as};
use super::{Along, Table};
use kiln::prelude::*;

const INF: f32 = f32::INFINITY;

pub fn softmax(t: &mut Table) {
    let rows: [(&str, Along); 2] = [("softmax", |x, a| x.softmax(a)), ("log_softmax", |x, a| x.log_softmax(a))];
    for (op, fun) in rows {
        for n in [1, 3, 17, 65, 129, 1000] {
            t.case(format!("softmax/{op}/rows/{n}"), [f_in(&[5, n], -4.0, 4.0)], move |x| fun(&x[0], 1));
        }
        t.case(format!("softmax/{op}/axis0"), [f(&[17, 5])], move |x| fun(&x[0], 0));
        t.case(format!("softmax/{op}/axis1"), [f(&[3, 17, 5])], move |x| fun(&x[0], 1));
        t.case(format!("softmax/{op}/strided"), [f(&[17, 5])], move |x| fun(&x[0].t(), -1));
        t.case(format!("softmax/{op}/large"), [f_in(&[5, 65], -1e4, 1e4)], move |x| fun(&x[0], 1));
        t.case(format!("softmax/{op}/inf"), [v_as(&[2, 3], &[-INF, 1.0, 2.0, -INF, -INF, 3.0])], move |x| {
            fun(&x[0], 1)
        });
        let x = v_as(&[3, 3], &[-INF, -INF, -INF, INF, 1.0, 2.0, f32::NAN, 1.0, 2.0]);
        t.case(format!("softmax/{op}/nan"), [x], move |x| fun(&x[0], 1));
        t.case(format!("softmax/{op}/empty"), [f(&[3, 0])], move |x| fun(&x[0], 1));
        t.case(format!("softmax/{op}/no_rows"), [f(&[0, 3])], move |x| fun(&x[0], 1));
        t.case(format!("softmax/{op}/scalar"), [f(&[])], move |x| fun(&x[0], 0));
        t.case(format!("softmax/{op}/twice"), [f(&[3, 5])], move |x| fun(&x[0], 1));
    }
    t.case("softmax/masked", [f(&[2, 5, 5])], |x| {
        let hidden = Tensor::ones(x[0].device(), [5, 5]).tril(0).eq(0.0);
        x[0].masked_fill(&hidden, -INF).softmax(-1)
    });
}
