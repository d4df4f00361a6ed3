"""Measures what quantisation costs in accuracy: `python -m model.quantization.report CHECKPOINT TEXT`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from model.quantization.divergence import Divergence, divergence, log_probabilities
from model.quantization.scheme import GROUP_SIZES, Quantization
from model.tokenizer import Tokenizer

SCHEMES = (Quantization(8), *(Quantization(4, group_size) for group_size in GROUP_SIZES))


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line and prints one line a scheme."""
    parser = argparse.ArgumentParser(prog="python -m model.quantization.report", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a Hugging Face checkpoint with float weights")
    parser.add_argument("text", type=Path, help="file with text to measure on, UTF-8")
    parser.add_argument("--tokens", type=int, default=256, metavar="N", help="of it, at most; default: 256")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="default: stored")
    options = parser.parse_args(arguments)
    text = options.text.read_text(encoding="utf-8")
    token_ids = Tokenizer.from_checkpoint(options.checkpoint).encode(text)[: options.tokens]
    dtype = None if options.dtype == "auto" else getattr(torch, options.dtype)
    print_report(options.checkpoint, token_ids, dtype)


def print_report(path: Path, token_ids: list[int], dtype: torch.dtype | None = None) -> None:
    """KL(whole || quantised) of the checkpoint's text decoder after each of the tokens."""
    tokens_T = torch.tensor(token_ids)
    whole_TV = log_probabilities(path, tokens_T, dtype=dtype)
    print(f"KL(whole || quantised), nats a token, over {len(token_ids)} tokens")
    print(f"{'weights':24} {'mean':>9} {'largest':>9} {'same next token':>16}")
    _print_line("bfloat16", divergence(whole_TV, log_probabilities(path, tokens_T, dtype=torch.bfloat16)))
    for scheme in SCHEMES:
        _print_line(scheme.name, divergence(whole_TV, log_probabilities(path, tokens_T, scheme, dtype)))


def _print_line(name: str, found: Divergence) -> None:
    print(f"{name:24} {found.mean:9.5f} {found.largest:9.5f} {found.agreement:16.1%}", flush=True)


if __name__ == "__main__":
    main()
