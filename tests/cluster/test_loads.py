"""The load monitor: what Serve's status and this gateway's own counts mean for routing and health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview, ServeStatus

from cluster.config import VariantConfig
from cluster.loads import _READY_PERIOD_S, LoadMonitor, ReplicaCount
from cluster.routing import VariantLoad

APP = "app"
SetStatus = Callable[..., None]


def _app(**replicas: dict[ReplicaState, int]) -> ApplicationStatusOverview:
    deployments = {
        name: DeploymentStatusOverview(
            DeploymentStatus.HEALTHY, DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED, states, ""
        )
        for name, states in replicas.items()
    }
    return ApplicationStatusOverview(ApplicationStatus.RUNNING, "", 0.0, deployments)


@pytest.fixture
def set_status(monkeypatch: pytest.MonkeyPatch) -> SetStatus:
    """`set_status(a={RUNNING: 1})`: what the Serve controller answers from now on."""

    def set_(**replicas: dict[ReplicaState, int]) -> None:
        status = ServeStatus(applications={APP: _app(**replicas)})
        monkeypatch.setattr(serve, "status", lambda: status)

    return set_


def _monitor(in_flight: int = 0, **config: Any) -> LoadMonitor:
    variants = {name: VariantConfig(**config) for name in ("a", "b")}
    gates = {name: SimpleNamespace(in_flight=in_flight, waiting=0, resize=lambda *_: None) for name in variants}
    return LoadMonitor(APP, variants, gates)  # type: ignore[arg-type]


def test_before_the_first_answer_nothing_runs() -> None:
    monitor = _monitor()
    assert monitor.count("a") == ReplicaCount(0, 0)
    assert not monitor.is_ready


async def test_running_replicas_are_counted_and_starting_ones_are_not(set_status: SetStatus) -> None:
    monitor = _monitor()
    set_status(a={ReplicaState.RUNNING: 2, ReplicaState.STARTING: 1}, b={ReplicaState.STARTING: 1})
    await monitor.refresh()
    assert (monitor.count("a").running, monitor.count("b").running) == (2, 0)
    assert monitor.count("a").target == 3
    assert monitor.loads()["a"] == VariantLoad(running_replicas=2, ongoing=0, waiting=0)


async def test_a_deployment_or_application_that_is_not_there_has_no_replicas(
    set_status: SetStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = _monitor()
    set_status(a={ReplicaState.RUNNING: 1})
    await monitor.refresh()
    assert monitor.count("b") == ReplicaCount(0, 0)
    monkeypatch.setattr(serve, "status", ServeStatus)
    await monitor.refresh()
    assert monitor.count("a") == ReplicaCount(0, 0)


@pytest.mark.parametrize(("in_flight", "running", "waiting"), [(0, 1, 0), (8, 1, 0), (11, 1, 3), (11, 2, 0), (3, 0, 3)])
async def test_waiting_is_what_the_batches_cannot_hold(
    set_status: SetStatus, in_flight: int, running: int, waiting: int
) -> None:
    monitor = _monitor(in_flight, max_batch_size=8)
    set_status(a={ReplicaState.RUNNING: running})
    await monitor.refresh()
    assert monitor.loads()["a"] == VariantLoad(running_replicas=running, ongoing=in_flight, waiting=waiting)


async def test_how_long_replicas_took_to_start_says_when_the_next_is_ready(set_status: SetStatus) -> None:
    monitor, now = _monitor(), [0.0]
    monitor._clock = lambda: now[0]
    for at, states in ((0.0, {}), (10.0, {ReplicaState.STARTING: 1}), (50.0, {ReplicaState.RUNNING: 1}), (60.0, {})):
        now[0] = at
        set_status(a=states, b={})
        await monitor.refresh()
    loads = monitor.loads()
    assert (loads["a"].ready_in_s, loads["b"].ready_in_s) == (40.0, None)
    set_status(a={ReplicaState.STARTING: 1}, b={})
    await monitor.refresh()
    now[0] = 75.0
    assert monitor.loads()["a"].ready_in_s == 25.0


async def test_the_controller_is_asked_again_as_soon_as_a_request_is_held(set_status: SetStatus) -> None:
    monitor = _monitor()
    set_status(a={ReplicaState.RUNNING: 1}, b={ReplicaState.RUNNING: 1})
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(monitor.run())
        while not monitor.is_ready:
            await asyncio.sleep(0.01)
        set_status(a={}, b={ReplicaState.RUNNING: 1})
        started = time.monotonic()
        monitor._gates["a"].on_hold()
        while monitor.is_ready:
            await asyncio.sleep(0.01)
        assert time.monotonic() - started < _READY_PERIOD_S - 1
        running.cancel()


@pytest.mark.parametrize(
    ("least", "running", "is_ready", "can_answer"),
    [
        (1, (1, 1), True, True),
        (1, (1, 0), False, True),
        (1, (0, 0), False, False),
        (0, (0, 0), True, True),
        (3, (1, 1), True, True),
    ],
)
async def test_ready_means_one_replica_for_each_that_must_have_some(
    set_status: SetStatus, least: int, running: tuple[int, int], is_ready: bool, can_answer: bool
) -> None:
    monitor = _monitor(replicas={"min": least, "max": 3})
    set_status(a={ReplicaState.RUNNING: running[0]}, b={ReplicaState.RUNNING: running[1]})
    await monitor.refresh()
    assert (monitor.is_ready, monitor.can_answer) == (is_ready, can_answer)
