#!/usr/bin/env python3
"""Calls picked by hand where functions have corners, and what PyTorch answers: tests/data/picked.safetensors, in the form of
drawn_answers.py. tests/drawn makes the same calls: ties, bounds and zeros under gradients; NaN, infinities, −0, integers
that overflow; rank 0, empty tensors and refusals.

    pip install torch numpy safetensors
    python3 scripts/reference_picked.py
"""
from pathlib import Path

import picked_kinks
import picked_programs
import picked_specials
import picked_types
import torch
from drawn_answers import answered, write
from drawn_calls import Call


def pick(name, run, *inputs, flags=None, **args):
    """The call `name` with arguments `args` of tensors, which are differentiated unless they are in a `const` list."""
    call = Call(name)
    for key, value in args.items():
        call.arg(key, value)
    for x in inputs:
        if isinstance(x, list):
            call.const(x[0])
        else:
            call.inputs.append(x), call.views.append([])
    finite = all(torch.isfinite(t).all() and (t.abs() < 1e18).all() for t in call.inputs if t.is_floating_point())
    call.special = not finite
    call.flags = {"twice": 0, **(flags or {})}
    answered(call, run)


if __name__ == "__main__":
    picked_kinks.all(pick)
    picked_specials.all(pick)
    picked_types.all(pick)
    picked_programs.all()
    write(Path(__file__).parent.parent / "tests/data/picked.safetensors", "picked")
