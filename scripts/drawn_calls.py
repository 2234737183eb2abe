"""How calls are drawn for reference_drawn.py: shapes, numbers, views, and the table of operations."""
import math
import random

import numpy as np
import torch

R = random.Random()
# whether tensors may be large: a file in the repository is to be small
LARGE = False
INF, NAN = math.inf, math.nan
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -3.0, INF, -INF, NAN, 1e-3, -1e-3, 1e10, -1e10, 1e37,
           1e-38, 1e-20, 100.0, -100.0, 20.0, 88.0, -88.0, 16777217.0, 7.0, 0.99999994]


class Call:
    """One call while it is drawn: its arguments as text, and its inputs."""

    def __init__(self, op):
        self.op, self.args, self.inputs, self.views, self.special = op, [], [], [], False
        # makes the layer, where one is called
        self.make = None

    def arg(self, name, value):
        def one(v):
            return str(int(v)) if isinstance(v, (bool, int)) else repr(float(v)) if isinstance(v, float) else str(v)
        self.args.append(f"{name}={':'.join(map(one, value)) if isinstance(value, (list, tuple)) else one(value)}")
        return value

    def add(self, tensor, views=True):
        """A tensor as an input; it may be seen through views, which leave its shape as it is."""
        chain = []
        if views and tensor.ndim and R.random() < 0.4:
            base = tensor
            for _ in range(R.randint(1, 2)):
                axis = R.randrange(base.ndim)
                kind = R.choice(["flip", "transpose", "step", "back", "narrow", "expand"])
                n = base.shape[axis]
                if kind == "flip":
                    base, chain = base.flip(axis), [f"flip:{axis}"] + chain
                elif kind == "transpose" and base.ndim > 1:
                    other = R.randrange(base.ndim)
                    base, chain = base.transpose(axis, other), [f"transpose:{axis}:{other}"] + chain
                elif kind == "step" and base.numel():
                    wide = torch.stack([base, base.roll(1, axis)], axis + 1).flatten(axis, axis + 1)
                    base, chain = wide, [f"slice:{axis}:0:{2 * n}:2"] + chain
                elif kind == "back" and base.numel():
                    wide = torch.stack([base.roll(1, axis), base], axis + 1).flatten(axis, axis + 1).flip(axis)
                    # flipped, element i stands at 2 (n - 1 - i)
                    base, chain = wide, [f"slice:{axis}:{2 * n - 2}:{-2 * n - 1}:-2"] + chain
                elif kind == "narrow" and base.numel():
                    base = torch.cat([base.narrow(axis, 0, 1), base, base.narrow(axis, 0, 1)], axis)
                    chain = [f"narrow:{axis}:1:{n}"] + chain
            tensor = base.contiguous()
        self.inputs.append(tensor)
        self.views.append(chain)
        return len(self.inputs) - 1

    def const(self, tensor):
        """A tensor as an input that is not differentiated."""
        self.inputs.append(tensor)
        self.views.append(["const"])


def through(tensor, chain):
    for view in chain:
        if view == "const":
            continue
        name, *n = view.split(":")
        n = [int(v) for v in n]
        if name == "slice" and n[3] < 0:
            tensor = tensor.index_select(n[0], torch.tensor(list(range(tensor.shape[n[0]]))[slice(n[1], n[2], n[3])], dtype=torch.long))
        elif name == "slice":
            tensor = tensor[(slice(None),) * n[0] + (slice(n[1], n[2], n[3]),)]
        else:
            tensor = getattr(tensor, name)(*n)
    return tensor


def extent():
    if R.random() < 0.3:
        return R.choice([0, 1, 1, 2, 2, 3, 3, 4, 5, 7])
    return R.choice([1, 2, 3, 4, 5] if LARGE else [1, 2, 3])


def shape(low=0, high=4):
    if R.random() < (0.04 if LARGE else 0.004) and low <= 1:
        return [R.choice([17, 65, 127, 128, 129, 255, 257])]
    return [extent() for _ in range(R.randint(low, high if LARGE else max(low, high - 1)))]


def numel(dims):
    return math.prod(dims)


def numbers(dims, kind="any", call=None):
    """Floats: normal, with ties, or special."""
    n = numel(dims)
    if kind == "any":
        kind = R.choice(["normal", "normal", "ties"])
    if kind == "normal":
        v = [R.gauss(0, 1.5) for _ in range(n)]
    elif kind == "ties":
        v = [float(R.randint(-2, 2)) for _ in range(n)]
    elif kind == "positive":
        v = [R.uniform(0.2, 3) for _ in range(n)]
    elif kind == "unit":
        v = [R.uniform(-0.95, 0.95) for _ in range(n)]
    elif kind == "apart":
        v = [0.37 * k - 1.1 for k in R.sample(range(n), n)]
    elif kind == "special":
        v = [R.choice(SPECIAL) for _ in range(n)]
        call.special = True
    elif kind == "holes":  # ordinary numbers, some infinite or not numbers
        v = [R.choice([INF, -INF, NAN]) if R.random() < 0.25 else float(R.randint(-2, 2)) for _ in range(n)]
    elif kind == "infinite":
        v = [R.choice([INF, -INF]) if R.random() < 0.4 else R.gauss(0, 1) for _ in range(n)]
    return torch.tensor(np.array(v, dtype=np.float32).reshape(dims))


def ints(dims, low=None, high=6):
    """Integers from `low` to `high`; small ones, seldom those at the ends of 32 bits."""
    if low is None:
        wide = R.random() < 0.1
        draw = [R.choice([2**31 - 1, -2**31, 65536, 123456789, -1, 3]) if wide else R.randrange(-5, 6) for _ in range(numel(dims))]
        return torch.tensor(np.array(draw, dtype=np.int32).reshape(dims))
    return torch.tensor(np.array([R.randrange(low, high) for _ in range(numel(dims))], dtype=np.int32).reshape(dims))


def bools(dims):
    return torch.tensor(np.array([R.random() < 0.5 for _ in range(numel(dims))], dtype=bool).reshape(dims))


def other(dims):
    """A shape that broadcasts with `dims`, seldom one that does not."""
    out = [1 if R.random() < 0.35 else d for d in dims][R.choice([0, 0, 0, len(dims) // 2]):]
    if R.random() < 0.04 and out:
        out[-1] += 1
    return out


def axis_of(dims, wrong=0.03):
    n = max(len(dims), 1)
    return R.randint(-n - 1, n) if R.random() < wrong else R.randint(-n, n - 1)


def axes_of(dims):
    n = len(dims)
    if n == 0 or R.random() < 0.2:
        return []
    axes = R.sample(range(n), R.randint(1, n))
    axes = [a - n if R.random() < 0.4 else a for a in axes]
    return axes + [axes[0]] if R.random() < 0.02 else axes


def every(axes, dims):
    """PyTorch's dim for a list where none means all."""
    return tuple(axes) if axes else tuple(range(len(dims)))


OPS = {}


def op(*names, weight=1):
    def note(draw):
        for name in names:
            OPS[name] = (draw, weight)
        return draw
    return note
