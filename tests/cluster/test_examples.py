"""What `up` suggests to try: only what the served variants take, as commands that the command line understands."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.config import ClusterConfig, parse_config
from cluster.examples import examples
from model.variants import VARIANTS

ADDRESS = "127.0.0.1:50051"


@pytest.fixture(autouse=True)
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pocket family of configs alone: more is not read here."""
    monkeypatch.setattr(checkpoints, "POCKET_CHECKPOINTS", tmp_path)
    for variant, model in VARIANTS.items():
        (tmp_path / variant).mkdir()
        (tmp_path / variant / "config.json").write_text(json.dumps(model.to_hf()))


def _config(family: str, *variants: str) -> ClusterConfig:
    return parse_config({"family": family, "variants": {name: {} for name in variants}})


def test_there_is_one_for_each_modality() -> None:
    text, image, audio = (shlex.split(line) for line in examples(_config("pocket", "e2b", "31b"), ADDRESS))
    assert not {"--image", "--audio", "--address"} & set(text)
    for line, option in ((image, "--image"), (audio, "--audio")):
        assert Path(line[line.index(option) + 1]).is_file()


def test_where_nobody_hears_no_clip_is_suggested() -> None:
    lines = examples(_config("pocket", "26b-a4b", "31b"), ADDRESS)
    assert len(lines) == 2
    assert not any("--audio" in line for line in lines)


def test_other_families_have_none() -> None:
    assert examples(_config("tiny", "e2b"), ADDRESS) == []


def test_another_port_is_named() -> None:
    lines = examples(_config("pocket", "e2b"), "127.0.0.1:6000")
    assert all(line.endswith("--address 127.0.0.1:6000") for line in lines)


def test_commands_begin_as_this_one_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> str:
        return examples(_config("pocket", "31b"), ADDRESS)[0].split(" ask ")[0]

    assert start() == f"{shlex.quote(sys.executable)} -m cluster.cli"
    installed = tmp_path / "bin" / "gemma-cluster"
    installed.parent.mkdir()
    installed.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(installed), "up"])
    assert start() == "bin/gemma-cluster"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert start() == "gemma-cluster"
