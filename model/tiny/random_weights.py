"""Random values for every weight, the same on every machine, scaled so that answers vary from token to token.

Shapes: V vocabulary, D hidden, H query heads, K key/value heads, E head dimension.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

from model.config import ModelConfig
from model.tiny.tokenizer import SPECIALS
from model.transformer import Transformer

# Small against what the layers add, or the next token would always be the last one again.
_EMBEDDING_STD = 0.03
# Logits then spread like those of a model that has an opinion.
_FINAL_NORM = 14.0
_QUIET = 0.2
_CLIP_BOUND = 16.0


def random_model(variant: str, config: ModelConfig) -> Transformer:
    """The text decoder; control tokens other than the end of a turn get weak embeddings, so they are rarely drawn."""
    model = Transformer(config.text).eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        tensor.copy_(_text_weight(f"{variant}/{name}", tensor.shape, config))
    quiet = [token_id for token, token_id in SPECIALS.items() if token != "<turn|>"]
    model.embedding.weight[quiet] *= _QUIET
    return model


def random_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """An encoder's weight: clipping bounds fixed, vectors around 1, matrices keeping the size of what they map."""
    if name.endswith(("_min", "_max")):
        return torch.tensor(-_CLIP_BOUND if name.endswith("_min") else _CLIP_BOUND)
    if len(shape) < 2:
        return _uniform(name, shape, 0.5, 1.5)
    return _normal(name, shape, float(np.prod(shape[1:])) ** -0.5)


def _text_weight(name: str, shape: torch.Size, config: ModelConfig) -> Tensor:
    if name.endswith("/embedding.weight"):
        return _normal(name, shape, _EMBEDDING_STD)
    if name.endswith("per_layer_embedding.table.weight"):
        return _normal(name, shape, config.text.per_layer_size**-0.5)
    if name.endswith("qk_norm"):
        return _qk_norm(name, shape, config.text.num_heads)
    if name.endswith("/final_norm.weight"):
        return _uniform(name, shape, 0.5 * _FINAL_NORM, 1.5 * _FINAL_NORM)
    if name.endswith("layer_scalar"):
        return _uniform(name, shape, 0.8, 1.2)
    if len(shape) < 2:
        return _uniform(name, shape, 0.5, 1.5)
    return _normal(name, shape, shape[-1] ** -0.5)


def _qk_norm(name: str, shape: torch.Size, num_heads: int) -> Tensor:
    """[H + K, E]: one row for all query heads and one for all key heads, as a checkpoint stores them.

    Attention's scale is 1, so these set its temperature: at 1 every softmax would be an argmax.
    """
    weight = torch.empty(shape)
    weight[:num_heads] = _uniform(f"{name}/q", shape[1:], 0.4, 0.7)
    weight[num_heads:] = _uniform(f"{name}/k", shape[1:], 0.4, 0.7)
    return weight


def _uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.from_numpy(_generator(name).uniform(low, high, shape).astype(np.float32))


def _normal(name: str, shape: tuple[int, ...], std: float) -> Tensor:
    return torch.from_numpy(_generator(name).standard_normal(shape, dtype=np.float32)) * std


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
