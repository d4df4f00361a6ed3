"""Code that only starting up has used is given back, and comes back when it is used again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.runtime.code_pages import release_code

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")

PROGRAM = """
import re, torch
from pathlib import Path
from model.runtime.code_pages import release_code

def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

torch.nn.functional.conv2d(torch.ones(1, 3, 32, 32), torch.ones(8, 3, 3, 3)).sum().item()
before = resident_mb()
released = release_code() / 2**20
print(released, before - resident_mb())
"""


def test_it_gives_back_what_it_says() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    released, less = map(float, done.stdout.split())
    assert released > 20
    # Of what was given back, the code that runs right now is needed again at once.
    assert less > 0.7 * released


def test_what_is_needed_again_works_as_before() -> None:
    x = torch.randn(64, 64)
    expected = torch.linalg.inv(x), torch.fft.rfft(x).abs(), x @ x, torch.sort(x).values
    for _ in range(3):
        release_code()
        again = torch.linalg.inv(x), torch.fft.rfft(x).abs(), x @ x, torch.sort(x).values
        assert all(map(torch.equal, expected, again))


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("model.runtime.code_pages._MAPS", tmp_path / "none")
    assert release_code() == 0
