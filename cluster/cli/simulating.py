"""gemma-cluster simulate: what a scaling policy costs and keeps on a load, without any GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.ending import fail

_LOADS = "steady, diurnal, bursty or heavy-tailed"


def simulate(
    load: Annotated[str, typer.Option(help=f"A load made up: {_LOADS}.")] = "bursty",
    trace: Annotated[
        Path | None, typer.Option(help="Real requests instead: CSV of TIMESTAMP,ContextTokens,GeneratedTokens.")
    ] = None,
    hours: Annotated[float, typer.Option(help="Simulated, at most 24 of a made-up load.", min=0.1, max=744)] = 6.0,
    replicas: Annotated[
        int | None, typer.Option(help="Makes the load keep half of so many busy. Default: 20, or a trace as it is.")
    ] = None,
    ttft: Annotated[float, typer.Option(help="Target: seconds to the first token.", min=0.01)] = 2.0,
    itl: Annotated[float, typer.Option(help="Target: seconds between tokens.", min=0.001)] = 0.1,
    cold_start: Annotated[float, typer.Option(help="Seconds from asking for a replica to it serving.", min=0)] = 60.0,
    step_ms: Annotated[float, typer.Option(help="A decode step, milliseconds.", min=0.01)] = 18.0,
    sequence_ms: Annotated[float, typer.Option(help="More for each sequence of the batch.", min=0.0001)] = 0.4,
    prefill: Annotated[float, typer.Option(help="Prompt tokens/s of a replica.", min=1)] = 12_000.0,
    sequences: Annotated[int, typer.Option(help="Largest batch of a replica.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Of a load made up; the same seed gives the same requests.")] = 0,
    grid: Annotated[bool, typer.Option("--grid", help="Show every setting that was tried.")] = False,
) -> None:
    """Replays a load against a model of replicas, scaled by our policy and by Ray Serve's default one.

    Says which keeps more requests on target for fewer GPU-hours. Each policy is tried with as many settings of its own,
    and its best are compared. The replica's figures are examples: measure yours and give them.

    Bursts:                     gemma-cluster simulate --load bursty --hours 12

    Long documents among chats: gemma-cluster simulate --load heavy-tailed --grid

    Your own requests:          gemma-cluster simulate --trace requests.csv

    A large fleet:              gemma-cluster simulate --load diurnal --hours 24 --replicas 10000
    """
    try:
        from autoscaling.simulator.question import Question, answer
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; simulating needs: pip install 'gemma-cluster[server]'")
    figures = (step_ms / 1000, sequence_ms / 1000, prefill, sequences, cold_start)
    question = Question(load, trace, hours, replicas, ttft, itl, figures, seed, grid)
    try:
        print(answer(question, _progress if sys.stderr.isatty() else _quiet))
    except ValueError as error:
        fail(str(error))


def _progress(done: int, total: int) -> None:
    end = "\r" if done < total else "\r" + " " * 40 + "\r"
    print(f"simulated {done} of {total} settings", end=end, file=sys.stderr, flush=True)


def _quiet(done: int, total: int) -> None:
    """Says nothing."""
