"""A byte-level BPE tokenizer of 1024 tokens, trained at build time around Gemma 4's control tokens."""

import json
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from model.tiny.corpus import sentences

VOCAB_SIZE = 1024

# Ids of the real vocabulary.
LOW_SPECIALS = {
    "<pad>": 0,
    "<eos>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "<mask>": 4,
    "<|tool>": 46,
    "<tool|>": 47,
    "<|tool_call>": 48,
    "<tool_call|>": 49,
    "<|tool_response>": 50,
    "<tool_response|>": 51,
    '<|"|>': 52,
    "<|think|>": 98,
    "<|channel>": 100,
    "<channel|>": 101,
    "<|turn>": 105,
    "<turn|>": 106,
}
# The real ids of these lie beyond 255999; a small vocabulary keeps their order at its end.
MEDIA_TOKENS = ("<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>")
SPECIALS = LOW_SPECIALS | {token: VOCAB_SIZE - len(MEDIA_TOKENS) + i for i, token in enumerate(MEDIA_TOKENS)}
_NEWLINE = ("Ċ", 107)  # the byte-level spelling of "\n", at its real id


def build_tokenizer() -> tokenizers.Tokenizer:
    """Trains on the corpus and places the result around the control tokens; the same at every call."""
    trained = json.loads(_train(VOCAB_SIZE - len(SPECIALS)).to_str())["model"]
    tokens = sorted(trained["vocab"], key=trained["vocab"].__getitem__)
    merges = [tuple(merge) for merge in trained["merges"]]
    tokenizer = _byte_level(models.BPE(vocab=_place(tokens), merges=merges))
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in SPECIALS])
    return tokenizer


def tokenizer_config(context: int) -> dict[str, Any]:
    """tokenizer_config.json: the names by which transformers and vLLM find the control tokens."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "extra_special_tokens": {
            "boi_token": "<|image>",
            "image_token": "<|image|>",
            "eoi_token": "<image|>",
            "boa_token": "<|audio>",
            "audio_token": "<|audio|>",
            "eoa_token": "<audio|>",
            "video_token": "<|video|>",
            "sot_token": "<|turn>",
            "eot_token": "<turn|>",
            "think_token": "<|think|>",
            "soc_token": "<|channel>",
            "eoc_token": "<channel|>",
            "escape_token": '<|"|>',
        },
    }


def _train(size: int) -> tokenizers.Tokenizer:
    tokenizer = _byte_level(models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sentences(), trainer)
    return tokenizer


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _place(tokens: list[str]) -> dict[str, int]:
    """Gives the control tokens and the newline their fixed ids and the rest the ids between, in order."""
    newline, newline_id = _NEWLINE
    fixed = SPECIALS | {newline: newline_id}
    free = sorted(set(range(VOCAB_SIZE)) - set(fixed.values()))
    rest = [token for token in tokens if token != newline]
    return fixed | dict(zip(rest, free, strict=True))
