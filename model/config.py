"""What a Gemma 4 model is made of, as frozen data. No torch: any process can read a checkpoint's limits.

`ModelConfig.from_checkpoint` reads a Hugging Face config.json; model/variants.py has the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class LayerKind(StrEnum):
    """Which earlier tokens a layer sees: a sliding window of them, or all."""

    LOCAL = "local"
    GLOBAL = "global"


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding of one layer kind.

    Only the first `rotated_fraction` of the angle pairs turn; their exponents are taken over the whole head.
    `factor` divides all frequencies.
    """

    theta: float
    rotated_fraction: float = 1.0
    factor: float = 1.0

    def __post_init__(self) -> None:
        _require(self.theta > 0 and self.factor > 0, "RoPE theta and factor must be above 0")
        _require(0 <= self.rotated_fraction <= 1, "RoPE rotated_fraction must be in 0..1")


@dataclass(frozen=True)
class AttentionShape:
    """Head geometry of one layer kind. With `k_is_v` one projection gives both keys and values."""

    head_dim: int
    num_kv_heads: int
    rope: Rope
    k_is_v: bool = False

    def __post_init__(self) -> None:
        _require(self.head_dim > 0 and self.head_dim % 2 == 0, f"head_dim {self.head_dim} must be even")
        _require(self.num_kv_heads > 0, "num_kv_heads must be above 0")


@dataclass(frozen=True)
class MoeConfig:
    """A mixture of experts: `top_k` of `num_experts` gated MLPs of width `expert_size` per token."""

    num_experts: int
    top_k: int
    expert_size: int

    def __post_init__(self) -> None:
        _require(0 < self.top_k <= self.num_experts, f"top_k {self.top_k} of {self.num_experts} experts")
        _require(self.expert_size > 0, "expert_size must be above 0")


@dataclass(frozen=True)
class LayerSpec:
    """Everything that differs between one decoder layer and the next.

    `kv_source` is the earlier layer whose keys and values this one reads, or None if it makes its own.
    """

    index: int
    kind: LayerKind
    head_dim: int
    num_kv_heads: int
    k_is_v: bool
    window: int | None
    mlp_size: int
    kv_source: int | None

    @property
    def kv_layer(self) -> int:
        """The layer that owns the keys and values this one attends to (itself, unless it shares)."""
        return self.index if self.kv_source is None else self.kv_source


@dataclass(frozen=True)
class TextConfig:
    """The text decoder. Sizes are in elements, windows and lengths in tokens.

    With `has_bidirectional_images`, tokens of one image see each other in local layers, whatever their order.
    """

    vocab_size: int
    hidden_size: int
    mlp_size: int
    num_heads: int
    layer_kinds: tuple[LayerKind, ...]
    local: AttentionShape
    global_: AttentionShape
    sliding_window: int
    max_position_embeddings: int
    num_kv_shared_layers: int = 0
    has_double_wide_shared_mlp: bool = False
    per_layer_size: int = 0
    per_layer_vocab_size: int = 0
    moe: MoeConfig | None = None
    final_logit_softcap: float | None = 30.0
    rms_norm_eps: float = 1e-6
    has_attention_bias: bool = False
    has_tied_embeddings: bool = True
    has_bidirectional_images: bool = False
    pad_token_id: int | None = 0

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "mlp_size",
            "num_heads",
            "sliding_window",
            "max_position_embeddings",
        ):
            _require(getattr(self, name) > 0, f"{name} must be above 0")
        _require(len(self.layer_kinds) > 0, "a model needs at least one layer")
        _require(self.layer_kinds[-1] is LayerKind.GLOBAL, "the last layer must be global")
        for shape in (self.local, self.global_):
            _require(
                self.num_heads % shape.num_kv_heads == 0,
                f"{self.num_heads} query heads cannot share {shape.num_kv_heads} key/value heads",
            )
        _require(self.per_layer_size == 0 or self.per_layer_vocab_size > 0, "per_layer_vocab_size must be above 0")
        _require(0 <= self.num_kv_shared_layers < self.num_layers, "num_kv_shared_layers must leave an own layer")
        _require(
            set(self.layer_kinds[self._first_shared :]) <= set(self.layer_kinds[: self._first_shared]),
            "each kind of a KV-sharing layer needs an earlier layer that has its own keys and values",
        )

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.layer_kinds)

    @property
    def _first_shared(self) -> int:
        return self.num_layers - self.num_kv_shared_layers

    def attention(self, kind: LayerKind) -> AttentionShape:
        """Head geometry of the layers of one kind."""
        return self.local if kind is LayerKind.LOCAL else self.global_

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        """One spec per decoder layer, in order."""
        return tuple(self._layer(index, kind) for index, kind in enumerate(self.layer_kinds))

    def _layer(self, index: int, kind: LayerKind) -> LayerSpec:
        shape = self.attention(kind)
        is_shared = index >= self._first_shared
        return LayerSpec(
            index=index,
            kind=kind,
            head_dim=shape.head_dim,
            num_kv_heads=shape.num_kv_heads,
            k_is_v=shape.k_is_v,
            window=self.sliding_window if kind is LayerKind.LOCAL else None,
            mlp_size=self.mlp_size * (2 if is_shared and self.has_double_wide_shared_mlp else 1),
            kv_source=self._last_own_layer(kind) if is_shared else None,
        )

    def _last_own_layer(self, kind: LayerKind) -> int:
        return max(i for i, k in enumerate(self.layer_kinds[: self._first_shared]) if k is kind)


@dataclass(frozen=True)
class VisionConfig:
    """The image and video encoder: a transformer over patches, pooled into soft tokens."""

    hidden_size: int = 768
    mlp_size: int = 3072
    num_layers: int = 16
    num_heads: int = 12
    num_kv_heads: int = 12
    head_dim: int = 64
    patch_size: int = 16
    pooling_kernel_size: int = 3
    position_table_size: int = 10240
    rope_theta: float = 100.0
    rms_norm_eps: float = 1e-6
    has_clipped_linears: bool = False
    has_standardized_output: bool = False
    default_output_length: int = 280

    def __post_init__(self) -> None:
        for name in (
            "hidden_size",
            "num_layers",
            "patch_size",
            "pooling_kernel_size",
            "default_output_length",
        ):
            _require(getattr(self, name) > 0, f"vision {name} must be above 0")


@dataclass(frozen=True)
class AudioConfig:
    """The audio encoder: two strided convolutions, then conformer layers with chunked local attention."""

    hidden_size: int = 1024
    num_layers: int = 12
    num_heads: int = 8
    conv_channels: tuple[int, int] = (128, 32)
    conv_kernel_size: int = 5
    residual_weight: float = 0.5
    chunk_size: int = 12
    context_left: int = 13
    context_right: int = 0
    logit_cap: float = 50.0
    gradient_clipping: float = 1e10
    invalid_logit: float = -1e9
    rms_norm_eps: float = 1e-6
    has_clipped_linears: bool = True
    output_size: int = 1536

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "num_heads", "chunk_size", "output_size"):
            _require(getattr(self, name) > 0, f"audio {name} must be above 0")


@dataclass(frozen=True)
class ModelConfig:
    """One variant: the text decoder, the encoders it comes with, and the token ids that bind them."""

    text: TextConfig
    vision: VisionConfig | None = None
    audio: AudioConfig | None = None
    bos_token_id: int | None = 2
    eos_token_ids: tuple[int, ...] = (1, 106, 50)
    image_token_id: int | None = 258880
    image_start_token_id: int | None = 255999
    image_end_token_id: int | None = 258882
    audio_token_id: int | None = 258881
    audio_start_token_id: int | None = 256000
    audio_end_token_id: int | None = 258883
    video_token_id: int | None = 258884
    dtype: str = "bfloat16"

    @property
    def modalities(self) -> frozenset[str]:
        """What a prompt may hold: "text"; "image" and "video" with a vision, "audio" with an audio encoder."""
        vision = {"image", "video"} if self.vision is not None else set()
        audio = {"audio"} if self.audio is not None else set()
        return frozenset({"text"} | vision | audio)

    @staticmethod
    def from_hf(config: dict[str, Any], generation: dict[str, Any] | None = None) -> ModelConfig:
        """From the content of a Hugging Face config.json (and generation_config.json, for the stop tokens).

        ValueError if the config is not a Gemma 4 or asks for something this code does not compute.
        """
        from model.hf_config import model_config

        return model_config(config, generation)

    def to_hf(self) -> dict[str, Any]:
        """As the content of a Hugging Face config.json, in the spelling of published checkpoints.

        ValueError if it cannot say it: global layers with their own number of key/value heads need K = V.
        """
        from model.hf_config import hf_config

        return hf_config(self)

    @staticmethod
    def from_checkpoint(path: Path) -> ModelConfig:
        """From a checkpoint folder. CheckpointError if config.json is missing, broken or not a Gemma 4."""
        from model.checkpoint import CheckpointError, read_json

        generation_file = path / "generation_config.json"
        generation = read_json(generation_file) if generation_file.exists() else None
        config = read_json(path / "config.json")
        try:
            return ModelConfig.from_hf(config, generation)
        except ValueError as error:
            raise CheckpointError(f"{path / 'config.json'}: {error}") from error


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise ValueError(message)
