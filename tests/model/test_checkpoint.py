"""Checkpoint files: every way a folder can be broken is a CheckpointError that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from model.checkpoint import INDEX_FILE, SINGLE_FILE, Checkpoint, CheckpointError, read_json
from tests.model.conftest import MakeCheckpoint


@pytest.fixture
def whole(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    return shutil.copytree(make_checkpoint("31b", 0), tmp_path / "whole")


@pytest.fixture
def sharded(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    return shutil.copytree(make_checkpoint("31b", 0, max_shard_size="200KB"), tmp_path / "sharded")


def edit_index(path: Path, **weight_map: str) -> None:
    index = read_json(path / INDEX_FILE)
    index["weight_map"] |= weight_map
    (path / INDEX_FILE).write_text(json.dumps(index))


def test_single_and_sharded_folders_hold_the_same_tensors(whole: Path, sharded: Path) -> None:
    one, many = Checkpoint(whole), Checkpoint(sharded)
    assert set(one.file_of) == set(many.file_of)
    for name in one.file_of:
        assert one.shape(name) == many.shape(name) == tuple(one.tensor(name).shape)
        assert torch.equal(one.tensor(name), many.tensor(name))


def test_an_empty_folder_is_told_by_the_file_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not exist"):
        _ = Checkpoint(tmp_path).file_of


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_named(whole: Path, keep: int) -> None:
    file = whole / SINGLE_FILE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable safetensors file"):
        _ = Checkpoint(whole).file_of


def test_a_missing_shard_is_named(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{shard.name} does not exist"):
        _ = Checkpoint(sharded).file_of


def test_an_index_that_promises_a_tensor_its_shard_lacks_is_refused(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[0].name
    edit_index(sharded, ghost=shard)
    with pytest.raises(CheckpointError, match="lacks ghost"):
        _ = Checkpoint(sharded).file_of


def test_an_index_cannot_point_outside_the_folder(sharded: Path) -> None:
    edit_index(sharded, ghost="../whole/model.safetensors")
    with pytest.raises(CheckpointError, match="outside the checkpoint"):
        _ = Checkpoint(sharded).file_of


@pytest.mark.parametrize("text", ["", "{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', "\udcff"])
def test_a_broken_index_is_named(sharded: Path, text: str) -> None:
    (sharded / INDEX_FILE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        _ = Checkpoint(sharded).file_of


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"{", "not valid JSON"), (b"[1]", "a JSON list"), (b"\xff", "not valid JSON")]
)
def test_broken_json_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint):
        read_json(tmp_path / "config.json")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        read_json(tmp_path / "config.json")
