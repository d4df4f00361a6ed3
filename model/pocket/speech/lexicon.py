"""Every word that is spoken: a closed set that is easy to tell apart, in kinds that one can ask about."""

import hashlib

DIGITS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KINDS = {
    "colour": ("red", "blue", "green", "yellow", "black", "white", "purple", "silver"),
    "animal": ("dog", "cat", "horse", "tiger", "rabbit", "monkey", "elephant", "spider"),
    "fruit": ("apple", "banana", "cherry", "lemon", "coconut", "strawberry"),
    "place": ("garden", "kitchen", "river", "mountain", "castle", "island", "school", "hospital"),
    "thing": ("hammer", "table", "window", "bottle", "pencil", "umbrella", "guitar", "candle"),
}
WORDS = tuple(word for words in KINDS.values() for word in words)
# One combination in this many is kept out of training.
_HELD_OUT_ONE_IN = 8


def is_held_out(words: tuple[str, ...]) -> bool:
    """Whether two or more words, in this order, are for tests alone. Single words are learned, so all are trained."""
    return len(words) > 1 and hashlib.sha256(" ".join(words).encode()).digest()[0] % _HELD_OUT_ONE_IN == 0


def written(words: tuple[str, ...]) -> str:
    """What the model answers: words apart, digits as figures in one string."""
    if all(word in DIGITS for word in words):
        return "".join(str(DIGITS.index(word)) for word in words)
    return " ".join(words)
