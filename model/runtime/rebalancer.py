"""Copies of experts follow what tokens ask for, while the ranks go on stepping."""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path

import torch
import torch.distributed as dist

from model.checkpoint import CheckpointError
from model.dispatch import AllToAllDispatcher
from model.expert_balance import balanced_placement, busiest_share
from model.expert_placement import ExpertPlacement
from model.expert_shard import mixtures
from model.expert_source import ExpertSource
from model.moe import MixtureOfExperts
from model.runtime.gang import GangError
from model.transformer import Transformer

logger = logging.getLogger(__name__)
# What busiest ranks gain must be worth the reading.
_LEAST_GAIN = 0.05


class Rebalancer:
    """After every `period` passes looks at each layer, one after each of the passes that follow.

    All ranks count passes alike, sum what each has counted, and come to the same placement; each then reads, between
    two passes, the experts that are new to it from the checkpoint, over those that go.
    """

    def __init__(self, model: Transformer, path: Path, rank: int, period: int) -> None:
        """`model` is connected to the other ranks; its experts are not quantised."""
        self._layers = [moe for _, moe in mixtures(model)]
        self._source, self._rank, self._period = ExpertSource(path), rank, period
        self._num_passes = 0
        self._due: deque[int] = deque()

    @torch.inference_mode()
    def after_pass(self) -> None:
        """Called by all ranks, after each pass. GangError if the checkpoint or another rank is lost."""
        self._num_passes += 1
        if self._num_passes % self._period == 0:
            self._due = deque(range(len(self._layers)))
        if self._due:
            try:
                self._look_at(self._due.popleft())
            except (CheckpointError, RuntimeError) as error:
                raise GangError(f"experts could not be moved: {error}") from error

    def close(self) -> None:
        """Lets go of the checkpoint."""
        self._source.close()

    def _look_at(self, layer: int) -> None:
        moe = self._layers[layer]
        dispatcher = moe.dispatcher
        assert isinstance(dispatcher, AllToAllDispatcher)
        counts_X = dispatcher.counts_X.clone()
        dist.all_reduce(counts_X)
        counts, before = counts_X.tolist(), dispatcher.placement
        after = balanced_placement(counts, before)
        share, better = busiest_share(counts, before), busiest_share(counts, after)
        if better < share - _LEAST_GAIN:
            num_moved = self._move(layer, moe, before, after)
            logger.info("layer %d: %d experts come here; busiest rank %.2f -> %.2f", layer, num_moved, share, better)
        dispatcher.place(after if better < share - _LEAST_GAIN else before)

    def _move(self, layer: int, moe: MixtureOfExperts, before: ExpertPlacement, after: ExpertPlacement) -> int:
        pairs = zip(before.slots[self._rank], after.slots[self._rank], strict=True)
        arriving = [(slot, new) for slot, (old, new) in enumerate(pairs) if new != old]
        for slot, expert in arriving:
            moe.experts.replace(slot, *self._source.read(layer, expert))
        return len(arriving)
