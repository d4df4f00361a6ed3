"""E2B's text decoder at full size in a pocket: int4, two threads, 500 prompt tokens and 200 new ones, random weights.

Memory is what a user without a large machine has least of: the figure is the most that the engine's process ever holds,
pages of mapped files included. Speeds are printed beside it, decoding also as a part of what the machine's memory could
deliver: every weight is read once for each token.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import Checkpoint
from model.quantization.scheme import Quantization
from tests.bench.figure import Figure
from tests.bench.random_e2b import write_random_e2b

SCHEME = Quantization(4, group_size=256)
PROMPT_TOKENS, NEW_TOKENS, THREADS = 500, 200, 2
FREE_DISK_BYTES = 12_000_000_000
# glibc then gives large blocks back when they are freed, and keeps one heap, not one for each thread.
FRUGAL = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}


def run() -> Iterator[Figure]:
    """Skips, and says so, where the disk has no room for the checkpoint."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < FREE_DISK_BYTES:
        print(f"  pocket_e2b skipped: {free / 1e9:.0f} GB free on disk, needs {FREE_DISK_BYTES / 1e9:.0f}", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e2b"
        write_random_e2b(path, SCHEME)
        weight_bytes = _weight_bytes(path)
        measured = _measure(path)
    bandwidth = _bytes_per_s()
    print(f"  weights read for a token: {weight_bytes / 1e9:.2f} GB; memory delivers {bandwidth / 1e9:.1f} GB/s")
    print(f"  loaded in {measured['load_s']:.1f} s; prefill {measured['prefill_tokens_per_s']:.1f} tokens/s")
    rate = measured["decode_tokens_per_s"]
    print(f"  decode {rate:.2f} tokens/s, {rate * weight_bytes / bandwidth:.0%} of what memory could", flush=True)
    yield Figure("pocket_e2b_peak_gb", measured["peak_bytes"] / 1e9, "<=", 1.5)


def _measure(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.pocket_engine", str(path)]
    numbers = [str(number) for number in (PROMPT_TOKENS, NEW_TOKENS, THREADS)]
    done = subprocess.run(command + numbers, check=True, capture_output=True, text=True, env=os.environ | FRUGAL)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _weight_bytes(path: Path) -> int:
    """Of all but the tables, which are read by the row."""
    checkpoint = Checkpoint(path)
    read = [name for name in checkpoint.file_of if not name.endswith(".packed")]
    return sum(checkpoint.tensor(name).nbytes for name in read)


def _bytes_per_s() -> float:
    """The best of some sums over 512 MB, which have little to do but read."""
    torch.set_num_threads(THREADS)
    numbers = torch.ones(1 << 26, dtype=torch.int64)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - started)
    return numbers.nbytes / best
