"""Bytes of a medium to its soft tokens: what an engine does once for each medium, and keeps by content hash.

Shapes: N soft tokens, D text hidden.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from model.encoders import Encoders
from model.preprocess.images import image_patches
from model.preprocess.mel import sound_mels
from model.preprocess.video import video_patches
from model.soft_tokens import SoftTokenRules


class MediaEncoder:
    """Decodes, preprocesses and encodes one medium at a time. Keeps no state: threads may share it."""

    def __init__(self, encoders: Encoders, rules: SoftTokenRules) -> None:
        self._encoders = encoders
        self._rules = rules

    @torch.inference_mode()
    def encode(self, data: bytes, mime_type: str, max_soft_tokens: int | None = None) -> Tensor:
        """The soft tokens of a medium, [N, D] on the encoders' device; a video's frame by frame.

        See `parts`.
        """
        return torch.cat(list(self.parts(data, mime_type, max_soft_tokens)))

    @torch.inference_mode()
    def parts(self, data: bytes, mime_type: str, max_soft_tokens: int | None = None) -> Iterator[Tensor]:
        """The same a few frames at a time: between two parts others may have their turn, or it may end.

        N is what soft_tokens.py counts. `mime_type` is one of cluster/media's canonical names; `max_soft_tokens`
        bounds an image, or each frame of a video (None: the checkpoint's rule). Raises UnusableMedia for bytes
        that cannot be decoded, and ValueError if the model has no encoder for them.
        """
        modality = mime_type.partition("/")[0]
        rules = self._rules.at(max_soft_tokens)
        if modality == "audio":
            yield self._encoders.encode_audio(sound_mels(data, mime_type, rules))
        elif modality == "video":
            yield from map(self._encoders.encode_vision, video_patches(data, mime_type, rules))
        else:
            yield self._encoders.encode_vision(image_patches(data, rules))
