#!/usr/bin/env python3
"""Writes tests/data/attention.safetensors: what PyTorch's scaled_dot_product_attention and its gradients are in
float64, as float32. Operands are hashes of their index, which tests/attention.rs makes again.

    pip install torch safetensors && python3 scripts/reference_attention.py
"""
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

out = {}


def hashed(n, seed):
    h = torch.arange(n, dtype=torch.int64) + seed * 0x9E3779B9 & 0xFFFFFFFF
    h = (h ^ h >> 16) * 0x7FEB352D & 0xFFFFFFFF
    h = (h ^ h >> 15) * 0x846CA68B & 0xFFFFFFFF
    return h ^ h >> 16


def ten(shape, seed, scale=1.0):
    n = torch.Size(shape).numel()
    return (((hashed(n, seed) >> 8).double() / 8388608 - 1) * scale).reshape(shape)


# Masks by number: none, bools [l, s], floats [l, s], bools of padding [b, 1, 1, s], floats [h, l, s], bools whose first
# row sees nothing, floats likewise, floats [l, s] that are learned.
NONE, BOOLS, FLOATS, PADDING, HEADS, BLIND, BLIND_FLOATS, LEARNED = range(8)


def mask_of(kind, b, h, l, s):
    if kind == NONE:
        return None
    if kind == PADDING:
        lengths = 1 + hashed(b, 9) % s
        return (torch.arange(s) < lengths[:, None])[:, None, None, :]
    if kind in (FLOATS, LEARNED):
        return ten((l, s), 8, 2.0)
    if kind == HEADS:
        return ten((h, l, s), 8, 2.0)
    seen = (hashed(l * s, 8) % 3 != 0).reshape(l, s)
    seen[:, 0] = True
    if kind in (BLIND, BLIND_FLOATS):
        seen[0] = False
    return torch.zeros(l, s, dtype=torch.double).masked_fill(~seen, -torch.inf) if kind == BLIND_FLOATS else seen


def case(b, h, g, l, s, e, ev, causal=0, mask=NONE, scale=0, wide=1):
    """b or h of 0: no such axis; scale in thousandths, 0 for the default; wide: what q is multiplied by."""
    lead = [n for n in (b,) if n], [n for n in (h,) if n], [n for n in (g,) if n]
    q = ten(lead[0] + lead[1] + [l, e], 1, wide).requires_grad_()
    k = ten(lead[0] + lead[2] + [s, e], 2).requires_grad_()
    v = ten(lead[0] + lead[2] + [s, ev], 3).requires_grad_()
    m = mask_of(mask, b, h, l, s)
    wanted = [q, k, v]
    if mask == LEARNED:
        wanted.append(m.requires_grad_())
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=m, is_causal=bool(causal), scale=scale / 1000 if scale else None,
        enable_gqa=h != g)
    dy = ten(y.shape, 4)
    grads = torch.autograd.grad((y * dy).sum(), wanted)
    n = f"{len([x for x in out if x.endswith('config')]):02d}"
    out[f"{n}.config"] = torch.tensor([b, h, g, l, s, e, ev, causal, mask, scale, wide], dtype=torch.int32)
    for name, t in zip(["y", "dq", "dk", "dv", "dmask"], [y, *grads]):
        out[f"{n}.{name}"] = t.detach().float().contiguous()


for l, s in [(1, 1), (1, 17), (3, 3), (17, 3), (17, 65), (65, 17), (65, 65), (129, 3), (3, 129)]:
    case(1, 2, 2, l, s, 8, 8)
    case(2, 1, 1, l, s, 8, 8, causal=1)
for e, ev in [(1, 1), (32, 32), (64, 64), (80, 80), (128, 128), (256, 256), (300, 8), (7, 5)]:
    case(1, 2, 2, 5, 9, e, ev)
case(1, 1, 1, 9, 9, 64, 64, causal=1)
case(2, 4, 2, 7, 11, 8, 8)
case(2, 6, 1, 17, 17, 8, 8, causal=1)
case(1, 4, 1, 33, 20, 7, 5)
case(0, 3, 3, 6, 10, 8, 8)
case(0, 0, 0, 6, 10, 8, 8)
case(0, 4, 2, 6, 10, 8, 8)
for mask in (BOOLS, FLOATS, PADDING, HEADS, BLIND, BLIND_FLOATS, LEARNED):
    case(2, 2, 2, 5, 7, 8, 8, mask=mask)
case(3, 4, 2, 10, 12, 8, 8, mask=PADDING)
case(2, 4, 2, 35, 41, 8, 8, mask=BLIND)
case(2, 2, 1, 9, 9, 8, 8, mask=FLOATS)
case(2, 4, 2, 6, 5, 8, 8, mask=LEARNED)
case(1, 2, 2, 5, 9, 8, 8, scale=70)
case(1, 2, 2, 12, 12, 8, 8, causal=1, scale=2500)
case(1, 2, 2, 20, 30, 8, 8, wide=100)
case(1, 2, 2, 20, 20, 8, 8, causal=1, wide=1000)

count = len([x for x in out if x.endswith("config")])
path = Path(__file__).parent.parent / "tests/data/attention.safetensors"
save_file(out, path)
print(f"{count} cases, {path.stat().st_size} bytes")
