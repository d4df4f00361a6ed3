"""Dialogues about clips: answers that follow from what is said, the same by seed."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model.pocket.dialogue import Dialogue, Split
from model.pocket.skills import listening
from model.pocket.speech import lexicon
from model.pocket.speech.clips import ClipPool

pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
SKILLS = (listening.transcribe, listening.listen)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> listening.Pools:
    folder: Path = tmp_path_factory.mktemp("clips")
    return {"train": ClipPool(folder, "train", 60), "test": ClipPool(folder, "test", 20)}


def _texts(dialogue: Dialogue) -> list[str]:
    """What is asked and answered, in turn."""
    first = next(part["text"] for part in dialogue.messages[0]["content"] if part["type"] == "text")
    return [first, *(message["content"] for message in dialogue.messages[1:])]


def _exchanges(dialogue: Dialogue) -> list[tuple[str, str]]:
    texts = _texts(dialogue)
    return list(zip(texts[::2], texts[1::2], strict=True))


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_dialogue_carries_one_clip_and_ends_with_an_answer(
    pools: listening.Pools, skill: listening.Hearing, split: Split
) -> None:
    audio_first = Counter[bool]()
    for seed in range(60):
        dialogue = skill(pools, random.Random(seed), split)
        parts = dialogue.messages[0]["content"]
        audio_first[parts[0]["type"] == "audio"] += 1
        (samples_N,) = (part["audio"] for part in parts if part["type"] == "audio")
        assert samples_N.dtype == np.float32
        assert [message["role"] for message in dialogue.messages[::2]] == ["user"] * (len(dialogue.messages) // 2)
        assert dialogue.messages[-1]["role"] == "assistant"
        assert all(len(question.split()) <= 10 and answer for question, answer in _exchanges(dialogue))
    assert min(audio_first.values()) > 15


@pytest.mark.parametrize("skill", SKILLS)
def test_a_seed_names_a_dialogue(pools: listening.Pools, skill: listening.Hearing) -> None:
    first, again = (skill(pools, random.Random(7), "train") for _ in range(2))
    assert _texts(first) == _texts(again)
    heard = [next(p["audio"] for p in d.messages[0]["content"] if p["type"] == "audio") for d in (first, again)]
    assert np.array_equal(*heard)


def test_a_transcription_is_the_last_answer(pools: listening.Pools) -> None:
    said = {lexicon.written(pools["test"][index].utterance.words) for index in range(len(pools["test"]))}
    for seed in range(40):
        dialogue = listening.transcribe(pools, random.Random(seed), "test")
        assert len(dialogue.messages) == 2
        assert dialogue.messages[-1]["content"] in said


def test_the_answer_is_never_told_before_a_test_asks(pools: listening.Pools) -> None:
    for seed in range(60):
        asked = [question for question, _ in _exchanges(listening.listen(pools, random.Random(seed), "test"))]
        assert not set(asked) & set(listening.TRANSCRIBE)
        assert len(set(asked)) == len(asked)


def test_answers_agree_with_what_is_written_down(pools: listening.Pools) -> None:
    """Each answer is worked out again, from the transcription alone."""
    seen = Counter[str]()
    for seed in range(400):
        exchanges = _exchanges(listening.listen(pools, random.Random(seed), "train"))
        if exchanges[-1][0] in listening.TRANSCRIBE:
            said = exchanges[-1][1]
            words = list(said) if said.isdigit() else said.split()
            for question, answer in exchanges[:-1]:
                evidence, _, verdict = answer.rpartition(": ")
                assert verdict == _worked_out(question, words), (question, said)
                assert evidence == (said if question.startswith(("How", "Is")) else ""), (question, said)
                seen[question.split()[0] + (verdict if verdict in ("yes", "no") else "")] += 1
    assert min(seen[key] for key in ("What", "Which", "How", "Isyes", "Isno")) > 10


def _worked_out(question: str, words: list[str]) -> str:
    asked = question.rstrip("?").split()
    if asked[0] == "How":
        return str(len(words))
    if asked[0] == "Is":
        return "yes" if asked[3] in words else "no"
    if "named" in asked:
        (only,) = (word for word in words if word in lexicon.KINDS[asked[1]])
        return only
    return words[0] if "first" in asked else words[-1]
