//! Other ways of looking at the same elements.

use super::input::f;
use super::{Fun, Table};
use kiln::prelude::*;

const HALF: PadMode = PadMode::Constant(0.5);
const REFLECT: PadMode = PadMode::Reflect;
const REPLICATE: PadMode = PadMode::Replicate;

/// A shape and a view of it.
type Row = (&'static str, &'static [usize], Fun);

const SHAPES: [Row; 31] = [
    ("reshape/2d", &[3, 5, 7], |x| x.reshape([15, 7])),
    ("reshape/infer", &[3, 5, 8], |x| x.reshape([-1, 4])),
    ("reshape/after_permute", &[3, 5, 7], |x| x.permute([2, 0, 1]).reshape([7, 15])),
    ("reshape/to_scalar", &[1, 1], |x| x.reshape([0i64; 0])),
    ("reshape/from_scalar", &[], |x| x.reshape([1, 1])),
    ("reshape/empty", &[3, 0], |x| x.reshape([0, 5])),
    ("permute/3d", &[3, 5, 7], |x| x.permute([2, 0, 1])),
    ("permute/negative", &[3, 5, 7], |x| x.permute([-1, 0, -2])),
    ("permute/6d", &[2, 3, 1, 4, 2, 3], |x| x.permute([5, 3, 1, 0, 2, 4])),
    ("permute/65x129", &[65, 129], |x| x.permute([1, 0])),
    ("transpose/4d", &[2, 3, 4, 5], |x| x.transpose(1, -1)),
    ("t", &[17, 65], |x| x.t()),
    ("expand/rows", &[1, 17], |x| x.expand([5, 17])),
    ("expand/new_axis", &[17, 1], |x| x.expand([3, -1, 4])),
    ("expand/scalar", &[], |x| x.expand([3, 2])),
    ("expand/zero", &[1, 3], |x| x.expand([0, 3])),
    ("squeeze", &[3, 1, 5], |x| x.squeeze(1)),
    ("squeeze/not_one", &[3, 1, 5], |x| x.squeeze(0)),
    ("unsqueeze/front", &[3, 5], |x| x.unsqueeze(0)),
    ("unsqueeze/back", &[3, 5], |x| x.unsqueeze(-1)),
    ("flatten/all", &[3, 5, 7], |x| x.flatten(0, -1)),
    ("flatten/tail", &[3, 5, 7], |x| x.flatten(1, -1)),
    ("flatten/middle", &[2, 3, 5, 2], |x| x.flatten(1, 2)),
    ("flatten/scalar", &[], |x| x.flatten(0, -1)),
    ("diagonal", &[5, 7], |x| x.diagonal(0, 0, 1)),
    ("diagonal/1", &[5, 7], |x| x.diagonal(1, 0, 1)),
    ("diagonal/-2", &[5, 7], |x| x.diagonal(-2, 0, 1)),
    ("diagonal/axes", &[3, 5, 4], |x| x.diagonal(0, 0, 2)),
    ("diagonal/outside", &[3, 3], |x| x.diagonal(3, 0, 1)),
    ("unfold/apart", &[3, 12], |x| x.unfold(1, 3, 4)),
    ("unfold/overlap", &[17, 3], |x| x.unfold(0, 5, 2)),
];

const PARTS: [Row; 27] = [
    ("unfold/whole", &[5], |x| x.unfold(0, 5, 1)),
    ("slice/axis0", &[17, 3], |x| x.slice(0, 2, 9, 1)),
    ("slice/negative", &[17, 3], |x| x.slice(0, -5, -1, 1)),
    ("slice/step2", &[17, 3], |x| x.slice(0, 1, 16, 2)),
    ("slice/step3_axis1", &[3, 17], |x| x.slice(1, 0, 17, 3)),
    ("slice/past_end", &[5], |x| x.slice(0, 3, 99, 1)),
    ("slice/empty", &[5, 2], |x| x.slice(0, 3, 3, 1)),
    ("narrow", &[3, 17], |x| x.narrow(1, 4, 9)),
    ("narrow/negative_axis", &[3, 17], |x| x.narrow(-2, 1, 2)),
    ("select", &[3, 5, 7], |x| x.select(1, 2)),
    ("select/negative", &[3, 5, 7], |x| x.select(-1, -2)),
    ("select/to_scalar", &[5], |x| x.select(0, 3)),
    ("flip/one", &[3, 17], |x| x.flip([1])),
    ("flip/both", &[3, 17], |x| x.flip([0, -1])),
    ("flip/none", &[3], |x| x.flip([0i64; 0])),
    ("roll/one", &[3, 5], |x| x.roll(2, 1)),
    ("roll/negative", &[3, 5], |x| x.roll(-1, 0)),
    ("roll/past", &[5], |x| x.roll(13, 0)),
    ("roll/two", &[3, 5], |x| x.roll(1, 0).roll(-2, 1)),
    ("tril", &[5, 7], |x| x.tril(0)),
    ("tril/-2", &[7, 5], |x| x.tril(-2)),
    ("tril/batch", &[2, 3, 5, 5], |x| x.tril(1)),
    ("triu", &[5, 7], |x| x.triu(0)),
    ("triu/2", &[7, 5], |x| x.triu(2)),
    ("triu/-1", &[17, 17], |x| x.triu(-1)),
    ("chain/slice_of_slice", &[65], |x| x.slice(0, 3, 60, 2).slice(0, 4, 20, 3)),
    ("chain/permute_slice_flip", &[5, 7, 9], |x| x.permute([2, 0, 1]).slice(0, 1, 8, 3).flip([1])),
];

const PADS: [Row; 10] = [
    ("pad/constant", &[3, 5], |x| x.pad(&[(1, 2), (3, 0)], HALF)),
    ("pad/constant/empty", &[0, 3], |x| x.pad(&[(1, 1), (0, 0)], HALF)),
    ("pad/reflect", &[5, 7], |x| x.pad(&[(2, 1), (3, 4)], REFLECT)),
    ("pad/replicate", &[3, 5], |x| x.pad(&[(2, 1), (0, 4)], REPLICATE)),
    ("pad/reflect/4d", &[2, 3, 4, 5], |x| x.pad(&[(2, 3), (1, 2)], REFLECT)),
    ("chain/pad_slice", &[5, 5], |x| x.pad(&[(2, 2), (2, 2)], HALF).slice(0, 1, 8, 1).slice(1, 1, 8, 1)),
    ("chain/expand_reshape", &[5, 1], |x| x.expand([5, 3]).reshape([15])),
    ("chain/diagonal_of_outer", &[17], |x| (x.unsqueeze(1) * x.unsqueeze(0)).diagonal(0, 0, 1)),
    ("chain/flip_tril", &[17, 17], |x| x.flip([0]).tril(0).t()),
    ("chain/select_t", &[3, 5, 7], |x| x.select(1, 3).t()),
];

pub fn views(t: &mut Table) {
    for (name, shape, fun) in SHAPES.into_iter().chain(PARTS).chain(PADS) {
        t.case(format!("views/{name}"), [f(shape)], move |x| fun(&x[0]));
    }
    t.case("views/twice", [f(&[5, 7])], |x| x[0].t().slice(0, 1, 6, 2).square() * x[0].t().slice(0, 0, 3, 1));
    for (name, mode) in [("constant", HALF), ("reflect", REFLECT), ("replicate", REPLICATE)] {
        t.case(format!("views/pad/{name}/twice"), [f(&[3, 4])], move |x| x[0].pad(&[(1, 1), (2, 1)], mode).square());
    }
}
