"""The programs that reference_drawn_programs.py draws: compositions of 4 to 12 operations.

A program is a line of drawn_answers.py with `steps=`: steps with spaces between them, `name,argument=value,..|registers`. The
registers are the inputs and then the results of all steps, in order. What no step takes comes out. `grad` among the steps
is the gradient of the sum of a register with respect to another one; steps between `[` and `]` are computed again when they
are differentiated. With `by=`, an optimizer takes `turns` steps down the sum Σ out · weight, whose parameters are the inputs.
"""
import math

import torch
import torch.nn.functional as F
from drawn_answers import REFUSALS, answered, dot
from drawn_calls import R, Call, numbers, through
from drawn_ops import UNARY

# of no bounded domain, and smooth or with corners
FUNCTIONS = ["neg", "abs", "sign", "exp", "square", "floor", "round", "trunc", "frac", "atan", "sinh", "tanh", "asinh", "erf", "erfc",
             "sigmoid", "softplus", "relu", "gelu", "logsigmoid", "silu", "mish", "gelu_tanh", "relu6", "hardsigmoid", "softsign",
             "tanhshrink", "sin", "cos", "expm1", "exp2", "ceil", "selu", "hardswish"]
POSITIVE = ["ln", "sqrt", "rsqrt", "recip", "log1p", "log2", "log10", "acosh"]
# the largest number in a drawn program
MOST = 30.0


class Program:
    def __init__(self, inputs, most=MOST):
        self.regs, self.steps, self.funs, self.used = list(inputs), [], [], set()
        self.depth, self.most = 0, most

    def pick(self, ok=lambda t: True, floats=True):
        """A register, rather a late one, that is `ok`."""
        known = [i for i, t in enumerate(self.regs) if t.is_floating_point() == floats and t.dtype != torch.bool and ok(t)]
        if not known:
            return None
        return known[-1] if R.random() < 0.45 else R.choice(known)

    def step(self, name, args, regs, fun):
        """The step, unless its results are too large or not numbers."""
        try:
            out = fun(*[self.regs[r] for r in regs])
        except REFUSALS:
            return False
        out = list(out) if isinstance(out, (tuple, list)) else [out]
        for t in out:
            if t.numel() > 200 or (t.is_floating_point() and not (t.isfinite().all() and (t.abs() <= self.most).all())):
                return False
        text = lambda v: ":".join(map(text, v)) if isinstance(v, (list, tuple)) else str(int(v)) if isinstance(v, (bool, int)) else repr(v) if isinstance(v, float) else str(v)  # noqa: E731
        self.steps.append(",".join([name] + [f"{k}={text(v)}" for k, v in args.items()]) + "|" + ".".join(map(str, regs)))
        self.funs.append((fun, regs))
        self.used.update(regs)
        self.regs += out
        return True

    def bracket(self, mark):
        self.steps.append(mark)
        self.depth += 1 if mark == "[" else -1

    def run(self, *inputs):
        """The registers that no step takes."""
        regs = list(inputs)
        for fun, of in self.funs:
            out = fun(*[regs[r] for r in of])
            regs += list(out) if isinstance(out, (tuple, list)) else [out]
        return [t for i, t in enumerate(regs) if i not in self.used and i >= len(inputs)]


STEPS = []


def step(weight=1):
    def note(draw):
        STEPS.extend([draw] * weight)
        return draw
    return note


def axis_of(t):
    n = max(t.ndim, 1)
    return R.randint(-n, n - 1)


def axes_of(t):
    axes = R.sample(range(t.ndim), R.randint(1, t.ndim)) if t.ndim and R.random() < 0.75 else []
    return [a - t.ndim if R.random() < 0.4 else a for a in axes]


def every(axes, t):
    return tuple(axes) if axes else tuple(range(t.ndim))


def fitting(a, b):
    try:
        torch.broadcast_shapes(a.shape, b.shape)
        return True
    except RuntimeError:
        return False


@step(10)
def unary(p):
    r, name = p.pick(), R.choice(FUNCTIONS)
    # PyTorch's second derivative there is not that of its first one
    if name == "selu" and (p.regs[r] == 0).any():
        return False
    return p.step(name, {}, [r], UNARY[name])


@step(3)
def positive(p):
    r = p.pick(lambda t: bool((t > 0.05).all()) and t.numel())
    if r is None:
        q = p.pick()
        return p.step("number", {"f": "add", "n": 1.0, "swap": 0}, [q], lambda x: x + 1.0) if p.step("square", {}, [q], torch.square) else False
    name = R.choice(POSITIVE)
    return p.step(name, {}, [r], {**UNARY, "acosh": torch.acosh}[name])


@step(2)
def settings(p):
    r, v = p.pick(), R.choice([0.0, 0.25, 0.5, 1.0])
    name, args, fun = R.choice([
        ("leaky_relu", {"p": v}, lambda x: F.leaky_relu(x, v)), ("hardshrink", {"p": v}, lambda x: F.hardshrink(x, v)),
        ("softshrink", {"p": v}, lambda x: F.softshrink(x, v)), ("elu", {"p": v + 0.5}, lambda x: F.elu(x, v + 0.5)),
        ("threshold", {"p": v, "v": 2.0}, lambda x: F.threshold(x, v, 2.0)), ("clamp", {"low": -v, "high": 1.0}, lambda x: x.clamp(-v, 1.0)),
        ("clamp_min", {"low": v}, lambda x: x.clamp(min=v)), ("clamp_max", {"high": v}, lambda x: x.clamp(max=v)),
        ("powf", {"p": 2.0}, lambda x: x.pow(2.0)), ("powf", {"p": 3.0}, lambda x: x.pow(3.0)), ("nan_to_num", {"full": 0}, lambda x: x.nan_to_num())])
    if name == "elu" and (p.regs[r] == 0).any():
        return False
    return p.step(name, args, [r], fun)


@step(3)
def number(p):
    r, n = p.pick(), R.choice([0.5, -1.0, 2.0, 1.25, -0.75])
    name = R.choice(["add", "sub", "mul", "div"])
    swap = R.random() < 0.3 and name != "div"
    fun = {"add": lambda x: x + n, "sub": lambda x: n - x if swap else x - n, "mul": lambda x: x * n, "div": lambda x: x / n}[name]
    return p.step("number", {"f": name, "n": n, "swap": swap}, [r], fun)


def pair(p):
    a = p.pick()
    b = p.pick(lambda t: fitting(p.regs[a], t))
    return (a, b) if R.random() < 0.5 else (b, a)


@step(12)
def binary(p):
    name = R.choice(["add", "sub", "mul", "mul", "div", "maximum", "minimum", "atan2", "hypot", "logaddexp", "fmod", "remainder", "copysign", "fmax", "fmin"])
    a, b = pair(p)
    if name in ("div", "fmod", "remainder") and not (p.regs[b].abs() > 0.1).all():
        return False
    if name in ("atan2", "hypot") and ((p.regs[a].abs() < 0.1) & (p.regs[b].abs() < 0.1)).any():
        return False
    return p.step(name, {}, [a, b], getattr(torch, name))


@step(2)
def power(p):
    a = p.pick(lambda t: bool((t > 0.1).all()))
    if a is None:
        return False
    b = p.pick(lambda t: fitting(p.regs[a], t))
    return p.step("pow", {}, [a, b], torch.pow)


@step(2)
def three(p):
    a = p.pick()
    b = p.pick(lambda t: fitting(p.regs[a], t))
    c = p.pick(lambda t: fitting(p.regs[a], t) and fitting(p.regs[b], t))
    if R.random() < 0.5:
        return p.step("lerp", {"n": "tensor"}, [a, b, c], torch.lerp)
    return p.step("addcmul", {"n": 0.5}, [a, b, c], lambda x, y, z: torch.addcmul(x, y, z, value=0.5))


@step(3)
def choice(p):
    a, b = pair(p)
    name = R.choice(["lt", "ge", "eq", "gt", "le", "ne"])
    if not p.step(name, {}, [a, b], getattr(torch, name)):
        return False
    m = len(p.regs) - 1
    a, b = pair(p)
    if R.random() < 0.5:
        return p.step("where", {}, [m, a, b], torch.where)
    return p.step("masked_fill", {"n": 0.5}, [a, m], lambda x, m: x.masked_fill(m, 0.5))


@step(8)
def reduction(p):
    r = p.pick()
    x, keep = p.regs[r], R.random() < 0.5
    axes = axes_of(x)
    name = R.choice(["sum", "mean", "sum", "amax", "amin", "logsumexp", "var", "std", "norm", "prod_all", "nansum"])
    if not x.numel() and name not in ("sum", "nansum"):
        return False
    args = {"axes": axes, "keep": keep}
    if name in ("var", "std"):
        args["n"] = R.choice([0, 1])
        count = math.prod(x.shape[a] for a in every(axes, x))
        if count <= args["n"] or (name == "std" and (x.var(every(axes, x), correction=0) < 1e-2).any()):
            return False
        return p.step(name, args, [r], lambda x: getattr(x, name)(every(axes, x), correction=args["n"], keepdim=keep))
    if name == "norm":
        args["p"] = R.choice([1.0, 2.0, 3.0, math.inf])
        return p.step(name, args, [r], lambda x: torch.linalg.vector_norm(x, args["p"], every(axes, x), keep))
    if name == "prod_all":
        return p.step(name, {}, [r], torch.prod)
    return p.step(name, args, [r], lambda x: getattr(x, name)(every(axes, x), keepdim=keep))


@step(6)
def along(p):
    r = p.pick(lambda t: t.numel() > 0)
    if r is None:
        return False
    x = p.regs[r]
    axis, keep, down = axis_of(x), R.random() < 0.5, R.random() < 0.5
    n = x.shape[axis] if x.ndim else 1
    k = R.randint(1, n)
    args = {"axis": axis}
    name = R.choice(["softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "cummax", "sort", "topk", "max_with_index", "median", "kthvalue",
                     "argmax", "argsort", "min_with_index", "prod"])
    if name in ("softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "cummax"):
        return p.step(name, args, [r], lambda x: getattr(x, name)(axis))
    if name == "prod":
        return p.step(name, {"axes": [axis] if x.ndim else [], "keep": keep}, [r], lambda x: x.prod(axis, keep))
    if name in ("sort", "argsort"):
        return p.step(name, {**args, "down": down}, [r], lambda x: getattr(x, name)(dim=axis, descending=down, stable=True))
    if name in ("max_with_index", "min_with_index"):
        return p.step(name, {**args, "keep": keep}, [r], lambda x: getattr(x, name[:3])(axis, keep))
    if name == "argmax":
        return p.step(name, {**args, "keep": keep}, [r], lambda x: x.argmax(axis, keep))
    # which of equals comes out is not said
    if torch.unique(x).numel() < x.numel():
        return False
    if name == "topk":
        return p.step(name, {**args, "k": k, "largest": down}, [r], lambda x: x.topk(k, axis, down))
    if name == "median":
        return p.step(name, {**args, "keep": keep}, [r], lambda x: x.median(axis, keep))
    return p.step(name, {**args, "k": k, "keep": keep}, [r], lambda x: x.kthvalue(k, axis, keep))


@step(12)
def view(p):
    r = p.pick()
    x = p.regs[r]
    i, j = axis_of(x), axis_of(x)
    n = x.shape[i] if x.ndim else 1
    name = R.choice(["transpose", "unsqueeze", "flatten", "flip", "slice", "narrow", "roll", "tril", "triu", "diagonal", "unfold", "permute", "reshape",
                     "expand", "select", "pad", "cat", "stack", "split", "chunk", "repeat", "rot90", "diag_embed", "squeeze_all", "repeat_interleave"])
    if not x.ndim and name not in ("unsqueeze", "expand", "reshape", "stack", "repeat"):
        return False
    if name == "transpose":
        return p.step(name, {"axis": i, "other": j}, [r], lambda x: x.transpose(i, j))
    if name == "unsqueeze":
        return x.ndim < 4 and p.step(name, {"axis": i}, [r], lambda x: x.unsqueeze(i))
    if name == "flatten":
        i, j = sorted((i % x.ndim, j % x.ndim))
        return p.step(name, {"axis": i, "other": j}, [r], lambda x: x.flatten(i, j))
    if name == "flip":
        axes = [a for a in axes_of(x)] or [0]
        return p.step(name, {"axes": axes}, [r], lambda x: x.flip(axes))
    if name == "slice":
        a, b, s = R.randint(-n, n), R.randint(0, n), R.choice([1, 2, 2, 3])
        return p.step(name, {"axis": i, "start": a, "end": b, "step": s}, [r], lambda x: x[(slice(None),) * (i % x.ndim) + (slice(a, b, s),)])
    if name == "narrow":
        a = R.randint(0, n)
        b = R.randint(0, n - a)
        return p.step(name, {"axis": i, "start": a, "len": b}, [r], lambda x: x.narrow(i, a, b))
    if name == "select":
        return n > 0 and p.step(name, {"axis": i, "start": n - 1}, [r], lambda x: x.select(i, n - 1))
    if name == "roll":
        return p.step(name, {"list": [2], "axes": [i]}, [r], lambda x: x.roll(2, i))
    if name in ("tril", "triu"):
        k = R.randint(-1, 1)
        return x.ndim > 1 and p.step(name, {"k": k}, [r], lambda x: getattr(x, name)(k))
    if name == "diagonal":
        k = R.randint(-1, 1)
        return x.ndim > 1 and i % x.ndim != j % x.ndim and p.step(name, {"k": k, "axis": i, "other": j}, [r], lambda x: x.diagonal(k, i, j))
    if name == "unfold":
        size, by = R.randint(1, max(n, 1)), R.randint(1, 2)
        return n > 0 and x.ndim < 4 and p.step(name, {"axis": i, "size": size, "step": by}, [r], lambda x: x.unfold(i, size, by))
    if name == "permute":
        order = R.sample(range(x.ndim), x.ndim)
        return p.step(name, {"list": order}, [r], lambda x: x.permute(order))
    if name == "reshape":
        wide = R.choice([[-1], [1, -1], list(x.shape[::-1]), [x.numel(), 1]])
        return (x.numel() > 0 or -1 not in wide) and p.step(name, {"list": wide}, [r], lambda x: x.reshape(wide))
    if name == "expand":
        wide = [R.choice([2, 3]) if d == 1 else d for d in x.shape]
        wide = [2] + wide if R.random() < 0.5 and len(wide) < 4 else wide
        return p.step(name, {"list": wide}, [r], lambda x: x.expand(wide))
    if name == "pad":
        a, b = R.randint(-1, 2), R.randint(0, 2)
        mode, how = R.choice([("constant", "constant"), ("reflect", "reflect"), ("replicate", "replicate"), ("circular", "circular")])
        if mode != "constant":
            if x.ndim < 2 or x.shape[-1] <= max(a, b) or a < 0 or x.ndim > 3 or not x.numel():
                return False
            return p.step(name, {"list": [a, b], "mode": mode}, [r], lambda x: F.pad(x, (a, b), how))
        return x.shape[-1] + a + b >= 0 and p.step(name, {"list": [a, b], "mode": mode, "n": 0.5}, [r], lambda x: F.pad(x, (a, b), how, 0.5))
    if name in ("cat", "stack"):
        s = p.pick(lambda t: t.shape == x.shape)
        q = R.choice([r, s])
        return (name == "cat" or x.ndim < 4) and p.step(name, {"axis": i}, [r, s, q], lambda *x: getattr(torch, name)(x, i))
    if name in ("split", "chunk"):
        k = R.randint(1, 3)
        return n > 0 and p.step(name, {"axis": i, "n": k}, [r], lambda x: getattr(x, name)(k, i))
    if name == "repeat":
        times = [R.choice([1, 2]) for _ in range(x.ndim)]
        return p.step(name, {"list": times}, [r], lambda x: x.repeat(times))
    if name == "rot90":
        return x.ndim > 1 and i % x.ndim != j % x.ndim and p.step(name, {"axis": i, "other": j, "n": 1}, [r], lambda x: x.rot90(3, (i, j)))
    if name == "diag_embed":
        return x.ndim < 3 and p.step(name, {"n": 2}, [r], lambda x: x.diag_embed(0))
    if name == "repeat_interleave":
        return p.step(name, {"axis": i, "n": 2}, [r], lambda x: x.repeat_interleave(2, i))
    return p.step(name, {}, [r], lambda x: x.squeeze())


@step(6)
def product(p):
    a = p.pick(lambda t: t.ndim > 0)
    if a is None:
        return False
    x = p.regs[a]
    kind = R.choice(["matmul", "matmul", "einsum", "outer", "own", "cdist"])
    if kind == "outer":
        b = p.pick(lambda t: t.ndim == 1)
        return x.ndim == 1 and p.step("outer", {}, [a, b], torch.outer)
    if kind == "own":  # x xᵀ
        if x.ndim < 2 or not p.step("transpose", {"axis": -1, "other": -2}, [a], lambda x: x.transpose(-1, -2)):
            return False
        return p.step("matmul", {}, [a, len(p.regs) - 1], torch.matmul)
    if kind == "einsum":
        b = p.pick(lambda t: t.ndim == 2 and t.shape[0] == x.shape[-1])
        formula = R.choice(["ij,jk->ki", "ij,jk->ik", "ij,jk->k", "ij,jk->"])
        return b is not None and x.ndim == 2 and p.step("einsum", {"formula": formula.replace(",", "|")}, [a, b], lambda x, y: torch.einsum(formula, x, y))
    if kind == "cdist":
        b = p.pick(lambda t: t.ndim == 2 and t.shape[-1] == x.shape[-1])
        return b is not None and x.ndim == 2 and (torch.cdist(p.regs[a], p.regs[b]) > 0.1).all() and p.step("cdist", {"p": 2.0}, [a, b], torch.cdist)
    b = p.pick(lambda t: t.ndim > 0 and t.shape[0 if t.ndim == 1 else -2] == x.shape[-1])
    return b is not None and p.step("matmul", {}, [a, b], torch.matmul)


@step(5)
def index(p):
    r = p.pick(lambda t: t.ndim > 0 and t.numel() > 0)
    if r is None:
        return False
    x = p.regs[r]
    axis = axis_of(x)
    n = x.shape[axis]
    name = R.choice(["gather", "index_select", "index_add", "scatter_add", "embedding", "take", "scatter_reduce", "index_fill", "masked"])
    if name == "masked":
        m = p.pick(lambda t: t.shape == x.shape)
        return p.step("gt", {}, [r, m], torch.gt) and p.step("masked_select", {}, [r, len(p.regs) - 1], lambda x, m: x.masked_select(m))
    wide = name in ("gather", "scatter_add", "scatter_reduce")
    index = p.pick(lambda t: t.ndim == (x.ndim if wide else 1 if name.startswith("index") else t.ndim)
                   and t.numel() > 0 and t.min() >= 0 and t.max() < (x.numel() if name == "take" else x.shape[0] if name == "embedding" else n)
                   and (not wide or all(d <= e for i, (d, e) in enumerate(zip(t.shape, x.shape)) if i != axis % x.ndim)), floats=False)
    if index is None:
        return False
    i = p.regs[index]
    if name == "take":
        return p.step(name, {}, [r, index], torch.take)
    if name == "embedding":
        return x.ndim == 2 and p.step(name, {}, [r, index], lambda x, i: F.embedding(i, x))
    if name in ("gather", "index_select"):
        return p.step(name, {"axis": axis}, [r, index], lambda x, i: getattr(x, name)(axis, i))
    if name == "index_fill":
        return p.step(name, {"axis": axis}, [r, index], lambda x, i: x.index_fill(axis, i, 2.5))
    shape = list(i.shape) if wide else [i.numel() if k == axis % x.ndim else d for k, d in enumerate(x.shape)]
    source = p.pick(lambda t: list(t.shape) == shape)
    if source is None:
        return False
    if name == "scatter_reduce":
        how, own = R.choice(["sum", "amax", "mean"]), R.random() < 0.5
        # what `self` has counts as a tie in PyTorch's gradient, also where it is left out
        own = own or how == "amax"
        return p.step(name, {"axis": axis, "how": how, "self": own}, [r, index, source], lambda x, i, s: x.scatter_reduce(axis, i, s, how, include_self=own))
    return p.step(name, {"axis": axis}, [r, index, source], lambda x, i, s: getattr(x, name)(axis, i, s))


@step(4)
def layer(p):
    r = p.pick(lambda t: t.ndim > 0 and t.numel() > 0)
    if r is None:
        return False
    x = p.regs[r]
    name = R.choice(["layer_norm", "rms_norm", "conv", "max_pool", "avg_pool", "group_norm", "normalize", "attention", "cosine"])
    n = R.randint(1, x.ndim)
    if name in ("layer_norm", "rms_norm"):
        shape = x.shape[-n:]
        if (x.var(tuple(range(-n, 0)), correction=0) < 0.05).any():
            return False
        fun = F.layer_norm if name == "layer_norm" else F.rms_norm
        return p.step(name, {"n": n, "eps": 1e-3}, [r], lambda x: fun(x, shape, eps=1e-3))
    if name == "group_norm":
        if x.ndim < 2 or (x.shape[0] * x.shape[1] == x.numel()) or (x.flatten(2).var(-1, correction=0) < 0.05).any():
            return False
        return p.step(name, {"n": x.shape[1], "eps": 1e-3}, [r], lambda x: F.group_norm(x, x.shape[1], eps=1e-3))
    if name == "conv":
        w = p.pick(lambda t: t.ndim == 3 and x.ndim == 3 and t.shape[1] == x.shape[1] and t.numel() > 0)
        s, d, pad = R.randint(1, 2), R.randint(1, 2), R.randint(0, 2)
        return w is not None and p.step("conv1d", {"s": s, "p": pad, "d": d}, [r, w], lambda x, w: F.conv1d(x, w, None, s, pad, d))
    if name in ("max_pool", "avg_pool"):
        if x.ndim != 3:
            return False
        k, s = R.randint(1, 3), R.randint(1, 2)
        pad = R.randint(0, k // 2)
        return p.step(name, {"k": k, "s": s, "p": pad}, [r], lambda x: getattr(F, name + "1d")(x, k, s, pad))
    if name == "normalize":
        axis = axis_of(x)
        return bool((x.norm(2, axis) > 0.1).all()) and p.step(name, {"axis": axis, "p": 2.0}, [r], lambda x: F.normalize(x, 2.0, axis))
    if name == "attention":
        k, v = p.pick(lambda t: t.shape == x.shape), p.pick(lambda t: t.shape == x.shape)
        causal = R.random() < 0.5
        return x.ndim == 3 and p.step("scaled_dot_product_attention", {"causal": causal}, [r, k, v], lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal))
    y, axis = p.pick(lambda t: fitting(t, x) and t.ndim == x.ndim), axis_of(x)
    if y is None or not (p.regs[y].norm(2, axis) > 0.1).all() or not (x.norm(2, axis) > 0.1).all():
        return False
    return p.step("CosineSimilarity", {"axis": axis}, [r, y], lambda x, y: F.cosine_similarity(x, y, axis))


@step(3)
def loss(p):
    a = p.pick(lambda t: t.numel() > 0)
    if a is None:
        return False
    x, how = p.regs[a], R.choice(["none", "sum", "mean"])
    name = R.choice(["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "KLDivLoss", "SoftMarginLoss"])
    if name == "CrossEntropyLoss":
        t = p.pick(lambda t: x.ndim == 2 and t.ndim == 1 and t.shape[0] == x.shape[0] and t.min() >= 0 and t.max() < x.shape[1], floats=False)
        smooth = R.choice([0.0, 0.2])
        return t is not None and p.step(name, {"reduction": how, "label_smoothing": smooth}, [a, t],
                                        lambda x, t: F.cross_entropy(x, t, reduction=how, label_smoothing=smooth))
    b = p.pick(lambda t: t.shape == x.shape)
    if name == "KLDivLoss":
        return p.step(name, {"reduction": how, "log_target": 1}, [a, b], lambda x, y: F.kl_div(x, y, reduction=how, log_target=True))
    return p.step(name, {"reduction": how}, [a, b], getattr(torch.nn, name)(reduction=how))


@step(3)
def autograd(p):
    a = p.pick()
    if R.random() < 0.3:
        return p.step("detach", {}, [a], torch.detach)
    b = p.pick()
    if not (p.regs[a].requires_grad and p.regs[b].requires_grad):
        return False

    def fun(y, x):
        g, = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)
        return torch.zeros_like(x) if g is None else g
    return p.step("grad", {}, [a, b], fun)


def inputs(call):
    """Floats whose shapes broadcast or multiply, and sometimes indices."""
    n = [R.choice([1, 2, 3, 4, 0 if R.random() < 0.15 else 2]) for _ in range(3)]
    shapes = [n[:2], n[1:], [n[1]], [], n, [1, n[1]], [n[0], 1], [n[2]], [2, n[1], 1], [1, n[2]]]
    for s in R.sample(shapes, R.randint(1, 3)):
        k = R.choice(["normal", "normal", "ties", "positive"])
        call.add(numbers(s, k) if k == "positive" else numbers(s, k) * R.choice([0.5, 1.0]))
    if R.random() < 0.4:
        s = R.choice(shapes)
        call.const(torch.tensor([R.randint(0, 1) for _ in range(math.prod(s))], dtype=torch.int32).reshape(s))


def known(leaves, call, program, dtype):
    """All that is compared, of the run in `dtype`."""
    x = [t.to(dtype).requires_grad_("const" not in v) if t.is_floating_point() else t.long() for t, v in zip(leaves, call.views)]
    out = program.run(*[through(t, v) for t, v in zip(x, call.views)])
    wanted, all = [t for t in x if t.requires_grad], list(out)
    first = dot([t if t.is_floating_point() else None for t in out])
    if first is None or not first.requires_grad:
        return None
    grads = torch.autograd.grad(first, wanted, create_graph=True, allow_unused=True)
    second = dot(grads)
    if second is not None and second.requires_grad:
        all += [t for t in torch.autograd.grad(second, wanted, allow_unused=True)]
    return all + list(grads)


def sound(call, program):
    """Whether float32 gives what float64 does: elsewhere the program rounds to the other side of a corner."""
    try:
        near, exact = (known(call.inputs, call, program, t) for t in (torch.float32, torch.float64))
    except REFUSALS:
        return False
    if near is None:
        return False
    for a, b in zip(near, exact):
        if a is None or b is None:
            continue
        if not b.is_floating_point():
            if not torch.equal(a, b):
                return False
        elif a.shape != b.shape or not b.isfinite().all() or ((a - b).abs() > 3e-6 * (1 + b.abs())).any() or (b.abs() > 1e4).any():
            return False
    return True


RULES = {
    "SGD": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.5), "Adam": lambda p, lr: torch.optim.Adam(p, lr, eps=0.125),
    "AdamW": lambda p, lr: torch.optim.AdamW(p, lr, eps=0.125, weight_decay=0.25), "RMSprop": lambda p, lr: torch.optim.RMSprop(p, lr, eps=0.125),
    "Adagrad": lambda p, lr: torch.optim.Adagrad(p, lr, eps=0.125),
}


def descent(program, by, turns):
    """The parameters after some steps down the sum of what the program gives."""
    def run(*x):
        params = [t.detach().clone().requires_grad_() if t.is_floating_point() else t for t in x]
        floats = [t for t in params if t.is_floating_point()]
        rule = RULES[by](floats, 0.125)
        for _ in range(turns):
            rule.zero_grad()
            dot([t if t.is_floating_point() else None for t in program.run(*params)]).backward()
            rule.step()
        return [t.detach() for t in floats]
    return run


def draw():
    """Draws one program and writes it, if it is sound."""
    call = Call("program")
    by = R.choice(list(RULES)) if R.random() < 0.15 else None
    inputs(call)
    if by:
        call.views = [[v for v in chain if v == "const"] for chain in call.views]
        call.inputs = [t.contiguous() for t in call.inputs]
    floats = [t.double().requires_grad_() if t.is_floating_point() else t.long() for t in call.inputs]
    program = Program([through(t, v) for t, v in zip(floats, call.views)])
    length, opened = R.randint(4, 12), False
    for _ in range(60):
        if len(program.funs) >= length:
            break
        if R.random() < 0.08 and program.depth < 2:
            program.bracket("[")
        R.choice(STEPS)(program)
        if program.depth and R.random() < 0.25:
            program.bracket("]")
    while program.depth:
        program.bracket("]")
    if not program.funs or not sound(call, program):
        return
    call.args.append("steps=" + " ".join(program.steps))
    if by is None:
        call.flags = {"twice": 1}
        return answered(call, program.run)
    call.arg("by", by), call.arg("turns", 3)
    call.op, call.flags = "descent", {"nograd": True}
    run = descent(program, by, 3)
    with torch.enable_grad():
        try:
            near, exact = run(*[t.float() if t.is_floating_point() else t.long() for t in call.inputs]), run(*[t.double() if t.is_floating_point() else t.long() for t in call.inputs])
        except REFUSALS:
            return
        if all(b.isfinite().all() and ((a - b).abs() <= 3e-6 * (1 + b.abs())).all() for a, b in zip(near, exact)):
            answered(call, run)
