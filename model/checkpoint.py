"""A Hugging Face checkpoint folder on disk: JSON files and memory-mapped safetensors, single or sharded.

Imports no torch: routing and tokenizing processes read configs without it.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor

    from model.file_table import FileTable

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: a file is missing or broken, or its weights do not fit the config."""


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from `file`; CheckpointError if it is missing, unreadable or not an object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{file} does not exist") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a JSON {type(value).__name__}, expected an object")
    return value


class Checkpoint:
    """The tensors of one checkpoint folder by name, mapped from disk and read one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: dict[Path, Any] = {}

    @cached_property
    def file_of(self) -> dict[str, Path]:
        """Tensor name -> the safetensors file that holds it.

        CheckpointError if a file is missing or truncated, or the index names a tensor its shard lacks.
        """
        if (self.path / INDEX_FILE).exists():
            return self._read_index()
        file = self.path / SINGLE_FILE
        return dict.fromkeys(self._open(file).keys(), file)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, read from the file's header alone."""
        return tuple(self._open(self.file_of[name]).get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        """The tensor, on the CPU, backed by the mapped file until it is copied."""
        tensor: Tensor = self._open(self.file_of[name]).get_tensor(name)
        return tensor

    def entry(self, name: str, index: int) -> Tensor:
        """One entry of the tensor's first dimension, on the CPU: no other is read."""
        rows: Tensor = self._open(self.file_of[name]).get_slice(name)[index : index + 1]
        return rows[0]

    def table(self, name: str) -> FileTable:
        """A two-dimensional tensor that stays in its file, which it keeps open for itself."""
        from model.file_table import FileTable  # not at the top: it imports torch

        return FileTable(self.file_of[name], name)

    def close(self) -> None:
        """Unmap every file."""
        self._opened.clear()

    def _read_index(self) -> dict[str, Path]:
        weight_map = read_json(self.path / INDEX_FILE).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(f, str) for f in weight_map.values()):
            raise CheckpointError(f"{self.path / INDEX_FILE} has no usable weight_map")
        names_in = {f: set(self._open(self._shard(f)).keys()) for f in sorted(set(weight_map.values()))}
        for name, shard in weight_map.items():
            if name not in names_in[shard]:
                raise CheckpointError(f"{self.path / shard} lacks {name}, which the index says it holds")
        return {name: self.path / shard for name, shard in weight_map.items()}

    def _shard(self, name: str) -> Path:
        if Path(name).name != name:
            raise CheckpointError(f"{self.path / INDEX_FILE} names a shard outside the checkpoint: {name}")
        return self.path / name

    def _open(self, file: Path) -> Any:
        if file not in self._opened:
            try:
                self._opened[file] = safe_open(file, framework="pt")
            except FileNotFoundError:
                raise CheckpointError(f"{file} does not exist") from None
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{file} is not a readable safetensors file: {error}") from error
        return self._opened[file]
