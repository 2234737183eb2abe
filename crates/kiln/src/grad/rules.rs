//! What each operation hands on: the gradients of its inputs from that of its result. The formulas stand beside the
//! operations, in `ops`.

use super::walk::{Parts, gradients_of};
use crate::Tensor;
use crate::error::Result;
use crate::node::Op;
use crate::ops::attention::{self, Gradient};
use crate::ops::{Lit, conv, index, join, matmul, norm, pool, recurrence, reduce, scan, view};
use smallvec::smallvec;

/// The gradient of each input from that of the result.
pub(super) fn vjp(y: &Tensor, inputs: &[Tensor], dy: &Tensor) -> Result<Parts> {
    let both = |(a, b): (Tensor, Tensor)| smallvec![Some(a), Some(b)];
    let x = &inputs[0];
    Ok(match &y.0.op {
        Op::Unary(row) => smallvec![Some((row.vjp)(dy, x, y))],
        Op::Binary(row) => match row.vjp {
            Some(vjp) => both(vjp(dy, x, &inputs[1], y)),
            None => smallvec![None, None],
        },
        Op::Where => smallvec![None, Some(Tensor::where_(x, dy, Lit(0.0))), Some(Tensor::where_(x, Lit(0.0), dy))],
        Op::Cast => smallvec![x.dtype().is_float().then(|| dy.clone())],
        Op::Concat(axis) => join::cat_vjp(*axis, dy, inputs).into(),
        Op::Gather(axis) => smallvec![Some(index::gather_vjp(*axis, dy, x, &inputs[1])), None],
        Op::View(op) => smallvec![Some(view::vjp(op, dy, x))],
        Op::Reduce(kind, mask) => smallvec![reduce::vjp(*kind, *mask, dy, x, y)],
        Op::Matmul => both(matmul::vjp(dy, x, &inputs[1])),
        Op::Softmax { log } => smallvec![Some(norm::softmax_vjp(*log, dy, y))],
        Op::Norm { center } => smallvec![Some(norm::norm_vjp(*center, dy, y)), None],
        Op::NormGrad { center } => {
            through_formula(inputs, dy, |i| norm::norm_grad_formula(*center, &i[0], &i[1], &i[2]))?
        }
        Op::Attention(how) => attention::vjp(*how, dy, inputs, y).into(),
        Op::AttentionQuery(how) => through_formula(inputs, dy, |i| attention::formula(*how, i, Gradient::Query))?,
        Op::AttentionKeys(how) => through_formula(inputs, dy, |i| attention::formula(*how, i, Gradient::Key))?,
        Op::Conv(spec) => both(conv::conv_vjp(spec, dy, x, &inputs[1])),
        Op::ConvInput(spec) => both(conv::input_vjp(spec, dy, x, &inputs[1])),
        Op::ConvWeight(spec) => both(conv::weight_vjp(spec, dy, x, &inputs[1])),
        Op::MaxPool(window) => smallvec![Some(pool::max_vjp(window, dy, x, y))],
        Op::MaxPoolGrad(window) => smallvec![None, Some(pool::max_grad_vjp(window, dy, x))],
        Op::AvgPool(window) => smallvec![Some(pool::avg_vjp(window, dy, x))],
        Op::AvgPoolGrad(window) => smallvec![Some(pool::avg_grad_vjp(window, dy, x))],
        Op::Recurrence(what) => recurrence::vjp(*what, dy, inputs, y).into(),
        Op::RecurrenceGrad(what) => {
            gradients_of(&recurrence::formula(*what, inputs, partial_gradients)?[0], dy, inputs, true)?
        }
        Op::Scan { product } => smallvec![Some(scan::scan_vjp(*product, dy, x, y)?)],
        Op::Sort { .. } => smallvec![Some(scan::sort_vjp(dy, y))],
        Op::SegmentSum => smallvec![None, None, Some(index::segment_vjp(dy, x, &inputs[1]))],
        Op::Custom(custom) => custom.vjp(dy, inputs, y).into(),
        _ => smallvec![None; inputs.len()],
    })
}

/// The gradients of the inputs of the kernel that made `first` from that of its second result `y`. `value` is `first`, or
/// what it is computed again as.
pub(super) fn second_vjp(y: &Tensor, first: &Tensor, value: &Tensor, dy: &Tensor) -> Result<Parts> {
    let inputs = first.inputs();
    Ok(match &first.0.op {
        _ if inputs.is_empty() => Parts::new(),
        Op::Norm { .. } => smallvec![Some(norm::deviation_vjp(dy, value, y))],
        Op::AttentionKeys(how) => through_formula(&inputs, dy, |i| attention::formula(*how, i, Gradient::Values))?,
        Op::RecurrenceGrad(what) => {
            let [_, start] = recurrence::formula(*what, &inputs, partial_gradients)?;
            gradients_of(&start, dy, &inputs, true)?
        }
        _ => Parts::new(),
    })
}

/// The gradients of `y` with respect to `wanted`, those of which count as given.
fn partial_gradients(y: &Tensor, dy: &Tensor, wanted: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    Ok(gradients_of(y, dy, wanted, true)?.into_vec())
}

/// The gradient of a function of one tensor by way of its formula in plain operations.
pub(crate) fn of_formula(x: &Tensor, dy: &Tensor, formula: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
    let found = through_formula(std::slice::from_ref(x), dy, |inputs| formula(&inputs[0]))?;
    Ok(found.into_iter().next().flatten().unwrap_or_else(|| x.zeros_like()))
}

/// The gradient of a kernel by way of its formula in plain operations.
fn through_formula(inputs: &[Tensor], dy: &Tensor, formula: impl Fn(&[Tensor]) -> Tensor) -> Result<Parts> {
    gradients_of(&formula(inputs), dy, inputs, true)
}
