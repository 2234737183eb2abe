"""NaN, infinities, -0, integers at their ends, rank 0, empty tensors: the calls of reference_picked.py that are about values."""
import torch
import torch.nn.functional as F

from drawn_calls import INF, NAN, OPS  # noqa: F401
from drawn_ops import BINARY, UNARY
from picked_kinks import f, i

MOST, LEAST = 2**31 - 1, -2**31
SPECIAL = f(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 3.5, -1.5, -2.5, INF, -INF, NAN, 1e10, -1e10, 100.0, -100.0, 0.99999994, 3.0e38, 8388609.0, 1e-3)
WHOLE = i(0, 1, -1, 2, 7, -7, 3, -3, MOST, LEAST, 65536)
TRUE = torch.tensor([True, False])
NOGRAD = {"nograd": True}
# i32 as PyTorch's int32 has it
NARROW = {"int32": True, "nograd": True}


def all(pick):
    unary(pick), binary(pick), integers(pick), casts(pick), empty(pick), order(pick), search(pick), ranges(pick), scalars(pick), refusals(pick)


def unary(pick):
    for name, fun in UNARY.items():
        x = SPECIAL if name not in ("sin", "cos", "tan") else f(0.0, -0.0, INF, -INF, NAN, 1.0, 100.0)
        # PyTorch's float32 gelu of infinity is NaN, and its hardswish overflows
        x = x[:11] if name == "gelu" else x[x < 1e38] if name == "hardswish" else x
        pick(name, fun, x, flags=NOGRAD)
        pick(name, fun, f(0.25)), pick(name, fun, torch.zeros(0, 3))
        if name in ("exp", "sqrt", "sigmoid", "sin", "erf", "recip", "isnan", "isfinite", "logical_not", "sign"):
            pick(name, fun, TRUE, flags=NOGRAD)
    for name in ("neg", "abs", "sign", "square", "floor", "ceil", "round", "trunc", "relu", "logical_not", "isnan", "isinf", "isfinite"):
        pick(name, UNARY[name], WHOLE, flags=NARROW)
    for name in ("exp", "sqrt", "sigmoid", "sin", "erf", "recip", "tanh"):
        pick(name, UNARY[name], i(0, 1, -1, 2, 3), flags=NOGRAD)
    for name in ("signbit", "erfinv", "lgamma", "digamma", "sinc", "deg2rad"):
        x = {"erfinv": f(0.0, 1.0, -1.0, 2.0, NAN, 0.5), "lgamma": f(1.0, 2.0, 0.5, INF, NAN, 100.0, 0.0, -1.0, -0.5),
             "digamma": f(1.0, 2.0, 0.5, INF, NAN, 0.0, -0.5), "sinc": f(0.0, -0.0, 0.5, 1.0, NAN)}.get(name, SPECIAL)
        pick(name, getattr(torch, name), x, flags=NOGRAD)
    for p in (-1.0, 0.125):
        pick("logit", lambda x: torch.logit(x, p if p > 0 else None), f(0.0, 1.0, 0.5, -1.0, 2.0, NAN), p=p, flags=NOGRAD)
    pick("nan_to_num", lambda x: x.nan_to_num(), SPECIAL, full=0, flags=NOGRAD)
    for low, high in ((-1.0, 1.0), (NAN, 1.0), (1.0, -1.0), (-INF, INF)):
        pick("clamp", lambda x: x.clamp(low, high), SPECIAL, low=low, high=high, flags=NOGRAD)


def binary(pick):
    a = f([[0.0], [-0.0], [1.0], [-1.0], [2.5], [-2.5], [7.0], [-7.0], [INF], [-INF], [NAN]])
    for name, fun in {**BINARY, "pow": torch.pow, "atan2": torch.atan2, "fmod": torch.fmod, "remainder": torch.remainder,
                      "floor_divide": torch.floor_divide, "copysign": torch.copysign, "fmax": torch.fmax, "fmin": torch.fmin,
                      "hypot": torch.hypot, "xlogy": torch.xlogy, "logaddexp": torch.logaddexp, "heaviside": torch.heaviside}.items():
        pick(name, fun, a, a.T.contiguous(), flags=NOGRAD)
        pick(name, fun, f(2.0), f(3.0), flags=NOGRAD), pick(name, fun, torch.zeros(0, 1), torch.ones(1, 3), flags=NOGRAD)
        pick(name, fun, torch.zeros(2, 3), torch.zeros(2, 4), flags=NOGRAD)
    for p in (0.0, 1.0, 2.0, 3.0, 0.5, -0.5, -1.0, -2.0, INF, -INF, NAN):
        pick("powf", lambda x: x.pow(p), a, p=p, flags=NOGRAD)
        pick("number", lambda x: x.pow(p), a, f="pow", n=p, swap=0, flags=NOGRAD)
    for n in (2.0, -2.0, 0.0, INF, -INF, NAN):
        for name in ("remainder", "fmod", "floor_divide", "div"):
            pick("number", lambda x: getattr(torch, name)(x, n), a, f=name, n=n, swap=0, flags=NOGRAD)
    pick("isclose", lambda x, y: torch.isclose(x, y, 1e-5, 1e-8, False), a, a.T.contiguous(), same=0)
    pick("isclose", lambda x, y: torch.isclose(x, y, 1e-5, 1e-8, True), a, a.T.contiguous(), same=1)


def integers(pick):
    a, b = WHOLE.reshape(-1, 1), i(1, -1, 2, -2, 3, -3, 7, MOST, LEAST)
    for name in ("add", "sub", "mul", "maximum", "minimum", "eq", "lt", "ge", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "div"):
        pick(name, getattr(torch, name), a, b, flags=NARROW)
    for name in ("fmod", "remainder", "floor_divide"):
        pick(name, getattr(torch, name), i([[0], [1], [-1], [7], [-7], [MOST], [-MOST]]), b, flags=NARROW)
        for n in (3, -3, 1, -1):
            pick("number", lambda x: getattr(torch, name)(x, n), i(0, 1, -1, 7, -7, MOST), f=name, n=n, swap=0, flags=NARROW)
    # the quotient does not fit 32 bits: as PyTorch's int64, cut to 32
    pick("remainder", torch.remainder, i([LEAST]), i([-1])), pick("fmod", torch.fmod, i([LEAST]), i([-1]))
    pick("pow", torch.pow, i([[0], [1], [-1], [2], [-2], [3], [10]]), i(0, 1, 2, 3, 31, 40), flags=NARROW)
    pick("number", lambda x: x.pow(2), WHOLE, f="pow", n=2, swap=0, flags=NARROW)
    pick("number", lambda x: x.pow(0), WHOLE, f="pow", n=0, swap=0, flags=NARROW)
    pick("number", lambda x: x.pow(-1), i(1, 2), f="pow", n=-1, swap=0)
    pick("bitwise_not", torch.bitwise_not, WHOLE, flags=NARROW), pick("bitwise_not", torch.bitwise_not, TRUE)
    t = torch.tensor([[True], [False]])
    for name in ("add", "mul", "maximum", "minimum", "eq", "lt", "le", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_xor", "div"):
        pick(name, getattr(torch, name), t, TRUE, flags=NOGRAD), pick(name, getattr(torch, name), t, i(0, 2), flags=NOGRAD)
        if not name.startswith("bitwise"):
            pick(name, getattr(torch, name), t, f(0.5, -0.0), flags=NOGRAD), pick(name, getattr(torch, name), i([[3], [0]]), f(0.5, -0.0), flags=NOGRAD)
    for x in (TRUE, i(1, -2), f(1.5, -2.0)):
        for name in ("add", "mul", "div", "eq", "lt"):
            for n in (2, 0.5, -1):
                pick("number", lambda x: getattr(torch, name)(x, n), x, f=name, n=n, swap=0, flags=NOGRAD)
    pick("where", torch.where, TRUE, i(1, 2), f(0.5, 0.5), flags=NOGRAD), pick("where", torch.where, TRUE, TRUE, i(4, 5))
    pick("cat", lambda *x: torch.cat(x), TRUE, i([3]), axis=0), pick("cat", lambda *x: torch.cat(x), i([3]), f([0.5]), axis=0)


def casts(pick):
    x = f(0.0, -0.0, 0.9, -0.9, 1.5, -1.5, NAN, INF, -INF, 2147483520.0, -2147483648.0)
    pick("cast", lambda x: x.to(torch.bool), x, to="bool")
    pick("cast", lambda x: x.to(torch.int32), x[:6], to="i32"), pick("cast", lambda x: x.to(torch.int32), x[9:], to="i32")
    pick("cast", lambda x: x.to(torch.bool), WHOLE, to="bool"), pick("cast", lambda x: x.to(torch.float32), WHOLE, to="f32")
    pick("cast", lambda x: x.to(torch.int32), TRUE, to="i32"), pick("cast", lambda x: x.to(torch.float32), TRUE, to="f32")


def empty(pick):
    for x in (torch.zeros(0), torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(2, 0, 3)):
        for name in ("sum", "mean", "prod", "amax", "amin", "any", "all", "logsumexp", "norm", "var", "std", "nansum", "nanmean"):
            def run(x, dims, keep):
                if name == "norm":
                    return torch.linalg.vector_norm(x, 2.0, dims, keep)
                if name == "prod":
                    return x.prod(dims[0], keep) if len(dims) == 1 else x.prod()
                if name in ("var", "std"):
                    return getattr(x, name)(dims, correction=1, keepdim=keep)
                return getattr(x, name)(dims, keep)
            more = {"norm": {"p": 2.0}, "var": {"n": 1}, "std": {"n": 1}}.get(name, {})
            for axis in range(x.ndim):
                pick(name, lambda x: run(x, (axis,), True), x, axes=[axis], keep=1, flags=NOGRAD, **more)
            pick(name, lambda x: run(x, tuple(range(x.ndim)), False), x, axes="", keep=0, flags=NOGRAD, **more)
        for name in ("argmax", "argmin", "max_with_index", "min_with_index", "median", "mode", "sort", "cumsum", "cumprod", "cummax", "softmax",
                     "log_softmax", "flip", "unique", "nonzero", "logcumsumexp"):
            method = name.replace("_with_index", "")
            for axis in range(x.ndim) if name not in ("unique", "nonzero") else (0,):
                def run(x):
                    if name == "sort":
                        return x.sort(dim=axis, stable=True)
                    if name == "unique":
                        return torch.unique(x, return_inverse=True, return_counts=True)
                    return getattr(x, method)() if name == "nonzero" else getattr(x, method)(axis)
                args = {"axes": [axis]} if name == "flip" else {"axis": axis, "keep": 0, "down": 0}
                pick(name, run, x, flags=NOGRAD, **args)
        pick("max", torch.max, x, flags=NOGRAD), pick("min", torch.min, x, flags=NOGRAD), pick("prod_all", torch.prod, x, flags=NOGRAD)
    for x in (i(3, 0, -2), TRUE, i([]), torch.zeros(0, dtype=torch.bool), f(0.5, NAN)):
        for name in ("sum", "prod", "any", "all", "amax", "amin", "mean"):
            pick(name, lambda x: getattr(x, name)(0), x, axes=[0], keep=0, flags=NOGRAD)
        for name in ("cumsum", "cumprod", "argmax", "argmin"):
            if x.dtype != torch.bool or name[0] == "c":
                pick(name, lambda x: getattr(x, name)(0), x, axis=0, keep=0, flags=NOGRAD)
        pick("count_nonzero", lambda x: x.count_nonzero(), x, axes="")
    pick("matmul", torch.matmul, torch.zeros(2, 0), torch.zeros(0, 3)), pick("matmul", torch.matmul, torch.zeros(0, 2), torch.zeros(2, 3))
    pick("cat", lambda *x: torch.cat(x), torch.zeros(0), i([3, 4]), axis=0, flags=NOGRAD), pick("cat", lambda *x: torch.cat(x), TRUE, i([]), axis=0)
    pick("cat", lambda *x: torch.cat(x), i([]), torch.zeros(0), axis=0, flags=NOGRAD)
    pick("dot", torch.dot, torch.zeros(0), torch.zeros(0))


def order(pick):
    x = f([[2.0, NAN, 1.0, 2.0, -INF, NAN, INF], [1.0, 1.0, 1.0, 0.0, -0.0, 0.0, -1.0]])
    for t in (x, i([[2, 1, 2, 0, -5], [3, 3, 3, 3, 3]])):
        for down in (False, True):
            pick("sort", lambda x: x.sort(dim=-1, descending=down, stable=True), t, axis=-1, down=down, flags=NOGRAD)
            pick("argsort", lambda x: x.argsort(dim=0, descending=down, stable=True), t, axis=0, down=down)
        for name in ("argmax", "argmin", "cummax", "cummin", "median", "mode", "max_with_index", "min_with_index"):
            if name == "mode" and t.is_floating_point():
                continue
            pick(name, lambda x: getattr(x, name.replace("_with_index", ""))(-1), t, axis=-1, keep=0, flags=NOGRAD)
        for k in (1, 3):
            pick("kthvalue", lambda x: x.kthvalue(k, -1)[0], t, axis=-1, keep=0, k=k, values=1, flags=NOGRAD)
        for largest in (True, False):
            pick("topk", lambda x: x.topk(3, -1, largest)[0], t, axis=-1, k=3, largest=largest, values=1, flags=NOGRAD)
    pick("mode", lambda x: x.mode(-1), f([[0.0, -0.0, 1.0], [2.0, 1.0, 1.0], [3.0, 2.0, 1.0]]), axis=-1, keep=0, flags=NOGRAD)
    pick("unique", lambda x: torch.unique(x, return_inverse=True, return_counts=True), f(2.0, 1.0, 2.0, 0.0, -1.0, INF), flags=NOGRAD)
    pick("unique", lambda x: torch.unique(x, return_inverse=True, return_counts=True), TRUE)
    pick("nonzero", torch.nonzero, f([[0.0, -0.0, NAN], [1.0, INF, 0.0]])), pick("nonzero", torch.nonzero, f(3.0)), pick("nonzero", torch.nonzero, f(0.0))
    pick("isin", torch.isin, f(1.0, NAN, 2.0), f(2.0, NAN)), pick("isin", torch.isin, f(1.0, 2.0), torch.zeros(0))
    for axis in ("cumsum", "cumprod", "logcumsumexp"):
        pick(axis, lambda x: getattr(x, axis)(0), f(1.0, INF, -INF, NAN, 1.0), axis=0, flags=NOGRAD)
    for q in (0.0, 0.3, 1.0):
        pick("quantile", lambda x: x.quantile(q, -1), x, p=q, axis=-1, keep=0, flags=NOGRAD)
    pick("any", lambda x: x.any(-1), x, axes=[-1], keep=0), pick("all", lambda x: x.all(-1), x, axes=[-1], keep=0)


def search(pick):
    s = f(1.0, 2.0, 2.0, 3.0)
    for right in (False, True):
        for v in (f(0.0, 1.0, 2.0, 2.5, 3.0, 4.0, INF, -INF), f(2.0), f(NAN, 1.0)):
            pick("searchsorted", lambda s, v: torch.searchsorted(s, v, right=right), s, v, right=right)
            pick("bucketize", lambda s, v: torch.bucketize(v, s, right=right), s, v, right=right)
        pick("searchsorted", lambda s, v: torch.searchsorted(s, v, right=right), f([[1.0, 3.0], [2.0, 2.0]]), f([[2.0, 1.0, 9.0], [2.0, 1.0, 3.0]]), right=right)
        pick("searchsorted", lambda s, v: torch.searchsorted(s, v, right=right), i(1, 2, 2, 5), i([[2, 3], [0, 9]]), right=right)
        pick("searchsorted", lambda s, v: torch.searchsorted(s, v, right=right), torch.zeros(0), f(1.0, 2.0), right=right)
    x = f(0.0, 1.0, 0.5, 0.25, 0.75, 1.0, -0.1, 1.1)
    pick("histc", lambda x: x.histc(4, 0.0, 0.0), x[:6], n=4, low=0.0, high=0.0, flags=NOGRAD)
    for bins, low, high in ((4, 0.0, 1.0), (1, 0.0, 1.0), (3, -1.0, 2.0), (4, 0.25, 0.75), (4, 1.0, 0.0), (0, 0.0, 1.0)):
        pick("histc", lambda x: x.histc(bins, low, high), x, n=bins, low=low, high=high, flags=NOGRAD)
    pick("histc", lambda x: x.histc(4, 0.0, 0.0), f(2.0, 2.0), n=4, low=0.0, high=0.0, flags=NOGRAD)
    pick("histc", lambda x: x.histc(4, 0.0, 1.0), f(NAN, 0.5, INF), n=4, low=0.0, high=1.0, flags=NOGRAD)
    pick("one_hot", lambda x: F.one_hot(x, 3), i(0, 2, 1), n=3), pick("one_hot", lambda x: F.one_hot(x, 3), i(1), n=3)
    pick("one_hot", lambda x: F.one_hot(x, 2), i(0, 2), n=2), pick("one_hot", lambda x: F.one_hot(x, 2), i(0, -1), n=2)


def ranges(pick):
    for a, b, s in ((0, 5, 2), (5, 0, -2), (0, 0, 1), (0, 5, 7), (3, 4, 1), (0, 5, 0), (0, 5, -1), (-3, 3, 1)):
        pick("arange", lambda: torch.arange(a, b, s), start=a, end=b, step=s)
    for a, b, s in ((0.0, 1.0, 0.1), (0.0, 1.0, 0.3), (1.0, 0.0, -0.25), (0.0, 0.0, 0.5), (0.0, 1e-3, 1.0), (-0.5, 0.5, 0.2), (0.0, 2.0, 0.7), (1.0, 0.0, 0.5)):
        pick("arange", lambda: torch.arange(a, b, s, dtype=torch.float32), start=a, end=b, step=s)
    for a, b, n in ((0.0, 1.0, 0), (0.0, 1.0, 1), (3.0, -3.0, 7), (0.0, 0.1, 11), (1e10, -1e10, 5), (2.0, 2.0, 3), (-1.0, 1.0, 2)):
        pick("linspace", lambda: torch.linspace(a, b, n), start=a, end=b, n=n)
    for a, b, n, p in ((0.0, 3.0, 4, 2.0), (-2.0, 2.0, 1, 10.0), (0.0, 1.0, 0, 10.0), (1.0, -1.0, 3, 0.5)):
        pick("logspace", lambda: torch.logspace(a, b, n, p), start=a, end=b, n=n, p=p)
    for n in (1, -1, 2.5, INF, NAN, -0.0):
        pick("full", lambda: torch.full([2], n), list=[2], n=n)


def scalars(pick):
    x = f(-1.5)
    for name in ("sum", "mean", "prod", "amax", "amin", "any", "all", "logsumexp", "nansum", "nanmean"):
        for axes in ("", [0], [-1], [1]):
            pick(name, lambda x: getattr(x, name)(axes[0] if axes else (0 if name in ("prod", "amax", "amin") else ())) if name != "any" and name != "all" or axes else getattr(x, name)(), x, axes=axes, keep=0)
    for name in ("softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "argmax", "argmin", "median", "mode", "sort", "max_with_index"):
        for axis in (0, -1, 1, -2):
            pick(name, lambda x: getattr(x, name.replace("_with_index", ""))(axis), x, axis=axis, keep=0, down=0)
    for k in (1, 0, 2):
        pick("topk", lambda x: x.topk(k, 0), x, axis=0, k=k, largest=1) if k else None
    pick("unsqueeze", lambda x: x.unsqueeze(0), x, axis=0), pick("unsqueeze", lambda x: x.unsqueeze(-1), x, axis=-1), pick("unsqueeze", lambda x: x.unsqueeze(1), x, axis=1)
    pick("squeeze", lambda x: x.squeeze(0), x, axis=0), pick("flatten", lambda x: x.flatten(0, -1), x, axis=0, other=-1), pick("reshape", lambda x: x.reshape(1, -1), x, list=[1, -1])
    pick("transpose", lambda x: x.transpose(0, -1), x, axis=0, other=-1), pick("permute", lambda x: x.permute(()), x, list="")
    pick("expand", lambda x: x.expand(2, 3), x, list=[2, 3]), pick("repeat", lambda x: x.repeat(2), x, list=[2]), pick("tile", lambda x: x.tile((2, 2)), x, list=[2, 2])
    pick("stack", lambda *x: torch.stack(x), x, f(2.0), axis=0), pick("cat", lambda *x: torch.cat(x), x, f(2.0), axis=0)
    pick("matmul", torch.matmul, x, f(2.0)), pick("matmul", torch.matmul, f([1.0]), f([2.0])), pick("matmul", torch.matmul, x, f([[2.0]]))
    pick("select", lambda x: x.select(0, 0), x, axis=0, start=0), pick("narrow", lambda x: x.narrow(0, 0, 1), x, axis=0, start=0, len=1)
    pick("gather", lambda x, j: x.gather(0, j), x, i(0), axis=0), pick("index_select", lambda x, j: x.index_select(0, j), x, i([0]), axis=0)
    pick("take", torch.take, x, i(0)), pick("outer", torch.outer, f([1.0, 2.0]), f([3.0]))
    pick("var", lambda x: x.var(correction=0), x, axes="", n=0, keep=0), pick("trace", torch.trace, f([[1.0, 2.0]])), pick("tril", lambda x: x.tril(), x, k=0)


def refusals(pick):
    x = torch.zeros(2, 3)
    for axis in (2, -3):
        for name in ("softmax", "cumsum", "argmax", "sort", "squeeze", "median", "max_with_index", "mode", "cummax"):
            pick(name, lambda x: getattr(x, name.replace("_with_index", ""))(axis), x, axis=axis, keep=0, down=0, flags=NOGRAD)
        pick("sum", lambda x: x.sum(axis), x, axes=[axis], keep=0), pick("transpose", lambda x: x.transpose(0, axis), x, axis=0, other=axis)
        pick("flip", lambda x: x.flip(axis), x, axes=[axis]), pick("select", lambda x: x.select(axis, 0), x, axis=axis, start=0)
        pick("stack", lambda *x: torch.stack(x, axis), x, x, axis=axis), pick("cat", lambda *x: torch.cat(x, axis), x, x, axis=axis)
    pick("unsqueeze", lambda x: x.unsqueeze(3), x, axis=3), pick("unsqueeze", lambda x: x.unsqueeze(-4), x, axis=-4), pick("unsqueeze", lambda x: x.unsqueeze(-3), x, axis=-3)
    pick("reshape", lambda x: x.reshape(4, -1), x, list=[4, -1]), pick("reshape", lambda x: x.reshape(-1, -1), x, list=[-1, -1]), pick("reshape", lambda x: x.reshape(7), x, list=[7])
    pick("reshape", lambda x: x.reshape(-1, 0), torch.zeros(0), list=[-1, 0]), pick("reshape", lambda x: x.reshape(0), torch.zeros(0, 2), list=[0])
    pick("permute", lambda x: x.permute(0, 0), x, list=[0, 0]), pick("permute", lambda x: x.permute(0), x, list=[0]), pick("permute", lambda x: x.permute(-1, 0), x, list=[-1, 0])
    pick("expand", lambda x: x.expand(3, 3), x, list=[3, 3]), pick("expand", lambda x: x.expand(3), x, list=[3]), pick("expand", lambda x: x.expand(-1, 2, 3), x, list=[-1, 2, 3])
    pick("select", lambda x: x.select(1, 3), x, axis=1, start=3), pick("select", lambda x: x.select(1, -3), x, axis=1, start=-3), pick("select", lambda x: x.select(1, -4), x, axis=1, start=-4)
    pick("narrow", lambda x: x.narrow(1, 2, 2), x, axis=1, start=2, len=2), pick("narrow", lambda x: x.narrow(1, 3, 0), x, axis=1, start=3, len=0)
    pick("narrow", lambda x: x.narrow(1, 4, 0), x, axis=1, start=4, len=0)
    pick("matmul", torch.matmul, x, x), pick("mm", torch.mm, torch.zeros(2), x), pick("bmm", torch.bmm, x, x), pick("dot", torch.dot, torch.zeros(2), torch.zeros(3))
    pick("cat", lambda *x: torch.cat(x, 0), x, torch.zeros(2, 4), axis=0), pick("stack", lambda *x: torch.stack(x, 0), x, torch.zeros(3, 2), axis=0)
    pick("split", lambda x: x.split(0, 0), x, n=0, axis=0), pick("chunk", lambda x: x.chunk(0, 0), x, n=0, axis=0), pick("chunk", lambda x: x.chunk(5, 1), x, n=5, axis=1)
    pick("split_sizes", lambda x: x.split([1, 1], 1), x, list=[1, 1], axis=1), pick("topk", lambda x: x.topk(4, 1), x, k=4, axis=1, largest=1)
    pick("repeat", lambda x: x.repeat(2), x, list=[2]), pick("repeat", lambda x: x.repeat(-1, 1), x, list=[-1, 1]), pick("unfold", lambda x: x.unfold(1, 4, 1), x, axis=1, size=4, step=1)
    pick("unfold", lambda x: x.unfold(1, 2, 0), x, axis=1, size=2, step=0), pick("diagonal", lambda x: x.diagonal(0, 1, 1), x, k=0, axis=1, other=1)
    pick("gather", lambda x, j: x.gather(1, j), x, i([[3], [0]]), axis=1), pick("gather", lambda x, j: x.gather(1, j), x, i([0]), axis=1), pick("gather", lambda x, j: x.gather(1, j), x, f([[0.0], [0.0]]), axis=1)
    pick("embedding", lambda x, j: F.embedding(j, x), x, i(0, 2)), pick("embedding", lambda x, j: F.embedding(j, x), x, i(-1)), pick("index_select", lambda x, j: x.index_select(0, j), x, i([-1]), axis=0)
    pick("einsum", lambda x: torch.einsum("ijk->i", x), x, formula="ijk->i"), pick("einsum", lambda x: torch.einsum("ij->k", x), x, formula="ij->k"), pick("einsum", lambda x: torch.einsum("ij->ii", x), x, formula="ij->ii")
    for name in ("mean", "var", "std", "norm"):
        more = {"var": {"n": 1}, "std": {"n": 1}, "norm": {"p": 2.0}}.get(name, {})
        pick(name, lambda x: getattr(torch, name)(x) if name != "norm" else torch.linalg.vector_norm(x), i(1, 2), axes="", keep=0, **more)
    pick("softmax", lambda x: x.softmax(0), i(1, 2), axis=0), pick("bitwise_and", torch.bitwise_and, f(1.0), f(2.0)), pick("bitwise_not", torch.bitwise_not, f(1.0))
