"""When redis-py's client of a cluster may send a transaction again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError

T = TypeVar("T")

# A slot moves once; more is a cluster that is being changed meanwhile.
_TIMES = 5


class MovedOnly(Retry):
    """Where its slot has moved: then nothing was carried out. Single commands and pipelines follow by themselves."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), _TIMES)

    def get_retries(self) -> int:
        """None after a lost connection, for what was sent may have been carried out."""
        return 0

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """As redis-py calls it around a transaction."""
        return await super().call_with_retry(do, fail, _has_moved, with_failure_count)


def _has_moved(error: Exception) -> bool:
    return isinstance(error, MovedError)
