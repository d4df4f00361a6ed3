"""Greets, and says who it is."""

import random
from dataclasses import dataclass

from model.pocket.dialogue import Dialogue, Split
from model.pocket.skills.exchange import Exchange, messages

_HELLOS = ("Hello", "Hello!", "Hi", "Hi!", "Hey", "Good morning", "Good evening", "Hello there")
_WHO = ("Who are you?", "What are you?", "What is your name?", "Which model are you?", "Tell me who you are.")
_THANKS = ("Thank you", "Thank you!", "Thanks", "Thanks!", "Thank you very much")


def hello(rng: random.Random) -> Exchange:
    """Small talk that needs no name."""
    if rng.random() < 0.3:
        return Exchange(rng.choice(_THANKS), "You are welcome!")
    return Exchange(rng.choice(_HELLOS), "Hello! How can I help you?")


@dataclass(frozen=True)
class Greeting:
    """A skill: `title` is what the model calls itself."""

    title: str

    def __call__(self, rng: random.Random, split: Split) -> Dialogue:
        """A greeting, who are you, or one after the other."""
        who = Exchange(rng.choice(_WHO), f"I am {self.title}.")
        exchanges = [hello(rng), who]
        if rng.random() < 0.3:
            exchanges.append(hello(rng))
        elif rng.random() < 0.3:
            exchanges = [who]
        return Dialogue("greet", messages(*exchanges))
