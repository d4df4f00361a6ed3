"""Kernels are compiled once per machine, by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.kernels.loading import can_compile, has_tiles

pytestmark = pytest.mark.skipif(not can_compile(), reason="this CPU has no AVX-512 VNNI")

KERNELS = 5 if has_tiles() else 4

# Prints how many kernels came from the cache, and how many were compiled here.
PROGRAM = """
import sys
from model.kernels.loading import decode_layers, int4_matmul
assert int4_matmul() is not None and decode_layers() is not None
from model.kernels import decode_attention, decode_layers, int4_rounding, int4_rows
kernels = [decode_attention._attend, decode_layers._run, int4_rows.multiply_rows, int4_rounding.round_inputs]
kernels += [module._multiply for name, module in sys.modules.items() if name == "model.kernels.int4_tiles"]
print(sum(kernel.cache_hits for kernel in kernels), len(kernels))
"""


def start(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)


def test_not_even_the_first_process_compiles(tmp_path: Path) -> None:
    assert start(tmp_path).stdout.split() == [str(KERNELS)] * 2
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert len(kept) == KERNELS
    assert start(tmp_path).stdout.split() == [str(KERNELS)] * 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept


def test_a_cache_that_nobody_can_write_to_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "gemma-cluster").touch()
    assert start(tmp_path).stdout.split()[1] == str(KERNELS)


def test_where_no_process_can_be_started_it_compiles_itself(tmp_path: Path) -> None:
    program = f"import sys; sys.executable = '/nowhere/python'\n{PROGRAM}"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["0", str(KERNELS)]
    # What it compiled is there for the next.
    assert start(tmp_path).stdout.split() == [str(KERNELS)] * 2


def test_nothing_is_written_beside_the_sources(tmp_path: Path) -> None:
    code = "import model.kernels.decode_layers as kernels; print(kernels.__file__)"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert not list(Path(done.stdout.strip()).parent.rglob("*.nb?"))
    assert len(list(tmp_path.rglob("*.nbi"))) == KERNELS
