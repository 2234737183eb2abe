#!/usr/bin/env python3
"""Writes tests/data/distributions.safetensors: what torch.distributions answers in float64 from numbers that float32 holds
exactly, stored as float32, with gradients of the sum of each answer times given numbers. tests/distributions.rs holds
Kiln against it.

    pip install torch safetensors && python3 scripts/reference_distributions.py
"""
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
out = {}


def exact(x):
    return x.float().double()


def put(name, x):
    x = x.detach()
    out[name] = (x.float() if x.is_floating_point() else x.int()).contiguous().clone()


def case(name, make, params, others, value, calls):
    """Each of `calls`, by name, of the distribution with `params` and another with `others`."""
    leaves = [exact(p).requires_grad_() for p in params]
    for i, (a, b) in enumerate(zip(leaves, others)):
        put(f"{name}.param.{i}", a)
        put(f"{name}.other.{i}", b)
    put(f"{name}.value", value)
    p, q = make(*leaves), make(*[exact(b) for b in others])
    for call in calls:
        answer = {
            "log_prob": lambda: p.log_prob(value),
            "entropy": lambda: p.entropy(),
            "kl_divergence": lambda: kl_divergence(p, q),
            "cdf": lambda: p.cdf(value),
        }[call]()
        up = exact(torch.randn(answer.shape))
        put(f"{name}.{call}", answer)
        put(f"{name}.{call}.up", up)
        grads = torch.autograd.grad((answer * up).sum(), leaves, allow_unused=True, retain_graph=True)
        for i, (g, leaf) in enumerate(zip(grads, leaves)):
            put(f"{name}.{call}.grad.{i}", torch.zeros_like(leaf) if g is None else g)


normal = ["log_prob", "entropy", "kl_divergence", "cdf"]
case("normal", Normal, [torch.randn(4, 3), torch.rand(3) + 0.3], [torch.randn(4, 3), torch.rand(3) + 0.3], exact(2 * torch.randn(2, 4, 3)), normal)
case("normal_number", Normal, [torch.randn(()), torch.tensor(0.7)], [torch.tensor(1.5), torch.tensor(2.0)], exact(torch.randn(5)), normal)
both = ["log_prob", "entropy", "kl_divergence"]
logits = lambda kind: lambda x: kind(logits=x)
probs = lambda kind: lambda x: kind(probs=x)
case("categorical_logits", logits(Categorical), [3 * torch.randn(4, 5)], [torch.randn(4, 5)], torch.randint(5, (4,)), both)
case("categorical_draws", logits(Categorical), [torch.randn(4, 5)], [torch.randn(4, 5)], torch.randint(5, (3, 4)), both)
case("categorical_one", logits(Categorical), [torch.randn(6)], [torch.randn(6)], torch.randint(6, (7,)), both)
case("categorical_large", logits(Categorical), [100 * torch.randn(3, 4)], [torch.randn(3, 4)], torch.randint(4, (3,)), both)
case("categorical_probs", probs(Categorical), [torch.rand(3, 4) + 0.1], [torch.rand(3, 4) + 0.1], torch.randint(4, (3,)), both)
case("bernoulli_logits", logits(Bernoulli), [3 * torch.randn(4, 3)], [torch.randn(4, 3)], torch.randint(2, (4, 3)).double(), both)
case("bernoulli_wide", logits(Bernoulli), [torch.randn(3)], [torch.randn(3)], torch.randint(2, (5, 3)).double(), both)
case("bernoulli_probs", probs(Bernoulli), [torch.rand(6) * 0.9 + 0.05], [torch.rand(6) * 0.9 + 0.05], torch.randint(2, (6,)).double(), both)

path = Path(__file__).parent.parent / "tests/data/distributions.safetensors"
save_file(out, path)
print(f"{path}: {path.stat().st_size} bytes")
