#!/usr/bin/env python3
"""Writes tests/data/conv.safetensors: what PyTorch computes in float64 for convolutions, transposed convolutions,
pooling, unpooling, im2col and col2im, as float32, with first and second gradients. tests/conv.rs holds Kiln against it.

    pip install torch safetensors && python3 scripts/reference_conv.py
"""
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(5)
out = {}


def put(name, tensor):
    tensor = tensor.detach()
    out[name] = (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()


def exact(*shape):
    """Numbers that float32 holds exactly."""
    return torch.randn(*shape).double()


def case(name, f, *inputs, second=False):
    """Result, gradients for upstream dy and, of Σ gradient · u, the gradients with respect to inputs and dy."""
    inputs = [i.detach().requires_grad_() if i.is_floating_point() else i for i in inputs]
    floats = [i for i in inputs if i.is_floating_point()]
    y = f(*inputs)
    dy = exact(*y.shape).requires_grad_()
    for n, i in enumerate(inputs):
        put(f"{name}.{n}", i)
    put(f"{name}.y", y)
    put(f"{name}.dy", dy)
    grads = torch.autograd.grad(y, floats, dy, create_graph=second)
    us = [exact(*g.shape) for g in grads]
    for n, (g, u) in enumerate(zip(grads, us)):
        put(f"{name}.d{n}", g)
        if second:
            put(f"{name}.u{n}", u)
    if second:
        along = sum((g * u).sum() for g, u in zip(grads, us))
        for n, g in enumerate(torch.autograd.grad(along, floats + [dy], allow_unused=True)):
            if g is not None:
                put(f"{name}.dd{n}", g)


def both(name, f, *inputs, **how):
    """A case of a function that gives an index too."""
    put(f"{name}.index", f(*inputs)[1])
    case(name, lambda *i: f(*i)[0], *inputs, **how)


# convolution: 3-D, groups, dilation, and padding to the same size with odd and even windows
conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
for name, x, w, how in [
    ("3d", (2, 3, 5, 6, 4), (4, 3, 3, 2, 3), dict(padding=1)),
    ("3d_strided", (1, 4, 7, 6, 9), (6, 2, 2, 3, 3), dict(stride=(2, 1, 3), padding=(1, 2, 0), dilation=(1, 2, 1), groups=2)),
    ("3d_depthwise", (2, 3, 4, 5, 5), (6, 1, 3, 3, 3), dict(padding=1, groups=3)),
    ("1d_same_even", (2, 3, 9), (4, 3, 4), dict(padding="same")),
    ("2d_same_uneven", (2, 2, 7, 6), (3, 2, 2, 3), dict(padding="same", dilation=(3, 2))),
    ("3d_same", (1, 2, 4, 5, 3), (2, 2, 3, 2, 1), dict(padding="same")),
    ("2d_depthwise_twice", (2, 5, 9, 7), (10, 1, 3, 5), dict(stride=(2, 1), padding=(1, 2), groups=5)),
]:
    case(f"conv{name}", lambda x, w, b, how=how, n=len(x) - 2: conv[n](x, w, b, **how), exact(*x), exact(*w), exact(w[0]), second=True)

# transposed convolution
back = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
for name, x, w, how in [
    ("1d", (2, 3, 7), (3, 4, 3), dict()),
    ("1d_all", (2, 4, 6), (4, 3, 5), dict(stride=3, padding=2, output_padding=2, groups=2, dilation=2)),
    ("2d", (2, 3, 5, 4), (3, 2, 3, 3), dict(stride=2, padding=1, output_padding=1)),
    ("2d_uneven", (1, 4, 5, 3), (4, 3, 2, 4), dict(stride=(1, 3), padding=(0, 2), output_padding=(0, 1), groups=2)),
    ("2d_output_padding_by_dilation", (1, 2, 3, 4), (2, 2, 2, 2), dict(stride=1, output_padding=2, dilation=3)),
    ("2d_depthwise", (2, 5, 4, 4), (5, 1, 4, 4), dict(stride=2, padding=1, groups=5)),
    ("2d_one", (1, 1, 1, 1), (1, 2, 3, 2), dict(stride=4, output_padding=3)),
    ("3d", (1, 3, 3, 4, 2), (3, 2, 3, 2, 3), dict(stride=2, padding=1, output_padding=1)),
    ("3d_groups", (2, 4, 2, 3, 3), (4, 1, 2, 2, 3), dict(stride=(2, 1, 1), groups=4, dilation=(1, 2, 1))),
]:
    f = lambda x, w, b, how=how, n=len(x) - 2: back[n](x, w, b, **how)
    case(f"conv_transpose{name}", f, exact(*x), exact(*w), exact(w[1] * how.get("groups", 1)), second=True)
case("conv_transpose2d_single", lambda x, w: F.conv_transpose2d(x, w, stride=2), exact(3, 4, 5), exact(3, 2, 2, 2))

# pooling
index = dict(return_indices=True)
both("max1d", lambda x: F.max_pool1d(x, 3, 2, 1, 2, True, **index), exact(2, 3, 14), second=True)
both("max2d_overlap", lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0), (1, 3), **index), exact(2, 2, 8, 9), second=True)
both("max2d_wide", lambda x: F.max_pool2d(x, 6, 1, 3, **index), exact(1, 2, 9, 8), second=True)
both("max3d", lambda x: F.max_pool3d(x, 2, 2, 0, 1, True, **index), exact(2, 2, 5, 4, 7), second=True)
both("max3d_overlap", lambda x: F.max_pool3d(x, (2, 3, 3), (1, 2, 1), (1, 1, 0), (2, 1, 1), **index), exact(1, 2, 6, 7, 5))
case("avg1d_ceil", lambda x: F.avg_pool1d(x, 4, 3, 1, True, False), exact(2, 2, 12))
case("avg2d_divisor", lambda x: F.avg_pool2d(x, 3, 2, 1, True, True, 5), exact(2, 2, 8, 7), second=True)
case("avg2d_ceil", lambda x: F.avg_pool2d(x, (2, 4), (3, 3), (1, 2), True, True), exact(2, 3, 9, 8))
case("avg3d", lambda x: F.avg_pool3d(x, 2, 1, 1, False, False), exact(2, 2, 4, 3, 5), second=True)
case("avg3d_all", lambda x: F.avg_pool3d(x, (3, 2, 3), (2, 2, 1), (1, 0, 1), True, True, 7), exact(1, 2, 6, 5, 4))
case("avg3d_ceil", lambda x: F.avg_pool3d(x, 3, 2, 1, True, False), exact(1, 2, 6, 5, 4))
for n, sizes in {
    "1d": [((2, 3, 10), 4), ((1, 2, 5), 7), ((1, 1, 6), 3)],
    "2d": [((2, 3, 7, 5), (3, 2)), ((1, 2, 4, 9), (6, 4)), ((1, 2, 8, 6), (4, 1)), ((1, 2, 5, 6), (None, 4))],
    "3d": [((2, 2, 5, 7, 4), (2, 3, 3)), ((1, 2, 3, 2, 8), (4, 5, 3)), ((1, 1, 4, 4, 6), 2)],
}.items():
    for i, (x, size) in enumerate(sizes):
        avg, big = getattr(F, f"adaptive_avg_pool{n}"), getattr(F, f"adaptive_max_pool{n}")
        case(f"adaptive_avg{n}_{i}", lambda x: avg(x, size), exact(*x), second=True)
        both(f"adaptive_max{n}_{i}", lambda x: big(x, size, return_indices=True), exact(*x), second=True)
case("lp1d", lambda x: F.lp_pool1d(x, 2.0, 3, 2), exact(2, 3, 9))
case("lp1d_ceil", lambda x: F.lp_pool1d(x, 3.0, 3, 2, True), exact(2, 3, 10).abs() + 0.1)
case("lp2d", lambda x: F.lp_pool2d(x, 4.0, (2, 3), (2, 1)), exact(2, 2, 6, 7))
case("lp2d_one", lambda x: F.lp_pool2d(x, 1.0, 2), exact(2, 2, 6, 4))
case("lp2d_fraction", lambda x: F.lp_pool2d(x, 1.5, 2), exact(2, 2, 6, 4).abs() + 0.1)
case("lp2d_infinite", lambda x: F.lp_pool2d(x, float("inf"), 3, 2), exact(2, 2, 7, 7))
case("lp2d_least", lambda x: F.lp_pool2d(x, -float("inf"), 2), exact(2, 2, 6, 6))
case("lp2d_zeros", lambda x: F.lp_pool2d(x, 2.0, 2), torch.cat([torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)], 3).double())
case("lp3d", lambda x: F.lp_pool3d(x, 2.0, 2, (1, 2, 2)), exact(1, 2, 3, 4, 5))
for name, x, kernel, size, n in [
    ("fractional2d", (2, 3, 9, 7), (2, 3), (4, 3), 2),
    ("fractional2d_dense", (1, 2, 6, 6), 2, 5, 2),
    ("fractional2d_one", (1, 2, 5, 6), (5, 2), (1, 3), 2),
    ("fractional3d", (1, 2, 6, 7, 5), (2, 3, 2), (3, 4, 2), 3),
]:
    samples = torch.rand(x[0], x[1], n).double()
    f = getattr(F, f"fractional_max_pool{n}d")
    put(f"{name}.samples", samples)
    both(name, lambda x: f(x, kernel, size, return_indices=True, _random_samples=samples), exact(*x))
for name, x, n, how, size in [
    ("unpool1d", (2, 3, 9), 1, dict(kernel_size=2, stride=2), None),
    ("unpool2d", (2, 3, 8, 6), 2, dict(kernel_size=2, stride=2), None),
    ("unpool2d_sized", (2, 2, 9, 7), 2, dict(kernel_size=3, stride=2), (10, 8)),
    ("unpool2d_padded", (1, 2, 7, 9), 2, dict(kernel_size=2, stride=2, padding=1), (7, 9)),
    ("unpool3d", (1, 2, 4, 6, 5), 3, dict(kernel_size=2, stride=2), (4, 6, 5)),
]:
    pool, unpool = getattr(F, f"max_pool{n}d"), getattr(F, f"max_unpool{n}d")
    y, at = pool(exact(*x), return_indices=True, **how)
    if name == "unpool2d_sized":  # windows overlap, so that maxima may coincide: other places, all different
        at = torch.arange(at[0, 0].numel()).flip(0).reshape(at[0, 0].shape).expand(at.shape)
    case(name, lambda y, at: unpool(y, at, output_size=size, **how), y, at, second=True)

# im2col and col2im
case("im2col", lambda x: F.unfold(x, (2, 3), (1, 2), (1, 0), (2, 1)), exact(2, 3, 6, 8), second=True)
case("im2col_single", lambda x: F.unfold(x, 2, stride=2), exact(3, 6, 5))
case("col2im", lambda x: F.fold(x, (5, 6), (3, 2), padding=(1, 0), stride=(2, 1)), exact(2, 12, 15), second=True)
case("col2im_dilated", lambda x: F.fold(x, (6, 5), 2, dilation=(3, 2), padding=1, stride=2), exact(1, 8, 9))
case("col2im_single", lambda x: F.fold(x, (4, 4), 3), exact(9, 4))

path = Path(__file__).parent.parent / "tests/data/conv.safetensors"
save_file(out, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size / 1024:.0f} KiB")
