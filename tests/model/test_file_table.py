"""Tables that stay in their file: the same values, and only the pages that are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.file_table import FileTable
from model.weights import load_model
from tests.model.conftest import MakeCheckpoint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.uint8])
def test_a_table_has_the_values_that_safetensors_reads(tmp_path: Path, dtype: torch.dtype) -> None:
    file = tmp_path / "some.safetensors"
    generator = torch.Generator().manual_seed(0)
    tensors = {n: torch.randint(0, 100, (s, 33), generator=generator).to(dtype) for n, s in (("a", 3), ("b", 70))}
    save_file(tensors, file)
    stored = load_file(file)
    for name in tensors:
        table, index = FileTable(file, name), torch.tensor([2, 0, 2, 1])
        assert torch.equal(table.tensor(), stored[name])
        assert torch.equal(table.rows(index), stored[name][index])
        assert table.rows(index[:0]).shape == (0, 33)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_row_beyond_the_table_is_an_error(tmp_path: Path, index: int) -> None:
    save_file({"a": torch.ones(4, 4), "b": torch.ones(4, 4)}, tmp_path / "some.safetensors")
    with pytest.raises(IndexError, match=f"row {index} of a table of 4"):
        FileTable(tmp_path / "some.safetensors", "a").rows(torch.tensor([0, index]))


def test_writing_to_a_mapped_table_leaves_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(4, 4)}, file)
    FileTable(file, "a").tensor().zero_()
    assert load_file(file)["a"].sum() == 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_with_tables_in_files_says_what_one_in_memory_says(
    make_checkpoint: MakeCheckpoint, dtype: torch.dtype
) -> None:
    path, tokens = make_checkpoint("e2b", 0), torch.tensor([3, 290, 3, 7])
    mapped = load_model(path, dtype=dtype).per_layer_embedding
    copied = load_model(path, dtype=dtype, maps_tables=False).per_layer_embedding
    assert mapped is not None
    assert copied is not None
    assert mapped.table.weight.dtype == torch.float32
    assert copied.table.weight.dtype == dtype
    assert torch.equal(mapped.table(tokens), copied.table(tokens))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_the_rows_of_tokens_in_use_are_read(tmp_path: Path) -> None:
    """Of a table of 200 MB, 50 rows of one page each take no more memory than they are long."""
    file = tmp_path / "table.safetensors"
    save_file({"table": torch.zeros(50_000, 4096, dtype=torch.uint8)}, file)
    code = """
import pathlib, sys, torch
from model.file_table import FileTable
def resident():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024
table = FileTable(pathlib.Path(sys.argv[1]), "table")
table.tensor()
rows = torch.arange(0, 50_000, 1000)
torch.zeros(8, 8)[torch.tensor([1])]
before = resident()
table.rows(rows)
grown = resident() - before
assert grown < 3e6, grown
"""
    subprocess.run([sys.executable, "-c", code, file], check=True, timeout=60)
