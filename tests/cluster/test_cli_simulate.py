"""gemma-cluster simulate: a report for people, one line for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2024-05-10 00:{n // 60:02}:{n % 60:02}.5,{100 + n},{20 + n % 7}\n" for n in range(120)
)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two minutes, a request a second."""
    path = tmp_path / "chats.csv"
    path.write_text(TRACE)
    return path


def test_a_trace_is_replayed_and_both_policies_shown(trace: Path) -> None:
    result = command("--trace", str(trace), "--grid")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "chats: 120 requests in 0.0333 hours, on average 160 prompt and 23 output tokens"
    assert all(len(line) <= 130 for line in lines)
    assert [line.split()[0] for line in lines if "%  " in line][:3] == ["90.0%", "95.0%", "99.0%"]
    assert sum(line.startswith("tokens  ") for line in lines) == 1 + 16
    assert sum(line.startswith("Ray Serve") for line in lines) == 2 + 16
    assert sum("at most" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--load", "burst"], "--load: unknown load 'burst'; did you mean bursty?"),
        (["--load", "xyz"], "--load: unknown load 'xyz'; use one of steady, diurnal, bursty, heavy-tailed"),
        (["--hours", "30"], "--hours: 30 is too long for a load made up; a day is the most"),
        (["--itl", "0.01"], "--itl: 0.01 s is below a step of one sequence, 0.0184 s"),
        (["--replicas", "20000"], "--replicas: 20000 is not between 1 and 10,000"),
        (["--trace", "nowhere.csv"], "nowhere.csv: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str) -> None:
    result = command(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"gemma-cluster: {said}")
    assert result.stderr.count("\n") == 1


def test_a_broken_row_is_named(trace: Path) -> None:
    trace.write_text(TRACE + "2024-05-10 00:09:00,ten,5\n")
    result = command("--trace", str(trace))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"gemma-cluster: {trace}:122: ContextTokens 'ten' is no whole number\n"


def test_the_help_teaches() -> None:
    text = command("--help").stdout
    for word in ("Bursts:", "--load heavy-tailed", "--trace requests.csv", "Ray Serve's default"):
        assert word in text
