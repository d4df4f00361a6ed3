"""Runs one planned forward pass: packs its tokens, attends through the cache, draws the new tokens.

Shapes: T tokens of the pass, N drawn tokens.
"""

import torch
from torch import Tensor

from model.attention import KVCache
from model.runtime.kv_cache import PagedCache
from model.runtime.sampler import Drawn, Sampler
from model.runtime.scheduler import Plan
from model.runtime.step_attention import DecodeAttention, PrefillAttention, StepAttention
from model.soft_rows import SoftTokens
from model.transformer import Transformer


class Runner:
    """The model and its cache. A pass that fails changes no sequence and may be planned again."""

    def __init__(self, model: Transformer, cache: PagedCache, device: torch.device, sampler: Sampler) -> None:
        self._model = model
        self._cache = cache
        self._device = device
        self._sampler = sampler

    @torch.inference_mode()
    def run(self, plan: Plan) -> list[Drawn]:
        """The new token of each sequence in `plan.drawing`. The caller then counts the tokens as cached."""
        tokens = [sequence.tokens[-1] for sequence in plan.decodes]
        positions = [sequence.num_cached for sequence in plan.decodes]
        drawn_at = list(range(len(tokens)))
        soft: list[SoftTokens] = []
        for sequence, size in plan.chunks:
            start = sequence.num_cached
            if sequence.media is not None:
                soft.append(sequence.media.chunk(start, start + size, len(tokens)))
            tokens += sequence.tokens[start : start + size]
            positions += range(start, start + size)
            if size == sequence.num_pending:
                drawn_at.append(len(tokens) - 1)
        attention = self._attention(plan, positions)
        logits_NV = self._model(
            self._tensor(tokens), self._tensor(positions), attention, self._tensor(drawn_at), self._joined(soft)
        )
        return self._sampler.sample(logits_NV, plan.drawing)

    def _attention(self, plan: Plan, positions: list[int]) -> StepAttention:
        parts: list[tuple[int, KVCache]] = []
        if plan.decodes:
            rows = [sequence.row for sequence in plan.decodes]
            parts.append((len(rows), DecodeAttention(self._cache, rows, positions[: len(rows)], self._device)))
        for sequence, size in plan.chunks:
            start, media = sequence.num_cached, sequence.media
            parts.append((size, PrefillAttention(self._cache, sequence.row, start, size, self._device, media)))
        return StepAttention(parts)

    def _joined(self, soft: list[SoftTokens]) -> SoftTokens | None:
        if not any(len(part.rows_N) for part in soft):
            return None
        rows_N = torch.cat([part.rows_N for part in soft]).to(self._device)
        return SoftTokens(rows_N, torch.cat([part.values_ND for part in soft]).to(self._device))

    def _tensor(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self._device)
