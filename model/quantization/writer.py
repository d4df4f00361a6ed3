"""Writes quantised checkpoints: safetensors under our own tensor names, and what they are in config.json."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import INDEX_FILE, CheckpointError, read_json
from model.multimodal import GemmaModel, load_multimodal
from model.quantization.int4 import int4_layout
from model.quantization.int8 import ALIGNMENT
from model.quantization.scheme import CONFIG_KEY, Quantization, StoredQuantization
from model.weight_filler import Progress

_SHARD_BYTES = 1 << 30


def quantize_checkpoint(source: Path, target: Path, scheme: Quantization, progress: Progress | None = None) -> None:
    """Quantises a Hugging Face checkpoint folder into the new folder `target`, tokenizer and all.

    Memory holds the quantised model and one float weight. `target` appears complete or not at all.
    CheckpointError if `target` exists, or the source is quantised already or cannot be read.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists; give a new folder")
    if StoredQuantization.of_checkpoint(source) is not None:
        raise CheckpointError(f"{source} is quantised already; give the checkpoint it was made of")
    model = load_multimodal(source, quantization=scheme, progress=progress, maps_tables=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        written = Path(scratch) / "new"
        save_quantized(model, read_json(source / "config.json"), scheme, written)
        for file in source.iterdir():
            is_weight = ".safetensors" in file.name or file.suffix in (".bin", ".pth", ".gguf")
            if file.is_file() and not is_weight and file.name != "config.json":
                shutil.copyfile(file, written / file.name)
        written.rename(target)


def save_quantized(model: GemmaModel, config: dict[str, Any], scheme: Quantization, path: Path) -> None:
    """Writes weights and config.json into the folder `path`; `config` is the float model's config.json."""
    path.mkdir(parents=True)
    shards = list(_shards(model.state_dict()))
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        _save({key: tensor.contiguous() for key, tensor in shard.items()}, path / name)
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    _write_json(path / INDEX_FILE, {"metadata": {}, "weight_map": weight_map})
    stored = StoredQuantization(scheme, int4_layout() if scheme.bits == 4 else None)
    _write_json(path / "config.json", config | {CONFIG_KEY: stored.to_json()})


def _save(shard: dict[str, Tensor], file: Path) -> None:
    """Data begin at a multiple of ALIGNMENT, as kernels want them: safetensors pads its header to 8 alone."""
    for padding in range(0, ALIGNMENT, 8):
        save_file(shard, file, {"format": "pt", "padding": padding * " "})
        with file.open("rb") as written:
            header = int.from_bytes(written.read(8), "little")
        if (8 + header) % ALIGNMENT == 0:
            return


def _shards(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Quantised numbers apart from all else, which keeps them aligned: safetensors puts one tensor behind the other."""
    for are_numbers in (False, True):
        shard: dict[str, Tensor] = {}
        for name in [name for name in tensors if name.endswith(".numbers") == are_numbers]:
            if shard and sum(tensor.nbytes for tensor in shard.values()) + tensors[name].nbytes > _SHARD_BYTES:
                yield shard
                shard = {}
            shard[name] = tensors[name]
        if shard:
            yield shard


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
