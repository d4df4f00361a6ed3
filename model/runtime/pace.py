"""When a loop steps: alone whenever it has work, in a gang whenever any rank has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from model.expert_shard import ExpertShard
from model.runtime.gang import Gang, GangSeat, Intent
from model.runtime.rebalancer import Rebalancer
from model.transformer import Transformer


class Pace(Protocol):
    """`changed` guards what `has_news` reads; `wake` is called under it, from any thread, when that becomes true.

    `others_decode`: a pass of this loop stalls answers of others. `is_alone`: there are no others.
    """

    is_alone: bool
    others_decode: bool

    def wait(self, changed: threading.Condition, has_news: Callable[[], bool]) -> None:
        """Sleeps until there may be something to do."""
        ...

    def wake(self, changed: threading.Condition) -> None:
        """Ends `wait`."""
        ...

    def agree(self, ours: Intent) -> Intent:
        """What is done next, given what this loop would do."""
        ...

    def after_pass(self) -> None:
        """A pass has been computed."""
        ...

    def leave(self) -> None:
        """The loop has ended."""
        ...


class Alone:
    """A loop that has all experts."""

    is_alone = True
    others_decode = False

    def wait(self, changed: threading.Condition, has_news: Callable[[], bool]) -> None:
        """See Pace."""
        with changed:
            changed.wait_for(has_news)

    def wake(self, changed: threading.Condition) -> None:
        """See Pace."""
        changed.notify()

    def agree(self, ours: Intent) -> Intent:
        """See Pace."""
        return ours

    def after_pass(self) -> None:
        """See Pace."""

    def leave(self) -> None:
        """See Pace."""


class Together:
    """A loop that needs the other ranks' experts for each pass, as they need its own.

    While any rank computes, all step without a pause. When none does, all sleep, and wake when one rings.
    """

    is_alone = False

    def __init__(self, gang: Gang, rebalancer: Rebalancer | None = None) -> None:
        self._gang, self._rebalancer = gang, rebalancer
        self._is_busy = self.others_decode = False

    @classmethod
    def join(
        cls, seat: GangSeat, shard: ExpertShard, model: Transformer, checkpoint: Path, rebalance_passes: int
    ) -> Self:
        """Meets the other ranks, and connects a model, loaded from `checkpoint` as this `shard`, to their experts.

        Copies, if the shard has any, are chosen anew after every so many passes.
        """
        gang = Gang.join(seat)
        shard.connect(model, model.config)
        if not shard.num_copies:
            return cls(gang)
        return cls(gang, Rebalancer(model, checkpoint, shard.rank, rebalance_passes))

    def wait(self, changed: threading.Condition, has_news: Callable[[], bool]) -> None:
        """See Pace."""
        if self._is_busy:
            return
        with changed:
            is_idle = not has_news()
        if is_idle:
            self._gang.wait()
        else:
            self._gang.ring()

    def wake(self, changed: threading.Condition) -> None:
        """See Pace. Rings everywhere: this loop may be waiting for a rank that sleeps."""
        if not self._is_busy:
            self._gang.ring()

    def agree(self, ours: Intent) -> Intent:
        """See Pace."""
        joint = self._gang.agree(ours)
        self._is_busy, self.others_decode = joint.has_pass, joint.has_decodes
        return joint

    def after_pass(self) -> None:
        """See Pace."""
        if self._rebalancer is not None:
            self._rebalancer.after_pass()

    def leave(self) -> None:
        """See Pace."""
        self._gang.leave()
        if self._rebalancer is not None:
            self._rebalancer.close()
