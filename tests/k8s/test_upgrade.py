"""The switch of k8s/README.md, as far as one machine goes: gateways of an old and a new cluster behind one Service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.client import Client
from tests.cluster.conftest import MakeGateway
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway
from tests.k8s.haproxy import HaProxy

CALLERS, WORDS = 4, "one two three four five six seven eight"
STEP_S = 0.01
LEAVING = {"drain_notice_s": 0.5, "drain_grace_s": 20}


class Load:
    """Callers that ask, one answer after the other, until they are told to stop; what went wrong is kept."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopped = threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(CALLERS)
        self._callers = [self._pool.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for caller in self._callers:
            caller.result(30)
        self._pool.shutdown()

    def _call(self) -> None:
        with Client(self._address, timeout_s=20, retries=4) as client:
            while not self._stopped.is_set():
                try:
                    pieces = client.stream(WORDS, model=SMALL, max_output_tokens=64)
                    self.answers.append("".join(piece.text for piece in pieces))
                except Exception as error:  # whatever it is, a caller would have seen it
                    self.failures.append(f"{type(error).__name__}: {error}")

    def goes_on(self, answers: int = 2 * CALLERS) -> None:
        """Returns once there are that many more answers."""
        wanted = len(self.answers) + answers
        self.until(lambda: len(self.answers) >= wanted)

    def until(self, happened: Callable[[], bool]) -> None:
        """Waits for it, under load."""
        deadline = time.monotonic() + 20
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_no_call_is_dropped_while_a_new_cluster_takes_over(
    make_gateway: MakeGateway, tmp_path: Path, mode: str
) -> None:
    old, new = _slow(make_gateway(**LEAVING)), _slow(make_gateway(**LEAVING))
    new.loop.run(new.server.set_serving(False))
    with HaProxy(tmp_path, mode, {"old": old.address, "new": new.address}) as proxy, Load(proxy.address) as load:
        load.goes_on()
        assert not new.engine().requests
        new.loop.run(new.server.set_serving(True))  # its replicas are there
        load.goes_on()
        with Client(old.address) as client:  # the old cluster is deleted: what preStop runs
            assert client.drain() == 0
        last = len(old.engine().requests)
        old.stop(0)
        load.goes_on()
        assert len(old.engine().requests) == last
    assert load.failures == []
    assert new.engine().requests
    assert set(load.answers) == {load.answers[0]}


def test_calls_are_dropped_if_a_gateway_ends_without_a_drain(make_gateway: MakeGateway, tmp_path: Path) -> None:
    """So the load above would notice."""
    old, new = _slow(make_gateway(**LEAVING)), _slow(make_gateway(**LEAVING))
    halfway = threading.Event()

    async def hook(at: int, output: object) -> None:
        if at == 2:
            halfway.set()
            await asyncio.Event().wait()

    old.engine().hook = hook
    with HaProxy(tmp_path, "http", {"old": old.address, "new": new.address}) as proxy, Load(proxy.address) as load:
        assert halfway.wait(20)
        old.stop(0)
        load.until(lambda: bool(load.failures))


def _slow(gateway: LocalGateway) -> LocalGateway:
    """Answers that take long enough to be cut off."""

    async def hook(at: int, output: object) -> None:
        await asyncio.sleep(STEP_S)

    gateway.engine().hook = hook
    return gateway
