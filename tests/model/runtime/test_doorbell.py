"""A ring wakes every rank; strangers wake nobody; nobody waits beyond the limit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from model.runtime.doorbell import Doorbell

SECRET = b"0123456789abcdef"
LONG_S = 20.0


@pytest.fixture
def bells() -> Iterator[list[Doorbell]]:
    made = [Doorbell("127.0.0.1") for _ in range(3)]
    for bell in made:
        bell.connect([other.address for other in made], SECRET)
    yield made
    for bell in made:
        bell.close()


def test_a_ring_is_heard_everywhere_even_by_who_waits_later(bells: list[Doorbell]) -> None:
    bells[1].ring()
    bells[1].ring()
    assert all(bell.wait(LONG_S) for bell in bells)
    assert not any(bell.wait(0.01) for bell in bells), "a ring was heard twice"


def test_who_waits_wakes_at_once(bells: list[Doorbell]) -> None:
    threading.Timer(0.1, bells[0].ring).start()
    started = time.monotonic()
    assert bells[2].wait(LONG_S)
    assert time.monotonic() - started < LONG_S / 4


def test_strangers_wake_nobody(bells: list[Doorbell]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for message in (b"", b"wake up", SECRET + b"x", SECRET[::-1]):
            stranger.sendto(message, bells[0].address)
        assert not bells[0].wait(0.1)


def test_ranks_that_are_gone_do_no_harm(bells: list[Doorbell]) -> None:
    bells[0].close()
    bells[0].ring()
    bells[1].ring()
    assert bells[2].wait(LONG_S)
