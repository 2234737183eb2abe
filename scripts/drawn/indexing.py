"""Elements taken and put by index."""
import numpy as np
import torch
import torch.nn.functional as F

from .calls import R, axis_and_shape, axis_of, bools, extent, ints, numbers, numel, op, other, shape


@op("gather", "take_along", weight=4)
def _(c):
    a, axis = axis_and_shape(c, 0 if c.op == "gather" else 1)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    b = [R.randint(0, d) if R.random() < 0.3 and c.op == "gather" else d for d in a]
    if a and -len(a) <= axis < len(a):
        b[axis] = extent()
        if c.op == "take_along":
            b = [1 if i != axis % len(a) and R.random() < 0.3 else d for i, d in enumerate(b)]
    c.add(numbers(a) if R.random() < 0.8 else ints(a))
    low, high = (0, max(n, 1)) if R.random() < 0.95 else (-1, n + 1)
    if c.op == "take_along":  # which counts negative ones from the end, and others past it
        low, high = -n, max(n, 1)
    c.add(ints(b, low, high))
    return (lambda x, i: x.gather(axis, i)) if c.op == "gather" else lambda x, i: torch.take_along_dim(x, i, axis)


@op("index_select", weight=3)
def _(c):
    a, axis = axis_and_shape(c)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    c.add(numbers(a) if R.random() < 0.8 else bools(a))
    c.add(ints([extent()], 0, max(n, 1) if R.random() < 0.95 else n + 1))
    return lambda x, i: x.index_select(axis, i)


@op("embedding", "one_hot")
def _(c):
    n = R.randint(1, 5)
    if c.op == "embedding":
        c.add(numbers([n, extent()]))
    c.add(ints(shape(0, 3), 0, n))
    c.arg("n", n)
    return (lambda x, i: F.embedding(i, x)) if c.op == "embedding" else lambda i: F.one_hot(i, n)


@op("scatter_add", weight=4)
def _(c):
    a, axis = axis_and_shape(c)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    given = [d + R.choice([0, 0, 1]) for d in a]
    b = [R.randint(0, min(d, g)) if R.random() < 0.3 else min(d, g) for d, g in zip(a, given)]
    if a and -len(a) <= axis < len(a):
        given[axis] = extent()
        b[axis] = R.randint(0, given[axis])
    integer = R.random() < 0.2
    c.add(ints(a) if integer else numbers(a))
    c.add(ints(b, 0, max(n, 1) if R.random() < 0.96 else n + 1))
    c.add(ints(given) if integer else numbers(given))
    return lambda x, i, s: x.scatter_add(axis, i, s)


@op("index_add", weight=3)
def _(c):
    a, axis = axis_and_shape(c, 1)
    if not -len(a) <= axis < len(a):
        axis = 0
        c.args[-1] = "axis=0"
    if not numel(a):
        return None
    m = extent()
    b = list(a)
    b[axis] = m
    c.add(numbers(a)), c.add(ints([m], 0, max(a[axis], 1))), c.add(numbers(b))
    return lambda x, i, s: x.index_add(axis, i, s)


@op("scatter_reduce", "index_reduce", weight=4)
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    axis = c.arg("axis", axis_of(a, 0))
    b = list(a)
    b[axis] = R.randint(1, 5)
    how = c.arg("how", R.choice(["sum", "prod", "mean", "amax", "amin"]))
    own = c.arg("self", R.random() < 0.5)
    if c.op == "index_reduce" and how == "sum":
        return None
    k = "normal" if how in ("amax", "amin") or c.op == "index_reduce" else R.choice(["normal", "ties"])
    c.flags = {"once": True}
    if k == "ties" and how == "prod":
        k = "normal"
    c.add(numbers(a, k))
    c.add(ints(b if c.op == "scatter_reduce" else [b[axis]], 0, a[axis]))
    c.add(numbers(b, k))
    if c.op == "scatter_reduce":
        return lambda x, i, s: x.scatter_reduce(axis, i, s, how, include_self=own)
    return lambda x, i, s: x.index_reduce(axis, i, s, how, include_self=own)


@op("scatter", "scatter_value", weight=3)
def _(c):
    a, axis = axis_and_shape(c)
    n = a[axis] if a and -len(a) <= axis < len(a) else 1
    b = [R.randint(0, d) if R.random() < 0.3 else d for d in a]
    at = axis % len(a) if a and -len(a) <= axis < len(a) else None
    if at is not None:
        b[at] = R.randint(0, n)
    # each place once: where one is named twice, PyTorch's gradient is not that of its result
    index = torch.argsort(torch.tensor(np.array([R.random() for _ in range(numel([n if i == at else d for i, d in enumerate(b)]))]).reshape(
        [n if i == at else d for i, d in enumerate(b)])), dim=at if at is not None else -1).int()
    if at is not None:
        index = index.narrow(at, 0, b[at])
    c.add(numbers(a)), c.add(index.contiguous() if n else ints(b))
    if c.op == "scatter_value":
        return lambda x, i: x.scatter(axis, i, 2.5)
    c.add(numbers(b))
    return lambda x, i, s: x.scatter(axis, i, s)


@op("index_copy", "index_fill", weight=2)
def _(c):
    a, axis = [R.randint(1, 4) for _ in range(R.randint(1, 3))], None
    axis = c.arg("axis", axis_of(a, 0))
    m = R.randint(0, a[axis])
    index = torch.tensor(R.sample(range(a[axis]), m), dtype=torch.int32)
    c.add(numbers(a)), c.add(index)
    if c.op == "index_fill":
        return lambda x, i: x.index_fill(axis, i, 2.5)
    b = list(a)
    b[axis] = m
    c.add(numbers(b))
    return lambda x, i, s: x.index_copy(axis, i, s)


@op("select_scatter", "slice_scatter", weight=2)
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    axis = c.arg("axis", axis_of(a, 0))
    n = a[axis]
    c.add(numbers(a))
    if c.op == "select_scatter":
        at = c.arg("n", R.randint(-n, n - 1))
        c.add(numbers([d for i, d in enumerate(a) if i != axis % len(a)]))
        return lambda x, s: x.select_scatter(s, axis, at)
    start, end, step = c.arg("start", R.randint(-n, n)), c.arg("end", R.randint(-n, n)), c.arg("step", R.randint(1, 2))
    b = list(a)
    b[axis] = len(range(n)[slice(start, end, step)])
    c.add(numbers(b))
    return lambda x, s: x.slice_scatter(s, axis, start, end, step)


@op("take", "put", "index", "index_put", weight=2)
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    k = R.randint(1, len(a))
    extents = [numel(a)] if c.op in ("take", "put") else a[:k]
    d = [R.randint(1, 4) for _ in range(R.randint(0, 2))]
    add = c.arg("add", R.random() < 0.7)
    c.add(numbers(a))
    if c.op in ("put", "index_put"):
        c.add(numbers(d + (a[k:] if c.op == "index_put" else [])))
    for n in extents:
        c.add(ints([1 if R.random() < 0.2 and len(extents) > 1 else e for e in d], -n, n if R.random() < 0.96 else n + 1))
    if c.op == "take":
        return lambda x, i: x.take(i)
    if c.op == "index":
        return lambda x, *i: x[i]
    if not add:  # a place named twice
        c.flags = {"nograd": True}
    if c.op == "put":
        return lambda x, v, i: x.put(i, v, add)
    return lambda x, v, *i: x.index_put(i, v.expand(torch.broadcast_shapes(*[t.shape for t in i]) + tuple(a[k:])), add)


@op("masked_scatter")
def _(c):
    a = [R.randint(1, 4) for _ in range(R.randint(0, 3))]
    c.add(numbers(a)), c.add(bools(a)), c.add(numbers([numel(a)]))
    return lambda x, m, s: x.masked_scatter(m, s)


@op("searchsorted", "bucketize", weight=2)
def _(c):
    right = c.arg("right", R.random() < 0.5)
    c.add(torch.sort(numbers([R.randint(0, 6)], "ties"))[0], views=False), c.add(numbers(shape(), "ties"))
    if c.op == "searchsorted":
        return lambda s, v: torch.searchsorted(s, v, right=right)
    return lambda s, v: torch.bucketize(v, s, right=right)


@op("nonzero", "unique", weight=2)
def _(c):
    a = shape(0, 3)
    c.add(numbers(a, "ties") if R.random() < 0.6 else R.choice([ints(a), bools(a)]))
    c.flags = {"nograd": True}
    return (lambda x: x.nonzero()) if c.op == "nonzero" else lambda x: torch.unique(x, return_inverse=True, return_counts=True)


@op("masked_select")
def _(c):
    a = shape(0, 3)
    c.add(numbers(a)), c.add(bools(other(a)))
    return lambda x, m: x.masked_select(m)
