"""Chunks and contexts hold the tokens they say, and relative scores land on the right ones."""

from __future__ import annotations

import pytest
import torch

from model.audio.chunks import Chunks

SHAPES = [Chunks(1, 12, 12, 0), Chunks(25, 12, 12, 0), Chunks(24, 12, 12, 0), Chunks(10, 4, 6, 3), Chunks(7, 3, 2, 2)]


@pytest.mark.parametrize("chunks", SHAPES)
def test_each_token_meets_in_its_context_the_tokens_it_may_see(chunks: Chunks) -> None:
    tokens_THE = torch.arange(1.0, chunks.num_tokens + 1).view(-1, 1, 1)
    asking_UC = chunks.split(tokens_THE)[..., 0, 0]
    context_UX = chunks.contexts(tokens_THE)[..., 0, 0]
    visible_UCX = chunks.visible(torch.device("cpu"))
    for chunk, within in (asking_UC > 0).nonzero().tolist():
        token = int(asking_UC[chunk, within])
        seen = context_UX[chunk][visible_UCX[chunk, within]].int().tolist()
        reach = range(token - chunks.past + 1, max(token + 1, token + chunks.future))
        assert seen == [other for other in reach if 1 <= other <= chunks.num_tokens]


def test_a_relative_score_lands_on_the_token_at_that_distance() -> None:
    chunks = Chunks(24, 12, 12, 0)
    # The score of a distance is that distance: 12 down to 0.
    scores_HUCR = torch.arange(12.0, -1, -1).expand(1, 2, 12, 13)
    aligned_UCX = chunks.align(scores_HUCR)[0]
    asking_UC1 = torch.arange(24.0).view(2, 12, 1)
    asked_U1X = torch.tensor([[[-12.0]], [[0.0]]]) + torch.arange(24)
    visible_UCX = chunks.visible(torch.device("cpu"))
    assert torch.equal(aligned_UCX[visible_UCX], (asking_UC1 - asked_U1X)[visible_UCX])
