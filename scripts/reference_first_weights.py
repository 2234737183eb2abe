#!/usr/bin/env python3
"""Makes PyTorch's layers many times over and writes how their first weights are spread: tests/data/first_weights.txt, which
tests/init.rs holds Kiln's against.

    pip install torch
    python3 scripts/reference_first_weights.py

A line is `layer path deviation kurtosis largest`; of a parameter that is not random, `layer path value`.
"""
from pathlib import Path

import torch
from torch import nn

LAYERS = {
    "linear": lambda: nn.Linear(30, 50),
    "bilinear": lambda: nn.Bilinear(7, 9, 50),
    "conv1": lambda: nn.Conv1d(6, 40, 3, groups=2),
    "conv2": lambda: nn.Conv2d(6, 40, (2, 3)),
    "conv3": lambda: nn.Conv3d(2, 40, 2),
    "transposed1": lambda: nn.ConvTranspose1d(12, 40, 3, groups=2),
    "transposed2": lambda: nn.ConvTranspose2d(6, 40, (2, 3)),
    "transposed3": lambda: nn.ConvTranspose3d(2, 40, 2),
    "embedding": lambda: nn.Embedding(50, 20),
    "bag": lambda: nn.EmbeddingBag(50, 20),
    "rnn": lambda: nn.RNN(6, 20, num_layers=2, bidirectional=True),
    "lstm": lambda: nn.LSTM(6, 20),
    "lstm_proj": lambda: nn.LSTM(6, 20, proj_size=5),
    "gru": lambda: nn.GRU(6, 20),
    "rnn_cell": lambda: nn.RNNCell(6, 20),
    "lstm_cell": lambda: nn.LSTMCell(6, 20),
    "gru_cell": lambda: nn.GRUCell(6, 20),
    "attention": lambda: nn.MultiheadAttention(40, 4),
    "attention_own": lambda: nn.MultiheadAttention(40, 4, kdim=7, vdim=9, add_bias_kv=True),
    "encoder_layer": lambda: nn.TransformerEncoderLayer(32, 4, 64),
    "decoder_layer": lambda: nn.TransformerDecoderLayer(32, 4, 64),
    "transformer": lambda: nn.Transformer(32, 4, 1, 1, 64),
    "adaptive": lambda: nn.AdaptiveLogSoftmaxWithLoss(32, 100, [20, 50], head_bias=True),
    "linear_cross_entropy": lambda: nn.LinearCrossEntropyLoss(30, 50, bias=True),
    "prelu": lambda: nn.PReLU(3),
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "instance_norm": lambda: nn.InstanceNorm1d(4, affine=True),
    "layer_norm": lambda: nn.LayerNorm(4),
    "rms_norm": lambda: nn.RMSNorm(4),
    "group_norm": lambda: nn.GroupNorm(2, 4),
}

lines = []
torch.manual_seed(1)
for name, make in LAYERS.items():
    drawn = {}
    for _ in range(400):
        for path, value in make().named_parameters():
            drawn.setdefault(path, []).append(value.detach().double().flatten())
    for path, values in drawn.items():
        x = torch.cat(values)
        if (x == x[0]).all():
            lines.append(f"{name} {path} {x[0]:.7g}")
            continue
        std = x.square().mean().sqrt()
        lines.append(f"{name} {path} {std:.6g} {(x**4).mean() / std**4:.4g} {x.abs().max():.6g}")
out = Path(__file__).parent.parent / "tests/data/first_weights.txt"
out.write_text("\n".join(lines) + "\n")
print(f"{len(lines)} parameters of {len(LAYERS)} layers")
