"""A run learns, is the same again for a seed, and goes on where it was stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.pocket import curriculum
from model.pocket.curriculum import Lessons
from model.pocket.family import POCKET_VARIANTS
from model.pocket.training.network import Network
from model.pocket.training.run import Run, Schedule
from model.pocket.training.stream import BatchStream, Portions

LESSONS = Lessons(curriculum.text_lessons("31b"), curriculum.picture_lessons(), [])
SCHEDULE = Schedule(encoder_steps=2, steps=4, rate=1e-3)
PORTIONS = Portions(rows=2, pictures=1, sounds=0)


def _run(file: Path) -> tuple[Run, Network]:
    torch.manual_seed(0)
    network = Network(POCKET_VARIANTS["26b-a4b"], is_compiled=False)
    return Run(network, SCHEDULE, BatchStream(3, lambda _: PORTIONS, LESSONS), file), network


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    run, network = _run(tmp_path_factory.mktemp("whole") / "state.pt")
    return [losses for _, losses in run.steps()], network.gemma.state_dict()


def test_the_encoders_learn_alone_first_then_everything(whole: tuple[list[dict[str, float]], object]) -> None:
    assert [sorted(losses) for losses in whole[0]] == [["image"]] * 2 + [["image", "text"]] * 4
    assert whole[0][-1]["text"] < whole[0][2]["text"]


def test_a_stopped_run_ends_with_the_same_weights(
    whole: tuple[object, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    stopped, _ = _run(tmp_path / "state.pt")
    steps = stopped.steps()
    for _ in range(3):
        next(steps)
    stopped.save()
    steps.close()
    resumed, network = _run(tmp_path / "state.pt")
    assert resumed.step == 3
    assert [step for step, _ in resumed.steps()] == [4, 5, 6]
    for name, weight in network.gemma.state_dict().items():
        assert torch.equal(weight, whole[1][name]), name


def test_batches_depend_on_seed_and_step_alone() -> None:
    stream = BatchStream(3, lambda _: replace(PORTIONS, pictures=0), LESSONS)
    assert torch.equal(stream[5].tokens_RW, stream[5].tokens_RW)
    assert not torch.equal(stream[5].tokens_RW, stream[6].tokens_RW)
