"""The layers that reference_drawn_layers.py makes and calls: for each, how its settings and inputs are drawn, and PyTorch's
way to say it. A function here draws into `c`, lets `c.make` make the layer, and returns what calls it (`True`: with the
inputs as they are)."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from drawn_calls import INF, NAN, R, ints, numbers, numel, op


def chance(p):
    return R.random() < p


def flag(c, name, p=0.5):
    """A setting that is on or not given."""
    return bool(chance(p) and c.arg(name, True))


def setting(c, name, values, default, p=0.6):
    """A number out of `values`, or not given."""
    return c.arg(name, R.choice(values)) if chance(p) else default


def extents(c, name, n, values, default=None, p=1.0):
    """One number for all axes, or one for each; or not given."""
    if not chance(p):
        return default
    if n == 1 or chance(0.5):
        return c.arg(name, R.choice(values))
    return tuple(c.arg(name, [R.choice(values) for _ in range(n)]))


def batch():
    """The batch axis, seldom none or of extent 0."""
    return R.choice([[1], [2], [2], [3], [2], [2], [0], []])


def image(c, channels, n, low=1, high=6, kind="normal", outer=None):
    """An image over `n` axes as the input."""
    high = min(high, {1: 9, 2: 6, 3: 4}[n])
    space = [R.randint(low, max(high, low)) for _ in range(n)]
    if chance(0.01):
        space[R.randrange(n)] = 0
    x = numbers((batch() if outer is None else outer) + [channels] + space, kind)
    c.add(x, views=chance(0.3))
    return x


def mode(c, p=0.3):
    """Training or evaluation, and how often the layer is called."""
    c.flags = {"eval": flag(c, "eval", p), "twice": 0.1, **getattr(c, "flags", {})}


def layer(*names, weight=1):
    """As `op`; gradients of gradients are seldom asked for."""
    def note(draw):
        def drawn(c):
            c.flags = {"twice": 0.15}
            return draw(c)
        for name in names:
            op(name, weight=weight)(drawn)
        return draw
    return note


# ---- convolutions ----

@layer("Conv1d", "Conv2d", "Conv3d", weight=4)
def _(c):
    n = int(c.op[4])
    groups = c.arg("groups", R.choice([1, 1, 1, 2, 3]))
    inputs, outputs = groups * R.randint(1, 2), groups * R.randint(1, 2)
    if chance(0.03):
        inputs += 1
    c.arg("inputs", inputs), c.arg("outputs", outputs)
    kernel = extents(c, "kernel", n, [1, 2, 3])
    stride = extents(c, "stride", n, [1, 2, 3], 1, 0.5)
    dilation = extents(c, "dilation", n, [1, 2], 1, 0.4)
    if chance(0.2):
        padding = R.choice(["same", "valid"])
        if padding == "same":
            c.arg("same", True)
    else:
        padding = extents(c, "padding", n, [0, 1, 2, 3], 0, 0.6)
    how = setting(c, "padding_mode", ["reflect", "replicate", "circular", "zeros"], "zeros", 0.4)
    bias = not flag(c, "no_bias", 0.3)
    image(c, inputs if chance(0.97) else inputs + 1, n)
    c.make = lambda: getattr(nn, c.op)(inputs, outputs, kernel, stride, padding, dilation, groups, bias, how)
    return True


@layer("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", weight=3)
def _(c):
    n = int(c.op[13])
    groups = c.arg("groups", R.choice([1, 1, 2, 3]))
    inputs, outputs = c.arg("inputs", groups * R.randint(1, 2)), c.arg("outputs", groups * R.randint(1, 2))
    kernel = extents(c, "kernel", n, [1, 2, 3])
    stride = extents(c, "stride", n, [1, 2, 3], 1, 0.6)
    dilation = extents(c, "dilation", n, [1, 2], 1, 0.4)
    padding = extents(c, "padding", n, [0, 1, 2], 0, 0.5)
    more = extents(c, "output_padding", n, [0, 1, 1, 2], 0, 0.4)
    bias = not flag(c, "no_bias", 0.3)
    # of an empty batch PyTorch takes settings that it refuses else
    x = image(c, inputs, n, high=4, outer=R.choice([[], [1], [2], [2]] + ([] if more or padding else [[0]])))
    c.make = lambda: getattr(nn, c.op)(inputs, outputs, kernel, stride, padding, more, groups, bias, dilation)
    if chance(0.2):
        layer = c.make()
        least = [(e - 1) * s - 2 * p + d * (k - 1) + 1 for e, s, p, d, k in
                 zip(x.shape[-n:], layer.stride, layer.padding, layer.dilation, layer.kernel_size)]
        output = c.arg("output", [max(e + R.randint(0, max(s, 1)), 0) for e, s in zip(least, layer.stride)])
        return lambda m, x: m(x, output_size=output)
    return True


# ---- pooling ----

def apart(dims):
    return numbers(dims, "apart")


@layer("MaxPool1d", "MaxPool2d", "MaxPool3d", weight=3)
def _(c):
    n = int(c.op[7])
    kernel = extents(c, "kernel", n, [1, 2, 3])
    stride = extents(c, "stride", n, [1, 2, 3], None, 0.6)
    padding = extents(c, "padding", n, [0, 1], 0, 0.5)
    dilation = extents(c, "dilation", n, [1, 2], 1, 0.4)
    ceil, index = flag(c, "ceil_mode"), flag(c, "index", 0.4)
    x = image(c, R.randint(1, 2), n, high=7, kind=R.choice(["apart", "apart", "ties"]))
    if chance(0.1) and x.numel():
        c.inputs[0].view(-1)[R.randrange(x.numel())] = R.choice([NAN, -INF])
        c.flags = {"nograd": True}
    c.make = lambda: getattr(nn, c.op)(kernel, stride, padding, dilation, index, ceil)
    each = lambda v: v if isinstance(v, tuple) else (v,) * n
    # of a window that has no element PyTorch's gradient writes outside of its memory
    if any(p and d > 1 and e < d + p + 1 for p, d, e in zip(each(padding), each(dilation), x.shape[-n:])):
        return None
    return True


@layer("AvgPool1d", "AvgPool2d", "AvgPool3d", weight=3)
def _(c):
    n = int(c.op[7])
    kernel = extents(c, "kernel", n, [1, 2, 3])
    stride = extents(c, "stride", n, [1, 2, 3], None, 0.6)
    padding = extents(c, "padding", n, [0, 1], 0, 0.6)
    ceil, count = flag(c, "ceil_mode"), not flag(c, "without_padding")
    divisor = setting(c, "divisor", [1, 3, 7], None, 0.2) if n > 1 else None
    image(c, R.randint(1, 2), n, low=R.choice([1, 3]) if n == 3 else 1, high=7)
    more = [divisor] if n > 1 else []
    c.make = lambda: getattr(nn, c.op)(kernel, stride, padding, ceil, count, *more)
    return True


@layer("LPPool1d", "LPPool2d", "LPPool3d")
def _(c):
    n = int(c.op[6])
    p = c.arg("p", R.choice([1.0, 2.0, 3.0, 1.5]))
    kernel = extents(c, "kernel", n, [1, 2, 3])
    stride = extents(c, "stride", n, [1, 2, 3], None, 0.6)
    ceil = flag(c, "ceil_mode")
    image(c, R.randint(1, 2), n, low=R.choice([1, 3]) if n == 3 else 1, kind="positive" if p != 2 else "normal")
    c.make = lambda: getattr(nn, c.op)(p, kernel, stride, ceil)
    return True


@layer("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
       "AdaptiveMaxPool3d")
def _(c):
    n = int(c.op[-2])
    output = extents(c, "output", n, [1, 2, 3, 4, 7])
    if isinstance(output, tuple) and chance(0.3):
        output = (-1,) + output[1:]
        c.arg("output", output)
    given = tuple(None if o == -1 else o for o in output) if isinstance(output, tuple) else output
    index = "Max" in c.op and flag(c, "index", 0.4)
    image(c, R.randint(1, 2), n, kind="apart")
    c.make = lambda: getattr(nn, c.op)(given, *([index] if "Max" in c.op else []))
    return True


@layer("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", weight=2)
def _(c):
    n = int(c.op[9])
    kernel = extents(c, "kernel", n, [2, 3])
    stride = extents(c, "stride", n, [1, 2, 3], None, 0.5)
    padding = extents(c, "padding", n, [0, 1], 0, 0.4)
    x = apart(batch() + [R.randint(1, 2)] + [R.randint(3, 6 if n < 3 else 4) for _ in range(n)])
    try:
        y, index = getattr(nn, f"MaxPool{n}d")(kernel, stride, padding, return_indices=True)(x)
    except RuntimeError:
        return None
    c.add(y, views=False), c.add(index.int(), views=False)
    # where windows overlap, a place may be named twice
    c.flags = {"nograd": stride is not None}
    c.make = lambda: getattr(nn, c.op)(kernel, stride, padding)
    output = list(x.shape[-n:]) if stride is not None or chance(0.3) else None
    if output is None:
        return True
    if chance(0.1):
        output[0] += R.choice([-1, 1, 4])
    c.arg("output", output)
    return lambda m, y, i: m(y, i, output_size=output)


@layer("FractionalMaxPool2d", "FractionalMaxPool3d")
def _(c):
    n = int(c.op[-2])
    kernel = extents(c, "kernel", n, [1, 2, 3])
    x = apart(batch() + [2] + [R.randint(3, 6 if n < 3 else 5) for _ in range(n)])
    b = x.shape[0] if x.ndim == n + 2 else 1
    samples = torch.tensor([[[R.randrange(1000) / 1000 for _ in range(n)] for _ in range(2)] for _ in range(b)]).reshape(b, 2, n)
    c.add(x, views=chance(0.3)), c.const(samples)
    if chance(0.5):
        output, ratio = extents(c, "output", n, [1, 2, 3]), None
    else:
        output, ratio = None, c.arg("ratio", [R.choice([0.5, 0.4, 0.7]) for _ in range(n)])
    pool = lambda x, s: getattr(nn, c.op)(kernel, output, ratio, True, _random_samples=s)(x)
    return pool


# ---- padding ----

@layer(*[f"{kind}Pad{n}d" for kind in ("Constant", "Zero", "Circular") for n in (1, 2, 3)],
       *[f"{kind}Pad{n}d" for kind in ("Reflection", "Replication") for n in (1, 2, 3)])
def _(c):
    n = int(c.op[-2])
    kind = c.op[:-5]
    values = [-2, -1, 0, 1, 2] if kind in ("Constant", "Zero") else [0, 1, 1, 2, 2, 3] + ([-1] if kind != "Circular" and n < 3 and chance(0.2) else [])
    sides = c.arg("sides", R.choice(values)) if chance(0.3) else tuple(c.arg("sides", [R.choice(values) for _ in range(2 * n)]))
    value = [c.arg("value", R.choice([0.0, 1.5, -2.0]))] if kind == "Constant" else []
    image(c, R.randint(1, 2), n, high=5)
    c.make = lambda: getattr(nn, c.op)(sides, *value)
    return True


# ---- norms ----

@layer("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", weight=3)
def _(c):
    n, instance = int(c.op[-2]), c.op.startswith("I")
    channels = c.arg("channels", R.randint(1, 3))
    eps = setting(c, "eps", [1e-3, 1e-5, 0.5], 1e-5)
    affine = flag(c, "affine") if instance else not flag(c, "no_affine", 0.3)
    track = flag(c, "tracking", 0.4) if instance else not flag(c, "no_tracking", 0.3)
    momentum = 0.1
    if chance(0.6):
        momentum = R.choice([None, 0.3, 0.0, 1.0])
        c.arg("momentum", "none" if momentum is None else momentum)
    bias = not flag(c, "no_bias", 0.2)
    given = channels if chance(0.95) else channels + 1
    # of an empty batch PyTorch takes any channels
    outer = R.choice([[], [1], [2]]) if instance or given != channels else None
    if n == 1 and not instance and given == channels and chance(0.4):
        c.add(numbers([R.choice([0, 1, 2, 3, 5]), given], "normal"), views=chance(0.3))
    else:
        # what PyTorch makes of an instance norm of no instance depends on its settings, and is often an error
        x = image(c, given, n, high=4, outer=outer)
        # of two numbers the norm is a sign, whose slopes are differences of what is nearly equal
        c.flags["once"] = instance and numel(x.shape[-n:]) < 3
    mode(c, 0.4)
    c.flags.update(after=track, calls=R.choice([1, 1, 2]))
    c.arg("calls", c.flags["calls"])
    c.make = lambda: getattr(nn, c.op)(channels, eps, momentum, affine, track, bias=bias)
    return True


@layer("LayerNorm", "RMSNorm", weight=3)
def _(c):
    shape = [R.choice([1, 2, 3, 5, 8]) for _ in range(R.randint(1, 2))]
    c.arg("features", shape)
    eps = setting(c, "eps", [1e-3, 1e-5, 0.5], 1e-5 if c.op == "LayerNorm" else 2.0**-23)
    affine = not flag(c, "no_affine", 0.3)
    bias = c.op == "LayerNorm" and not flag(c, "no_bias", 0.3)
    outer = [R.choice([0, 1, 2, 3, 3]) for _ in range(R.randint(0, 2))]
    c.add(numbers(outer + (shape if chance(0.96) else shape[:-1] + [4]), R.choice(["normal", "normal", "ties"])), views=chance(0.3))
    c.make = lambda: nn.LayerNorm(shape, eps, affine, bias) if c.op == "LayerNorm" else nn.RMSNorm(shape, eps, affine)
    return True


@layer("GroupNorm", weight=4)
def _(c):
    groups = c.arg("groups", R.randint(1, 3))
    channels = c.arg("channels", groups * R.randint(1, 2) + (1 if chance(0.05) else 0))
    eps = setting(c, "eps", [1e-3, 0.5], 1e-5)
    affine, bias = not flag(c, "no_affine", 0.3), not flag(c, "no_bias", 0.2)
    space = [R.randint(1, 3) for _ in range(R.randint(0, 3))]
    given = channels if chance(0.95) else channels + groups
    c.add(numbers([R.choice([0, 1, 2, 3]), given] + space, "normal"), views=chance(0.3))
    c.make = lambda: nn.GroupNorm(groups, channels, eps, affine, bias=bias)
    return True


@layer("LocalResponseNorm", weight=2)
def _(c):
    size = c.arg("size", R.randint(1, 5))
    alpha, beta, k = setting(c, "alpha", [1e-4, 0.5], 1e-4), setting(c, "beta", [0.75, 1.0, 0.5], 0.75), setting(c, "k", [1.0, 2.0], 1.0)
    c.add(numbers([R.randint(0, 2), R.randint(1, 5)] + [R.randint(1, 3) for _ in range(R.choice([0, 1, 1, 2, 2, 3]))], "normal"), views=chance(0.3))
    c.make = lambda: nn.LocalResponseNorm(size, alpha, beta, k)
    return True


# ---- activations ----

PLAIN = {"Identity": 1, "ReLU": 1, "ReLU6": 1, "GELU": 1, "Tanh": 1, "Sigmoid": 1, "LogSigmoid": 1, "SiLU": 1, "Mish": 1, "Tanhshrink": 1,
         "Softsign": 1, "SELU": 1, "Hardswish": 1, "Hardsigmoid": 1, "Softmax2d": 2}


def anything(low=0, high=4):
    return [R.choice([0, 1, 2, 3, 3, 5]) for _ in range(R.randint(low, high))]


for name, weight in PLAIN.items():
    @layer(name, weight=weight)
    def _(c):
        c.add(numbers(anything(2 if c.op == "Softmax2d" else 0), R.choice(["normal", "ties"])), views=chance(0.3))
        tanh = c.op == "GELU" and flag(c, "tanh")
        c.make = lambda: nn.GELU("tanh") if tanh else getattr(nn, c.op)()
        return True


@layer("LeakyReLU", "ELU", "CELU", "Hardshrink", "Softshrink", "Softmax", "LogSoftmax", "Softmin", "GLU", weight=2)
def _(c):
    axis = c.op in ("Softmax", "LogSoftmax", "Softmin", "GLU")
    dims = anything(1 if c.op == "GLU" else 0)
    values = list(range(-len(dims) - 1 if chance(0.05) else -max(len(dims), 1), max(len(dims), 1))) if axis \
        else [0.0, 0.5, 1.0, 2.0] + ([-0.5] if chance(0.1) else [])
    p = R.choice(values)
    if c.op == "GLU" and -len(dims) <= p < len(dims) and chance(0.9):
        dims[p] *= 2
    c.arg("p", p)
    c.add(numbers(dims, R.choice(["normal", "ties"])), views=chance(0.3))
    c.make = lambda: getattr(nn, c.op)(p)
    return True


@layer("Hardtanh", "Softplus", "Threshold", weight=2)
def _(c):
    a, b = {"Hardtanh": ([-1.0, 0.0, -2.0], [1.0, 0.0, 2.0]), "Softplus": ([1.0, 0.5, 3.0], [20.0, 1.0]),
            "Threshold": ([0.0, 0.5, -1.0], [0.0, 20.0])}[c.op]
    a, b = c.arg("a", R.choice(a)), c.arg("b", R.choice(b))
    c.add(numbers(anything(), R.choice(["normal", "ties"])), views=chance(0.3))
    c.make = lambda: getattr(nn, c.op)(a, b)
    return True


@layer("PReLU", weight=3)
def _(c):
    n = c.arg("count", R.choice([1, 1, 2, 3]))
    dims = anything()
    if len(dims) > 1 and chance(0.7):
        dims[1] = n
    c.add(numbers(dims, R.choice(["normal", "ties"])), views=chance(0.3))
    c.make = lambda: nn.PReLU(n)
    return True


@layer("RReLU")
def _(c):
    low = c.arg("a", R.choice([0.125, 0.0, 0.2]))
    high = c.arg("b", R.choice([0.25, 0.5]) if chance(0.95) else 0.1)
    c.add(numbers(anything(), "normal"), views=chance(0.3))
    mode(c, 1.0)
    c.make = lambda: nn.RReLU(low, high)
    return True


@layer("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", weight=2)
def _(c):
    mode(c, 0.6)
    # training is drawn where nothing is random
    p = c.arg("p", R.choice([0.0, 0.5, 1.0, -0.1, 1.5] if c.flags["eval"] else [0.0, 1.0, 1.5]))
    # of less than two axes PyTorch takes some, depending on p
    c.add(numbers(anything(2 if c.op in ("Dropout2d", "Dropout3d") else 0, 5), "normal"), views=chance(0.3))
    c.make = lambda: getattr(nn, c.op)(p)
    return True


# ---- maps and arrangements ----

@layer("Linear", weight=3)
def _(c):
    inputs, outputs = c.arg("inputs", R.choice([1, 2, 3, 5, 8])), c.arg("outputs", R.choice([1, 2, 3, 4]))
    bias = not flag(c, "no_bias", 0.3)
    c.add(numbers(anything(0, 3) + [inputs if chance(0.96) else inputs + 1], "normal"), views=chance(0.4))
    c.make = lambda: nn.Linear(inputs, outputs, bias)
    return True


@layer("Bilinear", weight=2)
def _(c):
    a, b, outputs = c.arg("a", R.randint(1, 3)), c.arg("b", R.randint(1, 3)), c.arg("outputs", R.randint(1, 3))
    bias = not flag(c, "no_bias", 0.3)
    outer = anything(0, 2)
    c.add(numbers(outer + [a], "normal"), views=chance(0.3))
    c.add(numbers((outer if chance(0.95) else outer + [2]) + [b], "normal"), views=chance(0.3))
    c.make = lambda: nn.Bilinear(a, b, outputs, bias)
    return True


@layer("Flatten", "Unflatten", weight=2)
def _(c):
    dims = anything(0 if c.op == "Flatten" else 1)
    axis = lambda: R.randint(-len(dims), max(len(dims) - 1, 0)) if chance(0.95) else len(dims)
    if c.op == "Flatten":
        start, end = setting(c, "start", [axis()], 1), setting(c, "end", [axis()], -1)
        c.make = lambda: nn.Flatten(start, end)
    else:
        at = c.arg("axis", axis())
        parts = [R.randint(1, 3) for _ in range(R.randint(1, 3))]
        if -len(dims) <= at < len(dims):
            dims[at] = numel(parts)
        if chance(0.4):
            parts[R.randrange(len(parts))] = -1
        if chance(0.05):
            parts[0] = 5
        c.arg("extents", parts)
        c.make = lambda: nn.Unflatten(at, tuple(parts))
    c.add(numbers(dims, "normal"), views=chance(0.3))
    return True


@layer("PixelShuffle", "PixelUnshuffle", "ChannelShuffle", weight=2)
def _(c):
    r = c.arg("n", R.randint(1, 3))
    outer = [R.randint(1, 2) for _ in range(R.choice([0, 1, 1, 2]))]
    a, h, w = R.randint(1, 2), R.randint(1, 3), R.randint(1, 3)
    dims = {"PixelShuffle": [a * r * r, h, w], "PixelUnshuffle": [a, h * r, w * r], "ChannelShuffle": [a * r, h, w]}[c.op]
    if chance(0.07):
        dims[R.randrange(3)] += 1
    c.add(numbers(outer + dims, "normal"), views=chance(0.3))
    c.make = lambda: getattr(nn, c.op)(r)
    return True


@layer("Unfold", "Fold", weight=3)
def _(c):
    kernel = extents(c, "kernel", 2, [1, 2, 3])
    stride, padding, dilation = extents(c, "stride", 2, [1, 2], 1, 0.5), extents(c, "padding", 2, [0, 1], 0, 0.5), extents(c, "dilation", 2, [1, 2], 1, 0.4)
    outer, channels, space = batch(), R.randint(1, 2), [R.randint(2, 5), R.randint(2, 5)]
    unfold = nn.Unfold(kernel, dilation, padding, stride)
    c.make = lambda: unfold
    x = numbers(outer + [channels] + space, "normal")
    if c.op == "Fold":
        try:
            x = unfold(x)
        except RuntimeError:
            return None
        x = numbers(list(x.shape), "normal")
        output = c.arg("output", space if chance(0.95) else [space[0] + 2, space[1]])
        c.make = lambda: nn.Fold(tuple(output), kernel, dilation, padding, stride)
    c.add(x, views=chance(0.3))
    return True


@layer("CosineSimilarity", "PairwiseDistance", weight=3)
def _(c):
    dims = [R.choice([1, 2, 3, 3, 4, 0]) for _ in range(R.randint(1, 3))]
    if c.op == "CosineSimilarity":
        axis, eps = c.arg("axis", R.randint(-len(dims), len(dims) - 1) if chance(0.95) else 3), setting(c, "eps", [1e-8, 0.5], 1e-8)
        c.make = lambda: nn.CosineSimilarity(axis, eps)
    else:
        p, eps, keep = setting(c, "p", [1.0, 2.0, 3.0, INF, 0.0, 1.5], 2.0), setting(c, "eps", [1e-6, 0.1, 0.0], 1e-6), flag(c, "keep")
        c.make = lambda: nn.PairwiseDistance(p, eps, keep)
    y = [1 if chance(0.15) else d for d in dims][R.choice([0, 0, 0, len(dims) // 2]):]
    c.add(numbers(dims, "normal"), views=chance(0.3)), c.add(numbers(y, "normal"), views=chance(0.3))
    return True


@layer("Embedding", weight=4)
def _(c):
    rows, width = c.arg("rows", R.randint(2, 5)), c.arg("width", R.randint(1, 4))
    padding = setting(c, "padding", [0, rows - 1], None, 0.4)
    cut = setting(c, "max_norm", [0.5, 1.0], None, 0.4)
    p = setting(c, "norm_type", [1.0, 2.0, 3.0, INF], 2.0, 0.5)
    often = flag(c, "scale_grad_by_freq", 0.4)
    c.add(ints([R.choice([0, 1, 2, 3, 4]) for _ in range(R.randint(0, 2))], 0, rows if chance(0.95) else rows + 2), views=chance(0.3))
    c.make = lambda: nn.Embedding(rows, width, padding, cut, p, often)
    c.flags.update(after=cut is not None, once=True)
    return True


@layer("EmbeddingBag", weight=6)
def _(c):
    rows, width = c.arg("rows", R.randint(2, 5)), c.arg("width", R.randint(1, 4))
    how = c.arg("how", R.choice(["sum", "mean", "max"]))
    padding = setting(c, "padding", [0, rows - 1], None, 0.4)
    cut = setting(c, "max_norm", [0.5, 1.0], None, 0.2)
    often = flag(c, "scale_grad_by_freq", 0.2)
    last = flag(c, "include_last_offset", 0.3)
    weighted = flag(c, "weighted", 0.5 if how == "sum" else 0.05)
    flat = last or chance(0.5)
    n = R.choice([0, 1, 3, 5, 6]) if flat else 0
    dims = [n] if flat else [R.choice([0, 1, 2, 3]), R.choice([1, 2, 3])]
    c.add(ints(dims, 0, rows if chance(0.97) else rows + 2), views=chance(0.3))
    if flat:
        ends = [0] + sorted(R.randint(0, n) for _ in range(R.randint(0, 3))) + ([n] if last else [])
        c.add(torch.tensor(ends, dtype=torch.int32), views=False)
    if weighted:
        c.add(numbers(dims, "normal"), views=False)
    c.make = lambda: nn.EmbeddingBag(rows, width, cut, 2.0, often, how, include_last_offset=last, padding_idx=padding)
    c.flags.update(after=cut is not None, once=True)
    if flat:
        return lambda m, i, o, w=None: m(i, o, w)
    return lambda m, i, w=None: m(i, None, w)


# ---- layers whose weight is computed ----

@layer("weight_norm", "spectral_norm", weight=5)
def _(c):
    kind = c.arg("of", R.choice(["Linear", "Conv1d", "Conv2d", "ConvTranspose2d"]))
    a, b, bias = c.arg("inputs", R.randint(1, 3)), c.arg("outputs", R.randint(1, 3)), not flag(c, "no_bias", 0.3)
    n = 0 if kind == "Linear" else int(kind[-2])
    axis = c.arg("axis", R.randint(0, n + 1)) if chance(0.5) else None
    if kind == "Linear":
        c.add(numbers(anything(0, 2) + [a], "normal"), views=chance(0.3))
        inner = lambda: nn.Linear(a, b, bias)
    else:
        image(c, a, n, low=2, high=4, outer=R.choice([[], [1], [2]]))
        inner = lambda: getattr(nn, kind)(a, b, 2, bias=bias)
    mode(c, 0.5)
    c.flags["once"] = True
    if c.op == "weight_norm":
        whole = axis is None and flag(c, "whole", 0.3)
        c.make = lambda: nn.utils.parametrizations.weight_norm(inner(), dim=None if whole else axis or 0)
        return True
    steps, eps = setting(c, "iterations", [1, 2, 5], 1), setting(c, "eps", [1e-12, 0.5], 1e-12, 0.4)
    c.flags.update(after=True, calls=R.choice([1, 1, 2]))
    c.arg("calls", c.flags["calls"])
    c.make = lambda: nn.utils.parametrizations.spectral_norm(inner(), "weight", steps, eps, axis)
    return True


# ---- recurrence ----

@layer("RNN", "LSTM", "GRU", weight=5)
def _(c):
    inputs, hidden = c.arg("inputs", R.randint(1, 3)), c.arg("hidden", R.choice([1, 2, 3, 5]))
    layers, both = c.arg("layers", R.choice([1, 1, 2])), flag(c, "bidirectional", 0.4)
    bias, first = not flag(c, "no_bias", 0.3), flag(c, "batch_first", 0.5)
    proj = c.arg("proj", R.randint(1, hidden)) if c.op == "LSTM" and chance(0.2) else 0
    how = setting(c, "nonlinearity", ["relu", "tanh"], "tanh", 0.5) if c.op == "RNN" else None
    more = {"nonlinearity": how} if how else {"proj_size": proj} if c.op == "LSTM" else {}
    time, b = R.choice([1, 2, 3, 4]), R.choice([1, 2, 3, 2]) if chance(0.95) else 0
    alone = chance(0.2)
    dims = [time] if alone else [b, time] if first else [time, b]
    c.add(numbers(dims + [inputs], "normal"), views=chance(0.2))
    started = flag(c, "started", 0.4)
    if started:
        rows = [layers * (2 if both else 1)] + ([] if alone else [b])
        c.add(numbers(rows + [proj or hidden], "normal"), views=False)
        if c.op == "LSTM":
            c.add(numbers(rows + [hidden], "normal"), views=False)
    lengths = None
    if not alone and not started and chance(0.3) and b:
        lengths = [R.randint(1, time) for _ in range(b)]
        lengths[R.randrange(b)] = time
        c.arg("lengths", True), c.add(torch.tensor(lengths, dtype=torch.int32), views=False)
    c.make = lambda: getattr(nn, c.op)(inputs, hidden, num_layers=layers, bias=bias, batch_first=first, bidirectional=both, **more)
    c.flags["once"] = True

    def run(m, x, *rest):
        if lengths is not None:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted=False)
            y, state = m(packed)
            y, _ = nn.utils.rnn.pad_packed_sequence(y, first, total_length=time)
        else:
            y, state = m(x, (rest if c.op == "LSTM" else rest[0]) if started else None)
        return (y, *state) if c.op == "LSTM" else (y, state)
    return run


@layer("RNNCell", "LSTMCell", "GRUCell", weight=2)
def _(c):
    inputs, hidden = c.arg("inputs", R.randint(1, 3)), c.arg("hidden", R.choice([1, 2, 3, 5]))
    bias = not flag(c, "no_bias", 0.3)
    how = [setting(c, "nonlinearity", ["relu", "tanh"], "tanh", 0.5)] if c.op == "RNNCell" else []
    outer = R.choice([[], [1], [2], [3], [0]])
    c.add(numbers(outer + [inputs], "normal"), views=chance(0.3))
    started = flag(c, "started", 0.7)
    for _ in range((2 if c.op == "LSTMCell" else 1) if started else 0):
        c.add(numbers(outer + [hidden if chance(0.97) else hidden + 1], "normal"), views=False)
    c.make = lambda: getattr(nn, c.op)(inputs, hidden, bias, *how)
    return lambda m, x, *s: m(x, (s if c.op == "LSTMCell" else s[0]) if started else None)


# ---- attention ----

def mask(c, name, dims):
    """A mask of truth values or numbers as an input, which leaves every row something to see; or not given."""
    if not flag(c, name, 0.4):
        return
    if chance(0.5):
        m = torch.tensor([R.random() < 0.3 for _ in range(numel(dims))], dtype=torch.bool).reshape(dims)
        if numel(dims):
            m[..., 0] = False
        c.const(m)
    else:
        c.const(numbers(dims, "normal"))


def lengths(first, alone, b, *times):
    return [[t] if alone else [b, t] if first else [t, b] for t in times]


@layer("MultiheadAttention", weight=6)
def _(c):
    heads = c.arg("heads", R.choice([1, 2]))
    embed = c.arg("embed", heads * R.choice([1, 2, 3]) + (1 if chance(0.03) and heads == 2 else 0))
    bias, first = not flag(c, "no_bias", 0.3), flag(c, "batch_first", 0.5)
    kv, zero = flag(c, "add_bias_kv", 0.3), flag(c, "add_zero_attn", 0.3)
    own = flag(c, "own", 0.3)  # keys and values of their own extents
    kdim, vdim = (c.arg("kdim", R.randint(1, 4)), c.arg("vdim", R.randint(1, 4))) if own else (None, None)
    b, q, k, alone = R.choice([1, 2, 3]), R.randint(1, 4), R.randint(1, 4), chance(0.2)
    self = not own and flag(c, "self", 0.3)
    a = lengths(first, alone, b, q, q if self else k)
    c.add(numbers(a[0] + [embed], "normal"), views=chance(0.2))
    if not self:
        c.add(numbers(a[1] + [kdim or embed], "normal"), views=False)
        c.add(numbers(a[1] + [vdim or embed], "normal"), views=False)
    k = q if self else k
    # a hint, which is to be true
    causal = not kv and not zero and flag(c, "causal", 0.2)
    if causal:
        c.arg("attn_mask", True), c.const(torch.ones(q, k, dtype=torch.bool).triu(1))
    else:
        mask(c, "attn_mask", [b * heads if not alone else heads, q, k] if chance(0.5) else [q, k])
    mask(c, "padding_mask", [k] if alone else [b, k])
    weights, average = not flag(c, "no_weights", 0.4), not flag(c, "each_head", 0.3)
    c.make = lambda: nn.MultiheadAttention(embed, heads, 0.0, bias, kv, zero, kdim, vdim, first)
    c.flags["once"] = True

    def run(m, *x):
        x = list(x)
        qkv = [x.pop(0)] * 3 if self else [x.pop(0), x.pop(0), x.pop(0)]
        attn = x.pop(0) if "attn_mask=1" in c.args else None
        padding = x.pop(0) if "padding_mask=1" in c.args else None
        return m(*qkv, key_padding_mask=padding, need_weights=weights, attn_mask=attn, average_attn_weights=average,
                 is_causal=causal)
    return run


@layer("TransformerEncoderLayer", "TransformerDecoderLayer", "TransformerEncoder", "TransformerDecoder", "Transformer", weight=2)
def _(c):
    heads = c.arg("heads", R.choice([1, 2]))
    width, inner = c.arg("width", heads * R.choice([1, 2, 2])), c.arg("inner", R.choice([1, 3, 4]))
    first, before, bias = flag(c, "batch_first"), flag(c, "norm_first"), not flag(c, "no_bias", 0.3)
    act = setting(c, "activation", ["gelu", "silu", "relu"], "relu", 0.5)
    eps = setting(c, "eps", [1e-3, 0.1], 1e-5, 0.4)
    if width < 4:
        c.arg("bound", 1e-4)  # layer norms of two numbers that are nearly equal make much of their difference
    layers, norm = c.arg("layers", R.choice([1, 2])), flag(c, "norm", 0.5)
    b, s, t, alone = R.choice([1, 2]), R.randint(1, 3), R.randint(1, 3), chance(0.2)
    decoder, whole = "Decoder" in c.op, c.op == "Transformer"
    dims = lengths(first, alone, b, s, t)
    x, y = numbers(dims[0] + [width], "normal"), numbers(dims[1] + [width], "normal")
    if whole:
        c.add(x, views=False), c.add(y, views=False)
    elif decoder:
        c.add(y, views=False), c.add(x, views=False)
    else:
        c.add(x, views=False)
    padding = lambda n: [n] if alone else [b, n]
    if decoder or whole:
        mask(c, "tgt_mask", [t, t])
        mask(c, "memory_mask", [t, s])
        mask(c, "tgt_padding", padding(t))
        mask(c, "memory_padding", padding(s))
    if not decoder:
        mask(c, "src_mask", [s, s])
        mask(c, "src_padding", padding(s))
    common = dict(dim_feedforward=inner, dropout=0.0, activation=getattr(F, act), layer_norm_eps=eps, batch_first=first,
                  norm_first=before, bias=bias)

    def make():
        if whole:
            return nn.Transformer(width, heads, layers, 1, **common)
        kind = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
        one = kind(width, heads, **common)
        if c.op.endswith("Layer"):
            return one
        last = nn.LayerNorm(width, eps, bias=bias) if norm else None
        return nn.TransformerDecoder(one, layers, last) if decoder else nn.TransformerEncoder(one, layers, last, False)
    c.make = make
    c.flags["once"] = True

    def run(m, *x):
        x = list(x)
        given = [x.pop(0) for _ in range(2 if decoder or whole else 1)]
        names = (["tgt_mask", "memory_mask", "tgt_key_padding_mask", "memory_key_padding_mask"] if decoder or whole else []) \
            + ([] if decoder else ["src_mask", "src_key_padding_mask"])
        if not (decoder or whole):
            names[0] = "mask" if c.op == "TransformerEncoder" else "src_mask"
        ours = {"mask": "src_mask"}
        masks = {}
        for name in names:
            if ours.get(name, name).replace("key_", "").replace("padding_mask", "padding") + "=1" in c.args:
                masks[name] = x.pop(0)
        return m(*given, **masks)
    return run


@layer("scaled_dot_product_attention", weight=6)
def _(c):
    heads, e, ev = R.choice([1, 2]), R.choice([1, 2, 3, 4, 8]), R.choice([1, 2, 3, 4])
    lead = R.choice([[], [2], [2, heads], [1, heads], [2, 1, heads], [0, heads]])
    q, k = R.choice([1, 2, 3, 5]), R.choice([1, 2, 3, 5])
    gqa = len(lead) > 1 and flag(c, "gqa", 0.3)
    ql = lead[:-1] + [lead[-1] * 2] if gqa else lead
    c.add(numbers(ql + [q, e], "normal"), views=chance(0.3)), c.add(numbers(lead + [k, e], "normal"), views=chance(0.3))
    c.add(numbers(lead + [k, ev], "normal"), views=chance(0.3))
    scale = c.arg("scale", R.choice([0.5, 1.0, 2.0])) if chance(0.4) else None
    if chance(0.5):
        full = ql + [q, k]
        dims = [1 if chance(0.2) else d for d in full][R.choice([0, len(full) - 2]):]
        c.arg("mask", True)
        m = torch.tensor([R.random() < 0.6 for _ in range(numel(dims))], dtype=torch.bool).reshape(dims)
        c.const(m if chance(0.5) else torch.where(m, numbers(dims, "normal"), torch.tensor(-INF)))
    causal = flag(c, "causal", 0.4 if len(c.inputs) == 3 else 0.05)
    c.flags["twice"] = 0.3
    return lambda q, k, v, m=None: F.scaled_dot_product_attention(q, k, v, m, is_causal=causal, scale=scale, enable_gqa=gqa)


# ---- images ----

@layer("interpolate", weight=12)
def _(c):
    how = c.arg("mode", R.choice(["nearest", "nearest-exact", "linear", "linear", "bicubic", "area"]))
    n = 2 if how == "bicubic" and chance(0.95) else R.choice([1, 2, 2, 3])
    corners = flag(c, "align_corners", 0.4 if how in ("linear", "bicubic") else 0.03)
    smooth = n == 2 and how in ("linear", "bicubic") and flag(c, "antialias", 0.3)
    image(c, R.randint(1, 2), n, outer=[R.choice([1, 2, 2])])
    size = factor = again = None
    if chance(0.5):
        size = extents(c, "size", n, [1, 2, 3, 4, 5, 8])
    else:
        factor = c.arg("factor", R.choice([0.5, 1.5, 2.0, 0.7, 1.0, 3.0])) if chance(0.5) else \
            tuple(c.arg("factor", [R.choice([0.5, 1.5, 2.0, 2.3, 0.7, 1.0]) for _ in range(n)]))
        again = flag(c, "again", 0.3) or None
    if how == "nearest" and factor and c.inputs[0].shape[1] == 1:
        return None  # one channel counts as channels last, for which PyTorch takes other places where a size doubles
    if how == "area" and factor and min(c.inputs[0].shape[2:]) * (min(factor) if isinstance(factor, tuple) else factor) < 1:
        return None  # an area of nothing is allowed there
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[n] if how == "linear" else how
    c.flags["twice"] = 0.1
    return lambda x: F.interpolate(x, size, factor, mode, True if corners else (False if how in ("linear", "bicubic") else None), again, smooth)


@layer("grid_sample", weight=6)
def _(c):
    how, outside = c.arg("mode", R.choice(["bilinear", "nearest", "bicubic"])), c.arg("outside", R.choice(["zeros", "border", "reflection"]))
    n = R.choice([2, 2, 3])
    corners = flag(c, "align_corners")
    b = R.choice([1, 2, 0])
    c.add(numbers([b, R.randint(1, 2)] + [R.randint(1, 4) for _ in range(n)], "normal"), views=chance(0.3))
    # away from where a nearest element changes
    c.add(numbers([b] + [R.randint(1, 3) for _ in range(n)] + [n], "normal"), views=chance(0.3))
    c.flags["once"] = True
    return lambda x, g: F.grid_sample(x, g, how, outside, corners)


@layer("affine_grid")
def _(c):
    n, corners, b = R.choice([2, 3]), flag(c, "align_corners"), R.choice([1, 2])
    size = c.arg("size", [R.randint(1, 4) for _ in range(n)])
    c.add(numbers([b, n, n + 1], "normal"), views=chance(0.3))
    return lambda t: F.affine_grid(t, [b, 1] + size, corners)


@layer("normalize", weight=2)
def _(c):
    dims = anything(1, 3)
    p, eps = setting(c, "p", [1.0, 2.0, 3.0, INF], 2.0), setting(c, "eps", [0.5, 1e-12], 1e-12, 0.3)
    axis = c.arg("axis", R.randint(-len(dims), len(dims) - 1))
    c.add(numbers(dims, "normal"), views=chance(0.3))
    return lambda x: F.normalize(x, p, axis, eps)


@layer("pdist")
def _(c):
    p = c.arg("p", R.choice([0.0, 1.0, 2.0, 3.0, INF, 1.5]))
    n = R.choice([0, 1, 2, 4])
    c.add(numbers([n, R.choice([1, 2, 3])], "normal"), views=chance(0.3))
    c.flags.update(once=True, nograd=n < 2)  # where there is no pair, PyTorch's gradient is a crash
    return lambda x: F.pdist(x, p)


@layer("AdaptiveLogSoftmaxWithLoss", weight=2)
def _(c):
    inputs, classes = c.arg("inputs", R.choice([2, 4, 6])), c.arg("classes", R.randint(4, 9))
    cuts = c.arg("cutoffs", sorted(R.sample(range(1, classes), R.randint(1, 2))) if chance(0.95) else [classes])
    div, bias = c.arg("div", R.choice([1.0, 1.5, 2.0])), flag(c, "head_bias")
    rows = R.choice([[], [1], [2], [5]])
    c.add(numbers(rows + [inputs], "normal"), views=chance(0.3)), c.add(ints(rows, 0, classes if chance(0.95) else classes + 1), views=False)
    c.make = lambda: nn.AdaptiveLogSoftmaxWithLoss(inputs, classes, cuts, div, bias)
    return lambda m, x, y: tuple(m(x, y))
