#!/usr/bin/env python3
"""Writes tests/data/linalg.safetensors: equations and factors of small matrices, layers with orthogonal weights, and batch norm
folded into the layer before it, from PyTorch in float64, with gradients.

    python3 scripts/reference_linalg.py
"""
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import save_file
from torch.nn.utils import fusion, parametrizations

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
out = {}


def put(name, value):
    out[name] = value.detach().to(torch.float32).contiguous().clone()


def exact(*shape):
    return torch.randn(shape).to(torch.float32).double()


def leaf(value):
    return value.clone().requires_grad_()


def case(name, run, *inputs):
    """Inputs, outputs, and the gradients of the sum of outputs times cotangents; then gradients of those gradients."""
    inputs = [leaf(x.to(torch.float32).double()) for x in inputs]
    outputs = run(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = 0
    for at, y in enumerate(outputs):
        put(f"{name}.y{at}", y)
        along = exact(*y.shape)
        put(f"{name}.dy{at}", along)
        loss = loss + (y * along).sum()
    firsts = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
    again = sum(g.square().sum() for g in firsts) + sum(0 * x.sum() for x in inputs)
    seconds = torch.autograd.grad(again, inputs, allow_unused=True)
    for at, (x, first, second) in enumerate(zip(inputs, firsts, seconds)):
        put(f"{name}.x{at}", x)
        put(f"{name}.dx{at}", first)
        put(f"{name}.ddx{at}", torch.zeros_like(x) if second is None else second)


def good(*shape):
    """Matrices that are far from singular, with rows in need of exchange."""
    n = shape[-1]
    return exact(*shape) / n**0.5 + torch.eye(n)[torch.randperm(n)] * 2


def positive(*shape):
    x = exact(*shape)
    return (x @ x.mT / shape[-1] + torch.eye(shape[-1])).to(torch.float32).double()


L = torch.linalg
case("solve.one", L.solve, good(1, 1), exact(1, 1))
case("solve.matrix", L.solve, good(5, 5), exact(5, 3))
case("solve.vector", L.solve, good(6, 6), exact(6))
case("solve.batch", L.solve, good(2, 3, 4, 4), exact(2, 3, 4, 2))
case("solve.vectors", L.solve, good(3, 4, 4), exact(3, 4))
case("solve.broadcast", L.solve, good(2, 1, 3, 3), exact(4, 3, 2))
case("solve.shared", L.solve, good(4, 4), exact(3, 4, 2))
case("solve.large", L.solve, good(40, 40), exact(40, 2))
case("inv.one", L.inv, good(3, 3))
case("inv.batch", L.inv, good(2, 5, 5))
case("det.one", L.det, good(1, 1))
case("det.batch", L.det, good(2, 2, 4, 4))
case("slogdet.one", lambda a: L.slogdet(a)[1], good(5, 5))
case("slogdet.batch", lambda a: L.slogdet(a)[1], good(7, 3, 3))
out["slogdet.signs"] = L.slogdet(out["slogdet.batch.x0"]).sign
# PyTorch's gradients are symmetric, as these matrices are; only one triangle is read
case("cholesky.one", lambda a: L.cholesky((a + a.mT) / 2), positive(4, 4))
case("cholesky.batch", lambda a: L.cholesky((a + a.mT) / 2), positive(3, 2, 6, 6))
case("cholesky.upper", lambda a: L.cholesky((a + a.mT) / 2, upper=True), positive(5, 5))
case("matrix_exp.small", L.matrix_exp, exact(2, 3, 3) * 0.1)
case("matrix_exp.batch", L.matrix_exp, exact(2, 4, 4))
case("matrix_exp.far", L.matrix_exp, torch.stack([torch.zeros(3, 3), exact(3, 3).tril(-1) * 4]))
for upper in (False, True):
    for left in (False, True):
        for unit in (False, True):
            run = lambda a, b: L.solve_triangular(a, b, upper=upper, left=left, unitriangular=unit)
            case(f"triangular.{int(upper)}{int(left)}{int(unit)}", run, good(2, 1, 4, 4) + 3 * torch.eye(4), exact(3, 4, 4))


def layer(name, module, x, **options):
    module = parametrizations.orthogonal(module, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(exact(*parameter.shape) * 0.3)
            parameter.copy_(parameter.float())
        for _, buffer in module.named_buffers():
            buffer.copy_(buffer.float())
        original = module.parametrizations.weight.original
        if name.startswith("householder"):
            # the signs on the diagonal stay what they are
            diagonal = original.diagonal(dim1=-2, dim2=-1)
            diagonal.copy_(torch.where(torch.arange(diagonal.shape[-1]) % 2 == 0, -1.0, 1.0))
    x = leaf(x)
    y = module(x)
    along = exact(*y.shape)
    (y * along).sum().backward()
    for key, value in [("x", x), ("y", y), ("dy", along), ("dx", x.grad), ("weight", module.weight)]:
        put(f"orthogonal.{name}.{key}", value)
    for key, value in module.state_dict().items():
        put(f"orthogonal.{name}.state.{key}", value)
    for key, value in module.named_parameters():
        put(f"orthogonal.{name}.grad.{key}", value.grad)


layer("exp", nn.Linear(5, 5), exact(3, 5))
layer("exp_tall", nn.Linear(3, 5), exact(2, 3), orthogonal_map="matrix_exp")
layer("cayley", nn.Linear(4, 4, bias=False), exact(3, 4), orthogonal_map="cayley")
layer("cayley_wide", nn.Linear(6, 4), exact(3, 6), orthogonal_map="cayley")
layer("householder", nn.Linear(4, 7), exact(3, 4))
layer("householder_wide", nn.Linear(7, 4), exact(3, 7))
layer("householder_square", nn.Linear(4, 4), exact(3, 4), orthogonal_map="householder")
layer("householder_bare", nn.Linear(3, 5), exact(3, 3), orthogonal_map="householder", use_trivialization=False)
layer("exp_conv", nn.Conv2d(2, 3, 3), exact(1, 2, 4, 4))
# what an untrained weight becomes
plain = nn.Linear(3, 5, bias=False)
plain.weight.data = exact(5, 3)
put("start.tall", plain.weight)
put("start.tall.bare", parametrizations.orthogonal(plain, use_trivialization=False).weight)
square = nn.Linear(4, 4, bias=False)
square.weight.data = exact(4, 4)
put("start.square", square.weight)
put("start.square.orthogonal", parametrizations.orthogonal(square).weight)


def fused(name, module, norm, x, fuse):
    norm.running_mean.copy_(exact(*norm.running_mean.shape))
    norm.running_var.copy_(exact(*norm.running_var.shape).abs() + 0.1)
    if norm.affine:
        norm.weight.data = exact(*norm.weight.shape)
        norm.bias.data = exact(*norm.bias.shape)
    module.double().eval(), norm.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.float())
        norm.running_var.copy_(norm.running_var.float())
        whole = fuse(module, norm)
        put(f"fused.{name}.x", x)
        put(f"fused.{name}.y", norm(module(x)))
        assert torch.allclose(whole(x), norm(module(x)))
    for part, owner in [("layer", module), ("norm", norm)]:
        for key, value in owner.state_dict().items():
            out[f"fused.{name}.{part}.{key}"] = value.to(torch.int32 if value.dtype == torch.int64 else torch.float32).clone()
    put(f"fused.{name}.weight", whole.weight)
    put(f"fused.{name}.bias", whole.bias)


turned = lambda m, n: fusion.fuse_conv_bn_eval(m, n, transpose=True)
fused("conv1d", nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), exact(2, 2, 6), fusion.fuse_conv_bn_eval)
fused("conv2d", nn.Conv2d(4, 6, 3, groups=2, bias=False, padding=1), nn.BatchNorm2d(6, eps=1e-3), exact(2, 4, 5, 5), fusion.fuse_conv_bn_eval)
fused("conv3d", nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3, affine=False), exact(1, 2, 3, 3, 3), fusion.fuse_conv_bn_eval)
fused("turned", nn.ConvTranspose2d(3, 4, 2, stride=2), nn.BatchNorm2d(4), exact(1, 3, 3, 3), turned)
fused("linear", nn.Linear(3, 5), nn.BatchNorm1d(5), exact(4, 3), fusion.fuse_linear_bn_eval)

path = Path(__file__).parent.parent / "tests/data/linalg.safetensors"
save_file(out, path, {"made by": f"scripts/reference_linalg.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
