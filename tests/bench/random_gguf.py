"""Writes E2B's text decoder at full size for llama.cpp: random weights in Q4_0, about 2.9 GB.

It runs where gguf is, and imports nothing of the project's: `python random_gguf.py config.json e2b.gguf`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

_BLOCK_WEIGHTS, _BLOCK_BYTES = 32, 18  # Q4_0: a float16 scale, then 32 values of 4 bits.
_TABLE_ROWS = 8192


class RandomGguf:
    """Random weights in the layout that llama.cpp reads Gemma 4 from; every matrix Q4_0, norms 1."""

    def __init__(self, path: Path, text: dict[str, Any]) -> None:
        self._writer = GGUFWriter(path, "gemma4", use_temp_file=False)
        self._text = text
        self._rng = np.random.default_rng(0)

    def write(self) -> None:
        self._settings()
        self._whole_model()
        for layer, kind in enumerate(self._text["layer_types"]):
            self._layer(f"blk.{layer}", layer, kind == "sliding_attention")
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()

    def _settings(self) -> None:
        text, rope = self._text, self._text["rope_parameters"]
        numbers = {
            "block_count": text["num_hidden_layers"],
            "context_length": text["max_position_embeddings"],
            "embedding_length": text["hidden_size"],
            "embedding_length_per_layer_input": text["hidden_size_per_layer_input"],
            "vocab_size": text["vocab_size"],
            "attention.head_count": text["num_attention_heads"],
            "attention.head_count_kv": text["num_key_value_heads"],
            "attention.key_length": text["global_head_dim"],
            "attention.value_length": text["global_head_dim"],
            "attention.key_length_swa": text["head_dim"],
            "attention.value_length_swa": text["head_dim"],
            "attention.sliding_window": text["sliding_window"],
            "attention.shared_kv_layers": text["num_kv_shared_layers"],
            "rope.dimension_count": text["global_head_dim"],
            "rope.dimension_count_swa": text["head_dim"],
        }
        for name, number in numbers.items():
            self._writer.add_uint32(f"gemma4.{name}", number)
        self._writer.add_float32("gemma4.attention.layer_norm_rms_epsilon", 1e-6)
        self._writer.add_float32("gemma4.rope.freq_base", rope["full_attention"]["rope_theta"])
        self._writer.add_float32("gemma4.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
        self._writer.add_float32("gemma4.final_logit_softcapping", text["final_logit_softcapping"])
        self._writer.add_array(
            "gemma4.attention.sliding_window_pattern", [kind == "sliding_attention" for kind in text["layer_types"]]
        )
        self._writer.add_array(
            "gemma4.feed_forward_length", [self._mlp_size(layer) for layer in range(text["num_hidden_layers"])]
        )
        self._writer.add_tokenizer_model("none")

    def _whole_model(self) -> None:
        text = self._text
        width, layers = text["hidden_size"], text["num_hidden_layers"]
        per_layer = text["hidden_size_per_layer_input"]
        self._table("token_embd", text["vocab_size"], width)
        self._table("per_layer_token_embd", text["vocab_size"], per_layer * layers)
        self._matrix("per_layer_model_proj", per_layer * layers, width)
        self._ones("per_layer_proj_norm", per_layer)
        self._ones("output_norm", width)
        # A quarter of a global head's dimensions turns; the rest is divided to a standstill.
        half, turning = text["global_head_dim"] // 2, text["global_head_dim"] // 8
        self._writer.add_tensor("rope_freqs.weight", np.array([1.0] * turning + [1e30] * (half - turning), np.float32))

    def _layer(self, name: str, layer: int, is_local: bool) -> None:
        text, width = self._text, self._text["hidden_size"]
        head = text["head_dim"] if is_local else text["global_head_dim"]
        self._matrix(f"{name}.attn_q", head * text["num_attention_heads"], width)
        self._matrix(f"{name}.attn_output", width, head * text["num_attention_heads"])
        self._ones(f"{name}.attn_q_norm", head)
        if layer < text["num_hidden_layers"] - text["num_kv_shared_layers"]:
            for one in ("attn_k", "attn_v"):
                self._matrix(f"{name}.{one}", head * text["num_key_value_heads"], width)
            self._ones(f"{name}.attn_k_norm", head)
        for one in ("ffn_gate", "ffn_up"):
            self._matrix(f"{name}.{one}", self._mlp_size(layer), width)
        self._matrix(f"{name}.ffn_down", width, self._mlp_size(layer))
        self._matrix(f"{name}.inp_gate", text["hidden_size_per_layer_input"], width)
        self._matrix(f"{name}.proj", width, text["hidden_size_per_layer_input"])
        for one in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm"):
            self._ones(f"{name}.{one}", width)
        self._ones(f"{name}.layer_output_scale", 1)

    def _mlp_size(self, layer: int) -> int:
        text = self._text
        is_shared = layer >= text["num_hidden_layers"] - text["num_kv_shared_layers"]
        return int(text["intermediate_size"]) * (2 if is_shared and text["use_double_wide_mlp"] else 1)

    def _ones(self, name: str, size: int) -> None:
        self._writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))

    def _matrix(self, name: str, rows: int, columns: int) -> None:
        self._add(name, self._blocks(rows, columns))

    def _table(self, name: str, rows: int, columns: int) -> None:
        """The same few rows over and over, as in our own checkpoint."""
        self._add(name, np.tile(self._blocks(_TABLE_ROWS, columns), (rows // _TABLE_ROWS, 1)))

    def _add(self, name: str, packed: Any) -> None:
        self._writer.add_tensor(f"{name}.weight", packed, raw_dtype=GGMLQuantizationType.Q4_0)

    def _blocks(self, rows: int, columns: int) -> Any:
        """(rows, columns / 32 * 18) bytes; values have the sizes that trained ones have."""
        blocks = self._rng.integers(0, 256, (rows, columns // _BLOCK_WEIGHTS, _BLOCK_BYTES), np.uint8)
        blocks[..., :2] = np.array([columns**-0.5 / 4.6], np.float16).view(np.uint8)
        return blocks.reshape(rows, -1)


if __name__ == "__main__":
    whole = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    RandomGguf(Path(sys.argv[2]), whole.get("text_config", whole)).write()
