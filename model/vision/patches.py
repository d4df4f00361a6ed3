"""Patches of one image, or of equally large frames, and their linear embedding with learned positions.

Shapes: B images, P patches of each in rows from the top left, C numbers in a patch, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import VisionConfig
from model.layers import Layer, Linear, noise

_CHANNELS = 3


@dataclass(frozen=True)
class Patches:
    """`values_BPC` in 0..1, float32; C runs over rows, columns and RGB of a patch. `columns` patches are a row."""

    values_BPC: Tensor
    columns: int

    def __post_init__(self) -> None:
        if self.columns < 1 or self.values_BPC.dim() != 3 or self.values_BPC.shape[1] % self.columns:
            raise ValueError(f"patches {list(self.values_BPC.shape)} are not rows of {self.columns}")

    def to(self, device: torch.device) -> Patches:
        return replace(self, values_BPC=self.values_BPC.to(device))

    @property
    def rows(self) -> int:
        return self.values_BPC.shape[1] // self.columns

    @property
    def positions_P2(self) -> Tensor:
        """(x, y) of each patch in its image, int64."""
        index_P = torch.arange(self.values_BPC.shape[1], device=self.values_BPC.device)
        return torch.stack((index_P % self.columns, index_P // self.columns), -1)


class PatchEmbedder(Layer):
    """A projection of the pixels plus one learned vector for the column and one for the row."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.projection = Linear(_CHANNELS * config.patch_size**2, config.hidden_size)
        self.position_table: nn.Parameter = noise(2, config.position_table_size, config.hidden_size)

    def forward(self, values_BPC: Tensor, positions_P2: Tensor) -> Tensor:
        """[B, P, C] -> [B, P, D]."""
        x_BPC = (2 * (values_BPC - 0.5)).to(self.position_table.dtype)
        x_table_LD, y_table_LD = self.position_table
        position_PD = F.embedding(positions_P2[:, 0], x_table_LD) + F.embedding(positions_P2[:, 1], y_table_LD)
        embedded_BPD: Tensor = self.projection(x_BPC) + position_PD
        return embedded_BPD
