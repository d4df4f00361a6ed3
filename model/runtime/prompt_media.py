"""What media add to a prompt: embeddings in place of placeholders, and images that see themselves.

Shapes: P tokens of the prompt, T tokens of a chunk of it, N placeholders, D hidden.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from model.config import ModelConfig
from model.soft_rows import SoftTokens, image_blocks, place


class NamedSpan(NamedTuple):
    """Where a medium's soft tokens begin and end in the prompt, and a name that says what they are."""

    start: int
    end: int
    name: bytes


@dataclass(frozen=True)
class PromptMedia:
    """The soft tokens of a whole prompt. `blocks_P` numbers its images (-1 elsewhere) if the model's images see
    themselves both ways, else None. Media of one name in `spans` have equal soft tokens."""

    soft: SoftTokens
    blocks_P: Tensor | None
    spans: tuple[NamedSpan, ...]

    @classmethod
    def of(
        cls,
        prompt: Sequence[int],
        soft: Mapping[str, Sequence[Tensor]],
        config: ModelConfig,
        names: Mapping[str, Sequence[bytes]] | None = None,
    ) -> Self:
        """From the soft tokens of each modality, in prompt order, and the media's names in the same order.

        Media without names are taken for unlike all others. ValueError if the soft tokens do not fit the placeholders.
        """
        tokens_P = torch.tensor(prompt)
        placed = place(tokens_P, soft, config)
        blocks_P = image_blocks(tokens_P, config) if config.text.has_bidirectional_images else None
        sizes = [len(part) for parts in soft.values() for part in parts]
        if names is None:
            named = [secrets.token_bytes(16) for _ in sizes]
        else:
            named = [name for modality in soft for name in names[modality]]
        return cls(placed, blocks_P, tuple(_spans(placed.rows_N, sizes, named)))

    def names(self, start: int, end: int) -> Iterator[bytes]:
        """Names of the media that reach into prompt tokens start..end."""
        return (span.name for span in self.spans if span.start < end and span.end > start)

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


def _spans(rows_N: Tensor, sizes: Sequence[int], names: Sequence[bytes]) -> Iterator[NamedSpan]:
    for rows, name in zip(torch.split(rows_N, list(sizes)), names, strict=True):
        if len(rows):
            yield NamedSpan(int(rows[0]), int(rows[-1]) + 1, name)
