"""What media add to a prompt: embeddings in place of placeholders, and images that see themselves.

Shapes: P tokens of the prompt, T tokens of a chunk of it, N placeholders, D hidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from model.config import ModelConfig
from model.soft_rows import SoftTokens, image_blocks, place


@dataclass(frozen=True)
class PromptMedia:
    """The soft tokens of a whole prompt. `blocks_P` numbers its images (-1 elsewhere) if the model's images see
    themselves both ways, else None."""

    soft: SoftTokens
    blocks_P: Tensor | None

    @classmethod
    def of(cls, prompt: Sequence[int], soft: Mapping[str, Sequence[Tensor]], config: ModelConfig) -> Self:
        """From the soft tokens of each modality, in prompt order. ValueError if they do not fit the placeholders."""
        tokens_P = torch.tensor(prompt)
        is_bidirectional = config.text.has_bidirectional_images
        return cls(place(tokens_P, soft, config), image_blocks(tokens_P, config) if is_bidirectional else None)

    def chunk(self, start: int, end: int, offset: int) -> SoftTokens:
        """The soft tokens of prompt tokens start..end, their rows counted so that `start` is row `offset`."""
        rows_N, values_ND = self.soft
        is_inside_N = (rows_N >= start) & (rows_N < end)
        return SoftTokens(rows_N[is_inside_N] - start + offset, values_ND[is_inside_N])

    def whole_blocks(self, start: int, end: int) -> int:
        """`end`, moved so that it cuts no image: to the image's begin, or behind it if it begins at `start`."""
        blocks = self.blocks_P
        if blocks is None or not 0 < end < len(blocks) or blocks[end] < 0 or blocks[end - 1] != blocks[end]:
            return end
        rows = (blocks == blocks[end]).nonzero()[:, 0]
        first, last = int(rows[0]), int(rows[-1])
        return first if first > start else last + 1

    def same_image(self, asking_n: Tensor, asked_C: Tensor) -> Tensor | None:
        """[n, C]: are both tokens of one image? None if that makes no difference. Takes places in the sequence."""
        if self.blocks_P is None:
            return None
        asking_n1, asked_C = self._block(asking_n)[:, None], self._block(asked_C)
        return (asking_n1 == asked_C) & (asking_n1 >= 0)

    def _block(self, places: Tensor) -> Tensor:
        """Answers, which follow the prompt, hold no images."""
        assert self.blocks_P is not None
        blocks = self.blocks_P[places.cpu().clamp(max=len(self.blocks_P) - 1)]
        return blocks.masked_fill(places.cpu() >= len(self.blocks_P), -1).to(places.device)
