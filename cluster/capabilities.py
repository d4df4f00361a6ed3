"""What a variant can do and what it costs, read from its checkpoint's own files; nothing knows a variant by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config import ConfigError, VariantConfig
from model.checkpoint import CheckpointError, read_json
from model.config import ModelConfig, TextConfig
from model.expert_placement import PlacementError, first_placement
from model.weight_map import weight_map

DEFAULT_MAX_CONTEXT_TOKENS = 32_768
_ENCODERS = ("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
_PER_LAYER_TABLE = "embed_tokens_per_layer."
_EXPERTS = ".experts."
_HEADER_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Capabilities:
    """One variant, as routing and ListModels see it.

    `context_tokens` bounds prompt and output together. `total_parameters` counts every weight of the checkpoint.
    `active_parameters` counts the weights that one text token is multiplied with: no encoders, of a mixture of
    experts the chosen share, and no per-layer embedding table, which is looked up (so the "effective" size that
    Google publishes for E2B and E4B, and the active size for 26B-A4B). `cost` is in units per 1,000 tokens.
    """

    name: str
    display_name: str
    checkpoint: str
    engine: str
    modalities: frozenset[str]
    context_tokens: int
    max_output_tokens: int
    total_parameters: int
    active_parameters: int
    cost: float
    vocab_size: int
    default_temperature: float = 1.0
    default_top_k: int | None = None
    default_top_p: float | None = None


def read_capabilities(name: str, config: VariantConfig, checkpoint: Path, checkpoint_name: str) -> Capabilities:
    """Reads a checkpoint folder; the weights may be missing from it, then their number follows from the config.

    Raises CheckpointError for a folder that cannot be used, ConfigError for limits that it cannot keep.
    """
    model = ModelConfig.from_checkpoint(checkpoint)
    _check_ranks(name, config, model.text)
    context_tokens = _context_tokens(name, config, model.text.max_position_embeddings)
    total, active = count_parameters(checkpoint, model.text)
    return Capabilities(
        name=name,
        display_name=display_name(checkpoint_name),
        checkpoint=checkpoint_name,
        engine=config.engine,
        modalities=model.modalities - not_taken(config, model),
        context_tokens=context_tokens,
        max_output_tokens=min(config.max_output_tokens or context_tokens, context_tokens),
        total_parameters=total,
        active_parameters=active,
        cost=active / 1e9 if config.cost is None else config.cost,
        vocab_size=model.text.vocab_size,
        **_default_sampling(checkpoint),
    )


def not_taken(config: VariantConfig, model: ModelConfig) -> frozenset[str]:
    """Modalities that the variant's engine does not take, whatever encoders its checkpoint has."""
    if config.engine != "vllm":
        return frozenset()
    if config.vllm.text_only:
        return frozenset({"image", "audio", "video"})
    none = {modality for modality, most in config.vllm.media.items() if most == 0}
    return frozenset(none | (_wrong_on_cpu(model) if config.num_gpus == 0 else set()))


def _wrong_on_cpu(model: ModelConfig) -> set[str]:
    """vLLM's attention on a CPU lets no image see itself both ways, and its process ends when it computes sound."""
    return {"audio"} | ({"image", "video"} if model.text.has_bidirectional_images else set())


def display_name(checkpoint_name: str) -> str:
    """For people: "google/gemma-4-E2B-it" is "Gemma 4 E2B it", "tiny:e2b" is "Gemma 4 E2B (tiny)"."""
    family, separator, variant = checkpoint_name.partition(":")
    if separator:
        return f"Gemma 4 {variant.upper()} ({family})"
    words = Path(checkpoint_name).name.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def count_parameters(checkpoint: Path, text: TextConfig) -> tuple[int, int]:
    """Total and active parameters, from the headers of the safetensors files, a few kilobytes each.

    A folder without weights (a gateway's) counts the text decoder alone, whose tensors follow from its config.
    """
    sizes = dict(_stored_sizes(checkpoint)) or dict(_configured_sizes(text))
    total = sum(sizes.values())
    return total, total - round(sum(size * _idle_share(tensor, text) for tensor, size in sizes.items()))


def _idle_share(tensor: str, text: TextConfig) -> float:
    """The share of a tensor that a text token is not multiplied with."""
    if _PER_LAYER_TABLE in tensor or any(encoder in tensor for encoder in _ENCODERS):
        return 1.0
    if _EXPERTS in tensor and text.moe is not None:
        return 1.0 - text.moe.top_k / text.moe.num_experts
    return 0.0


def _stored_sizes(checkpoint: Path) -> Iterator[tuple[str, int]]:
    """Each tensor of the folder's safetensors files and its number of elements."""
    for file in sorted(checkpoint.glob("*.safetensors")):
        try:
            header = _read_header(file)
            yield from (
                (name, math.prod(map(int, item["shape"]))) for name, item in header.items() if name != "__metadata__"
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{file} is not a readable safetensors file: {error}") from error


def _read_header(file: Path) -> dict[str, Any]:
    """The JSON at the start of a safetensors file, after its length as a little-endian 64-bit number."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_HEADER_LENGTH_BYTES), "little")
        if length > file.stat().st_size:
            raise ValueError("the header is longer than the file")
        header: dict[str, Any] = json.loads(stream.read(length))
    return header


def _configured_sizes(text: TextConfig) -> Iterator[tuple[str, int]]:
    """The same for the text decoder's tensors, as its config says they must be."""
    for pieces in weight_map(text, "").values():
        for piece in pieces:
            yield piece.name, math.prod(piece.shape)


def _context_tokens(name: str, config: VariantConfig, longest: int) -> int:
    wanted, held = config.max_context_tokens, config.kv_cache_tokens
    if wanted is None:
        return min(longest, held or DEFAULT_MAX_CONTEXT_TOKENS, DEFAULT_MAX_CONTEXT_TOKENS)
    if wanted > longest:
        raise ConfigError(f"variants.{name}.max_context_tokens: {wanted} is more than the checkpoint's {longest}")
    if held is not None and wanted > held:
        raise ConfigError(f"variants.{name}.kv_cache_tokens: {held} cannot hold max_context_tokens {wanted}")
    return wanted


def _check_ranks(name: str, config: VariantConfig, text: TextConfig) -> None:
    if config.expert_ranks == 1:
        return
    try:
        first_placement(text, config.expert_ranks, config.expert_copies)
    except PlacementError as error:
        raise ConfigError(f"variants.{name}.expert_ranks: {error}") from error


def _default_sampling(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's own sampling defaults, where it has a generation_config.json."""
    file = checkpoint / "generation_config.json"
    generation = read_json(file) if file.exists() else {}
    try:
        return {
            "default_temperature": _temperature(generation),
            "default_top_k": int(generation.get("top_k") or 0) or None,
            "default_top_p": float(generation.get("top_p") or 0) or None,
        }
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: temperature, top_k and top_p must be numbers: {error}") from error


def _temperature(generation: Mapping[str, Any]) -> float:
    if generation.get("do_sample") is False:
        return 0.0
    temperature = generation.get("temperature")
    return 1.0 if temperature is None else float(temperature)
