"""Native engine against transformers' `generate`, greedy, on one CPU thread each: tokens per second on one checkpoint.

Figures are of decoding at batch 1, 8 and 32, on a checkpoint of E2B's structure that is wide enough to be bound by
arithmetic as the real one is, and stored in bfloat16 as the real one is; each side runs it as it does by default. On
a CPU without bfloat16 instructions transformers then computes in bfloat16, slowly; its best, loaded as float32 at
twice the memory, is printed beside it, as are prefill, a mixed workload, and the small float32 checkpoints that the
default cluster serves, where a step is many small kernels.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from model.tiny import ensure_tiny
from tests.bench.checkpoints import A4B, WIDE_E2B, write
from tests.bench.duel import Rates, duel, line
from tests.bench.figure import Figure
from tests.bench.native_side import NativeSide
from tests.bench.transformers_side import TransformersSide
from tests.bench.workload import Side, Workload

THREADS = 1
DECODE_TARGETS = {1: 1.5, 8: 4.0, 32: 8.0}


def run() -> Iterator[Figure]:
    """Both sides have one thread: two on one core would measure how they wait for each other."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        yield from _wide(write(WIDE_E2B, Path(folder) / "wide", torch.bfloat16))
        yield from _tiny("e2b", ensure_tiny("e2b"))
        yield from _tiny("26b_a4b", ensure_tiny("26b-a4b"))
        moe = write(A4B, Path(folder) / "moe", torch.float32)
        _print_even("26B-A4B of width 256, float32", moe, (8, 32), dtypes=(None,))


def _wide(path: Path) -> Iterator[Figure]:
    rates = _print_even("E2B of width 1024, bfloat16", path, (1, 8, 32), dtypes=(None, torch.float32), answer=12)
    for batch, target in DECODE_TARGETS.items():
        yield Figure(f"native_vs_transformers_wide_decode_b{batch}", _ratio(rates[batch], "decode"), ">=", target)


def _tiny(name: str, path: Path) -> Iterator[Figure]:
    rates = _print_even(f"tiny {name}, float32", path, (1, 8, 32), dtypes=(None,), prompt=48, answer=64, rounds=4)
    for batch in DECODE_TARGETS:
        yield Figure(f"native_vs_transformers_{name}_decode_b{batch}", _ratio(rates[batch], "decode"), ">=", 1.5)
    mixed = _rates(path, 8, (None,), Workload.mixed, 3)
    print(f"  tiny {name}, mixed lengths, batch 8: {line(mixed)}", flush=True)
    yield Figure(f"native_vs_transformers_{name}_mixed_b8", _ratio(mixed, "total"), ">=", 2.0)


def _print_even(
    title: str,
    path: Path,
    batches: tuple[int, ...],
    dtypes: tuple[torch.dtype | None, ...],
    prompt: int = 24,
    answer: int = 24,
    rounds: int = 2,
) -> dict[int, dict[str, Rates]]:
    rates = {}
    for batch in batches:
        rates[batch] = _rates(
            path, batch, dtypes, partial(Workload.even, prompt=prompt, answer=answer), rounds + 12 // batch
        )
        print(f"  {title}, batch {batch}: {line(rates[batch])}", flush=True)
    return rates


def _rates(
    path: Path, batch: int, dtypes: tuple[torch.dtype | None, ...], make: "partial[Workload]", rounds: int
) -> dict[str, Rates]:
    with ExitStack() as stack:
        sides: dict[str, Side] = {"native": stack.enter_context(NativeSide(path, batch, THREADS))}
        for dtype in dtypes:
            sides[f"transformers {dtype}" if dtype else "transformers"] = TransformersSide(path, dtype)
        return duel(sides, lambda seed: make(batch, seed=seed), rounds, agreement=0.6)


def _ratio(rates: dict[str, Rates], what: str) -> float:
    return float(getattr(rates["native"], what) / getattr(rates["transformers"], what))
