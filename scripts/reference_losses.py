#!/usr/bin/env python3
"""Writes tests/data/losses.safetensors: what PyTorch computes in float64 for every loss, as float32.
tests/losses.rs holds Kiln against it. Inputs are numbers that float32 holds exactly.

    pip install torch safetensors && python3 scripts/reference_losses.py
"""
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(4)
torch.set_default_dtype(torch.float64)
out = {}
REDUCTIONS = ["mean", "sum", "none"]


def put(name, tensor):
    tensor = tensor.detach()
    out[name] = (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()


def loss(name, f, *inputs, grads=1):
    """The loss, and the gradients of its sum with respect to the first `grads` inputs."""
    inputs = [t.float().double() if t.is_floating_point() else t for t in inputs]
    for i, t in enumerate(inputs):
        put(f"{name}.{i}", t)
        if i < grads:
            t.requires_grad_()
    y = f(*inputs)
    y.sum().backward()
    put(f"{name}.y", y)
    for i in range(grads):
        put(f"{name}.d{i}", inputs[i].grad)


def each(name, f, *inputs, grads=1):
    for r in REDUCTIONS:
        loss(f"{name}.{r}", lambda *x: f(*x, reduction=r), *inputs, grads=grads)


def randn(*shape):
    return torch.randn(*shape).float().double()


def rand(*shape):
    return torch.rand(*shape).float().double()


def signs(*shape):
    return torch.where(torch.rand(*shape) < 0.5, -1.0, 1.0)


x, y = 2 * randn(5, 3), randn(5, 3)
y[0, 0] = x[0, 0]
each("l1", F.l1_loss, x, y, grads=2)
each("mse", F.mse_loss, x, y, grads=2)
each("smooth_l1", lambda a, b, reduction: F.smooth_l1_loss(a, b, beta=0.6, reduction=reduction), x, y, grads=2)
loss("smooth_l1.beta0", lambda a, b: F.smooth_l1_loss(a, b, beta=0.0), x, y)
each("huber", lambda a, b, reduction: F.huber_loss(a, b, delta=0.6, reduction=reduction), x, y, grads=2)
special = torch.tensor([0.0, float("inf"), 1e30, -3.0, 0.5])
loss("l1.inf", lambda a, b: F.l1_loss(a, b, reduction="none"), special, torch.zeros(5))
loss("huber.inf", lambda a, b: F.huber_loss(a, b, reduction="none"), special, torch.zeros(5))

z, labels, weight = 3 * randn(6, 5), torch.tensor([0, 4, 2, -100, 3, 1]), rand(5) + 0.5
each("nll", lambda a, b, w, reduction: F.nll_loss(a, b, w, reduction=reduction), F.log_softmax(z, 1), labels, weight)
volume, marks = randn(2, 4, 3, 2, 2), torch.randint(0, 4, (2, 3, 2, 2))
marks[0, 0] = 1
each("nll.volume", lambda a, b, reduction: F.nll_loss(a, b, ignore_index=1, reduction=reduction), volume, marks)
each("ce", lambda a, b, w, reduction: F.cross_entropy(a, b, w, label_smoothing=0.1, reduction=reduction), z, labels, weight)
each("ce.volume", lambda a, b, w, reduction: F.cross_entropy(a, b, w, ignore_index=1, label_smoothing=0.3, reduction=reduction), volume, marks, rand(4))
each("ce.soft", lambda a, b, w, reduction: F.cross_entropy(a, b, w, label_smoothing=0.1, reduction=reduction), volume, torch.softmax(randn(2, 4, 3, 2, 2), 1), rand(4), grads=2)
loss("ce.soft_row", F.cross_entropy, randn(4), torch.softmax(randn(4), 0))
loss("ce.huge", lambda a, b: F.cross_entropy(a, b, reduction="none"), torch.tensor([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [3e38, -3e38, 0]]), torch.tensor([1, 2, 0]))
loss("ce.all_ignored", F.cross_entropy, randn(2, 3), torch.tensor([-100, -100]))
loss("ce.all_ignored_sum", lambda a, b: F.cross_entropy(a, b, reduction="sum"), randn(2, 3), torch.tensor([-100, -100]))
loss("ce.one", F.cross_entropy, randn(1, 1), torch.tensor([0]))
loss("ce.empty", F.cross_entropy, randn(0, 3), torch.zeros(0, dtype=torch.long))
loss("ce.inf", lambda a, b: F.cross_entropy(a, b, reduction="none"), torch.tensor([[0.0, -float("inf"), 1.0], [0.0, -float("inf"), 1.0]]), torch.tensor([0, 1]))

counts = torch.tensor([[0.0, 1, 2], [5, 0, 1], [3, 7, 0]])
for log_input in (True, False):
    for full in (True, False):
        rate = randn(3, 3) if log_input else 4 * rand(3, 3)
        each(f"poisson.{int(log_input)}{int(full)}", lambda a, b, reduction: F.poisson_nll_loss(a, b, log_input, full, reduction=reduction), rate, counts)
loss("poisson.eps", lambda a, b: F.poisson_nll_loss(a, b, log_input=False, eps=0.5), torch.tensor([0.0, 1, 2]), torch.tensor([1.0, 0, 3]))

variance = 2 * rand(5, 3)
variance[0, 1], variance[2, 2] = 0.0, 0.01
each("gauss", lambda a, b, v, reduction: F.gaussian_nll_loss(a, b, v, eps=0.1, reduction=reduction), x, y, variance, grads=3)
each("gauss.full", lambda a, b, v, reduction: F.gaussian_nll_loss(a, b, v, full=True, reduction=reduction), x, y, variance + 0.1, grads=3)
loss("gauss.rows", F.gaussian_nll_loss, x, y, rand(5) + 0.1, grads=3)
loss("gauss.rows1", F.gaussian_nll_loss, x, y, rand(5, 1) + 0.1, grads=3)

logp = torch.log_softmax(randn(4, 3), 1)
q = torch.tensor([[0.0, 0.5, 0.5], [1, 0, 0], [0.2, 0.3, 0.5], [0.1, 0.9, 0]])
for r in REDUCTIONS + ["batchmean"]:
    loss(f"kl.{r}", lambda a, b: F.kl_div(a, b, reduction=r), logp, q)
    loss(f"kl.log.{r}", lambda a, b: F.kl_div(a, b, reduction=r, log_target=True), logp, torch.log_softmax(randn(4, 3), 1), grads=2)

p, t = torch.rand(4, 3) * 0.98 + 0.01, rand(4, 3)
each("bce", lambda a, b, w, reduction: F.binary_cross_entropy(a, b, w, reduction=reduction), p, t, rand(3))
loss("bce.ends", lambda a, b: F.binary_cross_entropy(a, b, reduction="none"), torch.tensor([0.0, 1, 0, 1, 0, 0.5]), torch.tensor([0.0, 1, 0.25, 0.5, 0, 1]))
each("bce_logits", lambda a, b, w, q, reduction: F.binary_cross_entropy_with_logits(a, b, w, pos_weight=q, reduction=reduction), 4 * randn(4, 3), t, rand(4, 1), rand(3) + 1)
loss("bce_logits.huge", lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="none"), torch.tensor([1e4, -1e4, 1e4, -1e4, 0, 100]), torch.tensor([0.0, 0, 1, 1, 0.5, 1]))


def focal(x, y, alpha=0.25, gamma=2.0, reduction="none"):
    """torchvision.ops.sigmoid_focal_loss."""
    p = torch.sigmoid(x)
    ce = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    p_t = p * y + (1 - p) * (1 - y)
    value = ce * ((1 - p_t) ** gamma)
    if alpha >= 0:
        value = (alpha * y + (1 - alpha) * (1 - y)) * value
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](value)


hard = (rand(4, 3) < 0.5).double()
each("focal", focal, 3 * randn(4, 3), hard)
loss("focal.plain", lambda a, b: focal(a, b, alpha=-1, gamma=1.5), 3 * randn(4, 3), t)
loss("focal.gamma0", lambda a, b: focal(a, b, gamma=0.0), 3 * randn(4, 3), hard)


def tversky(p, y, alpha=0.5, beta=0.5, smooth=1e-5, reduction="mean"):
    """MONAI's TverskyLoss on probabilities."""
    axes = list(range(2, p.dim()))
    hits = (p * y).sum(axes)
    wrong, missed = (p * (1 - y)).sum(axes), ((1 - p) * y).sum(axes)
    value = 1 - (hits + smooth) / (hits + alpha * wrong + beta * missed + smooth)
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](value)


def dice(p, y, smooth=1e-5, reduction="mean"):
    """MONAI's DiceLoss on probabilities."""
    axes = list(range(2, p.dim()))
    value = 1 - (2 * (p * y).sum(axes) + smooth) / (p.sum(axes) + y.sum(axes) + smooth)
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](value)


masks = (rand(2, 3, 4, 5) < 0.4).double()
masks[0, 1] = 0
each("dice", lambda a, b, reduction: dice(a, b, reduction=reduction), rand(2, 3, 4, 5), masks)
each("tversky", lambda a, b, reduction: tversky(a, b, 0.3, 0.7, 0.1, reduction), rand(2, 3, 4, 5), masks)
loss("dice.nothing", lambda a, b: dice(a, b, smooth=1.0), torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))

answers = signs(5, 3)
each("hinge", lambda a, b, reduction: F.hinge_embedding_loss(a, b, margin=1.2, reduction=reduction), x, answers)
each("soft_margin", F.soft_margin_loss, x, answers)
each("ranking", lambda a, b, c, reduction: F.margin_ranking_loss(a, b, c, margin=0.3, reduction=reduction), randn(6), randn(6), signs(6), grads=2)
loss("ranking.one", F.margin_ranking_loss, randn(6), randn(6), torch.ones(1), grads=2)
whole = torch.tensor([0, 4, 2, 2, 3, 1])
for power in (1, 2):
    each(f"multi_margin{power}", lambda a, b, w, reduction: F.multi_margin_loss(a, b, p=power, margin=0.8, weight=w, reduction=reduction), z, whole, weight)
loss("multi_margin.row", F.multi_margin_loss, randn(5), torch.tensor(3))
sets = torch.tensor([[3, 0, -1, 1, -1], [-1, 2, 1, 0, 0], [4, 3, 2, 1, 0], [1, -1, -1, -1, -1], [2, 2, -1, 0, 0], [0, 1, 4, -1, 2]])
each("multilabel_margin", F.multilabel_margin_loss, z, sets)
loss("multilabel_margin.row", F.multilabel_margin_loss, randn(4), torch.tensor([3, 0, -1, 1]))
each("multilabel_soft", lambda a, b, w, reduction: F.multilabel_soft_margin_loss(a, b, w, reduction=reduction), z, (rand(6, 5) < 0.5).double(), weight)
loss("multilabel_soft.plain", F.multilabel_soft_margin_loss, z, (rand(6, 5) < 0.5).double())

a, b, c = randn(6, 4), randn(6, 4), randn(6, 4)
each("cosine", lambda a, b, y, reduction: F.cosine_embedding_loss(a, b, y, margin=0.2, reduction=reduction), a, b, signs(6), grads=2)
loss("cosine.row", F.cosine_embedding_loss, randn(4), randn(4), torch.tensor(-1.0), grads=2)
each("triplet", F.triplet_margin_loss, a, b, c, grads=3)
each("triplet.swap", lambda a, b, c, reduction: F.triplet_margin_loss(a, b, c, margin=0.7, p=3, eps=1e-3, swap=True, reduction=reduction), a, b, c, grads=3)
loss("triplet.same", F.triplet_margin_loss, a, a.clone(), c, grads=3)
loss("triplet.l1", lambda a, b, c: F.triplet_margin_loss(a, b, c, p=1), a, b, c, grads=3)
cosine = lambda a, b: 1 - F.cosine_similarity(a, b)
each("triplet.distance", lambda a, b, c, reduction: F.triplet_margin_with_distance_loss(a, b, c, distance_function=cosine, margin=0.5, swap=True, reduction=reduction), a, b, c, grads=3)

# CTC: gradients of logits through log_softmax, and of log-probabilities themselves
targets = torch.tensor([[1, 2, 2, 3], [3, 1, 9, 9], [2, 9, 9, 9], [9, 9, 9, 9], [1, 1, 2, 9]])
inside = torch.where(targets == 9, 1, targets)
lengths = torch.tensor([4, 2, 1, 0, 3])
steps = torch.tensor([9, 6, 7, 3, 8])
each("ctc", lambda z, y, n, m, reduction: F.ctc_loss(z.log_softmax(2), y, n, m, reduction=reduction), 2 * randn(9, 5, 4), inside, steps, lengths)
each("ctc.direct", lambda z, y, n, m, reduction: F.ctc_loss(z, y, n, m, reduction=reduction), torch.log_softmax(2 * randn(9, 5, 4), 2), inside, steps, lengths)
loss("ctc.blank", lambda z, y, n, m: F.ctc_loss(z.log_softmax(2), y, n, m, blank=3), randn(9, 5, 4), torch.where(inside == 3, 0, inside), steps, lengths)
short = torch.tensor([4, 6, 0, 0, 3])
for r in REDUCTIONS:
    loss(f"ctc.zero_infinity.{r}", lambda z, y, n, m: F.ctc_loss(z.log_softmax(2), y, n, m, zero_infinity=True, reduction=r), randn(9, 5, 4), inside, short, lengths)
loss("ctc.long", lambda z, y, n, m: F.ctc_loss(z.log_softmax(2), y, n, m, reduction="none"), 3 * randn(34, 2, 20), torch.randint(1, 20, (2, 9)), torch.tensor([34, 27]), torch.tensor([9, 7]))
loss("ctc.one", lambda z, y, n, m: F.ctc_loss(z.log_softmax(1), y, n, m, reduction="none"), randn(6, 4), torch.tensor([1, 3, 3]), torch.tensor(6), torch.tensor(3))
sharp = torch.log_softmax(1e4 * randn(6, 2, 4), 2)
loss("ctc.sharp", lambda z, y, n, m: F.ctc_loss(z, y, n, m, reduction="none"), sharp, torch.tensor([[1, 2], [2, 2]]), torch.tensor([6, 5]), torch.tensor([2, 2]))
never = torch.log_softmax(randn(5, 2, 4), 2)
never[:, :, 3], never[1, 0, 1] = -float("inf"), -float("inf")
loss("ctc.never", lambda z, y, n, m: F.ctc_loss(z, y, n, m, reduction="none"), never, torch.tensor([[1, 2], [2, 1]]), torch.tensor([5, 5]), torch.tensor([2, 1]))
# PyTorch's gradient of a class that cannot occur is −∞ + ∞; Kiln's is 0
out["ctc.never.d0"] = torch.nan_to_num(out["ctc.never.d0"], nan=0.0)

path = Path(__file__).parent.parent / "tests/data/losses.safetensors"
save_file(out, path, {"made by": f"scripts/reference_losses.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
