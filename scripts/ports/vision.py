"""ConvNeXt, MobileNetV3, Swin, a U-Net that upsamples."""
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return torch.permute(x, self.dims)


class CNBlock(nn.Module):
    """torchvision's, with names."""

    def __init__(self, dim, layer_scale):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim, bias=True),
            Permute([0, 2, 3, 1]),
            nn.LayerNorm(dim, eps=1e-6),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = nn.Parameter(torch.ones(dim, 1, 1) * layer_scale)

    def forward(self, x):
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    def __init__(self, classes):
        super().__init__()
        norm = partial(LayerNorm2d, eps=1e-6)
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), norm(6)),
            nn.Sequential(CNBlock(6, 0.1), CNBlock(6, 0.1)),
            nn.Sequential(norm(6), nn.Conv2d(6, 10, 2, stride=2)),
            nn.Sequential(CNBlock(10, 0.1)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(norm(10), nn.Flatten(1), nn.Linear(10, classes))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)))


def convnext():
    model = ConvNeXt(5)
    x, y = torch.randn(4, 3, 16, 16), torch.randint(5, (4,))
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=4e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=5)

    def step(t):
        loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        return [loss]

    return model, dict(x=x, y=y), step


def conv_norm(inputs, outputs, kernel, stride=1, groups=1, activation=nn.Hardswish):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs, eps=0.001, momentum=0.01)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeeze, 1), nn.Conv2d(squeeze, channels, 1)
        self.activation, self.scale_activation = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x):
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


class InvertedResidual(nn.Module):
    def __init__(self, inputs, expanded, outputs, kernel, stride, se, activation):
        super().__init__()
        layers = []
        if expanded != inputs:
            layers.append(conv_norm(inputs, expanded, 1, activation=activation))
        layers.append(conv_norm(expanded, expanded, kernel, stride, expanded, activation))
        if se:
            layers.append(SqueezeExcitation(expanded, max(expanded // 4, 2)))
        layers.append(conv_norm(expanded, outputs, 1, activation=None))
        self.block, self.use_res_connect = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x):
        result = self.block(x)
        return result + x if self.use_res_connect else result


class MobileNetV3(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(3, 6, 3, 2),
            InvertedResidual(6, 6, 6, 3, 2, True, nn.ReLU),
            InvertedResidual(6, 12, 8, 5, 1, False, nn.ReLU),
            InvertedResidual(8, 16, 8, 3, 1, True, nn.Hardswish),
            conv_norm(8, 16, 1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(16, 12), nn.Hardswish(inplace=True), nn.Dropout(p=0.0), nn.Linear(12, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def mobilenet_v3():
    model = MobileNetV3(4)
    x, y = torch.randn(6, 3, 16, 16), torch.randint(4, (6,))
    opt = torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.9, alpha=0.9, eps=0.0316, weight_decay=1e-5)
    sched = torch.optim.lr_scheduler.StepLR(opt, step_size=2, gamma=0.973)

    def step(t):
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        return [loss]

    return model, dict(x=x, y=y), step


def window_partition(x, window):
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window * window, c)


def window_reverse(windows, window, h, w):
    b = windows.shape[0] // (h // window * (w // window))
    x = windows.view(b, h // window, w // window, window, window, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(b, h, w, -1)


class WindowAttention(nn.Module):
    """Microsoft's, with names."""

    def __init__(self, dim, window, heads):
        super().__init__()
        self.heads, self.scale, self.area = heads, (dim // heads) ** -0.5, window * window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        coords = torch.stack(torch.meshgrid([torch.arange(window)] * 2, indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0).contiguous()
        relative[:, :, 0] += window - 1
        relative[:, :, 1] += window - 1
        relative[:, :, 0] *= 2 * window - 1
        self.register_buffer("relative_position_index", relative.sum(-1))
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x, mask=None):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(self.area, self.area, -1).permute(2, 0, 1).contiguous()
        attn = attn + bias.unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            attn = attn.view(b // windows, windows, self.heads, n, n) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.heads, n, n)
        attn = attn.softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, c))


class SwinBlock(nn.Module):
    def __init__(self, dim, size, window, shift, heads):
        super().__init__()
        self.size, self.window, self.shift = size, window, shift
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), WindowAttention(dim, window, heads), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        mask = None
        if shift:
            image = torch.zeros(1, size, size, 1)
            spans = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
            for i, (h, w) in enumerate((h, w) for h in spans for w in spans):
                image[:, h, w, :] = i
            windows = window_partition(image, window).view(-1, window * window)
            mask = windows.unsqueeze(1) - windows.unsqueeze(2)
            mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        self.register_buffer("attn_mask", mask)

    def forward(self, x):
        b, length, c = x.shape
        shortcut = x
        x = self.norm1(x).view(b, self.size, self.size, c)
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = self.attn(window_partition(x, self.window), mask=self.attn_mask)
        x = window_reverse(windows, self.window, self.size, self.size)
        if self.shift:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x.view(b, length, c)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim, size):
        super().__init__()
        self.size, self.norm, self.reduction = size, nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        b, _, c = x.shape
        x = x.view(b, self.size, self.size, c)
        x = torch.cat([x[:, 0::2, 0::2, :], x[:, 1::2, 0::2, :], x[:, 0::2, 1::2, :], x[:, 1::2, 1::2, :]], -1)
        return self.reduction(self.norm(x.view(b, -1, 4 * c)))


class Swin(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 2, stride=2)
        self.blocks = nn.ModuleList([SwinBlock(8, 8, 4, 0, 2), SwinBlock(8, 8, 4, 2, 2)])
        self.downsample = PatchMerging(8, 8)
        self.last = SwinBlock(16, 4, 4, 0, 4)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = self.last(self.downsample(x))
        return self.head(self.norm(x).mean(dim=1))


def swin():
    model = Swin(4)
    x, y = torch.randn(3, 3, 16, 16), torch.randint(4, (3,))
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)

    def step(t):
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        opt.step()
        return [loss]

    return model, dict(x=x, y=y), step


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1),
        )

    def forward(self, x):
        return self.net(x)


class UNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.down1, self.down2, self.bottom = DoubleConv(1, 4), DoubleConv(4, 8), DoubleConv(8, 8)
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.up2, self.up1 = DoubleConv(16, 4), DoubleConv(8, 4)
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        c = self.bottom(self.pool(b))
        y = self.up2(torch.cat([self.upsample(c), b], dim=1))
        y = self.up1(torch.cat([self.upsample(y), a], dim=1))
        return self.head(y)


def dice_loss(logits, y, smooth=1.0):
    p = logits.softmax(dim=1)
    onehot = F.one_hot(y, logits.shape[1]).permute(0, 3, 1, 2).to(p.dtype)
    inter = (p * onehot).sum(dim=(2, 3))
    union = p.sum(dim=(2, 3)) + onehot.sum(dim=(2, 3))
    return 1 - ((2 * inter + smooth) / (union + smooth)).mean()


def unet():
    model = UNet(3)
    x, y = torch.randn(2, 1, 12, 12), torch.randint(3, (2, 12, 12))
    y[0, :2] = 255
    weight = torch.tensor([0.2, 1.0, 1.5])
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)

    def step(t):
        logits = model(x)
        ce = F.cross_entropy(logits, y, weight=weight, ignore_index=255)
        dice = dice_loss(logits, y.clamp(max=2))
        loss = ce + 0.5 * dice
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [ce, dice]

    return model, dict(x=x, y=y, weight=weight), step


PORTS = [convnext, mobilenet_v3, swin, unet]
