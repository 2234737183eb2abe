#!/usr/bin/env python3
"""Draws layers, losses, optimizers and schedules with random settings and writes what PyTorch makes of random inputs:
tests/data/drawn_layers.safetensors. tests/drawn does the same and compares. As reference_drawn.py:

    pip install torch numpy safetensors
    python3 scripts/reference_drawn_layers.py                        # the file in the repository
    python3 scripts/reference_drawn_layers.py --seed 7 --count 4000 --out /tmp/layers.safetensors
    KILN_DRAWN=/tmp/layers.safetensors cargo test -p kiln --test drawn

What is in the file: drawn_answers.py.
"""
import drawn_layers  # noqa: F401  the four fill the table
import drawn_losses  # noqa: F401
import drawn_runs  # noqa: F401
import drawn_training  # noqa: F401
from drawn_answers import main

main("drawn_layers.safetensors", 560, "layers and the like")
