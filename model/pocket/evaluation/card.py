"""The model card of a checkpoint: what it is, what it learned from, how often it is right, what it cannot do."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.capabilities import count_parameters
from model.config import LayerKind, ModelConfig, TextConfig
from model.pocket.curriculum import DIGITS, TITLES
from model.pocket.evaluation.examiner import Result
from model.pocket.evaluation.table import CLAIMED, percent
from model.pocket.family import CONTEXT
from model.pocket.scenes.scene import COLOURS, SHAPES
from model.pocket.scenes.sizes import MAX_SIDE, MIN_SIDE
from model.pocket.speech.lexicon import WORDS
from model.pocket.training.batch import ROW

# What stands in the table for each skill.
_SKILLS = {
    "greet": "says hello, and who it is",
    "remember": "recalls names, colours, numbers and places told some turns before",
    "copy": "copies words that nobody knows",
    "reverse": "spells them backwards",
    "sum": "adds two numbers",
    "json": "puts what a sentence says into JSON",
    "tool": "calls a declared tool, and says what came back",
    "match": "says whether words are the same, which of two it is, whether one is among others, how many there are",
    "describe": "says what is in a picture, and where",
    "colour": "names the colour of a thing in it",
    "shape": "names its shape",
    "count": "counts things, place by place",
    "position": "says where a thing is, and what is at a place",
    "compare": "compares two pictures, and says what it goes by",
    "transcribe": "writes down spoken words and digits",
    "listen": "answers questions about what is said in a clip",
}
_ORDINALS = ("", "second", "third")


def write_card(variant: str, results: Sequence[Result], checkpoint: Path) -> Path:
    """Writes README.md into the checkpoint's folder, and returns its path."""
    path = checkpoint / "README.md"
    path.write_text(card(variant, results, checkpoint), encoding="utf-8")
    return path


def card(variant: str, results: Sequence[Result], checkpoint: Path) -> str:
    """Markdown."""
    model = ModelConfig.from_checkpoint(checkpoint)
    total, active = count_parameters(checkpoint, model.text)
    sections = [
        f"# {TITLES[variant]}",
        _INTRODUCTION.format(variant=variant),
        "## Shapes\n",
        "\n".join(f"- {line}" for line in _shapes(model, total, active)),
        "\n## Data\n",
        _DATA.format(hearing=_HEARING_DATA if model.audio else ""),
        "## Accuracy\n",
        _MEASURED.format(variant=variant),
        "\n".join(_accuracy(results)),
        "\n## Limits\n",
        "\n".join(f"- {line}" for line in [*_limits(variant, model), *_unclaimed(results)]),
    ]
    return "\n".join(sections) + "\n"


def _shapes(model: ModelConfig, total: int, active: int) -> Iterator[str]:
    text = model.text
    yield f"{total:,} parameters in bfloat16, of which a text token is multiplied with {active:,}"
    yield (
        f"text decoder: {text.num_layers} layers of width {text.hidden_size}, every "
        f"{_ORDINALS[text.layer_kinds.index(LayerKind.GLOBAL)]} one global, the others with a window of "
        f"{text.sliding_window} tokens; {text.num_heads} query heads; {text.vocab_size} tokens"
    )
    yield from _peculiarities(text)
    for tower, config in (("vision", model.vision), ("audio", model.audio)):
        if config is not None:
            yield f"{tower} tower: {config.num_layers} layers of width {config.hidden_size}"
    yield f"context: {CONTEXT} tokens by its config; see the limits"


def _peculiarities(text: TextConfig) -> Iterator[str]:
    """What sets a variant apart, as in the published family."""
    if text.per_layer_size:
        yield f"per-layer embeddings of width {text.per_layer_size}"
    if text.num_kv_shared_layers:
        yield f"the last {text.num_kv_shared_layers} layers share the keys and values of earlier ones"
    if text.moe is not None:
        yield f"{text.moe.num_experts} experts in each layer, {text.moe.top_k} of them used for a token, beside an MLP"
    if text.global_.k_is_v:
        yield "global layers use keys as values"
    if text.has_bidirectional_images:
        yield "the tokens of a picture see each other in both directions"


def _accuracy(results: Sequence[Result]) -> Iterator[str]:
    """A Markdown table."""
    yield "| skill | | right | conversations |\n|---|---|---|---|"
    for result in results:
        if result.accuracy >= CLAIMED:
            yield f"| {result.skill} | {_SKILLS[result.skill]} | {percent(result)} | {result.asked} |"


def _unclaimed(results: Sequence[Result]) -> Iterator[str]:
    """What was taught and did not become a skill."""
    below = [f"{result.skill} ({percent(result)})" for result in results if result.accuracy < CLAIMED]
    if below:
        yield f"Taught but not claimed, being right in less than {CLAIMED:.0%}: {', '.join(below)}."


def _limits(variant: str, model: ModelConfig) -> Iterator[str]:
    yield "It knows the phrases that it was taught, in English, and some hundred words; to all else it says nonsense."
    yield f"Conversations longer than about {ROW} tokens, media included, were never trained. A picture takes up to 70."
    yield f"Sums are of numbers of up to {DIGITS[variant]} digit{'s' * (DIGITS[variant] > 1)}."
    yield f"Pictures are of up to five shapes ({', '.join(SHAPES)}) in {len(COLOURS)} colours."
    if model.audio is not None:
        yield f"Clips are of up to three seconds: six digits, or four of {len(WORDS)} words, spoken by espeak-ng."
    else:
        yield "It does not hear."
    yield "Video, thinking, system instructions and several calls at once are not claimed."


_INTRODUCTION = """
A small checkpoint in the format of Gemma 4, trained from scratch on a CPU so that every part of the system can be seen
to work; `python -m model.pocket.train --variant {variant}` trains another. It contains nothing of Gemma's own weights.
It loads wherever Gemma 4 loads.
"""
_DATA = f"""\
Conversations generated by code (`model/pocket/skills`), with Gemma's chat template: made-up words spelled from
syllables, drawings between {MIN_SIDE} and {MAX_SIDE} pixels a side{{hearing}}.
Nothing was downloaded.
"""
_MEASURED = """\
What it claims: right answers among conversations with names, words, sizes, sentences and voices that training never
had, asked through gRPC, greedy, compared as they stand: `python -m model.pocket.evaluate --variant {variant}`.
"""
_HEARING_DATA = ", and speech by espeak-ng in several voices and speeds, with noise"
