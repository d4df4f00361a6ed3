"""What the network sees is what the chat template renders, and what it is taught is only its own part."""

import random

import pytest

from model.pocket import curriculum
from model.pocket.dialogue import Dialogue
from model.pocket.transcript import answer, own_tokens, prompt, template, tokenizer, tokens, with_thoughts

TURNS = Dialogue(
    "any",
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "a red circle"},
    ],
)


def _taught(dialogue: Dialogue, soft: list[int]) -> str:
    ids = tokens(dialogue, soft)
    return "|".join(tokenizer().id_to_token(id_) for id_, own in zip(ids, own_tokens(ids), strict=True) if own)


def test_its_turns_are_taught_to_their_end() -> None:
    assert _taught(TURNS, [3]) == "Hello|!|▁How|▁can|▁I|▁help|▁you|?|<turn|>|a|▁red|▁circle|<turn|>"


def test_to_learn_from_half_of_the_earlier_answers_open_as_the_last_one_does() -> None:
    ids, rng = tokens(TURNS, [3]), random.Random(2)
    laid = [with_thoughts(ids, rng) for _ in range(100)]
    thoughtful = [one for one in laid if one != ids]
    assert 30 < len(thoughtful) < 70
    text = tokenizer().decode(thoughtful[0], skip_special_tokens=False)
    assert text.count("<|turn>model\n<|channel>thought\n<channel|>") == 2
    # What is taught stays the same.
    assert [id_ for id_, own in zip(thoughtful[0], own_tokens(thoughtful[0]), strict=True) if own] == [
        id_ for id_, own in zip(ids, own_tokens(ids), strict=True) if own
    ]


def test_media_take_their_soft_tokens() -> None:
    ids = tokens(TURNS, [3])
    names = [tokenizer().id_to_token(id_) for id_ in ids]
    assert names[names.index("<|image>") :][:5] == ["<|image>", *["<|image|>"] * 3, "<image|>"]


def test_a_call_is_taught_with_the_token_that_asks_for_the_response_but_not_the_response() -> None:
    rng = random.Random(3)
    call = next(d for d in (curriculum.tool_calls.calling(rng, "train") for _ in range(50)) if len(d.messages) == 4)
    taught = _taught(call, [])
    assert "<tool_call|>|<|tool_response>" in taught
    assert "response" not in taught.replace("<|tool_response>", "")


@pytest.mark.parametrize("variant", list(curriculum.TITLES))
def test_prompt_and_answer_are_what_the_template_renders(variant: str) -> None:
    rng = random.Random(1)
    for lesson in curriculum.text_lessons(variant):
        dialogue = lesson.skill(rng, "test")
        whole = template().render(dialogue.messages, tools=dialogue.tools or None, add_generation_prompt=False)
        mine = prompt(dialogue).replace("<|channel>thought\n<channel|>", "") + answer(dialogue)
        assert mine.removesuffix("<|tool_response>") == whole.rstrip("\n").removesuffix("<|tool_response>")


@pytest.mark.parametrize("variant", list(curriculum.TITLES))
def test_dialogues_are_the_same_for_a_seed_and_splits_share_no_made_up_word(variant: str) -> None:
    for lesson in curriculum.text_lessons(variant):
        first, again = (lesson.skill(random.Random(5), "train") for _ in range(2))
        assert first == again
