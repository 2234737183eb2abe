//! What a fuser could get wrong: values with several consumers, views between operations, reductions of
//! expressions and expressions of reductions, kernels with something before and after them.

use super::Table;
use super::input::{f, i};
use kiln::prelude::*;

/// Softmax out of plain operations.
fn plain_softmax(x: &Tensor) -> Tensor {
    let e = (x - x.amax([1], true)).exp();
    &e / e.sum_axes([1], true)
}

/// Layer normalisation out of plain operations.
fn plain_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let d = x - x.mean_axes([1], true);
    &d / (d.square().mean_axes([1], true) + 1e-5).sqrt() * weight + bias
}

pub fn fuse(t: &mut Table) {
    elementwise(t);
    around_reductions(t);
    around_kernels(t);
    models(t);
}

fn elementwise(t: &mut Table) {
    t.case("fuse/long_chain", [f(&[17, 5])], |x| {
        let x = &x[0];
        ((((x * 2.0 + 1.0).tanh() - 0.5) * x).sigmoid() + x.square()).sqrt()
    });
    t.case("fuse/two_consumers", [f(&[17, 5])], |x| {
        [x[0].exp() + 1.0, x[0].exp() * 2.0, x[0].exp().sum_axes([0], false)]
    });
    t.case("fuse/view_between", [f(&[6, 10])], |x| (x[0].exp().reshape([10, 6]).t() * 2.0).flip([1]) + 1.0);
    t.case("fuse/slice_and_pad", [f(&[9, 9])], |x| {
        let inner = x[0].slice(0, 1, -1, 1).slice(1, 1, -1, 1).tanh();
        inner.pad(&[(1, 1), (1, 1)], PadMode::Constant(0.0)) + &x[0]
    });
    t.case("fuse/glu", [f(&[9, 16])], |x| x[0].narrow(1, 0, 8) * x[0].narrow(1, 8, 8).sigmoid());
    t.case("fuse/rotary", [f(&[5, 8]), f(&[5, 4])], |x| {
        let (a, b) = (x[0].narrow(1, 0, 4), x[0].narrow(1, 4, 4));
        let (cos, sin) = (x[1].cos(), x[1].sin());
        Tensor::cat(&[&(&a * &cos - &b * &sin), &(&b * &cos + &a * &sin)], 1)
    });
    t.case("fuse/where_chain", [f(&[17, 5]), f(&[17, 5])], |x| {
        let chosen = x[0].gt(0.0).logical_and(x[1].lt(1.0));
        Tensor::where_(&chosen, &x[0] * &x[1], &x[0] - &x[1]).exp()
    });
    t.case("fuse/compare_cast", [f(&[17, 5])], |x| x[0].gt(0.0).cast(DType::F32) * &x[0]);
    t.case("fuse/many_inputs", vec![f(&[17]); 12], |x| {
        let terms = x.iter().enumerate().map(|(n, x)| x.tanh() * (n as f32 + 1.0));
        terms.reduce(|a, b| a + b).unwrap()
    });
    t.case("fuse/detach", [f(&[17])], |x| x[0].detach() * &x[0]);
    t.case("fuse/same_twice", [f(&[17])], |x| &x[0] * &x[0] + &x[0]);
    t.case("fuse/unused", [f(&[17]), f(&[5])], |x| &x[0] * 2.0);
    t.case("fuse/gather_then_ops", [f(&[5, 9]), i(&[5, 3], 0, 9)], |x| x[0].exp().gather(1, &x[1]).tanh());
}

fn around_reductions(t: &mut Table) {
    t.case("fuse/softmax", [f(&[5, 65])], |x| plain_softmax(&x[0]));
    t.case("fuse/layer_norm", [f(&[5, 65]), f(&[65]), f(&[65])], |x| plain_norm(&x[0], &x[1], &x[2]));
    t.case("fuse/diamond", [f(&[17, 5])], |x| {
        let y = x[0].tanh();
        &y * y.sum_axes([1], true) + y.t().t()
    });
    t.case("fuse/broadcast_both", [f(&[17, 1]), f(&[1, 5])], |x| {
        ((&x[0] + &x[1]) * (&x[0] - &x[1])).exp().sum_axes([0], false)
    });
    t.case("fuse/reduce_of_views", [f(&[5, 7, 3])], |x| (x[0].permute([2, 0, 1]).tanh() * 2.0).sum_axes([1], false));
    t.case("fuse/mean_then_use", [f(&[5, 17])], |x| (&x[0] - x[0].mean()) * &x[0]);
    t.case("fuse/var_then_use", [f(&[5, 17])], |x| &x[0] / (x[0].var([1], 1, true) + 1.0));
    t.case("fuse/max_minus_min", [f(&[5, 17])], |x| x[0].amax([1], false) - x[0].amin([1], false));
    t.case("fuse/sum_of_product", [f(&[5, 17]), f(&[5, 17])], |x| (&x[0] * &x[1]).sum_axes([1], false));
    t.case("fuse/row_and_column", [f(&[17, 5])], |x| x[0].sum_axes([0], true) * &x[0] + x[0].sum_axes([1], true));
    t.case("fuse/sum_twice", [f(&[5, 7, 9])], |x| x[0].exp().sum_axes([2], false).tanh().sum_axes([0], false));
    t.case("fuse/cat_then_reduce", [f(&[3, 5]), f(&[4, 5])], |x| {
        Tensor::cat(&[&(&x[0] * 2.0), &x[1].exp()], 0).sum_axes([0], false)
    });
    t.case("fuse/cumsum_of_exp", [f(&[3, 17])], |x| x[0].exp().cumsum(1).ln());
    t.case("fuse/scalar_times", [f(&[]), f(&[5, 17])], |x| &x[0] * x[1].sum_axes([1], false) + &x[0]);
    t.case("fuse/six_axes", [f(&[2, 3, 1, 2, 1, 3]), f(&[1, 3, 2, 1, 2, 1])], |x| {
        (&x[0] * &x[1]).tanh().sum_axes([1, 4], false)
    });
    t.case("fuse/l2_penalty", [f(&[9, 5]), f(&[5])], |x| (x[0].square().sum() + x[1].square().sum()) * 0.01);
}

fn around_kernels(t: &mut Table) {
    t.case("fuse/matmul_residual", [f(&[9, 17]), f(&[17, 17])], |x| &x[0] + x[0].matmul(&x[1]).relu()).contraction();
    t.case("fuse/matmul_softmax", [f(&[9, 17]), f(&[17, 5])], |x| (x[0].matmul(&x[1]) * 0.25).softmax(1));
    t.case("fuse/matmul_sum", [f(&[9, 17]), f(&[17, 5])], |x| x[0].matmul(&x[1]).sum_axes([0], false)).contraction();
    t.case("fuse/matmul_two_outputs", [f(&[9, 17]), f(&[17, 5])], |x| {
        let y = x[0].matmul(&x[1]);
        [y.clone(), y.tanh(), y.sum_axes([1], false)]
    })
    .contraction();
    t.case("fuse/rms_then_matmul", [f(&[5, 17]), f(&[17]), f(&[17, 9])], |x| {
        let scale = (x[0].square().mean_axes([1], true) + 1e-6).rsqrt();
        (&x[0] * scale * &x[1]).matmul(&x[2])
    })
    .contraction();
}

fn models(t: &mut Table) {
    t.case("fuse/attention", vec![f(&[2, 3, 9, 4]); 3], |x| {
        (x[0].matmul(&x[1].transpose(2, 3)) * 0.5).softmax(3).matmul(&x[2])
    });
    let mlp = [f(&[17, 9]), f(&[16, 9]), f(&[16]), f(&[5, 16]), f(&[5]), i(&[17], 0, 5)];
    t.case("fuse/mlp_loss", mlp, |x| {
        let hidden = (x[0].matmul(&x[1].t()) + &x[2]).relu();
        let logits = hidden.matmul(&x[3].t()) + &x[4];
        -logits.log_softmax(1).gather(1, &x[5].unsqueeze(1)).mean()
    });
    t.case("fuse/gru_like", [f(&[5, 8]), f(&[8, 8]), f(&[8, 8])], |x| {
        let (z, n) = (x[0].matmul(&x[1]).sigmoid(), x[0].matmul(&x[2]).tanh());
        (1.0 - &z) * n + z * &x[0]
    });
}
