#!/usr/bin/env python3
"""Draws calls of tensor operations at random and writes what PyTorch answers: tests/data/drawn.safetensors.
tests/drawn makes the same calls and compares. The seed and the number of calls are arguments, so that a longer
draw than the one in the repository is one command away:

    pip install torch numpy safetensors
    python3 scripts/reference_drawn.py                               # the file in the repository
    python3 scripts/reference_drawn.py --seed 7 --count 4000 --large --out /tmp/drawn.safetensors
    KILN_DRAWN=/tmp/drawn.safetensors cargo test -p kiln --test drawn

The file holds two tensors. `words` are the 32-bit words of all tensors. `calls` is text, a line per call:

    operation;name=value;..;in=TENSOR/view:..,TENSOR;out=TENSOR,..;grad=TENSOR,-;grad2=..;err=1

A TENSOR is a letter (f32, i32, u32, bool), its extents and where in `words` it begins: `f2x3@40`. An input may go through
views before the call (`/slice:0:4:-9:-2/flip:1`); gradients are with respect to what it was before them. `grad` are the gradients
of Σ out · weight, `grad2` those of Σ grad · weight; the weights are `weight` below. `err=1` marks a call that PyTorch
refuses. Answers are computed in float64 from numbers that float32 holds, but those to `special` inputs, which may
overflow, in float32.
"""
import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

warnings.filterwarnings("ignore")
import drawn_calls
import drawn_ops  # noqa: F401  fills the table
from drawn_calls import OPS, R, Call, through

args = argparse.ArgumentParser()
args.add_argument("--seed", type=int, default=1)
args.add_argument("--count", type=int, default=1200)
args.add_argument("--only", default="", help="names of operations, with commas between")
args.add_argument("--large", action="store_true")
args.add_argument("--out", default=str(Path(__file__).parent.parent / "tests/data/drawn.safetensors"))
args = args.parse_args()
R.seed(args.seed)
drawn_calls.LARGE = args.large


def weight(i, count):
    """Weights of sums: -1, -0.75, .. 1, in an order of period 9."""
    return ((torch.arange(count) * 7 + 3 * i) % 9).to(torch.float64) / 4 - 1


pool, known, lines = [], {}, []


def put(t):
    kind = {torch.float32: "f", torch.float64: "f", torch.bool: "b", torch.uint32: "u"}.get(t.dtype, "i")
    t = t.detach().resolve_neg()
    if kind == "f":
        data = t.to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
    else:
        data = t.to(torch.int64).contiguous().numpy().astype("<i8").astype("<u4" if kind == "u" else "<i4").tobytes()
    if data not in known:
        known[data] = sum(map(len, pool)) // 4 if data else 0
        pool.append(data)
    return f"{kind}{'x'.join(map(str, t.shape))}@{known[data]}"


def dot(tensors):
    """Σ t · weight, of all floats among them."""
    terms = [(t * weight(i, t.numel()).reshape(t.shape).to(t.dtype)).sum() for i, t in enumerate(tensors) if t is not None]
    return sum(terms) if terms else None


def answer(name):
    call = Call(name)
    run = OPS[name][0](call)
    if run is None:
        return
    flags = getattr(call, "flags", {})
    line = [name] + call.args
    line.append("in=" + ",".join("/".join([put(t)] + v) for t, v in zip(call.inputs, call.views)))
    float_type = torch.float32 if call.special else torch.float64
    leaves = [t.to(float_type).requires_grad_() if t.is_floating_point() else t.long() if t.dtype == torch.int32 else t
              for t in call.inputs]
    torch.set_default_dtype(float_type)
    try:
        out = run(*[through(t, v) for t, v in zip(leaves, call.views)])
        out = [out] if isinstance(out, torch.Tensor) else list(out)
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError) as error:
        lines.append(";".join(line + ["err=1"]))
        return
    finally:
        torch.set_default_dtype(torch.float32)
    line.append("out=" + ",".join(put(t) for t in out))
    floats = [t if t.is_floating_point() else None for t in out]
    wanted = [t for t in leaves if t.is_floating_point()]
    loss = dot(floats)
    if not flags.get("nograd") and loss is not None and loss.requires_grad:
        try:
            grads = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
            line.append("grad=" + ",".join("-" if g is None else put(g) for g in grads))
        except (RuntimeError, NotImplementedError):  # PyTorch has none
            grads = []
        second = dot(grads)
        if not call.special and second is not None and second.requires_grad and R.random() < 0.5 and not flags.get("once"):
            try:
                twice = torch.autograd.grad(second, wanted, allow_unused=True)
                line.append("grad2=" + ",".join("-" if g is None else put(g) for g in twice))
            except (RuntimeError, NotImplementedError):
                pass
    lines.append(";".join(line))


names = [n for n in OPS if not args.only or n in args.only.split(",")]
deck = []
while len(lines) < args.count:
    if not deck:
        deck = [n for n in names for _ in range(OPS[n][1])]
        R.shuffle(deck)
    answer(deck.pop())
words = np.frombuffer(b"".join(pool), dtype="<i4").copy()
text = np.frombuffer("\n".join(lines).encode(), dtype=np.uint8).copy()
save_file({"words": words, "calls": text}, args.out)
refused = sum(line.endswith("err=1") for line in lines)
print(f"{len(lines)} calls of {len(names)} operations, {refused} refused, {4 * len(words) + len(text)} bytes")
