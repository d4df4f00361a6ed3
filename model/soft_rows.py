"""Where soft tokens go in a prompt, and which of them see each other.

Shapes: T tokens, N of them placeholders, D hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.config import ModelConfig


class SoftTokens(NamedTuple):
    """Embeddings made by an encoder, and the indices into T (int64) of the placeholders that they replace."""

    rows_N: Tensor
    values_ND: Tensor


def place(tokens_T: Tensor, soft: Mapping[str, Sequence[Tensor]], config: ModelConfig) -> SoftTokens:
    """Soft tokens by modality ("image", "audio", "video"), [N_i, D] each, laid on their placeholders in order.

    ValueError if there are more or fewer of them than placeholders of the modality.
    """
    rows: list[Tensor] = []
    values: list[Tensor] = []
    for modality, parts in soft.items():
        rows_N = (tokens_T == _placeholder(modality, config)).nonzero()[:, 0]
        count = sum(len(part) for part in parts)
        if count != len(rows_N):
            raise ValueError(f"{count} soft tokens for {len(rows_N)} {modality} placeholders")
        rows.append(rows_N)
        values += parts
    return SoftTokens(torch.cat(rows), torch.cat(values))


def image_blocks(tokens_T: Tensor, config: ModelConfig) -> Tensor:
    """Number of the image or video frame that each token is of, -1 for all other tokens: int64 [T].

    A block is a run of placeholders; begin and end tokens between them keep images apart.
    """
    placeholders = [_placeholder(modality, config) for modality in ("image", "video")]
    is_image_T = torch.isin(tokens_T, torch.tensor(placeholders, device=tokens_T.device))
    was_image_T = is_image_T.roll(1)
    was_image_T[:1] = False
    return torch.where(is_image_T, (is_image_T & ~was_image_T).cumsum(0) - 1, -1)


def _placeholder(modality: str, config: ModelConfig) -> int:
    ids = {"image": config.image_token_id, "audio": config.audio_token_id, "video": config.video_token_id}
    token_id = ids[modality]
    return -1 if token_id is None else token_id
