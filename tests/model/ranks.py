"""Runs a function on several ranks: processes of one gloo group, forked from a server that has torch imported."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

ResultT = TypeVar("ResultT")
CONTEXT = multiprocessing.get_context("forkserver")
# What every process would import by itself, `torch.testing` included.
CONTEXT.set_forkserver_preload(["model.runtime.loop", "model.multimodal", "pytest", "torch.distributed.tensor"])


def run_ranks(num_ranks: int, work: Callable[..., ResultT], *args: Any, timeout_s: float = 60) -> list[ResultT]:
    """`work(rank, num_ranks, *args)` in each process, one thread and no gradients; their results by rank."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(num_ranks, mp_context=CONTEXT) as pool,
    ):
        meeting = f"file://{folder}/meeting"
        tasks = [pool.submit(_rank, rank, num_ranks, meeting, work, *args) for rank in range(num_ranks)]
        return [task.result(timeout_s) for task in tasks]


def _rank(rank: int, num_ranks: int, meeting: str, work: Callable[..., ResultT], *args: Any) -> ResultT:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", meeting, timedelta(seconds=30), num_ranks, rank)
    try:
        with torch.inference_mode():
            return work(rank, num_ranks, *args)
    finally:
        dist.destroy_process_group()
