"""The vision tower as a whole.

Shapes: B images, P patches, N soft tokens, D hidden.
"""

from __future__ import annotations

from torch import Tensor, nn

from model.config import VisionConfig
from model.layers import Layer
from model.vision.layer import VisionLayer
from model.vision.patches import PatchEmbedder, Patches
from model.vision.pooler import Pooler
from model.vision.rope import AxialRotaryEmbedding


class VisionTower(Layer):
    """Patches of B equally large images to N soft tokens each, in rows from the top left."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embedder = PatchEmbedder(config)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_layers))
        self.pooler = Pooler(config)
        self._rotary = AxialRotaryEmbedding(config.rope_theta, config.head_dim)

    def forward(self, patches: Patches) -> Tensor:
        """[B, N, D] in the weights' type. ValueError for more rows or columns than the position table has."""
        longest, known = max(patches.columns, patches.rows), self.embedder.position_table.shape[1]
        if longest > known:  # on a GPU the lookup itself would end the process
            raise ValueError(f"{longest} patches in a row or column; this model has positions for {known}")
        patches = patches.to(self.embedder.position_table.device)
        positions_P2 = patches.positions_P2
        x_BPD = self.embedder(patches.values_BPC, positions_P2)
        angles = self._rotary(positions_P2, x_BPD.dtype)
        for layer in self.layers:
            x_BPD = layer(x_BPD, angles)
        soft_BND: Tensor = self.pooler(x_BPD, patches.columns)
        return soft_BND
