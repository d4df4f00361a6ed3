"""Moves weights between Hugging Face checkpoints and Transformer, by the one mapping of model/weight_map.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.checkpoint import SINGLE_FILE, Checkpoint, CheckpointError
from model.config import ModelConfig, TextConfig
from model.expert_shard import ExpertShard
from model.quantization.scheme import Quantization, StoredQuantization
from model.quantization.stored import StoredWeights
from model.quantization.swap import quantize_modules
from model.transformer import Transformer
from model.weight_filler import DTYPES, Progress, WeightFiller, view_of
from model.weight_map import HEAD, Pieces, num_active_parameters, num_parameters, weight_map

__all__ = [
    "hf_tensors",
    "load_model",
    "load_module",
    "num_active_parameters",
    "num_parameters",
    "save_checkpoint",
    "weight_map",
]

# Where the text decoder sits: in a multimodal model, a text model, or either saved without its head.
_PREFIXES = ("model.language_model.", "model.", "language_model.", "")
_ENCODERS = tuple(
    root + encoder
    for root in ("model.", "")
    for encoder in ("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
)
_MAX_NAMED = 10

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Build = Callable[[ModelConfig, str], tuple[ModuleT, dict[str, Pieces]]]


def load_model(
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    quantization: Quantization | None = None,
    maps_tables: bool = True,
    shard: ExpertShard | None = None,
) -> Transformer:
    """The text decoder of a Hugging Face checkpoint folder, in eval mode and without gradients.

    `dtype` None is the config's. `progress` gets (bytes loaded, bytes in all) after each weight. Weights are
    copied one by one from the mapped files, so no second copy of the model is ever in memory. With `quantization`
    they are quantised on the way, on the CPU alone; a checkpoint stored quantised is read as it is. With
    `maps_tables` embedding tables that are looked up only stay in their file, as the tied head does if it is stored
    in the model's type; without it they are quantised too. With `shard` only that rank's experts are read, and the
    model answers once it is connected to the other ranks.
    CheckpointError if a file is missing or broken, or if a weight is missing, unknown or of the wrong shape.
    """
    return load_module(
        path,
        _build_text,
        dtype=dtype,
        device=device,
        progress=progress,
        quantization=quantization,
        maps_tables=maps_tables,
        shard=shard,
    )


def _build_text(config: ModelConfig, prefix: str) -> tuple[Transformer, dict[str, Pieces]]:
    return Transformer(config.text), weight_map(config.text, prefix)


def load_module(
    path: Path,
    build: Build[ModuleT],
    *,
    has_encoders: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    quantization: Quantization | None = None,
    maps_tables: bool = True,
    shard: ExpertShard | None = None,
) -> ModuleT:
    """As load_model, for the module and weight map that `build(config, prefix of the text weights)` returns.

    It runs under the "meta" device. Unless the module `has_encoders`, their weights are skipped.
    """
    config = ModelConfig.from_checkpoint(path)
    stored = StoredQuantization.of_checkpoint(path)
    scheme = _scheme(path, stored, quantization)
    dtype, device = dtype or _dtype(config.dtype), torch.device(device)
    if scheme is not None and device.type != "cpu":
        raise CheckpointError(f"quantised weights run on the CPU, not on {device}")
    if shard is not None and stored is not None:
        raise CheckpointError(
            f"{path} is stored as {stored.scheme.name}: experts are split from float checkpoints only"
        )
    checkpoint = Checkpoint(path)
    try:
        prefix = "" if stored is not None else find_prefix(checkpoint)
        with torch.device("meta"):
            model, weights = build(config, prefix)
            if shard is not None:
                weights = shard.cut(model, weights, config.text)
            has_tables = stored is not None or not maps_tables
            quantized = (
                {} if scheme is None else quantize_modules(model, scheme, dtype, has_quantized_tables=has_tables)
            )
        filler = WeightFiller(model, checkpoint, dtype, device, progress, maps_tables=maps_tables)
        if stored is not None:
            filler.fill_stored(StoredWeights(checkpoint, stored, "" if has_encoders else "text.", dtype))
        else:
            _check(checkpoint, weights, _ignored(config.text, prefix) + (() if has_encoders else _ENCODERS))
            filler.fill(weights, quantized)
    finally:
        checkpoint.close()
    return model.eval().requires_grad_(False)


def _scheme(path: Path, stored: StoredQuantization | None, wanted: Quantization | None) -> Quantization | None:
    if stored is None or wanted in (None, stored.scheme):
        return wanted if stored is None else stored.scheme
    raise CheckpointError(f"{path} is stored as {stored.scheme.name}, which cannot become {wanted.name}")


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise CheckpointError(f"dtype {name!r} of the config is not supported, only {sorted(DTYPES)}")
    return DTYPES[name]


def find_prefix(checkpoint: Checkpoint) -> str:
    """Of the text decoder's names. CheckpointError if there is none."""
    for prefix in _PREFIXES:
        if f"{prefix}embed_tokens.weight" in checkpoint.file_of:
            return prefix
    raise CheckpointError(f"{checkpoint.path} holds no text decoder: it has no embed_tokens.weight")


def _check(checkpoint: Checkpoint, weights: Mapping[str, Pieces], ignored: tuple[str, ...]) -> None:
    pieces = [piece for group in weights.values() for piece in group]
    wanted, present = {piece.name for piece in pieces}, set(checkpoint.file_of)
    unknown = {name for name in present - wanted if not name.startswith(ignored)}
    wrong = [
        f"{piece.name} is {list(checkpoint.shape(piece.name))}, expected {list(piece.shape)}"
        for piece in pieces
        if piece.name in present and checkpoint.shape(piece.name) != piece.shape
    ]
    problems = {
        "missing weights": wanted - present,
        "unknown weights": unknown,
        "weights of the wrong shape": wrong,
    }
    reports = [_report(title, sorted(names)) for title, names in problems.items() if names]
    if reports:
        raise CheckpointError(f"{checkpoint.path}: {'; '.join(reports)}")


def _ignored(config: TextConfig, prefix: str) -> tuple[str, ...]:
    """Prefixes of weights that are known and not needed here.

    A stored copy of the tied head; and the key and value weights that published checkpoints carry for layers
    which read another layer's.
    """
    shared = tuple(
        f"{prefix}layers.{spec.index}.self_attn.{name}."
        for spec in config.layers
        if spec.kv_source is not None
        for name in ("k_proj", "v_proj", "k_norm", "v_norm")
    )
    return shared + ((HEAD,) if config.has_tied_embeddings else ())


def _report(title: str, names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{len(names)} {title}: {', '.join(names[:_MAX_NAMED])}{more}"


def hf_tensors(model: Transformer, prefix: str) -> dict[str, Tensor]:
    """The model's weights under their Hugging Face names, fused ones split; views where possible.

    ValueError if the rows of a per-head norm differ: a checkpoint stores one row for all heads.
    """
    ours = model.state_dict()
    tensors = {}
    for name, pieces in weight_map(model.config, prefix).items():
        for piece in pieces:
            view = view_of(ours[name], piece)
            tensors[piece.name] = view if view.shape == piece.shape else _single_row(view, name)
    return tensors


def _single_row(rows: Tensor, name: str) -> Tensor:
    if not (rows == rows[0]).all():
        raise ValueError(f"{name} differs between heads, which a checkpoint cannot store")
    return rows[0]


def save_checkpoint(
    model: Transformer, config: ModelConfig, path: Path, extra_tensors: Mapping[str, Tensor] | None = None
) -> None:
    """Write config.json and model.safetensors, as transformers names and reads them, into the folder `path`.

    With a vision or audio config the text weights go under "model.language_model."; `extra_tensors` (encoder
    weights, say) are written beside them under the names given.
    """
    is_multimodal = config.modalities != {"text"}
    tensors = hf_tensors(model, _PREFIXES[0] if is_multimodal else _PREFIXES[1]) | dict(extra_tensors or {})
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config.to_hf(), indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / SINGLE_FILE, {"format": "pt"})
