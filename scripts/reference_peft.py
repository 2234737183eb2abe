#!/usr/bin/env python3
"""Writes tests/data/files/peft: low-rank adapters of a small GPT-2 as PEFT saves them, with the model they belong to and its logits.
With a folder that Kiln has saved (`Lora::save_peft`), checks that PEFT reads it and gives the same logits instead.

    pip install peft transformers
    python3 scripts/reference_peft.py [FOLDER]
"""
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

folder = Path(__file__).parent.parent / "tests/data/files/peft"
sizes = GPT2Config(vocab_size=19, n_positions=8, n_embd=16, n_layer=2, n_head=2)
torch.manual_seed(5)


def logits(model, tokens):
    with torch.no_grad():
        return model.double().eval()(tokens.long()).logits.float()


model = GPT2LMHeadModel(sizes)
if len(sys.argv) > 1:
    saved = load_file(folder / "model.safetensors")
    tokens, want = saved.pop("tokens"), saved.pop("adapted")
    missing = model.transformer.load_state_dict(saved, strict=False)
    assert not missing.unexpected_keys and all(name.endswith("attn.bias") for name in missing.missing_keys), missing
    model.tie_weights()
    got = logits(PeftModel.from_pretrained(model, sys.argv[1]), tokens)
    error = ((got - want).abs() / (1 + want.abs())).max()
    print(f"PEFT's logits of {sys.argv[1]} are off by {error:.1e}")
    sys.exit(bool(error > 1e-5))

with torch.no_grad():
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
tokens = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]], dtype=torch.int32)
out = {name: value.clone() for name, value in model.transformer.state_dict().items() if "masked_bias" not in name and not (name.endswith(".attn.bias") and value.dim() == 4)}
out["tokens"] = tokens
settings = LoraConfig(r=4, lora_alpha=6, lora_dropout=0.1, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True, use_rslora=True)
adapted = get_peft_model(model, settings)
with torch.no_grad():
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.copy_(0.3 * torch.randn_like(parameter))
with tempfile.TemporaryDirectory() as temporary:
    adapted.save_pretrained(temporary)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ["adapter_config.json", "adapter_model.safetensors"]:
        shutil.copyfile(Path(temporary) / name, folder / name)
out["adapted"] = logits(adapted, tokens)
save_file(out, folder / "model.safetensors", {"made by": f"scripts/reference_peft.py, PyTorch {torch.__version__}"})
print({file.name: file.stat().st_size for file in folder.iterdir()})
