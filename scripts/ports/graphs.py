"""Graph networks written by hand on edge lists, and what is learnt from two views of the same."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class GIN(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.edge = nn.Embedding(3, inputs)

    def forward(self, x, edge_index, kind):
        source, target = edge_index
        messages = F.relu(x[source] + self.edge(kind))
        summed = torch.zeros_like(x).index_add(0, target, messages)
        return self.mlp((1 + self.eps) * x + summed)


class GAT(nn.Module):
    def __init__(self, inputs, width, heads):
        super().__init__()
        self.heads, self.width = heads, width
        self.lin = nn.Linear(inputs, heads * width, bias=False)
        self.att_src, self.att_dst = nn.Parameter(torch.empty(1, heads, width)), nn.Parameter(torch.empty(1, heads, width))
        nn.init.xavier_uniform_(self.att_src)
        nn.init.xavier_uniform_(self.att_dst)

    def forward(self, x, edge_index):
        source, target = edge_index
        n = x.shape[0]
        h = self.lin(x).view(-1, self.heads, self.width)
        a, b = (h * self.att_src).sum(-1), (h * self.att_dst).sum(-1)
        e = F.leaky_relu(a[source] + b[target], 0.2)
        index = target[:, None].expand_as(e)
        top = torch.full((n, self.heads), float("-inf")).scatter_reduce(0, index, e, "amax", include_self=False)
        e = (e - top[target]).exp()
        weights = e / (torch.zeros(n, self.heads).scatter_add(0, index, e)[target] + 1e-16)
        y = torch.zeros(n, self.heads, self.width).index_add(0, target, weights[:, :, None] * h[source])
        return y.flatten(1)


class Molecules(nn.Module):
    def __init__(self):
        super().__init__()
        self.atoms = nn.Embedding(5, 6)
        self.conv1, self.conv2 = GIN(6, 8), GAT(8, 4, 2)
        self.head = nn.Linear(16, 2)

    def forward(self, atoms, edge_index, kind, batch, graphs):
        x = F.relu(self.conv1(self.atoms(atoms), edge_index, kind))
        x = F.elu(self.conv2(x, edge_index))
        count = torch.zeros(graphs).index_add(0, batch, torch.ones(len(batch)))
        mean = torch.zeros(graphs, x.shape[1]).index_add(0, batch, x) / count[:, None]
        top = torch.full((graphs, x.shape[1]), -1e9).scatter_reduce(0, batch[:, None].expand_as(x), x, "amax")
        return self.head(torch.cat([mean, top], dim=1))


def molecules():
    model = Molecules()
    atoms = torch.randint(5, (12,))
    batch = torch.tensor([0] * 5 + [1] * 4 + [2] * 3)
    ring = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (5, 6), (6, 7), (7, 8), (9, 10), (10, 11)]
    edges = torch.tensor(ring + [(b, a) for a, b in ring]).t().contiguous()
    kind = torch.randint(3, (10,)).repeat(2)
    y = torch.tensor([[1.0, 0.0], [0.0, float("nan")], [1.0, 1.0]])  # an assay that was not made
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)

    def step(t):
        logits = model(atoms, edges, kind, batch, 3)
        known = ~y.isnan()
        losses = F.binary_cross_entropy_with_logits(logits, torch.where(known, y, 0.0), reduction="none")
        loss = (losses * known).sum() / known.sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(atoms=atoms, edges=edges, kind=kind, batch=batch, y=y), step


class SimCLR(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
        self.projector = nn.Sequential(nn.Linear(12, 12, bias=False), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5, bias=False), nn.BatchNorm1d(5, affine=False))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return F.normalize(self.projector(self.backbone(x)), dim=-1)


def simclr():
    model = SimCLR()
    a, b = torch.randn(6, 6), torch.randn(6, 6)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def step(t):
        z = torch.cat([model(a), model(b)], dim=0)
        n = z.shape[0]
        logits = z @ z.T * model.logit_scale.exp()
        logits.fill_diagonal_(float("-inf"))
        labels = (torch.arange(n) + n // 2) % n
        loss = F.cross_entropy(logits, labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(a=a, b=b), step


PORTS = [molecules, simclr]
