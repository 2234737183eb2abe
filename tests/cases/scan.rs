//! Running sums and products.

use super::input::{f, f_in, v_as};
use super::{Along, Table};

pub fn scan(t: &mut Table) {
    let rows: [(&str, Along); 2] = [("cumsum", |x, a| x.cumsum(a)), ("cumprod", |x, a| x.cumprod(a))];
    for (op, fun) in rows {
        for n in [0, 1, 3, 17, 65, 129, 1000] {
            let x = if op == "cumsum" { f(&[3, n]) } else { f_in(&[3, n], 0.9, 1.1) };
            t.case(format!("scan/{op}/rows/{n}"), [x], move |x| fun(&x[0], 1));
        }
        t.case(format!("scan/{op}/axis0"), [f_in(&[17, 5], 0.5, 1.5)], move |x| fun(&x[0], 0));
        t.case(format!("scan/{op}/axis1"), [f_in(&[3, 17, 5], 0.5, 1.5)], move |x| fun(&x[0], 1));
        t.case(format!("scan/{op}/strided"), [f_in(&[17, 5], 0.5, 1.5)], move |x| fun(&x[0].t().flip([1]), -1));
        let x = v_as(&[2, 3], &[1.0, f32::NAN, 3.0, 2.0, f32::INFINITY, 1.0]);
        t.case(format!("scan/{op}/nan"), [x], move |x| fun(&x[0], 1));
        t.case(format!("scan/{op}/scalar"), [f(&[])], move |x| fun(&x[0], 0));
    }
    let zeros = [1.0, 2.0, 0.0, 4.0, 0.0, 5.0, 6.0, 7.0, 0.0, 2.0, 0.0, 3.0];
    t.case("scan/cumprod/zeros", [v_as(&[3, 4], &zeros)], |x| x[0].cumprod(1));
    t.case("scan/cumsum/twice", [f(&[3, 5])], |x| x[0].cumsum(1).square());
}
