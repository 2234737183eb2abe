#!/usr/bin/env python3
"""PyTorch on those cases of benches/peers.rs that the peers' own script does not have: attention, and a GPT in mixed precision.

`scripts/compare-peers` runs it beside that script. One JSON line a case, with the same data and weights.
"""
import argparse
import json
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--scale", choices=("small", "gpu"), default="small")
parser.add_argument("--device", default="cpu")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--only", default="", help="cases whose names contain one of these words")
ARGS = parser.parse_args()
GPU = ARGS.scale == "gpu"
REPEATS = 7


def hashes(n, seed):
    """A mixing of 32 bits (C. Wellons 2018, lowbias32) of 0 .. n."""
    with np.errstate(over="ignore"):
        h = np.arange(n, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
        return h ^ (h >> np.uint32(16))


def ten(shape, seed, scale):
    """Numbers in [-scale, scale)."""
    values = (hashes(int(np.prod(shape)), seed) >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return torch.from_numpy((values * np.float32(scale)).reshape(shape)).to(ARGS.device)


def ids(shape, seed, below):
    values = (hashes(int(np.prod(shape)), seed) % np.uint32(below)).astype(np.int64)
    return torch.from_numpy(values.reshape(shape)).to(ARGS.device)


def wait():
    if ARGS.device == "cuda":
        torch.cuda.synchronize()


def wanted(case):
    return not ARGS.only or any(word in case for word in ARGS.only.split(","))


def timed(run, inner):
    """Milliseconds of one run, of several repetitions."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(inner):
            result = run()
        wait()
        times.append((time.perf_counter() - start) * 1e3 / inner)
    return times, result


def tell(case, size, dtype, times, **more):
    row = dict(peer=f"torch-{torch.__version__}-{ARGS.device}", case=case, size=size, dtype=dtype)
    print(json.dumps(dict(row, median_ms=statistics.median(times), min_ms=min(times), **more)), flush=True)


def attention():
    shape = (4, 16, 2048, 64) if GPU else (2, 4, 256, 64)
    name, dtype = ("f16", torch.float16) if GPU else ("f32", torch.float32)
    length, size = shape[2], "x".join(map(str, shape))
    q, k, v, dy = (ten(shape, seed, 1.0).to(dtype).requires_grad_(seed < 4) for seed in (1, 2, 3, 4))
    mask = torch.full((length, length), -torch.inf, device=ARGS.device).triu(1).to(dtype)

    def forward():
        with torch.no_grad():
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def both():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.autograd.grad(y, (q, k, v), dy)
        return y

    def unfused():
        with torch.no_grad():
            return (q @ k.transpose(-2, -1) * shape[3] ** -0.5 + mask).softmax(-1) @ v

    for case, run in (("attention_fwd", forward), ("attention_fwd_bwd", both), ("attention_unfused", unfused)):
        if wanted(case):
            run(), run(), wait()
            times, y = timed(run, 16 if GPU else 4)
            tell(case, size, name, times, check=y.detach().double().abs().mean().item())


class Block(nn.Module):
    def __init__(self, width, heads, seed):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        sizes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
        self.qkv, self.proj, self.fc1, self.fc2 = (linear(*of, True, seed + i) for i, of in enumerate(sizes))

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.fc2(F.gelu(self.fc1(self.norms[1](x))))


def linear(inputs, outputs, bias, seed):
    made = nn.Linear(inputs, outputs, bias)
    with torch.no_grad():
        made.weight.copy_(ten((inputs, outputs), seed, np.float32(1) / np.sqrt(np.float32(inputs))).t())
        if bias:
            made.bias.zero_()
    return made


class Gpt(nn.Module):
    def __init__(self, layers, width, heads, length, vocabulary):
        super().__init__()
        self.tok = nn.Parameter(ten((vocabulary, width), 51, 0.035))
        self.pos = nn.Parameter(ten((length, width), 52, 0.035))
        self.blocks = nn.Sequential(*(Block(width, heads, 100 + 10 * i) for i in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), linear(width, vocabulary, False, 53)

    def forward(self, x):
        return self.head(self.norm(self.blocks(F.embedding(x, self.tok) + self.pos)))


def gpt():
    layers, width, heads, length, vocabulary, batch = (12, 768, 12, 512, 50304, 8) if GPU else (2, 128, 4, 64, 256, 8)
    model = Gpt(layers, width, heads, length, vocabulary).to(ARGS.device)
    x, y = ids((batch, length), 61, vocabulary), ids((batch * length,), 62, vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, eps=1e-8, weight_decay=0.01, fused=True)
    scaler = torch.amp.GradScaler(ARGS.device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(ARGS.device, dtype=torch.float16):
            loss = F.cross_entropy(model(x).view(-1, vocabulary), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    inner = 5 if GPU else 2
    first = step().item()
    for _ in range(4 + inner):
        step()
    wait()
    times, last = timed(step, inner)
    size = f"L{layers}_d{width}_h{heads}_t{length}_v{vocabulary}_b{batch}_adamw"
    losses = dict(loss_first=first, loss_last=last.item(), steps=5 + inner * (REPEATS + 1))
    tell("train_gpt", size, "f16", times, **losses, tokens_per_s=batch * length * 1e3 / statistics.median(times))


torch.set_num_threads(ARGS.threads)
torch.backends.cuda.matmul.allow_tf32 = False
attention()
if wanted("train_gpt"):
    gpt()
