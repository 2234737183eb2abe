//! Taking and putting elements by index. Indices that repeat add their gradients, in order.

use super::Table;
use super::input::{Input, b, f, i};

pub fn index(t: &mut Table) {
    t.case("index/gather/last", [f(&[5, 17]), i(&[5, 9], 0, 17)], |x| x[0].gather(1, &x[1]));
    t.case("index/gather/axis0", [f(&[17, 5]), i(&[3, 5], 0, 17)], |x| x[0].gather(0, &x[1]));
    t.case("index/gather/smaller", [f(&[5, 17]), i(&[2, 9], 0, 17)], |x| x[0].gather(-1, &x[1]));
    t.case("index/gather/3d", [f(&[3, 5, 7]), i(&[3, 9, 7], 0, 5)], |x| x[0].gather(1, &x[1]));
    t.case("index/gather/empty", [f(&[5, 7]), i(&[5, 0], 0, 7)], |x| x[0].gather(1, &x[1]));
    t.case("index/gather/scalar", [f(&[]), i(&[], 0, 1)], |x| x[0].gather(0, &x[1]));
    t.case("index/gather/strided", [f(&[17, 5]), i(&[9, 5], 0, 17)], |x| x[0].t().gather(1, &x[1].t()));
    t.case("index/gather/twice", [f(&[3, 5]), i(&[3, 4], 0, 5)], |x| x[0].gather(1, &x[1]).square());
    t.case("index/take_along", [f(&[5, 1]), i(&[5, 9], 0, 1)], |x| x[0].take_along(1, &x[1]));
    t.case("index/take_along/broadcast", [f(&[5, 7]), i(&[1, 9], 0, 7)], |x| x[0].take_along(1, &x[1]));
    // Sums of up to a thousand terms of either sign.
    let sources = |rows: &[usize], index: [Input; 1], source: &[usize]| [f(rows), index[0].clone(), f(source)];
    t.case("index/scatter_add/last", sources(&[5, 17], [i(&[5, 33], 0, 17)], &[5, 33]), |x| {
        x[0].scatter_add(1, &x[1], &x[2])
    });
    t.case("index/scatter_add/axis0", sources(&[7, 5], [i(&[65, 5], 0, 7)], &[65, 5]), |x| {
        x[0].scatter_add(0, &x[1], &x[2])
    });
    t.case("index/scatter_add/smaller", sources(&[5, 17], [i(&[3, 4], 0, 17)], &[3, 4]), |x| {
        x[0].scatter_add(1, &x[1], &x[2])
    });
    t.case("index/scatter_add/one_target", sources(&[1], [i(&[1000], 0, 1)], &[1000]), |x| {
        x[0].scatter_add(0, &x[1], &x[2])
    });
    t.case("index/scatter_add/twice", sources(&[5], [i(&[9], 0, 5)], &[9]), |x| {
        x[0].scatter_add(0, &x[1], &x[2]).square()
    });
    t.case("index/index_add/rows", sources(&[7, 5], [i(&[33], 0, 7)], &[33, 5]), |x| x[0].index_add(0, &x[1], &x[2]));
    t.case("index/index_add/columns", sources(&[5, 7], [i(&[33], 0, 7)], &[5, 33]), |x| {
        x[0].index_add(1, &x[1], &x[2])
    });
    t.case("index/index_select/rows", [f(&[17, 5]), i(&[33], 0, 17)], |x| x[0].index_select(0, &x[1]));
    t.case("index/index_select/columns", [f(&[5, 17]), i(&[9], 0, 17)], |x| x[0].index_select(1, &x[1]));
    t.case("index/index_select/middle", [f(&[3, 5, 7]), i(&[4], 0, 5)], |x| x[0].index_select(1, &x[1]));
    t.case("index/index_select/empty", [f(&[3, 5]), i(&[0], 0, 3)], |x| x[0].index_select(0, &x[1]));
    t.case("index/index_select/i32", [i(&[17, 5], -9, 9), i(&[33], 0, 17)], |x| x[0].index_select(0, &x[1]));
    t.case("index/index_select/strided", [f(&[17, 5]), i(&[9], 0, 17)], |x| x[0].t().index_select(1, &x[1].flip([0])));
    t.case("index/embedding/1d", [f(&[17, 9]), i(&[33], 0, 17)], |x| x[0].embedding(&x[1]));
    t.case("index/embedding/2d", [f(&[17, 9]), i(&[3, 5], 0, 17)], |x| x[0].embedding(&x[1]));
    t.case("index/embedding/scalar", [f(&[17, 9]), i(&[], 0, 17)], |x| x[0].embedding(&x[1]));
    t.case("index/embedding/wide", [f(&[65, 129]), i(&[129], 0, 65)], |x| x[0].embedding(&x[1]));
    t.case("index/embedding/twice", [f(&[5, 3]), i(&[7], 0, 5)], |x| x[0].embedding(&x[1]).square());
    t.case("index/one_hot/1d", [i(&[17], 0, 5)], |x| x[0].one_hot(5));
    t.case("index/one_hot/2d", [i(&[3, 5], 0, 7)], |x| x[0].one_hot(7));
    t.case("index/masked_fill", [f(&[3, 5]), b(&[5])], |x| x[0].masked_fill(&x[1], 0.5));
}
