#!/usr/bin/env python3
"""Draws images and what is done to them and writes what torchvision makes of them: tests/data/drawn_augment.txt, which
tests/augment.rs reads. Images of one pixel, of one row, of one colour, of one channel.

    pip install torch torchvision
    python3 scripts/drawn_augment.py                       # the file in the repository
    python3 scripts/drawn_augment.py --seed 7 --count 20 --out /tmp/augment.txt      # 20 times as many
    KILN_DRAWN=/tmp/augment.txt cargo test -p kiln --test augment

A line is `name arguments;channels height width;bytes;channels height width;numbers`: the image has bytes, which stand for
0..1, the result has floats.
"""
import argparse
import random
from pathlib import Path

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

R = random.Random()


def half(low, high):
    return R.choice([0.0, 0.5, 1.0, 2.0]) if R.random() < 0.3 else round(R.uniform(low, high), 3)


def change(image):
    """A function of torchvision, its arguments, and what it makes of `image`."""
    c, h, w = image.shape
    side = lambda: R.randint(1, 12)
    name = R.choice(["hflip", "vflip", "pad", "crop", "center_crop", "rotate", "rotate", "resize", "resize", "resize_shorter", "brightness",
                     "contrast", "contrast", "saturation", "hue", "hue", "normalize", "erase"])
    match name:
        case "hflip" | "vflip":
            a = []
            y = getattr(F, name)(image)
        case "pad":
            a = [R.randint(0, 3), half(0, 1)]
            y = F.pad(image, a[0], a[1])
        case "crop":
            size = [side(), side()]
            # of a part that is wholly outside torchvision gives another size
            a = [R.randint(max(-3, 1 - size[0]), h - 1), R.randint(max(-3, 1 - size[1]), w - 1), *size]
            y = F.crop(image, *a)
        case "center_crop":
            a = [side(), side()]
            y = F.center_crop(image, a)
        case "rotate":
            a = [R.choice([0, 90, -90, 180, 45, R.randint(-360, 360), round(R.uniform(-180, 180), 2)])]
            # where a place is an edge between two pixels, its last bit decides
            y = F.rotate(image.double(), a[0], InterpolationMode.BILINEAR)
        case "resize":
            a = [side(), side() + 1]  # of a width of 1 PyTorch 2.15 repeats the first row
            y = F.resize(image.double(), a, InterpolationMode.BILINEAR, antialias=True)
        case "resize_shorter":
            a = [R.randint(2, 8)]
            y = F.resize(image.double(), a, InterpolationMode.BILINEAR, antialias=True)
        case "brightness" | "contrast" | "saturation":
            a = [half(0, 3)]
            y = getattr(F, f"adjust_{name}")(image, a[0])
        case "hue":
            a = [R.choice([-0.5, 0.5, 0.0, round(R.uniform(-0.5, 0.5), 3)])]
            y = F.adjust_hue(image, a[0])
        case "normalize":
            a = [half(-1, 1) for _ in range(c)] + [half(-2, 2) or 0.5 for _ in range(c)]
            y = F.normalize(image, a[:c], a[c:])
        case "erase":
            top, left = R.randrange(h), R.randrange(w)
            a = [top, left, R.randint(0, h - top), R.randint(0, w - left), half(-1, 1)]
            y = F.erase(image, *a[:4], torch.tensor(a[4]))
    return f"{name} {' '.join(map(repr, a))}".strip(), y


def case():
    c, h, w = R.choice([1, 3, 3]), R.choice([1, 2, 3, 5, 8]), R.choice([1, 2, 3, 4, 7])
    kinds = [lambda: R.randint(0, 255), lambda: R.choice([0, 255]), lambda: R.choice([10, 20, 30]), lambda: 77]
    kind = R.choice([kinds[0], *kinds])
    image = torch.tensor([kind() for _ in range(c * h * w)]).reshape(c, h, w)
    text, y = change(image.float() / 255)
    shape = lambda t: " ".join(map(str, t.shape))
    values = " ".join(f"{v:.8g}" for v in y.flatten().tolist())
    return f"{text};{shape(image)};{' '.join(map(str, image.flatten().tolist()))};{shape(y)};{values}"


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--count", type=int, default=1)
parser.add_argument("--out", default=Path(__file__).parent.parent / "tests/data/drawn_augment.txt")
args = parser.parse_args()
R.seed(args.seed)
lines = [case() for _ in range(300 * args.count)]
Path(args.out).write_text("\n".join(lines) + "\n")
print(f"{len(lines)} cases")
