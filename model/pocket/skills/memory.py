"""Remembers what it was told some turns before: names, colours, numbers, places."""

import random
from collections.abc import Callable
from typing import NamedTuple

from model.pocket import open_words
from model.pocket.dialogue import Dialogue, Split
from model.pocket.skills import sums, words
from model.pocket.skills.exchange import Exchange, messages
from model.pocket.skills.greeting import hello

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white", "pink", "brown", "grey", "teal")
_NOTED = "I will remember that."


class Fact(NamedTuple):
    """Told at one time, asked for later. `key` names what it is about: only one of each in a dialogue."""

    key: str
    told: Exchange
    asked: Exchange


_MakeFact = Callable[[random.Random, Split], Fact]


def remember(rng: random.Random, split: Split) -> Dialogue:
    """One to four facts, other talk between them, then questions about them in any order.

    Training asks for all of them, seldom has a single one, and more that are about others: what is hard is to tell them
    apart.
    """
    is_training = split == "train"
    facts = _facts(rng, split, max(rng.randint(1, 4), rng.randint(1, 4) if is_training else 1))
    exchanges: list[Exchange] = []
    for fact in facts:
        exchanges += [fact.told, *_distractions(rng, split, 0.35)]
    for fact in rng.sample(facts, len(facts) if is_training else rng.randint(1, len(facts))):
        exchanges += [*_distractions(rng, split, 0.15), fact.asked]
    return Dialogue("remember", messages(*exchanges))


def _facts(rng: random.Random, split: Split, count: int) -> list[Fact]:
    found: dict[str, Fact] = {}
    while len(found) < count:
        fact = rng.choice(_FACTS + _ABOUT_OTHERS if split == "train" else _FACTS)(rng, split)
        found.setdefault(fact.key, fact)
    return list(found.values())


def _distractions(rng: random.Random, split: Split, chance: float) -> list[Exchange]:
    if rng.random() >= chance:
        return []
    return [rng.choice((lambda: hello(rng), lambda: sums.add(rng, split, 1), lambda: words.copy(rng, split)))()]


def _my_name(rng: random.Random, split: Split) -> Fact:
    name = open_words.name(rng, split)
    said = rng.choice(("My name is {}.", "I am {}.", "Hello, my name is {}.", "Hi, I am {}.", "Call me {}.")).format(
        name
    )
    asked = rng.choice(("What is my name?", "Who am I?", "Do you remember my name?", "Tell me my name."))
    return Fact("my name", Exchange(said, f"Nice to meet you, {name}!"), Exchange(asked, f"Your name is {name}."))


def _my_colour(rng: random.Random, split: Split) -> Fact:
    colour, spelling = rng.choice(COLOURS), rng.choice(("colour", "color"))
    said = rng.choice((f"My favourite {spelling} is {colour}.", f"My favorite {spelling} is {colour}."))
    asked = rng.choice(
        (f"What is my favourite {spelling}?", f"Which {spelling} do I like?", f"My favorite {spelling}?")
    )
    return Fact("my colour", Exchange(said, _NOTED), Exchange(asked, f"Your favourite colour is {colour}."))


def _my_number(rng: random.Random, split: Split) -> Fact:
    number = rng.randrange(10 ** rng.randint(1, 4))
    said = rng.choice((f"My lucky number is {number}.", f"My number is {number}.", f"Remember the number {number}."))
    asked = rng.choice(("What is my lucky number?", "What is my number?", "Which number did I tell you?"))
    return Fact("my number", Exchange(said, _NOTED), Exchange(asked, f"Your number is {number}."))


def _my_place(rng: random.Random, split: Split) -> Fact:
    place = open_words.name(rng, split)
    said = rng.choice((f"I live in {place}.", f"My home is in {place}.", f"I am from {place}."))
    asked = rng.choice(("Where do I live?", "Where is my home?", "Which place am I from?", "Where am I from?"))
    return Fact("my place", Exchange(said, _NOTED), Exchange(asked, f"You live in {place}."))


def _my_pet(rng: random.Random, split: Split) -> Fact:
    pet, name = rng.choice(("dog", "cat", "bird", "horse", "rabbit")), open_words.name(rng, split)
    said = rng.choice((f"My {pet} is called {name}.", f"I have a {pet} called {name}.", f"My {pet} is {name}."))
    asked = rng.choice((f"What is my {pet} called?", f"What is the name of my {pet}?", f"Who is my {pet}?"))
    return Fact(f"my {pet}", Exchange(said, _NOTED), Exchange(asked, f"Your {pet} is called {name}."))


def _their_place(rng: random.Random, split: Split) -> Fact:
    name, place = open_words.name(rng, split), open_words.name(rng, split)
    said = rng.choice((f"{name} lives in {place}.", f"The home of {name} is in {place}."))
    asked = rng.choice((f"Where does {name} live?", f"Where is the home of {name}?"))
    return Fact(f"place of {name}", Exchange(said, _NOTED), Exchange(asked, f"{name} lives in {place}."))


def _their_colour(rng: random.Random, split: Split) -> Fact:
    name, colour = open_words.name(rng, split), rng.choice(COLOURS)
    said = rng.choice((f"{name} likes {colour}.", f"The favourite colour of {name} is {colour}."))
    asked = rng.choice((f"Which colour does {name} like?", f"What is the favourite colour of {name}?"))
    return Fact(f"colour of {name}", Exchange(said, _NOTED), Exchange(asked, f"{name} likes {colour}."))


_ABOUT_OTHERS: tuple[_MakeFact, ...] = (_their_place, _their_colour) * 2
_FACTS: tuple[_MakeFact, ...] = (
    _my_name, _my_name, _my_colour, _my_number, _my_place, _my_pet, _their_place, _their_colour
)  # fmt: skip
