"""The Sentinels of a service."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.sentinel import Sentinel


class Sentinels(Sentinel):
    """Asked by one connection at a time: redis-py moves the one that answers to the front of the list it walks.

    Two that walk it together would both miss that one, and take the primary for unknown.
    """

    def __init__(self, hosts: tuple[tuple[str, int], ...], sentinel_options: dict[str, Any]) -> None:
        """`sentinel_options` are redis-py's, of connections to the Sentinels themselves."""
        super().__init__(hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        self._lock = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary. Raises MasterNotFoundError when no Sentinel knows one that is up."""
        async with self._lock:
            host, port = await super().discover_master(service_name)
            return host, port
