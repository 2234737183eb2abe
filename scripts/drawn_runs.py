"""Whole trainings for reference_drawn_layers.py: a small network whose first weight is used twice, with parameters that are
frozen for some steps or that the loss does not depend on, gradients of two batches added up, groups with rates of their own,
and all of it saved and taken up again before some step."""
import copy

import torch
from torch import optim
from torch.optim import lr_scheduler

from drawn_answers import REFUSALS
from drawn_calls import R, numbers, op
from drawn_layers import chance, flag
from drawn_training import BASIC, kind, one

# as gradients may be tiny, what they are divided by must not be
RULES = {
    "SGD": {"momentum": [0.0, 0.9], "dampening": [0.0, 0.5], "nesterov": [0]}, "Adam": {"eps": [0.1], "amsgrad": [0, 1]},
    "AdamW": {"eps": [0.1], "amsgrad": [0, 1]}, "RMSprop": {"eps": [0.1], "momentum": [0.0, 0.9], "centered": [0, 1]},
    "Adagrad": {"eps": [0.1], "lr_decay": [0.0, 0.1], "initial_accumulator_value": [0.0, 0.5]}, "Adadelta": {"eps": [0.1]},
    "Adamax": {"eps": [0.1]}, "NAdam": {"eps": [0.1], "decoupled": [0, 1]}, "RAdam": {"eps": [0.1], "decoupled": [0, 1]},
    "ASGD": {"lambd": [1e-4, 0.1], "alpha": [0.75], "t0": [1e6, 2.0]},
}
NAMES = ["first", "second", "bias", "last"]


def loss_of(p, x, y, part):
    """What the network makes of a batch; the second layer is left out where `part` has no `u`."""
    first, second, bias, last = p
    h = torch.tanh(x @ first + bias)
    if "u" in part:
        h = h + torch.tanh(h @ second)
    # the first weight once more, the other way round
    return (((h @ first.t()) * last - y) ** 2).mean()


@op("run", weight=8)
def _(c):
    by = c.arg("rule", R.choice(list(RULES)))
    options = {}
    for name, values in RULES[by].items():
        value = R.choice(values)
        if value:
            options["decoupled_weight_decay" if name == "decoupled" else name] = c.arg(name, value) if isinstance(value, float) else bool(c.arg(name, value))
    decay = c.arg("weight_decay", R.choice([0.0, 0.1]))
    climb = flag(c, "maximize", 0.1)
    lr, other = c.arg("lr", R.choice([0.1, 0.02])), c.arg("other", R.choice([0.05, 0.2])) if chance(0.4) else None
    name = c.arg("schedule", R.choice(BASIC)) if chance(0.5) else None
    schedule = one(c, name) if name else {}
    steps = R.randint(2, 7)
    # of each step: whether the second layer is used (u), batches are added up (a), it is saved before (s), and who is frozen
    frozen, parts = set(), []
    for _ in range(steps):
        if chance(0.3):
            frozen ^= {R.randrange(4)}
        # somebody is left to be trained
        part = ("u" if chance(0.7) or {0, 2, 3} <= frozen else "") + ("a" if chance(0.3) else "") + ("s" if chance(0.2) else "")
        parts.append((part or "-") + "".join(map(str, sorted(frozen) if len(frozen) < 4 else [])))
    c.arg("parts", parts)
    c.arg("bound", 3e-5)
    for dims in ([4, 3], [3, 3], [3], [4]):
        c.add(numbers(dims, "normal"), views=False)
    for _ in range(2):
        c.add(numbers([steps, 2, 5, 4], "normal"), views=False)
    c.flags = {"nograd": True}

    def run(*t):
        params = [torch.nn.Parameter(p.detach().clone()) for p in t[:4]]

        def make():
            groups = [{"params": params[:2] + params[3:]}, {"params": params[2:3], "lr": other}] if other else params
            o = getattr(optim, by)(groups, lr=lr, weight_decay=decay, **options, **({"maximize": True} if climb else {}))
            return o, kind(name)(o, **schedule) if name else None
        o, s = make()
        for t_, part in enumerate(parts):
            if "s" in part and t_:
                saved = copy.deepcopy((o.state_dict(), s and s.state_dict()))
                o, s = make()
                o.load_state_dict(saved[0])
                if s:
                    s.load_state_dict(saved[1])
            for i, p in enumerate(params):
                p.requires_grad_(str(i) not in part)
            o.zero_grad()
            for half in range(2 if "a" in part else 1):
                loss_of(params, t[4][t_, half], t[5][t_, half], part).backward()
            o.step()
            if s:
                s.step()
        return [p.detach() for p in params]
    try:
        near, exact = run(*c.inputs), run(*[t.double() for t in c.inputs])
        # what float32 does not do as float64 is another run
        if not all(b.isfinite().all() and ((a - b).abs() <= 3e-6 * (1 + b.abs())).all() for a, b in zip(near, exact)):
            return None
    except REFUSALS:  # settings of the schedule
        pass
    return run
