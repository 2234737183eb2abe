"""Optimizers, schedules, clipping and averages of weights, which reference_drawn_layers.py lets run for some steps."""
import math

import torch
from torch import optim
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

import papers
from drawn_calls import INF, R, numbers, op
from drawn_layers import chance, flag, setting


def some(c, name, values, default, p=0.6, bad=-0.1):
    """As `setting`, seldom a value that is refused."""
    return setting(c, name, [bad] if chance(0.03) else values, default, p)


OPTIMIZERS = {
    "SGD": lambda c: {"momentum": some(c, "momentum", [0.0, 0.5, 0.9], 0.0), "dampening": setting(c, "dampening", [0.0, 0.3], 0.0, 0.4),
                      "nesterov": flag(c, "nesterov", 0.4)},
    "Adam": lambda c: adam(c), "AdamW": lambda c: adam(c),
    "RMSprop": lambda c: {"alpha": some(c, "alpha", [0.9, 0.5, 0.99], 0.99), "momentum": some(c, "momentum", [0.0, 0.9], 0.0),
                          "centered": flag(c, "centered", 0.4), "eps": some(c, "eps", [1e-8, 0.1], 1e-8, 0.4)},
    "Adagrad": lambda c: {"lr_decay": some(c, "lr_decay", [0.0, 0.1], 0.0), "eps": some(c, "eps", [1e-10, 0.1], 1e-10, 0.4),
                          "initial_accumulator_value": some(c, "initial_accumulator_value", [0.0, 0.5], 0.0)},
    "Adadelta": lambda c: {"rho": some(c, "rho", [0.9, 0.5, 0.0, 1.0], 0.9, bad=R.choice([-0.1, 1.1])), "eps": some(c, "eps", [1e-6, 0.1], 1e-6)},
    "Adamax": lambda c: betas(c), "NAdam": lambda c: {**betas(c), "momentum_decay": some(c, "momentum_decay", [4e-3, 0.1, 0.0], 4e-3),
                                                      "decoupled_weight_decay": flag(c, "decoupled", 0.4)},
    "RAdam": lambda c: {**betas(c), "decoupled_weight_decay": flag(c, "decoupled", 0.4)},
    "ASGD": lambda c: {"lambd": some(c, "lambd", [1e-4, 0.1], 1e-4), "alpha": some(c, "alpha", [0.75, 0.5], 0.75), "t0": setting(c, "t0", [1e6, 2.0], 1e6)},
    "Rprop": lambda c: {"etas": tuple(some(c, "etas", [[0.5, 1.2], [0.3, 2.0]], [0.5, 1.2], bad=R.choice([[1.0, 1.2], [0.5, 1.0], [0.0, 1.2]]))),
                        "step_sizes": tuple(setting(c, "step_sizes", [[1e-6, 50.0], [0.05, 0.2]], [1e-6, 50.0]))},
    "Adafactor": lambda c: {"beta2_decay": some(c, "beta2_decay", [-0.8, -0.5, 0.0], -0.8, bad=0.1), "d": some(c, "d", [1.0, 2.0], 1.0, bad=0.5),
                            "eps": (some(c, "eps1", [2.0**-23, 0.1], 2.0**-23, 0.4), some(c, "eps2", [1e-3, 0.1], 1e-3))},
    "Muon": lambda c: {"momentum": some(c, "momentum", [0.95, 0.5, 0.0], 0.95), "nesterov": not flag(c, "no_nesterov", 0.4),
                       "ns_coefficients": tuple(setting(c, "ns_coefficients", [[2.0, -1.5, 0.5], [3.4445, -4.775, 2.0315]], [3.4445, -4.775, 2.0315])),
                       "ns_steps": some(c, "ns_steps", [1, 3, 5], 5, bad=100), "eps": setting(c, "eps", [1e-7, 0.5], 1e-7, 0.4),
                       "adjust_lr_fn": setting(c, "adjust_lr", ["original", "match_rms_adamw", "spectral_unclamped"], None)},
    "Lion": lambda c: {"betas": betas(c)["betas"]}, "Lamb": lambda c: betas(c),
}
# what weight decays are where none is given
DECAYS = {"AdamW": 0.01, "Lamb": 0.01, "Muon": 0.1}


def betas(c):
    b = setting(c, "betas", [[0.9, 0.999], [0.5, 0.9], [0.0, 0.5], [0.8, 0.95]], [0.9, 0.999])
    if chance(0.03):
        b = c.arg("betas", R.choice([[1.0, 0.9], [0.9, 1.0], [-0.1, 0.9]]))
    elif b == [0.9, 0.999] and c.op == "Lion":
        b = c.arg("betas", b)
    eps = 1e-6 if c.op == "Lamb" else 1e-8
    return {"betas": tuple(b), "eps": eps if c.op == "Lion" else some(c, "eps", [eps, 0.1], eps, 0.4)}


def adam(c):
    return {**betas(c), "amsgrad": flag(c, "amsgrad", 0.4)}


@op(*OPTIMIZERS, weight=4)
def _(c):
    options = OPTIMIZERS[c.op](c)
    if c.op != "Rprop":
        options["weight_decay"] = some(c, "weight_decay", [0.0, 0.1, 0.01], DECAYS.get(c.op, 0.0))
    if c.op != "Muon":
        options["maximize"] = flag(c, "maximize", 0.3)
    lr = c.arg("lr", R.choice([0.1, 0.01, 1.0] + ([-0.1] if chance(0.1) else [])))
    later = setting(c, "later", [0.05, 0.5], None, 0.4)
    steps = R.randint(1, 5)
    shapes = [[R.randint(1, 4), R.randint(1, 3)], [R.randint(1, 3)]]
    if c.op == "Muon" and chance(0.97):
        shapes[1] = [R.randint(1, 3), R.randint(1, 4)]
    for dims in shapes:
        c.add(numbers(dims, "normal"), views=False)
    for dims in shapes:
        c.add(numbers([steps] + dims, R.choice(["normal", "ties"] if c.op in ("SGD", "Adam", "AdamW", "Adamax") else ["normal"])), views=False)
    c.flags = {"nograd": True}

    def run(*x):
        params = [torch.nn.Parameter(p.detach().clone()) for p in x[:2]]
        o = getattr(papers if c.op in ("Lion", "Lamb") else optim, c.op)(params, lr=lr, **options)
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
    wolfe, climb = flag(c, "strong_wolfe"), flag(c, "maximize", 0.3)
    more = {}
    for name, values in {"max_eval": [1, 3, 10], "tolerance_grad": [0.5, 1e-7], "tolerance_change": [0.1, 1e-9]}.items():
        if chance(0.3):
            more[name] = c.arg(name, R.choice(values))
    n, steps = R.randint(2, 4), c.arg("steps", R.randint(1, 2))
    c.add(numbers([n], "normal"), views=False)
    a = numbers([n, n], "normal")
    c.add(a @ a.T + torch.eye(n), views=False), c.add(numbers([n], "normal"), views=False)
    c.flags = {"nograd": True}

    def run(p, a, b):
        p = torch.nn.Parameter(p.detach().clone())
        o = optim.LBFGS([p], lr=lr, max_iter=rounds, history_size=size, line_search_fn="strong_wolfe" if wolfe else None,
                        maximize=climb, **more)

        def closure():
            o.zero_grad()
            loss = (0.5 * p @ a.detach() @ p - p @ b.detach()) * (-1 if climb else 1)
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
    # seldom what is refused
    bad = lambda value, *v: value if chance(0.04) else pick(*v)
    if name == "StepLR":
        return put(step_size=bad(0, 1, 3, 7), gamma=pick(0.1, 0.5, 0.9))
    if name == "MultiStepLR":
        return put(milestones=sorted(R.randint(0, 25) for _ in range(R.randint(1, 4))), gamma=pick(0.1, 0.5, 0.9))
    if name == "ConstantLR":
        return put(factor=bad(pick(1.5, -0.1), 0.3, 0.5, 1.0), total_iters=pick(0, 1, 5, 40))
    if name == "LinearLR":
        return put(start_factor=bad(pick(0.0, 1.5), 0.3, 0.5, 1.0), end_factor=bad(pick(-0.5, 1.5), 1.0, 0.5, 0.0), total_iters=pick(1, 5, 40))
    if name == "ExponentialLR":
        return put(gamma=pick(0.9, 0.5, 1.1))
    if name == "PolynomialLR":
        return put(total_iters=pick(1, 5, 20, 40), power=pick(1.0, 2.0, 0.5))
    if name == "CosineAnnealingLR":
        return put(T_max=bad(0, 1, 5, 12, 40), eta_min=pick(0.0, 0.01, 0.2))
    if name == "CosineAnnealingWarmRestarts":
        return put(T_0=bad(0, 1, 3, 7), T_mult=bad(0, 1, 2, 3), eta_min=pick(0.0, 0.01, 0.2))
    if name == "LambdaLR":
        k = put(k=pick(0.9, 0.5))["k"]
        return {"lr_lambda": lambda t: k ** t + 0.1 * t}
    if name == "MultiplicativeLR":
        k = put(k=pick(0.9, 0.5))["k"]
        return {"lr_lambda": lambda t: k + 0.05 * t}
    if name == "OneCycleLR":
        values = put(max_lr=pick(1.0, 0.1), total_steps=bad(pick(0, 5, 29), *range(30, 60)), pct_start=bad(pick(-0.1, 1.5), 0.3, 0.1, 0.5), anneal_strategy=pick("cos", "linear"),
                     div_factor=pick(25.0, 4.0), final_div_factor=pick(1e4, 10.0), three_phase=chance(0.5) and 1 or 0)
        values["three_phase"] = bool(values["three_phase"])
        if chance(0.7):
            values.update(zip(("base_momentum", "max_momentum"), c.arg("momentum", pick([0.85, 0.95], [0.5, 0.9]))))
        else:
            c.arg("momentum", "none")
            values["cycle_momentum"] = False
        return values
    if name == "CyclicLR":
        values = put(base_lr=pick(0.1, 0.5), max_lr=pick(1.0, 2.0), step_size_up=bad(0, 1, 3, 6), mode=pick("triangular", "triangular2", "exp_range"),
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
        group = optimizer.param_groups[0]
        out.append([group["lr"]] + ([group["momentum"] if "momentum" in group else group["betas"][0]] if momentum else []))
        optimizer.step(), schedule.step()
    return torch.tensor(out)


@op(*BASIC, "OneCycleLR", "CyclicLR", "SWALR", weight=2)
def _(c):
    lr = c.arg("lr", R.choice([1.0, 0.3, 8.0]))
    options = one(c, c.op)
    momentum = c.op in ("OneCycleLR", "CyclicLR") and "momentum=none" not in c.args
    by = c.arg("by", R.choice(["SGD", "Adam", "Adagrad"])) if c.op in ("OneCycleLR", "CyclicLR") and chance(0.3) else "SGD"

    def run():
        o = getattr(optim, by)([torch.zeros(1, requires_grad=True)], lr=lr, **({"momentum": 0.9} if by == "SGD" else {}))
        return rates(o, kind(c.op)(o, **options), momentum)
    return run


@op("step_to", weight=4)
def _(c):
    """Steps to given epochs, also between two of them; -1 stands for a step by one, of the schedule that knows fractions."""
    name = c.arg("schedule", R.choice(["CosineAnnealingWarmRestarts"] * 4 + ["CosineAnnealingLR", "ExponentialLR", "PolynomialLR", "LinearLR", "StepLR", "MultiStepLR"]))
    options, lr = one(c, name), c.arg("lr", R.choice([1.0, 0.3]))
    place = lambda: R.choice([R.randint(0, 40), R.uniform(0, 40), R.randint(0, 160) / 4])
    epochs = c.arg("epochs", [-1.0 if chance(0.3) and name.endswith("Restarts") else float(place()) for _ in range(12)])

    def run():
        o = optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        s, out = kind(name)(o, **options), []
        for epoch in epochs:
            o.step(), s.step(*[epoch] if epoch >= 0 else [])
            out.append(o.param_groups[0]["lr"])
        return torch.tensor(out)
    return run


@op("SequentialLR", weight=6)
def _(c):
    lr = c.arg("lr", R.choice([1.0, 0.3, 8.0]))
    names = [R.choice(BASIC) for _ in range(R.randint(1, 3))]
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
    options = dict(mode=c.arg("mode", R.choice(["min", "max"])), factor=c.arg("factor", 1.0 if chance(0.05) else R.choice([0.1, 0.5])), patience=c.arg("patience", R.choice([0, 1, 3])),
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


@op("clip_grad_norm", "clip_grads_with_norm", "get_total_norm", "clip_grad_value", weight=3)
def _(c):
    c.flags = {"nograd": True}
    p = c.arg("p", R.choice([2.0, 1.0, INF, 3.0, 0.5, 0.0, -INF]))
    most = c.arg("most", R.choice([0.5, 1.0, 100.0, 0.0]))
    shapes = [[R.choice([0, 1, 2, 3]) for _ in range(R.randint(0, 2))] for _ in range(R.randint(1, 3))]
    for dims in shapes:
        if abs(p) == INF and not math.prod(dims):  # there PyTorch has no largest
            return None
        c.add(numbers(dims, R.choice(["normal", "ties"])), views=chance(0.3))

    def run(*x):
        params = [torch.nn.Parameter(torch.zeros_like(g)) for g in x]
        for q, g in zip(params, x):
            q.grad = g.detach().clone()
        if c.op == "clip_grad_value":
            torch.nn.utils.clip_grad_value_(params, most)
            return [q.grad for q in params]
        if c.op == "get_total_norm":
            return torch.nn.utils.get_total_norm([q.grad for q in params], p)
        if c.op == "clip_grads_with_norm":
            norm = torch.tensor(abs(p) if abs(p) < 9 else 0.25)
            torch.nn.utils.clip_grads_with_norm_(params, most, norm)
            return [q.grad for q in params]
        norm = torch.nn.utils.clip_grad_norm_(params, most, p)
        return [norm] + [q.grad for q in params]
    return run


@op("AveragedModel", weight=4)
def _(c):
    decay = c.arg("decay", R.choice([0.9, 0.5, 0.0, 1.0])) if chance(0.6) else None
    buffers = flag(c, "use_buffers")
    steps, n = R.randint(1, 4), R.randint(1, 4)
    for _ in range(2):
        c.add(numbers([steps, n], "normal"), views=False)
    c.flags = {"nograd": True}

    def run(x, y):
        model = torch.nn.BatchNorm1d(n)
        average = AveragedModel(model, multi_avg_fn=None if decay is None else get_ema_multi_avg_fn(decay), use_buffers=buffers)
        for row, mean in zip(x.detach(), y.detach()):
            model.weight.data, model.running_mean = row.clone(), mean.clone()
            average.update_parameters(model)
        return average.module.weight, average.module.running_mean
    return run


@op("update_bn", weight=2)
def _(c):
    n, momentum = R.randint(1, 3), c.arg("momentum", R.choice([0.1, 0.5]))
    batches = R.randint(1, 4)
    c.add(numbers([batches, R.randint(2, 4), n], "normal"), views=False)
    c.flags = {"nograd": True}

    def run(x):
        model = torch.nn.Sequential(torch.nn.BatchNorm1d(n, momentum=momentum), torch.nn.BatchNorm1d(n, momentum=momentum))
        model.eval()
        update_bn(list(x.detach()), model)
        assert not model.training
        return model[0].running_mean, model[0].running_var, model[1].running_mean, model[1].running_var, model(x[0].detach())
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


@op("init_exactly", weight=4)
def _(c):
    how = c.arg("how", R.choice(["eye", "dirac", "dirac", "constant", "ones", "zeros", "sparse"]))
    rank = R.choice([2, 2, 1]) if how in ("eye", "sparse") else R.choice([3, 4, 5, 2]) if how == "dirac" else R.randint(0, 3)
    shape = c.arg("shape", [R.randint(1, 6) for _ in range(rank)])
    groups = c.arg("groups", R.choice([1, 1, 2, 3]))
    value, sparsity = c.arg("value", R.choice([0.5, -2.0])), c.arg("sparsity", R.choice([0.0, 0.1, 0.35, 0.5, 0.9]))
    init = torch.nn.init

    def run():
        t = torch.full(shape, 7.0)
        if how == "sparse":  # which are zero is random, how many in each column is not
            return (init.sparse_(t, sparsity) == 0).to(torch.get_default_dtype()).sum(0)
        more = {"dirac": [groups], "constant": [value]}.get(how, [])
        return getattr(init, how + "_")(t, *more)
    return run


@op("init_spread", weight=3)
def _(c):
    """Mean and deviation of what is drawn from a given distribution."""
    how = c.arg("how", R.choice(["uniform", "normal", "trunc_normal"]))
    a, b = sorted(R.choice([-2.0, -1.0, 0.5, 1.0, 3.0]) for _ in range(2))
    b = b + 0.5 if a == b else b
    mean, std = R.choice([0.0, 0.7, -1.0]), R.choice([0.5, 1.0, 2.0])
    c.arg("a", a), c.arg("b", b), c.arg("mean", mean), c.arg("std", std), c.arg("bound", 0.05)
    if how == "uniform":
        return lambda: torch.tensor([(a + b) / 2, (b - a) / math.sqrt(12)])
    if how == "normal":
        return lambda: torch.tensor([mean, std])
    x = torch.linspace(a, b, 20001, dtype=torch.float64)
    w = torch.exp(-((x - mean) / std) ** 2 / 2)
    m = (w * x).sum() / w.sum()
    return lambda: torch.stack([m, ((w * (x - m) ** 2).sum() / w.sum()).sqrt()])
