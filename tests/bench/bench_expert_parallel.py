"""Two ranks of one thread, each with half of the experts, against one process of two threads with all of them.

Then what a rank spends as ranks grow, with as many sequences on each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.duel import duel, line
from tests.bench.figure import Figure
from tests.bench.rank_side import RankSide, Spent, write_model
from tests.bench.workload import Workload

BATCH, BATCH_A_RANK, PROMPT_TOKENS, ANSWER_TOKENS, ROUNDS = 32, 8, 16, 48, 4
EXPLANATION = """  A rank always computes as many rows, but reads fewer experts' weights for them: 8 sequences
  choose about 50 of 128 experts in a layer, which are all one rank's; 64 choose nearly all, and each of 8 ranks reads
  its 16. Dispatch and combine grow: with N ranks all rows but 1/N travel, to N-1 partners. Attention, shared MLP and
  head stay. From 1 rank to 2 all else grows too where ranks share a memory, as here: two cores read at once."""


def run() -> Iterator[Figure]:
    """Best of the rounds: other processes only ever slow one down."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_model(path)
        yield from _two_against_one(path)
        print(f"  a rank with {BATCH_A_RANK} sequences, processor time of a pass", flush=True)
        for num_ranks in (1, 2, 4, 8):
            print(f"  {_cost(path, num_ranks)}", flush=True)
        print(EXPLANATION, flush=True)


def _two_against_one(path: Path) -> Iterator[Figure]:
    with RankSide(path, 2, 1, BATCH) as two, RankSide(path, 1, 2, BATCH) as one:
        rates = duel({"two ranks": two, "one process": one}, lambda number: _workload(BATCH, number), ROUNDS, 0.9)
        moving = min(map(_moving_share, two.spent[1:]))
    print(f"  128 experts of which 8 work, width 704, batch {BATCH}: {line(rates)}", flush=True)
    yield Figure("two_ranks_vs_one_process", rates["two ranks"].total / rates["one process"].total, ">=", 0.9)
    yield Figure("dispatch_and_combine_share_of_step", moving, "<=", 0.15)


def _workload(batch: int, seed: int) -> Workload:
    return Workload.even(batch, PROMPT_TOKENS, ANSWER_TOKENS, seed)


def _moving_share(ranks: list[Spent]) -> float:
    """Waiting for each other included: all ranks' time in dispatch and combine, of all their time."""
    return sum(rank.moving_s for rank in ranks) / sum(rank.seconds for rank in ranks)


def _cost(path: Path, num_ranks: int) -> str:
    """Processor time: where ranks outnumber cores, as here, the clock says nothing of a rank."""
    with RankSide(path, num_ranks, 1, num_ranks * BATCH_A_RANK) as side:
        for number in range(2):
            side.answer(_workload(num_ranks * BATCH_A_RANK, number))
        ranks = side.spent[-1]
    passes = sum(rank.passes for rank in ranks)
    whole = 1000 * sum(rank.cpu_s for rank in ranks) / passes
    moving = 1000 * sum(rank.moving_cpu_s for rank in ranks) / passes
    held = ranks[0].expert_bytes / 1e6
    return f"one of {num_ranks}: {held:,.0f} MB of experts, {whole:.1f} ms, of it {moving:.1f} ms dispatch and combine"
