"""The small layers everything is built of, fast at small batches, where calls cost more than arithmetic.

Shapes: I and O input and output size of a weight, D normalised dimension, F half of a fused gate/up output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Layer(nn.Module):
    """A module cheap to call and to read, where nn.Module's own bookkeeping costs as much as a small matmul.

    A call goes straight to `forward` (no hooks). Parameters, buffers and submodules are plain attributes too, so
    that reading one is not a failed lookup first; all but `del` keeps both in step.
    """

    def __call__(self, *args: Any) -> Any:
        """Call forward."""
        return self.forward(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self.__dict__[name] = value

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register, and make it a plain attribute."""
        super().register_buffer(name, tensor, persistent)
        self.__dict__[name] = tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.__dict__.update(self._parameters)
        self.__dict__.update(self._buffers)
        return self


class Linear(Layer):
    """x W^T (+ bias), [..., I] -> [..., O]. Starts as random noise of std 0.02; meant to be loaded."""

    def __init__(self, in_size: int, out_size: int, *, has_bias: bool = False) -> None:
        super().__init__()
        self.weight = noise(out_size, in_size)
        self.bias = nn.Parameter(torch.zeros(out_size)) if has_bias else None

    def forward(self, x_I: Tensor) -> Tensor:
        """Project the last dimension."""
        return F.linear(x_I, self.weight, self.bias)


def noise(*shape: int) -> nn.Parameter:
    """A parameter of random noise, std 0.02; of nothing under the "meta" device."""
    values = torch.empty(shape)
    # On "meta" normal_ would do nothing but import torch's compiler: two seconds, 70 MB.
    return nn.Parameter(values if values.is_meta else values.normal_(std=0.02))


class RMSNorm(Layer):
    """Root-mean-square norm with a plain weight, [..., D] -> [..., D]."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_D: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return rms_norm(x_D, self.weight, self.eps)


def rms_norm(x_D: Tensor, weight_D: Tensor | None, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps), times the weight as it is (not 1 + weight).

    x_D: [..., D]; weight_D: what broadcasts against it, or None. Computed in float32, returned in x's type.
    """
    if x_D.is_cpu:
        whole_D = x_D.float()
        norm_1 = _norm(whole_D, eps).mul_(scalar(x_D.shape[-1] ** -0.5))
        normed_D = whole_D / norm_1 if whole_D is x_D else whole_D.div_(norm_1)
        return (normed_D if weight_D is None else normed_D.mul_(weight_D)).type_as(x_D)
    normed_D = F.rms_norm(x_D.float(), (x_D.shape[-1],), None, eps)
    return (normed_D if weight_D is None else normed_D * weight_D).type_as(x_D)


def add_rms_norm(residual_D: Tensor, x_D: Tensor, norm: RMSNorm) -> Tensor:
    """residual + norm(x), [..., D], in fewer kernels."""
    if not _is_plain(x_D):
        return residual_D + rms_norm(x_D, norm.weight, norm.eps)
    return torch.addcdiv(residual_D, x_D * norm.weight, _norm(x_D, norm.eps), value=x_D.shape[-1] ** 0.5)


def _is_plain(x_D: Tensor) -> bool:
    return x_D.is_cpu and x_D.dtype == torch.float32


def _norm(x_D: Tensor, eps: float) -> Tensor:
    """sqrt(sum(x^2) + D eps), [..., 1]: on the CPU F.rms_norm is six small kernels, and these are two."""
    norm_1: Tensor = torch.linalg.vector_norm(x_D, 2, -1, True)
    return norm_1.hypot_(scalar((x_D.shape[-1] * eps) ** 0.5))


def gelu_gate(gate_up_2F: Tensor) -> Tensor:
    """gelu_tanh(gate) * up for a fused [..., 2F] projection whose first half is the gate: [..., F]."""
    gate_F, up_F = gate_up_2F.chunk(2, dim=-1)
    return gelu_tanh(gate_F).mul_(up_F)


# From this many elements on, four fast kernels take less time than a slow one.
_MANY = 1 << 13
_GELU_LINEAR = 2 * (2 / math.pi) ** 0.5
_GELU_CUBIC = _GELU_LINEAR * 0.044715


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU with the tanh approximation, any shape.

    (1 + tanh(y)) / 2 is sigmoid(2 y), and the CPU's sigmoid takes a third of its tanh's time.
    """
    if not _is_plain(x) or x.numel() < _MANY:
        return F.gelu(x, approximate="tanh")
    twice = torch.addcmul(scalar(_GELU_LINEAR), x * x, scalar(_GELU_CUBIC)).mul_(x)
    return twice.sigmoid_().mul_(x)


_scalars: dict[float, Tensor] = {}


def scalar(value: float) -> Tensor:
    """A cached 0-dimensional float32 tensor, good on any device: a Python number costs a new one per call."""
    if value not in _scalars:
        # A tensor born inside inference mode could never meet autograd later.
        with torch.inference_mode(False):
            _scalars[value] = torch.tensor(value, dtype=torch.float32, device="cpu")
    return _scalars[value]
