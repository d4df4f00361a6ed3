"""A checkpoint that gives chosen answers to chosen prompts, for tests of what only a trained model would say.

The decoder is the tiny family's, wider and as random; its output matrix is solved so that each token of an answer is
the likeliest one after what comes before it. Shapes: T tokens, N those of all answers, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from model.full_attention import FullAttention
from model.tiny import checkpoint as tiny
from model.tiny.encoders import encoder_shapes
from model.tiny.family import TINY_E2B
from model.tiny.random_weights import random_model, random_tensor
from model.transformer import Transformer
from model.weights import save_checkpoint

WIDTH = 512
_CONFIG = replace(TINY_E2B, text=replace(TINY_E2B.text, hidden_size=WIDTH, has_tied_embeddings=False))
_LIKELY = 20.0
# So small that the soft cap takes nothing off.
_WHISPER = 0.01


def write_taught(path: Path, answers: Sequence[tuple[list[int], list[int]]]) -> Path:
    """Writes it into the folder `path`. `answers`: ids of prompts, and ids of what is said to each; N at most WIDTH."""
    tiny.write_tiny("e2b", path)
    model = random_model("taught", _CONFIG)
    assert model.head is not None
    hidden_ND = torch.cat([_hidden(model, prompt + answer)[len(prompt) - 1 : -1] for prompt, answer in answers])
    wanted_N = torch.tensor([token_id for _, answer in answers for token_id in answer])
    assert len(wanted_N) <= WIDTH
    target_NV = torch.zeros(len(wanted_N), _CONFIG.text.vocab_size, dtype=torch.float64)
    target_NV[torch.arange(len(wanted_N)), wanted_N] = _LIKELY
    model.head.weight.copy_((torch.linalg.pinv(hidden_ND) @ target_NV).T)
    encoders = {name: random_tensor(name, shape) for name, shape in encoder_shapes(_CONFIG).items()}
    save_checkpoint(model, _CONFIG, path, encoders)
    return path


def _hidden(model: Transformer, tokens: list[int]) -> Tensor:
    """[T, D]: what the output matrix sees at each token, read off through one that passes it on."""
    cap = _CONFIG.text.final_logit_softcap
    assert model.head is not None
    assert cap is not None
    model.head.weight.copy_(torch.eye(_CONFIG.text.vocab_size, WIDTH) * _WHISPER)
    logits_TV = model(torch.tensor(tokens), torch.arange(len(tokens)), FullAttention([len(tokens)])).double()
    return (logits_TV[:, :WIDTH] / cap).atanh() * cap / _WHISPER
