#!/usr/bin/env python3
"""Writes tests/data/schedules.txt: learning rates (and momenta) of schedules that PyTorch chains, one after another and at
once, drawn at random, each saved and taken up again at a step that is drawn too.

    python3 scripts/reference_schedules.py
"""
import itertools
import random
import warnings
from pathlib import Path

import torch
from torch.optim import SGD
from torch.optim import lr_scheduler as L
from torch.optim.swa_utils import SWALR

warnings.simplefilter("ignore")
STEPS = 40
draw = random.Random(20)

# name: how its arguments are drawn, and the schedule of them
KINDS = {
    "step": (lambda: [draw.randint(1, 9), draw.choice([0.5, 0.9, 1.2])], L.StepLR),
    "multi": (lambda: [draw.choice([0.5, 0.8])] + [draw.randint(0, 25) for _ in range(draw.randint(1, 4))], lambda o, g, *m: L.MultiStepLR(o, m, g)),
    "constant": (lambda: [draw.choice([0.1, 0.25, 1.0]), draw.randint(0, 20)], L.ConstantLR),
    "linear": (lambda: [draw.choice([0.1, 0.9, 1.0]), draw.choice([1.0, 0.05, 0.0, 0.5]), draw.randint(0, 25)], L.LinearLR),
    "exponential": (lambda: [draw.choice([0.9, 0.97, 1.01])], L.ExponentialLR),
    "polynomial": (lambda: [draw.randint(0, 45), draw.choice([0.5, 1.0, 2.0])], L.PolynomialLR),
    "cosine": (lambda: [draw.choice([1, 3, 7, 10, 25, 60]), draw.choice([0.0, 0.01, 0.1, 0.5])], L.CosineAnnealingLR),
    "restarts": (lambda: [draw.randint(1, 9), draw.randint(1, 3), draw.choice([0.0, 0.02])], L.CosineAnnealingWarmRestarts),
    "lambda": (lambda: [draw.choice([0.9, 1.02])], lambda o, g: L.LambdaLR(o, lambda t: g**t)),
    "multiplicative": (lambda: [draw.choice([0.9, 0.5])], lambda o, g: L.MultiplicativeLR(o, lambda t: g if t % 3 else 1.05)),
    "swa": (lambda: [draw.choice([0.05, 0.4]), draw.choice([0, 1, 7, 30]), draw.choice(["cos", "linear"])], lambda o, lr, n, by: SWALR(o, lr, n, by)),
    "one_cycle": (lambda: [draw.choice([0.2, 1.0]), draw.choice([60, 100])], lambda o, top, n: L.OneCycleLR(o, top, total_steps=n)),
    "cyclic": (lambda: [0.01, draw.choice([0.2, 0.6]), draw.randint(2, 9)], lambda o, low, top, n: L.CyclicLR(o, low, top, step_size_up=n)),
}
# these share entries of the optimizer's groups in PyTorch: two of them write over each other's settings
ALONE = {"swa", "one_cycle", "cyclic"}
PAIRS = [(a, b) for a, b in itertools.product(KINDS, KINDS) if not ({a, b} <= ALONE)]


def one(kind):
    return [kind, *KINDS[kind][0]()]


def build(spec, o):
    kind, *rest = spec
    if kind == "chain":
        return L.ChainedScheduler([build(part, o) for part in rest])
    if kind == "sequence":
        return L.SequentialLR(o, [build(part, o) for part in rest[1:]], list(rest[0]))
    return KINDS[kind][1](o, *rest)


def text(spec):
    return "( " + " ".join(text(part) if isinstance(part, (list, tuple)) else str(part) for part in spec) + " )"


def run(spec):
    make = lambda: SGD([torch.zeros(1, requires_grad=True)], 0.3, momentum=0.9)
    o = make()
    schedule, resumed, lines = build(spec, o), draw.randrange(STEPS), []
    for t in range(STEPS):
        if t == resumed:
            saved, state = o.state_dict(), schedule.state_dict()
            o = make()
            schedule = build(spec, o)
            o.load_state_dict(saved)
            schedule.load_state_dict(state)
        group = o.param_groups[0]
        lines.append(f"{group['lr']!r} {group['momentum']!r}")
        o.step()
        schedule.step()
    # a rate that stays needs no line of its own
    lines = [line if at == 0 or line != lines[at - 1] else "=" for at, line in enumerate(lines)]
    return "\n".join([f"{text(spec)} resumed {resumed}", *lines])


cases = []
for pair in PAIRS:
    if draw.random() < 0.45 or "cosine" in pair:
        cases.append(["chain", *map(one, pair)])
    if draw.random() < 0.4:
        cases.append(["sequence", [draw.randint(0, 25)], *map(one, pair)])
milestones = [[0, 0], [0, 5], [5, 5], [5, 6], [1, 2], [0, 1], [39, 40], [3, 20]]
plain = [kind for kind in KINDS if kind not in ALONE]
for ends in milestones * 3:
    cases.append(["sequence", ends, *(one(draw.choice(plain)) for _ in range(3))])
for _ in range(12):
    kinds = draw.sample(plain, 3)
    cases.append(["chain", *map(one, kinds)])
    cases.append(["chain", one(kinds[0]), ["sequence", [draw.randint(1, 9)], one(kinds[1]), one(kinds[2])]])
for kind in ["constant", "linear", "polynomial"]:
    cases.append([kind, *one(kind)[1:-1], 0] if kind != "polynomial" else [kind, 0, 2.0])

path = Path(__file__).parent.parent / "tests/data/schedules.txt"
header = f"# scripts/reference_schedules.py, PyTorch {torch.__version__}: a schedule, then learning rate and momentum of each step, '=' where nothing changed\n"
path.write_text(header + "\n".join(map(run, cases)) + "\n")
print(f"{path}: {len(cases)} schedules, {path.stat().st_size} bytes")
