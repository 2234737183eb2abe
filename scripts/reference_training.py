#!/usr/bin/env python3
"""Writes tests/data/training.safetensors: what PyTorch computes in float64 for layers, losses and
short trainings, as float32. tests/training.rs and tests/layers.rs hold Kiln against it.

    pip install torch safetensors && python3 scripts/reference_training.py
"""
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
out = {}


def put(name, tensor):
    tensor = tensor.detach()
    out[name] = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().clone()


def put_state(prefix, module):
    for name, value in module.state_dict().items():
        put(f"{prefix}.{name}", value)


def layer(name, module, x, batches=1):
    """A layer's output and gradients for upstream dy, with parameters away from their defaults."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
            p.copy_(p.float())  # numbers that float32 holds exactly
    put_state(f"layer.{name}.before", module)
    put(f"layer.{name}.x", x)
    if x.is_floating_point():
        x = x.float().double().requires_grad_()
    y = module(x)
    dy = torch.randn_like(y).float().double()
    (y * dy).sum().backward()
    put(f"layer.{name}.y", y)
    put(f"layer.{name}.dy", dy)
    if x.is_floating_point():
        put(f"layer.{name}.dx", x.grad)
    for pname, p in module.named_parameters():
        put(f"layer.{name}.d.{pname}", p.grad)
    put_state(f"layer.{name}.after", module)
    module.eval()
    put(f"layer.{name}.eval", module(x))


layer("linear", nn.Linear(5, 3), torch.randn(2, 4, 5))
layer("conv1d", nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), torch.randn(2, 4, 9))
layer("conv2d", nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), torch.randn(2, 2, 7, 8))
layer("batch_norm1d", nn.BatchNorm1d(3), 2 * torch.randn(6, 3) + 1)
layer("batch_norm2d", nn.BatchNorm2d(4), 2 * torch.randn(3, 4, 3, 5) - 1)
layer("batch_norm_average", nn.BatchNorm2d(4, momentum=None, affine=False), torch.randn(3, 4, 3, 5))
layer("layer_norm", nn.LayerNorm((4, 5)), 3 * torch.randn(2, 3, 4, 5) + 2)
layer("group_norm", nn.GroupNorm(2, 6), torch.randn(2, 6, 5))
layer("rms_norm", nn.RMSNorm(7), torch.randn(3, 7))
layer("embedding", nn.Embedding(10, 4, padding_idx=3), torch.tensor([[3, 1, 9, 1, 0], [2, 3, 3, 1, 8]]))
layer("max_pool2d", nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), torch.randn(2, 2, 7, 6))
layer("max_pool1d", nn.MaxPool1d(2, dilation=2), torch.randn(2, 3, 9))
layer("avg_pool2d", nn.AvgPool2d(2, padding=1, count_include_pad=False), torch.randn(2, 2, 5, 6))
layer("avg_pool1d", nn.AvgPool1d(3, stride=1, padding=1), torch.randn(2, 3, 9))
layer("adaptive_uneven", nn.AdaptiveAvgPool2d((3, 2)), torch.randn(2, 2, 7, 5))
layer("adaptive_even", nn.AdaptiveAvgPool2d((4, 1)), torch.randn(2, 2, 8, 6))
layer("adaptive1d", nn.AdaptiveAvgPool1d(4), torch.randn(2, 3, 10))

line = torch.linspace(-4, 4, 33)[None, :]
for name, module in {
    "relu": nn.ReLU(), "relu6": nn.ReLU6(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(), "log_sigmoid": nn.LogSigmoid(), "silu": nn.SiLU(), "mish": nn.Mish(),
    "softplus": nn.Softplus(), "softsign": nn.Softsign(), "selu": nn.SELU(), "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(), "leaky_relu": nn.LeakyReLU(), "elu": nn.ELU(), "softmax": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(-1), "identity": nn.Identity(), "flatten": nn.Flatten(),
}.items():
    layer(name, module, line)


def loss(name, f, x, *rest):
    put(f"loss.{name}.x", x)
    for index, tensor in enumerate(rest):
        put(f"loss.{name}.{index}", tensor)
    x = x.float().double().requires_grad_()
    rest = [t.float().double() if t.is_floating_point() else t for t in rest]
    y = f(x, *rest)
    y.sum().backward()
    put(f"loss.{name}.y", y)
    put(f"loss.{name}.dx", x.grad)


z, labels = 3 * torch.randn(6, 5), torch.tensor([0, 4, 2, 2, -100, 1])
whole, weight = torch.tensor([0, 4, 2, 2, 3, 1]), torch.rand(5) + 0.5
a, b = 2 * torch.randn(4, 3), torch.randn(4, 3)
p, t = torch.rand(4, 3) * 0.98 + 0.01, torch.rand(4, 3)
loss("mse", F.mse_loss, a, b)
loss("mse_sum", lambda x, y: F.mse_loss(x, y, reduction="sum"), a, b)
loss("l1", F.l1_loss, a, b)
loss("l1_none", lambda x, y: F.l1_loss(x, y, reduction="none"), a, b)
loss("smooth_l1", lambda x, y: F.smooth_l1_loss(x, y, beta=0.7), a, b)
loss("huber", lambda x, y: F.huber_loss(x, y, delta=0.7), a, b)
loss("cross_entropy", F.cross_entropy, z, whole)
loss("cross_entropy_ignored", F.cross_entropy, z, labels)
loss("cross_entropy_smoothed", lambda x, y: F.cross_entropy(x, y, label_smoothing=0.2), z, labels)
loss("cross_entropy_weighted", lambda x, y, w: F.cross_entropy(x, y, w), z, labels, weight)
loss("cross_entropy_both", lambda x, y, w: F.cross_entropy(x, y, w, label_smoothing=0.2), z, labels, weight)
loss("cross_entropy_sum", lambda x, y, w: F.cross_entropy(x, y, w, reduction="sum"), z, labels, weight)
loss("cross_entropy_none", lambda x, y, w: F.cross_entropy(x, y, w, reduction="none"), z, labels, weight)
loss("cross_entropy_image", F.cross_entropy, torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4)))
loss("cross_entropy_image_both", lambda x, y, w: F.cross_entropy(x, y, w, label_smoothing=0.1, ignore_index=1), torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4)), torch.rand(3))
loss("cross_entropy_zero_weight", lambda x, y, w: F.cross_entropy(x, y, w, label_smoothing=0.2), z, labels, torch.tensor([1.0, 2, 0, 1, 0.5]))
loss("cross_entropy_row", F.cross_entropy, torch.randn(4), torch.tensor(2))
loss("cross_entropy_huge", F.cross_entropy, 1e4 * torch.randn(6, 5), whole)
loss("cross_entropy_soft", lambda x, y, w: F.cross_entropy(x, y, w, label_smoothing=0.2), z, torch.softmax(torch.randn(6, 5), 1), weight)
loss("nll", F.nll_loss, F.log_softmax(z, 1), labels)
loss("bce", F.binary_cross_entropy, p, t)
loss("bce_logits", F.binary_cross_entropy_with_logits, 5 * a, t)
loss("bce_logits_weighted", lambda x, y, w, q: F.binary_cross_entropy_with_logits(x, y, w, pos_weight=q), a, t, torch.rand(3), torch.rand(3) + 1)
loss("kl_div", lambda x, y: F.kl_div(x, y, reduction="mean"), torch.log_softmax(a, 1), torch.tensor([[0.0, 0.5, 0.5], [1, 0, 0], [0.2, 0.3, 0.5], [0.1, 0.9, 0]]))
loss("kl_div_sum", lambda x, y: F.kl_div(x, y, reduction="sum"), torch.log_softmax(a, 1), torch.softmax(b, 1))


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


def cnn():
    # No bias before batch norm: its gradient is zero but for rounding, which Adam would blow up.
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.GELU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 5),
    )


def train(name, model, optimizer, x, y, start, clip=None, steps=20):
    """Twenty steps on four batches in turn; losses and the parameters after them."""
    model.load_state_dict(start)
    model.train()
    optimizer = optimizer(model.parameters())
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] *= 0.95 if step else 1.0
        rows = slice(step % 4 * 8, step % 4 * 8 + 8)
        value = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        value.backward()
        if clip:
            clip(model.parameters())
        optimizer.step()
        losses.append(value.detach())
    put(f"train.{name}.losses", torch.stack(losses))
    put_state(f"train.{name}.after", model)


def rounded(model):
    """A state dict whose numbers float32 holds exactly."""
    return {k: v.float().double() if v.is_floating_point() else v.clone() for k, v in model.state_dict().items()}


x, y = torch.randn(32, 8).float().double(), torch.randint(0, 4, (32,))
model = mlp()
start = rounded(model)
put("train.mlp.x", x), put("train.mlp.y", y)
for key, value in start.items():
    put(f"train.mlp.before.{key}", value)
for name, optimizer in {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "sgd_dampened": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, 0.02),
    "adam_decay": lambda p: torch.optim.Adam(p, 0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1),
}.items():
    train(f"mlp.{name}", model, optimizer, x, y, start)
clip = lambda p: nn.utils.clip_grad_norm_(p, 0.5)
train("mlp.clip_norm", model, lambda p: torch.optim.SGD(p, 0.5), x, y, start, clip)
clip = lambda p: nn.utils.clip_grad_value_(p, 0.02)
train("mlp.clip_value", model, lambda p: torch.optim.SGD(p, 0.5), x, y, start, clip)

x, y = torch.randn(32, 1, 8, 8).float().double(), torch.randint(0, 5, (32,))
model = cnn()
start = rounded(model)
put("train.cnn.x", x), put("train.cnn.y", y)
for key, value in start.items():
    put(f"train.cnn.before.{key}", value)
train("cnn.adamw", model, lambda p: torch.optim.AdamW(p, 0.01), x, y, start)
train("cnn.sgd_nesterov", model, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True), x, y, start)

path = Path(__file__).parent.parent / "tests/data/training.safetensors"
path.parent.mkdir(exist_ok=True)
save_file(out, path, {"made by": f"scripts/reference_training.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
