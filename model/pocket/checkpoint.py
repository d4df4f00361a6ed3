"""Writes what was trained as a checkpoint folder, complete as Hugging Face would publish it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import SINGLE_FILE
from model.checkpoint_files import generation_config, processor_config, write_json
from model.pocket.family import CONTEXT, POCKET_VARIANTS
from model.pocket.tokenizer import build_tokenizer
from model.pocket.transcript import TEMPLATE
from model.tiny.tokenizer import tokenizer_config

# No activation comes near it: the clipped layers of this family clip nothing but what has gone wrong.
_CLIP_BOUND = 1e4
MAX_SOFT_TOKENS = 70
# Where the trained checkpoints are that come with the package, one folder a variant.
FOLDER = Path(__file__).parent / "checkpoints"


def write_checkpoint(variant: str, weights: Mapping[str, Tensor], path: Path) -> None:
    """`weights` by transformers' names; floats are stored as bfloat16. Replaces files in the folder `path`."""
    config = POCKET_VARIANTS[variant]
    path.mkdir(parents=True, exist_ok=True)
    hf = config.to_hf()
    write_json(path / "config.json", hf)
    save_file(_stored(weights, hf), path / SINGLE_FILE, {"format": "pt"})
    # What was learned has one right answer.
    write_json(path / "generation_config.json", generation_config(config) | {"do_sample": False})
    build_tokenizer().save(str(path / "tokenizer.json"))
    write_json(path / "tokenizer_config.json", tokenizer_config(CONTEXT))
    write_json(path / "processor_config.json", processor_config(config, MAX_SOFT_TOKENS))
    shutil.copyfile(TEMPLATE, path / "chat_template.jinja")


def _stored(weights: Mapping[str, Tensor], hf: Mapping[str, Any]) -> dict[str, Tensor]:
    """The head is the embedding; clipped layers get their bounds."""
    kept = {
        name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items() if name != "lm_head.weight"
    }
    clipped = [tower for tower in ("vision", "audio") if (hf.get(f"{tower}_config") or {}).get("use_clipped_linears")]
    for name in [name for name in kept if name.endswith(".linear.weight")]:
        if name.split(".")[1].removesuffix("_tower") in clipped:
            layer = name.removesuffix("linear.weight")
            for side in ("input", "output"):
                kept[f"{layer}{side}_min"] = torch.tensor(-_CLIP_BOUND, dtype=torch.bfloat16)
                kept[f"{layer}{side}_max"] = torch.tensor(_CLIP_BOUND, dtype=torch.bfloat16)
    return kept
