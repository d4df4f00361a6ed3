"""Two minutes of faults under load: nothing is lost, doubled or stuck."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import FAULTS
from tests.chaos.run import run

SECONDS = 90.0


@pytest.mark.timeout(900)
def test_nothing_is_lost_doubled_or_stuck(tmp_path: Path) -> None:
    report = run(seed=1, seconds=SECONDS, folder=tmp_path)
    print(report)
    assert report.violations == []
    assert set(report.faults) == set(FAULTS)
    kinds = {kind for kind, _ in report.ended}
    assert all(report.ended[kind, "OK"] > 0 for kind in kinds)
    assert report.migrations > 0
