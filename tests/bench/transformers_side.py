"""Transformers' `generate` as a side of a benchmark: padded batches, each as long as its longest answer."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM, Gemma4ForConditionalGeneration

from model.config import ModelConfig
from tests.bench.workload import Timed, Workload


class TransformersSide:
    """A checkpoint as `from_pretrained` loads it: SDPA attention, a dynamic cache, and the stored dtype by default."""

    def __init__(self, path: Path, dtype: torch.dtype | None = None) -> None:
        is_multimodal = ModelConfig.from_checkpoint(path).modalities != {"text"}
        kind: Any = Gemma4ForConditionalGeneration if is_multimodal else Gemma4ForCausalLM
        self._model = kind.from_pretrained(path, dtype=dtype or "auto").eval()

    def answer(self, workload: Workload) -> Timed:
        """See Side. The first batch in order, then the next; of each answer only what was asked for counts."""
        parts = [self._batch(workload, first) for first in range(0, len(workload.prompts), workload.batch)]
        answers = [answer for part in parts for answer in part.answers]
        prefill_s, decode_s = (sum(times) for times in zip(*((p.prefill_s, p.decode_s) for p in parts), strict=True))
        return Timed(answers, prefill_s, decode_s, sum(len(answer) - 1 for answer in answers))

    def _batch(self, workload: Workload, first: int) -> Timed:
        chosen = slice(first, first + workload.batch)
        prompts, counts = workload.prompts[chosen], workload.num_tokens[chosen]
        longest, clock, started = max(map(len, prompts)), _Clock(), time.perf_counter()
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max(counts),
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                stopping_criteria=[clock],
            )
        ended, begun = time.perf_counter(), clock.first or started
        rows = output[:, longest:].tolist()
        answers = [row[:count] for row, count in zip(rows, counts, strict=True)]
        return Timed(answers, begun - started, ended - begun, 0)


class _Clock(StoppingCriteria):
    """Stops nothing; knows when the first token was there."""

    def __init__(self) -> None:
        self.first: float | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        self.first = self.first or time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool)
