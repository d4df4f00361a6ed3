"""Wakes the idle ranks of a gang: a datagram to each."""

from __future__ import annotations

import select
import socket
import time
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]

_SECRET_BYTES = 16


class Doorbell:
    """Rings everywhere at once, here too, from any thread. A ring may be lost: whoever waits also sets a time limit.

    Datagrams without the gang's secret are ignored.
    """

    def __init__(self, host: str) -> None:
        """`host` is this machine's address as the other ranks know it."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        self._peers: list[Address] = []
        self._secret = b""

    @property
    def address(self) -> Address:
        """Where it is rung."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def connect(self, peers: list[Address], secret: bytes) -> None:
        """Makes all ranks' bells known, this one's included."""
        assert len(secret) == _SECRET_BYTES
        self._peers, self._secret = peers, secret

    def ring(self) -> None:
        """Wakes every rank that waits, or makes its next wait end at once."""
        for peer in self._peers:
            try:
                self._socket.sendto(self._secret, peer)
            except OSError:  # full, closed, or unreachable: they wake by themselves
                continue

    def wait(self, timeout_s: float) -> bool:
        """Sleeps until somebody rings; False if nobody did for so long."""
        ends_at = time.monotonic() + timeout_s
        while (left_s := ends_at - time.monotonic()) > 0:
            readable, _, _ = select.select([self._socket], [], [], left_s)
            if readable and self._take_all():
                return True
        return False

    def close(self) -> None:
        """Later rings do nothing."""
        self._socket.close()

    def _take_all(self) -> bool:
        was_rung = False
        while True:
            try:
                was_rung |= self._socket.recv(_SECRET_BYTES + 1) == self._secret
            except BlockingIOError:
                return was_rung
