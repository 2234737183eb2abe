#!/usr/bin/env python3
"""Writes tests/data/models.safetensors: state dicts of well-known models in tiny widths, under the names that
torchvision, Hugging Face and others give their parts, with inputs and PyTorch's outputs in float64, stored as float32.
tests/models.rs loads them by name.

    pip install torch safetensors && python3 scripts/reference_models.py
"""
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.utils.rnn import pack_padded_sequence

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
out = {}


def put(name, tensor):
    tensor = tensor.detach()
    out[name] = (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()


def randn(*shape):
    return torch.randn(shape).float().double()


def model(name, module, *inputs):
    """The state dict after two training passes, which move running statistics, and outputs in evaluation mode."""
    module.train()
    with torch.no_grad():
        for _ in range(2):
            module(*inputs)
        for p in list(module.parameters()) + [b for b in module.buffers() if b.is_floating_point()]:
            p.copy_(p.float())
    module.eval()
    for path, value in module.state_dict().items():
        put(f"{name}.state.{path}", value)
    for i, x in enumerate(inputs):
        put(f"{name}.{i}", x)
    put(f"{name}.y", module(*inputs))


class Vgg(nn.Module):
    """torchvision's vgg11_bn with fewer stages and `width` in the place of 64."""

    def __init__(self, width, classes):
        super().__init__()
        layers, inputs = [], 3
        for step in (width, "M", 2 * width, 2 * width, "M"):
            if step == "M":
                layers += [nn.MaxPool2d(2, 2)]
            else:
                layers += [nn.Conv2d(inputs, step, 3, padding=1), nn.BatchNorm2d(step), nn.ReLU(inplace=True)]
                inputs = step
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Linear(8 * width, 12), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(12, 12), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(12, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def conv_norm(inputs, outputs, kernel, stride=1, groups=1):
    """torchvision's Conv2dNormActivation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expand):
        super().__init__()
        inner = inputs * expand
        layers = [conv_norm(inputs, inner, 1)] if expand != 1 else []
        layers += [conv_norm(inner, inner, 3, stride, inner), nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv, self.same = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNet(nn.Module):
    """torchvision's mobilenet_v2 with four blocks."""

    def __init__(self, classes):
        super().__init__()
        blocks = [(4, 3, 1, 1), (3, 4, 2, 3), (4, 4, 1, 3), (4, 6, 1, 2)]
        self.features = nn.Sequential(conv_norm(3, 4, 3, 2), *[InvertedResidual(*b) for b in blocks], conv_norm(6, 10, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(10, classes))

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        part = lambda i: [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.double_conv = nn.Sequential(*part(inputs), *part(outputs))

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.up, self.conv = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2), DoubleConv(inputs, outputs)

    def forward(self, x, skip):
        x = self.up(x)
        dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class OutConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    """The names of milesial/Pytorch-UNet, two levels."""

    def __init__(self, width, classes):
        super().__init__()
        self.inc = DoubleConv(1, width)
        self.down1, self.down2 = Down(width, 2 * width), Down(2 * width, 4 * width)
        self.up1, self.up2 = Up(4 * width, 2 * width), Up(2 * width, width)
        self.outc = OutConv(width, classes)

    def forward(self, x):
        a = self.inc(x)
        b = self.down1(a)
        return self.outc(self.up2(self.up1(self.down2(b), b), a))


class Named(nn.Module):
    """Parts under names that are no attributes of Python's."""

    def __init__(self, /, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class Bert(nn.Module):
    """Hugging Face's BertModel; the mask is 1 where a token counts."""

    def __init__(self, vocabulary, context, width, heads, layers):
        super().__init__()
        self.heads = heads
        norm = lambda: nn.LayerNorm(width, eps=1e-12)
        linear = lambda i, o: nn.Linear(i, o)
        self.embeddings = Named(word_embeddings=nn.Embedding(vocabulary, width, padding_idx=0), position_embeddings=nn.Embedding(context, width), token_type_embeddings=nn.Embedding(2, width), LayerNorm=norm())
        layer = lambda: Named(
            attention=Named(**{"self": Named(query=linear(width, width), key=linear(width, width), value=linear(width, width)), "output": Named(dense=linear(width, width), LayerNorm=norm())}),
            intermediate=Named(dense=linear(width, 4 * width)), output=Named(dense=linear(4 * width, width), LayerNorm=norm()))
        self.encoder = Named(layer=nn.ModuleList([layer() for _ in range(layers)]))
        self.pooler = Named(dense=linear(width, width))

    def forward(self, tokens, kinds, mask):
        e = self.embeddings
        x = e.LayerNorm(e.word_embeddings(tokens) + e.token_type_embeddings(kinds) + e.position_embeddings(torch.arange(tokens.shape[1])))
        batch, time, width = x.shape
        hide = (1 - mask)[:, None, None] * torch.finfo(torch.float32).min
        split = lambda t: t.view(batch, time, self.heads, -1).transpose(1, 2)
        for layer in self.encoder.layer:
            own = getattr(layer.attention, "self")
            q, k, v = split(own.query(x)), split(own.key(x)), split(own.value(x))
            weights = (q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5 + hide).softmax(-1)
            x = layer.attention.output.LayerNorm(layer.attention.output.dense((weights @ v).transpose(1, 2).reshape(x.shape)) + x)
            x = layer.output.LayerNorm(layer.output.dense(F.gelu(layer.intermediate.dense(x))) + x)
        return torch.cat([x.flatten(1), torch.tanh(self.pooler.dense(x[:, 0]))], 1)


class VitBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.0), nn.Linear(2 * width, width), nn.Dropout(0.0))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Vit(nn.Module):
    """torchvision's VisionTransformer."""

    def __init__(self, size, patch, width, heads, layers, classes):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        blocks = nn.Sequential()
        for i in range(layers):
            blocks.add_module(f"encoder_layer_{i}", VitBlock(width, heads))
        self.encoder = Named(layers=blocks, ln=nn.LayerNorm(width, eps=1e-6))
        self.encoder.pos_embedding = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width))
        self.heads = Named(head=nn.Linear(width, classes))

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1)
        x = self.encoder.ln(self.encoder.layers(x + self.encoder.pos_embedding))
        return self.heads.head(x[:, 0])


class Sentiment(nn.Module):
    """An LSTM over packed sequences, both directions, and a linear map of the last states."""

    def __init__(self, vocabulary, width, hidden, classes):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, 2, batch_first=True, bidirectional=True, dropout=0.3)
        self.fc = nn.Linear(2 * hidden, classes)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.fc(torch.cat([h[-2], h[-1]], 1))


model("vgg", Vgg(3, 4), randn(3, 3, 16, 16))
model("mobilenet", MobileNet(5), randn(3, 3, 16, 16))
model("unet", UNet(4, 2), randn(2, 1, 11, 13))
tokens = torch.tensor([[2, 7, 9, 3, 0, 0], [2, 4, 5, 6, 8, 3]])
model("bert", Bert(11, 8, 8, 2, 2), tokens, torch.tensor([[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]), (tokens != 0).double())
model("vit", Vit(8, 4, 8, 2, 2, 3), randn(2, 3, 8, 8))
model("sentiment", Sentiment(11, 5, 6, 3), tokens, torch.tensor([4, 6]))

path = Path(__file__).parent.parent / "tests/data/models.safetensors"
save_file(out, path, {"made by": f"scripts/reference_models.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
