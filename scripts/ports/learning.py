"""A policy by PPO, learning to learn, splines by L-BFGS."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical, Normal
from torch.func import functional_call


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(4, 12), nn.Tanh())
        self.actor, self.critic = nn.Linear(12, 3), nn.Linear(12, 1)
        self.log_std = nn.Parameter(torch.zeros(2))
        self.mean = nn.Linear(12, 2)

    def forward(self, x):
        h = self.shared(x)
        return Categorical(logits=self.actor(h)), Normal(self.mean(h), self.log_std.exp()), self.critic(h).squeeze(-1)


def ppo():
    """A policy of a choice and two continuous moves."""
    model = ActorCritic()
    n = 8
    x, action, move = torch.randn(n, 4), torch.randint(3, (n,)), torch.randn(n, 2)
    old_logp, rewards, values = -torch.rand(n) * 2 - 3, torch.randn(n), torch.randn(n + 1)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-5)

    # generalised advantages, on the host
    advantages, last = torch.zeros(n), 0.0
    for t in reversed(range(n)):
        delta = rewards[t] + 0.99 * values[t + 1] - values[t]
        last = delta + 0.99 * 0.95 * last
        advantages[t] = last
    returns = advantages + values[:-1]

    def step(t):
        choice, moves, value = model(x)
        logp = choice.log_prob(action) + moves.log_prob(move).sum(-1)
        ratio = (logp - old_logp).exp()
        adv = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        surrogate = torch.min(ratio * adv, ratio.clamp(0.8, 1.2) * adv).mean()
        clipped = values[:-1] + (value - values[:-1]).clamp(-0.2, 0.2)
        value_loss = 0.5 * torch.max((value - returns) ** 2, (clipped - returns) ** 2).mean()
        entropy = choice.entropy().mean() + moves.entropy().sum(-1).mean()
        loss = -surrogate + 0.5 * value_loss - 0.01 * entropy
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()
        return [surrogate, value_loss, entropy]

    given = dict(x=x, action=action, move=move, old_logp=old_logp, rewards=rewards, values=values, advantages=advantages, returns=returns)
    return model, given, step


def maml():
    """Two inner steps, differentiated through (Finn et al. 2017)."""
    model = nn.Sequential(nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1))
    tasks, shots = 2, 5
    amplitude, phase = torch.rand(tasks, 1, 1) * 2 + 0.5, torch.rand(tasks, 1, 1) * 3
    xs, xq = torch.rand(tasks, shots, 1) * 4 - 2, torch.rand(tasks, shots, 1) * 4 - 2
    ys, yq = amplitude * torch.sin(xs + phase), amplitude * torch.sin(xq + phase)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)

    def step(t):
        outer = 0.0
        for k in range(tasks):
            fast = dict(model.named_parameters())
            for _ in range(2):
                inner = F.mse_loss(functional_call(model, fast, xs[k]), ys[k])
                grads = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
                fast = {name: w - 0.1 * g for (name, w), g in zip(fast.items(), grads)}
            outer = outer + F.mse_loss(functional_call(model, fast, xq[k]), yq[k])
        outer = outer / tasks
        opt.zero_grad()
        outer.backward()
        opt.step()
        return [outer]

    return model, dict(xs=xs, ys=ys, xq=xq, yq=yq), step


class KANLinear(nn.Module):
    """Blealtan/efficient-kan, with names."""

    def __init__(self, inputs, outputs, grid_size=4, order=3):
        super().__init__()
        self.inputs, self.outputs, self.order = inputs, outputs, order
        h = 2 / grid_size
        grid = (torch.arange(-order, grid_size + order + 1) * h - 1).expand(inputs, -1).contiguous()
        self.register_buffer("grid", grid)
        self.base_weight = nn.Parameter(torch.empty(outputs, inputs))
        self.spline_weight = nn.Parameter(torch.randn(outputs, inputs, grid_size + order) * 0.1)
        self.spline_scaler = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.base_weight, a=5**0.5)
        nn.init.kaiming_uniform_(self.spline_scaler, a=5**0.5)

    def b_splines(self, x):
        grid, x = self.grid, x.unsqueeze(-1)
        bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            bases = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * bases[:, :, :-1] + (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:-k]) * bases[:, :, 1:]
        return bases

    def forward(self, x):
        base = F.linear(F.silu(x), self.base_weight)
        weight = self.spline_weight * self.spline_scaler.unsqueeze(-1)
        return base + F.linear(self.b_splines(x).view(x.size(0), -1), weight.view(self.outputs, -1))


def kan():
    model = nn.Sequential(KANLinear(2, 5), KANLinear(5, 1))
    x = torch.rand(16, 2) * 1.8 - 0.9
    y = torch.exp(torch.sin(3 * x[:, :1]) + x[:, 1:] ** 2)
    opt = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=3, history_size=4)

    def step(t):
        def closure():
            opt.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss

        return [opt.step(closure)]

    return model, dict(x=x, y=y), step


PORTS = [ppo, maml, kan]
