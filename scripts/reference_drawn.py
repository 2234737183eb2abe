#!/usr/bin/env python3
"""Draws calls of tensor operations at random and writes what PyTorch answers: tests/data/drawn.safetensors.
tests/drawn makes the same calls and compares. The seed and the number of calls are arguments, so that a longer
draw than the one in the repository is one command away:

    pip install torch numpy safetensors
    python3 scripts/reference_drawn.py                               # the file in the repository
    python3 scripts/reference_drawn.py --seed 7 --count 4000 --large --out /tmp/drawn.safetensors
    KILN_DRAWN=/tmp/drawn.safetensors cargo test -p kiln --test drawn

What is in the file: drawn_answers.py.
"""
import drawn_ops  # noqa: F401  fills the table
from drawn_answers import main

main("drawn.safetensors", 1200, "operations")
