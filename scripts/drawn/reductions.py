"""Reductions, scans, sorts and statistics."""
import numpy as np
import torch

from .calls import INF, NAN, R, axes_of, axis_and_shape, axis_of, bools, every, extent, ints, numbers, numel, op, shape


def reduction(name, f, types="fib", mode=("normal", "ties", "holes")):
    @op(name, weight=4)
    def draw(c):
        a = shape(0, 5)
        t = R.choice("fff" + types)
        c.add(numbers(a, R.choice(mode)) if t == "f" else ints(a, -2, 4) if t == "i" else bools(a))
        axes, keep = c.arg("axes", axes_of(a)), c.arg("keep", R.random() < 0.5)
        # with NaN and infinities these gradients differ among PyTorch's own ways to say them
        c.flags = {"nograd": name in ("prod", "amax", "amin", "logsumexp") and any(not np.isfinite(t).all() for t in c.inputs)}
        if name == "prod":
            def product(x):
                if len(set(d % max(len(a), 1) for d in axes)) < len(axes):
                    raise ValueError
                dims = sorted((d % len(a) for d in axes), reverse=True) if axes else range(len(a) - 1, -1, -1)
                for d in dims:
                    x = x.prod(d, keepdim=True)
                return (x if keep else x.squeeze(tuple(dims))) if len(a) else x.prod()
            return product
        return lambda x: f(x, every(axes, a), keep)


reduction("sum", lambda x, d, k: x.sum(d, k))
reduction("mean", lambda x, d, k: x.mean(d, k), types="fffi")
reduction("prod", None)
reduction("amax", lambda x, d, k: x.amax(d, k))
reduction("amin", lambda x, d, k: x.amin(d, k))
reduction("any", lambda x, d, k: x.any(d, k) if d else x.any())
reduction("all", lambda x, d, k: x.all(d, k) if d else x.all())
reduction("logsumexp", lambda x, d, k: x.logsumexp(d, k), types="f", mode=("normal", "ties", "infinite"))


@op("var", "std", weight=4)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["normal", "ties"])))
    axes, keep, n = c.arg("axes", axes_of(a)), c.arg("keep", R.random() < 0.5), c.arg("n", R.choice([0, 1, 1, 2]))
    # PyTorch's gradient of a variance over fewer elements than the correction is of neither sign
    c.flags = {"nograd": n == 2}
    return lambda x: getattr(x, c.op)(every(axes, a), correction=n, keepdim=keep)


@op("norm", weight=8)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["normal", "ties"])))
    p = c.arg("p", R.choice([0.0, 1.0, 2.0, 3.0, INF, -INF, 0.5, -1.0, 2.5]))
    axes, keep = c.arg("axes", axes_of(a)), c.arg("keep", R.random() < 0.5)
    return lambda x: torch.linalg.vector_norm(x, p, every(axes, a), keep)


@op("argmax", "argmin", weight=2)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["ties", "holes"])) if R.random() < 0.7 else ints(a))
    axis, keep = c.arg("axis", axis_of(a)), c.arg("keep", R.random() < 0.5)
    return lambda x: getattr(x, c.op)(axis, keep)


@op("max_with_index", "min_with_index", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["ties", "holes", "normal"])) if R.random() < 0.8 else ints(a))
    axis, keep = c.arg("axis", axis_of(a)), c.arg("keep", R.random() < 0.5)
    return lambda x: getattr(x, c.op[:3])(axis, keep)


@op("cumsum", "cumprod", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["ties", "normal"])) if R.random() < 0.7 else R.choice([ints(a, -3, 4), bools(a)]))
    axis = c.arg("axis", axis_of(a))
    return lambda x: getattr(x, c.op)(axis)


@op("softmax", "log_softmax", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["normal", "ties", "infinite", "special"]), c))
    axis = c.arg("axis", axis_of(a))
    return lambda x: getattr(x, c.op)(axis)


@op("sort", "argsort", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a, R.choice(["ties", "holes", "normal"])) if R.random() < 0.7 else R.choice([ints(a), bools(a)]))
    axis, down = c.arg("axis", axis_of(a)), c.arg("down", R.random() < 0.5)
    if c.op == "argsort":
        return lambda x: x.argsort(dim=axis, descending=down, stable=True)
    return lambda x: x.sort(dim=axis, descending=down, stable=True)


@op("topk", weight=3)
def _(c):
    a = shape(0, 3)
    c.add(numbers(a, "apart"))
    axis, largest = c.arg("axis", axis_of(a)), c.arg("largest", R.random() < 0.5)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    k = c.arg("k", R.randint(0, n) if R.random() < 0.95 else n + 1)
    return lambda x: x.topk(k, axis, largest)


reduction("nansum", lambda x, d, k: x.nansum(d, k), types="f")
reduction("nanmean", lambda x, d, k: x.nanmean(d, k), types="f")


@op("count_nonzero")
def _(c):
    a = shape()
    c.add(R.choice([numbers(a, "ties"), ints(a), bools(a)]))
    axes = c.arg("axes", axes_of(a))
    return lambda x: x.count_nonzero(every(axes, a)) if a else x.count_nonzero()


@op("kthvalue", "median", "mode", weight=3)
def _(c):
    a = [R.randint(1, 6) for _ in range(R.randint(0, 3))]
    axis, keep = c.arg("axis", axis_of(a)), c.arg("keep", R.random() < 0.5)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    k = c.arg("k", R.randint(1, n) if R.random() < 0.95 else n + 1)
    if c.op == "mode":
        c.add(numbers(a, "ties") if R.random() < 0.7 else ints(a))
        return lambda x: x.mode(axis, keep)
    x = numbers(a, "apart")
    if R.random() < 0.3 and c.op == "median":
        x.view(-1)[R.randrange(x.numel())] = NAN
        c.flags = {"nograd": True}
    c.add(x)
    return (lambda x: x.kthvalue(k, axis, keep)) if c.op == "kthvalue" else lambda x: x.median(axis, keep)


@op("quantile", weight=2)
def _(c):
    a = [R.randint(1, 6) for _ in range(R.randint(0, 3))]
    axis, keep = c.arg("axis", axis_of(a)), c.arg("keep", R.random() < 0.5)
    q = c.arg("p", R.choice([0.0, 1.0, 0.5, 0.25, 0.1, 0.9]))
    c.add(numbers(a, "apart"))
    return lambda x: x.quantile(q, axis, keep)


@op("diff", "trapezoid")
def _(c):
    a, axis = axis_and_shape(c, 1)
    n = c.arg("n", R.randint(0, 3))
    c.add(numbers(a) if R.random() < 0.7 or c.op == "trapezoid" else R.choice([ints(a), bools(a)]))
    if c.op == "diff":
        return lambda x: x.diff(n, axis)
    return lambda x: torch.trapezoid(x, dx=0.5, dim=axis)


@op("cov", "corrcoef")
def _(c):
    a = [R.randint(2, 5) for _ in range(R.randint(1, 2))]
    c.add(numbers(a, "normal"))
    c.flags = {"once": True, "nograd": len(a) == 1 and c.op == "corrcoef"}
    return getattr(torch, c.op)


@op("histc")
def _(c):
    low, high = R.choice([(0.0, 0.0), (-1.0, 1.0), (-2.0, 2.0)])
    c.arg("low", low), c.arg("high", high)
    bins = c.arg("n", R.choice([1, 4, 5, 10]))
    c.add(numbers([d + 1 for d in shape(1, 2)], R.choice(["ties", "normal"])))
    c.flags = {"nograd": True}
    return lambda x: x.histc(bins, low, high)


@op("bincount")
def _(c):
    n = R.randint(1, 6)
    c.arg("n", n)
    m = extent()
    c.add(ints([m], 0, n))
    if R.random() < 0.5:
        return lambda x: x.bincount(minlength=n)
    c.add(numbers([m]))
    c.flags = {"nograd": True}
    return lambda x, w: x.bincount(w, minlength=n)


@op("logcumsumexp")
def _(c):
    a, axis = axis_and_shape(c)
    c.add(numbers(a, R.choice(["normal", "ties"])))
    return lambda x: x.logcumsumexp(axis)


@op("cummax", "cummin", weight=2)
def _(c):
    a, axis = axis_and_shape(c)
    c.add(numbers(a, R.choice(["normal", "ties", "holes"])) if R.random() < 0.8 else ints(a))
    return lambda x: getattr(x, c.op)(axis)
