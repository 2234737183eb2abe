#!/usr/bin/env python3
"""Draws compositions of operations at random and writes what PyTorch answers: tests/data/drawn_programs.safetensors, with
results, gradients and gradients of gradients, as reference_drawn.py does for single operations.

    pip install torch numpy safetensors
    python3 scripts/reference_drawn_programs.py                       # the file in the repository
    python3 scripts/reference_drawn_programs.py --seed 7 --count 4000 --out /tmp/programs.safetensors
    KILN_DRAWN=/tmp/programs.safetensors cargo test -p kiln --test drawn programs

What is in the file: drawn_answers.py and drawn_programs.py.
"""
import argparse
from pathlib import Path

import drawn_programs
from drawn_answers import lines, write
from drawn_calls import R

if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--count", type=int, default=70)
    args.add_argument("--out", default=str(Path(__file__).parent.parent / "tests/data/drawn_programs.safetensors"))
    args = args.parse_args()
    R.seed(args.seed)
    while len(lines) < args.count:
        drawn_programs.draw()
    write(args.out, "of compositions")
