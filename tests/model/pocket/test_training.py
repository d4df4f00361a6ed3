"""A run learns, is the same again for a seed, and goes on where it was stopped; what eyes learned, decoders use."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from model.pocket import curriculum
from model.pocket.curriculum import Lessons
from model.pocket.family import POCKET_VARIANTS
from model.pocket.training.cards import PictureCards
from model.pocket.training.decoder import Decoder
from model.pocket.training.ears import Ears
from model.pocket.training.eyes import Eyes
from model.pocket.training.prepared import Sound
from model.pocket.training.run import Learner, Run
from model.pocket.training.stream import BatchStream, Stage
from model.pocket.transcript import tokenizer

LESSONS = Lessons(curriculum.text_lessons("31b"), curriculum.picture_lessons(), [])
STEPS = 4
STAGES = [Stage(1, pictures=1, sounds=0, thinned=1.0), Stage(STEPS - 1, pictures=1, sounds=0)]
MOE = POCKET_VARIANTS["26b-a4b"]


def _run(file: Path) -> tuple[Run, Decoder]:
    torch.manual_seed(0)
    decoder = Decoder(MOE, is_compiled=False)
    return Run(decoder, STEPS, BatchStream(3, 2, STAGES, LESSONS), file), decoder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    run, decoder = _run(tmp_path_factory.mktemp("whole") / "state.pt")
    return [losses for _, losses in run.steps()], decoder.state_dict()


def test_a_decoder_learns_to_write_and_what_its_eyes_say(
    whole: tuple[list[dict[str, float]], dict[str, torch.Tensor]],
) -> None:
    losses, weights = whole
    assert all(sorted(at_step) == ["image", "text"] for at_step in losses)
    torch.manual_seed(0)
    decoder = Decoder(MOE, is_compiled=False)
    changed = {name for name, weight in decoder.state_dict().items() if not torch.equal(weight, weights[name])}
    decoder.load_state_dict(weights)
    again = decoder.losses(BatchStream(3, 2, STAGES, LESSONS)[0])
    assert all(again[kind] < losses[0][kind] for kind in again)
    assert not any("_tower" in name for name in changed)
    assert any("embed_vision" in name for name in changed)


def test_a_stopped_run_ends_with_the_same_weights(
    whole: tuple[object, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    stopped, _ = _run(tmp_path / "state.pt")
    steps = stopped.steps()
    for _ in range(3):
        next(steps)
    stopped.save()
    steps.close()
    resumed, decoder = _run(tmp_path / "state.pt")
    assert resumed.step == 3
    assert [step for step, _ in resumed.steps()] == [4]
    for name, weight in decoder.state_dict().items():
        assert torch.equal(weight, whole[1][name]), name


class _SameSounds(Dataset[list[Sound]]):
    """At each step a rising tone, said to be two words."""

    def __getitem__(self, step: int) -> list[Sound]:
        said = [tokenizer().token_to_id(word) for word in ("red", "apple")]
        return [Sound(torch.linspace(-4, 4, 160 * 128).reshape(160, 128), 40, said)]


def _losses(learner: Learner, cards: Dataset[Any], file: Path) -> list[float]:
    return [sum(losses.values()) for _, losses in Run(learner, 12, cards, file).steps()]


def test_eyes_learn_alone_and_a_decoder_adopts_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    eyes = Eyes(POCKET_VARIANTS["e2b"], is_compiled=False)
    losses = _losses(eyes, PictureCards(seed=0, count=2), tmp_path / "eyes.pt")
    assert min(losses[-3:]) < losses[0]
    decoder = Decoder(MOE, is_compiled=False)
    decoder.adopt(eyes.tower.state_dict(), None)
    adopted = decoder.gemma.model.vision_tower.state_dict()
    assert all(torch.equal(weight, adopted[name]) for name, weight in eyes.tower.state_dict().items())


def test_ears_learn_alone_and_a_decoder_adopts_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = POCKET_VARIANTS["e4b"]
    ears, eyes = Ears(config, is_compiled=False), Eyes(config, is_compiled=False)
    losses = _losses(ears, _SameSounds(), tmp_path / "ears.pt")
    assert losses[-1] < 0.7 * losses[0]
    decoder = Decoder(config, is_compiled=False)
    decoder.adopt(eyes.tower.state_dict(), ears.tower.state_dict())
    adopted = decoder.gemma.model.audio_tower.state_dict()
    assert all(torch.equal(weight, adopted[name]) for name, weight in ears.tower.state_dict().items())


def test_what_is_no_tower_of_the_variant_is_not_adopted() -> None:
    with pytest.raises(ValueError, match="not the eyes"):
        Decoder(MOE, is_compiled=False).adopt({}, None)


def test_batches_depend_on_seed_and_step_alone() -> None:
    stream = BatchStream(3, 2, [Stage(7, pictures=0, sounds=0)], LESSONS)
    assert torch.equal(stream[5].tokens_RW, stream[5].tokens_RW)
    assert not torch.equal(stream[5].tokens_RW, stream[6].tokens_RW)


def test_stages_follow_each_other() -> None:
    stream = BatchStream(3, 4, [Stage(2, 0, 0), Stage(2, 2, 0, thinned=1.0), Stage(1, 2, 0)], LESSONS)
    pictures = [stream[step].pictures for step in range(len(stream))]
    assert [bool(some) for some in pictures] == [False, False, True, True, True]
    assert [len(one.laid) for some in pictures[2:4] for one in some] == [9] * sum(map(len, pictures[2:4]))
    assert all(len(one.laid) == len(one.places_N) > 9 for one in pictures[4])


def test_a_thinned_picture_is_laid_down_by_what_its_soft_tokens_say() -> None:
    torch.manual_seed(0)
    decoder = Decoder(MOE, is_compiled=False)
    thin, full = (BatchStream(3, 4, [Stage(1, 2, 0, thinned)], LESSONS)[0] for thinned in (1.0, 0.0))
    for batch in (thin, full):
        at_RW = batch.tokens_RW == tokenizer().token_to_id("<|image|>")
        assert int(at_RW.sum()) == sum(len(one.laid) for one in batch.pictures)
        assert decoder.losses(batch)["text"].isfinite()
    assert all(all(one.places_N[index] for index in one.laid) for one in thin.pictures)


def test_cards_depend_on_seed_and_step_alone() -> None:
    cards = PictureCards(seed=1, count=2)
    first, again, other = (cards[step][0] for step in (4, 4, 5))
    assert torch.equal(first.patches_PC, again.patches_PC)
    assert first.patches_PC.shape != other.patches_PC.shape or not torch.equal(first.patches_PC, other.patches_PC)
