"""Optimizers, schedules, clipping and averages of weights, which reference_drawn_layers.py lets run for some steps."""
import math

import torch
from torch import optim
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

from drawn_calls import INF, R, numbers, op
from drawn_layers import chance, flag, setting

OPTIMIZERS = {
    "SGD": lambda c: {"momentum": setting(c, "momentum", [0.0, 0.5, 0.9], 0.0), "dampening": setting(c, "dampening", [0.0, 0.3], 0.0, 0.4),
                      "nesterov": flag(c, "nesterov", 0.4)},
    "Adam": lambda c: adam(c), "AdamW": lambda c: adam(c),
    "RMSprop": lambda c: {"alpha": setting(c, "alpha", [0.9, 0.5, 0.99], 0.99), "momentum": setting(c, "momentum", [0.0, 0.9], 0.0),
                          "centered": flag(c, "centered", 0.4), "eps": setting(c, "eps", [1e-8, 0.1], 1e-8, 0.4)},
    "Adagrad": lambda c: {"lr_decay": setting(c, "lr_decay", [0.0, 0.1], 0.0), "eps": setting(c, "eps", [1e-10, 0.1], 1e-10, 0.4),
                          "initial_accumulator_value": setting(c, "initial_accumulator_value", [0.0, 0.5], 0.0)},
    "Adadelta": lambda c: {"rho": setting(c, "rho", [0.9, 0.5, 0.0], 0.9), "eps": setting(c, "eps", [1e-6, 0.1], 1e-6)},
    "Adamax": lambda c: betas(c), "NAdam": lambda c: {**betas(c), "momentum_decay": setting(c, "momentum_decay", [4e-3, 0.1, 0.0], 4e-3),
                                                      "decoupled_weight_decay": flag(c, "decoupled", 0.4)},
    "RAdam": lambda c: {**betas(c), "decoupled_weight_decay": flag(c, "decoupled", 0.4)},
    "ASGD": lambda c: {"lambd": setting(c, "lambd", [1e-4, 0.1], 1e-4), "alpha": setting(c, "alpha", [0.75, 0.5], 0.75), "t0": setting(c, "t0", [1e6, 2.0], 1e6)},
    "Rprop": lambda c: {"etas": tuple(setting(c, "etas", [[0.5, 1.2], [0.3, 2.0]], [0.5, 1.2])),
                        "step_sizes": tuple(setting(c, "step_sizes", [[1e-6, 50.0], [0.05, 0.2]], [1e-6, 50.0]))},
    "Adafactor": lambda c: {"beta2_decay": setting(c, "beta2_decay", [-0.8, -0.5], -0.8), "d": setting(c, "d", [1.0, 0.5], 1.0),
                            "eps": (2.0**-23, setting(c, "eps2", [1e-3, 0.1], 1e-3))},
}


def betas(c):
    b = setting(c, "betas", [[0.9, 0.999], [0.5, 0.9], [0.0, 0.5], [0.8, 0.95]], [0.9, 0.999])
    if chance(0.03):
        b = c.arg("betas", [1.0, 0.9])
    return {"betas": tuple(b), "eps": setting(c, "eps", [1e-8, 0.1], 1e-8, 0.4)}


def adam(c):
    return {**betas(c), "amsgrad": flag(c, "amsgrad", 0.4)}


@op(*OPTIMIZERS, weight=4)
def _(c):
    options = OPTIMIZERS[c.op](c)
    if c.op != "Rprop":
        options["weight_decay"] = setting(c, "weight_decay", [0.0, 0.1, 0.01] + ([-0.1] if chance(0.1) else []), 0.01 if c.op == "AdamW" else 0.0)
    options["maximize"] = flag(c, "maximize", 0.3)
    lr = c.arg("lr", R.choice([0.1, 0.01, 1.0] + ([-0.1] if chance(0.1) else [])))
    later = setting(c, "later", [0.05, 0.5], None, 0.4)
    steps = R.randint(1, 5)
    shapes = [[R.randint(1, 4), R.randint(1, 3)], [R.randint(1, 3)]]
    for dims in shapes:
        c.add(numbers(dims, "normal"), views=False)
    for dims in shapes:
        c.add(numbers([steps] + dims, R.choice(["normal", "ties"] if c.op in ("SGD", "Adam", "AdamW", "Adamax") else ["normal"])), views=False)
    c.flags = {"nograd": True}

    def run(*x):
        params = [torch.nn.Parameter(p.detach().clone()) for p in x[:2]]
        o = getattr(optim, c.op)(params, lr=lr, **options)
        for t in range(steps):
            if t == 2 and later is not None:
                o.param_groups[0]["lr"] = later
            for p, g in zip(params, x[2:]):
                p.grad = g[t].detach().clone()
            o.step()
        return params
    return run


@op("LBFGS", weight=2)
def _(c):
    lr, rounds, size = c.arg("lr", R.choice([1.0, 0.5])), c.arg("max_iter", R.randint(1, 6)), c.arg("history_size", R.choice([2, 10]))
    wolfe = flag(c, "strong_wolfe")
    n, steps = R.randint(2, 4), c.arg("steps", R.randint(1, 2))
    c.add(numbers([n], "normal"), views=False)
    a = numbers([n, n], "normal")
    c.add(a @ a.T + torch.eye(n), views=False), c.add(numbers([n], "normal"), views=False)
    c.flags = {"nograd": True}

    def run(p, a, b):
        p = torch.nn.Parameter(p.detach().clone())
        o = optim.LBFGS([p], lr=lr, max_iter=rounds, history_size=size, line_search_fn="strong_wolfe" if wolfe else None)

        def closure():
            o.zero_grad()
            loss = 0.5 * p @ a.detach() @ p - p @ b.detach()
            loss.backward()
            return loss
        for _ in range(steps):
            o.step(closure)
        return p
    return run


def one(c, name):
    """A schedule by name: its settings as arguments of `c`, and what makes it."""
    def put(**values):
        for k, v in values.items():
            c.arg(k, v)
        return values
    pick = lambda *v: R.choice(v)
    if name == "StepLR":
        return put(step_size=pick(1, 3, 7), gamma=pick(0.1, 0.5, 0.9))
    if name == "MultiStepLR":
        return put(milestones=sorted(R.randint(0, 25) for _ in range(R.randint(1, 4))), gamma=pick(0.1, 0.5, 0.9))
    if name == "ConstantLR":
        return put(factor=pick(0.3, 0.5, 1.0), total_iters=pick(0, 1, 5, 40))
    if name == "LinearLR":
        return put(start_factor=pick(0.3, 0.5, 1.0), end_factor=pick(1.0, 0.5, 0.0), total_iters=pick(1, 5, 40))
    if name == "ExponentialLR":
        return put(gamma=pick(0.9, 0.5, 1.1))
    if name == "PolynomialLR":
        return put(total_iters=pick(1, 5, 20, 40), power=pick(1.0, 2.0, 0.5))
    if name == "CosineAnnealingLR":
        return put(T_max=pick(1, 5, 12, 40), eta_min=pick(0.0, 0.01, 0.2))
    if name == "CosineAnnealingWarmRestarts":
        return put(T_0=pick(1, 3, 7), T_mult=pick(1, 2, 3), eta_min=pick(0.0, 0.01, 0.2))
    if name == "LambdaLR":
        k = put(k=pick(0.9, 0.5))["k"]
        return {"lr_lambda": lambda t: k ** t + 0.1 * t}
    if name == "MultiplicativeLR":
        k = put(k=pick(0.9, 0.5))["k"]
        return {"lr_lambda": lambda t: k + 0.05 * t}
    if name == "OneCycleLR":
        values = put(max_lr=pick(1.0, 0.1), total_steps=R.randint(31, 60), pct_start=pick(0.3, 0.1, 0.5), anneal_strategy=pick("cos", "linear"),
                     div_factor=pick(25.0, 4.0), final_div_factor=pick(1e4, 10.0), three_phase=chance(0.5) and 1 or 0)
        values["three_phase"] = bool(values["three_phase"])
        if chance(0.7):
            values.update(zip(("base_momentum", "max_momentum"), c.arg("momentum", pick([0.85, 0.95], [0.5, 0.9]))))
        else:
            c.arg("momentum", "none")
            values["cycle_momentum"] = False
        return values
    if name == "CyclicLR":
        values = put(base_lr=pick(0.1, 0.5), max_lr=pick(1.0, 2.0), step_size_up=pick(1, 3, 6), mode=pick("triangular", "triangular2", "exp_range"),
                     gamma=pick(0.9, 0.99))
        if chance(0.5):
            values["step_size_down"] = c.arg("step_size_down", pick(1, 4))
        if chance(0.7):
            values.update(zip(("base_momentum", "max_momentum"), c.arg("momentum", pick([0.8, 0.9], [0.5, 0.7]))))
        else:
            c.arg("momentum", "none")
            values["cycle_momentum"] = False
        return values
    if name == "SWALR":
        return put(swa_lr=pick(0.05, 0.5), anneal_epochs=pick(1, 5, 20), anneal_strategy=pick("cos", "linear"))
    raise KeyError(name)


def kind(name):
    return SWALR if name == "SWALR" else getattr(lr_scheduler, name)


BASIC = ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "CosineAnnealingLR",
         "CosineAnnealingWarmRestarts", "LambdaLR", "MultiplicativeLR"]


def rates(optimizer, schedule, momentum=False):
    """What learning rate (and momentum) each of 30 steps has."""
    out = []
    for _ in range(30):
        out.append([optimizer.param_groups[0]["lr"]] + ([optimizer.param_groups[0]["momentum"]] if momentum else []))
        optimizer.step(), schedule.step()
    return torch.tensor(out)


@op(*BASIC, "OneCycleLR", "CyclicLR", "SWALR", weight=2)
def _(c):
    lr = c.arg("lr", R.choice([1.0, 0.3, 8.0]))
    options = one(c, c.op)
    momentum = c.op in ("OneCycleLR", "CyclicLR") and "momentum=none" not in c.args

    def run():
        o = optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
        return rates(o, kind(c.op)(o, **options), momentum)
    return run


@op("SequentialLR", weight=6)
def _(c):
    lr = c.arg("lr", R.choice([1.0, 0.3, 8.0]))
    # a MultiplicativeLR that is not the first goes on from the learning rate that it finds
    names = [R.choice(BASIC)] + [R.choice(BASIC[:-1]) for _ in range(R.randint(0, 2))]
    places = sorted(R.sample(range(1, 28), len(names) - 1))
    c.arg("names", names), c.arg("milestones", places)
    parts = []
    for i, name in enumerate(names):
        before = len(c.args)
        parts.append(one(c, name))
        c.args[before:] = [f"{i}.{a}" for a in c.args[before:]]

    def run():
        o = optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        return rates(o, lr_scheduler.SequentialLR(o, [kind(n)(o, **p) for n, p in zip(names, parts)], places))
    return run


@op("ReduceLROnPlateau", weight=4)
def _(c):
    lr = c.arg("lr", R.choice([1.0, 0.3, 8.0]))
    options = dict(mode=c.arg("mode", R.choice(["min", "max"])), factor=c.arg("factor", R.choice([0.1, 0.5])), patience=c.arg("patience", R.choice([0, 1, 3])),
                   threshold=c.arg("threshold", R.choice([1e-4, 0.1])), threshold_mode=c.arg("threshold_mode", R.choice(["rel", "abs"])),
                   cooldown=c.arg("cooldown", R.choice([0, 2])), min_lr=c.arg("min_lr", R.choice([0.0, 0.2])), eps=c.arg("eps", R.choice([1e-8, 0.1])))
    figures = [round(R.gauss(1, 0.3), 2) for _ in range(30)]
    c.arg("figures", figures)

    def run():
        o = optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        s = lr_scheduler.ReduceLROnPlateau(o, **options)
        out = []
        for figure in figures:
            o.step(), s.step(figure)
            out.append(o.param_groups[0]["lr"])
        return torch.tensor(out)
    return run


@op("clip_grad_norm", "clip_grad_value", weight=3)
def _(c):
    c.flags = {"nograd": True}
    p = c.arg("p", R.choice([2.0, 1.0, INF, 3.0, 0.5]))
    most = c.arg("most", R.choice([0.5, 1.0, 100.0, 0.0]))
    shapes = [[R.choice([0, 1, 2, 3]) for _ in range(R.randint(0, 2))] for _ in range(R.randint(1, 3))]
    for dims in shapes:
        if p == INF and not math.prod(dims):  # there PyTorch has no largest
            return None
        c.add(numbers(dims, R.choice(["normal", "ties"])), views=chance(0.3))

    def run(*x):
        params = [torch.nn.Parameter(torch.zeros_like(g)) for g in x]
        for q, g in zip(params, x):
            q.grad = g.detach().clone()
        if c.op == "clip_grad_value":
            torch.nn.utils.clip_grad_value_(params, most)
            return [q.grad for q in params]
        norm = torch.nn.utils.clip_grad_norm_(params, most, p)
        return [norm] + [q.grad for q in params]
    return run


@op("AveragedModel", weight=4)
def _(c):
    decay = c.arg("decay", R.choice([0.9, 0.5, 0.0, 1.0])) if chance(0.6) else None
    steps, n = R.randint(1, 4), R.randint(1, 4)
    c.add(numbers([steps, n], "normal"), views=False)
    c.flags = {"nograd": True}

    def run(x):
        model = torch.nn.Linear(n, 1, bias=False)
        average = AveragedModel(model, multi_avg_fn=None if decay is None else get_ema_multi_avg_fn(decay))
        for row in x.detach():
            model.weight.data = row.reshape(1, n).clone()
            average.update_parameters(model)
        return average.module.weight
    return run


GAINS = {"linear": None, "sigmoid": None, "tanh": None, "relu": None, "leaky_relu": [0.01, 0.5], "selu": None}


@op("init", weight=8)
def _(c):
    how = c.arg("how", R.choice(["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "trunc_normal", "orthogonal"]))
    shape = c.arg("shape", R.choice([[60, 40], [40, 80], [30, 20, 3], [20, 10, 3, 3]]))
    t = torch.zeros(shape)
    gain = setting(c, "gain", [1.0, 2.0], 1.0) if how[0] in "xo" else 1.0
    follows = c.arg("follows", R.choice(list(GAINS)))
    slope = c.arg("slope", R.choice([0.01, 0.5])) if follows == "leaky_relu" else 0.0
    fan = c.arg("fan", R.choice(["fan_in", "fan_out"]))
    c.arg("bound", 0.05)
    i, o = torch.nn.init._calculate_fan_in_and_fan_out(t)
    if how[0] == "x":
        std = gain * math.sqrt(2 / (i + o))
    elif how[0] == "k":
        std = torch.nn.init.calculate_gain(follows, slope if slope else None) / math.sqrt(i if fan == "fan_in" else o)
    elif how[0] == "o":
        std = gain / math.sqrt(max(shape[0], t.numel() // shape[0]))
    else:
        std = 0.8796256610342398 if c.arg("std", 1.0) else None  # of a normal distribution cut to -2..2
    # logarithms of the deviation and of the largest element, where there is a largest one
    end = {"uniform": [math.log(std * math.sqrt(3))]}.get(how.split("_")[-1], [])
    return lambda: torch.tensor([math.log(std)] + end)
