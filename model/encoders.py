"""From preprocessed media to soft tokens in the text decoder's embedding space.

Shapes: B images or frames, N soft tokens, F mel frames, M mel bins, S size of a tower's output, D text hidden.
"""

from __future__ import annotations

from torch import Tensor

from model.audio.tower import AudioTower
from model.config import AudioConfig, ModelConfig, VisionConfig
from model.layers import Layer, Linear, rms_norm
from model.vision.patches import Patches
from model.vision.tower import VisionTower


class Projector(Layer):
    """A norm without weight, then a linear map into the text decoder's width."""

    def __init__(self, in_size: int, text_size: int, eps: float) -> None:
        super().__init__()
        self._eps = eps
        self.to_text = Linear(in_size, text_size)

    def forward(self, x_NS: Tensor) -> Tensor:
        """[..., S] -> [..., D]."""
        out_ND: Tensor = self.to_text(rms_norm(x_NS, None, self._eps))
        return out_ND


class VisionEncoder(Layer):
    """Images and video frames to soft tokens."""

    def __init__(self, config: VisionConfig, text_size: int) -> None:
        super().__init__()
        self.tower = VisionTower(config)
        self.projector = Projector(config.hidden_size, text_size, config.rms_norm_eps)

    def forward(self, patches: Patches) -> Tensor:
        """B equally large images -> [B N, D], image by image."""
        out_ND: Tensor = self.projector(self.tower(patches)).flatten(0, 1)
        return out_ND


class AudioEncoder(Layer):
    """Sound to soft tokens."""

    def __init__(self, config: AudioConfig, text_size: int) -> None:
        super().__init__()
        self.tower = AudioTower(config)
        self.projector = Projector(config.output_size, text_size, config.rms_norm_eps)

    def forward(self, mel_FM: Tensor) -> Tensor:
        """[F, M] -> [N, D]."""
        out_ND: Tensor = self.projector(self.tower(mel_FM))
        return out_ND


class Encoders(Layer):
    """The encoders a variant has. Each medium is encoded by itself: its soft tokens depend on nothing else."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        text_size = config.text.hidden_size
        self.vision = None if config.vision is None else VisionEncoder(config.vision, text_size)
        self.audio = None if config.audio is None else AudioEncoder(config.audio, text_size)

    def encode_vision(self, patches: Patches) -> Tensor:
        """An image, or all frames of a video: [B N, D]. ValueError if the variant has no vision encoder."""
        if self.vision is None:
            raise ValueError("this model has no vision encoder")
        soft_ND: Tensor = self.vision(patches)
        return soft_ND

    def encode_audio(self, mel_FM: Tensor) -> Tensor:
        """A sound: [F, M] -> [N, D]. ValueError if the variant has no audio encoder."""
        if self.audio is None:
            raise ValueError("this model has no audio encoder")
        soft_ND: Tensor = self.audio(mel_FM)
        return soft_ND
