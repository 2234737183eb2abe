//! What the operations of the draw are called here.

use super::call::{Call, Text};
use kiln::ScatterReduce;
use kiln::prelude::*;

/// `$x.$method()` for each name, as a match from names to calls.
macro_rules! by_name {
    ($name:expr, $x:ident, [$($method:ident)*], $otherwise:expr) => {
        match $name {
            $(stringify!($method) => vec![$x.$method()],)*
            _ => $otherwise,
        }
    };
}

fn pair((a, b): (Tensor, Tensor)) -> Vec<Tensor> {
    vec![a, b]
}

/// The results of `call`.
pub fn run(device: &Device, call: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let name = call.name();
    match x {
        [] => create(device, name, call),
        [x] => one(name, call, x),
        _ => several(name, call, x),
    }
}

fn one(name: &str, c: &Call, x: &Tensor) -> Vec<Tensor> {
    by_name!(name, x, [neg abs sign exp exp2 expm1 ln log2 log10 log1p sqrt rsqrt square recip floor ceil round trunc frac
        asin acos atan sinh cosh tanh asinh acosh atanh erf erfc sigmoid softplus relu gelu isnan isinf isfinite
        logsigmoid silu mish gelu_tanh relu6 selu hardswish hardsigmoid softsign tanhshrink logical_not sin cos tan
        erfinv lgamma digamma trigamma signbit sinc deg2rad rad2deg bitwise_not squeeze_all trace corrcoef max min],
        elementwise(name, c, x))
}

fn elementwise(name: &str, c: &Call, x: &Tensor) -> Vec<Tensor> {
    let out = match name {
        "unary_int" => return one(c.text("f"), c, x),
        "leaky_relu" => x.leaky_relu(c.float("p")),
        "elu" => x.elu(c.float("p")),
        "celu" => x.celu(c.float("p")),
        "hardshrink" => x.hardshrink(c.float("p")),
        "softshrink" => x.softshrink(c.float("p")),
        "clamp" if c.whole("low") => x.clamp(c.int("low"), c.int("high")),
        "clamp" => x.clamp(c.float("low"), c.float("high")),
        "clamp_min" if c.whole("low") => x.clamp_min(c.int("low")),
        "clamp_min" => x.clamp_min(c.float("low")),
        "clamp_max" if c.whole("low") => x.clamp_max(c.int("high")),
        "clamp_max" => x.clamp_max(c.float("high")),
        "hardtanh" => x.hardtanh(c.float("low"), c.float("high")),
        "cast" => x.cast(match c.text("to") {
            "f32" => DType::F32,
            "i32" => DType::I32,
            _ => DType::Bool,
        }),
        "number" if c.whole("n") => number(c, x, c.int("n") as i32),
        "number" => number(c, x, c.float("n")),
        "powf" => x.powf(c.float("p")),
        "logit" => x.logit(Some(c.float("p")).filter(|&eps| eps > 0.0)),
        "nan_to_num" if c.flag("full") => x.nan_to_num(0.5, Some(7.0), Some(-8.0)),
        "nan_to_num" => x.nan_to_num(0.0, None, None),
        "threshold" => x.threshold(c.float("p"), c.float("v")),
        "cov" => x.cov(1),
        "where_safe" => {
            let safe = Tensor::where_(&x.gt(0.0), x, 1.0);
            let y = match c.text("f") {
                "ln" => safe.ln(),
                "sqrt" => safe.sqrt(),
                _ => safe.recip(),
            };
            Tensor::where_(&x.gt(0.0), y, 0.0)
        }
        "like" => match c.text("f") {
            "zeros_like" => x.zeros_like(),
            "ones_like" => x.ones_like(),
            _ => x.full_like(2),
        },
        "reuse" => {
            (x * x.sum_axes(0, true) + x.t().t().exp() - x.amax(1, true)) * x.softmax(-1)
                + x.narrow(1, 0, 1) * x.flip(0)
        }
        _ => return reduction(name, c, x),
    };
    vec![out]
}

/// `x` and a number, or the number and `x`.
fn number<N>(c: &Call, x: &Tensor, n: N) -> Tensor
where
    N: kiln::Number
        + for<'a> std::ops::Add<&'a Tensor, Output = Tensor>
        + for<'a> std::ops::Sub<&'a Tensor, Output = Tensor>
        + for<'a> std::ops::Mul<&'a Tensor, Output = Tensor>
        + for<'a> std::ops::Div<&'a Tensor, Output = Tensor>,
{
    match (c.text("f"), c.flag("swap")) {
        ("add", false) => x + n,
        ("sub", false) => x - n,
        ("mul", false) => x * n,
        ("div", false) => x / n,
        ("add", true) => n + x,
        ("sub", true) => n - x,
        ("mul", true) => n * x,
        ("div", true) => n / x,
        ("lt", _) => x.lt(n),
        ("ge", _) => x.ge(n),
        ("eq", _) => x.eq(n),
        ("pow", _) => x.pow(n),
        ("remainder", _) => x.remainder(n),
        ("fmod", _) => x.fmod(n),
        ("floor_divide", _) => x.floor_divide(n),
        other => panic!("number {other:?}"),
    }
}

fn reduction(name: &str, c: &Call, x: &Tensor) -> Vec<Tensor> {
    let (axes, keep) = (c.list("axes"), c.flag("keep"));
    let axis = || c.int("axis");
    let out = match name {
        "sum" => x.sum_axes(axes, keep),
        "mean" => x.mean_axes(axes, keep),
        "prod" => x.prod_axes(axes, keep),
        "prod_all" => x.prod(),
        "aminmax" => return pair(x.aminmax(axes, keep)),
        "amax" => x.amax(axes, keep),
        "amin" => x.amin(axes, keep),
        "any" => x.any(axes, keep),
        "all" => x.all(axes, keep),
        "logsumexp" => x.logsumexp(axes, keep),
        "var" => x.var(axes, c.size("n"), keep),
        "std" => x.std(axes, c.size("n"), keep),
        "norm" => x.norm(c.float("p"), axes, keep),
        "argmax" => x.argmax(axis(), keep),
        "argmin" => x.argmin(axis(), keep),
        "cumsum" => x.cumsum(axis()),
        "cumprod" => x.cumprod(axis()),
        "softmax" => x.softmax(axis()),
        "log_softmax" => x.log_softmax(axis()),
        "argsort" => x.argsort(axis(), c.flag("down")),
        "max_with_index" => return pair(x.max_with_index(axis(), keep)),
        "min_with_index" => return pair(x.min_with_index(axis(), keep)),
        "nansum" => x.nansum(axes, keep),
        "nanmean" => x.nanmean(axes, keep),
        "count_nonzero" => x.count_nonzero(axes),
        "quantile" => x.quantile(f64::from(c.float("p")), axis(), keep),
        "diff" => x.diff(c.size("n"), axis()),
        "trapezoid" => x.trapezoid(0.5, axis()),
        "histc" => x.histc(c.size("n"), c.float("low"), c.float("high")),
        "bincount" => x.bincount(None, c.size("n")),
        "logcumsumexp" => x.logcumsumexp(axis()),
        "cummax" => return pair(x.cummax(axis())),
        "cummin" => return pair(x.cummin(axis())),
        "kthvalue" if c.flag("values") => x.kthvalue(c.size("k"), axis(), keep).0,
        "topk" if c.flag("values") => x.topk(c.size("k"), axis(), c.flag("largest")).0,
        "kthvalue" => return pair(x.kthvalue(c.size("k"), axis(), keep)),
        "median" => return pair(x.median(axis(), keep)),
        "mode" => return pair(x.mode(axis(), keep)),
        "sort" => return pair(x.sort(axis(), c.flag("down"))),
        "topk" => return pair(x.topk(c.size("k"), axis(), c.flag("largest"))),
        _ => return view(name, c, x),
    };
    vec![out]
}

fn view(name: &str, c: &Call, x: &Tensor) -> Vec<Tensor> {
    let axis = || c.int("axis");
    let out = match name {
        "reshape" => x.reshape(c.list("list")),
        "permute" => x.permute(c.list("list")),
        "expand" => x.expand(c.list("list")),
        "transpose" => x.transpose(axis(), c.int("other")),
        "squeeze" => x.squeeze(axis()),
        "unsqueeze" => x.unsqueeze(axis()),
        "flatten" => x.flatten(axis(), c.int("other")),
        "slice" => x.slice(axis(), c.int("start"), c.int("end"), c.int("step")),
        "narrow" => x.narrow(axis(), c.int("start"), c.size("len")),
        "select" => x.select(axis(), c.int("start")),
        "flip" => x.flip(c.list("axes")),
        "tril" => x.tril(c.int("k")),
        "triu" => x.triu(c.int("k")),
        "diagonal" => x.diagonal(c.int("k"), axis(), c.int("other")),
        "unfold" => x.unfold(axis(), c.size("size"), c.size("step")),
        "roll" => x.roll(c.list("list"), c.list("axes")),
        "chain" => chain(c, x),
        "diag" => x.diag(c.int("n") - 2),
        "diag_embed" => x.diag_embed(c.int("n") - 2),
        "unbind" => return x.unbind(axis()),
        "tensor_split" => return x.tensor_split(c.size("n"), axis()),
        "repeat_interleave" => x.repeat_interleave(c.size("n"), axis()),
        "rot90" => x.rot90(c.int("n") + 2, axis(), c.int("other")),
        "movedim" => x.movedim(c.list("list"), c.list("axes")),
        "repeat" => x.repeat(c.list("list")),
        "tile" => x.tile(c.list("list")),
        "unflatten" => x.unflatten(-1, c.list("list")),
        "hstack" => Tensor::hstack(&[x]),
        "vstack" => Tensor::vstack(&[x]),
        "meshgrid" => return Tensor::meshgrid(&[x]),
        "matrix_power" => x.matrix_power(c.size("n") as u32),
        "nonzero" => x.nonzero().unwrap(),
        "unique" => {
            let (values, inverse, counts) = x.unique().unwrap();
            return vec![values, inverse, counts];
        }
        "split" => return x.split(c.size("n"), axis()),
        "chunk" => return x.chunk(c.size("n"), axis()),
        "split_sizes" => return x.split_sizes(&c.sizes("list"), axis()),
        "cat" => Tensor::cat(&[x], axis()),
        "stack" => Tensor::stack(&[x], axis()),
        "einsum" => Tensor::einsum(&c.text("formula").replace('|', ","), &[x]),
        "one_hot" => x.one_hot(c.size("n")),
        "pad" => {
            let sides: Vec<(i64, i64)> = c.list("list").chunks(2).map(|s| (s[0], s[1])).collect();
            let mode = match c.text("mode") {
                "constant" => PadMode::Constant(c.float("n")),
                "reflect" => PadMode::Reflect,
                "circular" => PadMode::Circular,
                _ => PadMode::Replicate,
            };
            x.pad(&sides, mode)
        }
        other => panic!("operation {other}"),
    };
    vec![out]
}

/// Views of views.
fn chain(c: &Call, x: &Tensor) -> Tensor {
    c.text("steps").split(':').fold(x.clone(), |x, step| {
        let (name, n) = step.split_once('.').unwrap();
        let n: Vec<i64> = n.split('.').map(|v| v.parse().unwrap()).collect();
        match name {
            "flip" => x.flip([n[0]]),
            "transpose" => x.transpose(n[0], n[1]),
            "slice" => x.slice(n[0], n[1], n[2], n[3]),
            "roll" => x.roll(n[0], n[1]),
            "pad" => x.pad(&[(n[0], n[1])], PadMode::Constant(0.0)),
            "fold" => Tensor::cat(&[&x.sum_axes(n[0], true), &x], n[0]),
            _ => {
                let mut wide: Vec<i64> = x.shape().unwrap().iter().map(|&d| d as i64).collect();
                wide.insert(n[0] as usize, 2);
                x.unsqueeze(n[0]).expand(wide).flatten(n[0], n[0] + 1)
            }
        }
    })
}

fn several(name: &str, c: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let (a, b) = (&x[0], &x[1]);
    let axis = || c.int("axis");
    let all: Vec<&Tensor> = x.iter().collect();
    let how = || match c.text("how") {
        "sum" => ScatterReduce::Sum,
        "prod" => ScatterReduce::Prod,
        "mean" => ScatterReduce::Mean,
        "amax" => ScatterReduce::Amax,
        _ => ScatterReduce::Amin,
    };
    let out = match name {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "maximum" => a.maximum(b),
        "minimum" => a.minimum(b),
        "eq" => a.eq(b),
        "ne" => a.ne(b),
        "lt" => a.lt(b),
        "le" => a.le(b),
        "gt" => a.gt(b),
        "ge" => a.ge(b),
        "logical_and" => a.logical_and(b),
        "logical_or" => a.logical_or(b),
        "logical_xor" => a.logical_xor(b),
        "pow" => a.pow(b),
        "atan2" => a.atan2(b),
        "fmod" => a.fmod(b),
        "remainder" => a % b,
        "floor_divide" => a.floor_divide(b),
        "where" => Tensor::where_(a, b, &x[2]),
        "masked_fill" if c.whole("n") => a.masked_fill(b, c.int("n")),
        "masked_fill" => a.masked_fill(b, c.float("n")),
        "cat" => Tensor::cat(&all, axis()),
        "stack" => Tensor::stack(&all, axis()),
        "hstack" => Tensor::hstack(&all),
        "vstack" => Tensor::vstack(&all),
        "meshgrid" => return Tensor::meshgrid(&all),
        "matmul" => a.matmul(b),
        "dot" => a.dot(b),
        "einsum" => Tensor::einsum(&c.text("formula").replace('|', ","), &all),
        "gather" => a.gather(axis(), b),
        "take_along" => a.take_along(axis(), b),
        "index_select" => a.index_select(axis(), b),
        "embedding" => a.embedding(b),
        "scatter_add" => a.scatter_add(axis(), b, &x[2]),
        "index_add" => a.index_add(axis(), b, &x[2]),
        "scatter_reduce" => a.scatter_reduce(axis(), b, &x[2], how(), c.flag("self")),
        "index_reduce" => a.index_reduce(axis(), b, &x[2], how(), c.flag("self")),
        _ => more(name, c, x),
    };
    vec![out]
}

/// Of several tensors, too.
fn more(name: &str, c: &Call, x: &[Tensor]) -> Tensor {
    let (a, b) = (&x[0], &x[1]);
    let axis = || c.int("axis");
    let rest: Vec<&Tensor> = x.iter().skip(if name == "index_put" { 2 } else { 1 }).collect();
    match name {
        "hypot" => a.hypot(b),
        "copysign" => a.copysign(b),
        "xlogy" => a.xlogy(b),
        "logaddexp" => a.logaddexp(b),
        "logaddexp2" => a.logaddexp2(b),
        "fmax" => a.fmax(b),
        "fmin" => a.fmin(b),
        "heaviside" => a.heaviside(b),
        "lerp" if x.len() == 3 => a.lerp(b, &x[2]),
        "lerp" => a.lerp(b, c.float("n")),
        "addcmul" => a.addcmul(b, &x[2], c.float("n")),
        "addcdiv" => a.addcdiv(b, &x[2], c.float("n")),
        "isclose" => a.isclose(b, 1e-5, 1e-8, c.flag("same")),
        "allclose" => a.allclose(b, 1e-5, 1e-8, c.flag("same")),
        "isin" => a.isin(b),
        "bitwise_and" => a & b,
        "bitwise_or" => a | b,
        "bitwise_xor" => a ^ b,
        "clamp_tensor" => a.clamp(b, &x[2]),
        "bincount" => a.bincount(Some(b), c.size("n")),
        "scatter" => a.scatter(axis(), b, &x[2]),
        "scatter_value" => a.scatter_value(axis(), b, 2.5),
        "index_copy" => a.index_copy(axis(), b, &x[2]),
        "index_fill" => a.index_fill(axis(), b, 2.5),
        "select_scatter" => a.select_scatter(b, axis(), c.int("n")),
        "slice_scatter" => a.slice_scatter(b, axis(), c.int("start"), c.int("end"), c.int("step")),
        "take" => a.take(b),
        "put" => a.put(&x[2], b, c.flag("add")),
        "index" => a.index(&rest),
        "index_put" => a.index_put(&rest, b, c.flag("add")),
        "masked_scatter" => a.masked_scatter(b, &x[2]),
        "masked_select" => a.masked_select(b).unwrap(),
        "searchsorted" => a.searchsorted(b, c.flag("right")),
        "bucketize" => b.bucketize(a, c.flag("right")),
        "mm" => a.mm(b),
        "mv" => a.mv(b),
        "bmm" => a.bmm(b),
        "outer" => a.outer(b),
        "addmm" => a.addmm(b, &x[2], c.float("beta"), c.float("alpha")),
        "baddbmm" => a.baddbmm(b, &x[2], c.float("beta"), c.float("alpha")),
        "addmv" => a.addmv(b, &x[2], c.float("beta"), c.float("alpha")),
        "kron" => a.kron(b),
        "cross" => a.cross(b, axis()),
        "tensordot" => a.tensordot(b, c.size("n")),
        "cdist" => a.cdist(b, c.float("p")),
        other => panic!("operation {other}"),
    }
}

fn create(device: &Device, name: &str, c: &Call) -> Vec<Tensor> {
    let out = match name {
        "arange" if c.whole("start") => {
            Tensor::arange(device, c.int("start") as i32, c.int("end") as i32, c.int("step") as i32)
        }
        "arange" => Tensor::arange(device, c.float("start"), c.float("end"), c.float("step")),
        "logspace" => Tensor::logspace(device, c.float("start"), c.float("end"), c.size("n"), c.float("p")),
        "tril_indices" => Tensor::tril_indices(device, c.size("n"), c.size("m"), c.int("k")),
        "triu_indices" => Tensor::triu_indices(device, c.size("n"), c.size("m"), c.int("k")),
        "linspace" => Tensor::linspace(device, c.float("start"), c.float("end"), c.size("n")),
        "full" if c.whole("n") => Tensor::full(device, c.list("list"), c.int("n")),
        "full" => Tensor::full(device, c.list("list"), c.float("n")),
        "eye" => Tensor::eye(device, c.list("list")),
        other => panic!("operation {other}"),
    };
    vec![out]
}
