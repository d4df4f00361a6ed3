"""What the next forward pass computes: first come, first served; sequences join and leave between passes."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import PagedCache
from model.runtime.prefill_limit import PrefillLimit
from model.runtime.sequence import Sequence


class QueueFullError(RuntimeError):
    """As many requests wait as the runtime allows: try again later or elsewhere."""


class Chunk(NamedTuple):
    """The next `size` uncomputed tokens of a sequence."""

    sequence: Sequence
    size: int

    @property
    def is_last(self) -> bool:
        """Does it complete the sequence's tokens, so that a new one can be drawn?"""
        return self.size == self.sequence.num_pending


@dataclass(frozen=True)
class Plan:
    """One forward pass: a token for each sequence that decodes, then chunks of prompts."""

    decodes: list[Sequence]
    chunks: list[Chunk]

    @property
    def is_empty(self) -> bool:
        return not self.decodes and not self.chunks

    @property
    def num_prompt_tokens(self) -> int:
        return sum(chunk.size for chunk in self.chunks)

    @property
    def drawing(self) -> list[Sequence]:
        """The sequences that get a new token, in the order of the pass."""
        return self.decodes + [chunk.sequence for chunk in self.chunks if chunk.is_last]


class Scheduler:
    """Owns the queue and the running sequences, oldest first; at most the newest has a half computed prompt.

    If the cache cannot hold the running sequences any longer, the newest goes back to the queue's head and is
    computed again later; its random numbers depend on its token count alone, so its answer stays the same.
    """

    def __init__(self, config: RuntimeConfig, cache: PagedCache) -> None:
        self._max_waiting = config.max_waiting
        self._cache = cache
        self._prefill_limit = PrefillLimit(config)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.num_reused_tokens = 0

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queues a new sequence. Raises QueueFullError."""
        if len(self.waiting) >= self._max_waiting:
            raise QueueFullError(f"{len(self.waiting)} requests are waiting already")
        self.waiting.append(sequence)

    def schedule(self, *, others_decode: bool = False) -> Plan:
        """Preempts if it must, admits if it can, and plans the next pass. What it computes has room in the cache.

        A pass stalls this loop's answers, and those of others that step with it, if they decode.
        """
        decodes = self._plan_decodes()
        return Plan(decodes, self._plan_chunks(self._prefill_limit.tokens(bool(decodes) or others_decode)))

    def count(self, plan: Plan, seconds: float) -> None:
        """Counts what a pass has computed, and in which time."""
        self._prefill_limit.observe(plan.num_prompt_tokens, seconds)
        for sequence in plan.decodes:
            self._cache.advance(sequence, 1)
        for sequence, size in plan.chunks:
            self._cache.advance(sequence, size)

    def remove(self, sequences: list[Sequence]) -> None:
        """Takes sequences out, waiting or running; what they held is free at once."""
        for sequence in sequences:
            if sequence in self.running:
                self.running.remove(sequence)
                self._cache.free(sequence)
            elif sequence in self.waiting:
                self.waiting.remove(sequence)

    def _plan_decodes(self) -> list[Sequence]:
        decodes: list[Sequence] = []
        for sequence in list(self.running):
            if sequence.num_pending > 1:
                continue
            while sequence in self.running and not self._cache.extend(sequence, len(sequence.tokens)):
                self._preempt()
            if sequence in self.running:
                decodes.append(sequence)
        return decodes

    def _plan_chunks(self, left: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        if self.running and self.running[-1].num_pending > 1:
            left -= self._add_chunk(chunks, left)
        # A chunk may stop short of its limit in front of an image; nobody overtakes a half computed prompt.
        while left > 0 and all(chunk.is_last for chunk in chunks) and self._admit():
            size = self._add_chunk(chunks, left)
            if size == 0:
                break
            left -= size
        return chunks

    def _add_chunk(self, chunks: list[Chunk], limit: int) -> int:
        """Plans a chunk of the newest; 0, and it waits again, if its pages are taken by others."""
        newest = self.running[-1]
        size = newest.chunk_size(limit)
        if not self._cache.extend(newest, newest.num_cached + size):
            self._preempt()
            return 0
        chunks.append(Chunk(newest, size))
        return size

    def _admit(self) -> bool:
        if not self.waiting or not self._cache.admit(self.waiting[0]):
            return False
        sequence = self.waiting.popleft()
        if sequence.num_reused is None:
            sequence.num_reused = min(sequence.num_cached, sequence.prompt_length)
        self.num_reused_tokens += sequence.num_cached
        self.running.append(sequence)
        return True

    def _preempt(self) -> None:
        newest = self.running.pop()
        self._cache.free(newest)
        self.waiting.appendleft(newest)
        self.num_preemptions += 1
