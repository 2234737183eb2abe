"""The operations that reference_drawn.py calls: for each, how its inputs and arguments are drawn, and PyTorch's way to
say it. A function here draws into `c` and returns what computes the answer from the inputs."""
import math

import numpy as np
import torch
import torch.nn.functional as F
from drawn_calls import (INF, NAN, R, axes_of, axis_of, bools, every, extent, ints, numbers, numel, op, other, shape)


def kind():
    return R.choice(["normal", "ties", "ties", "special"])


# ---- of one argument ----

UNARY = {
    "neg": torch.neg, "abs": torch.abs, "sign": torch.sign, "exp": torch.exp, "exp2": torch.exp2, "expm1": torch.expm1,
    "ln": torch.log, "log2": torch.log2, "log10": torch.log10, "log1p": torch.log1p, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "square": lambda x: x * x, "recip": torch.reciprocal, "floor": torch.floor, "ceil": torch.ceil,
    "round": torch.round, "trunc": torch.trunc, "frac": torch.frac, "asin": torch.asin, "acos": torch.acos,
    "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh, "asinh": torch.asinh,
    "acosh": torch.acosh, "atanh": torch.atanh, "erf": torch.erf, "erfc": torch.erfc, "sigmoid": torch.sigmoid,
    "softplus": F.softplus, "relu": torch.relu, "gelu": F.gelu, "isnan": torch.isnan, "isinf": torch.isinf,
    "isfinite": torch.isfinite, "logsigmoid": F.logsigmoid, "silu": F.silu, "mish": F.mish,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu6": F.relu6, "selu": F.selu, "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid, "softsign": F.softsign, "tanhshrink": F.tanhshrink, "logical_not": torch.logical_not,
    "sin": torch.sin, "cos": torch.cos, "tan": torch.tan,
}


def unary(name, f):
    @op(name)
    def draw(c):
        k = kind()
        # reduction of large angles ends at 1e5; PyTorch's float32 gelu of infinity is NaN
        if k == "special" and name in ("sin", "cos", "tan", "gelu"):
            k = "normal"
        x = numbers(shape(), k, c)
        # what becomes of NaN's gradient at a kink depends in PyTorch on the element's place, from the 16th on
        if x.numel() >= 16 and name in ("relu6", "selu", "hardswish"):
            x = x.nan_to_num(0.5, INF, -INF)
        c.add(x)
        return f


for name, f in UNARY.items():
    unary(name, f)


@op("unary_int")
def _(c):
    name = c.arg("f", R.choice(["neg", "abs", "sign", "square", "exp", "sqrt", "floor", "relu", "sigmoid", "logical_not"]))
    x = c.add(ints(shape()))
    return {"relu": torch.relu}.get(name, getattr(torch, name))


def scaled(name, f, low, high):
    @op(name)
    def draw(c):
        k = kind()
        x = numbers(shape(), k, c)
        # as for selu
        c.add(x.nan_to_num(0.5, INF, -INF) if x.numel() >= 16 and name in ("elu", "celu") else x)
        p = c.arg("p", R.choice([low, high, (low + high) / 2, R.uniform(low, high)]))
        p = float(np.float32(p))
        c.args[-1] = f"p={p!r}"
        return lambda x: f(x, p)


scaled("leaky_relu", F.leaky_relu, 0.0, 1.0)
scaled("elu", F.elu, 0.5, 2.0)
scaled("celu", F.celu, 0.5, 2.0)
scaled("hardshrink", F.hardshrink, 0.0, 2.0)
scaled("softshrink", F.softshrink, 0.0, 2.0)


@op("clamp", "clamp_min", "clamp_max", "hardtanh", weight=2)
def _(c):
    low, high = R.choice([(-1.0, 1.0), (0.0, 2.0), (1.0, -1.0), (-INF, 0.5), (0.0, 0.0), (NAN, 1.0), (-2.0, INF)])
    if c.op == "hardtanh" and not low <= high:
        return None
    if R.random() < 0.25 and c.op != "hardtanh" and abs(low) < 9 and abs(high) < 9:
        low, high = int(low), int(high)
    c.arg("low", low), c.arg("high", high)
    integer = isinstance(low, int)
    k = kind()
    c.add(ints(shape()) if integer and R.random() < 0.6 else numbers(shape(), k if c.op != "hardtanh" else "ties", c))
    return {"clamp": lambda x: x.clamp(low, high), "clamp_min": lambda x: x.clamp(min=low),
            "clamp_max": lambda x: x.clamp(max=high), "hardtanh": lambda x: F.hardtanh(x, low, high)}[c.op]


@op("cast", weight=2)
def _(c):
    c.add(R.choice([numbers(shape(), "normal"), ints(shape()), bools(shape())]))
    to = c.arg("to", R.choice(["f32", "i32", "bool"]))
    return lambda x: x.to({"f32": torch.get_default_dtype(), "i32": torch.int64, "bool": torch.bool}[to])


# ---- of two ----


def pair(c, k=None, types="any"):
    a = shape(0, 4)
    b = other(a)
    if R.random() < 0.5:
        a, b = b, a
    k = k or kind()
    types = types if types != "any" else R.choice(["ff", "ff", "ff", "fi", "ii", "bf", "bi", "if"])
    for t, d in zip(types, (a, b)):
        c.add(numbers(d, k, c) if t == "f" else ints(d) if t == "i" else bools(d))


def integers(x):
    return not x.is_floating_point()


BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
    "minimum": torch.minimum, "eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt,
    "ge": torch.ge, "logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
}


def binary(name, f):
    @op(name, weight=2)
    def draw(c):
        # PyTorch refuses to subtract truth values
        pair(c, types="any" if name != "sub" else R.choice(["ff", "fi", "ii", "if"]))
        return f


for name, f in BINARY.items():
    binary(name, f)


@op("pow", weight=3)
def _(c):
    types = R.choice(["ff", "ff", "fi", "ii"])
    pair(c, R.choice(["ties", "positive", "special"]), types)
    if types == "ii":  # PyTorch has no negative integer powers
        c.inputs[1] = c.inputs[1].abs()
    return torch.pow


@op("atan2", weight=2)
def _(c):
    pair(c, R.choice(["normal", "ties", "special"]), "ff")
    c.flags = {"nograd": c.special}  # squares of tiny numbers are 0
    return torch.atan2


@op("fmod", "remainder", "floor_divide", weight=2)
def _(c):
    a = shape()
    b = other(a)
    if R.random() < 0.4:
        c.add(ints(a, -20, 20))
        c.add(R.choice([1, -1]) * ints(b, 1, 7))
    else:
        c.add(numbers(a, R.choice(["normal", "ties", "holes"])))
        c.add(numbers(b, R.choice(["normal", "ties", "holes"])))
    return getattr(torch, c.op)


NUMBERED = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": None, "lt": torch.lt,
            "ge": torch.ge, "eq": torch.eq, "pow": torch.pow, "remainder": torch.remainder, "fmod": torch.fmod,
            "floor_divide": torch.floor_divide}


@op("number", weight=8)
def _(c):
    name = c.arg("f", R.choice([n for n in NUMBERED if n != "maximum"]))
    whole = R.random() < 0.5
    n = R.choice([2, -1, 3, 1, 5] if whole else [0.5, -1.0, 2.5, 3.0, -0.75])
    if name in ("add", "sub", "mul", "lt", "ge", "eq") and R.random() < 0.1 and not whole:
        n = R.choice([INF, NAN, 0.0])
    c.arg("n", n)
    swap = c.arg("swap", name in ("add", "sub", "mul", "div") and R.random() < 0.4)
    t = R.choice("ffib") if name in ("add", "mul", "div", "lt", "eq") else R.choice("ffi")
    if name == "pow" and t == "i" and n < 0:
        return None
    c.add(numbers(shape(), "ties" if name not in ("pow", "remainder", "fmod", "floor_divide") else "positive") if t == "f" else
          ints(shape()) if t == "i" else bools(shape()))
    f = NUMBERED[name]
    return (lambda x: f(torch.tensor(n), x) if name != "sub" else torch.rsub(x, n)) if swap else lambda x: f(x, n)


@op("powf", weight=3)
def _(c):
    p = c.arg("p", R.choice([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -2.0, 1.5, -0.5, 4.0, 2.5, INF, 0.25]))
    x = numbers(shape(), kind(), c) if R.random() < 0.85 else ints(shape())
    # PyTorch's slope there is a root, of which -∞ has none
    c.add(x.nan_to_num(NAN, INF, 0.5) if p == 1.5 and x.is_floating_point() else x)
    return lambda x: x.pow(p)


@op("where", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(bools(other(a)))
    for _ in range(2):
        c.add(numbers(other(a), R.choice(["normal", "holes"])) if R.random() < 0.8 else ints(other(a)))
    return torch.where


@op("where_safe", weight=2)  # the branch not taken must not spoil the gradient but where PyTorch's does too
def _(c):
    f = c.arg("f", R.choice(["ln", "sqrt", "recip"]))
    c.add(numbers(shape(), "ties"))
    g = {"ln": torch.log, "sqrt": torch.sqrt, "recip": torch.reciprocal}[f]
    return lambda x: torch.where(x > 0, g(torch.where(x > 0, x, 1.0)), 0.0)


@op("masked_fill", weight=3)
def _(c):
    a = shape()
    integer = R.random() < 0.4
    value = c.arg("n", R.choice([1, -3]) if R.random() < 0.5 else R.choice([0.5, -INF, NAN]))
    if integer and not isinstance(value, int):
        return None
    c.add(ints(a) if integer else numbers(a))
    c.add(bools(other(a)))
    return lambda x, m: x.masked_fill(m, value)


# ---- reductions ----


def reduction(name, f, types="fib", mode=("normal", "ties", "holes")):
    @op(name, weight=4)
    def draw(c):
        a = shape(0, 5)
        t = R.choice("fff" + types)
        c.add(numbers(a, R.choice(mode)) if t == "f" else ints(a, -2, 4) if t == "i" else bools(a))
        axes, keep = c.arg("axes", axes_of(a)), c.arg("keep", R.random() < 0.5)
        # the product along several axes is taken one after the other here; one NaN alone is its own maximum
        wild = any(not np.isfinite(t).all() for t in c.inputs)
        c.flags = {"nograd": wild and (name == "prod" or (name[:2] == "am" and not a))}
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


# ---- views ----


@op("reshape", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    n, dims = numel(a), []
    rest = n
    for _ in range(R.randint(0, 3)):
        d = R.choice([d for d in (1, 2, 3, 4, 5) if rest and rest % d == 0] or [R.choice([0, 1])])
        dims.append(d)
        rest = rest // d if d else rest
    dims.append(rest)
    if R.random() < 0.4:
        dims[R.randrange(len(dims))] = -1
    c.arg("list", dims)
    return lambda x: x.reshape(dims)


@op("permute", weight=3)
def _(c):
    a = [R.randint(1, 3) for _ in range(R.randint(0, 6))]
    c.add(numbers(a))
    order = list(range(len(a)))
    R.shuffle(order)
    order = c.arg("list", [o - len(a) if R.random() < 0.3 else o for o in order])
    return lambda x: x.permute(order)


@op("expand", weight=2)
def _(c):
    a = [1 if R.random() < 0.5 else d for d in shape(0, 3)]
    c.add(numbers(a))
    dims = [R.choice([2, 0, 1]) for _ in range(R.choice([0, 0, 1]))]
    dims = c.arg("list", dims + [(-1 if R.random() < 0.4 else d) if d != 1 or R.random() < 0.3 else R.choice([0, 1, 4]) for d in a])
    return lambda x: x.expand(dims)


@op("transpose", "squeeze", "unsqueeze", weight=2)
def _(c):
    a = [1 if R.random() < 0.3 else d for d in shape(0, 4)]
    c.add(numbers(a))
    i, j = c.arg("axis", axis_of(a)), c.arg("other", axis_of(a))
    return {"transpose": lambda x: x.transpose(i, j), "squeeze": lambda x: x.squeeze(i), "unsqueeze": lambda x: x.unsqueeze(i)}[c.op]


@op("flatten")
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    i, j = c.arg("axis", axis_of(a)), c.arg("other", axis_of(a))
    return lambda x: x.flatten(i, j)


@op("slice", weight=6)
def _(c):
    a = shape(1, 4)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a, 0))
    n = a[axis]
    start, end, step = [c.arg(k, v) for k, v in zip(("start", "end", "step"),
                        (R.randint(-n - 2, n + 2), R.randint(-n - 2, n + 2), R.choice([1, 1, 2, 3, 5, -1, -1, -2, -3])))]

    def sliced(x):
        at = list(range(n))[slice(start, end, step)]
        return x.index_select(axis, torch.tensor(at, dtype=torch.long))
    return sliced


@op("narrow", "select", weight=2)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a))
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    start = c.arg("start", R.randint(-n, n))
    length = c.arg("len", R.randint(0, n))
    return (lambda x: x.narrow(axis, start, length)) if c.op == "narrow" else lambda x: x.select(axis, start)


@op("flip")
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    axes = c.arg("axes", [x for x in axes_of(a)][:3])
    return lambda x: x.flip(axes)


@op("tril", "triu")
def _(c):
    a = shape(1 if R.random() < 0.05 else 2, 4)
    c.add(R.choice([numbers(a), ints(a), bools(a), numbers(a, "holes")]))
    k = c.arg("k", R.randint(-3, 3))
    return lambda x: getattr(x, c.op)(k)


@op("diagonal", weight=2)
def _(c):
    a = shape(2, 4)
    c.add(numbers(a))
    k, i, j = c.arg("k", R.randint(-4, 4)), c.arg("axis", axis_of(a)), c.arg("other", axis_of(a))
    return lambda x: x.diagonal(k, i, j)


@op("unfold", weight=2)
def _(c):
    a = shape(0 if R.random() < 0.05 else 1, 3)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a))
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    size, step = c.arg("size", R.randint(0, n) if R.random() < 0.95 else n + 1), c.arg("step", R.randint(1, 3))
    if not a:
        return None
    return lambda x: x.unfold(axis, size, step)


@op("chain", weight=8)  # views of views
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(2, 4))]
    c.add(numbers(a) if R.random() < 0.8 else ints(a))
    rank, text = len(a), []
    for _ in range(R.randint(2, 5)):
        i, j = R.randrange(rank), R.randrange(rank)
        text.append(R.choice([f"flip.{i}", f"transpose.{i}.{j}", f"slice.{i}.0.9.{R.choice([1, 2])}", f"roll.{R.randint(-3, 3)}.{i}",
                              f"slice.{i}.9.-99.{R.choice([-1, -2])}", f"pad.{R.randint(0, 2)}.{R.randint(0, 2)}", f"repeat.{i}", f"fold.{i}"]))
    c.arg("steps", text)

    def walk(x):
        for step in text:
            name, *n = step.split(".")
            n = [int(v) for v in n]
            if name == "slice":
                at = list(range(x.shape[n[0]]))[slice(*n[1:])]
                x = x.index_select(n[0], torch.tensor(at, dtype=torch.long))
            elif name == "pad":
                x = F.pad(x, n)
            elif name == "repeat":  # a new axis before this one, of extent 2, joined with it
                x = x.unsqueeze(n[0]).expand(*x.shape[:n[0]], 2, *x.shape[n[0]:]).flatten(n[0], n[0] + 1)
            elif name == "fold":  # a sum keeps the rank
                x = torch.cat([x.sum(n[0], keepdim=True), x], n[0])
            else:
                x = getattr(x, name)(*n)
        return x
    return walk


# ---- joining and cutting ----


@op("cat", "stack", weight=3)
def _(c):
    a = shape(0, 3)
    axis = c.arg("axis", axis_of(a))
    for _ in range(R.choice([1, 2, 2, 3, 7])):
        b = list(a)
        if c.op == "cat" and a and -len(a) <= axis < len(a):
            b[axis] = extent()
        if R.random() < 0.03:
            b = [0]
        t = R.choice("fffffib")
        c.add(numbers(b) if t == "f" else ints(b) if t == "i" else bools(b))
    return lambda *x: getattr(torch, c.op)(x, axis)


@op("split", "chunk", weight=2)
def _(c):
    a = shape(0, 3)
    c.add(numbers(a))
    axis, n = c.arg("axis", axis_of(a)), c.arg("n", R.randint(1, 5))
    return lambda x: getattr(torch, c.op)(x, n, axis)


@op("split_sizes")
def _(c):
    a = shape(1, 3)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a, 0))
    left, sizes = a[axis], []
    while left and len(sizes) < 5:
        sizes.append(R.randint(0, left))
        left -= sizes[-1]
    sizes = c.arg("list", sizes + [left])
    return lambda x: torch.split(x, sizes, axis)


@op("pad", weight=4)
def _(c):
    mode = c.arg("mode", R.choice(["constant", "reflect", "replicate", "circular"]))
    if mode == "constant":
        a = shape(1, 4)
        n = R.randint(1, len(a))
        sides = [(R.randint(-2, 3), R.randint(-2, 3)) for _ in range(n)]
        c.add(numbers(a) if R.random() < 0.7 else ints(a))
        value = c.arg("n", R.choice([0.0, 1.0, -2.0]))
    else:
        n = R.randint(1, 3)
        low = -1 if R.random() < 0.3 else 0
        a = [R.randint(1, 3) for _ in range(2)] + [R.randint(1 if low == 0 else 3, 5) for _ in range(n)]
        high = 2 if mode == "circular" else 3
        sides = [(R.randint(low, high), R.randint(low, high)) for _ in range(n)]
        c.add(numbers(a))
        value = c.arg("n", 0.0)
    c.arg("list", [v for s in sides for v in s])
    flat = [v for s in reversed(sides) for v in s]
    c.flags = {"once": mode != "constant"}
    return lambda x: F.pad(x, flat, mode, value) if mode == "constant" else F.pad(x, flat, mode)


# ---- products ----


@op("matmul", weight=10)
def _(c):
    m, k, n = (R.choice([0, 1, 2, 3, 5, 8, 17]) if R.random() < 0.2 else R.randint(1, 6) for _ in range(3))
    batch = shape(0, 2)
    left = R.choice([[k], [m, k], [*batch, m, k], [*batch, m, k]])
    right = R.choice([[k], [k, n], [*other(batch), k, n], [*other(batch), k, n]])
    if R.random() < 0.03:
        right[-min(2, len(right))] += 1
    if R.random() < 0.15:
        c.add(ints(left, -300, 300)), c.add(ints(right, -300, 300))
    else:
        c.add(numbers(left, "normal")), c.add(numbers(right, "normal"))
    return torch.matmul


@op("dot")
def _(c):
    n = extent()
    c.add(numbers([n])), c.add(numbers([n]))
    return torch.dot


@op("einsum", weight=8)
def _(c):
    formula = R.choice(["ij,jk->ik", "ij,jk", "bij,bjk->bik", "ii", "ii->i", "iji->j", "ij->ji", "ij", "i,j->ij", "i,i", "i,i->",
                        "ij,ij->", "ij,ij->i", "b...i,b...j->b...ij", "...ij,...jk->...ik", "...ij,...jk", "...", "...i->...",
                        "i...->...", "...ii->...i", "ijk,kl,lj->i", "ij,j,k->ik", "abc,abd->dc", "Ab,bA", "bA", "ij,kj->", "iij,jk->ik",
                        "i...j,j->i...", "a,b,c->abc", " i j , j k -> i k ", "ij,ij,ij->ij", "abcd,cdef->abef", "...,...->..."])
    c.arg("formula", formula.replace(",", "|"))
    sizes = {}
    dots = shape(0, 2)
    for side in formula.replace(" ", "").split("->")[0].split(","):
        dims = []
        for part in side.replace("...", ".").replace(".", "."):
            if part == ".":
                dims += other(dots) if R.random() < 0.5 else dots
            else:
                dims.append(sizes.setdefault(part, R.randint(1, 4) if R.random() < 0.95 else 0))
        if R.random() < 0.02 and dims:
            dims[0] += 1
        c.add(numbers(dims))
    return lambda *x: torch.einsum(formula, *x)


# ---- by index ----


def axis_and_shape(c, low=0):
    a = shape(low, 3)
    return a, c.arg("axis", axis_of(a, 0.02))


@op("gather", "take_along", weight=4)
def _(c):
    a, axis = axis_and_shape(c, 0 if c.op == "gather" else 1)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    b = [R.randint(0, d) if R.random() < 0.3 and c.op == "gather" else d for d in a]
    if a and -len(a) <= axis < len(a):
        b[axis] = extent()
        if c.op == "take_along":
            b = [1 if i != axis % len(a) and R.random() < 0.3 else d for i, d in enumerate(b)]
    c.add(numbers(a) if R.random() < 0.8 else ints(a))
    low, high = (0, max(n, 1)) if R.random() < 0.95 else (-1, n + 1)
    if c.op == "take_along":  # which counts negative ones from the end, and others past it
        low, high = -n, max(n, 1)
    c.add(ints(b, low, high))
    return (lambda x, i: x.gather(axis, i)) if c.op == "gather" else lambda x, i: torch.take_along_dim(x, i, axis)


@op("index_select", weight=3)
def _(c):
    a, axis = axis_and_shape(c)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    c.add(numbers(a) if R.random() < 0.8 else bools(a))
    c.add(ints([extent()], 0, max(n, 1) if R.random() < 0.95 else n + 1))
    return lambda x, i: x.index_select(axis, i)


@op("embedding", "one_hot")
def _(c):
    n = R.randint(1, 5)
    if c.op == "embedding":
        c.add(numbers([n, extent()]))
    c.add(ints(shape(0, 3), 0, n))
    c.arg("n", n)
    return (lambda x, i: F.embedding(i, x)) if c.op == "embedding" else lambda i: F.one_hot(i, n)


@op("scatter_add", weight=4)
def _(c):
    a, axis = axis_and_shape(c)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    given = [d + R.choice([0, 0, 1]) for d in a]
    b = [R.randint(0, min(d, g)) if R.random() < 0.3 else min(d, g) for d, g in zip(a, given)]
    if a and -len(a) <= axis < len(a):
        given[axis] = extent()
        b[axis] = R.randint(0, given[axis])
    integer = R.random() < 0.2
    c.add(ints(a) if integer else numbers(a))
    c.add(ints(b, 0, max(n, 1) if R.random() < 0.96 else n + 1))
    c.add(ints(given) if integer else numbers(given))
    return lambda x, i, s: x.scatter_add(axis, i, s)


@op("index_add", weight=3)
def _(c):
    a, axis = axis_and_shape(c, 1)
    if not -len(a) <= axis < len(a):
        axis = 0
        c.args[-1] = "axis=0"
    if not numel(a):
        return None
    m = extent()
    b = list(a)
    b[axis] = m
    c.add(numbers(a)), c.add(ints([m], 0, max(a[axis], 1))), c.add(numbers(b))
    return lambda x, i, s: x.index_add(axis, i, s)


@op("scatter_reduce", "index_reduce", weight=4)
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    axis = c.arg("axis", axis_of(a, 0))
    b = list(a)
    b[axis] = R.randint(1, 5)
    how = c.arg("how", R.choice(["sum", "prod", "mean", "amax", "amin"]))
    own = c.arg("self", R.random() < 0.5)
    if c.op == "index_reduce" and how == "sum":
        return None
    k = "normal" if how == "prod" else R.choice(["normal", "ties"])
    c.flags = {"once": True}
    c.add(numbers(a, k))
    c.add(ints(b if c.op == "scatter_reduce" else [b[axis]], 0, a[axis]))
    c.add(numbers(b, k))
    if c.op == "scatter_reduce":
        return lambda x, i, s: x.scatter_reduce(axis, i, s, how, include_self=own)
    return lambda x, i, s: x.index_reduce(axis, i, s, how, include_self=own)


# ---- making tensors ----


@op("arange", weight=3)
def _(c):
    if R.random() < 0.5:
        a, b, s = R.randint(-5, 5), R.randint(-5, 9), R.choice([1, 2, 3, -1, -2])
    else:
        a, b, s = R.choice([0.0, -1.5, 2.0]), R.choice([5.0, 4.75, -3.0]), R.choice([0.5, 1.25, -0.75, 2.0])
    c.arg("start", a), c.arg("end", b), c.arg("step", s)
    return lambda: torch.arange(a, b, s)


@op("linspace", weight=2)
def _(c):
    a, b, n = c.arg("start", R.choice([0.0, -3.5, 10.0])), c.arg("end", R.choice([1.0, -4.0, 10.0])), c.arg("n", R.choice([0, 1, 2, 5, 10, 33]))
    return lambda: torch.linspace(a, b, n)


@op("full", "eye")
def _(c):
    dims, n = c.arg("list", shape() if c.op == "full" else R.choice([[3], [0], [2, 5], [4, 1], [1, 0]])), c.arg("n", R.choice([0, 1, -3, 2.5, INF]))
    return (lambda: torch.full(dims, n)) if c.op == "full" else lambda: torch.eye(*dims)


@op("like", weight=2)
def _(c):
    f = c.arg("f", R.choice(["zeros_like", "ones_like", "full_like"]))
    c.add(R.choice([numbers(shape()), ints(shape()), bools(shape())]))
    return (lambda x: torch.full_like(x, 2)) if f == "full_like" else getattr(torch, f)


# ---- together ----


@op("reuse", weight=4)  # one tensor used over and over
def _(c):
    a = [R.randint(1, 4), R.randint(1, 4)]
    c.add(numbers(a, "normal"))
    return lambda x: (x * x.sum(0, keepdim=True) + x.t().t().exp() - x.amax(1, keepdim=True)) * x.softmax(-1) + x[:, :1] * x.flip(0)


@op("roll", weight=2)
def _(c):
    a = shape(1, 4)
    c.add(numbers(a))
    axes = axes_of(a)
    shifts = c.arg("list", [R.randint(-7, 7) for _ in axes] or [R.randint(-7, 7)])
    axes = c.arg("axes", axes)
    return lambda x: x.roll(shifts, axes)


# ---- more functions ----

for name, f in {"erfinv": torch.erfinv, "lgamma": torch.lgamma, "digamma": torch.digamma, "trigamma": lambda x: torch.polygamma(1, x),
                "signbit": torch.signbit, "sinc": torch.sinc, "deg2rad": torch.deg2rad, "rad2deg": torch.rad2deg}.items():
    @op(name)
    def _(c, name=name, f=f):
        k = {"erfinv": R.choice(["unit", "ties"]), "sinc": R.choice(["normal", "ties"])}.get(name, "positive" if "gamma" in name else kind())
        c.add(numbers(shape(), k, c))
        c.flags = {"once": name == "trigamma"}
        return f


@op("logit", weight=2)
def _(c):
    eps = c.arg("p", R.choice([-1.0, 0.125]))
    c.add(torch.sigmoid(numbers(shape(), "normal")) if eps < 0 or R.random() < 0.5 else numbers(shape(), "normal"))
    return lambda x: torch.logit(x, eps if eps > 0 else None)


@op("nan_to_num", weight=2)
def _(c):
    full = c.arg("full", R.random() < 0.5)
    c.add(numbers(shape(), "holes") if R.random() < 0.9 else ints(shape()))
    c.special = not full
    return (lambda x: x.nan_to_num(0.5, 7.0, -8.0)) if full else lambda x: x.nan_to_num()


@op("threshold")
def _(c):
    t, v = c.arg("p", R.choice([0.0, 1.0, -0.5])), c.arg("v", R.choice([0.0, 20.0]))
    c.add(numbers(shape(), R.choice(["normal", "ties"])))
    return lambda x: F.threshold(x, t, v)


for name in ["hypot", "copysign", "xlogy", "logaddexp", "logaddexp2", "fmax", "fmin"]:
    @op(name, weight=2)
    def _(c, name=name):
        k = R.choice(["normal", "ties", "special"])
        pair(c, k if name not in ("xlogy",) or k != "normal" else "positive", "ff")
        return getattr(torch, name)


@op("heaviside")
def _(c):
    pair(c, R.choice(["ties", "special"]), "ff")
    c.flags = {"nograd": True}
    return torch.heaviside


@op("lerp", "addcmul", "addcdiv", weight=2)
def _(c):
    a = shape()
    c.add(numbers(a)), c.add(numbers(other(a)))
    if c.op == "lerp":
        if R.random() < 0.5:
            w = c.arg("n", R.choice([0.0, 0.25, 1.0, 1.5]))
            return lambda x, y: torch.lerp(x, y, w)
        c.arg("n", "tensor"), c.add(numbers(other(a), "normal"))
        return torch.lerp
    c.add(numbers(other(a), "positive"))
    v = c.arg("n", R.choice([0.5, -2.0, 3.0]))
    return lambda x, y, z: getattr(torch, c.op)(x, y, z, value=v)


@op("isclose", "allclose")
def _(c):
    a = shape()
    x = numbers(a, R.choice(["ties", "holes"]))
    c.add(x), c.add(x + numbers(a, "ties") * R.choice([0.0, 1e-6, 1e-3]))
    same = c.arg("same", R.random() < 0.5)
    return (lambda x, y: torch.isclose(x, y, 1e-5, 1e-8, same)) if c.op == "isclose" else lambda x, y: torch.isclose(x, y, 1e-5, 1e-8, same).all()


@op("isin")
def _(c):
    c.add(ints(shape())), c.add(ints(shape(0, 2)))
    return torch.isin


@op("bitwise_and", "bitwise_or", "bitwise_xor")
def _(c):
    pair(c, types=R.choice(["ii", "bb", "bi"]))
    return getattr(torch, c.op)


@op("bitwise_not")
def _(c):
    c.add(R.choice([ints(shape()), bools(shape())]))
    return torch.bitwise_not


@op("clamp_tensor", weight=2)
def _(c):
    a = shape()
    c.add(numbers(a)), c.add(numbers(other(a), "ties")), c.add(numbers(other(a), "ties"))
    c.inputs[0] = c.inputs[0] + 0.25  # no ties
    return torch.clamp


# ---- statistics ----

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
    # of no elements PyTorch counts, whatever the weights
    if R.random() < 0.5 or not m:
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


# ---- arrangements ----


@op("squeeze_all", "diag", "diag_embed", "unbind", "tensor_split", "repeat_interleave", "rot90", weight=2)
def _(c):
    a = shape(1, 2) if c.op == "diag" else [1 if R.random() < 0.3 else d for d in shape(0 if c.op == "squeeze_all" else 1, 4)]
    i, j, n = c.arg("axis", axis_of(a)), c.arg("other", axis_of(a)), c.arg("n", R.randint(1, 3))
    c.add(numbers(a) if R.random() < 0.8 else ints(a))
    return {"squeeze_all": lambda x: x.squeeze(), "diag": lambda x: x.diag(n - 2), "diag_embed": lambda x: x.diag_embed(n - 2),
            "unbind": lambda x: x.unbind(i), "tensor_split": lambda x: x.tensor_split(n, i),
            "repeat_interleave": lambda x: x.repeat_interleave(n, i), "rot90": lambda x: x.rot90(n + 2, (i, j))}[c.op]


@op("movedim", weight=2)
def _(c):
    a = shape(1, 5)
    n = R.randint(1, len(a))
    i, j = c.arg("list", R.sample(range(len(a)), n)), c.arg("axes", [x - len(a) for x in R.sample(range(len(a)), n)])
    c.add(numbers(a))
    return lambda x: x.movedim(i, j)


@op("repeat", "tile", weight=2)
def _(c):
    a = shape(0, 3)
    times = c.arg("list", [R.choice([0, 1, 2, 3]) for _ in range(R.randint(0, 4))])
    c.add(numbers(a))
    return lambda x: getattr(x, c.op)(times)


@op("unflatten")
def _(c):
    parts = [R.randint(1, 3) for _ in range(R.randint(1, 3))]
    a = shape(0, 2) + [numel(parts)]
    if R.random() < 0.4:
        parts[0] = -1
    c.arg("list", parts)
    c.add(numbers(a))
    return lambda x: x.unflatten(-1, parts)


@op("hstack", "vstack")
def _(c):
    a = shape(0, 3)
    for _ in range(R.randint(1, 3)):
        c.add(numbers(a))
    return lambda *x: getattr(torch, c.op)(x)


@op("meshgrid")
def _(c):
    for _ in range(R.randint(1, 3)):
        c.add(numbers(shape(1, 1)))
    return lambda *x: torch.meshgrid(*x, indexing="ij")


# ---- in the place of others ----


@op("scatter", "scatter_value", weight=3)
def _(c):
    a, axis = axis_and_shape(c)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    b = [R.randint(0, d) if R.random() < 0.3 else d for d in a]
    at = axis % len(a) if a and -len(a) <= axis < len(a) else None
    if at is not None:
        b[at] = R.randint(0, n)
    # each place once: where one is named twice, PyTorch's gradient is not that of its result
    index = torch.argsort(torch.tensor(np.array([R.random() for _ in range(numel([n if i == at else d for i, d in enumerate(b)]))]).reshape(
        [n if i == at else d for i, d in enumerate(b)])), dim=at if at is not None else -1).int()
    if at is not None:
        index = index.narrow(at, 0, b[at])
    c.add(numbers(a)), c.add(index.contiguous() if n else ints(b))
    if c.op == "scatter_value":
        return lambda x, i: x.scatter(axis, i, 2.5)
    c.add(numbers(b))
    return lambda x, i, s: x.scatter(axis, i, s)


@op("index_copy", "index_fill", weight=2)
def _(c):
    a, axis = [R.randint(1, 4) for _ in range(R.randint(1, 3))], None
    axis = c.arg("axis", axis_of(a, 0))
    m = R.randint(0, a[axis])
    index = torch.tensor(R.sample(range(a[axis]), m), dtype=torch.int32)
    c.add(numbers(a)), c.add(index)
    if c.op == "index_fill":
        return lambda x, i: x.index_fill(axis, i, 2.5)
    b = list(a)
    b[axis] = m
    c.add(numbers(b))
    return lambda x, i, s: x.index_copy(axis, i, s)


@op("select_scatter", "slice_scatter", weight=2)
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    axis = c.arg("axis", axis_of(a, 0))
    n = a[axis]
    c.add(numbers(a))
    if c.op == "select_scatter":
        at = c.arg("n", R.randint(-n, n - 1))
        c.add(numbers([d for i, d in enumerate(a) if i != axis % len(a)]))
        return lambda x, s: x.select_scatter(s, axis, at)
    start, end, step = c.arg("start", R.randint(-n, n)), c.arg("end", R.randint(-n, n)), c.arg("step", R.randint(1, 2))
    b = list(a)
    b[axis] = len(range(n)[slice(start, end, step)])
    c.add(numbers(b))
    return lambda x, s: x.slice_scatter(s, axis, start, end, step)


@op("take", "put", "index", "index_put", weight=2)
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    k = R.randint(1, len(a))
    extents = [numel(a)] if c.op in ("take", "put") else a[:k]
    d = [R.randint(1, 4) for _ in range(R.randint(0, 2))]
    add = c.arg("add", R.random() < 0.7)
    c.add(numbers(a))
    if c.op in ("put", "index_put"):
        c.add(numbers(d + (a[k:] if c.op == "index_put" else [])))
    for n in extents:
        c.add(ints([1 if R.random() < 0.2 and len(extents) > 1 else e for e in d], -n, n if R.random() < 0.96 else n + 1))
    if c.op == "take":
        return lambda x, i: x.take(i)
    if c.op == "index":
        return lambda x, *i: x[i]
    if not add:  # a place named twice
        c.flags = {"nograd": True}
    if c.op == "put":
        return lambda x, v, i: x.put(i, v, add)
    return lambda x, v, *i: x.index_put(i, v.expand(torch.broadcast_shapes(*[t.shape for t in i]) + tuple(a[k:])), add)


@op("masked_scatter")
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(0, 3))]
    c.add(numbers(a)), c.add(bools(a)), c.add(numbers([numel(a)]))
    return lambda x, m, s: x.masked_scatter(m, s)


@op("searchsorted", "bucketize", weight=2)
def _(c):
    right = c.arg("right", R.random() < 0.5)
    c.add(torch.sort(numbers([R.randint(0, 6)], "ties"))[0], views=False), c.add(numbers(shape(), "ties"))
    if c.op == "searchsorted":
        return lambda s, v: torch.searchsorted(s, v, right=right)
    return lambda s, v: torch.bucketize(v, s, right=right)


@op("nonzero", "unique", weight=2)
def _(c):
    a = shape(0, 3)
    c.add(numbers(a, "ties") if R.random() < 0.6 else R.choice([ints(a), bools(a)]))
    c.flags = {"nograd": True}
    return (lambda x: x.nonzero()) if c.op == "nonzero" else lambda x: torch.unique(x, return_inverse=True, return_counts=True)


@op("masked_select")
def _(c):
    a = shape(0, 3)
    c.add(numbers(a)), c.add(bools(other(a)))
    return lambda x, m: x.masked_select(m)


# ---- products by name ----


@op("mm", "mv", "bmm", "outer", "addmm", "baddbmm", "addmv", weight=2)
def _(c):
    m, k, n, b = (R.choice([1, 2, 3, 5]) if R.random() < 0.95 else 0 for _ in range(4))
    if c.op == "addmv" and k == 0:  # PyTorch forgets to broadcast
        return None
    shapes = {"mm": ([m, k], [k, n]), "mv": ([m, k], [k]), "bmm": ([b, m, k], [b, k, n]), "outer": ([m], [n]),
              "addmm": ([m, k], [k, n]), "baddbmm": ([b, m, k], [b, k, n]), "addmv": ([m, k], [k])}[c.op]
    if R.random() < 0.05:
        shapes[1][0] += 1
    if c.op.startswith("a") or c.op.startswith("ba"):
        c.add(numbers(R.choice([{"addmm": [m, n], "baddbmm": [b, m, n], "addmv": [m]}[c.op], [1]]), "normal"))
    for s in shapes:
        c.add(numbers(s, "normal"))
    if len(c.inputs) == 2:
        return getattr(torch, c.op)
    beta, alpha = c.arg("beta", R.choice([1.0, 0.5])), c.arg("alpha", R.choice([1.0, -2.0]))
    return lambda x, y, z: getattr(torch, c.op)(x, y, z, beta=beta, alpha=alpha)


@op("kron", "cross", "tensordot", "cdist", weight=2)
def _(c):
    if c.op == "kron":
        # PyTorch's takes no permuted tensors
        c.add(numbers(shape(0, 3)), views=False), c.add(numbers(shape(0, 3)), views=False)
        return torch.kron
    if c.op == "cross":
        a = [R.randint(1, 3) for _ in range(R.randint(1, 3))]
        axis = c.arg("axis", axis_of(a, 0))
        a[axis] = 3 if R.random() < 0.95 else 2
        c.add(numbers(a)), c.add(numbers(a))
        return lambda x, y: torch.linalg.cross(x, y, dim=axis)
    if c.op == "tensordot":
        n = c.arg("n", R.randint(0, 2))
        inner = [R.randint(1, 3) for _ in range(n)]
        c.add(numbers(shape(0, 2) + inner)), c.add(numbers(inner + shape(0, 2)))
        return lambda x, y: torch.tensordot(x, y, n)
    batch, w, p = shape(0, 1), R.randint(1, 4), c.arg("p", R.choice([1.0, 2.0, 3.0, INF]))
    c.add(numbers(batch + [R.randint(1, 4), w], "normal")), c.add(numbers(batch + [R.randint(1, 4), w], "normal"))
    c.flags = {"once": True}
    return lambda x, y: torch.cdist(x, y, p)


@op("trace", "matrix_power")
def _(c):
    n = c.arg("n", R.randint(0, 5))
    a = [R.randint(1, 4), R.randint(1, 4)]
    if c.op == "trace":
        c.add(numbers(a) if R.random() < 0.7 else ints(a))
        return torch.trace
    c.add(numbers(shape(0, 1) + [a[0], a[0]], "unit"))
    return lambda x: x.matrix_power(n)


@op("logspace", "tril_indices", "triu_indices")
def _(c):
    a, b, n = c.arg("start", R.choice([0.0, -1.0])), c.arg("end", R.choice([1.0, 2.0])), c.arg("n", R.choice([0, 1, 2, 5]))
    base = c.arg("p", R.choice([10.0, 2.0]))
    m, k = c.arg("m", R.randint(0, 4)), c.arg("k", R.randint(-3, 3))
    return {"logspace": lambda: torch.logspace(a, b, n, base), "tril_indices": lambda: torch.tril_indices(n, m, k),
            "triu_indices": lambda: torch.triu_indices(n, m, k)}[c.op]
