"""Stores matmul weights the way the CPU's small-batch kernels read them fastest; their shapes and values stay.

Shapes: I and O input and output size, X experts.
"""

import torch
from torch import Tensor, nn

from model.layers import Linear
from model.moe import Experts


@torch.inference_mode(False)
def store_input_major(model: nn.Module) -> None:
    """Makes every float32 CPU weight [O, I] a view of contiguous [I, O], one weight at a time.

    A decoding batch multiplies a few rows by a large weight. As stored in checkpoints the CPU's kernel copies the
    weight into its own order on each call; this way round it need not. Other types and devices have kernels that do
    not mind, and are left alone. Doing it again changes nothing.
    """
    for module in model.modules():
        if isinstance(module, Linear):
            module.weight = _input_major(module.weight)
        elif isinstance(module, Experts):
            module.gate_up, module.down = _input_major(module.gate_up), _input_major(module.down)


def _input_major(weight_OI: nn.Parameter) -> nn.Parameter:
    """Takes [O, I] or [X, O, I]."""
    if not weight_OI.is_cpu or weight_OI.dtype != torch.float32:
        return weight_OI
    values: Tensor = weight_OI.detach().transpose(-1, -2).contiguous().transpose(-1, -2)
    return nn.Parameter(values, requires_grad=weight_OI.requires_grad)
