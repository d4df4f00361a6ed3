"""Ranks that step together answer as one process does, and none waits for ever for one that is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from model.expert_shard import expert_bytes
from model.runtime.gang import Gang, GangConfig, GangError, GangSeat, open_store
from model.tiny.checkpoint import ensure_tiny
from model.weights import load_model
from tests.model.runtime.gang_ranks import Job, Ranks, Worker, worker

# Ragged, more than a batch takes, with images before text and images alone, some longer than a chunk of a prompt.
JOBS = [
    Job(0, 7, 9),
    Job(1, 40, 5, image=(60, 90)),
    Job(2, 150, 7),
    Job(3, 1, 12),
    Job(4, 0, 6, image=(300, 200)),
    Job(5, 23, 2),
    Job(6, 90, 8, image=(200, 30)),
    Job(7, 3, 10),
    Job(8, 64, 4),
]
SHORT = Job(12, 7, 2)
MOST_ROUNDS = 6
# Other ranks must never be waited for as long as this when a test wants to see that they were woken.
LONG_S = 20.0
ENDLESS = [Job(10, 5, 400), Job(11, 30, 400)]


@pytest.fixture(scope="module")
def path() -> Path:
    return ensure_tiny("26b-a4b")


@pytest.fixture(scope="module")
def expected(path: Path) -> list[list[int]]:
    alone = worker(path, prefill_tokens=64)
    try:
        return alone.answers(JOBS)
    finally:
        alone.stop()


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_greedy_answers_are_those_of_one_process(path: Path, expected: list[list[int]], num_ranks: int) -> None:
    assert len({tuple(answer) for answer in expected}) == len(JOBS)
    shares = [list(range(rank, len(JOBS), num_ranks)) for rank in range(num_ranks)]
    with Ranks(path, num_ranks, {"prefill_tokens": 64}) as ranks:
        for rank, share in enumerate(shares):
            ranks.tell(rank, Worker.answers, [JOBS[number] for number in share])
        for rank, share in enumerate(shares):
            assert ranks.hear(rank) == [expected[number] for number in share]


def test_a_rank_without_work_takes_part_in_the_others_passes(path: Path, expected: list[list[int]]) -> None:
    with Ranks(path, 2, heartbeat_s=LONG_S, timeout_s=2 * LONG_S) as ranks:
        assert ranks.ask(1, Worker.answers, JOBS) == expected
        assert ranks.ask(0, Worker.answers, JOBS[:2]) == expected[:2]
        assert ranks.ask(1, Worker.seeded, 3) == ranks.ask(0, Worker.seeded, 3)


@pytest.mark.parametrize(("num_ranks", "copies"), [(2, 6), (4, 16)])
def test_copies_of_experts_move_between_passes_and_change_no_answer(
    path: Path, expected: list[list[int]], num_ranks: int, copies: int
) -> None:
    with Ranks(path, num_ranks, {"copies": copies, "prefill_tokens": 64}) as ranks:
        first = ranks.ask(0, Worker.placements)
        # Which tokens share a pass is a matter of time, so it may take a few rounds; then another, on what has moved.
        for _ in range(MOST_ROUNDS):
            _check_answers(ranks, num_ranks, expected)
            placed = [ranks.ask(rank, Worker.placements) for rank in range(num_ranks)]
            assert all(placements == placed[0] for placements in placed), "ranks do not agree"
            if has_moved := any(after != before for after, before in zip(placed[0], first, strict=True)):
                break
        assert has_moved, "nothing moved"
        _check_answers(ranks, num_ranks, expected)
        held = ranks.ask(0, Worker.expert_bytes)
    assert held * 128 == (128 // num_ranks + copies) * _all_expert_bytes(path)


def _check_answers(ranks: Ranks, num_ranks: int, expected: list[list[int]]) -> None:
    """All jobs, each rank its share at the same time."""
    for rank in range(num_ranks):
        ranks.tell(rank, Worker.answers, JOBS[rank::num_ranks])
    for rank in range(num_ranks):
        assert ranks.hear(rank) == expected[rank::num_ranks]


def _all_expert_bytes(path: Path) -> int:
    return expert_bytes(load_model(path))


def test_an_idle_gang_sleeps_and_wakes_at_once(path: Path) -> None:
    with Ranks(path, 2, heartbeat_s=LONG_S, timeout_s=2 * LONG_S) as ranks:
        for rank in (0, 1, 1, 0):
            ranks.ask(rank, Worker.answers, [SHORT])
            ranks.tell(1 - rank, Worker.cpu_s, 0.5)
            used_s = ranks.ask(rank, Worker.cpu_s, 0.5)
            assert max(used_s, ranks.hear(1 - rank)) < 0.1
            assert ranks.ask(1 - rank, Worker.first_token_s, SHORT) < LONG_S / 10


def test_an_idle_gang_outlives_its_timeout(path: Path, expected: list[list[int]]) -> None:
    with Ranks(path, 2, heartbeat_s=0.3, timeout_s=2.0) as ranks:
        ranks.ask(0, Worker.cpu_s, 2.6)
        assert ranks.ask(0, Worker.answers, JOBS[:2]) == expected[:2]


def _lost(ranks: Ranks, how: signal.Signals) -> float:
    """Rank 1 is lost amid answers: seconds until all of rank 0's answers have ended, each with a GangError."""
    ranks.tell(1, Worker.begin, ENDLESS)
    ranks.ask(0, Worker.begin, ENDLESS)
    ranks.hear(1)
    lost_at = time.time()
    ranks.signal(1, how)
    ends = ranks.ask(0, Worker.ends)
    assert [end[:2] for end in ends] == [("error", "GangError")] * len(ENDLESS)
    assert not ranks.ask(0, Worker.is_alive)
    return max(at for _, _, at in ends) - lost_at


def test_a_killed_rank_is_noticed_within_seconds(path: Path) -> None:
    with Ranks(path, 2, {"max_context": 500}, heartbeat_s=LONG_S, timeout_s=2 * LONG_S) as ranks:
        assert _lost(ranks, signal.SIGKILL) < 5


def test_a_hung_rank_is_noticed_within_the_timeout(path: Path) -> None:
    with Ranks(path, 2, {"max_context": 500}, timeout_s=2.0) as ranks:
        assert _lost(ranks, signal.SIGSTOP) < 2.0 + 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_lost_while_all_are_idle_is_noticed(path: Path, how: signal.Signals) -> None:
    with Ranks(path, 2, heartbeat_s=0.3, timeout_s=2.0) as ranks:
        ranks.ask(0, Worker.answers, [SHORT])
        ranks.signal(1, how)
        ends_at = time.monotonic() + 5
        while ranks.ask(0, Worker.is_alive):
            assert time.monotonic() < ends_at
            time.sleep(0.05)


def test_a_pass_that_cannot_be_laid_out_fails_alone(path: Path, expected: list[list[int]]) -> None:
    with Ranks(path, 2) as ranks:
        ranks.tell(1, Worker.answers, JOBS)
        assert ranks.ask(0, Worker.broken) == "these media are broken"
        assert ranks.hear(1) == expected
        assert ranks.ask(0, Worker.answers, JOBS[:1]) == expected[:1]


def test_when_one_rank_stops_all_do(path: Path) -> None:
    with Ranks(path, 2, {"max_context": 500}) as ranks:
        ranks.ask(1, Worker.begin, ENDLESS)
        ranks.ask(0, Worker.stop)
        assert [end[0] for end in ranks.ask(1, Worker.ends)] == ["abort"] * len(ENDLESS)
        assert not ranks.ask(1, Worker.is_alive)


def test_a_rank_that_meets_nobody_says_so() -> None:
    store = open_store("127.0.0.1")
    config = GangConfig(0, 2, start_timeout_s=0.2)
    with pytest.raises(GangError, match="rank 0 did not meet all 2 ranks"):
        Gang.join(GangSeat(config, ("127.0.0.1", store.port)))


@pytest.mark.parametrize(
    ("times", "complaint"),
    [
        ({"rank": 2, "num_ranks": 2}, "rank 2 is not one of 2 ranks"),
        ({"rank": 0, "num_ranks": 2, "timeout_s": 1.0, "heartbeat_s": 0.6}, "at least twice heartbeat_s"),
    ],
)
def test_a_config_that_cannot_work_is_refused(times: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        GangConfig(**times)
