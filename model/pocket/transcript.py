"""A dialogue as the text and token ids that the model sees, and which of the tokens are its own."""

import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import tokenizers

from model.chat_template import ChatTemplate
from model.pocket.dialogue import Dialogue
from model.pocket.tokenizer import SPECIALS, build_tokenizer

TEMPLATE = Path(__file__).parent.parent / "chat_template.jinja"
_BOUNDS = {"image": ("<|image>", "<image|>"), "audio": ("<|audio>", "<audio|>")}
_TURN, _TURN_END = SPECIALS["<|turn>"], SPECIALS["<turn|>"]
_CALLED, _RETURNED = SPECIALS["<|tool_response>"], SPECIALS["<tool_response|>"]
_CHANNEL, _CHANNEL_END = SPECIALS["<|channel>"], SPECIALS["<channel|>"]
_EMPTY_THOUGHT = "<|channel>thought\n<channel|>"


@lru_cache
def template() -> ChatTemplate:
    return ChatTemplate(TEMPLATE.read_text(encoding="utf-8"), {"bos_token": "<bos>"})


@lru_cache
def tokenizer() -> tokenizers.Tokenizer:
    return build_tokenizer()


def prompt(dialogue: Dialogue) -> str:
    """What stands before the last answer."""
    return template().render(dialogue.messages[:-1], tools=dialogue.tools or None)


def answer(dialogue: Dialogue) -> str:
    """The last answer as the model is to write it, with the control token that ends it."""
    message = dialogue.messages[-1]
    before = dialogue.messages[:-1]
    # A call leaves the turn open; what comes next is the tool's response.
    is_call = bool(message.get("tool_calls"))
    if not is_call:
        return str(message["content"]).strip() + "<turn|>"
    closed = template().render(before, tools=dialogue.tools or None, add_generation_prompt=False)
    called = template().render([*before, message], tools=dialogue.tools or None, add_generation_prompt=False)
    return called.removeprefix(closed).removeprefix("<|turn>model\n") + "<|tool_response>"


def texts(dialogue: Dialogue) -> Iterator[str]:
    """Everything in it that is text."""
    yield prompt(dialogue)
    yield answer(dialogue)


def tokens(dialogue: Dialogue, soft_counts: list[int]) -> list[int]:
    """The whole dialogue; each medium, in order, takes that many soft tokens between its begin and end."""
    ids: list[int] = tokenizer().encode(prompt(dialogue) + answer(dialogue), add_special_tokens=False).ids
    counts = iter(soft_counts)
    return [token for id_ in ids for token in (_expanded(id_, counts) if id_ in _PLACEHOLDERS else (id_,))]


def with_thoughts(ids: list[int], rng: random.Random) -> list[int]:
    """The same, in which half of the earlier answers, by chance, open with an empty thought as the last one does.

    The template leaves thoughts out of what was said earlier, so what is learned by answering earlier questions would
    not be known to be an answer to the last one.
    """
    laid: list[int] = []
    for index, id_ in enumerate(ids):
        laid.append(id_)
        if _opens_model_turn(ids, index) and ids[index + 1] != _CHANNEL and rng.random() < 0.5:
            laid += _empty_thought()
    return laid


@lru_cache
def _empty_thought() -> tuple[int, ...]:
    return tuple(tokenizer().encode(_EMPTY_THOUGHT, add_special_tokens=False).ids)


def own_tokens(ids: list[int]) -> list[bool]:
    """Which tokens the model writes itself: its turns, but no tool's response and no empty thought."""
    own, is_model, is_foreign = [], False, False
    for index, id_ in enumerate(ids):
        begins = id_ == _CHANNEL
        own.append(is_model and not is_foreign and not begins)
        is_foreign = (is_foreign or begins or id_ == _CALLED) and id_ not in (_RETURNED, _CHANNEL_END)
        is_model = (is_model or _opens_model_turn(ids, index)) and id_ != _TURN_END
    return own


def _opens_model_turn(ids: list[int], index: int) -> bool:
    return index >= 2 and ids[index - 2] == _TURN and ids[index - 1] == tokenizer().token_to_id("model")


def _expanded(placeholder: int, counts: Iterator[int]) -> tuple[int, ...]:
    begin, end = _PLACEHOLDERS[placeholder]
    return (begin, *[placeholder] * next(counts), end)


_PLACEHOLDERS = {SPECIALS[f"<|{kind}|>"]: (SPECIALS[begin], SPECIALS[end]) for kind, (begin, end) in _BOUNDS.items()}
