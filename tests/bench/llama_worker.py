"""Child of bench_pocket_e2b: llama.cpp on random weights of the same shape; one line of JSON with what it measured.

It runs where llama-cpp-python is, and imports nothing of the project's.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np


def main() -> None:
    """Arguments: the file, prompt tokens, new tokens, threads."""
    path, prompt_tokens, new_tokens, num_threads = sys.argv[1], *map(int, sys.argv[2:5])
    model = llama_cpp.Llama(
        path, n_ctx=1024, n_batch=512, n_threads=num_threads, n_threads_batch=num_threads, verbose=False
    )
    model.eval(list(range(1000, 1040)))
    _first_choice(model)
    model.reset()
    started = time.perf_counter()
    model.eval([7 + 521 * i % (model.n_vocab() - 7) for i in range(prompt_tokens)])
    token = _first_choice(model)
    first_s = time.perf_counter() - started
    for _ in range(new_tokens - 1):
        model.eval([token])
        token = _first_choice(model)
    decode_s = time.perf_counter() - started - first_s
    print(
        json.dumps(
            {
                "prefill_tokens_per_s": prompt_tokens / first_s,
                "decode_tokens_per_s": (new_tokens - 1) / decode_s,
                "peak_bytes": _peak_bytes(),
                "has_amx": b"AMX_INT8 = 1" in llama_cpp.llama_print_system_info(),
            }
        )
    )


def _first_choice(model: Any) -> int:
    logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return int(np.ctypeslib.as_array(logits, shape=(model.n_vocab(),)).argmax())


def _peak_bytes() -> int:
    """Most memory ever resident, file pages included."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
