#!/usr/bin/env python3
"""Writes tests/data/sweep.safetensors: every option of torch.nn's modules and functions that the other references leave
out, as PyTorch computes it in float64, stored as float32. tests/sweep.rs holds Kiln against it. Inputs and weights are
numbers that float32 holds exactly.

    pip install torch safetensors && python3 scripts/reference_sweep.py
"""
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.utils import parametrizations

torch.manual_seed(21)
torch.set_default_dtype(torch.float64)
out = {}


def put(name, tensor):
    tensor = tensor.detach()
    kind = torch.float32 if tensor.is_floating_point() else torch.bool if tensor.dtype == torch.bool else torch.int32
    out[name] = tensor.to(kind).contiguous().clone()


def put_state(prefix, module):
    for name, value in module.state_dict().items():
        put(f"{prefix}.{name}", value)


def randn(*shape):
    return torch.randn(shape).float().double()


def rounded(module):
    with torch.no_grad():
        for p in list(module.parameters()) + [b for b in module.buffers() if b.is_floating_point()]:
            p.copy_(p.float())
    return module


def listed(y):
    """All tensors in nested results, in order."""
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in y if part is not None for t in listed(part)]


def layer(name, module, *inputs, run=None, calls=1, shake=True, fixed=()):
    """Outputs and gradients in training mode (after `calls` - 1 calls before), buffers after it, outputs in evaluation
    mode. Outputs of integers are compared too. Inputs that are `fixed` have no gradient."""
    run = run or (lambda m, *x: m(*x))
    with torch.no_grad():
        for p in module.parameters() if shake else []:
            p.add_(0.3 * torch.randn_like(p))
    rounded(module)
    put_state(f"{name}.before", module)
    inputs = [t.float().double() if t.is_floating_point() else t for t in inputs]
    for i, t in enumerate(inputs):
        t.requires_grad_(t.is_floating_point() and i not in fixed)
    if calls > 1:
        put(f"{name}.calls", torch.tensor(calls))
    for _ in range(calls - 1):
        run(module, *inputs)
    ys = listed(run(module, *inputs))
    along = 0
    for i, y in enumerate(ys):
        put(f"{name}.y{i}", y)
        if y.is_floating_point():
            dy = randn(*y.shape)
            put(f"{name}.dy{i}", dy)
            along = along + (y * dy).sum()
    along.backward()
    for i, t in enumerate(inputs):
        put(f"{name}.{i}", t)
        if t.requires_grad:
            put(f"{name}.d{i}", t.grad if t.grad is not None else torch.zeros_like(t))
    for pname, p in module.named_parameters():
        put(f"{name}.d.{pname}", p.grad if p.grad is not None else torch.zeros_like(p))
    put_state(f"{name}.after", module)
    module.eval()
    for i, y in enumerate(listed(run(module, *inputs))):
        put(f"{name}.eval{i}", y)


def function(name, f, *inputs, fixed=()):
    layer(name, nn.Identity(), *inputs, run=lambda m, *x: f(*x), fixed=fixed)


# convolutions: without a batch, a batch of one, depthwise, every padding mode with strides, windows of the whole image
layer("conv1d.alone", nn.Conv1d(2, 3, 3, padding=1), randn(2, 7))
layer("conv2d.alone", nn.Conv2d(2, 3, (2, 3), stride=2), randn(2, 5, 6))
layer("conv3d.alone", nn.Conv3d(1, 2, 2), randn(1, 3, 2, 4))
layer("conv2d.depthwise", nn.Conv2d(3, 6, 3, stride=2, padding=(1, 2), dilation=(2, 1), groups=3, bias=False), randn(2, 3, 7, 6))
layer("conv2d.circular", nn.Conv2d(2, 2, (3, 2), stride=(2, 1), padding=(2, 1), padding_mode="circular"), randn(1, 2, 5, 4))
layer("conv2d.same", nn.Conv2d(1, 2, (2, 4), padding="same", dilation=(1, 2), padding_mode="replicate"), randn(2, 1, 5, 6))
layer("conv2d.whole", nn.Conv2d(2, 3, (4, 5)), randn(2, 2, 4, 5))
layer("conv2d.valid", nn.Conv2d(2, 3, 1, stride=2, padding="valid"), randn(2, 2, 4, 5))
layer("conv3d.circular", nn.Conv3d(1, 2, 3, padding=1, padding_mode="circular"), randn(1, 1, 3, 4, 3))
layer("conv1d.replicate", nn.Conv1d(2, 2, 3, padding=4, padding_mode="replicate"), randn(2, 2, 3))
layer("conv_t1d.alone", nn.ConvTranspose1d(2, 3, 4, stride=3, padding=2, output_padding=2, dilation=2), randn(2, 4))
layer("conv_t2d.groups", nn.ConvTranspose2d(4, 4, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=4), randn(2, 4, 3, 2))
layer("conv_t3d.padding", nn.ConvTranspose3d(2, 1, (3, 2, 3), stride=(2, 1, 2), padding=(1, 0, 1), output_padding=(1, 0, 0)), randn(1, 2, 2, 3, 2))
layer("conv_t1d.to", nn.ConvTranspose1d(2, 2, 3, stride=4), randn(1, 2, 3), run=lambda m, x: m(x, output_size=(14,)))

# pooling
layer("max_pool2d.all", nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2), ceil_mode=True, return_indices=True), randn(2, 2, 6, 7))
layer("max_pool1d.alone", nn.MaxPool1d(3, stride=2, ceil_mode=True, return_indices=True), randn(2, 8))
layer("max_pool3d.all", nn.MaxPool3d((2, 3, 2), stride=(2, 1, 2), padding=(1, 1, 0), ceil_mode=True, return_indices=True), randn(1, 2, 3, 4, 5))
layer("max_pool2d.ties", nn.MaxPool2d(2, stride=1, return_indices=True), torch.ones(1, 1, 3, 3))
layer("avg_pool1d.ceil", nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), randn(2, 2, 8))
layer("avg_pool1d.count", nn.AvgPool1d(4, stride=3, padding=2, ceil_mode=True), randn(2, 9))
layer("avg_pool2d.ceil", nn.AvgPool2d((3, 2), stride=2, padding=(1, 0), ceil_mode=True), randn(2, 2, 6, 5))
layer("avg_pool2d.inside", nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), randn(2, 6, 5))
layer("avg_pool2d.divisor", nn.AvgPool2d(2, stride=3, ceil_mode=True, divisor_override=5), randn(1, 2, 5, 6))
layer("avg_pool3d.ceil", nn.AvgPool3d((2, 3, 2), stride=2, padding=(0, 1, 1), ceil_mode=True, count_include_pad=False), randn(1, 1, 4, 5, 3))
layer("lp_pool1d.norm1", nn.LPPool1d(1, 2, stride=1), randn(2, 5).abs() + 0.1)
layer("lp_pool2d.norm2", nn.LPPool2d(2, (2, 3), stride=(1, 2), ceil_mode=True), randn(1, 2, 4, 6))
layer("lp_pool3d", nn.LPPool3d(2.5, 2), randn(1, 1, 4, 2, 4).abs() + 0.2)
layer("adaptive_avg1d.up", nn.AdaptiveAvgPool1d(7), randn(2, 3))
layer("adaptive_avg2d", nn.AdaptiveAvgPool2d((None, 3)), randn(2, 2, 4, 7))
layer("adaptive_max2d.up", nn.AdaptiveMaxPool2d((5, 2), return_indices=True), randn(1, 2, 3, 5))
layer("adaptive_max3d", nn.AdaptiveMaxPool3d((2, 1, 3), return_indices=True), randn(2, 3, 4, 5))
pool1, pool3 = nn.MaxPool1d(3, stride=2, padding=1, return_indices=True), nn.MaxPool3d(2, stride=2, return_indices=True)
function("max_unpool1d", lambda x: nn.MaxUnpool1d(3, stride=2, padding=1)(*pool1(x), output_size=[6]), randn(2, 2, 6))
function("max_unpool3d", lambda x: nn.MaxUnpool3d(2)(*pool3(x)), randn(1, 2, 4, 2, 4))
function("fractional2d", lambda x, s: F.fractional_max_pool2d(x, (2, 3), output_size=(4, 3), return_indices=True, _random_samples=s), randn(2, 2, 9, 8), torch.rand(2, 2, 2), fixed=(1,))
function("fractional2d.ratio", lambda x, s: F.fractional_max_pool2d(x, 3, output_ratio=(0.5, 0.7), return_indices=True, _random_samples=s), randn(2, 9, 8), torch.rand(1, 2, 2), fixed=(1,))
function("fractional3d", lambda x, s: F.fractional_max_pool3d(x, 2, output_size=(3, 2, 4), return_indices=True, _random_samples=s), randn(1, 2, 5, 4, 7), torch.rand(1, 2, 3), fixed=(1,))

# resizing
image, row, volume = randn(1, 2, 5, 4), randn(2, 1, 7), randn(1, 1, 3, 4, 2)
function("resize.row.nearest", lambda x: F.interpolate(x, scale_factor=1.6), row)
function("resize.row.exact", lambda x: F.interpolate(x, size=4, mode="nearest-exact"), row)
function("resize.row.area", lambda x: F.interpolate(x, size=3, mode="area"), row)
function("resize.row.linear", lambda x: F.interpolate(x, scale_factor=0.55, mode="linear"), row)
function("resize.row.corners", lambda x: F.interpolate(x, scale_factor=2.3, mode="linear", align_corners=True), row)
function("resize.row.recomputed", lambda x: F.interpolate(x, scale_factor=1.6, mode="linear", recompute_scale_factor=True), row)
function("resize.image.recomputed", lambda x: F.interpolate(x, scale_factor=(1.3, 0.6), mode="bicubic", recompute_scale_factor=True), image)
function("resize.image.corners", lambda x: F.interpolate(x, scale_factor=(1.5, 2.1), mode="bicubic", align_corners=True), image)
function("resize.volume.nearest", lambda x: F.interpolate(x, scale_factor=(1.5, 0.5, 2.0)), volume)
function("resize.volume.exact", lambda x: F.interpolate(x, size=(2, 5, 3), mode="nearest-exact"), volume)
function("resize.volume.area", lambda x: F.interpolate(x, size=(2, 5, 1), mode="area"), volume)
function("resize.volume.linear", lambda x: F.interpolate(x, scale_factor=(1.4, 2, 0.7), mode="trilinear"), volume)
big = randn(1, 2, 11, 9)
for mode in ("bilinear", "bicubic"):
    function(f"antialias.down.{mode}", lambda x: F.interpolate(x, size=(4, 3), mode=mode, antialias=True), big)
    function(f"antialias.mixed.{mode}", lambda x: F.interpolate(x, size=(5, 13), mode=mode, antialias=True, align_corners=mode == "bilinear"), big)
    function(f"antialias.by.{mode}", lambda x: F.interpolate(x, scale_factor=(0.41, 0.7), mode=mode, antialias=True), big)

# padding
layer("zero_pad1d", nn.ZeroPad1d((2, -1)), randn(2, 2, 5))
layer("zero_pad3d", nn.ZeroPad3d((1, 0, 0, 2, -1, 1)), randn(1, 2, 3, 2))
layer("constant_pad1d", nn.ConstantPad1d(2, -1.5), randn(2, 4))
layer("constant_pad2d", nn.ConstantPad2d((1, -1, 0, 2), 0.5), image)
layer("reflection_pad3d", nn.ReflectionPad3d((1, 0, 2, 1, 1, 1)), randn(1, 1, 3, 4, 3))
layer("replication_pad1d", nn.ReplicationPad1d((3, 2)), randn(2, 3))
layer("replication_pad2d", nn.ReplicationPad2d((2, 5, 0, 1)), randn(2, 3, 2))
layer("circular_pad1d", nn.CircularPad1d((2, 5)), randn(2, 2, 5))
layer("circular_pad3d", nn.CircularPad3d((1, 2, 0, 1, 2, 0)), randn(1, 2, 3, 2))

# norms: two calls move the running statistics twice
layer("batch_norm1d.plain", nn.BatchNorm1d(3), 2 * randn(5, 3) + 1, calls=2)
layer("batch_norm2d.all_alike", nn.BatchNorm2d(2, momentum=None, eps=1e-3), randn(3, 2, 2, 3), calls=3)
layer("batch_norm2d.bare", nn.BatchNorm2d(2, affine=False), randn(3, 2, 2, 3), calls=2)
layer("batch_norm1d.no_bias", nn.BatchNorm1d(3, bias=False), randn(4, 3, 2))
layer("batch_norm3d.one", nn.BatchNorm3d(2, track_running_stats=False, affine=False), randn(1, 2, 2, 1, 2))
layer("instance_norm1d.tracked", nn.InstanceNorm1d(3, track_running_stats=True, momentum=0.4), randn(2, 3, 5), calls=2)
layer("instance_norm1d.still", nn.InstanceNorm1d(3, track_running_stats=True, momentum=None), randn(2, 3, 5), calls=2)
layer("instance_norm3d.tracked", nn.InstanceNorm3d(2, affine=True, track_running_stats=True), randn(2, 2, 2, 3, 2), calls=2)
layer("instance_norm2d.alone", nn.InstanceNorm2d(2, affine=True, bias=False), randn(2, 3, 4))
layer("layer_norm.one", nn.LayerNorm(1, eps=1e-2), randn(3, 1))
layer("layer_norm.whole", nn.LayerNorm((2, 3, 2)), randn(2, 3, 2))
layer("rms_norm.planes", nn.RMSNorm((2, 5), eps=1e-4), randn(3, 2, 5))
layer("group_norm.all", nn.GroupNorm(1, 4, eps=1e-3), randn(2, 4, 3, 2))
layer("group_norm.each", nn.GroupNorm(4, 4, bias=False), randn(2, 4, 5))
layer("response_norm.volume", nn.LocalResponseNorm(2, alpha=0.5, beta=0.9, k=1.5), randn(1, 4, 2, 2, 2))
layer("weight_norm.columns", parametrizations.weight_norm(nn.Linear(4, 3), dim=1), randn(5, 4))
layer("weight_norm.whole", parametrizations.weight_norm(nn.Conv1d(2, 3, 2), dim=None), randn(1, 2, 4))
layer("weight_norm.conv_t", parametrizations.weight_norm(nn.ConvTranspose2d(2, 3, 2)), randn(1, 2, 3, 3))
layer("spectral_norm.three", parametrizations.spectral_norm(nn.Linear(4, 3), n_power_iterations=3), randn(5, 4), calls=2)
layer("spectral_norm.axis", parametrizations.spectral_norm(nn.Conv1d(2, 3, 2), dim=1), randn(1, 2, 4))

# tables
index = torch.tensor([[3, 1, 5, 1], [0, 3, 3, 2]])
layer("embedding.padded", nn.Embedding(6, 3, padding_idx=-3), index)
layer("embedding.by_freq", nn.Embedding(6, 3, padding_idx=1, scale_grad_by_freq=True), index)
layer("embedding.max_norm", nn.Embedding(6, 3, max_norm=1.0), index)
layer("embedding.max_norm1", nn.Embedding(6, 3, max_norm=0.7, norm_type=1.0, scale_grad_by_freq=True), index)
layer("embedding.max_norm_inf", nn.Embedding(6, 3, max_norm=0.5, norm_type=float("inf")), index)
flat, offsets = torch.tensor([3, 1, 5, 1, 0, 3, 3]), torch.tensor([0, 2, 2, 6])
for mode in ("sum", "mean", "max"):
    layer(f"bag.last.{mode}", nn.EmbeddingBag(6, 3, mode=mode, include_last_offset=True, padding_idx=1), flat, torch.tensor([0, 2, 2, 6, 7]))
    layer(f"bag.max_norm.{mode}", nn.EmbeddingBag(6, 3, mode=mode, max_norm=0.8), flat, offsets)
for mode in ("sum", "mean"):
    layer(f"bag.by_freq.{mode}", nn.EmbeddingBag(6, 3, mode=mode, scale_grad_by_freq=True), index)
layer("bag.offsets.weighted", nn.EmbeddingBag(6, 3, mode="sum", padding_idx=3), flat, offsets, randn(7), run=lambda m, i, o, w: m(i, o, per_sample_weights=w))

# a table whose rows are cut to a length, trained
table = rounded(nn.Embedding(6, 3, max_norm=1.0))
put("trained.before", table.weight)
goal, sgd = randn(2, 4, 3), torch.optim.SGD(table.parameters(), 0.5, momentum=0.9)
put("trained.goal", goal)
for step in range(6):
    sgd.zero_grad()
    F.mse_loss(table((index + step) % 6), 3 * goal).backward()
    sgd.step()
put("trained.after", table.weight)

# functions of two, of places, of chance that is given
function("normalize", lambda x: F.normalize(x), randn(3, 4))
function("normalize.p1", lambda x: F.normalize(x, p=1.0, dim=0, eps=0.5), 0.1 * randn(3, 4))
function("normalize.inf", lambda x: F.normalize(x, p=float("inf"), dim=-1), randn(2, 3, 4))
function("normalize.zero", lambda x: F.normalize(x, dim=-1), torch.cat([torch.zeros(1, 3), randn(1, 3)]))
function("pdist", lambda x: F.pdist(x), randn(5, 3))
function("pdist.p1", lambda x: F.pdist(x, p=1.5), randn(4, 3))
theta = torch.tensor([[[0.9, 0.3, 0.2], [-0.2, 1.1, -0.1]], [[1.0, 0.0, 0.5], [0.0, -1.2, 0.0]]]).float().double()
theta3 = torch.cat([torch.eye(3), torch.tensor([[0.2], [-0.3], [0.1]])], 1)[None] + 0.1 * torch.randn(1, 3, 4)
for corners in (False, True):
    function(f"affine_grid.{int(corners)}", lambda t: F.affine_grid(t, (2, 1, 3, 4), align_corners=corners), theta)
    function(f"affine_grid3.{int(corners)}", lambda t: F.affine_grid(t, (1, 1, 2, 3, 2), align_corners=corners), theta3)
places, places3 = 1.4 * randn(2, 3, 4, 2), 1.2 * randn(1, 2, 3, 2, 3)
for i, mode in enumerate(("bilinear", "nearest", "bicubic")):
    for j, padding in enumerate(("zeros", "border", "reflection")):
        corners = (i + j) % 2 == 1
        function(f"grid.{mode}.{padding}", lambda x, g: F.grid_sample(x, g, mode, padding, corners), randn(2, 2, 4, 5), places)
for mode, padding, corners in [("bilinear", "reflection", False), ("bilinear", "zeros", True), ("nearest", "border", False)]:
    function(f"grid3.{mode}.{padding}", lambda x, g: F.grid_sample(x, g, mode, padding, corners), randn(1, 2, 3, 2, 4), places3)
function("grid.corners", lambda x, g: F.grid_sample(x, g, "bilinear", "reflection", True), randn(2, 2, 4, 5), places)

# activations far out
far = torch.tensor([-200.0, -88.0, -30.0, -5.5, -3.0, -0.5, -1e-4, 1e-4, 0.5, 2.9, 6.5, 30.0, 88.0, 200.0]).view(2, 7).float().double()
FAR = {
    "relu6": F.relu6, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "selu": F.selu, "silu": F.silu,
    "mish": F.mish, "logsigmoid": F.logsigmoid, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "softplus": F.softplus,
    "elu": lambda x: F.elu(x, 1.3), "celu": lambda x: F.celu(x, 2.0), "tanhshrink": F.tanhshrink, "softsign": F.softsign,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "log_softmax": lambda x: F.log_softmax(x, 0), "softmax": lambda x: F.softmax(x, 1),
    "softmin": lambda x: F.softmin(x, 0), "glu": lambda x: F.glu(x, 0), "hardtanh": F.hardtanh, "leaky_relu": F.leaky_relu,
    "softshrink": F.softshrink, "hardshrink": F.hardshrink, "threshold": lambda x: F.threshold(x, 0.1, 20.0),
}
function("far", lambda x: [f(x) for f in FAR.values()], far)
layer("far.prelu_row", nn.PReLU(), randn(5))
function("gumbel", lambda z, g: F.softmax((z + g) / 0.7, -1), randn(3, 4), randn(3, 4))

# the adaptive softmax, its parts and the losses that the other file leaves out
adaptive = nn.AdaptiveLogSoftmaxWithLoss(6, 12, [3, 5, 9], div_value=2.0)
labels = torch.tensor([0, 4, 11, 2, 9, 5, 8])
layer("adaptive", adaptive, randn(7, 6), labels)
put("adaptive.log_prob", adaptive.log_prob(out["adaptive.0"].double()))
put("adaptive.predict", adaptive.predict(out["adaptive.0"].double()))
layer("adaptive.bias", nn.AdaptiveLogSoftmaxWithLoss(5, 7, [2], head_bias=True), randn(3, 5), torch.tensor([6, 0, 2]))
layer("adaptive.one", nn.AdaptiveLogSoftmaxWithLoss(5, 7, [2, 4]), randn(5), torch.tensor(3))
layer("linear_ce", nn.LinearCrossEntropyLoss(4, 3, out_features=(2,), bias=True, label_smoothing=0.1, weight=torch.tensor([1.0, 2.0, 0.5])), randn(5, 4), torch.tensor([[0, 1], [2, 2], [1, 0], [-100, 1], [0, 0]]))
layer("linear_ce.plain", nn.LinearCrossEntropyLoss(4, 3, reduction="sum", ignore_index=2), randn(5, 4), torch.tensor([0, 2, 1, 1, 2]))
function("gauss.channel", lambda a, b, v: F.gaussian_nll_loss(a, b, v, full=True), randn(2, 3, 4), randn(2, 3, 4), torch.rand(2, 1, 4) + 0.1)
function("gauss.number", lambda a, b: F.gaussian_nll_loss(a, b, 0.5, reduction="none"), randn(2, 3), randn(2, 3))
lengths, steps = torch.tensor([3, 0, 2]), torch.tensor([6, 4, 5])
for r in ("mean", "sum", "none"):
    function(f"ctc.flat.{r}", lambda z, t, n, m: F.ctc_loss(z.log_softmax(2), t, n, m, reduction=r), randn(6, 3, 4), torch.tensor([1, 2, 2, 3, 1]), steps, lengths)

# recurrence: what one file more would bring
def lengths_of(m, x, n):
    packed = nn.utils.rnn.pack_padded_sequence(x, n.long(), batch_first=m.batch_first, enforce_sorted=False)
    y, end = m(packed)
    return nn.utils.rnn.pad_packed_sequence(y, batch_first=m.batch_first, total_length=x.shape[1 if m.batch_first else 0])[0], end


layer("lstm.deep", nn.LSTM(2, 3, 3, bias=False, bidirectional=True, batch_first=True), randn(2, 4, 2))
layer("lstm.proj", nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True, batch_first=True), randn(3, 4, 3), torch.tensor([2, 4, 1]), run=lengths_of)
layer("lstm.proj_first", nn.LSTM(3, 4, proj_size=1), randn(1, 1, 3), randn(1, 1, 1), randn(1, 1, 4), run=lambda m, x, h, c: m(x, (h, c)))
layer("gru.deep", nn.GRU(2, 3, 2, batch_first=True, bidirectional=True), randn(3, 5, 2), torch.tensor([1, 5, 5]), run=lengths_of)
layer("rnn.relu", nn.RNN(2, 3, 2, nonlinearity="relu", batch_first=True), randn(3, 4, 2), torch.tensor([4, 2, 3]), run=lengths_of)

# transformers: masks of both kinds, both orders of the norms
def masks(n):
    return torch.ones(n, n, dtype=torch.bool).triu(1)


small = dict(dim_feedforward=6, dropout=0.0)
pads = torch.tensor([[False, False, False, True], [False, True, False, False]])
layer("encoder.bool", nn.TransformerEncoderLayer(4, 2, batch_first=True, activation=F.silu, **small), randn(2, 4, 4), masks(4), pads, run=lambda m, x, a, k: m(x, src_mask=a, src_key_padding_mask=k))
layer("encoder.float", nn.TransformerEncoderLayer(4, 1, norm_first=True, bias=False, **small), randn(4, 2, 4), randn(4, 4), run=lambda m, x, a: m(x, src_mask=a))
layer("encoder.alone", nn.TransformerEncoderLayer(4, 2, **small), randn(3, 4))
layer("decoder.all", nn.TransformerDecoderLayer(4, 2, norm_first=True, bias=False, **small), randn(3, 2, 4), randn(4, 2, 4), masks(3), pads, run=lambda m, x, y, a, k: m(x, y, tgt_mask=a, memory_key_padding_mask=k))
layer("transformer", nn.Transformer(4, 2, 2, 2, 6, 0.0, norm_first=True, batch_first=True), randn(2, 4, 4), randn(2, 3, 4), masks(3), pads, run=lambda m, x, y, a, k: m(x, y, tgt_mask=a, src_key_padding_mask=k, memory_key_padding_mask=k))
layer("mha.kv", nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True), randn(3, 2, 4), randn(5, 2, 3), randn(5, 2, 5))
layer("mha.zero", nn.MultiheadAttention(4, 2, add_zero_attn=True, bias=False, batch_first=True), randn(2, 3, 4), pads[:, :3], run=lambda m, x, k: m(x, x, x, key_padding_mask=k, average_attn_weights=False))

path = Path(__file__).parent.parent / "tests/data/sweep.safetensors"
save_file(out, path, {"made by": f"scripts/reference_sweep.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
