"""Two strided convolutions over time and frequency: four mel frames become one token.

Shapes: F mel frames, M mel bins, T tokens, C channels, S = M/4 bands, D hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import AudioConfig
from model.layers import Layer, Linear, noise

_STRIDE = 2


class StridedConv(Layer):
    """3x3 convolution that halves both sides (rounding up), layer norm over channels, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, eps: float) -> None:
        super().__init__()
        self.kernel = noise(out_channels, in_channels, 3, 3)
        self.norm_weight = nn.Parameter(torch.ones(out_channels))
        self._eps = eps

    def forward(self, x_CFM: Tensor) -> Tensor:
        """[C_in, F, M] -> [C_out, F/2, M/2]."""
        x_FMC = F.conv2d(x_CFM[None], self.kernel, stride=_STRIDE, padding=1)[0].permute(1, 2, 0)
        return F.layer_norm(x_FMC, self.norm_weight.shape, self.norm_weight, None, self._eps).relu().permute(2, 0, 1)


class Subsampling(Layer):
    """Mel frames to tokens of the tower's width."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        first, second = config.conv_channels
        self.first = StridedConv(1, first, config.rms_norm_eps)
        self.second = StridedConv(first, second, config.rms_norm_eps)
        # There are as many mel bins as first channels.
        self.projection = Linear(first // _STRIDE**2 * second, config.hidden_size)

    def forward(self, mel_FM: Tensor) -> Tensor:
        """[F, M] -> [T, D]."""
        x_CTS = self.second(self.first(mel_FM[None].to(self.projection.weight)))
        x_TD: Tensor = self.projection(x_CTS.permute(1, 2, 0).flatten(1))
        return x_TD
