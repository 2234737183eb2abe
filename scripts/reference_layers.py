#!/usr/bin/env python3
"""Writes tests/data/nn_layers.safetensors: what PyTorch computes in float64 for layers, as float32.
tests/nn_layers.rs holds Kiln against it. Inputs and weights are numbers that float32 holds exactly.

    pip install torch safetensors && python3 scripts/reference_layers.py
"""
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(9)
torch.set_default_dtype(torch.float64)
out = {}


def put(name, tensor):
    tensor = tensor.detach()
    out[name] = (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()


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


def layer(name, module, *inputs, run=None, shake=True):
    """Output and gradients for upstream dy in training mode, buffers after it, output in evaluation mode."""
    run = run or (lambda m, *x: m(*x))
    with torch.no_grad():
        for p in module.parameters() if shake else []:
            p.add_(0.3 * torch.randn_like(p))
    rounded(module)
    put_state(f"{name}.before", module)
    inputs = [t.float().double().requires_grad_() if t.is_floating_point() else t for t in inputs]
    y = run(module, *inputs)
    dy = randn(*y.shape)
    (y * dy).sum().backward()
    put(f"{name}.y", y)
    put(f"{name}.dy", dy)
    for i, t in enumerate(inputs):
        put(f"{name}.{i}", t)
        if t.is_floating_point():
            put(f"{name}.d{i}", t.grad)
    for pname, p in module.named_parameters():
        put(f"{name}.d.{pname}", p.grad)
    put_state(f"{name}.after", module)
    module.eval()
    put(f"{name}.eval", run(module, *inputs))


def function(name, f, *inputs):
    layer(name, nn.Identity(), *inputs, run=lambda m, *x: f(*x))


# convolutions
for mode in ("reflect", "replicate", "circular"):
    layer(f"conv2d.{mode}", nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode), randn(2, 2, 5, 6))
layer("conv1d.same", nn.Conv1d(2, 4, 4, padding="same", dilation=2), randn(2, 2, 9))
layer("conv1d.same.circular", nn.Conv1d(2, 4, 4, padding="same", padding_mode="circular"), randn(2, 2, 9))
layer("conv3d", nn.Conv3d(2, 4, (3, 2, 2), stride=(1, 2, 1), padding=1, groups=2), randn(1, 2, 4, 5, 3))
layer("conv3d.reflect", nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect", bias=False), randn(1, 1, 3, 4, 3))
layer("conv_t1d", nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), randn(2, 4, 5))
layer("conv_t2d", nn.ConvTranspose2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), randn(2, 2, 4, 3))
layer("conv_t2d.to", nn.ConvTranspose2d(2, 3, 3, stride=3, padding=1), randn(1, 2, 3, 4), run=lambda m, x: m(x, output_size=[9, 11]))
layer("conv_t3d", nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False), randn(1, 2, 2, 3, 2))

# pooling
layer("max_pool3d", nn.MaxPool3d(2, stride=1), randn(1, 2, 3, 4, 3))
layer("avg_pool3d", nn.AvgPool3d(2, padding=1, divisor_override=3), randn(1, 2, 3, 4, 3))
layer("lp_pool1d", nn.LPPool1d(2, 3, stride=2), randn(2, 3, 8))
layer("lp_pool2d", nn.LPPool2d(3, 2, ceil_mode=True), randn(1, 2, 5, 4).abs() + 0.5)
layer("adaptive_max1d", nn.AdaptiveMaxPool1d(3), randn(2, 2, 7))
layer("adaptive_max2d", nn.AdaptiveMaxPool2d((3, None)), randn(1, 2, 7, 5))
layer("adaptive_avg3d", nn.AdaptiveAvgPool3d((2, 3, 1)), randn(1, 2, 3, 7, 4))
pool = nn.MaxPool2d(2, return_indices=True)
function("max_unpool2d", lambda x: nn.MaxUnpool2d(2)(*pool(x), output_size=[5, 6]), randn(1, 2, 5, 6))

# resizing
image = randn(2, 2, 5, 4)
for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
    function(f"resize.{mode}", lambda x: F.interpolate(x, size=(7, 9), mode=mode), image)
    function(f"resize.down.{mode}", lambda x: F.interpolate(x, size=(3, 2), mode=mode), image)
    function(f"resize.by.{mode}", lambda x: F.interpolate(x, scale_factor=(1.7, 2.5), mode=mode), image)
for mode in ("bilinear", "bicubic"):
    function(f"resize.corners.{mode}", lambda x: F.interpolate(x, size=(7, 1), mode=mode, align_corners=True), image)
function("resize.linear", lambda x: F.interpolate(x, scale_factor=2, mode="linear"), randn(2, 2, 5))
function("resize.trilinear", lambda x: F.interpolate(x, size=(3, 5, 4), mode="trilinear", align_corners=True), randn(1, 2, 2, 3, 4))
function("resize.twice", lambda x: F.interpolate(x, scale_factor=2), image)

# padding and moving
layer("zero_pad2d", nn.ZeroPad2d((1, 2, 0, -1)), image)
layer("constant_pad3d", nn.ConstantPad3d((1, 0, 2, 1, 0, 1), 3.5), randn(1, 1, 2, 3, 2))
layer("reflection_pad1d", nn.ReflectionPad1d((3, 1)), randn(2, 2, 5))
layer("reflection_pad2d", nn.ReflectionPad2d((1, 2, 3, 0)), image)
layer("replication_pad3d", nn.ReplicationPad3d((1, 2, 3, 0, 1, 1)), randn(1, 1, 2, 3, 2))
layer("circular_pad2d", nn.CircularPad2d((1, 4, 3, 0)), image)
layer("pixel_shuffle", nn.PixelShuffle(2), randn(2, 8, 3, 2))
layer("pixel_unshuffle", nn.PixelUnshuffle(2), randn(2, 2, 6, 4))
layer("channel_shuffle", nn.ChannelShuffle(3), randn(2, 6, 3, 2))
layer("unflatten", nn.Unflatten(1, (2, -1)), randn(2, 6, 3))
layer("unfold", nn.Unfold((2, 3), padding=1, stride=2), image)
layer("fold", nn.Fold((5, 4), (2, 3), padding=1, stride=2), randn(2, 12, 6))

# normalisation
layer("batch_norm3d", nn.BatchNorm3d(2), 2 * randn(2, 2, 3, 2, 2) + 1)
layer("batch_norm1d.rows", nn.BatchNorm1d(3, eps=1e-2, momentum=0.3), randn(4, 3, 5))
layer("batch_norm2d.untracked", nn.BatchNorm2d(2, track_running_stats=False), randn(3, 2, 3, 2))
layer("instance_norm1d", nn.InstanceNorm1d(3), randn(2, 3, 6))
layer("instance_norm2d", nn.InstanceNorm2d(2, affine=True, track_running_stats=True), 2 * randn(3, 2, 3, 4) + 1)
layer("instance_norm3d", nn.InstanceNorm3d(2, affine=True, eps=1e-3), randn(2, 2, 2, 3, 2))
layer("instance_norm.alone", nn.InstanceNorm2d(2), randn(2, 3, 4))
layer("layer_norm.plain", nn.LayerNorm(5, elementwise_affine=False), randn(3, 5))
layer("layer_norm.no_bias", nn.LayerNorm((2, 5), bias=False, eps=1e-2), randn(3, 2, 5))
layer("rms_norm.plain", nn.RMSNorm(5, elementwise_affine=False, eps=1e-3), randn(3, 5))
layer("group_norm.plain", nn.GroupNorm(3, 6, affine=False), randn(1, 6, 4))
layer("response_norm", nn.LocalResponseNorm(3, alpha=0.5, k=2.0), randn(2, 5, 3, 2))
layer("response_norm.even", nn.LocalResponseNorm(4, alpha=0.3, beta=0.6), randn(2, 5, 3))
layer("weight_norm", nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), randn(5, 4))
layer("weight_norm.conv", nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 2)), randn(1, 2, 4, 4))
layer("spectral_norm", nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), randn(5, 4))
layer("spectral_norm.conv_t", nn.utils.parametrizations.spectral_norm(nn.ConvTranspose1d(2, 3, 2)), randn(1, 2, 4))

# products, tables, distances
layer("bilinear", nn.Bilinear(3, 4, 2), randn(5, 2, 3), randn(5, 2, 4))
layer("bilinear.no_bias", nn.Bilinear(3, 4, 2, bias=False), randn(3), randn(4))
index = torch.tensor([[3, 1, 9, 1], [2, 3, 3, 8]])
flat, offsets = torch.tensor([3, 1, 9, 1, 2, 3, 3]), torch.tensor([0, 2, 2, 6])
for mode in ("sum", "mean", "max"):
    layer(f"bag.{mode}", nn.EmbeddingBag(10, 3, mode=mode), index)
    layer(f"bag.offsets.{mode}", nn.EmbeddingBag(10, 3, mode=mode, padding_idx=3), flat, offsets)
layer("bag.weighted", nn.EmbeddingBag(10, 3, mode="sum"), index, randn(2, 4), run=lambda m, i, w: m(i, per_sample_weights=w))
a, b = randn(4, 3), randn(4, 3)
function("cosine_similarity", lambda x, y: F.cosine_similarity(x, y), a, b)
function("cosine_similarity.broadcast", lambda x, y: F.cosine_similarity(x, y, dim=-1), randn(2, 1, 4), randn(3, 4))
function("cosine_similarity.zero", lambda x, y: F.cosine_similarity(x, y, dim=0, eps=1e-2), torch.zeros(3), randn(3))
function("pairwise_distance", lambda x, y: F.pairwise_distance(x, y, p=3, keepdim=True), a, b)
for p in (1.0, 2.0, 3.0, float("inf")):
    function(f"cdist.{p}", lambda x, y: torch.cdist(x, y, p=p, compute_mode="donot_use_mm_for_euclid_dist"), randn(2, 3, 4), randn(2, 5, 4))
function("cdist.same", lambda x: torch.cdist(x, x.detach(), compute_mode="donot_use_mm_for_euclid_dist"), randn(3, 4))

# activations: a line through all bends
line = torch.linspace(-4, 4, 33).view(1, 3, 11)
for name, module in {
    "celu": nn.CELU(0.7), "elu": nn.ELU(0.7), "glu": nn.GLU(0), "hardshrink": nn.Hardshrink(0.75),
    "hardtanh": nn.Hardtanh(-0.6, 2.1), "leaky_relu": nn.LeakyReLU(0.3), "prelu": nn.PReLU(), "prelu.channels": nn.PReLU(3),
    "softmax2d": nn.Softmax2d(), "softmin": nn.Softmin(1), "softplus": nn.Softplus(2.0, 3.1), "softshrink": nn.Softshrink(0.75),
    "tanhshrink": nn.Tanhshrink(), "threshold": nn.Threshold(0.3, -2.0), "softsign": nn.Softsign(),
}.items():
    layer(f"act.{name}", module, randn(4, 3) if name == "glu" else line)


class Block(nn.Module):
    """torchvision's BasicBlock."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """torchvision's resnet18 with `width` in the place of 64: the same names, strides and order."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i in range(4):
            inputs, outputs = width * (1 if i == 0 else 2 ** (i - 1)), width * 2**i
            blocks = [Block(inputs, outputs, 1 if i == 0 else 2), Block(outputs, outputs, 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


model = ResNet18(4, 5)
model.train()
for _ in range(2):  # running statistics away from 0 and 1
    model(randn(4, 3, 32, 32))
rounded(model).eval()
x = randn(2, 3, 32, 32)
put_state("resnet.state", model)
put("resnet.x", x)
put("resnet.y", model(x))

path = Path(__file__).parent.parent / "tests/data/nn_layers.safetensors"
save_file(out, path, {"made by": f"scripts/reference_layers.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
