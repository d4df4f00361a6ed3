"""Native engine against transformers' `generate`: tokens per second on the same checkpoint, CPU, float32, greedy."""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.gemma4.configuration_gemma4 import Gemma4TextConfig
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.output import TokenOutput
from model.runtime.sampling import SamplingParams
from model.tiny.tokenizer import build_tokenizer
from model.tokenizer import Tokenizer
from model.weights import load_model
from tests.bench.figure import Figure

ROUNDS, PROMPT_TOKENS, NEW_TOKENS = 2, 48, 64
THREADS = int(__import__("os").environ.get("RT_THREADS", "1"))
LOCAL, GLOBAL = "sliding_attention", "full_attention"
Batch = list[list[int]]

_COMMON: dict[str, Any] = {
    "vocab_size": 1024,
    "vocab_size_per_layer_input": 1024,
    "hidden_size_per_layer_input": 0,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "head_dim": 32,
    "global_head_dim": 64,
    "sliding_window": 64,
    "max_position_embeddings": 1024,
    "final_logit_softcapping": 30.0,
}
# E2B's structure: per-layer embeddings, one key/value head, shared keys and values, double-wide MLP.
_E2B = _COMMON | {
    "intermediate_size": 256,
    "num_key_value_heads": 1,
    "hidden_size_per_layer_input": 32,
    "num_kv_shared_layers": 5,
    "use_double_wide_mlp": True,
    "layer_types": ([LOCAL] * 4 + [GLOBAL]) * 2,
}
# 26B-A4B's: 128 experts of which 8 work, K = V on global layers.
_26B_A4B = _COMMON | {
    "intermediate_size": 256,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "enable_moe_block": True,
    "num_experts": 128,
    "top_k_experts": 8,
    "moe_intermediate_size": 32,
    "layer_types": ([LOCAL] * 5 + [GLOBAL]) * 2,
}


def run() -> Iterator[Figure]:
    torch.set_num_threads(THREADS)
    """The dense figures are promises of the README; the mixture of experts is watched too."""
    with tempfile.TemporaryDirectory() as folder:
        yield _figure("native_decode_vs_transformers_b8", _E2B, Path(folder) / "e2b", batch=8)
        yield _figure("native_decode_vs_transformers_b32", _E2B, Path(folder) / "e2b", batch=32)
        yield _figure("native_moe_decode_vs_transformers_b8", _26B_A4B, Path(folder) / "moe", batch=8)


def _figure(name: str, values: dict[str, Any], path: Path, batch: int) -> Figure:
    reference = _reference(values, path)
    prompts = _prompts(batch, values["vocab_size"])
    config = RuntimeConfig(max_batch_size=batch, max_context=512, prefill_tokens=4096, num_threads=THREADS)
    with EngineLoop(load_model(path), Tokenizer(build_tokenizer(), {}), config, eos_token_ids=()) as loop:
        sides = {
            "transformers": lambda: _by_transformers(reference, prompts),
            "native": lambda: _by_engine(loop, prompts),
        }
        rates = _rates(sides)
    print("  " + name + ": " + ", ".join(f"{side} {rate:,.0f} tokens/s" for side, rate in rates.items()))
    return Figure(name, rates["native"] / rates["transformers"], ">=", 2.0)


def _rates(sides: dict[str, Callable[[], Batch]]) -> dict[str, float]:
    """Median tokens per second of each side. They take turns, so that noise hits both; both must say the same."""
    answers = [side() for side in sides.values()]  # warms up
    agreed = sum(a == b for a, b in zip(*(sum(answer, []) for answer in answers), strict=True))
    assert agreed > 0.9 * len(sum(answers[0], [])), "the sides compute different things"
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            started = time.perf_counter()
            num_tokens = sum(map(len, side()))
            rates[name].append(num_tokens / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def _reference(values: dict[str, Any], path: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    config = Gemma4TextConfig(**values, num_hidden_layers=len(values["layer_types"]))
    reference = Gemma4ForCausalLM(config).eval().requires_grad_(False)
    for name, tensor in reference.state_dict().items():
        if "norm.weight" in name and "q_norm" not in name and "k_norm" not in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() >= 2 and "embed" not in name and "lm_head" not in name:
            tensor.normal_(0, tensor.shape[-1] ** -0.5)
        elif "_norm" in name:
            tensor.fill_(0.4)
    reference.save_pretrained(path)
    return reference


def _prompts(batch: int, vocab_size: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(200, vocab_size, (batch, PROMPT_TOKENS), generator=generator).tolist()  # type: ignore[no-any-return]


def _by_transformers(reference: Any, prompts: Batch) -> Batch:
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        output = reference.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    return output[:, PROMPT_TOKENS:].tolist()  # type: ignore[no-any-return]


def _by_engine(loop: EngineLoop, prompts: Batch) -> Batch:
    """Through the whole runtime: queue, scheduler, sampler, detokeniser, callbacks."""
    answers: Batch = [[] for _ in prompts]
    finished = threading.Semaphore(0)

    def gather(output: TokenOutput) -> None:
        answers[int(output.request_id)] += output.token_ids
        if output.finish_reason is not None:
            finished.release()

    for i, prompt in enumerate(prompts):
        loop.submit(str(i), prompt, SamplingParams(NEW_TOKENS, temperature=0), gather)
    for _ in prompts:
        finished.acquire()
    return answers
