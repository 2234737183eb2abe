#!/usr/bin/env python3
"""Writes tests/data/reference.bin and tests/data/display.txt: what PyTorch answers to every row of tests/cases.

    pip install torch numpy
    python3 scripts/reference.py

A row has the same name and the same inputs here and in tests/cases; only outputs are stored. PyTorch computes in
float64 on inputs that were rounded to float32. For each row the file holds

    NAME:outJ     output J (F32, I32, U32 or BOOL)
    NAME:gradK    gradient of  s = sum over float outputs J of sum(outJ * weightJ)  for float input K
    NAME:twiceK   gradient of  sum over K of sum(gradK * weight2K)  for float input K (some rows only)

reference.bin is a safetensors file; its metadata maps NAME to the fingerprint of the inputs and "torch" to the
version that made it. The test fails where one side has a row, or an input, that the other has not.

The inputs, the same bits in tests/cases/input.rs:

    mix(z)   = splitmix64's finaliser;   GOLDEN = 0x9E3779B97F4A7C15;   all arithmetic modulo 2^64
    word(i)  = mix(mix(fnv1a64(NAME) + stream * GOLDEN) + (i + 1) * GOLDEN) >> 40        (24 bits)
    f32      = round(lo + (hi - lo) * (word + 0.5) / 2^24), computed in float64
    ties     = word % 5 - 2;   i32 = lo + word % (hi - lo);   bool = word & 1
    stream   = K for input K, 1000 + J for weightJ, 2000 + K for weight2K (weights are f32 in -1..1)
"""

import itertools
import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
inf, nan = math.inf, math.nan

# ---------------------------------------------------------------------------------------------------- inputs


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv(words, start=0xCBF29CE484222325):
    for word in words:
        start = ((start ^ int(word)) * 0x100000001B3) & MASK
    return start


def words(name, stream, count):
    with np.errstate(over="ignore"):
        seed = mix(np.array([(fnv(name.encode()) + stream * GOLDEN) & MASK], dtype=np.uint64))
        index = np.arange(1, count + 1, dtype=np.uint64)
        return (mix(seed + index * np.uint64(GOLDEN)) >> np.uint64(40)).astype(np.int64)


def uniform(name, stream, shape, lo, hi):
    unit = (words(name, stream, math.prod(shape)) + 0.5) / 2.0**24
    return (lo + (hi - lo) * unit).astype(np.float32).reshape(shape)


def f(shape, lo=-2.0, hi=2.0):
    """Float32 in lo..hi."""
    return lambda name, k: uniform(name, k, shape, lo, hi)


def ties(shape):
    """Float32 among -2, -1, 0, 1, 2."""
    return lambda name, k: (words(name, k, math.prod(shape)) % 5 - 2).astype(np.float32).reshape(shape)


def i(shape, lo, hi):
    """Int32 in lo..hi, hi excluded."""
    return lambda name, k: (lo + words(name, k, math.prod(shape)) % (hi - lo)).astype(np.int32).reshape(shape)


def b(shape):
    """Bool."""
    return lambda name, k: (words(name, k, math.prod(shape)) & 1).astype(bool).reshape(shape)


def v(values, shape=None):
    """Float32 values as written."""
    return lambda name, k: np.array(values, dtype=np.float32).reshape(shape or [len(values)])


def iv(values, shape=None):
    """Int32 values as written."""
    return lambda name, k: np.array(values, dtype=np.int32).reshape(shape or [len(values)])


TAME = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.0, -2.0, 2.5, -2.5, 3.0, -3.0, 6.0, 20.0, -20.0, inf, -inf, nan]
SPECIALS = TAME + [88.0, -88.0, 1e-4, -1e-4, 1e6, -1e6, 1e30, -1e30]
EDGES = [-6.0, -3.0, -2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0]

# ----------------------------------------------------------------------------------------------------- table

CASES = {}


def case(name, inputs, fn, grad=True, twice=False):
    assert name not in CASES, f"two rows are called {name}"
    CASES[name] = (inputs, fn, grad, twice)


def as_torch(x):
    return torch.from_numpy(x.astype(np.float64) if x.dtype == np.float32 else x.copy())


def weigh(name, stream, tensors):
    total = 0.0
    for n, t in enumerate(tensors):
        if t is not None and t.is_floating_point():
            total = total + (t * as_torch(uniform(name, stream + n, list(t.shape), -1.0, 1.0))).sum()
    return total


def gradients(total, xs):
    wanted = [n for n, x in enumerate(xs) if x.requires_grad]
    got = torch.autograd.grad(total, [xs[n] for n in wanted], create_graph=True, allow_unused=True)
    full = [None] * len(xs)
    for n, g in zip(wanted, got):
        full[n] = torch.zeros_like(xs[n]) if g is None else g
    return full


def answers(name, inputs, fn, grad, twice):
    data = [make(name, k) for k, make in enumerate(inputs)]
    mark = []
    for x in data:
        mark += [{"f": 0, "i": 1, "b": 2}[x.dtype.kind], x.ndim, *x.shape]
        mark += np.ascontiguousarray(x if x.dtype != bool else x.astype(np.int32)).view(np.uint32).ravel().tolist() if x.size else []
    xs = [as_torch(x) for x in data]
    if grad:
        xs = [x.requires_grad_(x.is_floating_point()) for x in xs]
    outs = fn(*xs)
    outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
    found = {f"{name}:out{j}": o for j, o in enumerate(outs)}
    total = weigh(name, 1000, outs)
    if grad and isinstance(total, torch.Tensor) and total.requires_grad:
        first = gradients(total, xs)
        found |= {f"{name}:grad{k}": g for k, g in enumerate(first) if g is not None}
        if twice:
            second = gradients(weigh(name, 2000, first), xs)
            found |= {f"{name}:twice{k}": g for k, g in enumerate(second) if g is not None}
    assert grad is False or not twice or any(":twice" in n for n in found), f"{name} has no second gradient"
    return f"{fnv(mark):016x}", {n: stored(t) for n, t in found.items()}


def stored(t):
    """float64 → F32, int64 and int32 → I32, uint32 → U32, bool → BOOL."""
    x = t.detach().cpu().contiguous().numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        if x.dtype == bool:
            return "BOOL", x.astype(np.uint8)
        if x.dtype == np.uint32:
            return "U32", x
        if np.issubdtype(x.dtype, np.integer):
            return "I32", x.astype(np.int32)
        return "F32", x.astype(np.float32)


def write(path, tensors, metadata):
    """The safetensors format: u64 length, JSON header, data. Four-byte types come first, so all are aligned."""
    order = sorted(tensors, key=lambda n: (tensors[n][0] == "BOOL", n))
    header, offset, chunks = {"__metadata__": metadata}, 0, []
    for name in order:
        kind, x = tensors[name]
        raw = x.astype(x.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        chunks.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


# ----------------------------------------------------------------------------------------------------- unary
# name, lo, hi, function (torch's of that name by default); flags: t = second gradient, s = all specials,
# m = only the tame ones, r = relative accuracy near zero, e = gradient at the edges too

UNARY = [
    ("neg", -2, 2, None, "s"), ("exp", -4, 4, None, "ts"), ("exp2", -4, 4, None, "s"), ("expm1", -2, 2, None, "sr"),
    ("ln", 0.1, 4, torch.log, "ts"), ("log2", 0.1, 4, None, "s"), ("log10", 0.1, 4, None, "s"), ("log1p", -0.9, 4, None, "sr"),
    ("sqrt", 0.1, 4, None, "ts"), ("rsqrt", 0.1, 4, None, "ts"), ("square", -2, 2, None, "ts"), ("abs", -2, 2, None, "se"),
    ("sign", -2, 2, None, "se"), ("floor", -5, 5, None, "s"), ("ceil", -5, 5, None, "s"), ("round", -5, 5, None, "s"),
    ("trunc", -5, 5, None, "s"), ("frac", -5, 5, None, "m"), ("recip", 0.2, 3, torch.reciprocal, "ts"),
    ("sin", -10, 10, None, "tmr"), ("cos", -10, 10, None, "tm"), ("tan", -1.4, 1.4, None, "mr"),
    ("asin", -0.95, 0.95, None, "mr"), ("acos", -0.95, 0.95, None, "m"), ("atan", -4, 4, None, "sr"),
    ("sinh", -4, 4, None, "sr"), ("cosh", -4, 4, None, "s"), ("tanh", -4, 4, None, "tsr"),
    ("asinh", -5, 5, None, "sr"), ("acosh", 1.1, 6, None, "s"), ("atanh", -0.95, 0.95, None, "mr"),
    ("erf", -3, 3, None, "tsr"), ("erfc", -3, 3, None, "s"), ("sigmoid", -8, 8, None, "ts"),
    ("logsigmoid", -8, 8, F.logsigmoid, "ts"), ("softplus", -8, 30, F.softplus, "ts"), ("relu", -2, 2, None, "se"),
    ("relu6", -2, 8, F.relu6, "se"), ("leaky_relu", -2, 2, lambda x: F.leaky_relu(x, 0.125), "se"),
    ("elu", -4, 2, lambda x: F.elu(x, 0.75), "tse"), ("selu", -4, 2, None, "se"), ("celu", -4, 2, lambda x: F.celu(x, 0.75), "se"),
    ("gelu", -4, 4, F.gelu, "ts"), ("gelu_tanh", -4, 4, lambda x: F.gelu(x, approximate="tanh"), "ts"),
    ("silu", -4, 4, F.silu, "ts"), ("mish", -4, 4, F.mish, "ts"), ("hardtanh", -2, 2, lambda x: F.hardtanh(x, -1.5, 0.5), "se"),
    ("hardswish", -5, 5, F.hardswish, "se"), ("hardsigmoid", -5, 5, F.hardsigmoid, "se"), ("softsign", -4, 4, F.softsign, "ts"),
    ("tanhshrink", -4, 4, F.tanhshrink, "s"), ("hardshrink", -2, 2, lambda x: F.hardshrink(x, 0.5), "se"),
    ("softshrink", -2, 2, lambda x: F.softshrink(x, 0.5), "se"),
    ("isnan", -2, 2, None, "s"), ("isinf", -2, 2, None, "s"), ("isfinite", -2, 2, None, "s"),
]
for op, lo, hi, fn, flags in UNARY:
    fn = fn or getattr(torch, op)
    case(f"unary/{op}", [f([129], lo, hi)], fn, twice="t" in flags)
    specials = [x for x in (SPECIALS if "s" in flags else TAME) if op != "hardswish" or x != -inf]
    case(f"unary/{op}/specials", [v(specials)], fn, grad=False)
    if "r" in flags:
        case(f"unary/{op}/small", [f([65], -0.01, 0.01)], fn, grad=False)
    if "e" in flags:
        case(f"unary/{op}/edges", [v(EDGES)], fn)
for op, fn in [("ln", torch.log), ("log2", torch.log2), ("log10", torch.log10)]:
    case(f"unary/{op}/near1", [f([65], 0.99, 1.01)], fn, grad=False)
for op in ["sin", "cos"]:
    case(f"unary/{op}/wide", [f([129], -1000, 1000)], getattr(torch, op), grad=False)
for op, fn in [("exp", torch.exp), ("gelu", F.gelu), ("relu", torch.relu)]:
    case(f"unary/{op}/scalar", [f([])], fn)
    case(f"unary/{op}/empty", [f([3, 0])], fn)
    case(f"unary/{op}/transposed", [f([17, 65])], lambda x, fn=fn: fn(x.t()))
    case(f"unary/{op}/stepped", [f([9, 130])], lambda x, fn=fn: fn(x[:, 1::3]))
for lo, hi in [(-0.5, 1.0), (1.0, -1.0), (nan, 1.0), (-1.0, nan), (-inf, inf)]:
    case(f"unary/clamp/{lo}/{hi}", [v(SPECIALS)], lambda x, lo=lo, hi=hi: x.clamp(lo, hi), grad=False)
case("unary/clamp/edges", [v(EDGES)], lambda x: x.clamp(-0.5, 1.0))
case("unary/clamp_min", [v(SPECIALS)], lambda x: x.clamp_min(0.5), grad=False)
case("unary/clamp_min/edges", [v(EDGES)], lambda x: x.clamp_min(0.5))
case("unary/clamp_max", [v(SPECIALS)], lambda x: x.clamp_max(0.5), grad=False)
case("unary/clamp_max/edges", [v(EDGES)], lambda x: x.clamp_max(0.5))

# ---------------------------------------------------------------------------------------------------- binary

SMOOTH = [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)]
OTHER = [("maximum", torch.maximum), ("minimum", torch.minimum), ("atan2", torch.atan2), ("fmod", torch.fmod),
         ("remainder", torch.remainder), ("floor_divide", torch.floor_divide)]
COMPARE = [(n, getattr(torch, n)) for n in ["eq", "ne", "lt", "le", "gt", "ge"]]
PAIRS = [([], []), ([3], []), ([], [3]), ([1], [1]), ([17, 1], [1, 65]), ([3, 17, 65], [65]), ([65], [3, 17, 65]),
         ([3, 1, 5], [17, 1]), ([2, 1, 3, 1, 5], [7, 1, 4, 1]), ([2, 3, 1, 2, 1, 3], [1, 3, 2, 1, 2, 1]),
         ([0], [1]), ([3, 0], [1, 0]), ([0, 3], [3]), ([129, 3], [129, 1])]


def dims(shape):
    return "x".join(map(str, shape)) or "scalar"


for p, q in PAIRS:
    case(f"binary/mul/{dims(p)}/{dims(q)}", [f(p), f(q)], torch.mul)
    case(f"binary/div/{dims(p)}/{dims(q)}", [f(p), f(q, 0.5, 2)], torch.div)
for op, fn in SMOOTH + OTHER:
    grad = op != "floor_divide"
    case(f"binary/{op}", [f([5, 17]), f([17], 0.5, 2)], fn, grad=grad, twice=op in ["mul", "div", "atan2"])
    case(f"binary/{op}/specials", [v(TAME, [20, 1]), v(TAME, [1, 20])], fn, grad=False)
    case(f"binary/{op}/strided", [f([17, 5]), f([17, 10], 0.5, 2)], lambda x, y, fn=fn: fn(x.t().flip(0), y[:, ::2].t()), grad=grad)
case("binary/pow", [f([5, 17], 0.2, 2), f([17], -2, 2)], torch.pow, twice=True)
case("binary/pow/specials", [v(TAME, [20, 1]), v(TAME, [1, 20])], torch.pow, grad=False)
case("binary/pow/zero_base", [v([0.0, 0.0, 0.0]), v([1.0, 2.0, 3.0])], torch.pow)
for op, fn in [("maximum", torch.maximum), ("minimum", torch.minimum)]:
    case(f"binary/{op}/ties", [ties([65]), ties([65])], fn)
for op, fn in COMPARE:
    case(f"binary/{op}", [ties([5, 17]), ties([17])], fn)
    case(f"binary/{op}/specials", [v(TAME, [20, 1]), v(TAME, [1, 20])], fn)
for op in ["logical_and", "logical_or", "logical_xor"]:
    fn = getattr(torch, op)
    case(f"binary/{op}/bool", [b([17, 1]), b([1, 5])], fn)
    case(f"binary/{op}/f32", [ties([17, 1]), ties([1, 5])], fn)
case("binary/logical_not/bool", [b([17])], torch.logical_not)
case("binary/logical_not/f32", [v(TAME)], torch.logical_not)
case("binary/where", [b([5, 17]), f([5, 17]), f([5, 17])], torch.where, twice=False)
case("binary/where/broadcast", [b([17]), f([5, 1]), f([])], torch.where)
case("binary/where/nan_unchosen", [v([1.0, -1.0, 4.0, 0.0])], lambda x: torch.where(x > 0, x.sqrt(), torch.zeros_like(x)), grad=False)
case("binary/where/i32", [b([17]), i([17], -9, 9), i([1], -9, 9)], torch.where)

# ---------------------------------------------------------------------------------------------------- scalar

SCALAR = [("add", lambda x: x + 0.3), ("sub", lambda x: x - 0.3), ("mul", lambda x: x * 0.3), ("div", lambda x: x / 0.3),
          ("from", lambda x: 0.3 - x), ("over", lambda x: 0.3 / x), ("add_int", lambda x: x + 2), ("chain", lambda x: (x * 2.0 + 1.0) / 4.0 - 3.0)]
for op, fn in SCALAR:
    case(f"scalar/{op}", [f([17], 0.5, 2)], fn)
for p in [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]:
    case(f"scalar/powf/{p}", [f([17], 0.5, 2)], lambda x, p=p: x.pow(p), twice=p in [0.5, 1.5, 2.0, 3.0])
for p in [-1.0, 0.0, 0.5, 2.0, 2.5, 3.0]:
    case(f"scalar/powf/{p}/specials", [v(SPECIALS)], lambda x, p=p: x.pow(p), grad=False)
for p in [1.0, 2.0, 3.0]:
    case(f"scalar/powf/{p}/edges", [v(EDGES)], lambda x, p=p: x.pow(p), twice=p != 1.0)

# ---------------------------------------------------------------------------------------------------- dtypes

for op, fn in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div), ("maximum", torch.maximum),
               ("minimum", torch.minimum), ("fmod", torch.fmod), ("remainder", torch.remainder), ("floor_divide", torch.floor_divide)] + COMPARE:
    divides = op in ["div", "fmod", "remainder", "floor_divide"]
    case(f"dtypes/i32/{op}", [i([5, 17], -9, 10), i([17], 1, 8) if divides else i([17], -9, 10)], fn)
for op in ["fmod", "remainder", "floor_divide"]:
    case(f"dtypes/i32/{op}/negative", [i([65], -20, 20), i([65], -7, 0)], getattr(torch, op))
for op, fn in [("neg", torch.neg), ("abs", torch.abs), ("sign", torch.sign), ("square", torch.square)]:
    case(f"dtypes/i32/{op}", [i([17], -9, 10)], fn)
case("dtypes/i32/wrap", [iv([2147483647, -2147483648, 65536, 123456789])], lambda x: [x + 1, x * 3])
case("dtypes/i32/exp", [i([17], -3, 4)], lambda x: torch.exp(x.double()))
case("dtypes/i32/clamp", [i([17], -9, 10)], lambda x: x.clamp(-3, 4))
for op, fn in SMOOTH:
    case(f"dtypes/i32_f32/{op}", [i([17], -9, 10), f([17], 0.5, 2)], lambda x, y, fn=fn: fn(x.double(), y))
case("dtypes/i32_f32/lt", [i([17], -2, 3), f([17])], lambda x, y: x < y)
case("dtypes/i32_scalar/add", [i([17], -9, 10)], lambda x: x + 3)
case("dtypes/i32_scalar/mul_float", [i([17], -9, 10)], lambda x: x.double() * 0.5)
case("dtypes/i32_scalar/div", [i([17], -9, 10)], lambda x: x.double() / 2)
case("dtypes/bool_f32/mul", [b([17]), f([17])], lambda x, y: x * y)
case("dtypes/bool_i32/add", [b([17]), i([17], -9, 10)], lambda x, y: x + y)
case("dtypes/bool/add", [b([17]), b([17])], lambda x, y: x + y)
case("dtypes/bool/mul", [b([17]), b([17])], lambda x, y: x * y)
case("dtypes/bool/eq", [b([17]), b([17])], lambda x, y: x == y)
case("dtypes/bool/sum", [b([5, 17])], lambda x: x.sum(1))
case("dtypes/bool/scalar", [b([17])], lambda x: x.double() * 0.5)
case("dtypes/cast/f32_i32", [v([0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 2.5, 1e6, -1e6, 123456.7])], lambda x: x.to(torch.int32))
case("dtypes/cast/f32_bool", [v([0.0, -0.0, 0.5, -1.0, inf, nan])], lambda x: x.to(torch.bool))
case("dtypes/cast/i32_f32", [iv([0, 1, -1, 16777216, -16777217, 2147483647])], lambda x: x.double())
case("dtypes/cast/i32_bool", [i([17], -2, 3)], lambda x: x.to(torch.bool))
case("dtypes/cast/i32_u32", [iv([0, 1, 7, 2147483647])], lambda x: x.to(torch.uint32))
for op, fn in [("add", torch.add), ("mul", torch.mul), ("floor_divide", torch.floor_divide), ("remainder", torch.remainder), ("maximum", torch.maximum)]:
    case(f"dtypes/u32/{op}", [i([17], 0, 100000), i([17], 1, 1000)], lambda x, y, fn=fn: fn(x.long(), y.long()).to(torch.uint32))
case("dtypes/u32/lt", [i([17], 0, 9), i([17], 0, 9)], torch.lt)
case("dtypes/u32/sum", [i([5, 17], 0, 100000)], lambda x: x.long().sum(1).to(torch.uint32))
case("dtypes/u32/to_f32", [i([17], 0, 100000)], lambda x: x.double())
case("dtypes/u32_i32/add", [i([17], 0, 9), i([17], -9, 9)], torch.add)
case("dtypes/cast/bool_f32", [b([17])], lambda x: x.double())
case("dtypes/cast/bool_i32", [b([17])], lambda x: x.to(torch.int32))
case("dtypes/cast/gradient", [f([17]), b([17])], lambda x, m: x * m.double())
for op in ["sum", "prod", "amax", "amin"]:
    fn = getattr(torch, op)
    case(f"dtypes/i32/{op}", [i([5, 17], -2, 4)], lambda x, fn=fn: fn(x, 1))
    case(f"dtypes/i32/{op}/columns", [i([17, 5], -2, 4)], lambda x, fn=fn: fn(x, 0))
case("dtypes/i32/argmax", [i([5, 65], -20, 20)], lambda x: (x == x.amax(1, True)).int().argmax(1))
case("dtypes/i32/cumsum", [i([5, 65], -20, 20)], lambda x: x.cumsum(1))
case("dtypes/i32/views", [i([5, 17], -20, 20)], lambda x: x.t()[3:11:2].flip(0))
case("dtypes/bool/views", [b([5, 17])], lambda x: x.t()[3:11:2].flip(0))
case("dtypes/i32/cat", [i([3, 5], -20, 20), i([2, 5], -20, 20)], lambda x, y: torch.cat([x, y]))
case("dtypes/i32/matmul", [i([5, 17], -20, 20), i([17, 3], -20, 20)], torch.matmul)
case("dtypes/i32/tril", [i([5, 5], -20, 20)], torch.tril)
case("dtypes/bool/tril", [b([5, 5])], torch.tril)

# ---------------------------------------------------------------------------------------------------- create

CREATE = [("zeros", lambda x: torch.zeros(3, 5)), ("ones", lambda x: torch.ones(3, 5)), ("ones/scalar", lambda x: torch.ones([])),
          ("zeros/empty", lambda x: torch.zeros(0, 5)), ("full", lambda x: torch.full((3, 5), 0.3)), ("full/i32", lambda x: torch.full((3, 5), 7)),
          ("arange", lambda x: torch.arange(17)), ("arange/step", lambda x: torch.arange(3, 50, 7)), ("arange/down", lambda x: torch.arange(5, -5, -3)),
          ("arange/empty", lambda x: torch.arange(5, 5)), ("arange/f32", lambda x: torch.arange(-1.0, 1.0, 0.25)), ("linspace", lambda x: torch.linspace(-1, 2, 17)),
          ("linspace/one", lambda x: torch.linspace(3, 5, 1)), ("eye", lambda x: torch.eye(5)), ("arange/used", lambda x: torch.arange(65) * x)]
for op, fn in CREATE:
    case(f"create/{op}", [f([])], fn)
case("create/zeros_like", [i([3, 5], 0, 9)], torch.zeros_like)
case("create/ones_like", [f([3, 5])], lambda x: torch.ones_like(x))
case("create/full_like", [f([3, 5])], lambda x: torch.full_like(x, 0.25) * x)

# ---------------------------------------------------------------------------------------------------- reduce

AXES = [[0], [1], [2], [-1], [0, 1], [0, 2], [1, 2], [0, 1, 2]]


def prod(x, axes, keep=False):
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


REDUCE = [("sum", lambda x, a, k: x.sum(a, k)), ("mean", lambda x, a, k: x.mean(a, k)), ("prod", prod),
          ("amax", lambda x, a, k: x.amax(a, k)), ("amin", lambda x, a, k: x.amin(a, k)),
          ("var", lambda x, a, k: x.var(a, correction=1, keepdim=k)), ("std", lambda x, a, k: x.std(a, correction=1, keepdim=k)),
          ("norm2", lambda x, a, k: torch.linalg.vector_norm(x, 2, a, k)), ("logsumexp", lambda x, a, k: x.logsumexp(a, k))]
for op, fn in REDUCE:
    for n, axes in enumerate(AXES):
        keep = n % 2 == 1
        case(f"reduce/{op}/{'_'.join(map(str, axes))}" + ("/keep" if keep else ""), [f([3, 5, 7])], lambda x, fn=fn, a=axes, k=keep: fn(x, a, k))
    for n in [1, 3, 17, 65, 129, 1000]:
        if not (op in ["var", "std"] and n == 1):
            case(f"reduce/{op}/rows/{n}", [f([5, n], 0.9, 1.1) if op == "prod" else f([5, n])], lambda x, fn=fn: fn(x, [1], False))
            case(f"reduce/{op}/columns/{n}", [f([n, 5], 0.9, 1.1) if op == "prod" else f([n, 5])], lambda x, fn=fn: fn(x, [0], False))
    case(f"reduce/{op}/permuted", [f([5, 7, 9])], lambda x, fn=fn: fn(x.permute(2, 0, 1), [1], False))
    case(f"reduce/{op}/expanded", [f([5, 1])], lambda x, fn=fn: fn(x.expand(5, 9) * 1.0, [0], False))
for op in ["sum", "mean", "prod", "max", "min"]:
    fn = getattr(torch, op)
    case(f"reduce/{op}/all", [f([17, 9]) if op != "prod" else f([17, 3], 0.5, 1.5)], fn)
    case(f"reduce/{op}/scalar", [f([])], fn)
    case(f"reduce/{op}/nan", [v([1, nan, 3, 2, inf, -inf], [2, 3])], lambda x, op=op: getattr(torch, "a" + op if op in ["max", "min"] else op)(x, 1), grad=False)
for op in ["sum", "mean", "prod"]:
    fn = getattr(torch, op)
    case(f"reduce/{op}/empty", [f([0])], fn)
    case(f"reduce/{op}/empty_rows", [f([3, 0])], lambda x, fn=fn: fn(x, 1))
    case(f"reduce/{op}/empty_columns", [f([3, 0])], lambda x, fn=fn: fn(x, 0))
case("reduce/logsumexp/empty_rows", [f([3, 0])], lambda x: x.logsumexp(1))
case("reduce/amax/empty_columns", [f([3, 0])], lambda x: x.amax(0))
for op in ["amax", "amin"]:
    case(f"reduce/{op}/ties", [ties([5, 17])], lambda x, op=op: getattr(torch, op)(x, 1))
    case(f"reduce/{op}/ties/columns", [ties([17, 5])], lambda x, op=op: getattr(torch, op)(x, 0))
case("reduce/max/ties", [ties([5, 17])], torch.max)
case("reduce/min/ties", [ties([5, 17])], torch.min)
for op in ["max", "min"]:
    fn = getattr(torch, op)
    case(f"reduce/{op}_with_index", [f([5, 17])], lambda x, fn=fn: fn(x, 1))
    case(f"reduce/{op}_with_index/keep", [f([5, 17])], lambda x, fn=fn: fn(x, 0, keepdim=True))
    case(f"reduce/{op}_with_index/ties", [v([1, 3, 3, 1, 2, 2, 2, 2], [2, 4])], lambda x, fn=fn: fn(x, 1))
case("reduce/sum/twice", [f([5, 17])], lambda x: x.sum(1).square(), twice=True)
case("reduce/mean/large_offset", [f([5, 129], 1000, 1001)], lambda x: x.mean(1))
case("reduce/var/large_offset", [f([5, 129], 1000, 1001)], lambda x: x.var(1))
case("reduce/prod/zeros", [v([1, 2, 3, 4, 0, 5, 6, 7, 0, 2, 0, 3], [3, 4])], lambda x: x.prod(1))
case("reduce/prod/zeros/all", [v([1, 2, 0, 4])], torch.prod)
case("reduce/prod/twice", [f([3, 5], 0.5, 1.5)], lambda x: x.prod(1), twice=True)
for c in [0, 1, 2]:
    case(f"reduce/var/correction/{c}", [f([5, 17])], lambda x, c=c: x.var(1, correction=c))
    case(f"reduce/std/correction/{c}", [f([5, 17])], lambda x, c=c: x.std(1, correction=c))
case("reduce/var/empty", [f([0, 5])], lambda x: (x.var(0, correction=0, keepdim=True) + 0.1).sqrt(), grad=False)
case("reduce/mean/empty_then_ops", [f([3, 0, 5])], lambda x: (x.mean(1) + 0.1).tanh(), grad=False)
case("reduce/var/one", [f([3, 1])], lambda x: x.var(1, correction=1), grad=False)
case("reduce/var/one/biased", [f([3, 1])], lambda x: x.var(1, correction=0))
case("reduce/std/constant", [v([2, 2, 2, 1, 2, 3], [2, 3])], lambda x: x.std(1))
case("reduce/var/twice", [f([3, 5])], lambda x: x.var(1), twice=True)
for p in [0.0, 0.5, 1.0, 2.0, 3.0, inf, -inf]:
    case(f"reduce/norm/{p}", [f([5, 17])], lambda x, p=p: torch.linalg.vector_norm(x, p, 1))
case("reduce/norm/zero_row", [v([0, 0, 0, 3, 0, 4], [2, 3])], lambda x: torch.linalg.vector_norm(x, 2, 1))
case("reduce/norm/all", [f([5, 17])], lambda x: torch.linalg.vector_norm(x))
case("reduce/logsumexp/inf", [v([-inf, -inf, -inf, -inf, 1, 2, inf, 1, 2, nan, 1, -inf], [4, 3])], lambda x: x.logsumexp(1), grad=False)
case("reduce/logsumexp/part", [v([-inf, 1, 2, 3, -inf, -inf], [2, 3])], lambda x: x.logsumexp(1))
case("reduce/logsumexp/large", [f([5, 17], -1e4, 1e4)], lambda x: x.logsumexp(1))
case("reduce/logsumexp/twice", [f([3, 5])], lambda x: x.logsumexp(1), twice=True)
for op in ["any", "all"]:
    fn = getattr(torch, op)
    case(f"reduce/{op}/bool", [b([65, 3])], lambda x, fn=fn: fn(x, 1))
    case(f"reduce/{op}/f32", [v([0, 0, 0, 1, nan, 0, 2, 3, 4], [3, 3])], lambda x, fn=fn: fn(x, 1))
    case(f"reduce/{op}/full", [b([17])], fn)
    case(f"reduce/{op}/empty", [b([3, 0])], lambda x, fn=fn: fn(x, 1))
for op in ["argmax", "argmin"]:
    fn = getattr(torch, op)
    for n in [1, 3, 17, 65, 129, 1000]:
        case(f"reduce/{op}/rows/{n}", [f([5, n])], lambda x, fn=fn: fn(x, 1))
    case(f"reduce/{op}/columns", [f([65, 5])], lambda x, fn=fn: fn(x, 0))
    case(f"reduce/{op}/keep", [f([3, 5, 7])], lambda x, fn=fn: fn(x, 1, keepdim=True))
    case(f"reduce/{op}/nan", [v([1, nan, 3, nan, nan, 1, 2, inf, 2], [3, 3])], lambda x, fn=fn: fn(x, 1))
    case(f"reduce/{op}/strided", [f([17, 5, 2])], lambda x, fn=fn: fn(x.permute(2, 1, 0), -1))
    case(f"reduce/{op}/scalar", [f([])], lambda x, fn=fn: fn(x, 0))
case("reduce/argmax/ties", [ties([9, 65])], lambda x: (x == x.amax(1, True)).int().argmax(1))
case("reduce/argmin/ties", [ties([9, 65])], lambda x: (x == x.amin(1, True)).int().argmax(1))

# ------------------------------------------------------------------------------------------------------ scan

for op in ["cumsum", "cumprod"]:
    fn = getattr(torch, op)
    for n in [0, 1, 3, 17, 65, 129, 1000]:
        case(f"scan/{op}/rows/{n}", [f([3, n]) if op == "cumsum" else f([3, n], 0.9, 1.1)], lambda x, fn=fn: fn(x, 1))
    case(f"scan/{op}/axis0", [f([17, 5], 0.5, 1.5)], lambda x, fn=fn: fn(x, 0))
    case(f"scan/{op}/axis1", [f([3, 17, 5], 0.5, 1.5)], lambda x, fn=fn: fn(x, 1))
    case(f"scan/{op}/strided", [f([17, 5], 0.5, 1.5)], lambda x, fn=fn: fn(x.t().flip(1), -1))
    case(f"scan/{op}/nan", [v([1, nan, 3, 2, inf, 1], [2, 3])], lambda x, fn=fn: fn(x, 1), grad=False)
    case(f"scan/{op}/scalar", [f([])], lambda x, fn=fn: fn(x, 0))
case("scan/cumprod/zeros", [v([1, 2, 0, 4, 0, 5, 6, 7, 0, 2, 0, 3], [3, 4])], lambda x: x.cumprod(1))
case("scan/cumsum/twice", [f([3, 5])], lambda x: x.cumsum(1).square(), twice=True)

# ----------------------------------------------------------------------------------------------------- views


def pad(x, pairs, mode):
    """Pads every axis by (lo, hi); reflect and replicate by taking indices, so that any axis can have them."""
    for axis, (lo, hi) in enumerate(pairs):
        n = x.shape[axis]
        if mode == "constant":
            x = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [lo, hi], value=0.5)
            continue
        at = torch.arange(-lo, n + hi)
        at = at.abs() if mode == "reflect" else at.clamp(0, n - 1)
        x = x.index_select(axis, torch.where(at >= n, 2 * (n - 1) - at, at))
    return x


VIEWS = [
    ("reshape/2d", [3, 5, 7], lambda x: x.reshape(15, 7)), ("reshape/infer", [3, 5, 8], lambda x: x.reshape(-1, 4)),
    ("reshape/after_permute", [3, 5, 7], lambda x: x.permute(2, 0, 1).reshape(7, 15)), ("reshape/to_scalar", [1, 1], lambda x: x.reshape([])),
    ("reshape/from_scalar", [], lambda x: x.reshape(1, 1)), ("reshape/empty", [3, 0], lambda x: x.reshape(0, 5)),
    ("permute/3d", [3, 5, 7], lambda x: x.permute(2, 0, 1)), ("permute/negative", [3, 5, 7], lambda x: x.permute(-1, 0, -2)),
    ("permute/6d", [2, 3, 1, 4, 2, 3], lambda x: x.permute(5, 3, 1, 0, 2, 4)), ("permute/65x129", [65, 129], lambda x: x.permute(1, 0)),
    ("transpose/4d", [2, 3, 4, 5], lambda x: x.transpose(1, -1)), ("t", [17, 65], lambda x: x.t()),
    ("expand/rows", [1, 17], lambda x: x.expand(5, 17)), ("expand/new_axis", [17, 1], lambda x: x.expand(3, -1, 4)),
    ("expand/scalar", [], lambda x: x.expand(3, 2)), ("expand/zero", [1, 3], lambda x: x.expand(0, 3)),
    ("squeeze", [3, 1, 5], lambda x: x.squeeze(1)), ("squeeze/not_one", [3, 1, 5], lambda x: x.squeeze(0)),
    ("unsqueeze/front", [3, 5], lambda x: x.unsqueeze(0)), ("unsqueeze/back", [3, 5], lambda x: x.unsqueeze(-1)),
    ("flatten/all", [3, 5, 7], lambda x: x.flatten()), ("flatten/tail", [3, 5, 7], lambda x: x.flatten(1)),
    ("flatten/middle", [2, 3, 5, 2], lambda x: x.flatten(1, 2)), ("flatten/scalar", [], lambda x: x.flatten()),
    ("slice/axis0", [17, 3], lambda x: x[2:9]), ("slice/negative", [17, 3], lambda x: x[-5:-1]), ("slice/step2", [17, 3], lambda x: x[1:16:2]),
    ("slice/step3_axis1", [3, 17], lambda x: x[:, ::3]), ("slice/past_end", [5], lambda x: x[3:99]), ("slice/empty", [5, 2], lambda x: x[3:3]),
    ("narrow", [3, 17], lambda x: x.narrow(1, 4, 9)), ("narrow/negative_axis", [3, 17], lambda x: x.narrow(-2, 1, 2)),
    ("select", [3, 5, 7], lambda x: x.select(1, 2)), ("select/negative", [3, 5, 7], lambda x: x.select(-1, -2)),
    ("select/to_scalar", [5], lambda x: x.select(0, 3)), ("flip/one", [3, 17], lambda x: x.flip(1)),
    ("flip/both", [3, 17], lambda x: x.flip(0, -1)), ("flip/none", [3], lambda x: x.flip([])),
    ("pad/constant", [3, 5], lambda x: pad(x, [(1, 2), (3, 0)], "constant")), ("pad/constant/empty", [0, 3], lambda x: pad(x, [(1, 1), (0, 0)], "constant")),
    ("pad/reflect", [5, 7], lambda x: pad(x, [(2, 1), (3, 4)], "reflect")), ("pad/replicate", [3, 5], lambda x: pad(x, [(2, 1), (0, 4)], "replicate")),
    ("pad/reflect/4d", [2, 3, 4, 5], lambda x: pad(x, [(0, 0), (0, 0), (2, 3), (1, 2)], "reflect")),
    ("roll/one", [3, 5], lambda x: x.roll(2, 1)), ("roll/negative", [3, 5], lambda x: x.roll(-1, 0)), ("roll/past", [5], lambda x: x.roll(13, 0)),
    ("roll/two", [3, 5], lambda x: x.roll([1, -2], [0, 1])),
    ("tril", [5, 7], lambda x: x.tril()), ("tril/-2", [7, 5], lambda x: x.tril(-2)), ("tril/batch", [2, 3, 5, 5], lambda x: x.tril(1)),
    ("triu", [5, 7], lambda x: x.triu()), ("triu/2", [7, 5], lambda x: x.triu(2)), ("triu/-1", [17, 17], lambda x: x.triu(-1)),
    ("diagonal", [5, 7], lambda x: x.diagonal()), ("diagonal/1", [5, 7], lambda x: x.diagonal(1)), ("diagonal/-2", [5, 7], lambda x: x.diagonal(-2)),
    ("diagonal/axes", [3, 5, 4], lambda x: x.diagonal(0, 0, 2)), ("diagonal/outside", [3, 3], lambda x: x.diagonal(3)),
    ("unfold/apart", [3, 12], lambda x: x.unfold(1, 3, 4)), ("unfold/overlap", [17, 3], lambda x: x.unfold(0, 5, 2)),
    ("unfold/whole", [5], lambda x: x.unfold(0, 5, 1)),
    ("chain/permute_slice_flip", [5, 7, 9], lambda x: x.permute(2, 0, 1)[1:8:3].flip(1)),
    ("chain/slice_of_slice", [65], lambda x: x[3:60:2][4:20:3]), ("chain/expand_reshape", [5, 1], lambda x: x.expand(5, 3).reshape(15)),
    ("chain/pad_slice", [5, 5], lambda x: pad(x, [(2, 2), (2, 2)], "constant")[1:8, 1:8]),
    ("chain/diagonal_of_outer", [17], lambda x: (x.unsqueeze(1) * x.unsqueeze(0)).diagonal()),
    ("chain/flip_tril", [17, 17], lambda x: x.flip(0).tril().t()), ("chain/select_t", [3, 5, 7], lambda x: x.select(1, 3).t()),
]
for name, shape, fn in VIEWS:
    case(f"views/{name}", [f(shape)], fn)
case("views/twice", [f([5, 7])], lambda x: (x.t()[1:6:2].square() * x.t()[0:3]), twice=True)
for mode in ["constant", "reflect", "replicate"]:
    case(f"views/pad/{mode}/twice", [f([3, 4])], lambda x, mode=mode: pad(x, [(1, 1), (2, 1)], mode).square(), twice=True)

# ------------------------------------------------------------------------------------------------------ join

case("join/cat/axis0", [f([3, 5]), f([2, 5])], lambda x, y: torch.cat([x, y]))
case("join/cat/last", [f([3, 5, 2]), f([3, 5, 1]), f([3, 5, 4])], lambda *xs: torch.cat(xs, -1))
case("join/cat/empty_part", [f([3, 0]), f([3, 2])], lambda x, y: torch.cat([x, y], 1))
case("join/cat/one", [f([3, 2])], lambda x: torch.cat([x]))
case("join/cat/same", [f([3, 2])], lambda x: torch.cat([x, x, x], 1))
case("join/cat/strided", [f([17, 5]), f([3, 17])], lambda x, y: torch.cat([x.t(), y.flip(1)]))
case("join/cat/nine", [f([2, 3]) for _ in range(9)], lambda *xs: torch.cat(xs))
case("join/cat/17", [f([1, 3]) for _ in range(17)], lambda *xs: torch.cat(xs))
case("join/cat/after_ops", [f([3, 5]), f([3, 2])], lambda x, y: torch.cat([x.exp(), y.tanh()], 1) * 2.0)
case("join/cat/twice", [f([3, 2]), f([3, 1])], lambda x, y: torch.cat([x, y], 1).square(), twice=True)
case("join/stack/front", [f([3, 5]), f([3, 5])], lambda x, y: torch.stack([x, y]))
case("join/stack/last", [f([3, 5]), f([3, 5])], lambda x, y: torch.stack([x, y], -1))
case("join/stack/scalars", [f([]), f([]), f([])], lambda *xs: torch.stack(xs))
case("join/split", [f([3, 17])], lambda x: x.split(5, 1))
case("join/split/exact", [f([6, 3])], lambda x: x.split(2))
case("join/split/part_used", [f([17, 3])], lambda x: x.split(5)[1])
case("join/split_sizes", [f([3, 17])], lambda x: x.split([4, 0, 6, 7], 1))
case("join/chunk", [f([3, 17])], lambda x: x.chunk(4, -1))
case("join/chunk/fewer", [f([5, 2])], lambda x: x.chunk(4))

# ---------------------------------------------------------------------------------------------------- matmul

SIDES = [([1], [1]), ([3], [3]), ([129], [129]), ([0], [0]), ([17], [17, 5]), ([5, 17], [17]), ([1, 1], [1, 1]), ([3, 17], [17, 65]),
         ([17, 3], [3, 1]), ([1, 65], [65, 17]), ([65, 129], [129, 17]), ([129, 65], [65, 129]), ([64, 64], [64, 64]), ([5, 0], [0, 3]),
         ([0, 3], [3, 5]), ([3, 5], [5, 0]), ([3, 5], [2, 5, 7]), ([2, 3, 5], [5, 7]), ([2, 3, 5], [2, 5, 7]), ([5], [2, 5, 7]),
         ([2, 3, 5], [5]), ([2, 1, 3, 5], [4, 5, 7]), ([2, 1, 3, 5], [1, 4, 5, 7]), ([4, 3, 5], [2, 1, 5, 7]), ([2, 3, 17, 9], [2, 3, 9, 17]),
         ([2, 0, 3, 5], [5, 7]), ([1, 1, 2, 3, 5], [2, 1, 1, 5, 2]), ([1, 300], [300, 3]), ([3, 1000], [1000, 3])]
for p, q in SIDES:
    case(f"matmul/{dims(p)}/{dims(q)}", [f(p), f(q)], torch.matmul, twice=p in [[3, 17], [2, 3, 5]])
case("matmul/t_left", [f([17, 65]), f([17, 33])], lambda x, y: x.t() @ y)
case("matmul/t_right", [f([17, 65]), f([33, 65])], lambda x, y: x @ y.t())
case("matmul/t_both", [f([17, 65]), f([33, 17])], lambda x, y: x.t() @ y.t())
case("matmul/t_self", [f([17, 65])], lambda x: x @ x.t())
case("matmul/stepped", [f([9, 34]), f([17, 10])], lambda x, y: x[:, ::2] @ y[:, 1::3])
case("matmul/flipped", [f([5, 17]), f([17, 9])], lambda x, y: x.flip(1) @ y.flip(0))
case("matmul/expanded", [f([1, 17]), f([17, 1])], lambda x, y: x.expand(5, 17) @ y.expand(17, 9))
case("matmul/heads", [f([2, 9, 12]), f([2, 9, 12])], lambda x, y: x.reshape(2, 9, 3, 4).transpose(1, 2) @ y.reshape(2, 9, 3, 4).permute(0, 2, 3, 1))
case("matmul/linear_relu", [f([17, 33]), f([9, 33]), f([9])], lambda x, w, c: torch.relu(x @ w.t() + c))
case("matmul/input_slot", [f([17, 33]), f([33, 9])], lambda x, y: (x * 0.5 + 1.0) @ y.tanh())
case("matmul/chain", [f([5, 17]), f([17, 9]), f([9, 3])], lambda x, y, z: (x @ y).tanh() @ z, twice=True)
case("matmul/dot", [f([65]), f([65])], torch.dot)
case("matmul/mt", [f([2, 5, 3]), f([2, 5, 7])], lambda x, y: x.mT @ y)
case("matmul/nan", [v([1, nan, 2, 3], [2, 2]), f([2, 3])], torch.matmul, grad=False)

EINSUM = [
    ("ij,jk->ik", [[3, 17], [17, 5]]), ("bij,bjk->bik", [[2, 3, 5], [2, 5, 7]]), ("i,i->", [[17], [17]]), ("i,j->ij", [[5], [7]]),
    ("ij->ji", [[3, 5]]), ("ii->i", [[5, 5]]), ("ii->", [[5, 5]]), ("ij->", [[3, 5]]), ("ij->j", [[3, 5]]), ("bhid,bhjd->bhij", [[2, 3, 5, 4], [2, 3, 7, 4]]),
    ("bij,jk->bik", [[2, 3, 5], [5, 7]]), ("i,ij,j->", [[3], [3, 5], [5]]), ("...ij,...jk->...ik", [[2, 3, 5], [2, 5, 4]]), ("ij,jk", [[3, 5], [5, 4]]),
    ("ba", [[3, 5]]), ("bijc,bkjc->bik", [[2, 3, 4, 5], [2, 6, 4, 5]]), ("ij,ij->i", [[3, 5], [3, 5]]), ("ijk->kji", [[3, 5, 7]]),
    ("ab,cd->abcd", [[2, 3], [4, 5]]), ("abc,cd,de->abe", [[2, 3, 4], [4, 5], [5, 6]]), ("aij,bij->ab", [[2, 3, 4], [5, 3, 4]]),
    ("ij,kj->ik", [[3, 17], [5, 17]]), ("bqhd,bkhd->bhqk", [[2, 5, 3, 4], [2, 7, 3, 4]]), ("bi,bj->bij", [[2, 3], [2, 5]]), ("i->i", [[5]]),
    ("...i,i->...", [[2, 3, 5], [5]]), ("iij->ij", [[3, 3, 5]]), ("ij,j->i", [[3, 0], [0]]),
]
for text, shapes in EINSUM:
    case(f"einsum/{text}", [f(s) for s in shapes], lambda *xs, text=text: torch.einsum(text, *xs))

# ----------------------------------------------------------------------------------------------------- index

case("index/gather/last", [f([5, 17]), i([5, 9], 0, 17)], lambda x, n: x.gather(1, n.long()))
case("index/gather/axis0", [f([17, 5]), i([3, 5], 0, 17)], lambda x, n: x.gather(0, n.long()))
case("index/gather/smaller", [f([5, 17]), i([2, 9], 0, 17)], lambda x, n: x.gather(-1, n.long()))
case("index/gather/3d", [f([3, 5, 7]), i([3, 9, 7], 0, 5)], lambda x, n: x.gather(1, n.long()))
case("index/gather/empty", [f([5, 7]), i([5, 0], 0, 7)], lambda x, n: x.gather(1, n.long()))
case("index/gather/strided", [f([17, 5]), i([9, 5], 0, 17)], lambda x, n: x.t().gather(1, n.long().t()))
case("index/gather/scalar", [f([]), i([], 0, 1)], lambda x, n: x.gather(0, n.long()))
case("index/gather/twice", [f([3, 5]), i([3, 4], 0, 5)], lambda x, n: x.gather(1, n.long()).square(), twice=True)
case("index/take_along", [f([5, 1]), i([5, 9], 0, 1)], lambda x, n: torch.take_along_dim(x, n.long(), 1))
case("index/take_along/broadcast", [f([5, 7]), i([1, 9], 0, 7)], lambda x, n: torch.take_along_dim(x, n.long(), 1))
case("index/scatter_add/twice", [f([5]), i([9], 0, 5), f([9])], lambda x, n, s: x.scatter_add(0, n.long(), s).square(), twice=True)
case("index/scatter_add/last", [f([5, 17]), i([5, 33], 0, 17), f([5, 33])], lambda x, n, s: x.scatter_add(1, n.long(), s))
case("index/scatter_add/axis0", [f([7, 5]), i([65, 5], 0, 7), f([65, 5])], lambda x, n, s: x.scatter_add(0, n.long(), s))
case("index/scatter_add/smaller", [f([5, 17]), i([3, 4], 0, 17), f([3, 4])], lambda x, n, s: x.scatter_add(1, n.long(), s))
case("index/scatter_add/one_target", [f([1]), i([1000], 0, 1), f([1000])], lambda x, n, s: x.scatter_add(0, n.long(), s))
case("index/index_select/rows", [f([17, 5]), i([33], 0, 17)], lambda x, n: x.index_select(0, n.long()))
case("index/index_select/columns", [f([5, 17]), i([9], 0, 17)], lambda x, n: x.index_select(1, n.long()))
case("index/index_select/middle", [f([3, 5, 7]), i([4], 0, 5)], lambda x, n: x.index_select(1, n.long()))
case("index/index_select/empty", [f([3, 5]), i([0], 0, 3)], lambda x, n: x.index_select(0, n.long()))
case("index/index_select/i32", [i([17, 5], -9, 9), i([33], 0, 17)], lambda x, n: x.index_select(0, n.long()))
case("index/index_select/strided", [f([17, 5]), i([9], 0, 17)], lambda x, n: x.t().index_select(1, n.long().flip(0)))
case("index/index_add/rows", [f([7, 5]), i([33], 0, 7), f([33, 5])], lambda x, n, s: x.index_add(0, n.long(), s))
case("index/index_add/columns", [f([5, 7]), i([33], 0, 7), f([5, 33])], lambda x, n, s: x.index_add(1, n.long(), s))
case("index/embedding/1d", [f([17, 9]), i([33], 0, 17)], lambda w, n: F.embedding(n.long(), w))
case("index/embedding/2d", [f([17, 9]), i([3, 5], 0, 17)], lambda w, n: F.embedding(n.long(), w))
case("index/embedding/scalar", [f([17, 9]), i([], 0, 17)], lambda w, n: F.embedding(n.long(), w))
case("index/embedding/wide", [f([65, 129]), i([129], 0, 65)], lambda w, n: F.embedding(n.long(), w))
case("index/embedding/twice", [f([5, 3]), i([7], 0, 5)], lambda w, n: F.embedding(n.long(), w).square(), twice=True)
case("index/masked_fill", [f([3, 5]), b([5])], lambda x, m: x.masked_fill(m, 0.5))
case("index/one_hot/1d", [i([17], 0, 5)], lambda n: F.one_hot(n.long(), 5))
case("index/one_hot/2d", [i([3, 5], 0, 7)], lambda n: F.one_hot(n.long(), 7))

# ------------------------------------------------------------------------------------------------------ sort

for n in [1, 3, 17, 65, 129, 1000]:
    case(f"sort/rows/{n}", [f([3, n])], lambda x: torch.sort(x, dim=1, stable=True))
case("sort/descending", [f([3, 65])], lambda x: torch.sort(x, dim=1, descending=True, stable=True))
case("sort/axis0", [f([17, 5])], lambda x: torch.sort(x, dim=0, stable=True))
case("sort/ties", [ties([3, 65])], lambda x: torch.sort(x, dim=1, stable=True))
case("sort/ties/descending", [ties([3, 65])], lambda x: torch.sort(x, dim=1, descending=True, stable=True))
case("sort/specials", [v(SPECIALS)], lambda x: torch.sort(x, dim=0, stable=True), grad=False)
case("sort/specials/descending", [v(SPECIALS)], lambda x: torch.sort(x, dim=0, descending=True, stable=True), grad=False)
case("sort/i32", [i([3, 65], -1000, 1000)], lambda x: torch.sort(x, dim=1, stable=True))
case("sort/strided", [f([17, 5])], lambda x: torch.sort(x.t(), dim=1, stable=True))
case("sort/empty", [f([3, 0])], lambda x: torch.sort(x, dim=1, stable=True))
case("sort/scalar", [f([])], lambda x: torch.sort(x, dim=0, stable=True))
case("sort/twice", [f([3, 5])], lambda x: torch.sort(x, dim=1, stable=True)[0].square(), twice=True)
case("sort/argsort", [f([5, 17])], lambda x: torch.argsort(x, dim=1, stable=True))
case("sort/argsort/descending", [ties([5, 17])], lambda x: torch.argsort(x, dim=1, descending=True, stable=True))
case("sort/topk/1", [f([5, 65])], lambda x: x.topk(1, 1))
case("sort/topk/5", [f([5, 65])], lambda x: x.topk(5, 1))
case("sort/topk/smallest", [f([5, 65])], lambda x: x.topk(3, 1, largest=False))
case("sort/topk/axis0", [f([65, 3])], lambda x: x.topk(4, 0))
case("sort/topk/all", [f([2, 17])], lambda x: x.topk(17, -1))
case("sort/topk/nan", [v([1, nan, 3, inf, -inf])], lambda x: x.topk(3, 0), grad=False)

# --------------------------------------------------------------------------------------------------- softmax

for op, fn in [("softmax", torch.softmax), ("log_softmax", torch.log_softmax)]:
    for n in [1, 3, 17, 65, 129, 1000]:
        case(f"softmax/{op}/rows/{n}", [f([5, n], -4, 4)], lambda x, fn=fn: fn(x, 1))
    case(f"softmax/{op}/axis0", [f([17, 5])], lambda x, fn=fn: fn(x, 0))
    case(f"softmax/{op}/axis1", [f([3, 17, 5])], lambda x, fn=fn: fn(x, 1))
    case(f"softmax/{op}/strided", [f([17, 5])], lambda x, fn=fn: fn(x.t(), -1))
    case(f"softmax/{op}/large", [f([5, 65], -1e4, 1e4)], lambda x, fn=fn: fn(x, 1))
    case(f"softmax/{op}/inf", [v([-inf, 1, 2, -inf, -inf, 3], [2, 3])], lambda x, fn=fn: fn(x, 1), grad=False)
    case(f"softmax/{op}/nan", [v([-inf, -inf, -inf, inf, 1, 2, nan, 1, 2], [3, 3])], lambda x, fn=fn: fn(x, 1), grad=False)
    case(f"softmax/{op}/empty", [f([3, 0])], lambda x, fn=fn: fn(x, 1))
    case(f"softmax/{op}/no_rows", [f([0, 3])], lambda x, fn=fn: fn(x, 1))
    case(f"softmax/{op}/scalar", [f([])], lambda x, fn=fn: fn(x, 0))
    case(f"softmax/{op}/twice", [f([3, 5])], lambda x, fn=fn: fn(x, 1), twice=True)
case("softmax/masked", [f([2, 5, 5])], lambda x: x.masked_fill(torch.ones(5, 5).tril() == 0, -inf).softmax(-1))

# ------------------------------------------------------------------------------------------------------ conv
# name, x, weight, bias, stride, padding, dilation, groups

CONV = [
    ("1d/plain", [2, 3, 17], [5, 3, 3], True, 1, 0, 1, 1), ("1d/one", [1, 1, 1], [1, 1, 1], False, 1, 0, 1, 1),
    ("1d/stride3_pad2", [3, 2, 65], [4, 2, 5], True, 3, 2, 1, 1), ("1d/dilation4", [2, 3, 33], [2, 3, 3], False, 1, 4, 4, 1),
    ("1d/groups", [2, 4, 17], [6, 2, 3], True, 1, 1, 1, 2), ("1d/depthwise", [2, 5, 129], [5, 1, 7], True, 2, 3, 1, 5),
    ("2d/plain", [2, 3, 9, 7], [5, 3, 3, 3], True, 1, 0, 1, 1), ("2d/same", [2, 3, 8, 8], [4, 3, 3, 3], True, 1, 1, 1, 1),
    ("2d/one_by_one", [3, 5, 7, 5], [9, 5, 1, 1], False, 1, 0, 1, 1), ("2d/stride2", [2, 3, 9, 11], [4, 3, 3, 3], True, 2, 1, 1, 1),
    ("2d/stride_uneven", [1, 2, 17, 13], [3, 2, 5, 3], False, (3, 2), (2, 0), 1, 1), ("2d/dilation", [1, 3, 13, 17], [2, 3, 3, 3], True, 1, (1, 2), (2, 3), 1),
    ("2d/groups", [2, 6, 7, 9], [4, 3, 3, 3], True, 1, 1, 1, 2), ("2d/depthwise", [2, 17, 9, 5], [17, 1, 3, 3], True, 1, 1, 1, 17),
    ("2d/everything", [2, 4, 15, 17], [6, 2, 3, 5], True, (2, 3), (3, 1), (2, 1), 2), ("2d/whole_input", [3, 2, 5, 5], [4, 2, 5, 5], True, 1, 0, 1, 1),
    ("2d/rest_unused", [1, 1, 8, 8], [1, 1, 3, 3], False, 4, 0, 1, 1), ("2d/padding_wide", [1, 1, 3, 3], [1, 1, 3, 3], True, 1, 4, 1, 1),
    ("2d/no_batch", [0, 3, 8, 8], [4, 3, 3, 3], True, 1, 1, 1, 1), ("2d/many_channels", [1, 65, 5, 5], [33, 65, 3, 3], True, 1, 1, 1, 1),
    ("2d/batch17", [17, 1, 8, 8], [8, 1, 3, 3], True, 1, 1, 1, 1),
    ("3d/plain", [2, 2, 5, 6, 7], [3, 2, 3, 3, 3], True, 1, 1, 1, 1), ("3d/stride_groups", [1, 4, 7, 5, 9], [4, 2, 3, 1, 3], False, 2, (1, 0, 1), 1, 2),
]
for name, x, w, bias, stride, padding, dilation, groups in CONV:
    fn = getattr(F, "conv" + name[:2])
    case(f"conv/{name}", [f(x), f(w)] + ([f([w[0]])] if bias else []),
         lambda x, w, c=None, fn=fn, o=(stride, padding, dilation, groups): fn(x, w, c, *o))
case("conv/single_image", [f([3, 8, 7]), f([4, 3, 3, 3])], lambda x, w: F.conv2d(x, w))
case("conv/strided_input", [f([7, 9, 3, 2]), f([4, 3, 3, 3])], lambda x, w: F.conv2d(x.permute(3, 2, 0, 1), w))
case("conv/relu", [f([2, 3, 8, 8]), f([4, 3, 3, 3]), f([4])], lambda x, w, c: F.conv2d(x, w, c, padding=1).relu())
case("conv/two", [f([2, 1, 8, 8]), f([3, 1, 3, 3]), f([2, 3, 3, 3])], lambda x, w, u: F.conv2d(F.conv2d(x, w, padding=1).tanh(), u, stride=2))
case("conv/twice", [f([2, 2, 6, 5]), f([4, 1, 3, 3]), f([4])], lambda x, w, c: F.conv2d(x, w, c, 2, 1, 1, 2).square(), twice=True)

# ------------------------------------------------------------------------------------------------------ pool
# kernel, stride, padding, dilation, ceil_mode

POOL = [("1d/2", [2, 3, 17], 2, 2, 0, 1, False), ("1d/overlap", [1, 2, 65], 5, 2, 2, 1, False), ("2d/2", [2, 3, 8, 8], 2, 2, 0, 1, False),
        ("2d/odd", [2, 3, 9, 7], 2, 2, 0, 1, False), ("2d/ceil", [1, 2, 9, 7], 2, 2, 0, 1, True), ("2d/3_stride2_pad1", [2, 3, 9, 11], 3, 2, 1, 1, False),
        ("2d/uneven", [1, 3, 13, 11], (3, 2), (1, 3), (1, 0), 1, False), ("2d/global", [2, 5, 5, 7], (5, 7), 1, 0, 1, False),
        ("2d/dilation", [1, 2, 11, 9], 3, 1, 1, 2, False)]
for name, x, k, s, p, d, up in POOL:
    fn, mean = getattr(F, "max_pool" + name[:2]), getattr(F, "avg_pool" + name[:2])
    case(f"pool/max/{name}", [f(x)], lambda x, fn=fn, o=(k, s, p, d, up): fn(x, *o))
    if d == 1:
        case(f"pool/avg/{name}", [f(x)], lambda x, mean=mean, o=(k, s, p, up): mean(x, *o))
        case(f"pool/avg_without_padding/{name}", [f(x)], lambda x, mean=mean, o=(k, s, p, up, False): mean(x, *o))
case("pool/max/ties", [ties([1, 2, 8, 8])], lambda x: F.max_pool2d(x, 3, 2))
case("pool/max/nan", [v([1, nan, 2, 3, -inf, -inf, -inf, -inf], [1, 1, 2, 4])], lambda x: F.max_pool2d(x, 2), grad=False)
case("pool/max/all_lowest", [v([-inf] * 4, [1, 1, 2, 2])], lambda x: F.max_pool2d(x, 2), grad=False)
case("pool/max/index", [f([1, 2, 9, 8])], lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True))
case("pool/global_avg", [f([2, 3, 5, 7])], lambda x: F.adaptive_avg_pool2d(x, 1))
case("pool/max/twice", [f([1, 2, 6, 6])], lambda x: F.max_pool2d(x, 2).square(), twice=True)
case("pool/avg/twice", [f([1, 2, 6, 6])], lambda x: F.avg_pool2d(x, 3, 2, 1).square(), twice=True)
case("pool/max/of_relu_of_conv", [f([2, 1, 8, 8]), f([3, 1, 3, 3])], lambda x, w: F.max_pool2d(F.conv2d(x, w, padding=1).relu(), 2))

# ----------------------------------------------------------------------------------------------------- norms

for n in [1, 3, 17, 65, 129, 1000]:
    case(f"norms/layer/{n}", [f([5, n]), f([n]), f([n])], lambda x, w, c: F.layer_norm(x, x.shape[1:], w, c))
    case(f"norms/rms/{n}", [f([5, n]), f([n])], lambda x, w: F.rms_norm(x, x.shape[1:], w, 1e-6))
case("norms/layer/plain", [f([3, 5, 17])], lambda x: F.layer_norm(x, [17]))
case("norms/layer/two_axes", [f([3, 5, 7]), f([5, 7]), f([5, 7])], lambda x, w, c: F.layer_norm(x, [5, 7], w, c))
case("norms/layer/strided", [f([17, 5]), f([17]), f([17])], lambda x, w, c: F.layer_norm(x.t(), [17], w, c))
case("norms/layer/large_offset", [f([5, 129], 100, 101)], lambda x: F.layer_norm(x, [129]))
case("norms/layer/twice", [f([3, 5]), f([5]), f([5])], lambda x, w, c: F.layer_norm(x, [5], w, c), twice=True)
case("norms/standardize", [f([5, 65])], lambda x: F.layer_norm(x, [65]))
case("norms/rms/twice", [f([3, 5]), f([5])], lambda x, w: F.rms_norm(x, [5], w, 1e-6), twice=True)
case("norms/group/2", [f([2, 6, 5]), f([6]), f([6])], lambda x, w, c: F.group_norm(x, 2, w, c))
case("norms/group/1", [f([2, 3, 5, 7]), f([3]), f([3])], lambda x, w, c: F.group_norm(x, 1, w, c))
case("norms/group/each", [f([2, 5, 9, 3]), f([5]), f([5])], lambda x, w, c: F.group_norm(x, 5, w, c))
case("norms/batch/2d", [f([17, 5]), f([5]), f([5])], lambda x, w, c: F.batch_norm(x, None, None, w, c, True))
case("norms/batch/4d", [f([3, 5, 7, 9]), f([5]), f([5])], lambda x, w, c: F.batch_norm(x, None, None, w, c, True))
case("norms/batch/3d", [f([3, 17, 5]), f([17]), f([17])], lambda x, w, c: F.batch_norm(x, None, None, w, c, True))
case("norms/batch/eval", [f([3, 5, 7]), f([5]), f([5], 0.5, 2), f([5]), f([5])], lambda x, m, s, w, c: F.batch_norm(x, m.detach(), s.detach(), w, c, False))
case("norms/batch/twice", [f([5, 3]), f([3]), f([3])], lambda x, w, c: F.batch_norm(x, None, None, w, c, True), twice=True)

# ---------------------------------------------------------------------------------------------------- losses

case("losses/mse", [f([17, 5]), f([17, 5])], F.mse_loss)
for mode in ["sum", "none"]:
    case(f"losses/mse/{mode}", [f([17, 5]), f([17, 5])], lambda x, y, mode=mode: F.mse_loss(x, y, reduction=mode))
    case(f"losses/kl_div/{mode}", [f([17, 5], -4, 0), f([17, 5], 0, 1)], lambda x, y, mode=mode: F.kl_div(x, y, reduction=mode))
    case(f"losses/cross_entropy/everything/{mode}", [f([17, 5]), i([17], 0, 5), f([5], 0.5, 2)],
         lambda x, n, w, mode=mode: F.cross_entropy(x, n.long(), w.detach(), ignore_index=2, label_smoothing=0.2, reduction=mode))
case("losses/smooth_l1", [f([17, 5]), f([17, 5])], lambda x, y: F.smooth_l1_loss(x, y, beta=0.5))
case("losses/huber", [f([17, 5]), f([17, 5])], lambda x, y: F.huber_loss(x, y, delta=0.5))
case("losses/bce", [f([17, 5], 0.05, 0.95), f([17, 5], 0, 1)], lambda x, y: F.binary_cross_entropy(x, y))
case("losses/nll", [f([17, 5], -4, 0), i([17], 0, 5)], lambda x, n: F.nll_loss(x, n.long()))
case("losses/cross_entropy/probabilities", [f([17, 5]), f([17, 5], 0, 1)], lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1))
case("losses/cross_entropy/pixels", [f([2, 5, 3, 4]), i([2, 3, 4], 0, 5)], lambda x, n: F.cross_entropy(x, n.long()))
case("losses/cross_entropy/one_row", [f([5]), i([], 0, 5)], lambda x, n: F.cross_entropy(x, n.long()))
case("losses/l1", [f([17, 5]), f([17, 5])], F.l1_loss)
for rows, classes in [(1, 1), (1, 10), (17, 10), (65, 129), (3, 1000)]:
    case(f"losses/cross_entropy/{rows}x{classes}", [f([rows, classes], -4, 4), i([rows], 0, classes)], lambda x, n: F.cross_entropy(x, n.long()))
case("losses/cross_entropy/smoothing", [f([17, 10]), i([17], 0, 10)], lambda x, n: F.cross_entropy(x, n.long(), label_smoothing=0.1))
case("losses/cross_entropy/weights", [f([17, 10]), i([17], 0, 10), f([10], 0.5, 2)], lambda x, n, w: F.cross_entropy(x, n.long(), w.detach()))
case("losses/cross_entropy/ignore", [f([17, 5]), i([17], 0, 5)], lambda x, n: F.cross_entropy(x, n.long(), ignore_index=2))
case("losses/cross_entropy/everything", [f([17, 5]), i([17], 0, 5), f([5], 0.5, 2)],
     lambda x, n, w: F.cross_entropy(x, n.long(), w.detach(), ignore_index=2, label_smoothing=0.2))
case("losses/cross_entropy/large", [f([17, 10], -1e3, 1e3), i([17], 0, 10)], lambda x, n: F.cross_entropy(x, n.long()))
case("losses/cross_entropy/twice", [f([3, 5]), i([3], 0, 5)], lambda x, n: F.cross_entropy(x, n.long()), twice=True)
case("losses/bce_with_logits", [f([17, 5], -4, 4), f([17, 5], 0, 1)], F.binary_cross_entropy_with_logits)
case("losses/bce_with_logits/large", [f([17], -1e3, 1e3), f([17], 0, 1)], F.binary_cross_entropy_with_logits)
case("losses/bce_with_logits/pos_weight", [f([17, 5]), f([17, 5], 0, 1), f([5], 0.5, 2)],
     lambda x, y, w: F.binary_cross_entropy_with_logits(x, y, pos_weight=w.detach()))

# ------------------------------------------------------------------------------------------------------ fuse
# What a fuser could get wrong: several consumers, views between, reductions of expressions, expressions of reductions.


def plain_softmax(x):
    e = (x - x.amax(1, True)).exp()
    return e / e.sum(1, True)


def plain_norm(x, w, c):
    d = x - x.mean(1, True)
    return d / (d.square().mean(1, True) + 1e-5).sqrt() * w + c


FUSE = [
    ("softmax", [f([5, 65])], plain_softmax), ("layer_norm", [f([5, 65]), f([65]), f([65])], plain_norm),
    ("long_chain", [f([17, 5])], lambda x: ((((x * 2 + 1).tanh() - 0.5) * x).sigmoid() + x.square()).sqrt()),
    ("two_consumers", [f([17, 5])], lambda x: [x.exp() + 1, x.exp() * 2, x.exp().sum(0)]),
    ("diamond", [f([17, 5])], lambda x: (lambda y: y * y.sum(1, True) + y.t().contiguous().t())(x.tanh())),
    ("view_between", [f([6, 10])], lambda x: (x.exp().reshape(10, 6).t() * 2).flip(1) + 1), ("broadcast_both", [f([17, 1]), f([1, 5])], lambda x, y: ((x + y) * (x - y)).exp().sum(0)),
    ("reduce_of_views", [f([5, 7, 3])], lambda x: (x.permute(2, 0, 1).tanh() * 2).sum(1)), ("mean_then_use", [f([5, 17])], lambda x: (x - x.mean()) * x),
    ("var_then_use", [f([5, 17])], lambda x: x / (x.var(1, keepdim=True) + 1)), ("max_minus_min", [f([5, 17])], lambda x: x.amax(1) - x.amin(1)),
    ("sum_of_product", [f([5, 17]), f([5, 17])], lambda x, y: (x * y).sum(1)), ("row_and_column", [f([17, 5])], lambda x: x.sum(0, True) * x + x.sum(1, True)),
    ("sum_twice", [f([5, 7, 9])], lambda x: x.exp().sum(2).tanh().sum(0)), ("slice_and_pad", [f([9, 9])], lambda x: F.pad(x[1:-1, 1:-1].tanh(), [1, 1, 1, 1]) + x),
    ("cat_then_reduce", [f([3, 5]), f([4, 5])], lambda x, y: torch.cat([x * 2, y.exp()]).sum(0)), ("gather_then_ops", [f([5, 9]), i([5, 3], 0, 9)], lambda x, n: x.exp().gather(1, n.long()).tanh()),
    ("matmul_residual", [f([9, 17]), f([17, 17])], lambda x, w: x + (x @ w).relu()), ("matmul_softmax", [f([9, 17]), f([17, 5])], lambda x, w: (x @ w * 0.25).softmax(1)),
    ("matmul_sum", [f([9, 17]), f([17, 5])], lambda x, w: (x @ w).sum(0)), ("matmul_two_outputs", [f([9, 17]), f([17, 5])], lambda x, w: (lambda y: [y, y.tanh(), y.sum(1)])(x @ w)),
    ("glu", [f([9, 16])], lambda x: x[:, :8] * x[:, 8:].sigmoid()), ("rotary", [f([5, 8]), f([5, 4])], lambda x, a: torch.cat([x[:, :4] * a.cos() - x[:, 4:] * a.sin(), x[:, 4:] * a.cos() + x[:, :4] * a.sin()], 1)),
    ("where_chain", [f([17, 5]), f([17, 5])], lambda x, y: torch.where((x > 0) & (y < 1), x * y, x - y).exp()), ("compare_cast", [f([17, 5])], lambda x: (x > 0).double() * x),
    ("many_inputs", [f([17])] * 12, lambda *xs: sum((x.tanh() * (n + 1) for n, x in enumerate(xs)), torch.zeros(17))),
    ("cumsum_of_exp", [f([3, 17])], lambda x: x.exp().cumsum(1).log()), ("detach", [f([17])], lambda x: x.detach() * x),
    ("same_twice", [f([17])], lambda x: x * x + x), ("unused", [f([17]), f([5])], lambda x, y: x * 2), ("scalar_times", [f([]), f([5, 17])], lambda s, x: s * x.sum(1) + s),
    ("attention", [f([2, 3, 9, 4])] * 3, lambda q, k, v: ((q @ k.transpose(2, 3)) * 0.5).softmax(3) @ v),
    ("mlp_loss", [f([17, 9]), f([16, 9]), f([16]), f([5, 16]), f([5]), i([17], 0, 5)],
     lambda x, w, c, u, d, n: F.cross_entropy((x @ w.t() + c).relu() @ u.t() + d, n.long())),
    ("gru_like", [f([5, 8]), f([8, 8]), f([8, 8])], lambda h, w, u: (lambda z, n: (1 - z) * n + z * h)((h @ w).sigmoid(), (h @ u).tanh())),
    ("rms_then_matmul", [f([5, 17]), f([17]), f([17, 9])], lambda x, g, w: (x * (x.square().mean(1, True) + 1e-6).rsqrt() * g) @ w),
    ("six_axes", [f([2, 3, 1, 2, 1, 3]), f([1, 3, 2, 1, 2, 1])], lambda x, y: (x * y).tanh().sum((1, 4))),
    ("l2_penalty", [f([9, 5]), f([5])], lambda w, c: (w.square().sum() + c.square().sum()) * 0.01),
]
for name, inputs, fn in FUSE:
    case(f"fuse/{name}", inputs, fn, twice=name in ["softmax", "layer_norm", "glu", "mean_then_use", "attention"])

# --------------------------------------------------------------------------------------------------- display


def show():
    """What PyTorch prints, for tests/display.rs: blocks of a line '## name' and the text."""
    one = torch.float32
    rows = {
        "scalar": torch.tensor(1.5), "scalar_int": torch.tensor(7), "scalar_bool": torch.tensor(True), "empty": torch.zeros(0), "empty_2d": torch.zeros(3, 0),
        "whole": torch.tensor([1.0, 2.0, -3.0]), "fractions": torch.tensor([1.5, 2.25, -3.0]), "thirds": torch.tensor([1 / 3, -2 / 3, 100.0]),
        "wide_range": torch.tensor([1e-3, 1.0, 12345.678]), "tiny": torch.tensor([1e-5, 1.0]), "huge": torch.tensor([1e9, 1.0, 0.5]), "huge_whole": torch.tensor([1e9, 1.0]),
        "specials": torch.tensor([nan, inf, -inf, 1.0]), "nan_fraction": torch.tensor([nan, 0.5]), "zeros": torch.zeros(2, 3), "negative_zero": torch.tensor([-0.0, 1.5]),
        "matrix": torch.arange(6, dtype=one).reshape(2, 3) / 4, "ints": torch.tensor([[1, -20], [300, 4]]), "bools": torch.tensor([[True, False], [False, True]]),
        "cube": torch.arange(12, dtype=one).reshape(2, 2, 3), "four": torch.zeros(1, 2, 1, 2), "wrapped": torch.arange(30, dtype=one) / 2, "wrapped_ints": torch.arange(50),
        "summary": torch.arange(1001, dtype=one), "summary_2d": torch.arange(40 * 50, dtype=one).reshape(40, 50), "thousand": torch.arange(1000).reshape(10, 100)[:2, :12],
    }
    return "".join(f"## {name}\n{t!s}\n" for name, t in rows.items())


def main():
    (DATA / "display.txt").write_text(show())
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tensors, metadata = {}, {"torch": torch.__version__.split("+")[0]}
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, (inputs, fn, grad, twice) in CASES.items():
        if not name.startswith(only):
            continue
        try:
            metadata[name], found = answers(name, inputs, fn, grad, twice)
        except Exception as error:
            raise SystemExit(f"{name}: {type(error).__name__}: {error}") from error
        tensors |= found
    if only:
        for name, (kind, x) in tensors.items():
            print(name, kind, list(x.shape), x.ravel()[:12])
        return
    write(DATA / "reference.bin", tensors, metadata)
    size = (DATA / "reference.bin").stat().st_size
    print(f"{len(metadata) - 1} rows, {len(tensors)} tensors, {size / 1e6:.1f} MB, torch {metadata['torch']}")


if __name__ == "__main__":
    main()
