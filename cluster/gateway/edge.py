"""The edge of the gateway: every error that leaves it passes here and becomes a precise gRPC status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_status import rpc_status

from cluster.errors import ClusterError, Overloaded, Unavailable
from cluster.gateway.request_record import current_record

logger = logging.getLogger("ray.serve.gemma_cluster.gateway")


class Edge:
    """Counts the requests in flight, refuses what is too many, and maps errors to statuses."""

    def __init__(self, max_concurrent_requests: int) -> None:
        self._limit = max_concurrent_requests
        self._running: set[asyncio.Task[Any]] = set()
        self._cut_off: set[asyncio.Task[Any]] = set()

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return len(self._running)

    def stand_aside(self) -> None:
        """The RPC of this task waits for the others: it is no longer one of those in flight."""
        self._running.discard(_this_task())

    def cut_off(self) -> int:
        """Ends the requests in flight with UNAVAILABLE. Returns how many there are."""
        self._cut_off |= self._running
        for task in self._running:
            task.cancel()
        return len(self._running)

    @asynccontextmanager
    async def guard(self, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncGenerator[None, None]:
        """Around one RPC. An error inside aborts the RPC with its status; nobody sees a traceback."""
        task = _this_task()
        self._running.add(task)
        try:
            self._admit()
            yield
        except asyncio.CancelledError:
            if task not in self._cut_off:
                raise  # by the caller, or its deadline
            task.uncancel()
            why = "this gateway shuts down, and the answer took longer than what is left to it"
            await _abort(context, Unavailable(why))
        except ClusterError as error:
            await _abort(context, error)
        except (grpc.aio.AbortError, GeneratorExit):
            raise
        except Exception:
            logger.exception("unexpected error")
            await _abort(context, ClusterError("internal error; the gateway's log has the details"))
        finally:
            self._running.discard(task)
            self._cut_off.discard(task)

    def _admit(self) -> None:
        if self.in_flight > self._limit:
            raise Overloaded(f"this gateway answers {self._limit} requests already")


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ClusterError) -> None:
    current_record().failed(error)
    await context.abort_with_status(rpc_status.to_status(error.to_status()))  # type: ignore[attr-defined]
