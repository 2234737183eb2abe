"""A normalising flow, two adversarial pairs, diffusion."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Coupling(nn.Module):
    def __init__(self, width, hidden, mask):
        super().__init__()
        self.register_buffer("mask", mask)
        net = lambda: nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(), nn.Linear(hidden, width))
        self.s, self.t = net(), net()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        masked = x * self.mask
        s = torch.tanh(self.s(masked)) * self.scale.exp() * (1 - self.mask)
        t = self.t(masked) * (1 - self.mask)
        return masked + (1 - self.mask) * ((x - t) * torch.exp(-s)), -s.sum(dim=1)


class RealNVP(nn.Module):
    def __init__(self, width, hidden, layers):
        super().__init__()
        masks = [(torch.arange(width) + i) % 2 for i in range(layers)]
        self.layers = nn.ModuleList([Coupling(width, hidden, m.to(torch.get_default_dtype())) for m in masks])
        self.register_buffer("loc", torch.zeros(width))

    def log_prob(self, x):
        logdet = torch.zeros(x.shape[0])
        for layer in self.layers:
            x, ld = layer(x)
            logdet = logdet + ld
        prior = torch.distributions.Normal(self.loc, torch.ones_like(self.loc))
        return prior.log_prob(x).sum(dim=-1) + logdet


def realnvp():
    model = RealNVP(4, 10, 4)
    x = torch.randn(16, 4) * torch.tensor([0.5, 1.0, 2.0, 0.3]) + 0.5
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)

    def step(t):
        loss = -model.log_prob(x).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(x=x), step


def gan():
    generator = nn.Sequential(
        nn.ConvTranspose2d(5, 8, 2, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(True),
        nn.ConvTranspose2d(4, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )
    discriminator = nn.Sequential(
        spectral_norm(nn.Conv2d(1, 4, 4, 2, 1)), nn.LeakyReLU(0.2, inplace=True),
        spectral_norm(nn.Conv2d(4, 8, 4, 2, 1)), nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(), spectral_norm(nn.Linear(32, 1)),
    )
    for m in generator.modules():  # DCGAN's
        if isinstance(m, nn.ConvTranspose2d):
            nn.init.normal_(m.weight, 0.0, 0.2)
    both = nn.ModuleDict(dict(generator=generator, discriminator=discriminator))
    real, noise = torch.rand(4, 1, 8, 8) * 2 - 1, torch.randn(5, 4, 5, 1, 1)
    opt_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999), eps=1e-6)
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999), eps=1e-6)
    criterion = nn.BCEWithLogitsLoss()

    def step(t):
        fake = generator(noise[t])
        ones, zeros = torch.ones(4, 1), torch.zeros(4, 1)
        opt_d.zero_grad()
        loss_d = criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)
        loss_d.backward()
        opt_d.step()
        opt_g.zero_grad()
        loss_g = criterion(discriminator(fake), ones)
        loss_g.backward()
        opt_g.step()
        return [loss_d, loss_g]

    return both, dict(real=real, noise=noise), step


def wgan_gp():
    generator = nn.Sequential(nn.Linear(3, 12), nn.LeakyReLU(0.2), nn.Linear(12, 2))
    critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.LayerNorm(16), nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    both = nn.ModuleDict(dict(generator=generator, critic=critic))
    real, z, mix = torch.randn(8, 2) * 0.3 + 1, torch.randn(5, 8, 3), torch.rand(5, 8, 1)
    # the critic's last bias has no gradient but rounding
    opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9), eps=1e-6)
    opt_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9), eps=1e-4)

    def gradient_penalty(real, fake, alpha):
        x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        scores = critic(x)
        (grad,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True, retain_graph=True)
        return ((grad.norm(2, dim=1) - 1) ** 2).mean()

    def step(t):
        fake = generator(z[t]).detach()
        penalty = gradient_penalty(real, fake, mix[t])
        loss_c = critic(fake).mean() - critic(real).mean() + 10 * penalty
        opt_c.zero_grad()
        loss_c.backward()
        opt_c.step()
        loss_g = -critic(generator(z[t])).mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        return [loss_c, penalty, loss_g]

    return both, dict(real=real, z=z, mix=mix), step


def timestep_embedding(t, width):
    half = width // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half) / half)
    args = t[:, None] * freqs[None]
    return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)


class ResBlock(nn.Module):
    def __init__(self, inputs, outputs, time):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(2, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * outputs))
        self.out_norm = nn.GroupNorm(2, outputs)
        self.out_rest = nn.Sequential(nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, emb):
        h = self.in_layers(x)
        scale, shift = self.emb_layers(emb)[..., None, None].chunk(2, dim=1)
        h = self.out_rest(self.out_norm(h) * (1 + scale) + shift)
        return self.skip(x) + h


class Denoiser(nn.Module):
    def __init__(self, width, time):
        super().__init__()
        self.width = width
        self.time_embed = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.input = nn.Conv2d(1, width, 3, padding=1)
        self.down, self.middle, self.up = ResBlock(width, 8, time), ResBlock(8, 8, time), ResBlock(8 + width, width, time)
        self.pool = nn.AvgPool2d(2)
        self.out = nn.Sequential(nn.GroupNorm(2, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x, t):
        emb = self.time_embed(timestep_embedding(t, self.width))
        a = self.input(x)
        b = self.middle(self.down(self.pool(a), emb), emb)
        b = F.interpolate(b, scale_factor=2, mode="nearest")
        return self.out(self.up(torch.cat([b, a], dim=1), emb))


def ddpm():
    model = Denoiser(4, 8)
    ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    both = nn.ModuleDict(dict(model=model, ema=ema))
    x0, noise, times = torch.randn(4, 1, 6, 6), torch.randn(5, 4, 1, 6, 6), torch.randint(100, (5, 4))
    betas = torch.linspace(1e-4, 0.02, 100)
    bars = torch.cumprod(1 - betas, dim=0)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)

    def extract(a, t):
        return a.gather(0, t).reshape(-1, 1, 1, 1)

    def step(i):
        t = times[i]
        xt = extract(bars.sqrt(), t) * x0 + extract((1 - bars).sqrt(), t) * noise[i]
        loss = F.mse_loss(model(xt, t), noise[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        ema.update_parameters(model)
        return [loss]

    return both, dict(x0=x0, noise=noise, times=times), step


PORTS = [realnvp, gan, wgan_gp, ddpm]
