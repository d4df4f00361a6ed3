"""E2B's text decoder at full size in a pocket: int4, two threads, 500 prompt tokens and 200 new ones, random weights.

Memory is what a user without a large machine has least of: the figure is the most that the engine's process ever holds,
pages of mapped files included. Decoding is printed also as a part of what the machine's memory could deliver, as every
weight is read once for each token. Where llama.cpp is at hand (see llama_side), it runs the same shape with Q4_0
weights, in turns with ours.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import Checkpoint
from model.kernels.loading import KERNELS, int4_matmul
from model.quantization.scheme import Quantization
from tests.bench.figure import Figure
from tests.bench.llama_side import LlamaSide, find_python
from tests.bench.random_e2b import write_random_e2b

SCHEME = Quantization(4, group_size=256)
PROMPT_TOKENS, NEW_TOKENS, THREADS = 500, 200, 2
LLAMA_ROUNDS = 2
FREE_DISK_BYTES = 12_000_000_000
# glibc then gives large blocks back when they are freed, and keeps one heap, not one for each thread.
FRUGAL = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}
OF_TORCH = FRUGAL | {KERNELS: "torch"}


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
        of_torch, measured = _measure(path, OF_TORCH), _measure(path, FRUGAL)
        yield from _against_llama(path, Path(folder))
    bandwidth = _bytes_per_s()
    print(f"  weights read for a token: {weight_bytes / 1e9:.2f} GB; memory delivers {bandwidth / 1e9:.1f} GB/s")
    for name, side in (("torch's kernels", of_torch), ("ours", measured)):
        print(f"  {name}: loaded in {side['load_s']:.1f} s, {side['peak_bytes'] / 1e9:.2f} GB, prefill", end=" ")
        print(f"{side['prefill_tokens_per_s']:.1f} tokens/s, decode {side['decode_tokens_per_s']:.1f}")
    rate = measured["decode_tokens_per_s"]
    print(f"  decode {rate:.2f} tokens/s, {rate * weight_bytes / bandwidth:.0%} of what memory could", flush=True)
    if int4_matmul() is not None:
        for what, target in (("prefill", 2.0), ("decode", 1.3)):
            key = f"{what}_tokens_per_s"
            yield Figure(f"pocket_e2b_{what}_vs_torch_int4", measured[key] / of_torch[key], ">=", target)
    yield Figure("pocket_e2b_peak_gb", measured["peak_bytes"] / 1e9, "<=", 1.5)


def _against_llama(path: Path, folder: Path) -> Iterator[Figure]:
    """The best of some rounds of each, as the machine's speed wanders."""
    python = find_python()
    if python is None:
        print("  not compared with llama.cpp: tests/bench/llama_side.py says how to get it", flush=True)
        return
    llama = LlamaSide(python, path / "config.json", folder)
    rounds = [(_measure(path, FRUGAL), llama.measure(PROMPT_TOKENS, NEW_TOKENS, THREADS)) for _ in range(LLAMA_ROUNDS)]
    print(f"  llama.cpp holds {max(theirs['peak_bytes'] for _, theirs in rounds) / 1e9:.2f} GB at most")
    # With AMX it decodes as fast as memory delivers.
    decode_target = 1.0 if rounds[0][1]["has_amx"] else 1.3
    for what, target in (("prefill", 1.0), ("decode", decode_target)):
        ours, theirs = (max(side[f"{what}_tokens_per_s"] for side in sides) for sides in zip(*rounds, strict=True))
        print(f"  {what}: {ours:.1f} tokens/s, llama.cpp {theirs:.1f}", flush=True)
        yield Figure(f"pocket_e2b_{what}_vs_llama_cpp", ours / theirs, ">=", target)


def _measure(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    _read_libraries_anew()
    command = [sys.executable, "-m", "tests.bench.pocket_engine", str(path)]
    numbers = [str(number) for number in (PROMPT_TOKENS, NEW_TOKENS, THREADS)]
    done = subprocess.run(command + numbers, check=True, capture_output=True, text=True, env=os.environ | environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _read_libraries_anew() -> None:
    """As after a start of the machine: what was just installed lies in memory in pages of 2 MiB, of which newer kernels
    count each whole when a byte of it is used, 80 MB more in all."""
    for library in (Path(torch.__file__).parent / "lib").glob("*.so"):
        descriptor = os.open(library, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


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
