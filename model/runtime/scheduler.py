"""What the next forward pass computes: first come, first served; sequences join and leave between passes."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import SlotCache
from model.runtime.sequence import Sequence


class QueueFullError(RuntimeError):
    """As many requests wait as the runtime allows: try again later or elsewhere."""


class Chunk(NamedTuple):
    """The next `size` uncomputed tokens of a sequence, in its cache row."""

    sequence: Sequence
    row: int
    size: int

    @property
    def is_last(self) -> bool:
        """Does it complete the sequence's tokens, so that a new one can be drawn?"""
        return self.size == self.sequence.num_pending


@dataclass(frozen=True)
class Plan:
    """One forward pass: a token for each sequence in rows 0..n-1, then chunks of prompts.

    `room` is what it needs of the cache, as rows and tokens per row.
    """

    decodes: list[Sequence]
    chunks: list[Chunk]
    room: tuple[int, int]

    @property
    def is_empty(self) -> bool:
        return not self.decodes and not self.chunks

    @property
    def drawing(self) -> list[Sequence]:
        """The sequences that get a new token, in the order of the pass."""
        return self.decodes + [chunk.sequence for chunk in self.chunks if chunk.is_last]


class Scheduler:
    """Owns the queue and the rows.

    Rows stay dense and ordered: sequences that decode first, then at most one whose prompt is half computed.
    If the cache cannot hold the running sequences any longer, the newest goes back to the queue's head and is
    computed again later; its random numbers depend on its token count alone, so its answer stays the same.
    """

    def __init__(self, config: RuntimeConfig, cache: SlotCache) -> None:
        self._config = config
        self._cache = cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queues a new sequence. Raises QueueFullError."""
        if len(self.waiting) >= self._config.max_waiting:
            raise QueueFullError(f"{len(self.waiting)} requests are waiting already")
        self.waiting.append(sequence)

    def schedule(self) -> Plan:
        """Preempts if it must, admits if it can, and plans the next pass."""
        while not self._cache.fits(len(self.running), self._longest()):
            self._preempt()
        decodes = [sequence for sequence in self.running if sequence.num_pending == 1]
        chunks = self._plan_chunks()
        return Plan(decodes, chunks, (len(self.running), self._longest()))

    def remove(self, sequences: list[Sequence]) -> None:
        """Takes sequences out, waiting or running; their rows are free at once."""
        for sequence in sequences:
            if sequence in self.waiting:
                self.waiting.remove(sequence)
        rows = [row for row, sequence in enumerate(self.running) if sequence in sequences]
        for row in reversed(rows):  # from the end, so that what leaves is never moved first
            self._vacate(row)

    def _plan_chunks(self) -> list[Chunk]:
        left = self._config.prefill_tokens
        chunks = []
        if self.running and self.running[-1].num_pending > 1:
            chunks.append(self._chunk(left))
            left -= chunks[-1].size
        # A chunk may stop short of its limit in front of an image; nobody overtakes a half computed prompt.
        while left > 0 and all(chunk.is_last for chunk in chunks) and self._can_admit():
            self.running.append(self.waiting.popleft())
            chunks.append(self._chunk(left))
            left -= chunks[-1].size
        return chunks

    def _chunk(self, limit: int) -> Chunk:
        newest = self.running[-1]
        return Chunk(newest, len(self.running) - 1, newest.chunk_size(limit))

    def _can_admit(self) -> bool:
        if not self.waiting or len(self.running) == self._config.max_batch_size:
            return False
        longest = max(self._longest(), len(self.waiting[0].tokens))
        return self._cache.fits(len(self.running) + 1, longest)

    def _longest(self) -> int:
        return max((len(sequence.tokens) for sequence in self.running), default=0)

    def _preempt(self) -> None:
        newest = self.running.pop()
        newest.num_cached = 0
        self.waiting.appendleft(newest)
        self.num_preemptions += 1

    def _vacate(self, row: int) -> None:
        """Fills the hole with the last decoding row, and that one's with a half computed prompt behind it."""
        last = len(self.running) - 1
        if row < last and self.running[last].num_pending > 1:
            self._move(last - 1, row)
            row = last - 1
        self._move(last, row)
        self.running.pop()

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self._cache.move(source, target, self.running[source].num_cached)
            self.running[target] = self.running[source]
