#!/usr/bin/env python3
"""Writes tests/data/sequence.safetensors: what PyTorch computes in float64 for recurrent, attention and graph
layers, as float32. tests/recurrent.rs, tests/transformer.rs and tests/graph_layers.rs hold Kiln against it.

    pip install torch safetensors && python3 scripts/reference_sequence.py
"""
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.manual_seed(4)
torch.set_default_dtype(torch.float64)
out = {}


def exact(*shape, scale=1.0):
    """Normal numbers that float32 holds exactly."""
    return (scale * torch.randn(*shape)).float().double()


def put(name, tensor):
    tensor = tensor.detach()
    kind = torch.float32 if tensor.is_floating_point() else torch.bool if tensor.dtype == torch.bool else torch.int32
    out[name] = tensor.to(kind).contiguous().clone()


def leaf(name, tensor):
    """An input that takes a gradient."""
    put(name, tensor)
    return tensor.clone().requires_grad_()


def start(name, module, scale=0.3):
    """Moves parameters away from their defaults and writes them."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_((p + scale * torch.randn_like(p)).float())
    for key, value in module.state_dict().items():
        put(f"{name}.before.{key}", value)


def finish(name, module, inputs, outputs):
    """Upstream gradients for the outputs, then everything's gradients."""
    loss = 0
    for key, y in outputs.items():
        put(f"{name}.{key}", y)
        up = exact(*y.shape)
        put(f"{name}.up.{key}", up)
        loss = loss + (torch.where(torch.isnan(y), torch.zeros_like(y), y) * up).sum()
    loss.backward()
    for key, x in inputs.items():
        put(f"{name}.d.{key}", x.grad)
    for key, p in module.named_parameters():
        put(f"{name}.d.{key}", p.grad)


def recurrent(name, module, time, batch, width, lengths=None, states=True):
    """A recurrent layer; with lengths, through a packed sequence."""
    name = f"recurrent.{name}"
    start(name, module)
    first = module.batch_first
    shape = (time, width) if batch is None else (batch, time, width) if first else (time, batch, width)
    inputs = {"x": leaf(f"{name}.x", exact(*shape))}
    rows = module.num_layers * (2 if module.bidirectional else 1)
    lstm = isinstance(module, nn.LSTM)
    if states:
        middle = () if batch is None else (batch,)
        inputs["h0"] = leaf(f"{name}.h0", exact(rows, *middle, module.proj_size or module.hidden_size))
        if lstm:
            inputs["c0"] = leaf(f"{name}.c0", exact(rows, *middle, module.hidden_size))
    state = None if not states else (inputs["h0"], inputs["c0"]) if lstm else inputs["h0"]
    x = inputs["x"]
    if lengths is not None:
        lengths = torch.tensor(lengths)
        put(f"{name}.lengths", lengths)
        x = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    y, end = module(x, state)
    if lengths is not None:
        y, _ = pad_packed_sequence(y, batch_first=first, total_length=time)
    outputs = {"y": y, "h": end[0] if lstm else end} | ({"c": end[1]} if lstm else {})
    finish(name, module, inputs, outputs)


recurrent("rnn", nn.RNN(3, 5), 6, 2, 3)
recurrent("rnn_relu", nn.RNN(3, 5, nonlinearity="relu", bidirectional=True, bias=False), 5, 2, 3)
recurrent("rnn_single", nn.RNN(2, 3, num_layers=2), 4, None, 2)
recurrent("lstm", nn.LSTM(3, 5), 7, 2, 3, states=False)
recurrent("lstm_one", nn.LSTM(3, 4), 1, 3, 3)
recurrent("lstm_single", nn.LSTM(3, 4, batch_first=True, bidirectional=True), 3, None, 3)
recurrent("lstm_proj", nn.LSTM(4, 7, proj_size=3, num_layers=2, bidirectional=True), 5, 2, 4)
recurrent("lstm_lengths", nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), 7, 4, 3, [3, 7, 1, 5])
recurrent("lstm_proj_lengths", nn.LSTM(3, 5, proj_size=2, bias=False), 5, 3, 3, [5, 2, 4])
recurrent("gru", nn.GRU(3, 5), 6, 2, 3)
recurrent("gru_first", nn.GRU(2, 3, num_layers=3, batch_first=True, bias=False), 5, 3, 2, states=False)
recurrent("gru_lengths", nn.GRU(3, 4, num_layers=2, bidirectional=True), 6, 3, 3, [2, 6, 4])
recurrent("rnn_lengths", nn.RNN(3, 4, bidirectional=True), 5, 3, 3, [1, 4, 4])


def cell(name, module, shape, hidden, states=1):
    name = f"cell.{name}"
    start(name, module)
    inputs = {"x": leaf(f"{name}.x", exact(*shape))}
    for key in ["h0", "c0"][:states]:
        inputs[key] = leaf(f"{name}.{key}", exact(*shape[:-1], hidden))
    state = None if states == 0 else inputs["h0"] if states == 1 else (inputs["h0"], inputs["c0"])
    y = module(inputs["x"], state)
    finish(name, module, inputs, {"h": y[0], "c": y[1]} if isinstance(y, tuple) else {"h": y})


cell("rnn", nn.RNNCell(3, 4), (2, 3), 4)
cell("rnn_relu", nn.RNNCell(3, 4, nonlinearity="relu", bias=False), (3,), 4)
cell("lstm", nn.LSTMCell(3, 4), (2, 3), 4, 2)
cell("lstm_fresh", nn.LSTMCell(3, 4, bias=False), (2, 3), 4, 0)
cell("gru", nn.GRUCell(3, 4), (2, 3), 4)
cell("gru_fresh", nn.GRUCell(3, 4, bias=False), (3,), 4, 0)

def attention(name, module, queries, keys, batch, dims=None, **args):
    """A multi-head attention; dims are the extents of query, key and value."""
    name = f"attention.{name}"
    start(name, module)
    dims = dims or [module.embed_dim] * 3
    inputs = {}
    for key, length, width in zip("qkv", [queries, keys, keys], dims):
        shape = (length, width) if batch is None else (batch, length, width) if module.batch_first else (length, batch, width)
        inputs[key] = leaf(f"{name}.{key}", exact(*shape))
    for key in ["attn_mask", "key_padding_mask"]:
        if args.get(key) is not None:
            put(f"{name}.{key}", args[key])
            args[key] = args[key] if args[key].dtype == torch.bool else args[key].double()
    y, weights = module(*inputs.values(), **args)
    outputs = {"y": y} | ({"w": weights} if weights is not None else {})
    finish(name, module, inputs, outputs)


def causal(n, m=None):
    return torch.ones(n, m or n, dtype=torch.bool).triu(1)


attention("plain", nn.MultiheadAttention(6, 2), 5, 5, 3)
attention("cross", nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True), 3, 7, 2, [6, 4, 5])
attention("single", nn.MultiheadAttention(4, 1, bias=False), 3, 5, None, average_attn_weights=False)
attention("extra", nn.MultiheadAttention(6, 2, add_bias_kv=True, add_zero_attn=True), 4, 5, 2,
          attn_mask=causal(4, 5), key_padding_mask=torch.tensor([[False] * 5, [True, False, False, True, True]]))
attention("heads", nn.MultiheadAttention(6, 3, batch_first=True), 4, 5, 2, average_attn_weights=False,
          attn_mask=exact(6, 4, 5), key_padding_mask=exact(2, 5))
attention("causal", nn.MultiheadAttention(6, 2), 5, 5, 2, attn_mask=causal(5), is_causal=True, need_weights=False)
hidden = torch.tensor([[False, False, True, True], [True, True, True, True]])
attention("blind", nn.MultiheadAttention(4, 2, batch_first=True), 3, 4, 2, key_padding_mask=hidden, need_weights=False)
seen = torch.tensor([[False, False, True, True], [True, False, True, True]])
attention("padded", nn.MultiheadAttention(4, 2, batch_first=True), 3, 4, 2, key_padding_mask=seen)

# With weights a row that sees nothing is NaN; the outputs alone, since every gradient is NaN too.
blind = nn.MultiheadAttention(4, 2, batch_first=True)
start("attention.nan", blind)
x = exact(2, 4, 4)
y, w = blind(x, x, x, key_padding_mask=hidden)
put("attention.nan.x", x), put("attention.nan.key_padding_mask", hidden)
put("attention.nan.y", y), put("attention.nan.w", w)


def stack(name, module, inputs, **args):
    """An encoder or decoder, layer or stack; the first inputs are tensors, the rest masks."""
    name = f"transformer.{name}"
    module.train()
    start(name, module)
    inputs = {key: leaf(f"{name}.{key}", x) for key, x in inputs.items()}
    for key, mask in args.items():
        if isinstance(mask, torch.Tensor):
            put(f"{name}.{key}", mask)
            args[key] = mask if mask.dtype == torch.bool else mask.double()
    finish(name, module, inputs, {"y": module(*inputs.values(), **args)})


small = dict(dim_feedforward=7, dropout=0.0)
pads = torch.tensor([[False, False, False, False, True], [False, True, False, False, False]])
stack("encoder_layer", nn.TransformerEncoderLayer(6, 2, **small), {"x": exact(5, 2, 6)}, src_key_padding_mask=pads)
stack("encoder_first", nn.TransformerEncoderLayer(6, 3, norm_first=True, activation="gelu", batch_first=True,
                                                  layer_norm_eps=1e-3, bias=False, **small), {"x": exact(2, 5, 6)},
      src_mask=causal(5))
layer = nn.TransformerEncoderLayer(6, 2, batch_first=True, **small)
stack("encoder", nn.TransformerEncoder(layer, 2, nn.LayerNorm(6)), {"x": exact(2, 4, 6)},
      mask=nn.Transformer.generate_square_subsequent_mask(4), is_causal=True)
stack("decoder_layer", nn.TransformerDecoderLayer(6, 2, **small), {"x": exact(3, 2, 6), "memory": exact(5, 2, 6)},
      tgt_mask=causal(3), memory_key_padding_mask=pads)
layer = nn.TransformerDecoderLayer(6, 3, norm_first=True, batch_first=True, activation="gelu", **small)
stack("decoder", nn.TransformerDecoder(layer, 2), {"x": exact(2, 3, 6), "memory": exact(2, 4, 6)},
      memory_mask=exact(3, 4))
stack("whole", nn.Transformer(4, 2, 1, 2, 5, 0.0, batch_first=True), {"src": exact(2, 4, 4), "tgt": exact(2, 3, 4)},
      tgt_mask=causal(3))


def rotary(x, base, interleaved):
    """Su et al. 2021, eq. 34, with pairs (2i, 2i + 1) or (i, i + width/2)."""
    time, width = x.shape[-2:]
    angle = torch.arange(time)[:, None] / base ** (torch.arange(0, width, 2) / width)
    turn = torch.polar(torch.ones_like(angle), angle)
    if interleaved:
        return torch.view_as_real(torch.complex(x[..., 0::2], x[..., 1::2]) * turn).flatten(-2)
    z = torch.complex(x[..., : width // 2], x[..., width // 2 :]) * turn
    return torch.cat([z.real, z.imag], -1)


x = exact(2, 9, 6)
put("positions.x", x)
put("positions.half", rotary(x, 10000, False)), put("positions.interleaved", rotary(x, 500, True))
# Vaswani et al. 2017, section 3.5
angle = torch.arange(9)[:, None] / 10000 ** (torch.arange(0, 6, 2) / 6)
put("positions.sinusoidal", torch.stack([angle.sin(), angle.cos()], -1).flatten(-2))
# Press et al. 2022: the slopes of their get_slopes
for heads in [4, 6]:
    power = 4
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)] + [2 ** (-8 * (2 * i + 1) / 8) for i in range(heads - power)]
    distance = (torch.arange(7)[None] - torch.arange(2, 5)[:, None]).abs()
    put(f"positions.alibi{heads}", -torch.tensor(slopes)[:, None, None] * distance)


class Grouped(nn.Module):
    """Ainslie et al. 2023, with Llama's names: keys and values are repeated for each head of their group."""

    def __init__(self, embed, heads, kv_heads, rope):
        super().__init__()
        self.heads, self.kv_heads, self.rope, width = heads, kv_heads, rope, embed // heads
        self.q_proj = nn.Linear(embed, embed, bias=False)
        self.k_proj = nn.Linear(embed, kv_heads * width, bias=False)
        self.v_proj = nn.Linear(embed, kv_heads * width, bias=False)
        self.o_proj = nn.Linear(embed, embed, bias=False)

    def forward(self, x, mask):
        batch, time, embed = x.shape
        split = lambda y: y.view(batch, time, -1, embed // self.heads).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        if self.rope:
            q, k = rotary(q, 10000, False), rotary(k, 10000, False)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, mask)
        return self.o_proj(y.transpose(1, 2).reshape(batch, time, embed))


for name, embed, heads, kv_heads, rope in [("grouped", 16, 4, 2, True), ("multi_query", 12, 3, 1, False)]:
    module = Grouped(embed, heads, kv_heads, rope)
    start(f"transformer.{name}", module)
    x = leaf(f"transformer.{name}.x", exact(2, 5, embed))
    finish(f"transformer.{name}", module, {"x": x}, {"y": module(x, ~causal(5))})


class Conv1D(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.2 * torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.c_attn, self.c_proj = heads, Conv1D(width, 3 * width), Conv1D(width, width)

    def forward(self, x):
        batch, time, width = x.shape
        q, k, v = (t.view(batch, time, self.heads, -1).transpose(1, 2) for t in self.c_attn(x).split(width, 2))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(width), Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)})

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        inner = nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](inner)


class Gpt2(nn.Module):
    """Radford et al. 2019 with the names of Hugging Face's GPT2Model and the head tied to the table of tokens."""

    def __init__(self, vocabulary, context, width, layers, heads):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


gpt = Gpt2(13, 16, 8, 2, 2)
start("gpt2", gpt)
tokens = torch.randint(0, 13, (2, 9))
put("gpt2.tokens", tokens)
finish("gpt2", gpt, {}, {"y": gpt(tokens)})

# Graph layers as their papers have them, with dense matrices. Node 4 has no edge, node 0 a loop, 1 → 2 is there twice.
edges = torch.tensor([[0, 1, 1, 2, 3, 0, 5, 1, 0], [1, 2, 0, 1, 2, 3, 3, 2, 0]])
nodes = 6
put("graph.edges", edges)
spread = torch.zeros(nodes, edges.shape[1]).index_put((edges[1], torch.arange(edges.shape[1])), torch.tensor(1.0))
take = torch.zeros(edges.shape[1], nodes).index_put((torch.arange(edges.shape[1]), edges[0]), torch.tensor(1.0))
loops = edges[0] == edges[1]


def gcn(x, w, lin, bias, fill=1.0, add=True, norm=True):
    """Kipf & Welling 2017, eq. 2; a loop that is given replaces the one that would be added."""
    a = spread @ torch.diag(w) @ take
    if add:
        given = torch.diagonal(a) * (torch.bincount(edges[0][loops], minlength=nodes) > 0)
        has = torch.bincount(edges[0][loops], minlength=nodes) > 0
        a = a - torch.diag(torch.diagonal(a)) + torch.diag(torch.where(has, given, torch.tensor(fill)))
    if norm:
        d = a.sum(1)
        d = torch.where(d > 0, d.clamp(min=1e-30) ** -0.5, torch.zeros_like(d))
        a = d[:, None] * a * d[None]
    y = a @ x @ lin.T
    return y if bias is None else y + bias


def graph(name, inputs, params, f):
    name = f"graph.{name}"
    inputs = {key: leaf(f"{name}.{key}", value) for key, value in inputs.items()}
    params = {key: leaf(f"{name}.before.{key}", value) for key, value in params.items()}
    y = f(*inputs.values(), *params.values())
    put(f"{name}.y", y)
    up = exact(*y.shape)
    put(f"{name}.up.y", up)
    (y * up).sum().backward()
    for key, value in (inputs | params).items():
        put(f"{name}.d.{key}", value.grad)


x = lambda: exact(nodes, 3)
w = lambda: (torch.rand(edges.shape[1]) + 0.5).float().double()
one = torch.ones(edges.shape[1])
graph("gcn", {"x": x()}, {"lin.weight": exact(4, 3), "bias": exact(4)}, lambda x, lin, b: gcn(x, one, lin, b))
graph("gcn_weights", {"x": x(), "w": w()}, {"lin.weight": exact(4, 3), "bias": exact(4)}, gcn)
graph("gcn_improved", {"x": x()}, {"lin.weight": exact(4, 3)}, lambda x, lin: gcn(x, one, lin, None, 2.0))
graph("gcn_bare", {"x": x(), "w": w()}, {"lin.weight": exact(4, 3)}, lambda x, w, lin: gcn(x, w, lin, None, add=False))
graph("gcn_sum", {"x": x(), "w": w()}, {"lin.weight": exact(4, 3)}, lambda x, w, lin: gcn(x, w, lin, None, norm=False))


def neighbours(x, how):
    """Sum, mean or maximum over the edges that reach each node; zero where there is none."""
    rows = []
    for node in range(nodes):
        sent = x[edges[0][edges[1] == node]]
        if len(sent) == 0:
            rows.append(torch.zeros_like(x[0]))
        else:
            rows.append({"sum": sent.sum, "mean": sent.mean, "max": sent.amax}[how](0))
    return torch.stack(rows)


def sage(how, normalize=False):
    """Hamilton et al. 2017, alg. 1."""
    def f(x, l, b, r=None):
        y = neighbours(x, how) @ l.T + b + (0 if r is None else x @ r.T)
        return nn.functional.normalize(y, dim=-1) if normalize else y
    return f


maps = lambda: {"lin_l.weight": exact(4, 3), "lin_l.bias": exact(4), "lin_r.weight": exact(4, 3)}
graph("sage", {"x": x()}, maps(), sage("mean"))
graph("sage_max", {"x": x()}, maps(), sage("max", True))
graph("sage_rootless", {"x": x()}, {k: v for k, v in maps().items() if "_l" in k}, sage("sum"))
graph("plain", {"x": x(), "w": w()},
      {"lin_rel.weight": exact(4, 3), "lin_rel.bias": exact(4), "lin_root.weight": exact(4, 3)},
      lambda x, w, rel, b, root: spread @ (w[:, None] * (take @ x)) @ rel.T + b + x @ root.T)  # Morris et al. 2019
graph("plain_max", {"x": x()},
      {"lin_rel.weight": exact(4, 3), "lin_rel.bias": exact(4), "lin_root.weight": exact(4, 3)},
      lambda x, rel, b, root: neighbours(x, "max") @ rel.T + b + x @ root.T)


def gin(x, w1, b1, w2, b2, eps):
    """Xu et al. 2019, eq. 4.1."""
    return torch.relu(((1 + eps) * x + neighbours(x, "sum")) @ w1.T + b1) @ w2.T + b2


mlp = lambda: {"nn.0.weight": exact(5, 3), "nn.0.bias": exact(5), "nn.2.weight": exact(2, 5), "nn.2.bias": exact(2)}
graph("gin", {"x": x()}, mlp() | {"eps": exact(1)}, gin)


def attend(score, left, heads, add, concat, bias):
    """Weights of the edges of each node by softmax, and what they weigh; left [nodes, heads, outputs]."""
    pairs = [(s, t) for s, t in edges.T.tolist() if not (add and s == t)] + [(n, n) for n in range(nodes) if add]
    rows = []
    for node in range(nodes):
        own = [s for s, t in pairs if t == node]
        if not own:
            rows.append(torch.zeros_like(left[0]))
            continue
        alpha = torch.softmax(torch.stack([score(s, node) for s in own]), 0)
        rows.append((alpha[..., None] * left[own]).sum(0))
    y = torch.stack(rows)
    y = y.flatten(1) if concat else y.mean(1)
    return y if bias is None else y + bias


def gat(heads, concat=True, slope=0.2, add=True):
    """Veličković et al. 2018, eq. 3-6."""
    def f(x, lin, src, dst, bias=None):
        left = (x @ lin.T).view(nodes, heads, -1)
        score = lambda s, t: nn.functional.leaky_relu((left[s] * src[0]).sum(-1) + (left[t] * dst[0]).sum(-1), slope)
        return attend(score, left, heads, add, concat, bias)
    return f


def gat2(heads, concat=True, slope=0.2, add=True):
    """Brody et al. 2022, eq. 7."""
    def f(x, l, bl, att, bias, r=None, br=None):
        left = (x @ l.T + bl).view(nodes, heads, -1)
        right = left if r is None else (x @ r.T + br).view(nodes, heads, -1)
        score = lambda s, t: (nn.functional.leaky_relu(left[s] + right[t], slope) * att[0]).sum(-1)
        return attend(score, left, heads, add, concat, bias)
    return f


graph("gat", {"x": x()}, {"lin.weight": exact(8, 3), "att_src": exact(1, 2, 4), "att_dst": exact(1, 2, 4), "bias": exact(8)}, gat(2))
graph("gat_mean", {"x": x()}, {"lin.weight": exact(6, 3), "att_src": exact(1, 3, 2), "att_dst": exact(1, 3, 2)},
      gat(3, False, 0.5, False))
graph("gatv2", {"x": x()}, {"lin_l.weight": exact(8, 3), "lin_l.bias": exact(8), "att": exact(1, 2, 4), "bias": exact(8),
                            "lin_r.weight": exact(8, 3), "lin_r.bias": exact(8)}, gat2(2))
graph("gatv2_shared", {"x": x()}, {"lin_l.weight": exact(4, 3), "lin_l.bias": exact(4), "att": exact(1, 2, 2), "bias": exact(2)},
      gat2(2, False, 0.1, False))

batch = torch.tensor([0, 0, 2, 2, 2, 3])
put("graph.batch", batch)
for how in ["sum", "mean", "max"]:
    def pool(x):
        part = lambda g: x[batch == g]
        return torch.stack([torch.zeros(3) if g == 1 else {"sum": part(g).sum, "mean": part(g).mean, "max": part(g).amax}[how](0)
                            for g in range(4)])
    graph(f"pool_{how}", {"x": x()}, {}, pool)


def scatter(name, own, index, source, dim, reduce, include_self):
    name = f"scatter.{name}"
    put(f"{name}.index", index)
    inputs = {"own": leaf(f"{name}.own", own), "source": leaf(f"{name}.source", source)}
    y = inputs["own"].scatter_reduce(dim, index, inputs["source"], reduce, include_self=include_self)
    finish(name, nn.Module(), inputs, {"y": y})


for reduce in ["sum", "prod", "mean", "amax", "amin"]:
    for include_self in [True, False]:
        whole = lambda *shape: torch.randint(-2, 3, shape).double()  # ties and zeros
        # PyTorch counts what stands there among the equals even where it does not take part: no such ties here
        held = whole if include_self else exact
        index = torch.randint(0, 4, (3, 5))
        scatter(f"{reduce}.{include_self}.0", held(4, 6), index, whole(3, 5), 0, reduce, include_self)
        scatter(f"{reduce}.{include_self}.1", held(3, 9), index, whole(3, 5), 1, reduce, include_self)
a = exact(5)
a[1] = torch.nan
scatter("nan", exact(3), torch.tensor([0, 0, 1, 1, 1]), a, 0, "amax", True)

path = Path(__file__).parent.parent / "tests/data/sequence.safetensors"
save_file(out, path, {"made by": f"scripts/reference_sequence.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
