"""Traces in Azure's format: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoscaling.simulator.azure import TraceError, read_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROWS = "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,110,27\n2023-11-16 18:17:06.0781490,110,10\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its trace."""
    return tmp_path / "requests.csv"


def test_requests_stand_at_their_time_with_their_tokens(file: Path) -> None:
    file.write_text(HEADER + ROWS)
    trace = read_trace(file)
    assert (trace.name, trace.steps, trace.requests) == ("requests", 3, 3)
    assert trace.counts_TK.sum(axis=1).tolist() == [2, 0, 1]
    assert (trace.counts_TK @ trace.prompt_tokens_K).tolist() == [4918, 0, 110]
    assert (trace.counts_TK @ trace.output_tokens_K).tolist() == [37, 0, 10]


def test_grouping_lengths_keeps_all_tokens(file: Path) -> None:
    rng = np.random.default_rng(0)
    prompts, outputs = rng.integers(1, 5_000, 400), rng.integers(1, 900, 400)
    lines = [f"2024-05-10 00:{n // 60:02}:{n % 60:02}.5+00:00,{prompts[n]},{outputs[n]}\n" for n in range(400)]
    file.write_text(HEADER + "".join(lines))
    trace = read_trace(file)
    assert len(trace.prompt_tokens_K) <= 64
    assert trace.counts_TK.sum(axis=0) @ trace.prompt_tokens_K == pytest.approx(prompts.sum())
    assert trace.counts_TK.sum(axis=0) @ trace.output_tokens_K == pytest.approx(outputs.sum())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: the header is '' and must be TIMESTAMP,ContextTokens,GeneratedTokens"),
        ("time,in,out\n", ":1: the header is 'time,in,out' and must be"),
        (HEADER, ": has no requests"),
        (HEADER + ROWS + "2023-11-16 18:17:09,12\n", ":5: 2 fields, and 3 are needed"),
        (HEADER + ROWS + "yesterday,1,1\n", ":5: TIMESTAMP 'yesterday' is no time"),
        (HEADER + "2023-11-16 18:17:09,many,1\n", ":2: ContextTokens 'many' is no whole number"),
        (HEADER + "2023-11-16 18:17:09,1,2.5\n", ":2: GeneratedTokens '2.5' is no whole number"),
        (HEADER + "2023-11-16 18:17:09,-4,2\n", ":2: ContextTokens -4 is not between 0 and 10000000"),
        (HEADER + "2023-11-16 18:17:09,4,99999999999\n", ":2: GeneratedTokens 99999999999 is not between"),
        (HEADER + ROWS + "2033-11-16 18:17:09,4,4\n", ":5: TIMESTAMP is 3653 days after the first, of at most 31"),
    ],
)
def test_broken_rows_are_refused_with_line_and_reason(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(TraceError) as caught:
        read_trace(file)
    assert str(caught.value).startswith(f"{file}{said}")


def test_what_is_no_text_or_not_there_is_refused(file: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="not UTF-8 text"):
        read_trace(file)
