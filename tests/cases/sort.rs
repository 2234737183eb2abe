//! Sorting: stable, NaN last (first when descending), and the gradient that goes back to where an element was.

use super::Table;
use super::input::{SPECIALS, f, i, ties, v};

pub fn sort(t: &mut Table) {
    for n in [1, 3, 17, 65, 129, 1000] {
        t.case(format!("sort/rows/{n}"), [f(&[3, n])], |x| x[0].sort(1, false));
    }
    t.case("sort/descending", [f(&[3, 65])], |x| x[0].sort(1, true));
    t.case("sort/axis0", [f(&[17, 5])], |x| x[0].sort(0, false));
    t.case("sort/ties", [ties(&[3, 65])], |x| x[0].sort(1, false));
    t.case("sort/ties/descending", [ties(&[3, 65])], |x| x[0].sort(1, true));
    t.case("sort/specials", [v(&SPECIALS)], |x| x[0].sort(0, false));
    t.case("sort/specials/descending", [v(&SPECIALS)], |x| x[0].sort(0, true));
    t.case("sort/i32", [i(&[3, 65], -1000, 1000)], |x| x[0].sort(1, false));
    t.case("sort/strided", [f(&[17, 5])], |x| x[0].t().sort(1, false));
    t.case("sort/empty", [f(&[3, 0])], |x| x[0].sort(1, false));
    t.case("sort/scalar", [f(&[])], |x| x[0].sort(0, false));
    t.case("sort/twice", [f(&[3, 5])], |x| x[0].sort(1, false).0.square());
    t.case("sort/argsort", [f(&[5, 17])], |x| x[0].argsort(1, false));
    t.case("sort/argsort/descending", [ties(&[5, 17])], |x| x[0].argsort(1, true));
    t.case("sort/topk/1", [f(&[5, 65])], |x| x[0].topk(1, 1, true));
    t.case("sort/topk/5", [f(&[5, 65])], |x| x[0].topk(5, 1, true));
    t.case("sort/topk/smallest", [f(&[5, 65])], |x| x[0].topk(3, 1, false));
    t.case("sort/topk/axis0", [f(&[65, 3])], |x| x[0].topk(4, 0, true));
    t.case("sort/topk/all", [f(&[2, 17])], |x| x[0].topk(17, -1, true));
    t.case("sort/topk/nan", [v(&[1.0, f32::NAN, 3.0, f32::INFINITY, -f32::INFINITY])], |x| x[0].topk(3, 0, true));
}
