"""Ranks on GPUs of their own, rows between them over NCCL: pytest -m gpu tests/gpu/test_ranks_on_gpus.py

Expected: 1 passed for each number of ranks that the machine has GPUs for; the others are skipped.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from model.expert_shard import ExpertShard
from model.full_attention import FullAttention
from model.runtime.rebalancer import Rebalancer
from model.tiny.checkpoint import ensure_tiny
from model.weights import load_model

LENGTHS = [5, 0, 17, 3, 1, 9, 0, 2]


@torch.inference_mode()
def answer_together(rank: int, num_ranks: int, meeting: str, device_type: str) -> None:
    """Ragged passes, ranks without tokens among them, against the whole model; copies move between the passes."""
    device = torch.device(device_type, rank) if device_type == "cuda" else torch.device(device_type)
    if device_type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, meeting, timedelta(seconds=60), num_ranks, rank)
    path, shard = ensure_tiny("26b-a4b"), ExpertShard(rank, num_ranks, num_copies=4 if num_ranks > 1 else 0)
    whole, model = load_model(path, device=device), load_model(path, device=device, shard=shard)
    shard.connect(model, model.config)
    rebalancer = Rebalancer(model, path, rank, period=2)
    for number in range(12):
        count = LENGTHS[(rank + number) % len(LENGTHS)]
        if count == 0:
            model.assist()
        else:
            inputs = torch.arange(300, 300 + count, device=device), torch.arange(count, device=device)
            expected = whole(*inputs, FullAttention([count]))
            torch.testing.assert_close(model(*inputs, FullAttention([count])), expected, rtol=1e-3, atol=1e-3)
        rebalancer.after_pass()
    dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.parametrize("num_ranks", [1, 2, 4, 8])
def test_ranks_on_gpus_answer_as_the_whole_model(num_ranks: int, tmp_path: Path) -> None:
    if torch.cuda.device_count() < num_ranks:
        pytest.skip(f"{num_ranks} GPUs are needed, and {torch.cuda.device_count()} are here")
    spawn(answer_together, (num_ranks, f"file://{tmp_path}/meeting", "cuda"), nprocs=num_ranks)


def test_the_same_over_gloo(tmp_path: Path) -> None:
    spawn(answer_together, (2, f"file://{tmp_path}/meeting", "cpu"), nprocs=2)
