//! Matrix products for every combination of ranks, and Einstein sums.

use super::input::{f, v_as};
use super::{Table, dims};
use kiln::prelude::*;

const SIDES: [(&[usize], &[usize]); 29] = [
    (&[1], &[1]),
    (&[3], &[3]),
    (&[129], &[129]),
    (&[0], &[0]),
    (&[17], &[17, 5]),
    (&[5, 17], &[17]),
    (&[1, 1], &[1, 1]),
    (&[3, 17], &[17, 65]),
    (&[17, 3], &[3, 1]),
    (&[1, 65], &[65, 17]),
    (&[65, 129], &[129, 17]),
    (&[129, 65], &[65, 129]),
    (&[64, 64], &[64, 64]),
    (&[5, 0], &[0, 3]),
    (&[0, 3], &[3, 5]),
    (&[3, 5], &[5, 0]),
    (&[3, 5], &[2, 5, 7]),
    (&[2, 3, 5], &[5, 7]),
    (&[2, 3, 5], &[2, 5, 7]),
    (&[5], &[2, 5, 7]),
    (&[2, 3, 5], &[5]),
    (&[2, 1, 3, 5], &[4, 5, 7]),
    (&[2, 1, 3, 5], &[1, 4, 5, 7]),
    (&[4, 3, 5], &[2, 1, 5, 7]),
    (&[2, 3, 17, 9], &[2, 3, 9, 17]),
    (&[2, 0, 3, 5], &[5, 7]),
    (&[1, 1, 2, 3, 5], &[2, 1, 1, 5, 2]),
    (&[1, 300], &[300, 3]),
    (&[3, 1000], &[1000, 3]),
];

pub fn matmul(t: &mut Table) {
    for (p, q) in SIDES {
        t.case(format!("matmul/{}/{}", dims(p), dims(q)), [f(p), f(q)], |x| x[0].matmul(&x[1])).contraction();
    }
    t.case("matmul/t_left", [f(&[17, 65]), f(&[17, 33])], |x| x[0].t().matmul(&x[1])).contraction();
    t.case("matmul/t_right", [f(&[17, 65]), f(&[33, 65])], |x| x[0].matmul(&x[1].t())).contraction();
    t.case("matmul/t_both", [f(&[17, 65]), f(&[33, 17])], |x| x[0].t().matmul(&x[1].t())).contraction();
    t.case("matmul/t_self", [f(&[17, 65])], |x| x[0].matmul(&x[0].t())).contraction();
    t.case("matmul/stepped", [f(&[9, 34]), f(&[17, 10])], |x| x[0].slice(1, 0, 34, 2).matmul(&x[1].slice(1, 1, 10, 3)))
        .contraction();
    t.case("matmul/flipped", [f(&[5, 17]), f(&[17, 9])], |x| x[0].flip([1]).matmul(&x[1].flip([0]))).contraction();
    t.case("matmul/expanded", [f(&[1, 17]), f(&[17, 1])], |x| x[0].expand([5, 17]).matmul(&x[1].expand([17, 9])))
        .contraction();
    t.case("matmul/heads", [f(&[2, 9, 12]), f(&[2, 9, 12])], |x| {
        let heads = |x: &Tensor| x.reshape([2, 9, 3, 4]).transpose(1, 2);
        heads(&x[0]).matmul(&heads(&x[1]).transpose(2, 3))
    })
    .contraction();
    t.case("matmul/linear_relu", [f(&[17, 33]), f(&[9, 33]), f(&[9])], |x| (x[0].matmul(&x[1].t()) + &x[2]).relu())
        .contraction();
    t.case("matmul/input_slot", [f(&[17, 33]), f(&[33, 9])], |x| (&x[0] * 0.5 + 1.0).matmul(&x[1].tanh()))
        .contraction();
    t.case("matmul/chain", [f(&[5, 17]), f(&[17, 9]), f(&[9, 3])], |x| x[0].matmul(&x[1]).tanh().matmul(&x[2]))
        .contraction();
    t.case("matmul/dot", [f(&[65]), f(&[65])], |x| x[0].dot(&x[1])).contraction();
    t.case("matmul/mt", [f(&[2, 5, 3]), f(&[2, 5, 7])], |x| x[0].mt().matmul(&x[1])).contraction();
    t.case("matmul/nan", [v_as(&[2, 2], &[1.0, f32::NAN, 2.0, 3.0]), f(&[2, 3])], |x| x[0].matmul(&x[1])).contraction();
}

const SUMS: [(&str, &[&[usize]]); 28] = [
    ("ij,jk->ik", &[&[3, 17], &[17, 5]]),
    ("bij,bjk->bik", &[&[2, 3, 5], &[2, 5, 7]]),
    ("i,i->", &[&[17], &[17]]),
    ("i,j->ij", &[&[5], &[7]]),
    ("ij->ji", &[&[3, 5]]),
    ("ii->i", &[&[5, 5]]),
    ("ii->", &[&[5, 5]]),
    ("ij->", &[&[3, 5]]),
    ("ij->j", &[&[3, 5]]),
    ("bhid,bhjd->bhij", &[&[2, 3, 5, 4], &[2, 3, 7, 4]]),
    ("bij,jk->bik", &[&[2, 3, 5], &[5, 7]]),
    ("i,ij,j->", &[&[3], &[3, 5], &[5]]),
    ("...ij,...jk->...ik", &[&[2, 3, 5], &[2, 5, 4]]),
    ("ij,jk", &[&[3, 5], &[5, 4]]),
    ("ba", &[&[3, 5]]),
    ("bijc,bkjc->bik", &[&[2, 3, 4, 5], &[2, 6, 4, 5]]),
    ("ij,ij->i", &[&[3, 5], &[3, 5]]),
    ("ijk->kji", &[&[3, 5, 7]]),
    ("ab,cd->abcd", &[&[2, 3], &[4, 5]]),
    ("abc,cd,de->abe", &[&[2, 3, 4], &[4, 5], &[5, 6]]),
    ("aij,bij->ab", &[&[2, 3, 4], &[5, 3, 4]]),
    ("ij,kj->ik", &[&[3, 17], &[5, 17]]),
    ("bqhd,bkhd->bhqk", &[&[2, 5, 3, 4], &[2, 7, 3, 4]]),
    ("bi,bj->bij", &[&[2, 3], &[2, 5]]),
    ("i->i", &[&[5]]),
    ("...i,i->...", &[&[2, 3, 5], &[5]]),
    ("iij->ij", &[&[3, 3, 5]]),
    ("ij,j->i", &[&[3, 0], &[0]]),
];

pub fn einsum(t: &mut Table) {
    for (sum, shapes) in SUMS {
        let inputs: Vec<_> = shapes.iter().map(|shape| f(shape)).collect();
        t.case(format!("einsum/{sum}"), inputs, |x| Tensor::einsum(sum, &x.iter().collect::<Vec<_>>())).contraction();
    }
}
