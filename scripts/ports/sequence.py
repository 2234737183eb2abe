"""Text in images by CTC, WaveNet, an ordinary differential equation."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm


class CRNN(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(True), nn.MaxPool2d((2, 1), (2, 1)),
        )
        self.rnn = nn.LSTM(12, 8, bidirectional=True)
        self.fc = nn.Linear(16, classes)

    def forward(self, x):
        x = self.cnn(x)  # [batch, channels, height, width]
        b, c, h, w = x.shape
        x = x.permute(3, 0, 1, 2).reshape(w, b, c * h)
        x, _ = self.rnn(x)
        return F.log_softmax(self.fc(x), dim=2)


def crnn():
    model = CRNN(6)
    x, labels = torch.randn(3, 1, 8, 20), torch.randint(1, 6, (3, 4))
    label_lengths, lengths = torch.tensor([4, 2, 3]), torch.tensor([10, 10, 8])
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-6)

    def step(t):
        loss = criterion(model(x), labels, lengths, label_lengths)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        opt.step()
        return [loss]

    return model, dict(x=x, labels=labels, lengths=lengths, label_lengths=label_lengths), step


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


class Dynamics(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t, y):
        return self.net(y**3)


def odeint_rk4(func, y0, ts):
    ys = [y0]
    for t0, t1 in zip(ts[:-1], ts[1:]):
        dt, y = t1 - t0, ys[-1]
        k1 = func(t0, y)
        k2 = func(t0 + dt / 2, y + dt * k1 / 2)
        k3 = func(t0 + dt / 2, y + dt * k2 / 2)
        k4 = func(t1, y + dt * k3)
        ys.append(y + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6)
    return torch.stack(ys)


def neural_ode():
    """torchdiffeq's demonstration: a spiral."""
    model = Dynamics()
    ts = torch.linspace(0.0, 1.0, 6)
    y0 = torch.tensor([[2.0, 0.0], [1.5, -0.5], [0.3, 1.2]])
    a = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    with torch.no_grad():
        truth = odeint_rk4(lambda t, y: torch.mm(y**3, a), y0, ts)
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-2)

    def step(t):
        loss = torch.mean(torch.abs(odeint_rk4(model, y0, ts) - truth))
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(y0=y0, a=a, ts=ts), step


PORTS = [crnn, wavenet, neural_ode]
