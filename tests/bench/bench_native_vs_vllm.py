"""Native engine against vLLM on CPU, greedy, on one thread each: tokens per second on one checkpoint.

The checkpoint has E2B's structure at a width that is bound by arithmetic, stored in bfloat16 as the real one is, and
each side runs it as it does by default: on a CPU without bfloat16 instructions vLLM then computes in bfloat16, and we
in float32 with the 16-bit weights. vLLM told to load it as float32, at twice the memory, is measured too. It lives in
an environment of its own: `make .venv-vllm/installed`, or $VLLM_PYTHON. Without it this benchmark has no figures.
vLLM compiles when it starts, which takes minutes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from tests.bench.checkpoints import WIDE_E2B, write
from tests.bench.duel import duel, line
from tests.bench.figure import Figure
from tests.bench.native_side import NativeSide
from tests.bench.vllm_side import VllmSide, find_python
from tests.bench.workload import Workload

THREADS, PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 1, 24, 24, 3
BATCHES = (8, 32)


def run() -> Iterator[Figure]:
    """Batches of 8 and of 32, on one vLLM engine."""
    torch.set_num_threads(THREADS)
    python = find_python()
    if python is None:
        print("  skipped: no vLLM here; `make .venv-vllm/installed` gets it, or set VLLM_PYTHON", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = write(WIDE_E2B, Path(folder) / "wide", torch.bfloat16)
        rivals = {
            f"vllm_{dtype}": stack.enter_context(VllmSide(python, path, dtype, max(BATCHES), THREADS))
            for dtype in ("bfloat16", "float32")
        }
        for batch in BATCHES:
            yield from _figures(path, batch, rivals)


def _figures(path: Path, batch: int, rivals: dict[str, VllmSide]) -> Iterator[Figure]:
    workload = partial(Workload.even, batch, PROMPT_TOKENS, NEW_TOKENS)
    with NativeSide(path, batch, THREADS) as native:
        rates = duel({"native": native, **rivals}, workload, ROUNDS, agreement=0.6)
    print(f"  E2B of width 1024, stored in bfloat16, batch {batch}: {line(rates)}", flush=True)
    for name in rivals:
        yield Figure(f"native_vs_{name}_decode_b{batch}", rates["native"].decode / rates[name].decode, ">=", 1.0)
