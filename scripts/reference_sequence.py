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
    out[name] = (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()


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

path = Path(__file__).parent.parent / "tests/data/sequence.safetensors"
save_file(out, path, {"made by": f"scripts/reference_sequence.py, PyTorch {torch.__version__}"})
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
