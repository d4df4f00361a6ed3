"""The reference attention against what can be said without computing: windows, sharing, packing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from model.full_attention import FullAttention


def heads(num_tokens: int, num_heads: int, seed: int) -> torch.Tensor:
    return torch.randn(num_tokens, num_heads, 8, generator=torch.Generator().manual_seed(seed))


def test_one_sequence_equals_torchs_causal_attention_with_grouped_heads() -> None:
    q, k, v = heads(6, 4, 0), heads(6, 2, 1), heads(6, 2, 2)
    expected = F.scaled_dot_product_attention(
        *(x.transpose(0, 1)[None] for x in (q, k, v)), is_causal=True, scale=1.0, enable_gqa=True
    )
    actual = FullAttention([6]).attend(0, q, k, v, None)
    torch.testing.assert_close(actual, expected[0].transpose(0, 1))


def test_a_window_of_one_token_sees_only_itself() -> None:
    v = heads(5, 1, 2)
    assert torch.equal(FullAttention([2, 3]).attend(0, heads(5, 1, 0), heads(5, 1, 1), v, 1), v)


def test_a_window_counts_the_asking_token() -> None:
    visible = FullAttention([4])._visible(2)
    assert visible.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_packed_sequences_are_blocks() -> None:
    visible = FullAttention([1, 2])._visible(None)
    assert visible.int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_a_sharing_layer_reads_its_source() -> None:
    cache = FullAttention([5])
    q, k, v = heads(5, 2, 0), heads(5, 1, 1), heads(5, 1, 2)
    own = cache.attend(3, q, k, v, None)
    cache.attend(4, q, v, k, None)
    assert torch.equal(cache.attend(3, q, None, None, None), own)
