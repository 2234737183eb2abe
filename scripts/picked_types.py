"""Which type two operands meet in, and what reductions give: the calls of reference_picked.py that are about types.

A call names an operation and the types and ranks of its operands, and is answered with the type of the result as a number, in
the order bool, u32, i32, f16, f32. PyTorch's int64 is i32 here, and it has no arithmetic on uint32."""
import torch

TYPES = {"bool": torch.bool, "i32": torch.int32, "f16": torch.float16, "f32": torch.float32}
CODES = {torch.bool: 0, torch.int32: 2, torch.int64: 2, torch.float16: 3, torch.float32: 4}
BINARY = ["add", "sub", "mul", "div", "maximum", "pow", "fmod", "remainder", "floor_divide", "atan2", "eq", "lt", "logical_and", "bitwise_or", "where", "cat", "stack"]
REDUCTIONS = ["sum", "mean", "prod", "cumsum", "cumprod", "amax", "any", "argmax", "var", "norm", "softmax", "max_with_index", "sort", "logsumexp", "count_nonzero"]
UNARY = ["neg", "abs", "exp", "sqrt", "sigmoid", "floor", "relu", "sign", "isnan", "logical_not"]


def of(kind, rank):
    # what an integer becomes when it must be a float; answers are otherwise computed in float64
    torch.set_default_dtype(torch.float32)
    return torch.ones([2] * rank, dtype=TYPES[kind])


def code(t):
    return torch.tensor(CODES[(t[0] if isinstance(t, tuple) else t).dtype], dtype=torch.int32)


def both(name, x, y):
    if name == "where":
        return torch.where(torch.tensor(True), x, y)
    if name in ("cat", "stack"):
        return getattr(torch, name)([x, y])
    return getattr(torch, name)(x, y)


def one(name, x):
    if name == "norm":
        return torch.linalg.vector_norm(x)
    if name in ("max_with_index",):
        return x.max(0)
    if name in ("sum", "prod", "mean", "any", "var", "count_nonzero"):
        return getattr(x, name)()
    return getattr(x, name)(0) if name in REDUCTIONS else getattr(torch, name)(x)


def all(pick):
    for name in BINARY:
        for a in TYPES:
            for b in TYPES:
                for ra, rb in ((1, 1), (1, 0), (0, 1), (0, 0)):
                    if (name == "cat" and not ra * rb) or (name == "stack" and ra != rb):
                        continue
                    pick("type_of_two", lambda: code(both(name, of(a, ra), of(b, rb))), f=name, a=a, b=b, ra=ra, rb=rb)
        for a in TYPES:
            for n in (2, 0.5):
                for ra in (0, 1):
                    if name in ("add", "mul", "div", "pow", "eq", "lt", "floor_divide", "remainder", "fmod") and not (a == "bool" and name in ("floor_divide", "remainder", "fmod")):
                        pick("type_beside_number", lambda: code(both(name, of(a, ra), n)), f=name, a=a, n=n, ra=ra)
    for name in REDUCTIONS + UNARY:
        for a in TYPES:
            pick("type_of_one", lambda: code(one(name, of(a, 1))), f=name, a=a)
