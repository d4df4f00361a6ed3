"""How weights are quantised, as frozen data, and how a checkpoint's config.json says so. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import CheckpointError, read_json

CONFIG_KEY = "gemma_cluster_quantization"
GROUP_SIZES = (32, 64, 128, 256)
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Int4Layout:
    """Where torch's int4 kernel looks for a weight: blocks of rows, stored column by column, two rows in a byte.

    A byte's halves are rows `block_rows / 2` apart or, if `is_interleaved`, neighbours. It differs between CPUs.
    """

    block_rows: int
    is_interleaved: bool


@dataclass(frozen=True)
class Quantization:
    """Bits of a weight, 8 or 4. Int8 has a scale for each output; int4 one, and a zero point, for each group of inputs.

    A size that a group does not divide takes the half of it, and so on down to 32. ValueError for other numbers.
    """

    bits: int
    group_size: int = 64

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"weights have 8 or 4 bits, not {self.bits}")
        if self.group_size not in GROUP_SIZES:
            raise ValueError(f"group_size is one of {GROUP_SIZES}, not {self.group_size}")

    @property
    def name(self) -> str:
        """int8, or int4 with its group size."""
        return "int8" if self.bits == 8 else f"int4, groups of {self.group_size}"


@dataclass(frozen=True)
class StoredQuantization:
    """What a quantised checkpoint was written with; `layout` is None for int8, which lies the same everywhere."""

    scheme: Quantization
    layout: Int4Layout | None

    def to_json(self) -> dict[str, Any]:
        """The value of CONFIG_KEY."""
        layout = None if self.layout is None else asdict(self.layout)
        return {"version": _FORMAT_VERSION, **asdict(self.scheme), "layout": layout}

    @staticmethod
    def of_checkpoint(path: Path) -> StoredQuantization | None:
        """None if the folder holds float weights. CheckpointError for a quantisation this code cannot read."""
        value = read_json(path / "config.json").get(CONFIG_KEY)
        if value is None:
            return None
        try:
            return _from_json(value)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path / 'config.json'}: {CONFIG_KEY} cannot be used: {error!r}") from error


def _from_json(value: dict[str, Any]) -> StoredQuantization:
    if value["version"] != _FORMAT_VERSION:
        raise ValueError(f"version {value['version']}, this code reads {_FORMAT_VERSION}")
    layout = None if value["layout"] is None else Int4Layout(**value["layout"])
    return StoredQuantization(Quantization(value["bits"], value["group_size"]), layout)
