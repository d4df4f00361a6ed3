"""Tokenizer laws: round trips, streaming equals whole, no control token comes from untrusted text."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from model.tiny.tokenizer import SPECIALS, VOCAB_SIZE, build_tokenizer, tokenizer_config
from model.tokenizer import StreamDecoder, Tokenizer, TokenizerError

MARK = "\ufdd0"
# Pieces that an attacker would join: whole control tokens, halves of them, the escape mark itself.
HOSTILE = [
    *SPECIALS,
    "<",
    "|",
    ">",
    "<|",
    "|>",
    "turn",
    "<|tu",
    "rn>",
    "<tu",
    "rn|>",
    MARK,
    " ",
    "\n",
    "x",
    "é",
    "日本",
    "👩‍🚀",
]
hostile_text = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=3), max_size=12).map("".join)


def write_files(path: Path, backend: tokenizers.Tokenizer) -> Path:
    backend.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(1024)))
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("tokenizer"), build_tokenizer())


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_checkpoint(checkpoint)


def gemma_like_backend() -> tokenizers.Tokenizer:
    """The shape of the real tokenizer: spaces as ▁, bytes as <0xNN>, control tokens in the vocabulary."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", "a", "b", "c", "ab", "▁a", "é", "<|turn>"]
    vocab = {word: i for i, word in enumerate(words + [f"<0x{byte:02X}>" for byte in range(256)])}
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=[("a", "b"), ("▁", "a")], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<pad>", "<eos>", "<bos>", "<|turn>"])
    return backend


@pytest.fixture(scope="session")
def gemma_like(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_checkpoint(write_files(tmp_path_factory.mktemp("gemma"), gemma_like_backend()))


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_decoding_gives_back_any_text(tokenizer: Tokenizer, gemma_like: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode_plain(text)) == text
    if "▁" not in text:  # Gemma's spelling of a space cannot be told from a space
        assert gemma_like.decode(gemma_like.encode_plain(text)) == text


@settings(deadline=None)
@given(text=hostile_text)
def test_trusted_text_encodes_as_transformers_does(checkpoint: Path, tokenizer: Tokenizer, text: str) -> None:
    reference = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False)


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=40), skip=st.booleans())
def test_decoding_equals_the_library_for_any_ids(tokenizer: Tokenizer, ids: list[int], skip: bool) -> None:
    assert tokenizer.decode(ids, skip_special=skip) == build_tokenizer_once().decode(ids, skip_special_tokens=skip)


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, VOCAB_SIZE + 9), max_size=40), cut=st.integers(1, 5))
def test_streamed_pieces_join_to_the_whole(
    tokenizer: Tokenizer, gemma_like: Tokenizer, ids: list[int], cut: int
) -> None:
    for chosen in (tokenizer, gemma_like):
        stream = StreamDecoder(chosen)
        pieces = [stream.push(ids[start : start + cut]) for start in range(0, len(ids), cut)]
        assert "".join(pieces) + stream.finish() == chosen.decode(ids)


@pytest.mark.parametrize("name", ["tokenizer", "gemma_like"])
def test_half_a_character_is_never_emitted(name: str, request: pytest.FixtureRequest) -> None:
    chosen: Tokenizer = request.getfixturevalue(name)
    text = "é日👩‍🚀 ü"
    stream = StreamDecoder(chosen)
    emitted = [stream.push([token_id]) for token_id in chosen.encode_plain(text)]
    assert "".join(emitted) == text
    assert stream.finish() == ""
    assert not any("\ufffd" in piece for piece in emitted)


def test_streaming_costs_the_same_per_token_however_long_the_text(tokenizer: Tokenizer) -> None:
    # Lone continuation bytes never become a character: who waits for one re-reads an ever longer tail.
    half = tokenizer.encode_plain("é")[1:]
    stream = StreamDecoder(tokenizer)
    started = time.perf_counter()
    for _ in range(50_000):
        stream.push(half)
    assert time.perf_counter() - started < 2.0


def test_special_tokens_are_left_out_of_text_unless_asked_for(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<bos><|turn>user")
    assert tokenizer.decode(ids) == "user"
    assert tokenizer.decode(ids, skip_special=False) == "<bos><|turn>user"


@settings(max_examples=300, deadline=None)
@given(text=hostile_text)
def test_no_control_token_arises_from_untrusted_text(tokenizer: Tokenizer, gemma_like: Tokenizer, text: str) -> None:
    for chosen in (tokenizer, gemma_like):
        ids = chosen.encode_chat(chosen.escape_specials(text))
        assert chosen.special_ids.isdisjoint(ids)
        assert ids == chosen.encode_plain(text)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(hostile_text, min_size=1, max_size=4))
def test_joined_pieces_of_untrusted_text_stay_plain(tokenizer: Tokenizer, pieces: list[str]) -> None:
    joined = "<|turn>user\n" + "".join(tokenizer.escape_specials(piece) for piece in pieces) + "<turn|>"
    ids = tokenizer.encode_chat(joined)
    assert [token_id for token_id in ids if token_id in tokenizer.special_ids] == [105, 106]
    assert tokenizer.decode(ids) == "user\n" + "".join(pieces)


def test_a_vocabulary_that_merges_text_into_a_control_token_is_no_way_in(tmp_path: Path) -> None:
    vocab = {"<": 0, "t": 1, ">": 2, "<t": 3, "<t>": 4}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[("<", "t"), ("<t", ">")]))
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<t>"])
    tokenizer = Tokenizer.from_checkpoint(write_files(tmp_path, backend))
    assert tokenizer.encode("<t>") == [4]
    assert tokenizer.encode_plain("<t>") == [0, 1, 2]


def test_no_token_is_longer_than_the_longest(tokenizer: Tokenizer, gemma_like: Tokenizer) -> None:
    for one in (tokenizer, gemma_like):
        lengths = [len(one.decode([token_id], skip_special=False)) for token_id in range(one.vocab_size)]
        assert one.longest_token() >= max(lengths)


def test_named_tokens_come_from_the_config(tokenizer: Tokenizer) -> None:
    assert tokenizer.named_tokens["bos_token"] == "<bos>"
    assert tokenizer.token_id("<bos>") == 2
    assert tokenizer.token_id("no such token") is None
    assert tokenizer.vocab_size == VOCAB_SIZE


@pytest.mark.parametrize("content", [None, "{", '{"model": 1}'])
def test_a_broken_or_missing_file_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.from_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_config_is_named(tmp_path: Path, content: str) -> None:
    write_files(tmp_path, build_tokenizer())
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        Tokenizer.from_checkpoint(tmp_path)


def test_an_unknown_kind_of_decoder_is_refused(tmp_path: Path) -> None:
    backend = build_tokenizer()
    backend.decoder = decoders.WordPiece()
    with pytest.raises(TokenizerError, match="WordPiece"):
        Tokenizer.from_checkpoint(write_files(tmp_path, backend))


def test_the_tokenizer_is_the_same_at_every_build() -> None:
    assert build_tokenizer().to_str() == build_tokenizer().to_str()


def test_a_tokenizer_serves_several_threads(tokenizer: Tokenizer) -> None:
    texts = ["".join(random.Random(i).choices(HOSTILE, k=40)) for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(tokenizer.encode, texts))
    assert threaded == [tokenizer.encode(text) for text in texts]


@cache
def build_tokenizer_once() -> tokenizers.Tokenizer:
    return build_tokenizer()
