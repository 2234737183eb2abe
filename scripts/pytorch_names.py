#!/usr/bin/env python3
"""Says which public names of PyTorch docs/pytorch.md does not speak of.

    pip install torch
    python3 scripts/pytorch_names.py
"""
import importlib
import re
import types
from pathlib import Path

MODULES = ["nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.parametrizations", "nn.utils.parametrize", "nn.utils.prune",
           "nn.utils.rnn", "optim", "optim.lr_scheduler", "optim.swa_utils"]
# names of typing and the like, which modules import for themselves
FOREIGN = ("typing", "typing_extensions", "collections", "builtins", "abc", "enum", "functools", "contextlib", "copy", "bisect",
           "weakref", "_bisect", "torch._", "torch.overrides", "torch.utils", "torch.nn.grad", "torch.library")

text = (Path(__file__).parent.parent / "docs/pytorch.md").read_text()
known = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", text))))
missing = 0
for name in MODULES:
    module = importlib.import_module("torch." + name)
    for k in sorted(vars(module).keys() | set(dir(module))):
        v = getattr(module, k, None)
        ours = not k.startswith("_") and not isinstance(v, types.ModuleType) and callable(v)
        home = getattr(v, "__module__", None) or ""
        # functions of the interpreter itself have no home
        if not ours or home in ("torch", "torch.types") or (home.startswith(FOREIGN) and home != "torch._C._nn"):
            continue
        if k not in known:
            print(f"torch.{name}.{k}  ({home})")
            missing += 1
print(f"{missing} names are not spoken of")
raise SystemExit(missing > 0)
