"""Functions of one argument and of two."""
import numpy as np
import torch
import torch.nn.functional as F

from .calls import INF, NAN, R, bools, ints, kind, numbers, op, other, shape


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
        # reduction of large angles ends at 1e5; what becomes of NaN's gradient at a kink depends in PyTorch on the
        # element's place, and its gelu and hardswish of infinities are NaN
        if k == "special" and name in ("sin", "cos", "tan", "relu6", "hardsigmoid", "hardswish", "gelu", "selu"):
            k = "normal"
        c.add(numbers(shape(), k, c))
        # PyTorch's second derivative of these at 0 is not that of its first one
        c.flags = {"once": name == "selu" and k == "ties"}
        return f


for name, f in UNARY.items():
    unary(name, f)


@op("unary_int")
def _(c):
    name = c.arg("f", R.choice(["neg", "abs", "sign", "square", "exp", "sqrt", "floor", "relu", "sigmoid", "logical_not"]))
    c.add(ints(shape()))
    return {"relu": torch.relu}.get(name, getattr(torch, name))


def scaled(name, f, low, high):
    @op(name)
    def draw(c):
        k = kind()
        # no gradient of NaN in PyTorch, and second derivatives at 0 as for selu
        c.add(numbers(shape(), k if k != "special" or name == "leaky_relu" else "ties", c))
        c.flags = {"once": name in ("elu", "celu")}
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
    c.add(numbers(shape(), kind(), c) if R.random() < 0.85 else ints(shape()))
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
        # at the corners PyTorch's formulas give NaN, or the gradient to both of two equals
        c.flags = {"nograd": k != "normal" or name in ("fmax", "fmin")}
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
