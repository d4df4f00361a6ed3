"""vLLM's side of a benchmark, run by an interpreter that has vLLM: python vllm_worker.py CHECKPOINT DTYPE MAX_BATCH.

Prints a JSON line when it is ready, then answers each JSON line {"prompts", "num_tokens"} with one
{"answers", "seconds"}. Nothing else is written to standard output.
"""

import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """Greedy, whole answers; nothing is kept from one line to the next."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what vLLM prints goes to standard error
    checkpoint, dtype, max_batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    llm = _load(checkpoint, dtype, max_batch)
    print(json.dumps({"ready": True}), file=replies)
    for line in sys.stdin:
        print(json.dumps(_answer(llm, **json.loads(line))), file=replies)


def _load(checkpoint: str, dtype: str, max_batch: int) -> Any:
    from vllm import LLM

    return LLM(
        model=checkpoint,
        dtype=dtype,
        skip_tokenizer_init=True,
        enable_prefix_caching=False,
        max_model_len=512,
        max_num_seqs=max_batch,
        max_num_batched_tokens=4096,
    )


def _answer(llm: Any, prompts: list[list[int]], num_tokens: list[int]) -> dict[str, Any]:
    from vllm import SamplingParams

    requests = [{"prompt_token_ids": prompt} for prompt in prompts]
    params = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True, detokenize=False) for n in num_tokens]
    started = time.perf_counter()
    outputs = llm.generate(requests, params, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {"answers": [list(output.outputs[0].token_ids) for output in outputs], "seconds": seconds}


if __name__ == "__main__":
    main()
