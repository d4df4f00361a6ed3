"""The pocket family's tokenizer: a token for each word the skills use, a letter for a token in all others.

So a word never seen is spelled out, and can be copied, reversed and remembered letter by letter.
"""

from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from model.tiny.tokenizer import LOW_SPECIALS, MEDIA_TOKENS

VOCAB_SIZE = 1024
SPECIALS = LOW_SPECIALS | {token: VOCAB_SIZE - len(MEDIA_TOKENS) + i for i, token in enumerate(MEDIA_TOKENS)}
_NEWLINE_ID = 107
_SPACE = "▁"
# A word with the space before it, a digit, a space, or any other sign.
PIECES = rf"{_SPACE}?[A-Za-z]+|[0-9]|{_SPACE}|\n|[^A-Za-z0-9{_SPACE}\n]"
_ASCII = [chr(code) for code in range(33, 127)]
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
_LEXICON = Path(__file__).parent / "lexicon.txt"


def lexicon() -> list[str]:
    """The words that are one token each, in order; `python -m model.pocket.lexicon` writes them anew."""
    return _LEXICON.read_text(encoding="utf-8").split()


def build_tokenizer() -> tokenizers.Tokenizer:
    """Byte-fallback BPE without merges around Gemma 4's control tokens, spelled as Gemma's own is."""
    model = models.BPE(
        vocab=_vocabulary(), merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=False, ignore_merges=True
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in SPECIALS])
    return tokenizer


def _vocabulary() -> dict[str, int]:
    """Words with and without a space before them fill the ids that control tokens leave free."""
    words = [form for word in lexicon() for form in (_SPACE + word, word) if len(word) > 1 or form != word]
    tokens = [_SPACE, *_ASCII, *_BYTES, *words]
    taken = SPECIALS | {"\n": _NEWLINE_ID}
    free = (index for index in range(VOCAB_SIZE) if index not in set(taken.values()))
    placed = {token: next(free) for token in dict.fromkeys(tokens)}
    return taken | placed | {f"<unused{index}>": index for index in free}
