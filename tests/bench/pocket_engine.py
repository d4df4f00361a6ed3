"""Child of bench_pocket_e2b: runs the engine on a checkpoint and prints what it measured as one line of JSON.

In a process of its own, so that its memory is the engine's and nobody else's.
"""

import json
import sys
import threading
import time
from pathlib import Path

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.output import TokenOutput
from model.runtime.sampling import SamplingParams
from model.tiny.tokenizer import build_tokenizer
from model.tokenizer import Tokenizer
from model.weights import load_model

VOCAB_SIZE = 262_144


def main() -> None:
    """Arguments: checkpoint folder, prompt tokens, new tokens, threads."""
    path, prompt_tokens, new_tokens, num_threads = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    config = RuntimeConfig(
        max_batch_size=1, max_context=1024, kv_token_budget=1024, prefill_tokens=64, num_threads=num_threads
    )
    started = time.perf_counter()
    model = load_model(path)
    loaded_s = time.perf_counter() - started
    with EngineLoop(model, Tokenizer(build_tokenizer(), {}), config, eos_token_ids=()) as loop:
        _answer(loop, "warm", list(range(1000, 1040)), 8)
        # Tokens spread over the vocabulary: each touches another row of the tables.
        prompt = [7 + 521 * i % (VOCAB_SIZE - 7) for i in range(prompt_tokens)]
        seconds, first_s = _answer(loop, "measured", prompt, new_tokens)
    print(
        json.dumps(
            {
                "load_s": loaded_s,
                "prefill_tokens_per_s": prompt_tokens / first_s,
                "decode_tokens_per_s": (new_tokens - 1) / (seconds - first_s),
                "peak_bytes": _peak_bytes(),
            }
        )
    )


def _answer(loop: EngineLoop, name: str, prompt: list[int], new_tokens: int) -> tuple[float, float]:
    """Seconds until the last token, and until the first."""
    finished, arrivals = threading.Event(), []

    def gather(output: TokenOutput) -> None:
        arrivals.extend([time.perf_counter()] * len(output.token_ids))
        if output.finish_reason is not None:
            finished.set()

    started = time.perf_counter()
    loop.submit(name, prompt, SamplingParams(new_tokens, temperature=0), gather)
    finished.wait()
    assert len(arrivals) == new_tokens
    return arrivals[-1] - started, arrivals[0] - started


def _peak_bytes() -> int:
    """Most memory ever resident, file pages included."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
