#!/usr/bin/env python3
"""Writes tests/data/ports.safetensors: five training steps of models as people write them in PyTorch (scripts/ports), in
float64 from numbers that float32 holds exactly, stored as float32: inputs, the state dict before and after, the losses.
tests/ports writes the same models in Kiln and takes the same steps.

    pip install torch safetensors && python3 scripts/reference_ports.py
"""
from pathlib import Path

import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)

from ports import generative, graphs, language, learning, sequence, vision  # noqa: E402  (after the default type)

STEPS = 5
out = {}


def stored(tensor):
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()


def port(make):
    """`make` gives a module, its inputs by name, and a function that takes one step, the number of which it is told, and
    gives its losses."""
    torch.manual_seed(7)
    module, given, step = make()
    name = make.__name__
    with torch.no_grad():
        for p in list(module.parameters()) + [b for b in module.buffers() if b.is_floating_point()]:
            p.copy_(p.float())  # numbers that float32 holds exactly
    for key, value in given.items():
        if value.is_floating_point():
            value.copy_(value.float())
        out[f"{name}.given.{key}"] = stored(value)
    for path, value in module.state_dict().items():
        out[f"{name}.before.{path}"] = stored(value)
    module.train()
    losses = [torch.stack([loss.detach() for loss in step(t)]) for t in range(STEPS)]
    out[f"{name}.losses"] = stored(torch.stack(losses))
    for path, value in module.state_dict().items():
        if not torch.equal(stored(value), out[f"{name}.before.{path}"]):
            out[f"{name}.after.{path}"] = stored(value)
    count = sum(p.numel() for p in module.parameters())
    print(f"{name}: {count} parameters, losses {torch.stack(losses).sum(1).tolist()}")


for family in (vision, language, sequence, generative, graphs, learning):
    for make in family.PORTS:
        port(make)

path = Path(__file__).parent.parent / "tests/data/ports.safetensors"
save_file(out, path)
print(f"{path}: {path.stat().st_size} bytes")
