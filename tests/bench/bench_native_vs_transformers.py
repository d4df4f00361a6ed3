"""Native engine against transformers' `generate`: tokens per second on the same checkpoint, CPU, float32, greedy.

The figure is of the checkpoint that the default cluster serves. Wider models are printed beside it: the wider, the more
of a step is one matmul after another that both sides leave to the same library.
"""

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
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM, Gemma4ForConditionalGeneration

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.output import TokenOutput
from model.runtime.sampling import SamplingParams
from model.tiny import ensure_tiny
from model.tiny.tokenizer import build_tokenizer
from model.tokenizer import Tokenizer
from model.weights import load_model
from tests.bench.figure import Figure

ROUNDS, PROMPT_TOKENS, NEW_TOKENS, THREADS = 5, 48, 64, 1
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
    """Batch 8. Both sides have one thread: two on one core would measure how they wait for each other."""
    torch.set_num_threads(THREADS)
    tiny = ensure_tiny("e2b")
    with tempfile.TemporaryDirectory() as folder:
        for name, values, batch in (("E2B", _E2B, 8), ("E2B", _E2B, 32), ("26B-A4B", _26B_A4B, 8)):
            path = Path(folder) / name
            ratio = _ratio(_reference(values, path), path, batch)
            print(f"  {name} of width {values['hidden_size']}, batch {batch}: {ratio:.2f}x", flush=True)
    reference = Gemma4ForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32).eval()
    yield Figure("native_vs_transformers_b8", _ratio(reference, tiny, 8), ">=", 2.0)


def _ratio(reference: PreTrainedModel, path: Path, batch: int) -> float:
    prompts = _prompts(batch)
    config = RuntimeConfig(max_batch_size=batch, max_context=512, prefill_tokens=4096, num_threads=THREADS)
    model = load_model(path, dtype=torch.float32)
    with EngineLoop(model, Tokenizer(build_tokenizer(), {}), config, eos_token_ids=()) as loop:
        rates = _rates(
            {
                "transformers": lambda: _by_transformers(reference, prompts),
                "native": lambda: _by_engine(loop, prompts),
            }
        )
    return rates["native"] / rates["transformers"]


def _rates(sides: dict[str, Callable[[], Batch]]) -> dict[str, float]:
    """Median tokens per second of each side. They take turns, so that noise hits both; both must say the same."""
    answers = [side() for side in sides.values()]  # warms up
    first, second = ([token for row in answer for token in row] for answer in answers)
    agreed = sum(a == b for a, b in zip(first, second, strict=True))
    assert agreed > 0.9 * len(first), "the sides compute different things"
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


def _prompts(batch: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(300, 1000, (batch, PROMPT_TOKENS), generator=generator).tolist()  # type: ignore[no-any-return]


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
