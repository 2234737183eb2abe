#!/usr/bin/env python3
"""Writes tests/data/optim.safetensors: twenty steps of every optimizer, architectures with schedules, L-BFGS, and the
learning rates of every schedule, from PyTorch in float64; with how far float32 PyTorch is from that.

    python3 scripts/reference_optim.py
"""
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as O
from safetensors.torch import save_file
from torch.optim import lr_scheduler as L
from torch.optim.swa_utils import SWALR

from papers import Lamb, Lion  # and Muon in full precision

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)
out = {}


class Embed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(12, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.out(self.table(x).mean(1))


class Attend(nn.Module):
    # No bias before the softmax: its gradient is zero but for rounding, which Adam would blow up.
    def __init__(self):
        super().__init__()
        self.qkv, self.norm, self.out = nn.Linear(6, 18, bias=False), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        weights = (q @ k.transpose(-1, -2) * 6**-0.5).softmax(-1)
        return self.out(self.norm(x + weights @ v).mean(1))


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


def flat():
    return nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 4, bias=False))


def cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 4))


def norm():
    return nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.SiLU(), nn.Linear(12, 4))


def worst(got, want):
    return ((got - want).abs() / (1 + want.abs())).max().item()


def put(name, tensor):
    out[name] = tensor.detach().to(torch.float32 if tensor.is_floating_point() else torch.int64).contiguous()


INPUT = {
    "mlp": torch.randn(32, 8), "flat": torch.randn(32, 8), "norm": torch.randn(32, 8), "cnn": torch.randn(32, 1, 6, 6),
    "embed": torch.randint(0, 12, (32, 5)), "attend": torch.randn(32, 5, 6),
}
START = {}
for name, make in {"mlp": mlp, "flat": flat, "norm": norm, "cnn": cnn, "embed": Embed, "attend": Attend}.items():
    x = INPUT[name]
    INPUT[name] = x.float().double() if x.is_floating_point() else x
    START[name] = make, {k: v.float().double() for k, v in make().state_dict().items()}
    put(f"{name}.x", INPUT[name])
    for key, value in START[name][1].items():
        put(f"{name}.before.{key}", value)
LABELS = torch.randint(0, 4, (32,))
put("labels", LABELS)


def run(kind, optimizer, schedule, dtype, steps=20):
    make, start = START[kind]
    model = make()
    model.load_state_dict(start)
    model.to(dtype)
    x = INPUT[kind].to(dtype) if INPUT[kind].is_floating_point() else INPUT[kind]
    optimizer = optimizer(model.parameters())
    schedule = schedule(optimizer) if schedule else None
    losses = []
    for step in range(steps):
        rows = slice(step % 4 * 8, step % 4 * 8 + 8)
        loss = F.cross_entropy(model(x[rows]), LABELS[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        losses.append(loss.detach().double())
    weights = torch.cat([p.detach().double().flatten() for p in model.parameters()])
    return torch.stack(losses), weights


def train(name, kind, optimizer, schedule=None):
    want = run(kind, optimizer, schedule, torch.float64)
    single = run(kind, optimizer, schedule, torch.float32)
    put(f"{name}.losses", want[0])
    put(f"{name}.after", want[1])
    put(f"{name}.far", torch.tensor([worst(single[0], want[0]), worst(single[1], want[1])]))


for name, optimizer in {
    "sgd": lambda p: O.SGD(p, 0.1),
    "sgd_momentum": lambda p: O.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "sgd_nesterov": lambda p: O.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "sgd_dampened": lambda p: O.SGD(p, 0.1, momentum=0.9, dampening=0.5),
    "sgd_maximize": lambda p: O.SGD(p, 0.01, momentum=0.5, maximize=True),
    "adam": lambda p: O.Adam(p, 0.02),
    "adam_decay": lambda p: O.Adam(p, 0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adam_amsgrad": lambda p: O.Adam(p, 0.02, betas=(0.9, 0.5), amsgrad=True),
    "adam_maximize": lambda p: O.Adam(p, 0.002, maximize=True),
    "adamw": lambda p: O.AdamW(p, 0.02),
    "adamw_amsgrad": lambda p: O.AdamW(p, 0.02, betas=(0.9, 0.5), weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: O.RMSprop(p, 0.01),
    "rmsprop_centered": lambda p: O.RMSprop(p, 0.005, alpha=0.9, eps=1e-4, centered=True),
    "rmsprop_momentum": lambda p: O.RMSprop(p, 0.005, alpha=0.9, momentum=0.8, weight_decay=0.01),
    "rmsprop_all": lambda p: O.RMSprop(p, 0.002, alpha=0.9, eps=1e-4, momentum=0.8, centered=True, weight_decay=0.01, maximize=True),
    "adagrad": lambda p: O.Adagrad(p, 0.05),
    "adagrad_all": lambda p: O.Adagrad(p, 0.05, lr_decay=0.1, weight_decay=0.01, initial_accumulator_value=0.1, eps=1e-6),
    "adadelta": lambda p: O.Adadelta(p),
    "adadelta_all": lambda p: O.Adadelta(p, 0.5, rho=0.8, eps=1e-4, weight_decay=0.01),
    "adamax": lambda p: O.Adamax(p, 0.02),
    "adamax_decay": lambda p: O.Adamax(p, 0.02, betas=(0.8, 0.9), weight_decay=0.01),
    "nadam": lambda p: O.NAdam(p, 0.01),
    "nadam_decay": lambda p: O.NAdam(p, 0.01, betas=(0.8, 0.9), momentum_decay=0.02, weight_decay=0.1),
    "nadam_decoupled": lambda p: O.NAdam(p, 0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: O.RAdam(p, 0.02),
    "radam_decay": lambda p: O.RAdam(p, 0.02, betas=(0.8, 0.9), weight_decay=0.1),
    "radam_decoupled": lambda p: O.RAdam(p, 0.02, weight_decay=0.1, decoupled_weight_decay=True),
    "rprop": lambda p: O.Rprop(p, 0.001, step_sizes=(1e-6, 0.02)),
    "asgd": lambda p: O.ASGD(p, 0.1, lambd=0.01, t0=5, weight_decay=0.01),
    "adafactor": lambda p: O.Adafactor(p, 0.05, eps=(torch.finfo(torch.float32).eps, 1e-3)),
    "adafactor_all": lambda p: O.Adafactor(p, 0.1, beta2_decay=-0.5, eps=(1e-6, 1e-2), d=2.0, weight_decay=0.1),
    "lion": lambda p: Lion(p, 0.001, weight_decay=0.1),
    "lamb": lambda p: Lamb(p, 0.02),
    "lamb_plain": lambda p: Lamb(p, 0.02, betas=(0.8, 0.9), weight_decay=0.0),
}.items():
    train(f"rule.{name}", "mlp", optimizer)
for name, optimizer in {
    "muon": lambda p: O.Muon(p, 0.02),
    "muon_plain": lambda p: O.Muon(p, 0.01, weight_decay=0.0, momentum=0.8, nesterov=False, adjust_lr_fn="match_rms_adamw"),
    "muon_unclamped": lambda p: O.Muon(p, 0.02, ns_steps=3, adjust_lr_fn="spectral_unclamped"),
}.items():
    train(f"rule.{name}", "flat", optimizer)

OPTIMIZERS = {
    "sgd": lambda p: O.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: O.Adam(p, 0.01),
    "adamw": lambda p: O.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: O.RMSprop(p, 0.003, eps=1e-4),
    "radam": lambda p: O.RAdam(p, 0.02),
}
SCHEDULES = {
    "cosine": lambda o: L.CosineAnnealingLR(o, 20),
    "one_cycle": lambda o: L.OneCycleLR(o, 0.02, total_steps=21),
    "step": lambda o: L.StepLR(o, 5, 0.5),
    "warmup": lambda o: L.SequentialLR(o, [L.LinearLR(o, 0.25, 1.0, 4), L.ExponentialLR(o, 0.9)], [4]),
    "cyclic": lambda o: L.CyclicLR(o, 0.001, 0.02, step_size_up=4, cycle_momentum=False),
}
for kind in ["mlp", "norm", "cnn", "embed", "attend"]:
    for shift, (optimizer, make) in enumerate(OPTIMIZERS.items()):
        for at, (schedule, by) in enumerate(SCHEDULES.items()):
            if (at + shift) % 5 == ["mlp", "norm", "cnn", "embed", "attend"].index(kind):
                if schedule == "one_cycle" and optimizer == "rmsprop":
                    by = lambda o: L.OneCycleLR(o, 0.02, total_steps=21, cycle_momentum=False)
                train(f"combined.{kind}.{optimizer}.{schedule}", kind, make, by)


for name, optimizer, schedule in [
    ("nadam", lambda p: O.NAdam(p, 0.01), lambda o: L.OneCycleLR(o, 0.02, total_steps=21)),
    ("radam", lambda p: O.RAdam(p, 0.01), lambda o: L.OneCycleLR(o, 0.02, total_steps=21)),
    ("adamax", lambda p: O.Adamax(p, 0.01), lambda o: L.OneCycleLR(o, 0.02, total_steps=21)),
    ("adam", lambda p: O.Adam(p, 0.01, weight_decay=0.1, amsgrad=True), lambda o: L.OneCycleLR(o, 0.02, total_steps=21)),
    # momentum that the optimizer did not have before
    ("sgd", lambda p: O.SGD(p, 0.1), lambda o: L.OneCycleLR(o, 0.05, total_steps=21)),
    ("rmsprop", lambda p: O.RMSprop(p, 0.003, eps=1e-4), lambda o: L.CyclicLR(o, 0.001, 0.005, step_size_up=4)),
]:
    train(f"cycled.{name}", "mlp", optimizer, schedule)


def groups(params, biases):
    """Biases apart, with settings of their own."""
    params = list(params)
    return [{"params": [p for p in params if p.dim() > 1]}, {"params": [p for p in params if p.dim() == 1], **biases}]


for name, optimizer, schedule in [
    ("sgd", lambda p: O.SGD(groups(p, dict(lr=0.02, momentum=0.5, weight_decay=0.1)), 0.1, momentum=0.9),
     lambda o: L.LambdaLR(o, [lambda t: 0.95**t, lambda t: 1 / (t + 1)])),
    ("adamw", lambda p: O.AdamW(groups(p, dict(weight_decay=0.0, eps=1e-4)), 0.01, weight_decay=0.1),
     lambda o: L.OneCycleLR(o, [0.02, 0.005], total_steps=21)),
    ("adam", lambda p: O.Adam(groups(p, dict(lr=0.002, betas=(0.8, 0.9))), 0.01),
     lambda o: L.CosineAnnealingLR(o, 15, eta_min=1e-3)),
]:
    train(f"groups.{name}", "mlp", optimizer, schedule)


def lbfgs(name, dtype, **settings):
    make, start = START["mlp"]
    model = make()
    model.load_state_dict(start)
    model.to(dtype)
    x = INPUT["mlp"].to(dtype)
    optimizer = O.LBFGS(model.parameters(), **settings)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), LABELS) + 0.01 * sum((p**2).sum() for p in model.parameters())
        loss.backward()
        return loss

    losses = [optimizer.step(closure).detach().double() for _ in range(4)]
    return torch.stack(losses), torch.cat([p.detach().double().flatten() for p in model.parameters()])


for name, settings in {
    "plain": dict(lr=0.5, max_iter=4, history_size=3),
    "wolfe": dict(max_iter=5, line_search_fn="strong_wolfe"),
}.items():
    want, single = lbfgs(name, torch.float64, **settings), lbfgs(name, torch.float32, **settings)
    put(f"lbfgs.{name}.losses", want[0])
    put(f"lbfgs.{name}.after", want[1])
    put(f"lbfgs.{name}.far", torch.tensor([worst(single[0], want[0]), worst(single[1], want[1])]))


def rates(name, schedule, lr=0.3, steps=100, figures=None, momentum=0.9):
    """As text, since they are wanted to 1e-12: learning rates, and momenta where they are cycled."""
    optimizer = O.SGD([torch.zeros(1, requires_grad=True)], lr, momentum=momentum)
    schedule = schedule(optimizer)
    lines = []
    for t in range(steps):
        group = optimizer.param_groups[0]
        lines.append(f"{group['lr']!r} {group['momentum']!r}")
        optimizer.step()
        schedule.step(figures[t]) if figures else schedule.step()
    text[name] = "\n".join(lines)


text = {}
rates("step", lambda o: L.StepLR(o, 7, 0.6))
rates("multi_step", lambda o: L.MultiStepLR(o, [3, 10, 10, 40], 0.5))
rates("constant", lambda o: L.ConstantLR(o))
rates("constant_set", lambda o: L.ConstantLR(o, 0.25, 30))
rates("linear", lambda o: L.LinearLR(o))
rates("linear_set", lambda o: L.LinearLR(o, 0.9, 0.1, 40))
rates("exponential", lambda o: L.ExponentialLR(o, 0.97))
rates("polynomial", lambda o: L.PolynomialLR(o, 50, 2.0))
rates("polynomial_default", lambda o: L.PolynomialLR(o))
rates("cosine", lambda o: L.CosineAnnealingLR(o, 99))
rates("cosine_min", lambda o: L.CosineAnnealingLR(o, 30, 0.01))
rates("restarts", lambda o: L.CosineAnnealingWarmRestarts(o, 10))
rates("restarts_longer", lambda o: L.CosineAnnealingWarmRestarts(o, 5, 2, 0.01))
rates("cyclic", lambda o: L.CyclicLR(o, 0.01, 0.2, step_size_up=8))
rates("cyclic_two", lambda o: L.CyclicLR(o, 0.01, 0.2, step_size_up=8, step_size_down=5, mode="triangular2", base_momentum=0.5, max_momentum=0.95))
rates("cyclic_exp", lambda o: L.CyclicLR(o, 0.01, 0.2, step_size_up=6, mode="exp_range", gamma=0.98, cycle_momentum=False))
rates("cyclic_own", lambda o: L.CyclicLR(o, 0.01, 0.2, step_size_up=6, scale_fn=lambda x: 1 / (5 ** (x * 0.0001)), scale_mode="iterations"))
rates("one_cycle", lambda o: L.OneCycleLR(o, 0.2, total_steps=120))
rates("one_cycle_linear", lambda o: L.OneCycleLR(o, 0.2, total_steps=120, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100, base_momentum=0.7, max_momentum=0.9))
rates("one_cycle_three", lambda o: L.OneCycleLR(o, 0.2, total_steps=120, three_phase=True))
rates("one_cycle_three_linear", lambda o: L.OneCycleLR(o, 0.2, total_steps=120, three_phase=True, anneal_strategy="linear", cycle_momentum=False))
rates("lambda", lambda o: L.LambdaLR(o, lambda t: 0.95**t))
rates("multiplicative", lambda o: L.MultiplicativeLR(o, lambda t: 0.9 if t % 3 else 1.05))
rates("sequential", lambda o: L.SequentialLR(o, [L.ConstantLR(o, 0.1, 20), L.ExponentialLR(o, 0.9), L.StepLR(o, 10, 0.5)], [20, 50]))
rates("chained", lambda o: L.ChainedScheduler([L.ConstantLR(o, 0.1, 20), L.ExponentialLR(o, 0.9), L.LinearLR(o, 0.5, 1.0, 30)]))
rates("swa", lambda o: SWALR(o, 0.05))
rates("swa_linear", lambda o: SWALR(o, 0.05, anneal_epochs=7, anneal_strategy="linear"))
rates("swa_at_once", lambda o: SWALR(o, 0.05, anneal_epochs=0))
falling = [1.0 / (1 + t // 9) + (0.01 if t % 4 == 3 else 0) for t in range(100)]
rates("plateau", lambda o: L.ReduceLROnPlateau(o, patience=3), figures=falling)
rates("plateau_abs", lambda o: L.ReduceLROnPlateau(o, factor=0.5, patience=2, threshold=0.05, threshold_mode="abs", cooldown=4, min_lr=0.02), figures=falling)
rates("plateau_max", lambda o: L.ReduceLROnPlateau(o, mode="max", factor=0.7, patience=2, threshold=0.01, cooldown=1), figures=[-f for f in falling])
rates("plateau_max_abs", lambda o: L.ReduceLROnPlateau(o, mode="max", factor=0.7, patience=1, threshold=0.1, threshold_mode="abs", eps=1e-3), figures=[1 - f for f in falling])

path = Path(__file__).parent.parent / "tests/data/optim.safetensors"
save_file(out, path, {"made by": f"scripts/reference_optim.py, PyTorch {torch.__version__}", **{f"rates.{k}": v for k, v in text.items()}})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
for name in sorted(out):
    if name.endswith(".far"):
        print(name, [f"{v:.1e}" for v in out[name].tolist()])
