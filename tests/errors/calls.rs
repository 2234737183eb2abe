//! The wrong calls, by family: the variant of the error, the operation as the caller wrote it and what else the message
//! says, and the call.

use crate::{Rows, World};
use kiln::loss::{self, CrossEntropy};
use kiln::prelude::*;

#[rustfmt::skip]
pub(crate) fn elementwise(r: &mut Rows) {
    r.bad("Shape", &["add", "[2, 3] and [4]"], |w| w.t(&[2, 3]) + w.t(&[4]));
    r.bad("Shape", &["mul", "[2, 3] and [3, 2]"], |w| w.t(&[2, 3]) * w.t(&[3, 2]));
    r.bad("Shape", &["pow", "[2] and [3]"], |w| w.t(&[2]).pow(w.t(&[3])));
    r.bad("Shape", &["lt", "[2] and [3]"], |w| w.t(&[2]).lt(w.t(&[3])));
    r.bad("Shape", &["logical_and", "[2] and [3]"], |w| w.t(&[2]).logical_and(w.t(&[3])));
    r.bad("Shape", &["where", "[2]", "[3]"], |w| Tensor::where_(&w.t(&[2]).gt(0.0), w.t(&[3]), 0.0));
    r.bad("Shape", &["sub", "[0] and [2]"], |w| w.t(&[0]) - w.t(&[2]));
    r.bad("Shape", &["masked_fill", "[2]", "[3]"], |w| w.t(&[2]).masked_fill(&w.t(&[3]).gt(0.0), 0.0));
}

#[rustfmt::skip]
pub(crate) fn views(r: &mut Rows) {
    r.bad("Argument", &["reshape", "[4, 2]", "[2, 3]"], |w| w.t(&[2, 3]).reshape([4, 2]));
    r.bad("Shape", &["reshape", "[2, 3]"], |w| w.t(&[2, 3]).reshape([-1, 4]));
    r.bad("Argument", &["reshape", "[-1, -1]"], |w| w.t(&[2, 3]).reshape([-1, -1]));
    r.bad("Argument", &["reshape", "-2"], |w| w.t(&[2, 3]).reshape([-2, 3]));
    r.bad("Argument", &["reshape"], |w| w.t(&[2, 3]).reshape([1i64; 9]));
    r.bad("Argument", &["reshape"], |w| w.t(&[2, 3]).reshape([i64::MAX, i64::MAX]));
    r.bad("Argument", &["permute"], |w| w.t(&[2, 3]).permute([0, 0]));
    r.bad("Argument", &["permute"], |w| w.t(&[2, 3]).permute([0]));
    r.bad("Axis", &["permute", "axis 2", "[2, 3]"], |w| w.t(&[2, 3]).permute([0, 2]));
    r.bad("Axis", &["transpose", "axis -3", "[2, 3]"], |w| w.t(&[2, 3]).transpose(0, -3));
    r.bad("Shape", &["t", "[2, 3, 4]"], |w| w.t(&[2, 3, 4]).t());
    r.bad("Argument", &["expand", "[4, 3]", "[2, 3]"], |w| w.t(&[2, 3]).expand([4, 3]));
    r.bad("Argument", &["expand", "[3]", "[2, 3]"], |w| w.t(&[2, 3]).expand([3]));
    r.bad("Argument", &["expand", "-1"], |w| w.t(&[3]).expand([-1, 3]));
    r.bad("Axis", &["squeeze", "axis 2"], |w| w.t(&[2, 1]).squeeze(2));
    r.bad("Argument", &["unsqueeze", "4"], |w| w.t(&[2, 1]).unsqueeze(4));
    r.bad("Axis", &["flatten", "axis 3"], |w| w.t(&[2, 1]).flatten(0, 3));
    r.bad("Argument", &["flatten"], |w| w.t(&[2, 1]).flatten(1, 0));
    r.bad("Axis", &["slice", "axis 2"], |w| w.t(&[2, 3]).slice(2, 0, 1, 1));
    r.bad("Argument", &["slice", "step"], |w| w.t(&[2, 3]).slice(0, 0, 2, 0));
    r.bad("Argument", &["narrow"], |w| w.t(&[2, 3]).narrow(1, 2, 2));
    r.bad("Argument", &["narrow"], |w| w.t(&[2, 3]).narrow(1, 1, usize::MAX));
    r.bad("Argument", &["select", "3"], |w| w.t(&[2, 3]).select(1, 3));
    r.bad("Axis", &["select", "axis 2"], |w| w.t(&[2, 3]).select(2, 0));
    r.bad("Axis", &["flip", "axis 2"], |w| w.t(&[2, 3]).flip([2]));
    r.bad("Argument", &["pad"], |w| w.t(&[3]).pad(&[(1, 1), (1, 1)], PadMode::Constant(0.0)));
    r.bad("Argument", &["pad"], |w| w.t(&[3]).pad(&[(3, 0)], PadMode::Reflect));
    r.bad("Argument", &["pad"], |w| w.t(&[3]).pad(&[(-2, -2)], PadMode::Constant(0.0)));
    r.bad("Limit", &["pad"], |w| w.t(&[3]).pad(&[(i64::MAX, i64::MAX)], PadMode::Constant(0.0)));
    r.bad("Axis", &["roll", "axis 1"], |w| w.t(&[3]).roll(1, 1));
    r.bad("Shape", &["tril", "[3]"], |w| w.t(&[3]).tril(0));
    r.bad("Axis", &["diagonal", "axis 2"], |w| w.t(&[3, 3]).diagonal(0, 0, 2));
    r.bad("Argument", &["diagonal"], |w| w.t(&[3, 3]).diagonal(0, 1, 1));
    r.bad("Argument", &["unfold"], |w| w.t(&[3]).unfold(0, 4, 1));
    r.bad("Argument", &["unfold"], |w| w.t(&[3]).unfold(0, 2, 0));
    r.bad("Limit", &["expand"], |w| w.t(&[1, 1]).expand([1 << 16, 1 << 16]));
}

#[rustfmt::skip]
pub(crate) fn joins(r: &mut Rows) {
    r.bad("Shape", &["cat", "[2, 3]", "[2, 4]"], |w| Tensor::cat(&[&w.t(&[2, 3]), &w.t(&[2, 4])], 0));
    r.bad("Shape", &["cat", "[2, 3]", "[2]"], |w| Tensor::cat(&[&w.t(&[2, 3]), &w.t(&[2])], 0));
    r.bad("Shape", &["cat"], |w| Tensor::cat(&[&w.t(&[]), &w.t(&[])], 0));
    r.bad("Axis", &["cat", "axis 2"], |w| Tensor::cat(&[&w.t(&[2, 3]), &w.t(&[2, 3])], 2));
    r.bad("Argument", &["cat", "tensors"], |_| Tensor::cat::<Tensor>(&[], 0));
    r.bad("Shape", &["stack", "[2]", "[3]"], |w| Tensor::stack(&[&w.t(&[2]), &w.t(&[3])], 0));
    r.bad("Argument", &["stack", "2"], |w| Tensor::stack(&[&w.t(&[2]), &w.t(&[2])], 2));
    r.bad("Argument", &["split"], |w| w.t(&[3]).split(0, 0));
    r.bad("Axis", &["split", "axis 1"], |w| w.t(&[3]).split(1, 1));
    r.bad("Argument", &["chunk"], |w| w.t(&[3]).chunk(0, 0));
    r.bad("Argument", &["split", "[1, 1]"], |w| w.t(&[3]).split_sizes(&[1, 1], 0));
    r.bad("Argument", &["split"], |w| w.t(&[3]).split_sizes(&[usize::MAX, 4], 0));
    r.bad("Shape", &["chunk", "[3]", "pieces"], |w| w.t(&[3]).chunk_into::<4>(0).to_vec());
    r.bad("Argument", &["split", "[2, 2]"], |w| w.t(&[3]).split_into([2, 2], 0).to_vec());
    r.bad("Shape", &["unbind", "[3]", "pieces"], |w| w.t(&[3]).unbind_into::<2>(0).to_vec());
    r.bad("Axis", &["unbind", "axis 1"], |w| w.t(&[3]).unbind_into::<2>(1).to_vec());
    r.bad("Axis", &["slice", "axis 1"], |w| w.t(&[3]).range(1, 1..));
    r.bad("Shape", &["with_dims", "[3]"], |w| w.t(&[3]).with_dims(|[_, _]| unreachable!("it has one axis")));
    r.bad("Argument", &["reshape"], |w| w.t(&[3]).reshape_as(&w.t(&[2, 2])));
}

#[rustfmt::skip]
pub(crate) fn reductions(r: &mut Rows) {
    r.bad("Axis", &["sum", "axis 2", "[2, 3]"], |w| w.t(&[2, 3]).sum_axes([2], false));
    r.bad("Argument", &["sum"], |w| w.t(&[2, 3]).sum_axes([1, 1], false));
    r.bad("Argument", &["sum"], |w| w.t(&[2, 3]).sum_axes([1, -1], false));
    r.bad("Axis", &["mean", "axis 2"], |w| w.t(&[2, 3]).mean_axes([2], false));
    r.bad("DType", &["mean", "i32"], |w| w.i(&[2, 3]).mean());
    r.bad("Axis", &["var", "axis 2"], |w| w.t(&[2, 3]).var([2], 1, false));
    r.bad("DType", &["var", "i32"], |w| w.i(&[2, 3]).var([1], 1, false));
    r.bad("Axis", &["std", "axis 2"], |w| w.t(&[2, 3]).std([2], 1, false));
    r.bad("Axis", &["norm", "axis 2"], |w| w.t(&[2, 3]).norm(2.0, [2], false));
    r.bad("Axis", &["any", "axis 2"], |w| w.t(&[2, 3]).any([2], false));
    r.bad("Axis", &["all", "axis 2"], |w| w.t(&[2, 3]).all([2], false));
    r.bad("Axis", &["logsumexp", "axis -3"], |w| w.t(&[2, 3]).logsumexp([-3], false));
    r.bad("Shape", &["max", "[0]"], |w| w.t(&[0]).max());
    r.bad("Shape", &["amin", "[3, 0]"], |w| w.t(&[3, 0]).amin([1], false));
    r.bad("Shape", &["argmax", "[3, 0]"], |w| w.t(&[3, 0]).argmax(1, false));
    r.bad("Axis", &["argmin", "axis 2"], |w| w.t(&[2, 3]).argmin(2, false));
    r.bad("Axis", &["max", "axis 2"], |w| w.t(&[2, 3]).max_with_index(2, false));
    r.bad("Axis", &["cumsum", "axis 2"], |w| w.t(&[2, 3]).cumsum(2));
    r.bad("Axis", &["cumprod", "axis 2"], |w| w.t(&[2, 3]).cumprod(2));
    r.bad("Axis", &["sort", "axis 1"], |w| w.t(&[3]).sort(1, false));
    r.bad("Axis", &["argsort", "axis 1"], |w| w.t(&[3]).argsort(1, false));
    r.bad("Argument", &["topk", "4 of 3"], |w| w.t(&[3]).topk(4, 0, true));
    r.bad("Axis", &["topk", "axis 1"], |w| w.t(&[3]).topk(1, 1, true));
    r.bad("Axis", &["softmax", "axis 1"], |w| w.t(&[3]).softmax(1));
    r.bad("DType", &["log_softmax", "i32"], |w| w.i(&[3]).log_softmax(0));
}

#[rustfmt::skip]
pub(crate) fn products(r: &mut Rows) {
    r.bad("Shape", &["matmul", "[2, 3] and [4, 5]"], |w| w.t(&[2, 3]).matmul(&w.t(&[4, 5])));
    r.bad("Shape", &["matmul", "[3] and [4]"], |w| w.t(&[3]).matmul(&w.t(&[4])));
    r.bad("Shape", &["matmul", "[2, 3] and [4]"], |w| w.t(&[2, 3]).matmul(&w.t(&[4])));
    r.bad("Shape", &["matmul", "[]"], |w| w.t(&[]).matmul(&w.t(&[4])));
    r.bad("Shape", &["matmul", "[2, 3, 4] and [3, 4, 5]"], |w| w.t(&[2, 3, 4]).matmul(&w.t(&[3, 4, 5])));
    r.bad("Shape", &["dot", "[2, 2]"], |w| w.t(&[2, 2]).dot(&w.t(&[2])));
    r.bad("Argument", &["einsum", "ij,jk->ik"], |w| Tensor::einsum("ij,jk->ik", &[&w.t(&[2, 3]), &w.t(&[4, 5])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij,jk->ik", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ijk->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("i->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij->k", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij->ii", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("i7->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("...i...->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij->->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij.->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum", "tensors"], |_| Tensor::einsum("i->i", &[]));
}

#[rustfmt::skip]
pub(crate) fn indices(r: &mut Rows) {
    r.bad("DType", &["gather", "f32 and f32"], |w| w.t(&[2, 3]).gather(1, &w.t(&[2, 3])));
    r.bad("Axis", &["gather", "axis 2"], |w| w.t(&[2, 3]).gather(2, &w.i(&[2, 3])));
    r.bad("Shape", &["gather", "[2, 3] and [3, 3]"], |w| w.t(&[2, 3]).gather(1, &w.i(&[3, 3])));
    r.bad("Shape", &["gather", "[2, 3] and [3]"], |w| w.t(&[2, 3]).gather(1, &w.i(&[3])));
    r.bad("Shape", &["gather", "[2, 0]"], |w| w.t(&[2, 0]).gather(1, &w.i(&[2, 1])));
    r.bad("Shape", &["take_along", "[2, 3] and [3]"], |w| w.t(&[2, 3]).take_along(1, &w.i(&[3])));
    r.bad("Shape", &["take_along"], |w| w.t(&[2, 3]).take_along(1, &w.i(&[4, 3])));
    r.bad("DType", &["take_along", "f32"], |w| w.t(&[2, 3]).take_along(1, &w.t(&[2, 3])));
    r.bad("DType", &["index_select"], |w| w.t(&[2, 3]).index_select(0, &w.t(&[2])));
    r.bad("Shape", &["index_select", "[2, 2]"], |w| w.t(&[2, 3]).index_select(0, &w.i(&[2, 2])));
    r.bad("Axis", &["index_select", "axis 2"], |w| w.t(&[2, 3]).index_select(2, &w.i(&[2])));
    r.bad("DType", &["scatter_add"], |w| w.t(&[3]).scatter_add(0, &w.t(&[3]), &w.t(&[3])));
    r.bad("Shape", &["scatter_add", "[2, 3]", "[2, 9]"], |w| w.t(&[2, 3]).scatter_add(1, &w.i(&[2, 9]), &w.t(&[2, 8])));
    r.bad("Shape", &["index_add", "[3, 2]"], |w| w.t(&[3, 2]).index_add(0, &w.i(&[4]), &w.t(&[3, 2])));
    r.bad("Shape", &["embedding", "[3]"], |w| w.t(&[3]).embedding(&w.i(&[4])));
    r.bad("DType", &["embedding", "f32"], |w| w.t(&[3, 2]).embedding(&w.t(&[4])));
    r.bad("DType", &["one_hot", "f32"], |w| w.t(&[3]).one_hot(5));
    r.bad("Index", &["embedding", "row 1"], |w| w.t(&[3, 2]).embedding(&Tensor::new(&w.device, [2, 3, 0])));
    r.bad("Index", &["embedding", "row 0"], |w| w.t(&[3, 2]).embedding(&Tensor::new(&w.device, [-1, 0])));
    r.bad("Index", &["gather"], |w| w.t(&[3]).gather(0, &Tensor::new(&w.device, [0, 5])));
    r.bad("Index", &["index_select", "row 2"], |w| w.t(&[3, 2]).index_select(1, &Tensor::new(&w.device, [0, 1, 2])));
    r.bad("Index", &["scatter_add"], |w| w.t(&[3]).scatter_add(0, &Tensor::new(&w.device, [0, 3]), &w.t(&[2])));
    r.bad("Index", &["index_add"], |w| w.t(&[3]).index_add(0, &Tensor::new(&w.device, [0, 3]), &w.t(&[2])));
    r.bad("Index", &["cross_entropy", "row 1"], |w| loss::cross_entropy(&w.t(&[2, 3]), &Tensor::new(&w.device, [0, 3])));
}

#[rustfmt::skip]
pub(crate) fn arrangements(r: &mut Rows) {
    r.bad("Argument", &["arange", "step = -1"], |w| Tensor::arange(&w.device, 0, 5, -1));
    r.bad("Argument", &["eye", "extents"], |w| Tensor::eye(&w.device, [1, 2, 3]));
    r.bad("Argument", &["movedim"], |w| w.t(&[2, 3]).movedim([0, 0], [0, 1]));
    r.bad("Axis", &["movedim", "axis 2"], |w| w.t(&[2, 3]).movedim(2, 0));
    r.bad("Argument", &["unflatten", "[2, 2]"], |w| w.t(&[2, 3]).unflatten(1, [2, 2]));
    r.bad("Argument", &["repeat", "[2]"], |w| w.t(&[2, 3]).repeat([2]));
    r.bad("Argument", &["repeat", "-1"], |w| w.t(&[2]).repeat([-1]));
    r.bad("Limit", &["repeat"], |w| w.t(&[1 << 16]).repeat([1 << 16]));
    r.bad("Axis", &["repeat_interleave", "axis 1"], |w| w.t(&[2]).repeat_interleave(2, 1));
    r.bad("Argument", &["rot90"], |w| w.t(&[2, 3]).rot90(1, 0, 0));
    r.bad("Argument", &["diag_embed"], |w| w.t(&[2]).diag_embed(i64::MIN));
    r.bad("Shape", &["diag", "[1, 2, 3]"], |w| w.t(&[1, 2, 3]).diag(0));
    r.bad("Axis", &["unbind", "axis 1"], |w| w.t(&[2]).unbind(1));
    r.bad("Argument", &["tensor_split"], |w| w.t(&[2]).tensor_split(0, 0));
    r.bad("Argument", &["tensor_split"], |w| w.t(&[2]).tensor_split(usize::MAX, 0));
    r.bad("Argument", &["chunk"], |w| w.t(&[0]).chunk(usize::MAX, 0));
    r.bad("Argument", &["roll", "shifts"], |w| w.t(&[2, 3]).roll([1, 2], 0));
    r.bad("Shape", &["meshgrid", "[2, 3]"], |w| Tensor::meshgrid(&[&w.t(&[2, 3])]));
    r.bad("DType", &["bitwise_and", "f32"], |w| w.t(&[2]) & w.t(&[2]));
    r.bad("Argument", &["kthvalue", "4 of 3"], |w| w.t(&[3]).kthvalue(4, 0, false));
    r.bad("Shape", &["median", "[0]"], |w| w.t(&[0]).median(0, false));
    r.bad("Argument", &["quantile", "2"], |w| w.t(&[3]).quantile(2.0, 0, false));
    r.bad("DType", &["quantile", "i32"], |w| w.i(&[3]).quantile(0.5, 0, false));
    r.bad("Argument", &["histc"], |w| w.t(&[3]).histc(0, 0.0, 1.0));
    r.bad("Index", &["bincount"], |w| Tensor::new(&w.device, [0, 3]).bincount(None, 3));
    r.bad("DType", &["logcumsumexp", "i32"], |w| w.i(&[3]).logcumsumexp(0));
    r.bad("Axis", &["cummax", "axis 1"], |w| w.t(&[3]).cummax(1));
    r.bad("Axis", &["diff", "axis 1"], |w| w.t(&[3]).diff(1, 1));
}

#[rustfmt::skip]
pub(crate) fn places(r: &mut Rows) {
    r.bad("Shape", &["scatter", "[2, 3]", "[3, 3]"], |w| w.t(&[2, 3]).scatter(1, &w.i(&[3, 3]), &w.t(&[3, 3])));
    r.bad("DType", &["scatter"], |w| w.t(&[3]).scatter(0, &w.t(&[3]), &w.t(&[3])));
    r.bad("Index", &["scatter"], |w| w.t(&[3]).scatter(0, &Tensor::new(&w.device, [3]), &w.t(&[1])));
    r.bad("Shape", &["index_copy"], |w| w.t(&[3]).index_copy(0, &w.i(&[2]), &w.t(&[3])));
    r.bad("Axis", &["index_fill", "axis 1"], |w| w.t(&[3]).index_fill(1, &w.i(&[2]), 1.0));
    r.bad("Shape", &["index", "[3]"], |w| w.t(&[3]).index(&[&w.i(&[2]), &w.i(&[2])]));
    r.bad("Shape", &["index"], |w| w.t(&[3, 3]).index(&[&w.i(&[2]), &w.i(&[3])]));
    r.bad("Index", &["index"], |w| w.t(&[3, 3]).index(&[&w.i(&[1]), &Tensor::new(&w.device, [3])]));
    r.bad("Index", &["take"], |w| w.t(&[3]).take(&Tensor::new(&w.device, [-4])));
    r.bad("Argument", &["index_put"], |w| w.t(&[3]).index_put(&[&w.i(&[2])], &w.t(&[3]), true));
    r.bad("Argument", &["select_scatter"], |w| w.t(&[3]).select_scatter(&w.t(&[]), 0, 3));
    r.bad("Shape", &["slice_scatter"], |w| w.t(&[3]).slice_scatter(&w.t(&[3]), 0, 0, 2, 1));
    r.bad("Index", &["masked_scatter"], |w| w.t(&[3]).masked_scatter(&w.t(&[3]).gt(0.0), &w.t(&[2])));
    r.bad("Shape", &["masked_select", "[2]", "[3]"], |w| w.t(&[2]).masked_select(&w.t(&[3]).gt(0.0)));
    r.bad("Shape", &["searchsorted"], |w| w.t(&[2, 3]).searchsorted(&w.t(&[3, 1]), false));
    r.bad("Shape", &["mm", "[2, 3] and [3]"], |w| w.t(&[2, 3]).mm(&w.t(&[3])));
    r.bad("Shape", &["bmm"], |w| w.t(&[2, 3, 4]).bmm(&w.t(&[1, 4, 5])));
    r.bad("Shape", &["outer"], |w| w.t(&[2, 3]).outer(&w.t(&[3])));
    r.bad("Shape", &["addmm"], |w| w.t(&[3, 3]).addmm(&w.t(&[2, 3]), &w.t(&[3, 3]), 1.0, 1.0));
    r.bad("Shape", &["kron"], |w| w.t(&[1, 1, 1, 1, 1]).kron(&w.t(&[2])));
    r.bad("Shape", &["cross"], |w| w.t(&[2]).cross(&w.t(&[2]), 0));
    r.bad("Shape", &["tensordot"], |w| w.t(&[2, 3]).tensordot(&w.t(&[2, 3]), 1));
    r.bad("Shape", &["trace"], |w| w.t(&[2]).trace());
    r.bad("Shape", &["matrix_power"], |w| w.t(&[2, 3]).matrix_power(2));
    r.bad("Shape", &["cdist"], |w| w.t(&[2, 3]).cdist(&w.t(&[2, 4]), 2.0));
}

/// An attention whose projections were taken out.
fn unprojected(w: &World) -> nn::MultiheadAttention {
    let mut layer = nn::MultiheadAttention::new(4, 2, &mut Init::new(&w.device, 0));
    layer.in_proj_weight = None;
    layer
}

/// A stride, and the rest as it is by default.
fn stride(n: usize) -> Conv {
    Conv { stride: vec![n], ..Conv::default() }
}

#[rustfmt::skip]
pub(crate) fn layers(r: &mut Rows) {
    r.bad("Shape", &["conv2d", "[1, 3, 8, 8]", "[4, 2, 3, 3]"], |w| w.t(&[1, 3, 8, 8]).conv2d(&w.t(&[4, 2, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv2d", "[3, 8]"], |w| w.t(&[3, 8]).conv2d(&w.t(&[4, 3, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv1d", "[4, 3, 3, 3]"], |w| w.t(&[1, 3, 8]).conv1d(&w.t(&[4, 3, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv2d", "[1, 1, 2, 2]"], |w| w.t(&[1, 1, 2, 2]).conv2d(&w.t(&[1, 1, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv2d", "[5]"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), Some(&w.t(&[5])), &Conv::default()));
    r.bad("Argument", &["conv2d", "stride"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), None, &stride(0)));
    r.bad("Argument", &["conv2d"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), None, &Conv { padding: vec![1, 1, 1], ..stride(1) }));
    r.bad("Argument", &["conv2d", "groups"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), None, &Conv { groups: 0, ..stride(1) }));
    r.bad("Shape", &["conv2d"], |w| w.t(&[1, 4, 8, 8]).conv2d(&w.t(&[3, 2, 3, 3]), None, &Conv { groups: 2, ..stride(1) }));
    r.bad("DType", &["conv1d", "i32"], |w| w.i(&[1, 1, 8]).conv1d(&w.t(&[1, 1, 3]), None, &Conv::default()));
    r.bad("Argument", &["max_pool2d"], |w| w.t(&[1, 1, 8, 8]).max_pool2d(&Pool::new(0)));
    r.bad("Argument", &["max_pool2d", "padding"], |w| w.t(&[1, 1, 8, 8]).max_pool2d(&Pool { padding: vec![2], ..Pool::new(3) }));
    r.bad("Argument", &["avg_pool2d", "padding"], |w| w.t(&[1, 1, 8, 8]).avg_pool2d(&Pool { padding: vec![usize::MAX], ..Pool::new(3) }));
    r.bad("Shape", &["avg_pool2d", "[1, 1, 2, 2]"], |w| w.t(&[1, 1, 2, 2]).avg_pool2d(&Pool::new(3)));
    r.bad("Shape", &["max_pool1d", "[8]"], |w| w.t(&[8]).max_pool1d(&Pool::new(2)));
    r.bad("DType", &["max_pool1d", "i32"], |w| w.i(&[1, 1, 8]).max_pool1d(&Pool::new(2)));
    r.bad("Argument", &["layer_norm", "axes"], |w| w.t(&[3]).layer_norm(2, None, None, 1e-5));
    r.bad("Shape", &["layer_norm", "[2, 3]", "[2]"], |w| w.t(&[2, 3]).layer_norm(1, Some(&w.t(&[2])), None, 1e-5));
    r.bad("Shape", &["rms_norm", "[2, 3]", "[2]"], |w| w.t(&[2, 3]).rms_norm(1, Some(&w.t(&[2])), 1e-5));
    r.bad("DType", &["layer_norm", "i32"], |w| w.i(&[2, 3]).layer_norm(1, None, None, 1e-5));
    r.bad("Argument", &["group_norm", "2 of [1, 3, 4]"], |w| w.t(&[1, 3, 4]).group_norm(2, None, None, 1e-5));
    r.bad("Shape", &["group_norm", "[2]"], |w| w.t(&[1, 3, 4]).group_norm(3, Some(&w.t(&[2])), None, 1e-5));
    r.bad("Shape", &["batch_norm", "[3]"], |w| w.t(&[3]).batch_norm(&w.t(&[3]), &w.t(&[3]), None, None, 1e-5));
    r.bad("Shape", &["batch_norm", "[4]"], |w| w.t(&[2, 3]).batch_norm(&w.t(&[4]), &w.t(&[4]), None, None, 1e-5));
    r.bad("Argument", &["multihead_attention", "in_proj_weight"], |w| unprojected(w).forward(&w.t(&[3, 2, 4])));
    r.bad("Shape", &["mse_loss", "[2]", "[3]"], |w| loss::mse_loss(&w.t(&[2]), &w.t(&[3])));
    r.bad("Shape", &["l1_loss", "[2, 3]", "[2]"], |w| loss::l1_loss(&w.t(&[2, 3]), &w.t(&[2])));
    r.bad("Shape", &["avg_pool3d", "[1, 1, 1, 2, 2]"], |w| w.t(&[1, 1, 1, 2, 2]).avg_pool3d(&Pool { padding: vec![1], ..Pool::new(2) }));
    r.bad("Shape", &["lp_pool3d", "[1, 2, 2, 1]"], |w| w.t(&[1, 2, 2, 1]).lp_pool3d(2.0, &Pool { ceil: true, ..Pool::new(2) }));
    r.bad("Argument", &["fractional_max_pool3d", "output"], |w| w.t(&[1, 1, 3, 3, 3]).fractional_max_pool3d(&[2], &[2], &w.t(&[1, 1, 3])).0);
    r.bad("Shape", &["cross_entropy", "[2, 3]", "[3]"], |w| loss::cross_entropy(&w.t(&[2, 3]), &w.i(&[3])));
    r.bad("Shape", &["cross_entropy", "[2, 3]", "[2, 4]"], |w| loss::cross_entropy(&w.t(&[2, 3]), &w.t(&[2, 4])));
    r.bad("Shape", &["cross_entropy", "[4]"], |w| CrossEntropy { weight: Some(w.t(&[4])), ..Default::default() }.loss(&w.t(&[2, 3]), &w.i(&[2])));
    r.bad("Shape", &["binary_cross_entropy_with_logits"], |w| loss::binary_cross_entropy_with_logits(&w.t(&[2]), &w.t(&[3])));
}

#[rustfmt::skip]
pub(crate) fn making(r: &mut Rows) {
    r.bad("Argument", &["from_vec", "[2, 2]"], |w| Tensor::from_vec(&w.device, vec![1.0f32; 3], &[2, 2]));
    r.bad("Argument", &["from_slice", "number 1"], |w| Tensor::from_slice(&w.device, &[0i64, 1 << 40], &[2]));
    r.bad("Argument", &["zeros", "-1"], |w| Tensor::zeros(&w.device, [2, -1]));
    r.bad("Argument", &["ones"], |w| Tensor::ones(&w.device, [1i64; 9]));
    r.bad("Limit", &["zeros"], |w| Tensor::zeros(&w.device, [1 << 16, 1 << 16]));
    r.bad("Argument", &["full"], |w| Tensor::full(&w.device, [i64::MAX, 2], 0.0));
    r.bad("Argument", &["arange", "step"], |w| Tensor::arange(&w.device, 0, 5, 0));
    r.bad("Argument", &["arange"], |w| Tensor::arange(&w.device, 0.0, f64::INFINITY, 1.0));
    r.bad("Shape", &["item", "[2]"], |w| w.t(&[2]).item());
    r.bad("Shape", &["dims", "[2, 3]"], |w| w.t(&[2, 3]).dims::<3>());
    r.bad("Gradient", &["backward"], |w| w.t(&[2]).backward());
    r.bad("Gradient", &["grad"], |w| { let x = w.t(&[2]); (&x * 2.0).grad(&[&x]) });
    r.bad("Gradient", &["grad"], |w| { let x = w.t(&[2]); x.cast(DType::I32).sum().grad(&[&x]) });
}
