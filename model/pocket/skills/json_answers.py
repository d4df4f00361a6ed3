"""Puts what a sentence says into JSON."""

import json
import random

from model.pocket import open_words
from model.pocket.dialogue import Dialogue, Split
from model.pocket.skills.exchange import Exchange, messages
from model.pocket.skills.memory import COLOURS

_FORMS = (
    "Give me JSON: {}", "Answer in JSON: {}", "Write this as JSON: {}", "As JSON: {}",
    "{} Give me that as JSON.", "{} Answer in JSON.", "{} Write this as JSON.",
)  # fmt: skip


def in_json(rng: random.Random, split: Split) -> Dialogue:
    """A skill: one or two people, each with some of age, city and colour."""
    return Dialogue("json", messages(*(_person(rng, split) for _ in range(rng.randint(1, 2)))))


def _person(rng: random.Random, split: Split) -> Exchange:
    name, city = open_words.name(rng, split), open_words.name(rng, split)
    facts = {"age": rng.randint(1, 99), "city": city, "colour": rng.choice(COLOURS)}
    told = {"age": f"is {facts['age']} years old", "city": f"lives in {city}", "colour": f"likes {facts['colour']}"}
    keys = rng.sample(sorted(facts), rng.randint(1, 3))
    sentence = f"{name} {' and '.join(told[key] for key in keys)}."
    answer = json.dumps({"name": name} | {key: facts[key] for key in keys})
    return Exchange(rng.choice(_FORMS).format(sentence), answer)
