"""What reference_drawn.py and reference_drawn_layers.py share: they draw calls, and write them with PyTorch's answers.

The file holds two tensors. `words` are the 32-bit words of all tensors. `calls` is text, a line per call:

    name;argument=value;..;in=TENSOR/view:..,TENSOR;out=TENSOR,..;grad=TENSOR,-;grad2=..;err=1

A TENSOR is a letter (f32, i32, u32, bool), its extents and where in `words` it begins: `f2x3@40`. An input may go through
views before the call (`/slice:0:4:-9:-2/flip:1`); gradients are with respect to what it was before them; one with the view
`const` is not differentiated. `grad` are the gradients of Σ out · weight, `grad2` those of Σ grad · weight; the weights are
`weight` below. `err=1` marks a call that PyTorch refuses. Answers are computed in float64 from numbers that float32 holds, but
those to `special` inputs, which may overflow, in float32.

A layer has `state=path~TENSOR,..` before the call, and `dstate=..` for the gradients of its parameters and `after=..` for what
the call leaves in it; it is called `calls` times, in evaluation mode if `eval=1`.
"""
import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

import drawn_calls
from drawn_calls import OPS, R, Call, through

warnings.filterwarnings("ignore")
REFUSALS = (RuntimeError, ZeroDivisionError, IndexError, ValueError, TypeError, NotImplementedError, AssertionError)


def weight(i, count):
    """Weights of sums: -1, -0.75, .. 1, in an order of period 9."""
    return ((torch.arange(count) * 7 + 3 * i) % 9).to(torch.float64) / 4 - 1


def dot(tensors):
    """Σ t · weight, of all floats among them."""
    terms = [(t * weight(i, t.numel()).reshape(t.shape).to(t.dtype)).sum() for i, t in enumerate(tensors) if t is not None]
    return sum(terms) if terms else None


pool, known, words, lines = [], {}, 0, []


def put(t):
    global words
    kind = {torch.float32: "f", torch.float64: "f", torch.bool: "b", torch.uint32: "u"}.get(t.dtype, "i")
    t = t.detach().resolve_neg()
    if kind == "f":
        data = t.to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
    else:
        data = t.to(torch.int64).contiguous().numpy().astype("<i8").astype("<u4" if kind == "u" else "<i4").tobytes()
    if data not in known:
        known[data] = words if data else 0
        pool.append(data)
        words += len(data) // 4
    return f"{kind}{'x'.join(map(str, t.shape))}@{known[data]}"


def optional(t):
    return "-" if t is None else put(t)


def named(tensors):
    return ",".join(f"{name}~{optional(t)}" for name, t in tensors)


def state(module):
    """Parameters and buffers, by path."""
    return list(module.state_dict().items())


def filled(module):
    """`module` with other numbers, which float32 holds, in parameters and buffers."""
    with torch.no_grad():
        for path, t in state(module):
            if path.endswith("num_batches_tracked"):
                t.fill_(R.randint(0, 2))
            elif path.endswith("running_var"):
                t.copy_(drawn_calls.numbers(t.shape, "positive"))
            else:
                t.copy_(drawn_calls.numbers(t.shape, "normal") * 0.5)
    return module


def answer(name):
    call = Call(name)
    run = OPS[name][0](call)
    if run is not None:
        answered(call, run)


def answered(call, run):
    """Writes the line of `call`, whose answer `run` computes from the inputs."""
    flags = getattr(call, "flags", {})
    line = [call.op] + call.args
    float_type = torch.float32 if call.special else torch.float64
    torch.set_default_dtype(float_type)
    try:
        module = call.make and filled(call.make())
        if module is not None and state(module):
            line.append("state=" + named(state(module)))
        line.append("in=" + ",".join("/".join([put(t)] + v) for t, v in zip(call.inputs, call.views)))
        leaves = [t.to(float_type).requires_grad_("const" not in v) if t.is_floating_point()
                  else t.long() if t.dtype == torch.int32 and not flags.get("int32") else t for t, v in zip(call.inputs, call.views)]
        if module is not None:
            module.train(not flags.get("eval"))
            run = (lambda *x: module(*x)) if run is True else lambda *x, inner=run: inner(module, *x)
        for _ in range(flags.get("calls", 1)):
            out = run(*[through(t, v) for t, v in zip(leaves, call.views)])
        out = [out] if isinstance(out, torch.Tensor) else [t for t in out if t is not None]
    except REFUSALS as error:
        if not line[-1].startswith("in="):
            line.append("in=" + ",".join("/".join([put(t)] + v) for t, v in zip(call.inputs, call.views)))
        lines.append(";".join(line + ["err=1"]))
        if SHOW:
            print(lines[-1], "\n   ", str(error).splitlines()[:1])
        return
    finally:
        torch.set_default_dtype(torch.float32)
    line.append("out=" + ",".join(put(t) for t in out))
    floats = [t if t.is_floating_point() else None for t in out]
    wanted = [t for t in leaves if t.requires_grad]
    params = [] if module is None else list(module.named_parameters())
    loss = dot(floats)
    if not flags.get("nograd") and loss is not None and loss.requires_grad:
        try:
            grads = torch.autograd.grad(loss, wanted + [p for _, p in params], create_graph=True, allow_unused=True)
            grads, of_params = grads[:len(wanted)], grads[len(wanted):]
            line.append("grad=" + ",".join(map(optional, grads)))
            if params:
                line.append("dstate=" + named((path, g) for (path, _), g in zip(params, of_params)))
        except (RuntimeError, NotImplementedError):  # PyTorch has none
            grads = []
        second = dot(grads)
        if not call.special and second is not None and second.requires_grad and R.random() < flags.get("twice", 0.5) \
                and not flags.get("once"):
            try:
                twice = torch.autograd.grad(second, wanted, allow_unused=True)
                line.append("grad2=" + ",".join(map(optional, twice)))
            except (RuntimeError, NotImplementedError):
                pass
    if module is not None and flags.get("after"):
        line.append("after=" + named(state(module)))
    lines.append(";".join(line))


SHOW = False


def main(out, count, what):
    global SHOW
    args = argparse.ArgumentParser()
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--count", type=int, default=count)
    args.add_argument("--only", default="", help=f"names of {what}, with commas between")
    args.add_argument("--large", action="store_true")
    args.add_argument("--show", action="store_true", help="print what PyTorch refuses")
    args.add_argument("--out", default=str(Path(__file__).parent.parent / "tests/data" / out))
    args = args.parse_args()
    R.seed(args.seed)
    drawn_calls.LARGE, SHOW = args.large, args.show
    names = [n for n in OPS if not args.only or n in args.only.split(",")]
    deck = []
    while len(lines) < args.count:
        if not deck:
            deck = [n for n in names for _ in range(OPS[n][1])]
            R.shuffle(deck)
        answer(deck.pop())
    write(args.out, f"of {len(names)} {what}")


def write(out, what):
    text = np.frombuffer("\n".join(lines).encode(), dtype=np.uint8).copy()
    save_file({"words": np.frombuffer(b"".join(pool), dtype="<i4").copy(), "calls": text}, out)
    refused = sum(line.endswith("err=1") for line in lines)
    print(f"{len(lines)} calls {what}, {refused} refused, {4 * words + len(text)} bytes")
