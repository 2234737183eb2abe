"""Products of matrices and vectors."""
import torch

from .calls import INF, R, axis_of, extent, ints, numbers, op, other, shape


@op("matmul", weight=10)
def _(c):
    m, k, n = (R.choice([0, 1, 2, 3, 5, 8, 17]) if R.random() < 0.2 else R.randint(1, 6) for _ in range(3))
    batch = shape(0, 2)
    left = R.choice([[k], [m, k], [*batch, m, k], [*batch, m, k]])
    right = R.choice([[k], [k, n], [*other(batch), k, n], [*other(batch), k, n]])
    if R.random() < 0.03:
        right[-min(2, len(right))] += 1
    if R.random() < 0.15:
        c.add(ints(left, -300, 300)), c.add(ints(right, -300, 300))
    else:
        c.add(numbers(left, "normal")), c.add(numbers(right, "normal"))
    return torch.matmul


@op("dot")
def _(c):
    n = extent()
    c.add(numbers([n])), c.add(numbers([n]))
    return torch.dot


@op("einsum", weight=8)
def _(c):
    formula = R.choice(["ij,jk->ik", "ij,jk", "bij,bjk->bik", "ii", "ii->i", "iji->j", "ij->ji", "ij", "i,j->ij", "i,i", "i,i->",
                        "ij,ij->", "ij,ij->i", "b...i,b...j->b...ij", "...ij,...jk->...ik", "...ij,...jk", "...", "...i->...",
                        "i...->...", "...ii->...i", "ijk,kl,lj->i", "ij,j,k->ik", "abc,abd->dc", "Ab,bA", "bA", "ij,kj->", "iij,jk->ik",
                        "i...j,j->i...", "a,b,c->abc", " i j , j k -> i k ", "ij,ij,ij->ij", "abcd,cdef->abef", "...,...->..."])
    c.arg("formula", formula.replace(",", "|"))
    sizes = {}
    dots = shape(0, 2)
    for side in formula.replace(" ", "").split("->")[0].split(","):
        dims = []
        for part in side.replace("...", ".").replace(".", "."):
            if part == ".":
                dims += other(dots) if R.random() < 0.5 else dots
            else:
                dims.append(sizes.setdefault(part, R.randint(1, 4) if R.random() < 0.95 else 0))
        if R.random() < 0.02 and dims:
            dims[0] += 1
        c.add(numbers(dims))
    return lambda *x: torch.einsum(formula, *x)


@op("mm", "mv", "bmm", "outer", "addmm", "baddbmm", "addmv", weight=2)
def _(c):
    m, k, n, b = (R.choice([1, 2, 3, 5]) if R.random() < 0.95 else 0 for _ in range(4))
    if c.op == "addmv" and 0 in (m, k):  # PyTorch forgets to broadcast
        return None
    shapes = {"mm": ([m, k], [k, n]), "mv": ([m, k], [k]), "bmm": ([b, m, k], [b, k, n]), "outer": ([m], [n]),
              "addmm": ([m, k], [k, n]), "baddbmm": ([b, m, k], [b, k, n]), "addmv": ([m, k], [k])}[c.op]
    if R.random() < 0.05:
        shapes[1][0] += 1
    if c.op.startswith("a") or c.op.startswith("ba"):
        c.add(numbers(R.choice([{"addmm": [m, n], "baddbmm": [b, m, n], "addmv": [m]}[c.op], [1]]), "normal"))
    for s in shapes:
        c.add(numbers(s, "normal"))
    if len(c.inputs) == 2:
        return getattr(torch, c.op)
    beta, alpha = c.arg("beta", R.choice([1.0, 0.5])), c.arg("alpha", R.choice([1.0, -2.0]))
    return lambda x, y, z: getattr(torch, c.op)(x, y, z, beta=beta, alpha=alpha)


@op("kron", "cross", "tensordot", "cdist", weight=2)
def _(c):
    if c.op == "kron":
        # PyTorch's takes no permuted tensors
        c.add(numbers(shape(0, 3)), views=False), c.add(numbers(shape(0, 3)), views=False)
        return torch.kron
    if c.op == "cross":
        a = [R.randint(1, 3) for _ in range(R.randint(1, 3))]
        axis = c.arg("axis", axis_of(a, 0))
        a[axis] = 3 if R.random() < 0.95 else 2
        c.add(numbers(a)), c.add(numbers(a))
        return lambda x, y: torch.linalg.cross(x, y, dim=axis)
    if c.op == "tensordot":
        n = c.arg("n", R.randint(0, 2))
        inner = [R.randint(1, 3) for _ in range(n)]
        c.add(numbers(shape(0, 2) + inner)), c.add(numbers(inner + shape(0, 2)))
        return lambda x, y: torch.tensordot(x, y, n)
    batch, w, p = shape(0, 1), R.randint(1, 4), c.arg("p", R.choice([1.0, 2.0, 3.0, INF]))
    c.add(numbers(batch + [R.randint(1, 4), w], "normal")), c.add(numbers(batch + [R.randint(1, 4), w], "normal"))
    c.flags = {"once": True}
    return lambda x, y: torch.cdist(x, y, p)


@op("trace", "matrix_power")
def _(c):
    n = c.arg("n", R.randint(0, 5))
    a = [R.randint(1, 4), R.randint(1, 4)]
    if c.op == "trace":
        c.add(numbers(a) if R.random() < 0.7 else ints(a))
        return torch.trace
    c.add(numbers(shape(0, 1) + [a[0], a[0]], "unit"))
    return lambda x: x.matrix_power(n)


@op("logspace", "tril_indices", "triu_indices")
def _(c):
    a, b, n = c.arg("start", R.choice([0.0, -1.0])), c.arg("end", R.choice([1.0, 2.0])), c.arg("n", R.choice([0, 1, 2, 5]))
    base = c.arg("p", R.choice([10.0, 2.0]))
    m, k = c.arg("m", R.randint(0, 4)), c.arg("k", R.randint(-3, 3))
    return {"logspace": lambda: torch.logspace(a, b, n, base), "tril_indices": lambda: torch.tril_indices(n, m, k),
            "triu_indices": lambda: torch.triu_indices(n, m, k)}[c.op]
