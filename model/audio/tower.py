"""The audio tower as a whole.

Shapes: F mel frames, M mel bins, N soft tokens, D hidden, O output size.
"""

from __future__ import annotations

from torch import Tensor, nn

from model.audio.attention import relative_positions
from model.audio.chunks import Chunks
from model.audio.layer import ConformerLayer
from model.audio.subsampling import Subsampling
from model.config import AudioConfig
from model.layers import Layer, Linear


class AudioTower(Layer):
    """The mel frames of one sound to N = F/4 (rounded up) soft tokens."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.subsampling = Subsampling(config)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_layers))
        self.output = Linear(config.hidden_size, config.output_size, has_bias=True)
        self._config = config
        # No buffer: it stays float32 when the model is cast, and real on a "meta" model.
        self._positions_RD = relative_positions(config)

    def forward(self, mel_FM: Tensor) -> Tensor:
        """[F, M] -> [N, O] in the weights' type."""
        x_ND = self.subsampling(mel_FM)
        chunks = Chunks.of(len(x_ND), self._config)
        positions_RD, visible_UCX = self._positions_RD.to(x_ND), chunks.visible(x_ND.device)
        for layer in self.layers:
            x_ND = layer(x_ND, positions_RD, chunks, visible_UCX)
        soft_NO: Tensor = self.output(x_ND)
        return soft_NO
