"""Writes tests/data/files: small files in the formats that Kiln reads, made by others' writers (NumPy, Pillow, csv, wave,
gzip), and what is in them (tests/data/data.safetensors, with resizing and turning by PyTorch). Needs numpy, torch,
safetensors, Pillow and regex."""

import csv
import gzip
import struct
import wave
from pathlib import Path

import numpy as np
import regex
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file

ROOT = Path(__file__).parent.parent / "tests/data"
FILES = ROOT / "files"
FILES.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(4)
want = {}


def idx(name, array, code):
    head = struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    (FILES / name).write_bytes(data)
    with gzip.GzipFile(FILES / (name + ".gz"), "wb", mtime=0) as f:
        f.write(data)


# MNIST's own names, seven images of 5×4
idx("train-images-idx3-ubyte", rng.integers(0, 256, (7, 5, 4), dtype=np.uint8), 0x08)
idx("train-labels-idx1-ubyte", (np.arange(7) % 10).astype(np.uint8), 0x08)
(FILES / "train-labels-idx1-ubyte.gz").unlink()
(FILES / "train-images-idx3-ubyte").unlink()
idx("t10k-images-idx3-ubyte", rng.integers(0, 256, (3, 5, 4), dtype=np.uint8), 0x08)
idx("t10k-labels-idx1-ubyte", np.array([9, 0, 3], dtype=np.uint8), 0x08)
for name in ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]:
    (FILES / name).unlink()
with gzip.open(FILES / "train-images-idx3-ubyte.gz") as f:
    want["idx.train"] = np.frombuffer(f.read()[16:], dtype=np.uint8).reshape(7, 5, 4).astype(np.float32)

# every numeric type in an npz, in both byte orders and both orders of axes; one compressed
plain = np.arange(-6, 6).reshape(2, 3, 2)
arrays = {}
for code in ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]:
    base = np.abs(plain) if code[0] == "u" else plain % 2 if code == "b1" else plain
    base = base / 4 if code[0] == "f" else base
    for order in "<>":
        for axes in "CF":
            arrays[f"{code}{'lb'['<>'.index(order)]}{axes}"] = np.array(base.astype(order + code), order=axes)
    want[f"npy.{code}"] = base.astype(np.float32)
np.savez(FILES / "all.npz", **arrays)
np.savez_compressed(FILES / "packed.npz", a=np.zeros((100, 10)), b=np.float32(2.5), c=np.zeros((0, 3), dtype=np.int64))
np.save(FILES / "rows.npy", np.arange(60, dtype=np.float64).reshape(20, 3))
with open(FILES / "v2.npy", "wb") as f:
    np.lib.format.write_array(f, np.arange(5, dtype=np.int16), version=(2, 0))
with open(FILES / "v3.npy", "wb") as f:
    np.lib.format.write_array(f, np.arange(5, dtype=np.int16), version=(3, 0))

# a MedMNIST of colour images
parts = {}
for part, n in [("train", 6), ("val", 2), ("test", 3)]:
    parts[f"{part}_images"] = rng.integers(0, 256, (n, 4, 5, 3), dtype=np.uint8)
    parts[f"{part}_labels"] = rng.integers(0, 3, (n, 1), dtype=np.uint8)
np.savez_compressed(FILES / "medmnist.npz", **parts)
want["medmnist.test"] = (parts["test_images"].transpose(0, 3, 1, 2) / 255).astype(np.float32)
want["medmnist.labels"] = parts["test_labels"][:, 0].astype(np.float32)

# quotes, delimiters and line ends within fields
with open(FILES / "table.csv", "w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(["length", "note, quoted", "kind", "weight"])
    writer.writerow([1.5, 'says "hi", twice', "cat", 3])
    writer.writerow([-2e-3, "two\nlines", "dog", ""])
    writer.writerow([7, "", "cat", "NaN"])
    writer.writerow(["1e3", "ünï", "ape", -4])

# images
small = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
smooth = np.clip(np.add.outer(np.arange(24) * 6, np.arange(32) * 3)[..., None] + np.array([0, 20, 40]), 0, 255).astype(np.uint8)
for kind, count in [("a_first", 2), ("b_second", 1)]:
    (FILES / "folder" / kind).mkdir(parents=True, exist_ok=True)
Image.fromarray(small).save(FILES / "folder/a_first/2.png")
Image.fromarray(np.dstack([small, small[..., :1]])).save(FILES / "folder/a_first/alpha.PNG")
Image.fromarray(smooth).save(FILES / "folder/b_second/1.jpg", quality=95)
Image.fromarray(small[..., 0]).save(FILES / "grey.png")
Image.fromarray(small).quantize(8).save(FILES / "palette.png")
Image.fromarray(small[..., 0].astype(np.uint16) * 257).save(FILES / "deep.png")
Image.fromarray(smooth[..., 0]).save(FILES / "grey.jpg", quality=90)
Image.fromarray(smooth).save(FILES / "progressive.jpg", quality=90, progressive=True)
planes = lambda image: (np.asarray(image).transpose(2, 0, 1) / 255).astype(np.float32)
want["image.rgb"] = planes(small)
want["image.grey"] = (np.asarray(Image.fromarray(small).convert("L")) / 255).astype(np.float32)
want["image.palette"] = planes(Image.open(FILES / "palette.png").convert("RGB"))
want["image.jpeg"] = planes(Image.open(FILES / "folder/b_second/1.jpg"))
want["image.greyjpeg"] = (np.asarray(Image.open(FILES / "grey.jpg")) / 255).astype(np.float32)
want["image.progressive"] = planes(Image.open(FILES / "progressive.jpg"))

# sound
samples = (np.sin(np.arange(40) / 3) * 0.9)
def sound(name, width, channels):
    whole = np.round(np.repeat(samples, channels) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    whole[1::2] //= 2
    if width == 1:
        data = (whole + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(v).to_bytes(width, "little", signed=True) for v in whole)
    with wave.open(str(FILES / name), "wb") as f:
        f.setnchannels(channels)
        f.setsampwidth(width)
        f.setframerate(8000)
        f.writeframes(data)
    want[f"wav.{name}"] = (whole / 2 ** (8 * width - 1)).astype(np.float32)
for width in [1, 2, 3, 4]:
    sound(f"pcm{8 * width}.wav", width, 1 + width % 2)

# what torchvision does on float tensors, written with the operations that it uses
x = torch.tensor(want["image.jpeg"]).double()[None]
for size in [(24, 32), (12, 16), (7, 9), (30, 50), (5, 64)]:
    y = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    want[f"resize.{size[0]}x{size[1]}"] = y[0].float().numpy()
for degrees in [0, 30, 90, -45.5, 180]:
    h, w = x.shape[2:]
    a = np.deg2rad(degrees)
    ys, xs = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    # counter-clockwise on a screen, whose rows go down: the source of a pixel is turned back
    sx, sy = np.cos(a) * xs - np.sin(a) * ys, np.sin(a) * xs + np.cos(a) * ys
    grid = torch.stack([sx / (w / 2), sy / (h / 2)], -1)[None].double()
    y = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    want[f"rotate.{degrees}"] = y[0].float().numpy()
x = x[0]
grey = 0.2989 * x[0] + 0.587 * x[1] + 0.114 * x[2]
blend = lambda a, b, f: (f * a + (1 - f) * b).clamp(0, 1).float().numpy()
for f in [0.0, 0.5, 1.0, 1.7]:
    want[f"brightness.{f}"] = blend(x, torch.zeros_like(x), f)
    want[f"contrast.{f}"] = blend(x, grey.mean(), f)
    want[f"saturation.{f}"] = blend(x, grey[None], f)
def adjust_hue(img, factor):
    """torchvision.transforms._functional_tensor: _rgb2hsv, the turn, _hsv2rgb, as they stand there."""
    r, g, b = img.unbind(dim=-3)
    maxc, minc = torch.max(img, dim=-3).values, torch.min(img, dim=-3).values
    eqc = maxc == minc
    cr = maxc - minc
    ones = torch.ones_like(maxc)
    s = cr / torch.where(eqc, ones, maxc)
    divisor = torch.where(eqc, ones, cr)
    rc, gc, bc = (maxc - r) / divisor, (maxc - g) / divisor, (maxc - b) / divisor
    hr = (maxc == r) * (bc - gc)
    hg = ((maxc == g) & (maxc != r)) * (2.0 + rc - bc)
    hb = ((maxc != g) & (maxc != r)) * (4.0 + gc - rc)
    h = torch.fmod((hr + hg + hb) / 6.0 + 1.0, 1.0)
    h = (h + factor) % 1.0
    i = torch.floor(h * 6.0)
    f = h * 6.0 - i
    i = i.to(torch.int32) % 6
    v = maxc
    p = torch.clamp(v * (1.0 - s), 0.0, 1.0)
    q = torch.clamp(v * (1.0 - s * f), 0.0, 1.0)
    t = torch.clamp(v * (1.0 - s * (1.0 - f)), 0.0, 1.0)
    mask = (i.unsqueeze(0) == torch.arange(6)[:, None, None]).to(img.dtype)
    a = torch.stack([torch.stack([v, q, p, p, t, v]), torch.stack([t, v, v, q, p, p]), torch.stack([p, p, t, v, v, q])])
    return torch.einsum("ijk, xijk -> xjk", mask, a)


for f in [-0.5, -0.2, 0.0, 0.1, 0.5]:
    want[f"hue.{f}"] = adjust_hue(x, f).float().numpy()
want["normalize"] = ((x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.25, 2.0])[:, None, None]).float().numpy()

# byte pairs, in the plainest way: GPT-2's pattern, most frequent pair first, ties to the smaller tokens
text = ("It's a long way to Tipperary; it's a long  way to go!\n\n  We'll go 1234 miles, naïve café 北京 they're here. " * 3)
pattern = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
pieces = regex.findall(pattern, text)
words = [list(p.encode()) for p in pieces]
merges = []
while len(merges) < 60:
    counts = {}
    for word in words:
        for pair in zip(word, word[1:]):
            counts[pair] = counts.get(pair, 0) + 1
    best = min(counts, key=lambda p: (-counts[p], p))
    if counts[best] < 2:
        break
    token = 256 + len(merges)
    merges.append(best)
    for k, word in enumerate(words):
        out, i = [], 0
        while i < len(word):
            if i + 1 < len(word) and (word[i], word[i + 1]) == best:
                out.append(token)
                i += 2
            else:
                out.append(word[i])
                i += 1
        words[k] = out
(FILES / "bpe.txt").write_text(text)
want["bpe.merges"] = np.array(merges, dtype=np.float32)
want["bpe.tokens"] = np.array([t for word in words for t in word], dtype=np.float32)
want["bpe.pieces"] = np.array([len(p.encode()) for p in pieces], dtype=np.float32)

save_file({k: np.ascontiguousarray(v) for k, v in want.items()}, ROOT / "data.safetensors")
