"""The table of GPUs, and finding a row by what people and drivers call it."""

from __future__ import annotations

import pytest

from cluster.planning.errors import PlanError
from cluster.planning.gpus import GIB, GPUS, find_gpu, gpu_of_device


def test_what_cuda_reports_is_less_than_the_name_says() -> None:
    for gpu in GPUS.values():
        named = float(gpu.title.split()[-2])
        assert 0.9 * named < gpu.memory_bytes / 1e9 < 1.08 * named, gpu


@pytest.mark.parametrize(
    ("name", "found"),
    [("H100", "h100"), ("a100", "a100-80"), ("A100-40GB", "a100-40"), ("a100 80gb", "a100-80"), ("L40S", "l40s")],
)
def test_names_are_found_as_people_write_them(name: str, found: str) -> None:
    assert find_gpu(name).name == found


@pytest.mark.parametrize(
    ("name", "nearest"), [("h10", "did you mean h100 or h200?"), ("a100-90", "a100-40"), ("tpu", "known are l4")]
)
def test_an_unknown_name_gets_the_nearest_ones(name: str, nearest: str) -> None:
    with pytest.raises(PlanError, match=f"unknown GPU '{name}'.*") as caught:
        find_gpu(name)
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("device", "gib", "found"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "h100"),
        ("NVIDIA H200", 140.4, "h200"),
        ("NVIDIA A100-SXM4-40GB", 40.0, "a100-40"),
        ("NVIDIA A100-SXM4-80GB", 80.0, "a100-80"),
        ("NVIDIA A100 80GB PCIe", 80.0, "a100-80"),
        ("NVIDIA L4", 22.5, "l4"),
        ("NVIDIA L40S", 45.0, "l40s"),
        ("H100", 79.0, "h100"),
    ],
)
def test_devices_are_known_by_the_names_of_their_drivers(device: str, gib: float, found: str) -> None:
    row = gpu_of_device(device, int(gib * GIB))
    assert row is not None
    assert row.name == found


@pytest.mark.parametrize("device", ["NVIDIA L40", "NVIDIA GeForce RTX 4090", "Tesla T4", ""])
def test_a_device_that_is_not_in_the_table_is_no_row(device: str) -> None:
    assert gpu_of_device(device, 24 * GIB) is None
