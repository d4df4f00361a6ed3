"""A checkpoint's tokenizer: text to ids and back, whole or streamed, with callers' text kept plain."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tokenizers

# A Unicode noncharacter: valid in UTF-8, assigned to nothing, and doubled where a caller does send it.
_MARK = "\ufdd0"
_MARKED = re.compile(f"{_MARK}({_MARK}?)")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")
_NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "mask_token")


class TokenizerError(ValueError):
    """The checkpoint's tokenizer files are missing, broken or of a kind we do not read."""


class Tokenizer:
    """Ids of texts and texts of ids, after tokenizer.json. Safe to use from several threads.

    `named_tokens` maps names of tokenizer_config.json ("bos_token", ...) to token strings; `special_ids` are
    the control tokens, which `decode` leaves out by default.
    """

    def __init__(self, backend: tokenizers.Tokenizer, named_tokens: dict[str, str]) -> None:
        added = backend.get_added_tokens_decoder()
        specials = {token.content: token_id for token_id, token in added.items() if token.special}
        # From here on the backend reads control tokens as plain text; `_encode` puts the real ones in.
        backend.encode_special_tokens = True
        self._backend = backend
        self._specials = specials
        self._special_pattern = _any_of(specials)
        self._special_starts = _any_of({content[0] for content in specials})
        self._token_bytes = {token_id: token.content.encode() for token_id, token in added.items()}
        self._is_byte_level = _decoder_is_byte_level(backend)
        self.named_tokens = named_tokens
        self.special_ids = frozenset(specials.values())

    @classmethod
    def from_checkpoint(cls, path: Path) -> "Tokenizer":
        """Reads tokenizer.json and, if there, tokenizer_config.json under `path`. Raises TokenizerError."""
        file = path / "tokenizer.json"
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"cannot read {file}: {error}") from error
        return cls(backend, named_tokens(read_tokenizer_config(path)))

    @property
    def vocab_size(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def longest_token(self) -> int:
        """A number of characters that no token exceeds. Reads the whole vocabulary."""
        # As it is spelled there, a token has at least as many characters as what it stands for.
        return max(map(len, self._backend.get_vocab(with_added_tokens=True)))

    def token_id(self, token: str) -> int | None:
        """The id of one token string, or None if the vocabulary has no such token."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id

    def encode(self, text: str) -> list[int]:
        """Ids of trusted text: control tokens spelled in it become control tokens. Adds no BOS or EOS."""
        return self._encode(text, marked=False)

    def encode_plain(self, text: str) -> list[int]:
        """Ids of untrusted text: nothing in it becomes a control token."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        if self.special_ids.isdisjoint(ids):
            return ids
        # A vocabulary may merge plain characters into a control token; single characters cannot merge.
        return [token_id for char in text for token_id in self._backend.encode(char, add_special_tokens=False).ids]

    def escape_specials(self, text: str) -> str:
        """Marks untrusted text, so that `encode_chat` never reads a control token in it.

        Every character that could begin a control token is followed by a mark, so pieces that a template
        joins ("<|tu" and "rn>") stay plain too. `encode_chat` removes the marks: the model sees plain text.
        """
        doubled = text.replace(_MARK, _MARK + _MARK)
        return self._special_starts.sub(lambda match: match[0] + _MARK, doubled)

    def encode_chat(self, text: str) -> list[int]:
        """Ids of a rendered conversation whose caller strings went through `escape_specials`."""
        return self._encode(text, marked=True)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of ids. Bytes that are no UTF-8 come out as U+FFFD; ids beyond the vocabulary as nothing."""
        return b"".join(self._bytes_of(ids, skip_special)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """What one token stands for, control tokens spelled out; b"" beyond the vocabulary."""
        return self._bytes_of_token(token_id)

    def _encode(self, text: str, marked: bool) -> list[int]:
        ids: list[int] = []
        start = 0
        for match in self._special_pattern.finditer(text):
            ids += self._encode_piece(text[start : match.start()], marked)
            ids.append(self._specials[match[0]])
            start = match.end()
        return ids + self._encode_piece(text[start:], marked)

    def _encode_piece(self, text: str, marked: bool) -> list[int]:
        plain = _MARKED.sub(r"\1", text) if marked else text
        return self.encode_plain(plain) if plain else []

    def _bytes_of(self, ids: Iterable[int], skip_special: bool) -> Iterator[bytes]:
        for token_id in ids:
            if not (skip_special and token_id in self.special_ids):
                yield self._bytes_of_token(token_id)

    def _bytes_of_token(self, token_id: int) -> bytes:
        known = self._token_bytes.get(token_id)
        if known is None:
            token = self._backend.id_to_token(token_id) or ""
            known = _byte_level_bytes(token) if self._is_byte_level else _byte_fallback_bytes(token)
            self._token_bytes[token_id] = known
        return known


class StreamDecoder:
    """Text of a growing list of ids, in pieces; joined, they equal `Tokenizer.decode` of the whole.

    Each call costs as much as its new ids: nothing is decoded twice. Half a character waits for its rest.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, ids: Iterable[int]) -> str:
        """The text that these ids complete, "" if they end inside a character."""
        return self._utf8.decode(b"".join(self._tokenizer._bytes_of(ids, self._skip_special)))

    def finish(self) -> str:
        """What is still held back: U+FFFD for a character that never came whole, else ""."""
        return self._utf8.decode(b"", final=True)


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the strings, the longest first; nothing at all if there are none."""
    alternatives = sorted(strings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, alternatives)) if alternatives else r"(?!)")


def read_tokenizer_config(path: Path) -> dict[str, Any]:
    """tokenizer_config.json under `path`, {} if there is none. Raises TokenizerError if it is broken."""
    file = path / "tokenizer_config.json"
    try:
        config = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise TokenizerError(f"cannot read {file}: {error}") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"cannot read {file}: not a JSON object")
    return config


def named_tokens(config: dict[str, Any]) -> dict[str, str]:
    """The token strings that a tokenizer_config names: {"bos_token": "<bos>", ...}."""
    return {name: _content(config[name]) for name in _NAMED_TOKENS if config.get(name)}


def _content(token: str | dict[str, Any]) -> str:
    """The string of a token that is written as "<bos>" or as {"content": "<bos>", ...}."""
    return token if isinstance(token, str) else str(token["content"])


def _decoder_is_byte_level(backend: tokenizers.Tokenizer) -> bool:
    decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder else {"decoders": []}
    kinds = {part["type"] for part in decoder.get("decoders", [decoder])}
    if kinds == {"ByteLevel"}:
        return True
    if kinds and kinds <= {"Replace", "ByteFallback", "Fuse"}:
        return False
    raise TokenizerError(f"unsupported decoder in tokenizer.json: {sorted(kinds) or 'none'}")


def _byte_level_alphabet() -> dict[str, int]:
    """The printable stand-in of each byte in a byte-level vocabulary (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTE_OF_CHAR = _byte_level_alphabet()


def _byte_level_bytes(token: str) -> bytes:
    return bytes(_BYTE_OF_CHAR[char] for char in token)


def _byte_fallback_bytes(token: str) -> bytes:
    match = _BYTE_TOKEN.match(token)
    return bytes([int(match[1], 16)]) if match else token.replace("▁", " ").encode()
