"""A rank reads and holds its own experts alone, and ranks together answer as the whole model does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import SINGLE_FILE, CheckpointError
from model.expert_placement import ExpertPlacement, PlacementError, even_placement
from model.expert_shard import ExpertShard, expert_bytes, mixtures
from model.expert_source import ExpertSource
from model.full_attention import FullAttention
from model.half_linear import HalfLinear
from model.packed_experts import PackedExperts
from model.quantization.scheme import Quantization
from model.weights import load_model
from tests.model.ranks import run_ranks

if TYPE_CHECKING:  # the ranks' processes import this file too, and need no transformers
    from tests.model.conftest import MakeCheckpoint

NUM_EXPERTS = 8


@pytest.fixture
def checkpoint(make_checkpoint: MakeCheckpoint) -> Path:
    return make_checkpoint("26b-a4b", 0, text_only=True)


@pytest.mark.parametrize("num_ranks", [1, 2, 4, 8])
def test_each_rank_holds_its_share_of_the_experts_and_all_else(checkpoint: Path, num_ranks: int) -> None:
    whole = load_model(checkpoint)
    shards = [load_model(checkpoint, shard=ExpertShard(rank, num_ranks)) for rank in range(num_ranks)]
    assert [expert_bytes(shard) for shard in shards] == [expert_bytes(whole) // num_ranks] * num_ranks
    for name, weight in whole.state_dict().items():
        parts = [shard.state_dict()[name] for shard in shards]
        if ".experts." in name:
            assert torch.equal(torch.cat(parts), weight)
        else:
            assert all(torch.equal(part, weight) for part in parts)


def test_quantised_experts_are_those_of_the_rank(checkpoint: Path) -> None:
    int8 = Quantization(8, 64)
    whole = load_model(checkpoint, quantization=int8).state_dict()
    shard = load_model(checkpoint, quantization=int8, shard=ExpertShard(1, 2)).state_dict()
    name = next(name for name in whole if "experts.gate_up" in name)
    assert torch.equal(shard[name], whole[name][NUM_EXPERTS // 2 :])


def logits(rank: int, num_ranks: int, path: Path) -> Tensor:
    """Of this rank's own tokens; ranks have different numbers of them."""
    shard = ExpertShard(rank, num_ranks)
    model = load_model(path, shard=shard)
    shard.connect(model, model.config)
    return answer(model, rank).clone()


def answer(model: torch.nn.Module, rank: int) -> Tensor:
    tokens = torch.arange(5, 8 + 6 * rank)
    out: Tensor = model(tokens, torch.arange(len(tokens)), FullAttention([len(tokens)]))
    return out


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_ranks_together_answer_as_the_whole_model(checkpoint: Path, num_ranks: int) -> None:
    whole = load_model(checkpoint)
    for rank, actual in enumerate(run_ranks(num_ranks, logits, checkpoint)):
        torch.testing.assert_close(actual, answer(whole, rank), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_ranks", [3, 5, 16])
def test_ranks_that_do_not_divide_the_experts_are_refused(checkpoint: Path, num_ranks: int) -> None:
    with pytest.raises(PlacementError, match=rf"8 experts.* over {num_ranks} ranks.*1, 2, 4, 8"):
        load_model(checkpoint, shard=ExpertShard(0, num_ranks))


def test_a_dense_model_has_no_experts_to_spread(make_checkpoint: MakeCheckpoint) -> None:
    with pytest.raises(PlacementError, match="no experts to spread over 2 ranks"):
        load_model(make_checkpoint("31b", 0, text_only=True), shard=ExpertShard(0, 2))


def test_missing_experts_are_named(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint / SINGLE_FILE)
    lost = [name for name in tensors if re.search(r"layers\.[14]\.experts\.down_proj", name)]
    save_file({name: tensor for name, tensor in tensors.items() if name not in lost}, tmp_path / SINGLE_FILE)
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(CheckpointError) as error:
        load_model(tmp_path, shard=ExpertShard(0, 2))
    assert len(lost) == 2
    assert all(name in str(error.value) for name in lost)


def test_too_few_experts_in_the_checkpoint_are_named(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint / SINGLE_FILE)
    name = next(name for name in tensors if name.endswith("layers.2.experts.gate_up_proj"))
    save_file(tensors | {name: tensors[name][:4].clone()}, tmp_path / SINGLE_FILE)
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=rf"{name} is \[4, .*expected \[8, "):
        load_model(tmp_path, shard=ExpertShard(0, 2))  # its own experts are there


_PEAK = """
import sys
from pathlib import Path
import torch
from model.expert_shard import ExpertShard, expert_bytes, mixtures
from model.expert_source import ExpertSource
from model.weights import load_model
torch.set_num_threads(1)
load_model(Path(sys.argv[1]), shard=ExpertShard(0, 8))  # what loading itself needs is there now
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10
Path("/proc/self/clear_refs").write_text("5")
before = peak()
model = load_model(Path(sys.argv[2]), shard=ExpertShard(1, 8))
print(peak() - before, expert_bytes(model))
"""


def test_no_rank_ever_holds_all_experts(make_checkpoint: MakeCheckpoint) -> None:
    small = make_checkpoint("26b-a4b", 0, text_only=True)
    large = make_checkpoint("26b-a4b", 0, text_only=True, moe_intermediate_size=8192)
    # In a process of its own: memory that others freed would hide it.
    run = [sys.executable, "-c", _PEAK, str(small), str(large)]
    grown, held = map(int, subprocess.run(run, check=True, capture_output=True, text=True).stdout.split())
    in_all = 6 * NUM_EXPERTS * 3 * 8192 * 64 * 4
    assert held == in_all // 8
    assert grown < 3 * held, f"{grown} bytes for {held} bytes of experts, of {in_all} in all"


@pytest.mark.parametrize("is_half", [False, True])
def test_an_expert_takes_anothers_place_as_if_it_had_been_loaded_there(checkpoint: Path, is_half: bool) -> None:
    model, source = load_model(checkpoint), ExpertSource(checkpoint)
    _, moe = list(mixtures(model))[3]
    wanted = moe.experts.gate_up[[0, 1, 6, 3, 4, 5, 6, 7]], moe.experts.down[[0, 1, 6, 3, 4, 5, 6, 7]]
    experts: Any = (
        PackedExperts(HalfLinear, moe.experts.gate_up.half(), moe.experts.down.half()) if is_half else moe.experts
    )
    experts.replace(2, *source.read(3, 6))
    rows, ends = torch.randn(24, 64), torch.arange(3, 25, 3, dtype=torch.int32)
    expected: Any = PackedExperts(HalfLinear, wanted[0].half(), wanted[1].half())
    torch.testing.assert_close(experts(rows, ends), expected(rows, ends), rtol=1e-2, atol=1e-3)
    source.close()


def test_an_even_placement_goes_by_rank() -> None:
    placement = even_placement(6, 3)
    assert placement.slots == ((0, 1), (2, 3), (4, 5))
    assert (placement.num_ranks, placement.slots_per_rank, placement.num_experts) == (3, 2, 6)
    assert ExpertPlacement(((0, 1), (2, 0))).copies == ((0, 3), (1,), (2,))


@pytest.mark.parametrize(("slots", "complaint"), [(((0, 1), (2,)), "equally many"), (((0, 2), (2, 3)), "has a place")])
def test_a_placement_gives_every_expert_a_place(slots: tuple[tuple[int, ...], ...], complaint: str) -> None:
    with pytest.raises(PlacementError, match=complaint):
        ExpertPlacement(slots)
