"""Writes E2B's text decoder at full size, with random weights, as a quantised checkpoint of about 2.6 GB."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from model.multimodal import GemmaModel
from model.quantization.rows import QuantizedRows
from model.quantization.scheme import Quantization
from model.quantization.swap import quantize_modules
from model.quantization.writer import save_quantized
from model.variants import E2B

_TABLE_ROWS = 8192


def write_random_e2b(path: Path, scheme: Quantization) -> None:
    """No tokenizer in it. Values have the sizes that trained ones have; norms are 1."""
    config = replace(E2B, vision=None, audio=None)
    with torch.device("meta"):
        model = GemmaModel(config)
        shapes = {name: weight.shape for name, weight in model.named_parameters()}
        quantized = quantize_modules(model, scheme, torch.bfloat16, has_quantized_tables=True)
    for name, weight in quantized.items():
        if isinstance(weight, QuantizedRows):
            _fill_table(weight, scheme, shapes[name])
        else:
            weight.take(_random(shapes[name]))
    save_quantized(_with_ones(model), config.to_hf(), scheme, path)


def _random(shape: torch.Size) -> Tensor:
    return torch.empty(shape, dtype=torch.bfloat16).normal_(std=shape[-1] ** -0.5)


def _fill_table(table: QuantizedRows, scheme: Quantization, shape: torch.Size) -> None:
    """The same few rows over and over: what is looked up is as random, and made in no time."""
    part = QuantizedRows(scheme, _TABLE_ROWS, shape[1])
    part.take(_random(torch.Size((_TABLE_ROWS, shape[1]))))
    table.packed = part.packed.repeat(shape[0] // _TABLE_ROWS, 1)


def _with_ones(model: GemmaModel) -> GemmaModel:
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(torch.ones(weight.shape, dtype=torch.bfloat16)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, torch.ones(buffer.shape, dtype=torch.bfloat16))
    return model
