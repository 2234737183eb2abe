"""Views, joins, and tensors out of nothing."""
import torch
import torch.nn.functional as F

from .calls import INF, R, axes_of, axis_of, bools, extent, ints, numbers, numel, op, other, shape


@op("reshape", weight=3)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    n, dims = numel(a), []
    rest = n
    for _ in range(R.randint(0, 3)):
        d = R.choice([d for d in (1, 2, 3, 4, 5) if rest and rest % d == 0] or [R.choice([0, 1])])
        dims.append(d)
        rest = rest // d if d else rest
    dims.append(rest)
    if R.random() < 0.4:
        dims[R.randrange(len(dims))] = -1
    c.arg("list", dims)
    return lambda x: x.reshape(dims)


@op("permute", weight=3)
def _(c):
    a = [R.randint(1, 3) for _ in range(R.randint(0, 6))]
    c.add(numbers(a))
    order = list(range(len(a)))
    R.shuffle(order)
    order = c.arg("list", [o - len(a) if R.random() < 0.3 else o for o in order])
    return lambda x: x.permute(order)


@op("expand", weight=2)
def _(c):
    a = [1 if R.random() < 0.5 else d for d in shape(0, 3)]
    c.add(numbers(a))
    dims = [R.choice([2, 0, 1]) for _ in range(R.choice([0, 0, 1]))]
    dims = c.arg("list", dims + [(-1 if R.random() < 0.4 else d) if d != 1 or R.random() < 0.3 else R.choice([0, 1, 4]) for d in a])
    return lambda x: x.expand(dims)


@op("transpose", "squeeze", "unsqueeze", weight=2)
def _(c):
    a = [1 if R.random() < 0.3 else d for d in shape(0, 4)]
    c.add(numbers(a))
    i, j = c.arg("axis", axis_of(a)), c.arg("other", axis_of(a))
    return {"transpose": lambda x: x.transpose(i, j), "squeeze": lambda x: x.squeeze(i), "unsqueeze": lambda x: x.unsqueeze(i)}[c.op]


@op("flatten")
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    i, j = c.arg("axis", axis_of(a)), c.arg("other", axis_of(a))
    return lambda x: x.flatten(i, j)


@op("slice", weight=6)
def _(c):
    a = shape(1, 4)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a, 0))
    n = a[axis]
    start, end, step = [c.arg(k, v) for k, v in zip(("start", "end", "step"),
                        (R.randint(-n - 2, n + 2), R.randint(-n - 2, n + 2), R.choice([1, 1, 2, 3, 5, -1, -1, -2, -3])))]

    def sliced(x):
        at = list(range(n))[slice(start, end, step)]
        return x.index_select(axis, torch.tensor(at, dtype=torch.long))
    return sliced


@op("narrow", "select", weight=2)
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a))
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    start = c.arg("start", R.randint(-n, n))
    length = c.arg("len", R.randint(0, n))
    return (lambda x: x.narrow(axis, start, length)) if c.op == "narrow" else lambda x: x.select(axis, start)


@op("flip")
def _(c):
    a = shape(0, 4)
    c.add(numbers(a))
    axes = c.arg("axes", [x for x in axes_of(a)][:3])
    return lambda x: x.flip(axes)


@op("tril", "triu")
def _(c):
    a = shape(1 if R.random() < 0.05 else 2, 4)
    c.add(R.choice([numbers(a), ints(a), bools(a), numbers(a, "holes")]))
    k = c.arg("k", R.randint(-3, 3))
    return lambda x: getattr(x, c.op)(k)


@op("diagonal", weight=2)
def _(c):
    a = shape(2, 4)
    c.add(numbers(a))
    k, i, j = c.arg("k", R.randint(-4, 4)), c.arg("axis", axis_of(a)), c.arg("other", axis_of(a))
    return lambda x: x.diagonal(k, i, j)


@op("unfold", weight=2)
def _(c):
    a = shape(0 if R.random() < 0.05 else 1, 3)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a))
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    size, step = c.arg("size", R.randint(0, n) if R.random() < 0.95 else n + 1), c.arg("step", R.randint(1, 3))
    if not a:
        return None
    return lambda x: x.unfold(axis, size, step)


@op("chain", weight=8)  # views of views
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(2, 4))]
    c.add(numbers(a) if R.random() < 0.8 else ints(a))
    rank, text = len(a), []
    for _ in range(R.randint(2, 5)):
        i, j = R.randrange(rank), R.randrange(rank)
        text.append(R.choice([f"flip.{i}", f"transpose.{i}.{j}", f"slice.{i}.0.9.{R.choice([1, 2])}", f"roll.{R.randint(-3, 3)}.{i}",
                              f"slice.{i}.9.-99.{R.choice([-1, -2])}", f"pad.{R.randint(0, 2)}.{R.randint(0, 2)}", f"repeat.{i}", f"fold.{i}"]))
    c.arg("steps", text)

    def walk(x):
        for step in text:
            name, *n = step.split(".")
            n = [int(v) for v in n]
            if name == "slice":
                at = list(range(x.shape[n[0]]))[slice(*n[1:])]
                x = x.index_select(n[0], torch.tensor(at, dtype=torch.long))
            elif name == "pad":
                x = F.pad(x, n)
            elif name == "repeat":  # a new axis before this one, of extent 2, joined with it
                x = x.unsqueeze(n[0]).expand(*x.shape[:n[0]], 2, *x.shape[n[0]:]).flatten(n[0], n[0] + 1)
            elif name == "fold":  # a sum keeps the rank
                x = torch.cat([x.sum(n[0], keepdim=True), x], n[0])
            else:
                x = getattr(x, name)(*n)
        return x
    return walk


@op("cat", "stack", weight=3)
def _(c):
    a = shape(0, 3)
    axis = c.arg("axis", axis_of(a))
    for _ in range(R.choice([1, 2, 2, 3, 7])):
        b = list(a)
        if c.op == "cat" and a and -len(a) <= axis < len(a):
            b[axis] = extent()
        if R.random() < 0.03:
            b = [0]
        t = R.choice("fffffib")
        c.add(numbers(b) if t == "f" else ints(b) if t == "i" else bools(b))
    return lambda *x: getattr(torch, c.op)(x, axis)


@op("split", "chunk", weight=2)
def _(c):
    a = shape(0, 3)
    c.add(numbers(a))
    axis, n = c.arg("axis", axis_of(a)), c.arg("n", R.randint(1, 5))
    return lambda x: getattr(torch, c.op)(x, n, axis)


@op("split_sizes")
def _(c):
    a = shape(1, 3)
    c.add(numbers(a))
    axis = c.arg("axis", axis_of(a, 0))
    left, sizes = a[axis], []
    while left and len(sizes) < 5:
        sizes.append(R.randint(0, left))
        left -= sizes[-1]
    sizes = c.arg("list", sizes + [left])
    return lambda x: torch.split(x, sizes, axis)


@op("pad", weight=4)
def _(c):
    mode = c.arg("mode", R.choice(["constant", "reflect", "replicate", "circular"]))
    if mode == "constant":
        a = shape(1, 4)
        n = R.randint(1, len(a))
        sides = [(R.randint(-2, 3), R.randint(-2, 3)) for _ in range(n)]
        c.add(numbers(a) if R.random() < 0.7 else ints(a))
        value = c.arg("n", R.choice([0.0, 1.0, -2.0]))
    else:
        n = R.randint(1, 3)
        low = -1 if R.random() < 0.3 else 0
        a = [R.randint(1, 3) for _ in range(2)] + [R.randint(1 if low == 0 else 3, 5) for _ in range(n)]
        high = 2 if mode == "circular" else 3
        sides = [(R.randint(low, high), R.randint(low, high)) for _ in range(n)]
        c.add(numbers(a))
        value = c.arg("n", 0.0)
    c.arg("list", [v for s in sides for v in s])
    flat = [v for s in reversed(sides) for v in s]
    c.flags = {"once": mode != "constant"}
    return lambda x: F.pad(x, flat, mode, value) if mode == "constant" else F.pad(x, flat, mode)


@op("squeeze_all", "diag", "diag_embed", "unbind", "tensor_split", "repeat_interleave", "rot90", weight=2)
def _(c):
    a = shape(1, 2) if c.op == "diag" else [1 if R.random() < 0.3 else d for d in shape(0 if c.op == "squeeze_all" else 1, 4)]
    i, j, n = c.arg("axis", axis_of(a)), c.arg("other", axis_of(a)), c.arg("n", R.randint(1, 3))
    c.add(numbers(a) if R.random() < 0.8 else ints(a))
    return {"squeeze_all": lambda x: x.squeeze(), "diag": lambda x: x.diag(n - 2), "diag_embed": lambda x: x.diag_embed(n - 2),
            "unbind": lambda x: x.unbind(i), "tensor_split": lambda x: x.tensor_split(n, i),
            "repeat_interleave": lambda x: x.repeat_interleave(n, i), "rot90": lambda x: x.rot90(n + 2, (i, j))}[c.op]


@op("movedim", weight=2)
def _(c):
    a = shape(1, 5)
    n = R.randint(1, len(a))
    i, j = c.arg("list", R.sample(range(len(a)), n)), c.arg("axes", [x - len(a) for x in R.sample(range(len(a)), n)])
    c.add(numbers(a))
    return lambda x: x.movedim(i, j)


@op("repeat", "tile", weight=2)
def _(c):
    a = shape(0, 3)
    times = c.arg("list", [R.choice([0, 1, 2, 3]) for _ in range(R.randint(0, 4))])
    c.add(numbers(a))
    return lambda x: getattr(x, c.op)(times)


@op("unflatten")
def _(c):
    parts = [R.randint(1, 3) for _ in range(R.randint(1, 3))]
    a = shape(0, 2) + [numel(parts)]
    if R.random() < 0.4:
        parts[0] = -1
    c.arg("list", parts)
    c.add(numbers(a))
    return lambda x: x.unflatten(-1, parts)


@op("hstack", "vstack")
def _(c):
    a = shape(0, 3)
    for _ in range(R.randint(1, 3)):
        c.add(numbers(a))
    return lambda *x: getattr(torch, c.op)(x)


@op("meshgrid")
def _(c):
    for _ in range(R.randint(1, 3)):
        c.add(numbers(shape(1, 1)))
    return lambda *x: torch.meshgrid(*x, indexing="ij")


@op("arange", weight=3)
def _(c):
    if R.random() < 0.5:
        a, b, s = R.randint(-5, 5), R.randint(-5, 9), R.choice([1, 2, 3, -1, -2])
    else:
        a, b, s = R.choice([0.0, -1.5, 2.0]), R.choice([5.0, 4.75, -3.0]), R.choice([0.5, 1.25, -0.75, 2.0])
    c.arg("start", a), c.arg("end", b), c.arg("step", s)
    return lambda: torch.arange(a, b, s)


@op("linspace", weight=2)
def _(c):
    a, b, n = c.arg("start", R.choice([0.0, -3.5, 10.0])), c.arg("end", R.choice([1.0, -4.0, 10.0])), c.arg("n", R.choice([0, 1, 2, 5, 10, 33]))
    return lambda: torch.linspace(a, b, n)


@op("full", "eye")
def _(c):
    dims, n = c.arg("list", shape() if c.op == "full" else R.choice([[3], [0], [2, 5], [4, 1], [1, 0]])), c.arg("n", R.choice([0, 1, -3, 2.5, INF]))
    return (lambda: torch.full(dims, n)) if c.op == "full" else lambda: torch.eye(*dims)


@op("like", weight=2)
def _(c):
    f = c.arg("f", R.choice(["zeros_like", "ones_like", "full_like"]))
    c.add(R.choice([numbers(shape()), ints(shape()), bools(shape())]))
    return (lambda x: torch.full_like(x, 2)) if f == "full_like" else getattr(torch, f)


@op("reuse", weight=4)  # one tensor used over and over
def _(c):
    a = [R.randint(1, 4), R.randint(1, 4)]
    c.add(numbers(a, "normal"))
    return lambda x: (x * x.sum(0, keepdim=True) + x.t().t().exp() - x.amax(1, keepdim=True)) * x.softmax(-1) + x[:, :1] * x.flip(0)


@op("roll", weight=2)
def _(c):
    a = shape(1, 4)
    c.add(numbers(a))
    axes = axes_of(a)
    shifts = c.arg("list", [R.randint(-7, 7) for _ in axes] or [R.randint(-7, 7)])
    axes = c.arg("axes", axes)
    return lambda x: x.roll(shifts, axes)
