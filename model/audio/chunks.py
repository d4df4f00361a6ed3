"""Cuts a row of tokens into chunks, and finds the context that each chunk attends to.

Shapes: T tokens, U chunks, C tokens of a chunk, X tokens of its context, R relative positions, H heads, E head
dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import AudioConfig


@dataclass(frozen=True)
class Chunks:
    """`num_tokens` tokens in chunks of `size`; a context goes `past` tokens back and `future` ahead of its chunk."""

    num_tokens: int
    size: int
    past: int
    future: int

    @classmethod
    def of(cls, num_tokens: int, config: AudioConfig) -> Chunks:
        return cls(num_tokens, config.chunk_size, config.context_left - 1, config.context_right)

    @property
    def count(self) -> int:
        return -(-self.num_tokens // self.size)

    @property
    def context_size(self) -> int:
        return self.past + self.size + self.future

    def split(self, x_THE: Tensor) -> Tensor:
        """[T, H, E] -> [U, C, H, E], zeros at the end."""
        return F.pad(x_THE, (0, 0, 0, 0, 0, self._missing)).reshape(self.count, self.size, *x_THE.shape[1:])

    def contexts(self, x_THE: Tensor) -> Tensor:
        """[T, H, E] -> [U, X, H, E], overlapping; zeros before the first token and after the last."""
        padded_THE = F.pad(x_THE, (0, 0, 0, 0, self.past, self.future + self._missing))
        return padded_THE.unfold(0, self.context_size, self.size).movedim(-1, 1)

    def visible(self, device: torch.device) -> Tensor:
        """[U, C, X]: may the token see that of its context? `past` (itself included) back, less than `future` ahead."""
        asking_UC1 = torch.arange(self.count * self.size, device=device).view(self.count, self.size, 1)
        asked_U1X = asking_UC1[:, :1] - self.past + torch.arange(self.context_size, device=device)
        distance_UCX = asking_UC1 - asked_U1X
        is_near_UCX = (distance_UCX < self.past) & ((distance_UCX >= 0) | (-distance_UCX < self.future))
        return is_near_UCX & (asked_U1X >= 0) & (asked_U1X < self.num_tokens)

    def align(self, score_HUCR: Tensor) -> Tensor:
        """Scores by relative position, from the farthest back to 0, to scores by context token: [H, U, C, X].

        Row c moves c places right, by reading rows of X out of rows of X + 1 (Transformer-XL, appendix B).
        """
        width = self.context_size
        padded_HUCX = F.pad(score_HUCR, (0, width + 1 - score_HUCR.shape[-1]))
        return padded_HUCX.flatten(2)[..., : self.size * width].reshape(*score_HUCR.shape[:3], width)

    @property
    def _missing(self) -> int:
        return self.count * self.size - self.num_tokens
