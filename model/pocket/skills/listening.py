"""Hearing: what is said in a clip, and questions about it, asked one after another."""

import random
from collections.abc import Callable, Mapping
from itertools import cycle, islice

from model.pocket.dialogue import Dialogue, Message, Split
from model.pocket.scenes.question import resting_on
from model.pocket.speech.clips import Clip, ClipPool
from model.pocket.speech.lexicon import DIGITS, KINDS, WORDS, written

Pools = Mapping[Split, ClipPool]
Hearing = Callable[[Pools, random.Random, Split], Dialogue]
# A question and its answer.
Exchange = tuple[str, str]
_MOST_TURNS = 4
# In training a clip is asked about more often: there hearing is dear.
_MOST_TRAINING_TURNS = 8
TRANSCRIBE = (
    "What is said in this clip?",
    "What is said?",
    "Transcribe this.",
    "Transcribe the clip.",
    "Write down what you hear.",
    "What do you hear?",
    "What does the speaker say?",
    "Repeat what is said.",
)


def transcribe(pools: Pools, rng: random.Random, split: Split) -> Dialogue:
    """The words of a clip, or its digits as one number; in training, questions about it may come before."""
    clip = pools[split].draw(rng)
    before = _questions(rng, clip.utterance.words, rng.randrange(_MOST_TRAINING_TURNS)) if split == "train" else []
    return _dialogue("transcribe", rng, clip, [*before, _transcription(rng, clip)])


def listen(pools: Pools, rng: random.Random, split: Split) -> Dialogue:
    """Questions about what is said; in training, the words may be written down after that."""
    clip = pools[split].draw(rng)
    turns = _MOST_TRAINING_TURNS if split == "train" else _MOST_TURNS
    exchanges = _questions(rng, clip.utterance.words, rng.randint(1, turns - 1))
    if split == "train" and rng.random() < 0.5:
        exchanges.append(_transcription(rng, clip))
    return _dialogue("listen", rng, clip, exchanges)


def _dialogue(skill: str, rng: random.Random, clip: Clip, exchanges: list[Exchange]) -> Dialogue:
    """The first question carries the clip, before or after its text."""
    messages: list[Message] = []
    for question, answer in exchanges:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    parts = [
        {"type": "audio", "audio": clip.samples_N, "words": clip.utterance.words},
        {"type": "text", "text": exchanges[0][0]},
    ]
    rng.shuffle(parts)
    messages[0]["content"] = parts
    return Dialogue(skill, messages)


def _transcription(rng: random.Random, clip: Clip) -> Exchange:
    return rng.choice(TRANSCRIBE), written(clip.utterance.words)


def _questions(rng: random.Random, words: tuple[str, ...], count: int) -> list[Exchange]:
    """So many, of different sorts before any sort comes again, that the words answer."""
    makers = _about_digits(words) if words[0] in DIGITS else _about_words(words)
    order = rng.sample(makers, len(makers))
    return [maker(rng) for maker in islice(cycle(order), count)]


def _about_digits(words: tuple[str, ...]) -> list[Callable[[random.Random], Exchange]]:
    digits = written(words)
    return [
        lambda rng: (rng.choice(("Which digit comes first?", "What is the first digit?")), digits[0]),
        lambda rng: (rng.choice(("Which digit comes last?", "What is the last digit?")), digits[-1]),
        lambda rng: ("How many digits are said?", resting_on(digits, str(len(digits)))),
        lambda rng: _is_said(rng, "digit", words, list(digits), list("0123456789")),
    ]


def _about_words(words: tuple[str, ...]) -> list[Callable[[random.Random], Exchange]]:
    return [
        lambda rng: (rng.choice(("Which word comes first?", "What is the first word?")), words[0]),
        lambda rng: (rng.choice(("Which word comes last?", "What is the last word?")), words[-1]),
        lambda rng: ("How many words are said?", resting_on(written(words), str(len(words)))),
        lambda rng: _is_said(rng, "word", words, list(words), list(WORDS)),
        *([lambda rng: _which(rng, words)] if _named_once(words) else []),
    ]


def _is_said(rng: random.Random, noun: str, words: tuple[str, ...], said: list[str], known: list[str]) -> Exchange:
    """As often yes as no, after all that is said."""
    is_said = rng.random() < 0.5
    sought = rng.choice(said if is_said else [word for word in known if word not in said])
    return f"Is the {noun} {sought} said?", resting_on(written(words), "yes" if is_said else "no")


def _which(rng: random.Random, words: tuple[str, ...]) -> Exchange:
    kind, word = rng.choice(_named_once(words))
    return f"Which {kind} is named?", word


def _named_once(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """The kinds of which exactly one word is said, each with that word."""
    said = {kind: [word for word in words if word in of_kind] for kind, of_kind in KINDS.items()}
    return [(kind, found[0]) for kind, found in said.items() if len(found) == 1]
