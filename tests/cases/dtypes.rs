//! Integers and truth values, the types that operands meet in, and casts.

use super::binary::{ARITHMETIC, COMPARE};
use super::input::{b, f, f_in, i, iv, v};
use super::{Along, Fun, Table};
use kiln::prelude::*;

const INF: f32 = f32::INFINITY;

pub fn dtypes(t: &mut Table) {
    for (op, fun) in ARITHMETIC.into_iter().filter(|row| row.0 != "atan2").chain(COMPARE) {
        let divides = ["div", "fmod", "remainder", "floor_divide"].contains(&op);
        let y = if divides { i(&[17], 1, 8) } else { i(&[17], -9, 10) };
        t.case(format!("dtypes/i32/{op}"), [i(&[5, 17], -9, 10), y], move |x| fun(&x[0], &x[1]));
        if divides && op != "div" {
            t.case(format!("dtypes/i32/{op}/negative"), [i(&[65], -20, 20), i(&[65], -7, 0)], move |x| {
                fun(&x[0], &x[1])
            });
        }
        if ["add", "sub", "mul", "div"].contains(&op) {
            t.case(format!("dtypes/i32_f32/{op}"), [i(&[17], -9, 10), f_in(&[17], 0.5, 2.0)], move |x| {
                fun(&x[0], &x[1])
            });
        }
    }
    let unary: [(&str, Fun); 4] =
        [("neg", |x| -x), ("abs", |x| x.abs()), ("sign", |x| x.sign()), ("square", |x| x.square())];
    for (op, fun) in unary {
        t.case(format!("dtypes/i32/{op}"), [i(&[17], -9, 10)], move |x| fun(&x[0]));
    }
    t.case("dtypes/i32/wrap", [iv(&[i32::MAX, i32::MIN, 65536, 123456789])], |x| [&x[0] + 1, &x[0] * 3]);
    t.case("dtypes/i32/exp", [i(&[17], -3, 4)], |x| x[0].exp());
    t.case("dtypes/i32/clamp", [i(&[17], -9, 10)], |x| x[0].clamp(-3, 4));
    t.case("dtypes/i32_f32/lt", [i(&[17], -2, 3), f(&[17])], |x| x[0].lt(&x[1]));
    t.case("dtypes/i32_scalar/add", [i(&[17], -9, 10)], |x| &x[0] + 3);
    t.case("dtypes/i32_scalar/mul_float", [i(&[17], -9, 10)], |x| &x[0] * 0.5);
    t.case("dtypes/i32_scalar/div", [i(&[17], -9, 10)], |x| &x[0] / 2);
    t.case("dtypes/bool_f32/mul", [b(&[17]), f(&[17])], |x| &x[0] * &x[1]);
    t.case("dtypes/bool_i32/add", [b(&[17]), i(&[17], -9, 10)], |x| &x[0] + &x[1]);
    t.case("dtypes/bool/add", [b(&[17]), b(&[17])], |x| &x[0] + &x[1]);
    t.case("dtypes/bool/mul", [b(&[17]), b(&[17])], |x| &x[0] * &x[1]);
    t.case("dtypes/bool/eq", [b(&[17]), b(&[17])], |x| x[0].eq(&x[1]));
    t.case("dtypes/bool/sum", [b(&[5, 17])], |x| x[0].sum_axes([1], false));
    t.case("dtypes/bool/scalar", [b(&[17])], |x| &x[0] * 0.5);
    casts(t);
    whole_tensors(t);
}

fn u32s(x: &Tensor) -> Tensor {
    x.cast(DType::U32)
}

fn casts(t: &mut Table) {
    let floats = [0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 2.5, 1e6, -1e6, 123456.7];
    t.case("dtypes/cast/f32_i32", [v(&floats)], |x| x[0].cast(DType::I32));
    t.case("dtypes/cast/f32_bool", [v(&[0.0, -0.0, 0.5, -1.0, INF, f32::NAN])], |x| x[0].cast(DType::Bool));
    t.case("dtypes/cast/i32_f32", [iv(&[0, 1, -1, 16777216, -16777217, i32::MAX])], |x| x[0].cast(DType::F32));
    t.case("dtypes/cast/i32_bool", [i(&[17], -2, 3)], |x| x[0].cast(DType::Bool));
    t.case("dtypes/cast/i32_u32", [iv(&[0, 1, 7, i32::MAX])], |x| x[0].cast(DType::U32));
    let unsigned = ["add", "mul", "floor_divide", "remainder", "maximum"];
    for (op, fun) in ARITHMETIC.into_iter().filter(|row| unsigned.contains(&row.0)) {
        t.case(format!("dtypes/u32/{op}"), [i(&[17], 0, 100_000), i(&[17], 1, 1000)], move |x| {
            fun(&u32s(&x[0]), &u32s(&x[1]))
        });
    }
    t.case("dtypes/u32/lt", [i(&[17], 0, 9), i(&[17], 0, 9)], |x| u32s(&x[0]).lt(u32s(&x[1])));
    t.case("dtypes/u32/sum", [i(&[5, 17], 0, 100_000)], |x| u32s(&x[0]).sum_axes([1], false));
    t.case("dtypes/u32/to_f32", [i(&[17], 0, 100_000)], |x| u32s(&x[0]).cast(DType::F32));
    t.case("dtypes/u32_i32/add", [i(&[17], 0, 9), i(&[17], -9, 9)], |x| u32s(&x[0]) + &x[1]);
    t.case("dtypes/cast/bool_f32", [b(&[17])], |x| x[0].cast(DType::F32));
    t.case("dtypes/cast/bool_i32", [b(&[17])], |x| x[0].cast(DType::I32));
    t.case("dtypes/cast/gradient", [f(&[17]), b(&[17])], |x| &x[0] * x[1].cast(DType::F32));
}

fn whole_tensors(t: &mut Table) {
    let reductions: [(&str, Along); 4] = [
        ("sum", |x, a| x.sum_axes([a], false)),
        ("prod", |x, a| x.prod_axes([a], false)),
        ("amax", |x, a| x.amax([a], false)),
        ("amin", |x, a| x.amin([a], false)),
    ];
    for (op, fun) in reductions {
        t.case(format!("dtypes/i32/{op}"), [i(&[5, 17], -2, 4)], move |x| fun(&x[0], 1));
        t.case(format!("dtypes/i32/{op}/columns"), [i(&[17, 5], -2, 4)], move |x| fun(&x[0], 0));
    }
    t.case("dtypes/i32/argmax", [i(&[5, 65], -20, 20)], |x| x[0].argmax(1, false));
    t.case("dtypes/i32/cumsum", [i(&[5, 65], -20, 20)], |x| x[0].cumsum(1));
    t.case("dtypes/i32/views", [i(&[5, 17], -20, 20)], |x| x[0].t().slice(0, 3, 11, 2).flip([0]));
    t.case("dtypes/bool/views", [b(&[5, 17])], |x| x[0].t().slice(0, 3, 11, 2).flip([0]));
    t.case("dtypes/i32/cat", [i(&[3, 5], -20, 20), i(&[2, 5], -20, 20)], |x| Tensor::cat(&[&x[0], &x[1]], 0));
    t.case("dtypes/i32/matmul", [i(&[5, 17], -20, 20), i(&[17, 3], -20, 20)], |x| x[0].matmul(&x[1]));
    t.case("dtypes/i32/tril", [i(&[5, 5], -20, 20)], |x| x[0].tril(0));
    t.case("dtypes/bool/tril", [b(&[5, 5])], |x| x[0].tril(0));
}
