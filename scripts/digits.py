#!/usr/bin/env python3
"""Writes crates/kiln/src/data/digits.bin: 1,797 images, each 64 pixels (0 to 16) and the digit.

Data: E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0, as shipped with scikit-learn.

    pip install scikit-learn && python3 scripts/digits.py
"""
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
rows = np.concatenate([digits.data, digits.target[:, None]], axis=1).astype(np.uint8)
assert rows.shape == (1797, 65) and rows[:, :64].max() == 16
path = Path(__file__).parent.parent / "crates/kiln/src/data/digits.bin"
path.write_bytes(rows.tobytes())
print(f"{path}: {path.stat().st_size} bytes")
