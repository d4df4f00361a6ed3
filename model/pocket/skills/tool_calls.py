"""Calls a tool where one is declared for the question, and says what came back."""

import random
from typing import Any, NamedTuple

from model.pocket import open_words
from model.pocket.dialogue import Dialogue, Message, Split
from model.pocket.skills import greeting, sums
from model.pocket.skills.exchange import messages


class Task(NamedTuple):
    """A question that one tool answers: the call, what the tool returns, and what the model makes of that."""

    tool: str
    said: str
    arguments: dict[str, Any]
    returned: dict[str, Any]
    answer: str


def _tool(function: str, description: str, /, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": sorted(parameters)}
    return {"type": "function", "function": {"name": function, "description": description, "parameters": schema}}


TOOLS = {
    "get_weather": _tool("get_weather", "The weather in a city", city="string"),
    "get_time": _tool("get_time", "The time in a city", city="string"),
    "set_alarm": _tool("set_alarm", "Set an alarm", hour="integer"),
    "send_message": _tool("send_message", "Send a message", name="string", text="string"),
    "play_music": _tool("play_music", "Play a song", title="string"),
}


def calling(rng: random.Random, split: Split) -> Dialogue:
    """A skill: one to three tools; a question for one of them, or one that needs none."""
    task = _task(rng, split)
    others = [name for name in TOOLS if name != task.tool]
    names = [task.tool, *rng.sample(others, rng.randint(0, 2))]
    rng.shuffle(names)
    talk = _called(task)[: rng.choice((2, 4, 4))] if rng.random() < 0.85 else _plain(rng, split)
    return Dialogue("tool", talk, [TOOLS[name] for name in names])


def _called(task: Task) -> list[Message]:
    call = {"type": "function", "function": {"name": task.tool, "arguments": task.arguments}}
    return [
        {"role": "user", "content": task.said},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": task.tool, "content": task.returned},
        {"role": "assistant", "content": task.answer},
    ]


def _plain(rng: random.Random, split: Split) -> list[Message]:
    return messages(greeting.hello(rng) if rng.random() < 0.5 else sums.add(rng, split, 1))


def _task(rng: random.Random, split: Split) -> Task:
    return rng.choice((_weather, _time, _alarm, _message, _music))(rng, split)


def _weather(rng: random.Random, split: Split) -> Task:
    city, degrees = open_words.name(rng, split), rng.randint(0, 39)
    said = rng.choice(("What is the weather in {}?", "How is the weather in {}?", "Tell me the weather in {}."))
    answer = f"It is {degrees} degrees in {city}."
    return Task("get_weather", said.format(city), {"city": city}, {"degrees": degrees}, answer)


def _time(rng: random.Random, split: Split) -> Task:
    city, time = open_words.name(rng, split), f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    said = rng.choice(("What time is it in {}?", "What is the time in {}?", "Tell me the time in {}."))
    return Task("get_time", said.format(city), {"city": city}, {"time": time}, f"It is {time} in {city}.")


def _alarm(rng: random.Random, split: Split) -> Task:
    hour = rng.randrange(24)
    said = rng.choice(("Set an alarm for {}.", "Wake me at {}.", "Set the alarm for {}.")).format(hour)
    return Task("set_alarm", said, {"hour": hour}, {"done": True}, f"The alarm is set for {hour}.")


def _message(rng: random.Random, split: Split) -> Task:
    name, text = open_words.name(rng, split), open_words.word(rng, split)
    said = rng.choice(("Send {} the message {}.", "Send the message {1} to {0}.", "Tell {}: {}"))
    if "{1}" in said:
        said = said.replace("{0}", name).replace("{1}", text)
    arguments = {"name": name, "text": text}
    return Task("send_message", said.format(name, text), arguments, {"done": True}, f"I have told {name}.")


def _music(rng: random.Random, split: Split) -> Task:
    title = open_words.word(rng, split)
    said = rng.choice(("Play the song {}.", "Play {}.", "I want to hear {}.")).format(title)
    return Task("play_music", said, {"title": title}, {"done": True}, f"Now playing {title}.")
