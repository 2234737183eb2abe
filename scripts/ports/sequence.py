"""WaveNet."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm


class CausalConv1d(nn.Conv1d):
    def forward(self, x):
        left = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(F.pad(x, (left, 0)))


class ResidualBlock(nn.Module):
    def __init__(self, channels, skip, dilation):
        super().__init__()
        self.dilated = weight_norm(CausalConv1d(channels, 2 * channels, 2, dilation=dilation))
        self.residual = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, skip, 1)

    def forward(self, x):
        a, b = self.dilated(x).chunk(2, dim=1)
        y = torch.tanh(a) * torch.sigmoid(b)
        return x + self.residual(y), self.skip(y)


class WaveNet(nn.Module):
    def __init__(self, classes, channels, skip):
        super().__init__()
        self.embed = nn.Conv1d(classes, channels, 1)
        self.blocks = nn.ModuleList([ResidualBlock(channels, skip, 2**i) for i in range(4)])
        self.out = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, classes, 1))
        self.classes = classes

    def forward(self, samples):
        x = self.embed(F.one_hot(samples, self.classes).transpose(1, 2).to(torch.get_default_dtype()))
        skips = 0
        for block in self.blocks:
            x, skip = block(x)
            skips = skips + skip
        return self.out(skips)


def wavenet():
    model = WaveNet(8, 6, 6)
    wave = torch.sin(torch.arange(24) * 0.7) * torch.linspace(0.3, 1.0, 2)[:, None]
    mu = 7  # mu-law, as people do with 255
    samples = (torch.sign(wave) * torch.log1p(mu * wave.abs()) / torch.log1p(torch.tensor(float(mu))) + 1) / 2 * mu
    samples = (samples + 0.5).long()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)

    def step(t):
        loss = F.cross_entropy(model(samples)[:, :, :-1], samples[:, 1:])
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(wave=wave), step


PORTS = [wavenet]
