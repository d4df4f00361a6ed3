"""What a machine has: this one's memory, and GPUs as the driver's tool prints them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from cluster import machine
from cluster.machine import ray_nodes, this_machine
from cluster.planning.gpus import GIB
from cluster.planning.hardware import Device, Node

MIB = 1 << 20
TWO = "NVIDIA H100 80GB HBM3, 81559\nNVIDIA L4, 23034"
H100, L4 = Device("NVIDIA H100 80GB HBM3", 81559 * MIB), Device("NVIDIA L4", 23034 * MIB)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program called nvidia-smi is looked for first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "nvidia-smi"


def prints(smi: Path, text: str, code: int = 0) -> None:
    smi.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    smi.chmod(0o755)


def test_this_machine_has_memory_and_perhaps_a_limit_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory().total
    assert 0 < (this_machine().memory_bytes or 0) <= total
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMIT", limit)
    for text, expected in (("max\n", total), (f"{GIB // 8}\n", GIB // 8), (f"{1 << 62}\n", total)):
        limit.write_text(text)
        assert this_machine().memory_bytes == expected
    limit.unlink()
    assert this_machine().memory_bytes == total


def test_gpus_are_those_the_driver_lists(smi: Path) -> None:
    prints(smi, TWO)
    assert this_machine().gpus == (H100, L4)


@pytest.mark.parametrize(("text", "code"), [("No devices were found", 6), ("NVIDIA H100, [N/A]", 0), ("", 0)])
def test_a_driver_without_gpus_is_none(smi: Path, text: str, code: int) -> None:
    prints(smi, text, code)
    assert this_machine().gpus == ()


def test_without_a_driver_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert this_machine().gpus == ()


def test_a_driver_that_hangs_is_none(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi.write_text("#!/bin/sh\nexec sleep 60\n")
    smi.chmod(0o755)
    monkeypatch.setattr(machine, "_QUERY_TIMEOUT_S", 0.2)
    assert this_machine().gpus == ()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("0", (H100,)), ("1,0", (L4, H100)), ("", ()), ("-1", ()), ("1,7", (L4,)), ("GPU-8f2c,GPU-77aa", (H100, L4))],
)
def test_only_visible_gpus_count(
    smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, expected: tuple[Device, ...]
) -> None:
    prints(smi, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine().gpus == expected


def test_ray_tells_types_and_numbers_of_gpus() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0}},
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": False, "Resources": {"GPU": 8.0}},
        {"Alive": True, "Resources": {"GPU": 1.0}},
    ]
    assert ray_nodes(nodes) == [Node(None, (Device("H100", None),) * 2), Node(None), Node(None, (Device("", None),))]
