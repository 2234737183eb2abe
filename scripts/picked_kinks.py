"""Where derivatives have corners: the calls of reference_picked.py that are about gradients."""
import torch
import torch.nn.functional as F
from torch import nn

from drawn_calls import INF, NAN


def f(*v):
    """A float32 tensor of nested numbers; of one number, rank 0."""
    return torch.tensor(v[0] if len(v) == 1 else list(v), dtype=torch.float32)


def i(*v):
    return torch.tensor(v[0] if len(v) == 1 else list(v), dtype=torch.int32)


TIED = f([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [-1.0, -2.0, -1.0, -2.0]])
EDGES = f(-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, -3.0)


def all(pick):
    extremes(pick), bounds(pick), powers(pick), products(pick), spreads(pick), exponentials(pick)
    classes(pick), distances(pick), pools(pick), norms(pick)
    scatters(pick)


def extremes(pick):
    for x in (TIED, f(2.0), f([5.0]), f([[1.0, NAN], [NAN, NAN], [2.0, 2.0]]), f([[INF, INF, 1.0], [-INF, -INF, NAN]])):
        for name in ("max", "min"):
            pick(name, getattr(torch, name), x)
            pick(f"{name}_with_index", lambda x: getattr(torch, name)(x, -1), x, axis=-1, keep=0)
            pick(f"a{name}", lambda x: getattr(torch, "a" + name)(x, -1), x, axes=[-1], keep=0)
            pick(f"a{name}", lambda x: getattr(torch, "a" + name)(x, tuple(range(x.ndim))), x, axes="", keep=0)
            pick(f"arg{name}", lambda x: getattr(torch, "arg" + name)(x, -1, keepdim=True), x, axis=-1, keep=1)
            pick(f"cum{name}", lambda x: getattr(torch, "cum" + name)(x, -1), x, axis=-1)
        pick("median", lambda x: x.median(-1), x, axis=-1, keep=0)
        # which of equals PyTorch takes there is not said
        for q in (0.0, 0.5, 1.0):
            pick("quantile", lambda x: x.quantile(q, -1), x, p=q, axis=-1, keep=0, flags={"nograd": True})
        pick("aminmax", lambda x: x.aminmax(), x)
    for a in (f(1.0, 2.0, 2.0, -0.0, 0.0, NAN, INF, INF),):
        b = f(2.0, 2.0, 1.0, 0.0, -0.0, 1.0, INF, -INF)
        for name in ("maximum", "minimum", "fmax", "fmin"):
            pick(name, getattr(torch, name), a, b)
    pick("mode", lambda x: x.mode(-1), TIED, axis=-1, keep=0)
    pick("sort", lambda x: x.sort(dim=-1, stable=True), TIED, axis=-1, down=0)
    pick("sort", lambda x: x.sort(dim=-1, descending=True, stable=True), TIED, axis=-1, down=1)


def bounds(pick):
    for name in ("relu", "abs", "sign", "relu6", "hardsigmoid", "hardswish", "selu", "softsign", "logsigmoid", "gelu", "silu", "mish",
                 "softplus", "tanhshrink", "round", "floor", "ceil", "trunc", "frac", "sinc", "cosh", "expm1"):
        fun = getattr(F, name, None) or getattr(torch, name)
        pick(name, fun, EDGES)
    for name in ("relu", "abs", "softplus", "silu", "sigmoid"):
        pick(name, getattr(F, name, None) or getattr(torch, name), f(NAN, -1.0, 0.0, 2.0))
    for p in (0.0, 0.5, 1.0):
        pick("hardshrink", lambda x: F.hardshrink(x, p), EDGES, p=p)
        pick("softshrink", lambda x: F.softshrink(x, p), EDGES, p=p)
        pick("leaky_relu", lambda x: F.leaky_relu(x, p), EDGES, p=p)
        pick("threshold", lambda x: F.threshold(x, p, 7.0), EDGES, p=p, v=7.0)
    for p in (1.0, 0.5):
        pick("elu", lambda x: F.elu(x, p), EDGES, p=p, flags={"twice": 1})
        pick("celu", lambda x: F.celu(x, p), EDGES, p=p, flags={"twice": 1})
    pick("selu", F.selu, EDGES, flags={"twice": 1})
    wild = f(NAN, INF, -INF, 1.0, -1.0, 0.0)
    for name in ("relu", "relu6", "selu", "hardsigmoid", "hardswish", "softsign", "logsigmoid", "silu", "mish", "tanhshrink"):
        pick(name, getattr(F, name), wild)
    for name, fun in {"elu": F.elu, "celu": F.celu, "hardshrink": F.hardshrink, "softshrink": F.softshrink, "leaky_relu": F.leaky_relu}.items():
        pick(name, lambda x: fun(x, 0.5), wild, p=0.5)
    pick("hardtanh", lambda x: F.hardtanh(x, -1.0, 1.0), wild, low=-1.0, high=1.0)
    pick("threshold", lambda x: F.threshold(x, 0.5, 2.0), wild, p=0.5, v=2.0)
    for p in (-1.0, 0.125):
        pick("logit", lambda x: x.logit(p if p > 0 else None), f(0.0, 1.0, 0.5, -1.0, 2.0, NAN, 0.125, 0.875), p=p)
    for low, high in ((-1.0, 1.0), (1.0, -1.0), (0.0, 0.0), (-INF, INF), (0.5, INF)):
        pick("clamp", lambda x: x.clamp(low, high), EDGES, low=low, high=high)
    pick("hardtanh", lambda x: F.hardtanh(x, -1.0, 1.0), EDGES, low=-1.0, high=1.0)
    pick("hardtanh", lambda x: F.hardtanh(x, 0.0, 0.0), EDGES, low=0.0, high=0.0)
    pick("clamp_min", lambda x: x.clamp(min=-1.0), EDGES, low=-1.0, high=0.0)
    pick("clamp_max", lambda x: x.clamp(max=1.0), EDGES, low=0.0, high=1.0)
    for low, high in ((f(-1.0), f(1.0)), (EDGES, EDGES), (f([[1.0], [-3.0]]), f([[-1.0], [2.0]])), (f(-1.0, *[0.0] * 10), f(1.0))):
        pick("clamp_tensor", torch.clamp, EDGES, low, high)
    c = torch.tensor([True, False, True, False])
    pick("where", torch.where, c, f(1.0, NAN, INF, -INF), f(NAN, 2.0, NAN, 3.0))
    pick("where", torch.where, torch.tensor(True), f(1.0), f([2.0, 3.0]))
    pick("masked_fill", lambda x, m: x.masked_fill(m, -INF), f(NAN, 1.0, INF, 2.0), c, n=-INF)
    pick("masked_fill", lambda x, m: x.masked_fill(m, 0.0), f(NAN, 1.0, INF, 2.0), c, n=0.0)
    pick("nan_to_num", lambda x: x.nan_to_num(0.5, 7.0, -8.0), f(NAN, INF, -INF, 1.0, -0.0), full=1)
    pick("atan2", torch.atan2, f(0.0, -0.0, 1.0, 0.0), f(0.0, 1.0, 0.0, -1.0))
    pick("hypot", torch.hypot, f(0.0, 3.0, 0.0), f(1.0, 0.0, -2.0))
    pick("xlogy", torch.xlogy, f(0.0, 0.0, 1.0, 2.0), f(1.0, 2.0, 1.0, 0.5))
    pick("lerp", torch.lerp, f(1.0, 2.0, 3.0), f(5.0, 2.0, -1.0), f(0.5, 0.0, 1.0), n="tensor")
    pick("copysign", torch.copysign, f(1.0, -2.0, 0.0, 3.0), f(-0.0, 0.0, -1.0, -2.0))
    pick("copysign", torch.copysign, f(INF, -INF, NAN, 2.0), f(-1.0, 1.0, 2.0, NAN))
    pick("lerp", torch.lerp, f(INF, -INF, 0.0, INF), f(1.0, 0.0, INF, INF), f(1.0, 0.75, 0.25, 0.0), n="tensor")
    for name in ("logaddexp", "logaddexp2", "xlogy"):
        pick(name, getattr(torch, name), f(1.0, 2.0, 0.0, 0.0), f(1.0, 0.5, 0.0, 2.0), flags={"twice": int(name != "xlogy")})
        pick(name, getattr(torch, name), f(INF, INF, -INF, NAN, 0.0), f(INF, -INF, 1.0, 1.0, INF))
    pick("heaviside", torch.heaviside, f(-1.0, 0.0, -0.0, NAN, 2.0), f(0.5), flags={"nograd": True})
    pick("logaddexp", torch.logaddexp, f(0.0, 100.0, -100.0), f(0.0, -100.0, -100.0))


def powers(pick):
    zeros = f(0.0, 1.0, 4.0)
    for name in ("sqrt", "rsqrt", "recip", "ln", "log2", "log10", "log1p", "square", "acos", "asin", "atanh", "acosh"):
        fun = {"recip": torch.reciprocal, "ln": torch.log}.get(name) or getattr(torch, name)
        x = f(0.0, 1.0, -1.0, 0.5) if name in ("acos", "asin", "atanh") else f(1.0, 2.0) if name == "acosh" else zeros
        pick(name, fun, x)
    for p in (0.0, 1.0, 2.0, 3.0, 0.5, 1.5, -1.0, -0.5):
        x = zeros if p % 1 else f(0.0, 1.0, -2.0)
        pick("powf", lambda x: x.pow(p), x, p=p)
        pick("pow", torch.pow, x, torch.full_like(x, p))
        pick("pow", torch.pow, x, f(p))
        pick("number", lambda x: x.pow(p), x, f="pow", n=p, swap=0)
    pick("pow", torch.pow, f(0.0, 0.0, 0.0, -2.0, -2.0, 2.0), f(0.0, 1.0, 2.0, 3.0, 2.0, 0.0))
    pick("pow", torch.pow, f(2.0), i(3)), pick("pow", torch.pow, i(2), f(0.5))
    for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, INF, -INF, -1.0):
        for x in (f([0.0, 0.0, 0.0]), f([[0.0, 3.0, -4.0], [2.0, -2.0, 2.0]]), f(0.0), f(-3.0), f([[0.0, 0.0], [1.0, 0.0]])):
            once = {"once": True}
            pick("norm", lambda x: torch.linalg.vector_norm(x, p), x, p=p, axes="", keep=0, flags=once)
            if x.ndim:
                pick("norm", lambda x: torch.linalg.vector_norm(x, p, -1, True), x, p=p, axes=[-1], keep=1, flags=once)
    for a, b in ((0.0, 2.0), (3.0, 0.0), (0.0, 0.0)):
        pick("div", torch.div, f([a]), f([b]))
    pick("fmod", torch.fmod, f(5.0, -5.0, 4.0, 0.5), f(3.0, 3.0, -2.0, 2.0))
    pick("remainder", torch.remainder, f(5.0, -5.0, 4.0, 0.5), f(3.0, 3.0, -2.0, 2.0))


def products(pick):
    for x in (f(1.0, 2.0, 3.0), f(0.0, 2.0, 3.0), f(0.0, 2.0, 0.0), f([[2.0, 0.0], [3.0, 4.0]]), f(0.0), f(3.0), f([0.0]), f([])):
        pick("prod_all", torch.prod, x)
        pick("cumprod", lambda x: x.cumprod(-1), x, axis=-1)
        pick("cumsum", lambda x: x.cumsum(-1), x, axis=-1)
        pick("prod", lambda x: x.prod(-1), x, axes=[-1], keep=0)
    for x in (f(INF, 2.0), f(1.0, NAN, 2.0), f(0.0, INF, 2.0), f(0.0, NAN, 2.0), f([[INF, 2.0], [1.0, 3.0]]), f([[INF, 2.0], [0.0, 3.0]])):
        pick("prod_all", torch.prod, x)
        for axis in range(x.ndim):
            pick("prod", lambda x: x.prod(axis), x, axes=[axis], keep=0)
            pick("cumprod", lambda x: x.cumprod(axis), x, axis=axis)
    pick("matrix_power", lambda x: x.matrix_power(3), f([[0.0, 1.0], [0.0, 0.0]]), n=3)
    pick("logcumsumexp", lambda x: x.logcumsumexp(0), f(-INF, -INF, 0.0, 1.0), axis=0, flags={"nograd": True})


def spreads(pick):
    for x in (f([3.0]), f(3.0), f([2.0, 2.0]), f([[1.0], [2.0]]), f([1.0, 2.0, 4.0])):
        for n in (0, 1):
            for name in ("std", "var"):
                flags = {"nograd": n == 1 and x.numel() == 1}
                pick(name, lambda x: getattr(x, name)(tuple(range(x.ndim)), correction=n), x, axes="", n=n, keep=0, flags=flags)
                if x.ndim:
                    pick(name, lambda x: getattr(x, name)(-1, correction=n, keepdim=True), x, axes=[-1], n=n, keep=1,
                         flags={"nograd": n == 1 and x.shape[-1] == 1})
    pick("cov", torch.cov, f([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]), flags={"once": True})


def exponentials(pick):
    rows = f([[-INF, -INF], [0.0, -INF], [1.0, 1.0]])
    for x in (rows, f([[INF, 0.0], [INF, INF], [INF, -INF], [NAN, 0.0]]), f([[1000.0, 0.0], [-1000.0, -1001.0]]), f(5.0), f([[3.0]])):
        nograd = {"nograd": bool((x == INF).any())}
        for name in ("softmax", "log_softmax"):
            pick(name, lambda x: getattr(x, name)(-1), x, axis=-1, flags=nograd)
        pick("logsumexp", lambda x: x.logsumexp(-1), x, axes=[-1], keep=0)
        pick("Softmin", lambda x: F.softmin(x, -1), x, p=-1, flags={"nograd": not bool(x.isfinite().all())})
    pick("logsumexp", lambda x: x.logsumexp(0), f([[], []]), axes=[0], keep=0)
    pick("logsumexp", lambda x: x.logsumexp(1), f([[], []]), axes=[1], keep=0)
    for x in (f(-30.0, 0.0, 20.0, 20.5, 88.0, 100.0, -100.0),):
        for name in ("softplus", "logsigmoid", "sigmoid", "tanh", "gelu", "silu", "mish", "erf", "erfc"):
            pick(name, getattr(F, name, None) or getattr(torch, name), x)


def scatters(pick):
    cases = [(f(1.0, 2.0, 3.0), i(0, 0, 1), f(1.0, 1.0, 5.0)), (f(5.0, 2.0, 3.0), i(0, 0, 0), f(5.0, 5.0, 1.0)), (f(2.0, 2.0), i(0, 1), f(2.0, 2.0)),
             (f(INF, 2.0), i(0, 1, 1), f(INF, 1.0, INF)), (f(1.0, NAN), i(0, 1, 1), f(NAN, 1.0, 2.0))]
    for how in ("sum", "mean", "amax", "amin", "prod"):
        for own in (0, 1):
            for x, index, source in cases[:3] if how == "prod" else cases:
                pick("scatter_reduce", lambda x, j, s: x.scatter_reduce(0, j, s, how, include_self=bool(own)), x, index, source, axis=0, how=how, self=own)
                if how != "sum":
                    pick("index_reduce", lambda x, j, s: x.index_reduce(0, j, s, how, include_self=bool(own)), x, index, source, axis=0, how=how, self=own)


def classes(pick):
    logits = f([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [100.0, -100.0, 3.0], [-1.0, 4.0, 2.0]])
    every = {"none", "sum", "mean"}
    weights = {"": [], "1": [[f(0.0, 1.0, 2.0)]], "0": [[f(0.0, 0.0, 0.0)]]}
    for name in ("CrossEntropyLoss", "NLLLoss"):
        for target in (i(0, 1, 2, 1), i(-100, -100, -100, -100), i(0, -100, 0, -100), i(0, 0, 0, 0)):
            for how in sorted(every):
                for flag, w in weights.items():
                    for smooth in (0.0, 0.1, 1.0) if name[0] == "C" else (0.0,):
                        def run(x, t, *w):
                            more = {"label_smoothing": smooth} if name[0] == "C" else {}
                            return getattr(nn, name)(*w, reduction=how, **more)(x, t)
                        args = {"reduction": how, **({"weight": 1} if flag else {}), **({"label_smoothing": smooth} if smooth else {})}
                        if how == "mean" or (smooth != 1.0 and len(set(target.tolist())) != 1):
                            pick(name, run, logits, target, *w, **args)
        pick(name, lambda x, t: getattr(nn, name)(ignore_index=1)(x, t), logits, i(1, 1, 1, 1), ignore_index=1)
        pick(name, lambda x, t: getattr(nn, name)(ignore_index=-1)(x, t), logits, i(-1, 0, -1, 2), ignore_index=-1)
        pick(name, getattr(nn, name)(), f([1.0, 2.0, 3.0]), i(1)), pick(name, getattr(nn, name)(), f([1.0, 2.0, 3.0]), i(-100))
        pick(name, getattr(nn, name)(), f([[], [], []]).reshape(0, 3), torch.zeros(0, dtype=torch.int32))
        pick(name, getattr(nn, name)(reduction="sum"), f([]).reshape(0, 3), torch.zeros(0, dtype=torch.int32), reduction="sum")
    pick("CrossEntropyLoss", lambda x, t: F.cross_entropy(x, t), f([[INF, 0.0], [-INF, 0.0]]), i(1, 1), flags={"nograd": True})
    pick("CrossEntropyLoss", lambda x, t: F.cross_entropy(x, t), f([[-INF, 0.0], [0.0, -INF]]), i(1, 0))
    pick("CrossEntropyLoss", lambda x, t: F.cross_entropy(x, t), f([[-INF, 0.0]]), f([[0.0, 1.0]]), flags={"nograd": True})
    probabilities = f([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    for how in sorted(every):
        pick("CrossEntropyLoss", nn.CrossEntropyLoss(reduction=how, label_smoothing=0.2), logits, probabilities, reduction=how, label_smoothing=0.2)
    a, b = f(-1.0, 0.0, 0.5, 1.0, 1.5, -0.5, 3.0), torch.zeros(7)
    for beta in (1.0, 0.5, 0.0):
        for how in sorted(every):
            pick("SmoothL1Loss", nn.SmoothL1Loss(reduction=how, beta=beta), a, b, reduction=how, beta=beta)
    for delta in (1.0, 0.5):
        pick("HuberLoss", nn.HuberLoss(delta=delta), a, b, delta=delta)
    pick("HuberLoss", nn.HuberLoss(delta=0.0), a, b, delta=0.0)
    for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss"):
        pick(name, getattr(nn, name)(), a, a), pick(name, getattr(nn, name)(), f(2.0), f(1.0))
        pick(name, getattr(nn, name)(), f([]), f([])), pick(name, getattr(nn, name)(reduction="sum"), f([]), f([]), reduction="sum")
    y = f(1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0)
    for margin in (1.0, 0.5, 0.0):
        pick("HingeEmbeddingLoss", nn.HingeEmbeddingLoss(margin), a, [y], margin=margin)
        pick("MarginRankingLoss", nn.MarginRankingLoss(margin), a, b, [y], margin=margin)
    pick("SoftMarginLoss", nn.SoftMarginLoss(), f(100.0, -100.0, 0.0), [f(1.0, 1.0, -1.0)])
    for p in (1, 2):
        pick("MultiMarginLoss", nn.MultiMarginLoss(p), f([[0.5, 1.5, 0.5], [1.0, 0.0, 2.0]]), i(1, 0), p=p)
    pick("MultiLabelMarginLoss", nn.MultiLabelMarginLoss(), f([[0.0, 1.0, 0.0, 1.0], [0.1, 0.2, 0.4, 0.8]]), i([[1, 0, -1, 2], [-1, 0, 1, 2]]))
    pick("MultiLabelSoftMarginLoss", nn.MultiLabelSoftMarginLoss(), f([[100.0, -100.0, 0.0]]), [f([[0.0, 1.0, 1.0]])])
    p = f(0.0, 1.0, 0.0, 1.0, 0.5, 0.0, 1.0)
    t = f(0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.25)
    for how in sorted(every):
        pick("BCELoss", nn.BCELoss(reduction=how), p, [t], reduction=how)
        pick("BCEWithLogitsLoss", nn.BCEWithLogitsLoss(reduction=how), f(0.0, 100.0, -100.0, 1e4, -1e4, 3.0, -3.0), [t], reduction=how)
        pick("KLDivLoss", nn.KLDivLoss(reduction=how), f(-1.0, -2.0, 0.0), [f(0.0, 0.5, 0.5)], reduction=how)
        pick("KLDivLoss", nn.KLDivLoss(reduction=how, log_target=True), f(-1.0, -2.0, 0.0), f(-3.0, 0.0, -0.5), reduction=how, log_target=1)
        pick("PoissonNLLLoss", nn.PoissonNLLLoss(log_input=False, full=True, reduction=how), f(0.0, 1.0, 2.0, 0.5), [f(0.0, 1.0, 2.0, 3.0)],
             rates=1, full=1, reduction=how)
        pick("GaussianNLLLoss", nn.GaussianNLLLoss(reduction=how), f(0.0, 1.0, 2.0), [f(0.0, 1.0, 4.0)], f(0.0, 1e-6, 1.0), reduction=how,
             flags={"once": True})
    pick("BCELoss", nn.BCELoss(), f(0.0, 1.0), f(0.5, 0.5), flags={"once": True})
    pick("KLDivLoss", nn.KLDivLoss(reduction="batchmean"), f([[-1.0, 0.0], [-2.0, -0.5]]), [f([[0.0, 1.0], [0.0, 0.0]])], reduction="batchmean")
    pick("KLDivLoss", nn.KLDivLoss(), f(-INF, -1.0), [f(0.0, 1.0)], flags={"nograd": True})


def distances(pick):
    a, b = f([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [3.0, 0.0, 4.0]]), f([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-3.0, 0.0, -4.0]])
    once = {"once": True}
    pick("CosineSimilarity", lambda x, y: F.cosine_similarity(x, y, -1), a, b, axis=-1, flags=once)
    pick("CosineSimilarity", lambda x, y: F.cosine_similarity(x, y, 0), a, b, axis=0, flags=once)
    for p in (1.0, 2.0, 3.0, INF):
        pick("normalize", lambda x: F.normalize(x, p, -1), a, p=p, axis=-1, flags=once)
        pick("PairwiseDistance", lambda x, y: F.pairwise_distance(x, y, p), a, b, p=p, flags=once)
        pick("PairwiseDistance", lambda x, y: F.pairwise_distance(x, y, p, eps=0.0), a, a, p=p, eps=0.0, flags=once)
        pick("cdist", lambda x, y: torch.cdist(x, y, p), a, b, p=p, flags={"once": True})
    pick("pdist", lambda x: F.pdist(x, 2.0), a, p=2.0, flags=once)
    for y in (f(1.0, 1.0, -1.0, -1.0), f(-1.0, -1.0, 1.0, 1.0)):
        for margin in (0.0, 0.5):
            pick("CosineEmbeddingLoss", nn.CosineEmbeddingLoss(margin), a, b, [y], margin=margin, flags=once)
    for p in (1.0, 2.0):
        pick("TripletMarginLoss", nn.TripletMarginLoss(p=p), a, a, b, p=p, flags=once)
        pick("TripletMarginLoss", nn.TripletMarginLoss(p=p, swap=True), a, b, a, p=p, swap=1, flags=once)


def pools(pick):
    x = f([[[1.0, 3.0, 3.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]]])
    for n in (1, 2, 3):
        y = x if n == 1 else torch.stack([x] * 4, 2) if n == 2 else torch.stack([torch.stack([x] * 4, 2)] * 3, 2)
        for kernel, stride, padding, ceil in ((2, 2, 0, False), (2, 2, 0, True), (3, 2, 1, True), (3, 2, 1, False), (2, 3, 1, True), (3, 1, 1, False), (2, 1, 0, True)):
            k, s, p = [kernel] * n, [stride] * n, [padding] * n
            args = {"kernel": k, "stride": s, "padding": p, **({"ceil_mode": 1} if ceil else {})}
            pick(f"MaxPool{n}d", getattr(nn, f"MaxPool{n}d")(k, s, p, return_indices=True, ceil_mode=ceil), y, **args, index=1)
            for without in (False, True):
                avg = getattr(nn, f"AvgPool{n}d")(k, s, p, ceil_mode=ceil, count_include_pad=not without)
                pick(f"AvgPool{n}d", avg, y, **args, **({"without_padding": 1} if without else {}))
            if n > 1:
                pick(f"AvgPool{n}d", getattr(nn, f"AvgPool{n}d")(k, s, p, ceil_mode=ceil, divisor_override=3), y, **args, divisor=3)
    holes = f([[[[1.0, NAN, 0.0, 2.0], [5.0, 1.0, -INF, -INF], [NAN, NAN, -INF, -INF], [0.0, INF, 1.0, 1.0]]]])
    pick("MaxPool2d", nn.MaxPool2d(2, return_indices=True), holes, kernel=[2, 2], index=1)
    pick("MaxPool2d", nn.MaxPool2d(3, 1, 1, return_indices=True), holes, kernel=[3, 3], stride=[1, 1], padding=[1, 1], index=1)
    pick("AvgPool2d", nn.AvgPool2d(2), holes, kernel=[2, 2])
    pick("MaxPool2d", nn.MaxPool2d(3), torch.zeros(1, 1, 2, 2), kernel=[3, 3]), pick("MaxPool2d", nn.MaxPool2d(2, 2, 2), torch.zeros(1, 1, 4, 4), kernel=[2, 2], stride=[2, 2], padding=[2, 2])
    pick("MaxPool2d", nn.MaxPool2d(2), torch.zeros(0, 3, 4, 4), kernel=[2, 2])
    pick("AdaptiveMaxPool2d", nn.AdaptiveMaxPool2d((2, 3), return_indices=True), holes, output=[2, 3], index=1)
    pick("AdaptiveMaxPool1d", nn.AdaptiveMaxPool1d(7, return_indices=True), x, output=[7], index=1)
    pick("AdaptiveAvgPool1d", nn.AdaptiveAvgPool1d(7), x, output=[7]), pick("AdaptiveAvgPool1d", nn.AdaptiveAvgPool1d(3), x, output=[3])
    pick("AdaptiveAvgPool2d", nn.AdaptiveAvgPool2d(1), f([[[[1.0, 2.0], [3.0, NAN]]]]), output=[1, 1])
    pick("LPPool1d", nn.LPPool1d(2.0, 2), f([[[0.0, 0.0, 3.0, -4.0]]]), p=2.0, kernel=[2], flags={"once": True})
    image = f([[[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]]])
    for mode in ("linear", "bicubic"):
        for size in ([1, 1], [1, 4], [4, 1], [2, 3], [3, 5]):
            for corners in (True, False):
                how = "bilinear" if mode == "linear" else mode
                pick("interpolate", lambda x: F.interpolate(x, size, mode=how, align_corners=corners), image, mode=mode, size=size, align_corners=corners)
                pick("interpolate", lambda x: F.interpolate(x, size, mode=how, align_corners=corners), image[..., :1, :1], mode=mode, size=size, align_corners=corners)
    for mode in ("nearest", "nearest-exact", "area"):
        for size in ([1, 1], [1, 4], [5, 7], [3, 2]):
            pick("interpolate", lambda x: F.interpolate(x, size, mode=mode), image, mode=mode, size=size, align_corners=False)
    grid = f([[[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]], [[2.0, 0.0], [-2.0, 0.5], [NAN, 0.0]]]])
    for mode in ("bilinear", "nearest"):
        for outside in ("zeros", "border", "reflection"):
            for corners in (True, False):
                pick("grid_sample", lambda x, g: F.grid_sample(x, g, mode, outside, corners), image, [grid[:, :1]], mode=mode, outside=outside, align_corners=corners)


def norms(pick):
    rows = f([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0], [1e4, 1e4, 1e4, 1e4 + 1]])
    once = {"once": True}
    pick("LayerNorm", nn.LayerNorm(4, elementwise_affine=False), rows[:3], features=[4], no_affine=1, flags=once)
    pick("LayerNorm", nn.LayerNorm(1, elementwise_affine=False), f([[3.0], [-2.0]]), features=[1], no_affine=1, flags=once)
    pick("LayerNorm", nn.LayerNorm([3, 4], elementwise_affine=False), rows[:3], features=[3, 4], no_affine=1, flags=once)
    pick("RMSNorm", nn.RMSNorm(4, eps=1e-6, elementwise_affine=False), rows[:3], features=[4], eps=1e-6, no_affine=1, flags=once)
    pick("RMSNorm", nn.RMSNorm(4, elementwise_affine=False), rows[2:], features=[4], no_affine=1, flags=once)
    for x in (f([[1.0, 2.0]]), f([[1.0, 2.0], [1.0, 3.0]]), f([[[1.0], [2.0]]])):
        pick("BatchNorm1d", nn.BatchNorm1d(2, affine=False, track_running_stats=False), x, channels=2, no_affine=1, no_tracking=1, flags=once)
    pick("BatchNorm2d", nn.BatchNorm2d(2, affine=False, track_running_stats=False), torch.ones(1, 2, 1, 1), channels=2, no_affine=1, no_tracking=1)
    pick("BatchNorm2d", nn.BatchNorm2d(2, affine=False, track_running_stats=False), torch.ones(1, 2, 2, 1), channels=2, no_affine=1, no_tracking=1, flags=once)
    pick("InstanceNorm1d", nn.InstanceNorm1d(2), torch.ones(1, 2, 1), channels=2), pick("InstanceNorm1d", nn.InstanceNorm1d(2), torch.ones(1, 2, 3), channels=2, flags=once)
    pick("InstanceNorm2d", nn.InstanceNorm2d(2), torch.ones(2, 2, 1, 1), channels=2)
