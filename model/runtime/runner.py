"""Runs one planned forward pass: packs its tokens, attends through the cache, draws the new tokens.

Shapes: T tokens of the pass, N drawn tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from model.attention import KVCache
from model.runtime.gang import GangError
from model.runtime.kv_cache import PagedCache
from model.runtime.sampler import Drawn, Sampler
from model.runtime.scheduler import Plan
from model.runtime.step_attention import DecodeAttention, PrefillAttention, StepAttention
from model.soft_rows import SoftTokens
from model.transformer import Stack, Transformer

if TYPE_CHECKING:
    from model.kernels.decode_attention import DecodeAttentionKernel
    from model.runtime.decode_stack import DecodeStack


class _Inputs(NamedTuple):
    """Of Transformer.forward."""

    tokens_T: Tensor
    positions_T: Tensor
    cache: KVCache
    logits_at_N: Tensor
    soft_tokens: SoftTokens | None
    stack: Stack | None


class Runner:
    """The model and its cache. A pass that fails changes no sequence and may be planned again.

    If the model `is_spread` over ranks, all run a pass or assist in it, and a failure amidst one is a GangError.
    """

    def __init__(
        self,
        model: Transformer,
        cache: PagedCache,
        device: torch.device,
        sampler: Sampler,
        *,
        is_spread: bool = False,
        kernel: DecodeAttentionKernel | None = None,
        stack: DecodeStack | None = None,
    ) -> None:
        self._model = model
        self._cache = cache
        self._device = device
        self._sampler = sampler
        self._is_spread = is_spread
        self._kernel = kernel
        self._stack = stack

    @torch.inference_mode()
    def run(self, plan: Plan) -> list[Drawn]:
        """The new token of each sequence in `plan.drawing`. The caller then counts the tokens as cached."""
        try:
            inputs = self._inputs(plan)
        except Exception:
            self.assist()  # what is wrong with this pass is not the other ranks' affair
            raise
        return self._sampler.sample(self._logits(inputs), plan.drawing)

    @torch.inference_mode()
    def assist(self) -> None:
        """Takes part in the other ranks' pass, if there are any."""
        if self._is_spread:
            with _fatal_to_gang():
                self._model.assist()

    def _logits(self, inputs: _Inputs) -> Tensor:
        with _fatal_to_gang() if self._is_spread else nullcontext():
            logits_NV: Tensor = self._model(*inputs)
            return logits_NV

    def _inputs(self, plan: Plan) -> _Inputs:
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
        drawn_N = self._tensor(drawn_at)
        tokens_T, positions_T = self._tensor(tokens), self._tensor(positions)
        return _Inputs(tokens_T, positions_T, attention, drawn_N, self._joined(soft), self._stack_for(attention))

    def _stack_for(self, attention: StepAttention) -> Stack | None:
        row = attention.single_row
        return None if self._stack is None or row is None else partial(self._stack, row)

    def _attention(self, plan: Plan, positions: list[int]) -> StepAttention:
        parts: list[tuple[int, KVCache]] = []
        if plan.decodes:
            rows = [sequence.row for sequence in plan.decodes]
            attention = DecodeAttention(self._cache, rows, positions[: len(rows)], self._device, self._kernel)
            parts.append((len(rows), attention))
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


@contextmanager
def _fatal_to_gang() -> Iterator[None]:
    """Ranks that were left in the middle of a pass wait for rows that nobody sends."""
    try:
        yield
    except Exception as error:
        raise GangError(f"a pass over all ranks failed: {error}") from error
