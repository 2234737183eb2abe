"""The losses that reference_drawn_layers.py calls."""
import torch
import torch.nn.functional as F
from torch import nn

from drawn_calls import INF, R, bools, ints, numbers, numel
from drawn_layers import chance, flag, layer, setting


def reduction(c):
    return setting(c, "reduction", ["none", "sum", "mean"], "mean", 0.7)


def rows(low=0, high=3):
    return [R.choice([0, 1, 2, 3, 3, 4]) for _ in range(R.randint(low, high))]


def alike(a):
    """The shape `a`, seldom one that broadcasts with it or does not fit."""
    wide = [i for i, d in enumerate(a) if d > 1]
    if chance(0.9) or not wide:
        return a
    i = R.choice(wide)
    if chance(0.5):
        return a[i:] if chance(0.3) else a[:i] + [1] + a[i + 1:]
    return a[:i] + [a[i] + 1] + a[i + 1:]


def pair(c, first="normal", second="normal", low=0):
    """Two tensors of a shape, seldom of two."""
    a = rows(low)
    b = alike(a)
    c.add(numbers(a, first), views=chance(0.3)), c.add(numbers(b, second), views=chance(0.3))
    return a


@layer("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", weight=3)
def _(c):
    a = pair(c, R.choice(["normal", "ties"]), "normal")
    r = reduction(c)
    more = {"SmoothL1Loss": {"beta": [1.0, 0.5, 2.0, 0.0] + ([-1.0] if chance(0.1) else [])},
            "HuberLoss": {"delta": [1.0, 0.5, 2.0] + ([0.0, -1.0] if chance(0.1) else [])}}.get(c.op, {})
    more = {k: setting(c, k, v, 1.0) for k, v in more.items()}
    if c.op != "SmoothL1Loss" and flag(c, "weight", 0.2):
        c.const(numbers(a if chance(0.95) else a + [1], "positive"))
        function = {"MSELoss": F.mse_loss, "L1Loss": F.l1_loss, "HuberLoss": F.huber_loss}[c.op]
        return lambda x, y, w: function(x, y, reduction=r, weight=w, **more)
    return lambda x, y: getattr(nn, c.op)(reduction=r, **more)(x, y)


def signs(dims, call=None):
    return torch.where(bools(dims), 1.0, -1.0)


@layer("SoftMarginLoss", "HingeEmbeddingLoss", weight=2)
def _(c):
    a = rows()
    c.add(numbers(a, "normal"), views=chance(0.3)), c.const(signs(alike(a)))
    r = reduction(c)
    more = {"margin": setting(c, "margin", [1.0, 0.5, 0.0], 1.0)} if c.op[0] == "H" else {}
    return lambda x, y: getattr(nn, c.op)(reduction=r, **more)(x, y)


@layer("BCELoss", "BCEWithLogitsLoss", weight=5)
def _(c):
    a = rows()
    logits = c.op != "BCELoss"
    x = numbers(a, "normal") * R.choice([1, 20]) if logits else torch.tensor(
        [R.choice([0.0, 1.0, R.random(), R.random(), R.random()]) for _ in range(numel(a))]).reshape(a)
    y = torch.tensor([R.choice([0.0, 1.0, R.random()]) for _ in range(numel(a))]).reshape(a)
    b = alike(a)
    c.add(x, views=chance(0.3)), c.add(y if b == a else torch.zeros(b), views=False)
    r = reduction(c)
    w = flag(c, "weight", 0.4)
    if w:
        c.const(numbers([1 if chance(0.3) else d for d in a][R.choice([0, 0, len(a) // 2]):], "positive"))
    p = logits and flag(c, "pos_weight", 0.4)
    if p:
        c.const(numbers([1 if chance(0.3) else d for d in a][R.choice([0, 0, len(a) // 2]):], "positive"))
    c.flags["once"] = not logits

    def run(x, y, *rest):
        rest = list(rest)
        given = {"weight": rest.pop(0)} if w else {}
        if p:
            given["pos_weight"] = rest.pop(0)
        return getattr(nn, c.op)(reduction=r, **given)(x, y)
    return run


@layer("KLDivLoss", "PoissonNLLLoss", "GaussianNLLLoss", weight=4)
def _(c):
    a = rows(0 if c.op[0] != "G" else 1)
    if c.op[0] == "K":
        log = flag(c, "log_target")
        b = alike(a)
        y = numbers(b, "normal") if log else torch.tensor([R.choice([0.0, R.random()]) for _ in range(numel(b))]).reshape(b)
        c.add(numbers(a, "normal"), views=chance(0.3))
        # PyTorch's gradient of a target of 0 is NaN
        c.add(y, views=False) if log else c.const(y)
        r = setting(c, "reduction", ["none", "sum", "mean", "batchmean"], "mean", 0.8)
        c.flags.update(once=True)
        return lambda x, y: nn.KLDivLoss(reduction=r, log_target=log)(x, y)
    r, full = reduction(c), flag(c, "full")
    if c.op[0] == "P":
        log, eps = not flag(c, "rates"), setting(c, "eps", [1e-8, 0.5], 1e-8)
        c.add(numbers(a, "normal" if log else "positive"), views=chance(0.3))
        y = ints(alike(a), 0, 5).float()
        c.const(y)
        return lambda x, y: nn.PoissonNLLLoss(log_input=log, full=full, eps=eps, reduction=r)(x, y)
    eps = setting(c, "eps", [1e-6, 1.0], 1e-6)
    c.add(numbers(a, "normal"), views=chance(0.3)), c.add(numbers(alike(a), "normal"), views=False)
    v = R.choice([a, a, a[:-1] + [1], a[:-1], [1] * len(a), a + [1]])
    c.add(numbers(v, "positive"), views=False)
    c.flags.update(once=True)
    return lambda x, y, v: nn.GaussianNLLLoss(full=full, eps=eps, reduction=r)(x, y, v)


@layer("CrossEntropyLoss", "NLLLoss", weight=14)
def _(c):
    classes = R.randint(1, 5)
    space = [R.randint(1, 3) for _ in range(R.choice([0, 0, 0, 1, 2]))]
    outer = [R.choice([0, 1, 2, 3, 4, 4])] if space or chance(0.85) else []
    x = numbers(outer + [classes] + space, R.choice(["normal", "ties"]))
    if chance(0.1):
        x = x * 60
    c.add(x, views=chance(0.3))
    r = reduction(c)
    weight = flag(c, "weight", 0.4)
    likely = c.op[0] == "C" and flag(c, "probabilities", 0.3)
    smooth = setting(c, "label_smoothing", [0.0, 0.1, 0.5, 1.0] + ([1.5] if chance(0.1) else []), 0.0, 0.4) if c.op[0] == "C" else None
    ignored = setting(c, "ignore_index", [0, classes - 1, -1], -100, 0.3)
    if likely:
        c.add(torch.softmax(numbers(outer + [classes] + space, "normal"), 1 if outer else 0), views=False)
    else:
        y = ints(outer + space, 0, classes if chance(0.96) else classes + 1)
        if ignored not in range(classes):
            y[torch.rand(y.shape, generator=torch.Generator().manual_seed(R.randrange(1000))) < 0.3] = ignored
        c.add(y if chance(0.97) else ints(outer + space + [2], 0, classes), views=False)
    if weight:
        c.const(numbers([classes if chance(0.97) else classes + 1], "positive"))
    more = {} if smooth is None else {"label_smoothing": smooth}
    return lambda x, y, w=None: getattr(nn, c.op)(weight=w, ignore_index=ignored, reduction=r, **more)(x, y)


@layer("MultiMarginLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", weight=3)
def _(c):
    classes = R.randint(1, 4)
    outer = R.choice([[], [1], [2], [3], [0]])
    c.add(numbers(outer + [classes], "normal"), views=chance(0.3))
    r = reduction(c)
    c.flags["once"] = True
    if c.op == "MultiLabelMarginLoss":
        y = torch.stack([torch.tensor((R.sample(range(classes), R.randint(0, classes)) + [-1] * classes)[:classes], dtype=torch.int32)
                         for _ in range(numel(outer))]).reshape(outer + [classes]) if numel(outer) else ints(outer + [classes], 0, 1)
        c.add(y, views=False)
        return lambda x, y: nn.MultiLabelMarginLoss(reduction=r)(x, y)
    weight = flag(c, "weight", 0.4)
    if c.op == "MultiMarginLoss":
        p, margin = setting(c, "p", [1, 2] + ([3] if chance(0.1) else []), 1), setting(c, "margin", [1.0, 0.5, 0.0], 1.0)
        c.add(ints(outer, 0, classes if chance(0.96) else classes + 1), views=False)
    else:
        c.const(bools(alike(outer + [classes])).float())
    if weight:
        c.const(numbers([classes], "positive"))
    if c.op == "MultiMarginLoss":
        return lambda x, y, w=None: nn.MultiMarginLoss(p, margin, w, reduction=r)(x, y)
    return lambda x, y, w=None: nn.MultiLabelSoftMarginLoss(w, reduction=r)(x, y)


@layer("MarginRankingLoss", "CosineEmbeddingLoss", weight=3)
def _(c):
    r = reduction(c)
    if c.op[0] == "M":
        margin = setting(c, "margin", [0.0, 0.5, -0.5], 0.0)
        a = pair(c)
        c.const(signs([1 if chance(0.1) else d for d in a]))
        return lambda a, b, y: nn.MarginRankingLoss(margin, reduction=r)(a, b, y)
    margin = setting(c, "margin", [0.0, 0.5, -0.5], 0.0)
    outer = R.choice([[], [1], [2], [3], [0]])
    w = R.randint(1, 4)
    c.add(numbers(outer + [w], "normal"), views=chance(0.3)), c.add(numbers(alike(outer + [w]), "normal"), views=False)
    c.const(signs(outer if chance(0.95) else outer + [1]))
    return lambda a, b, y: nn.CosineEmbeddingLoss(margin, reduction=r)(a, b, y)


@layer("TripletMarginLoss", "TripletMarginWithDistanceLoss", weight=4)
def _(c):
    a = rows(1)
    for _ in range(3):
        c.add(numbers(alike(a), "normal"), views=chance(0.2))
    r, swap, margin = reduction(c), flag(c, "swap"), setting(c, "margin", [1.0, 0.5, 2.0] + ([0.0, -1.0] if chance(0.1) else []), 1.0)
    c.flags["once"] = True
    if c.op == "TripletMarginLoss":
        p, eps = setting(c, "p", [1.0, 2.0, 3.0, INF], 2.0), setting(c, "eps", [1e-6, 0.1], 1e-6)
        return lambda x, y, z: nn.TripletMarginLoss(margin, p, eps, swap, reduction=r)(x, y, z)
    distance = c.arg("distance", R.choice(["l1", "euclidean"]))
    f = (lambda x, y: (x - y).abs().sum(-1)) if distance == "l1" else None
    return lambda x, y, z: nn.TripletMarginWithDistanceLoss(distance_function=f, margin=margin, swap=swap, reduction=r)(x, y, z)


@layer("CTCLoss", weight=6)
def _(c):
    time, batch, classes = R.randint(1, 5), R.choice([1, 2, 3, 2]), R.randint(2, 4)
    blank = c.arg("blank", R.randrange(classes)) if chance(0.4) else 0
    r, zero = reduction(c), flag(c, "zero_infinity")
    alone = chance(0.15)
    if alone:
        batch = 1
    c.add(numbers([time] + ([] if alone else [batch]) + [classes], "normal"), views=chance(0.2))
    labels = [x for x in range(classes) if x != blank]
    longest = R.randint(0 if chance(0.2) else 1, 4)
    steps = [R.randint(1, time) for _ in range(batch)]
    many = [R.randint(0, longest) for _ in range(batch)]
    total = sum(many)
    flat = not alone and chance(0.3)
    dims = [total] if flat or alone else [batch, longest]
    y = torch.tensor([R.choice(labels) for _ in range(numel(dims))], dtype=torch.int32).reshape(dims)
    c.add(y, views=False)
    for n in (steps, many):
        c.add(torch.tensor(n[0] if alone else n, dtype=torch.int32), views=False)
    c.flags["once"] = True

    def run(x, y, s, n):
        loss = F.ctc_loss(x.log_softmax(-1), y, s, n, blank, r, zero)
        c.flags["nograd"] = not loss.isfinite().all()  # NaN there, zeros here
        return loss
    return run
