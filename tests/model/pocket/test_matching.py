"""Dialogues that match words: each answer is worked out again from its question."""

import random
from collections import Counter

from model.pocket.dialogue import Split
from model.pocket.skills.matching import matching


def _turns(count: int, split: Split) -> list[tuple[str, str]]:
    rng, found = random.Random(3), []
    for _ in range(count):
        texts = [message["content"] for message in matching(rng, split).messages]
        found += zip(texts[::2], texts[1::2], strict=True)
    return found


def _worked_out(question: str) -> tuple[str, str]:
    """What the answer rests on, and the answer."""
    asked = question.rstrip("?").split()
    if "same" in asked:
        first, second = [word for word in asked if word not in ("Are", "Is", "and", "the", "same", "as")]
        return f"{first} and {second}", "yes" if first == second else "no"
    if asked[0] == "Which":
        first, second, sought = asked[2], asked[4], asked[6]
        return f"{first} and {second}", "the first" if sought == first else "the second"
    listed = asked[asked.index("in") + 1 :]
    words = list(listed[0]) if listed[0].isdigit() else listed
    if asked[0] == "How":
        return " ".join(listed), str(len(words))
    return " ".join(listed), "yes" if asked[3] in words else "no"


def test_answers_follow_from_their_questions() -> None:
    verdicts: Counter[str] = Counter()
    for question, answer in _turns(300, "train") + _turns(100, "test"):
        evidence, _, verdict = answer.rpartition(": ")
        assert (evidence, verdict) == _worked_out(question), question
        verdicts[verdict] += 1
    assert min(verdicts[verdict] for verdict in ("yes", "no", "the first", "the second", "1", "4")) > 20


def test_what_differs_or_has_several_words_is_for_training_or_tests_alone() -> None:
    trained, tested = (set(_turns(2000, split)) for split in ("train", "test"))
    shared = {answer.rpartition(": ")[0] for _, answer in trained & tested}
    assert all(len(set(evidence.split(" and "))) == 1 for evidence in shared)
    assert not any(len(evidence.split()) > 1 and " and " not in evidence for evidence in shared)
