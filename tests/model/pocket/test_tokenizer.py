"""Known words are one token, all others are spelled, and nothing is lost."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from model.pocket.tokenizer import SPECIALS, VOCAB_SIZE, build_tokenizer, lexicon
from model.tiny.tokenizer import tokenizer_config
from model.tokenizer import Tokenizer

TOKENIZER = build_tokenizer()


def test_known_words_are_one_token_with_and_without_a_space() -> None:
    assert TOKENIZER.encode("What is red").tokens == ["What", "▁is", "▁red"]
    assert TOKENIZER.encode("red").tokens == ["red"]


def test_unknown_words_and_numbers_are_spelled() -> None:
    assert TOKENIZER.encode(" Zorab 12").tokens == ["▁", "Z", "o", "r", "a", "b", "▁", "1", "2"]


def test_every_id_is_taken_once() -> None:
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(VOCAB_SIZE))
    assert {token: TOKENIZER.token_to_id(token) for token in SPECIALS} == SPECIALS


@given(st.text(max_size=60))
def test_text_comes_back(text: str) -> None:
    ids = TOKENIZER.encode(text).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text.replace("▁", " ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save(str(path / "tokenizer.json"))
    from model.checkpoint_files import write_json

    write_json(path / "tokenizer_config.json", tokenizer_config(8192))
    return path


@pytest.mark.parametrize(
    "text", ["What is red?", "Zorab, 12 + 3 = 15", 'wörld \n {"name": 1}', "<|turn>user\nHi<turn|>"]
)
def test_the_runtime_and_transformers_read_it_alike(folder: Path, text: str) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    assert Tokenizer.from_checkpoint(folder).encode(text) == theirs(text, add_special_tokens=False).input_ids
    assert theirs("hello<turn|>", add_special_tokens=False).input_ids[-1] == SPECIALS["<turn|>"]


def test_the_lexicon_is_sorted_and_without_repetition() -> None:
    assert lexicon() == sorted(set(lexicon()))
