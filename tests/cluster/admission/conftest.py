"""What all tests of admission need."""

from __future__ import annotations

import pytest

from cluster.admission import caller_limits


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no Redis that is away."""
    monkeypatch.setattr(caller_limits, "_TIMEOUT_S", 10.0)
