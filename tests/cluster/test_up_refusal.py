"""`gemma-cluster up` refuses what the machine cannot hold before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import up
from cluster.planning.gpus import GIB
from cluster.planning.hardware import Device, Node
from tests.ports import free_port

A100 = Device("NVIDIA A100-SXM4-40GB", 40 * GIB)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `up` started. Starting anything is an error here."""
    done: list[str] = []

    def note(*arguments: object) -> None:
        done.append("something")
        raise up.UpError("nothing must start")

    monkeypatch.setattr(up, "_redis", note)
    return done


@pytest.mark.parametrize(
    ("variants", "machine", "said"),
    [
        ("{31b: {}}", Node(24 * GIB), ["variants.31b does not fit in 24.0 GiB of memory", "set weights: int4"]),
        ("{e2b: {num_gpus: 1}}", Node(64 * GIB), ["a replica wants 1 GPU, and there are none here"]),
        (
            "{31b: {engine: vllm, num_gpus: 1}, e2b: {engine: vllm, num_gpus: 1}}",
            Node(64 * GIB, (A100, A100)),
            ["variants.31b does not fit on A100 40 GB", "checkpoint: google/gemma-4-31B-it-qat-w4a16-ct"],
        ),
        (
            "{31b: {}, e2b: {num_gpus: 2}}",
            Node(24 * GIB, (A100,)),
            ["variants.e2b.num_gpus: a replica wants 2 GPUs, and there is 1 here", "variants.31b does not fit in"],
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_numbers_and_advice(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    started: list[str],
    variants: str,
    machine: Node,
    said: list[str],
) -> None:
    monkeypatch.setattr(up, "this_machine", lambda: machine)
    file = tmp_path / "cluster.yaml"
    file.write_text(f"family: gemma-4\nvariants: {variants}\n")
    assert up.run(file, None, free_port()) == 1
    out, err = capsys.readouterr()
    assert (out, started) == ("", [])
    assert err.startswith("gemma-cluster: this configuration cannot run:\n")
    assert all(words in err for words in said)


def test_what_fits_goes_on(monkeypatch: pytest.MonkeyPatch, started: list[str], tmp_path: Path) -> None:
    monkeypatch.setattr(up, "this_machine", lambda: Node(GIB))
    assert up.run(None, None, free_port()) == 1  # the tiny family, on a machine with 1 GiB
    assert started == ["something"]
