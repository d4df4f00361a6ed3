"""The few tokens that top-k leaves of a large vocabulary, so that nothing after it looks at the others.

Shapes: N rows, V vocabulary, C tokens of the widest k, K candidates of the row with most, T candidates of all rows.
"""

import torch
from torch import Tensor


def top_k_candidates(logits_NV: Tensor, top_k: list[int]) -> tuple[Tensor, Tensor]:
    """Scores [N, K] in float64 and token ids [N, K] of each row's `top_k` likeliest tokens, in the order of their ids.

    Tokens as likely as the last of them are candidates too; those of score -inf are not. Rows with fewer than others
    are filled up with scores of -inf.
    """
    top_k_N1 = torch.tensor(top_k, device=logits_NV.device)[:, None].clamp_(max=logits_NV.shape[1])
    largest_NC = logits_NV.topk(int(top_k_N1.max()), dim=-1).values
    is_kept_NV = (logits_NV >= largest_NC.gather(1, top_k_N1 - 1)) & (logits_NV > -torch.inf)
    rows_T, ids_T = is_kept_NV.nonzero().unbind(1)
    counts_N = rows_T.bincount(minlength=len(top_k))
    places_T = torch.arange(len(rows_T), device=rows_T.device) - (counts_N.cumsum(0) - counts_N)[rows_T]
    ids_NK = ids_T.new_zeros(len(top_k), int(counts_N.max()))
    scores_NK = torch.full_like(ids_NK, -torch.inf, dtype=torch.float64)
    ids_NK[rows_T, places_T] = ids_T
    scores_NK[rows_T, places_T] = logits_NV[rows_T, ids_T].double()
    return scores_NK, ids_NK
