"""The whole model: text decoder and encoders, and how a checkpoint is read into them."""

from __future__ import annotations

from pathlib import Path

import torch

from model.config import ModelConfig
from model.encoder_weights import AUDIO_NAMES, VISION_NAMES, encoder_weight_map
from model.encoders import Encoders
from model.expert_shard import ExpertShard
from model.layers import Layer
from model.quantization.scheme import Quantization
from model.transformer import Transformer
from model.weight_filler import Progress
from model.weight_map import Pieces, weight_map
from model.weights import load_module

_TEXT_PREFIX = "language_model."


class GemmaModel(Layer):
    """Encoders turn media into soft tokens; the text decoder takes them in place of placeholder tokens.

    1. model/preprocess makes Patches of an image or video and mel frames of a sound.
    2. `encoders.encode_vision` and `encode_audio` make soft tokens, [N, D], once for each medium.
    3. `soft_rows.place` lays them on a prompt's placeholders; `text` takes the result as `soft_tokens`.
    4. With `config.text.has_bidirectional_images` the KVCache also needs `soft_rows.image_blocks`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.text = Transformer(config.text)
        self.encoders = Encoders(config)

    def weight_map(self, prefix: str) -> dict[str, Pieces]:
        """Each parameter and buffer -> checkpoint tensors; `prefix` is that of the text decoder's names."""
        root = prefix.removesuffix(_TEXT_PREFIX)
        weights = {f"text.{name}": pieces for name, pieces in weight_map(self.config.text, prefix).items()}
        for kind, names in (("vision", VISION_NAMES), ("audio", AUDIO_NAMES)):
            encoder = getattr(self.encoders, kind)
            found = {} if encoder is None else encoder_weight_map(encoder, names, root)
            weights |= {f"encoders.{kind}.{name}": pieces for name, pieces in found.items()}
        return weights


def load_multimodal(
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    quantization: Quantization | None = None,
    maps_tables: bool = True,
    shard: ExpertShard | None = None,
) -> GemmaModel:
    """Text decoder and encoders of a Hugging Face checkpoint folder; see `model.weights.load_model`.

    Encoders are never quantised. With `shard` only that rank's experts are read.
    """
    return load_module(
        path,
        build_multimodal,
        shard=shard,
        has_encoders=True,
        dtype=dtype,
        device=device,
        progress=progress,
        quantization=quantization,
        maps_tables=maps_tables,
    )


def build_multimodal(config: ModelConfig, prefix: str) -> tuple[GemmaModel, dict[str, Pieces]]:
    """The model, to be filled, and its weight map; `prefix` is that of the text decoder's names."""
    model = GemmaModel(config)
    return model, model.weight_map(prefix)
