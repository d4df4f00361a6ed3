"""A TCP relay in front of a local server: counts its round trips, and can hold everything back as a broken network
does, with no connection closed."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType

from tests.ports import free_port


class Relay:
    """On a thread of its own. `round_trips` are questions so far: what went to the server after something came back."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self.round_trips = 0
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def __enter__(self) -> Relay:
        self._passes.set()
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, seconds: float) -> None:
        """Nothing passes for so long, either way, and nobody is told; what was sent meanwhile comes late."""
        self._loop.call_soon_threadsafe(self._passes.clear)
        try:
            time.sleep(seconds)
        finally:
            self._loop.call_soon_threadsafe(self._passes.set)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        connection = _Connection(self)
        await asyncio.gather(
            connection.pass_on(reader, to_writer, is_question=True),
            connection.pass_on(to_reader, writer, is_question=False),
        )

    async def may_pass(self) -> None:
        """Returns at once unless everything is held back."""
        await self._passes.wait()


class _Connection:
    """One of those that are relayed."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._is_asking = False

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_question: bool) -> None:
        """One way, until it ends."""
        try:
            while data := await reader.read(65536):
                await self._relay.may_pass()
                self._relay.round_trips += is_question and not self._is_asking
                self._is_asking = is_question
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()
