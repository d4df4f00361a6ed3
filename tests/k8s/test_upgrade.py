"""The switch of k8s/README.md, as far as one machine goes: gateways of an old and a new cluster behind one Service."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from cluster.client import Client
from tests.cluster.conftest import MakeGateway
from tests.cluster.gateway.local_gateway import LocalGateway
from tests.k8s.haproxy import HaProxy
from tests.k8s.load import Load

STEP_S = 0.01
LEAVING = {"drain_notice_s": 0.5, "drain_grace_s": 20}


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
