"""Decode attention that reads the cache in place, against torch's attention over what it would gather."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.kernels.loading import decode_attention

pytestmark = pytest.mark.skipif(decode_attention() is None, reason="this CPU has no AVX-512")


def attend(q_BHE: Tensor, kv_S2KE: Tensor, slots_BL: Tensor, lengths_B: Tensor) -> Tensor:
    kernel = decode_attention()
    assert kernel is not None
    assert kernel.takes(q_BHE, kv_S2KE)
    return kernel(q_BHE, kv_S2KE, slots_BL, lengths_B)


def gathered(q_BHE: Tensor, kv_S2KE: Tensor, slots_BL: Tensor, lengths_B: Tensor) -> Tensor:
    rows = []
    for q_HE, slots_L, length in zip(q_BHE, slots_BL, lengths_B, strict=True):
        k_KLE, v_KLE = kv_S2KE[slots_L[:length]].permute(1, 2, 0, 3)
        rows.append(F.scaled_dot_product_attention(q_HE[:, None], k_KLE, v_KLE, scale=1.0, enable_gqa=True)[:, 0])
    return torch.stack(rows)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(4, 1), (8, 1), (8, 2), (16, 2)])
@pytest.mark.parametrize("head_dim", [64, 256, 512])
def test_it_equals_attention_over_the_gathered_slots(
    batch: int, num_heads: int, num_kv_heads: int, head_dim: int
) -> None:
    torch.manual_seed(batch)
    kv = torch.randn(300, 2, num_kv_heads, head_dim)
    # Scores with a spread of about 3, as they are in a model.
    q = torch.randn(batch, num_heads, head_dim) * 3 * head_dim**-0.5
    lengths = torch.randint(1, 150, (batch,))
    slots = torch.stack([torch.randperm(300)[: int(lengths.max())] for _ in range(batch)])
    for row, length in enumerate(lengths):
        slots[row, length:] = 1 << 40  # never to be read
    torch.testing.assert_close(attend(q, kv, slots, lengths), gathered(q, kv, slots, lengths), rtol=1e-4, atol=1e-5)


def test_large_scores_do_not_overflow() -> None:
    kv, q = torch.randn(9, 2, 1, 64), torch.randn(1, 4, 64) * 100
    slots, lengths = torch.arange(9)[None], torch.tensor([9])
    torch.testing.assert_close(attend(q, kv, slots, lengths), gathered(q, kv, slots, lengths), rtol=1e-3, atol=1e-4)


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    kv, q = torch.randn(64, 2, 1, 64), torch.randn(5, 8, 64)
    slots, lengths = torch.randint(0, 64, (5, 40)), torch.tensor([40, 1, 7, 40, 13])
    together = attend(q, kv, slots, lengths)
    for row in range(5):
        alone = attend(q[row : row + 1], kv, slots[row : row + 1, : lengths[row]].contiguous(), lengths[row : row + 1])
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize(
    ("shape", "kv_heads", "dtype"),
    [((1, 4, 96), 1, torch.float32), ((1, 4, 64), 2, torch.float32), ((1, 4, 64), 1, torch.bfloat16)],
)
def test_what_it_cannot_take_it_says(shape: tuple[int, int, int], kv_heads: int, dtype: torch.dtype) -> None:
    kernel = decode_attention()
    assert kernel is not None
    assert not kernel.takes(torch.zeros(shape, dtype=dtype), torch.zeros(4, 2, kv_heads, shape[2], dtype=dtype))
