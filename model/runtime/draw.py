"""Chooses the next token of every row of a batch with one set of tensor operations.

A row's randomness is one number made from its seed and the count of its tokens so far, so its tokens do not
depend on what else is in the batch. Shapes: N rows, V vocabulary, C candidates kept by the widest cut.
"""

import torch
from torch import Tensor

from model.runtime.candidates import top_k_candidates
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence

# A k from here on is no saving.
_MANY = 4096


def choose(logits_NV: Tensor, sequences: list[Sequence]) -> list[int]:
    """One token id per row; `logits_NV` is float32 and row n belongs to `sequences[n]`.

    How a row is drawn depends on its own parameters alone, so that no rounding depends on the rest of the batch.
    """
    tokens = dict(enumerate(_ids(logits_NV.argmax(-1))))
    drawn = [row for row, sequence in enumerate(sequences) if not sequence.params.is_greedy]
    narrow = [row for row in drawn if (sequences[row].params.top_k or _MANY) < _MANY]
    wide = [row for row in drawn if row not in narrow]
    for rows, draw_rows in ((narrow, _draw_narrow), (wide, _draw_wide)):
        if rows:
            chosen = draw_rows(_rows(logits_NV, rows), [sequences[row] for row in rows])
            tokens.update(zip(rows, _ids(chosen), strict=True))
    return list(tokens.values())


def _draw_narrow(logits_NV: Tensor, sequences: list[Sequence]) -> Tensor:
    """For rows whose top-k leaves few tokens: a large vocabulary is read only to find those."""
    scores_NK, ids_NK = top_k_candidates(logits_NV, [sequence.params.top_k or _MANY for sequence in sequences])
    return ids_NK.gather(1, _draw_wide(scores_NK, sequences)[:, None]).squeeze(1)


def _draw_wide(logits_NV: Tensor, sequences: list[Sequence]) -> Tensor:
    params = [sequence.params for sequence in sequences]
    temperature_N1 = logits_NV.new_tensor([[param.temperature] for param in params])
    # The highest score is 0 before it is divided: a temperature near 0 would make it infinite.
    scaled_NV = (logits_NV - logits_NV.amax(-1, keepdim=True)) / temperature_N1
    cut_NV = cut(cut_unlikely(scaled_NV, params), params)
    return draw(cut_NV, [uniform(sequence.seed, sequence.num_generated) for sequence in sequences])


def _rows(logits_NV: Tensor, rows: list[int]) -> Tensor:
    return logits_NV if len(rows) == len(logits_NV) else logits_NV[rows]


def cut_unlikely(logits_NV: Tensor, params: list[SamplingParams]) -> Tensor:
    """Sets to -inf what is less likely than `min_p` times the likeliest; rows without a `min_p` stay whole."""
    if not any(param.min_p for param in params):
        return logits_NV
    min_p_N1 = logits_NV.new_tensor([[param.min_p] for param in params])
    return logits_NV.masked_fill(logits_NV < logits_NV.amax(-1, keepdim=True) + min_p_N1.log(), -torch.inf)


def cut(logits_NV: Tensor, params: list[SamplingParams]) -> Tensor:
    """Sets to -inf what top-k and then top-p leave out; rows that ask for neither stay whole."""
    if not any(param.is_cut for param in params):
        return logits_NV
    vocab = logits_NV.shape[1]
    top_k_N1 = torch.tensor([[min(_top_k(param, vocab), vocab)] for param in params], device=logits_NV.device)
    top_p_N1 = logits_NV.new_tensor([[_top_p(param)] for param in params])
    is_cut_N1 = torch.tensor([[param.is_cut] for param in params], device=logits_NV.device)

    largest_NC = logits_NV.topk(int(top_k_N1.max()), dim=-1).values
    rank_C = torch.arange(largest_NC.shape[1], device=logits_NV.device)
    largest_NC = largest_NC.masked_fill(rank_C >= top_k_N1, -torch.inf)
    probs_NC = largest_NC.softmax(-1)
    more_probable_NC = probs_NC.cumsum(-1) - probs_NC
    largest_NC = largest_NC.masked_fill(more_probable_NC >= top_p_N1, torch.inf)
    smallest_kept_N1 = largest_NC.masked_fill(rank_C >= top_k_N1, torch.inf).amin(-1, keepdim=True)
    return logits_NV.masked_fill((logits_NV < smallest_kept_N1) & is_cut_N1, -torch.inf)


def draw(logits_NV: Tensor, uniforms: list[float]) -> Tensor:
    """The token at which each row's cumulative probability passes its uniform number."""
    # float64: in float32 the tail of a large vocabulary would vanish in the sum.
    cumulative_NV = logits_NV.softmax(-1).cumsum(-1, dtype=torch.float64)
    total_N1 = cumulative_NV[:, -1:]
    target_N1 = total_N1 * total_N1.new_tensor(uniforms)[:, None]
    tokens_N1 = torch.searchsorted(cumulative_NV, target_N1, right=True)
    return tokens_N1.squeeze(1).clamp_(max=logits_NV.shape[1] - 1)


def uniform(seed: int, count: int) -> float:
    """A number in [0, 1) made from both (SplitMix64's mixing), with 48 bits so that it never rounds up to 1."""
    state = (seed * 0x9E3779B97F4A7C15 + count * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & _64_BITS
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)) * 2:
        state = ((state ^ (state >> shift)) * factor) & _64_BITS
    return float(state >> 16) / (1 << 48)


_64_BITS = (1 << 64) - 1


def _top_k(param: SamplingParams, vocab: int) -> int:
    """How many candidates a row needs: those of its k, all for a p without k, any one if it is not cut."""
    if not param.is_cut:
        return 1
    return vocab if param.top_k is None else param.top_k


def _top_p(param: SamplingParams) -> float:
    # A cumulative sum may round up to 1, so "all" must lie above it.
    return 2.0 if param.top_p is None or param.top_p >= 1 else param.top_p


def _ids(tokens_N: Tensor) -> list[int]:
    ids: list[int] = tokens_N.tolist()
    return ids
