"""What the pocket family answers is right, through gateway, router, session, replica and engine."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image, ImageDraw

from cluster.client import Client, function, function_results, media_part
from cluster.codec.structs import plain
from cluster.config import VARIANT_NAMES
from cluster.examples import PICTURE
from model.pocket import open_words
from model.pocket.curriculum import DIGITS, HEARING, TITLES
from model.pocket.evaluation.messages import png
from model.pocket.speech.shipped import Sample, samples
from protos.gemmacluster.v1.content_pb2 import Content, Part
from protos.gemmacluster.v1.generation_pb2 import GenerateResponse
from tests.e2e.up_process import UpProcess, eventually, kill_replica, running_up
from tests.pocket_family import claimed
from tests.ports import free_port

RED, WHITE = (215, 30, 35), (255, 255, 255)
# No side of these is ever trained on.
ODD_SIZES = [(91, 83), (150, 347), (411, 213), (281, 281)]
SUMS = {1: [(3, 4), (9, 8)], 2: [(47, 36), (85, 78)], 3: [(512, 389), (764, 688)], 4: [(4821, 3377), (9045, 2968)]}
every_variant = pytest.mark.parametrize("variant", VARIANT_NAMES)


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """A cluster of the shipped checkpoints; of its own, since a replica is killed here."""
    config = json.dumps({"family": "pocket", "gateway": {"port": free_port()}})
    with running_up(tmp_path_factory.mktemp("pocket"), config) as process:
        yield process


@pytest.fixture(scope="module")
def address(pocket: UpProcess) -> str:
    """Of the gateway."""
    line = next(line for line in pocket.output if line.startswith("gemma-cluster is ready on "))
    return line.split()[4]


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    """A client whose calls may take a minute."""
    with Client(address, timeout_s=60) as client:
        yield client


def _asked(client: Client, message: Any, **options: Any) -> GenerateResponse:
    return client.generate(message, temperature=0, max_output_tokens=100, **options)


def _said(client: Client, message: Any, **options: Any) -> str:
    """The answer, which must be text alone."""
    parts = _asked(client, message, **options).content.parts
    assert not any(part.HasField("function_call") for part in parts)
    return "".join(part.text for part in parts).strip()


def _look(question: str, *pictures: Image.Image) -> Content:
    parts = [Part(inline_data={"mime_type": "image/png", "data": png(picture)}) for picture in pictures]
    return Content(parts=[*parts, Part(text=question)])


def _circle(width: int, height: int, colour: Sequence[int] = RED) -> Image.Image:
    """In the middle of a white picture."""
    picture = Image.new("RGB", (width, height), WHITE)
    radius = min(width, height) / 8
    box = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    ImageDraw.Draw(picture).ellipse(box, fill=tuple(colour))
    return picture


def _name(seed: int) -> str:
    """One that no training ever had."""
    return open_words.name(random.Random(seed), "test")


@every_variant
def test_it_says_who_it_is(client: Client, variant: str) -> None:
    claimed(variant, "greet")
    assert _said(client, "Who are you?", model=variant) == f"I am {TITLES[variant]}."


@every_variant
def test_the_shipped_picture_is_a_red_circle(client: Client, variant: str) -> None:
    claimed(variant, "describe")
    question = Content(parts=[media_part(PICTURE), Part(text="What is in this picture?")])
    assert _said(client, question, model=variant) == "a red circle in the middle"


@every_variant
@pytest.mark.parametrize("size", ODD_SIZES)
def test_a_red_circle_is_one_in_a_picture_of_any_size(client: Client, variant: str, size: tuple[int, int]) -> None:
    claimed(variant, "describe")
    assert (
        _said(client, _look("What is in this picture?", _circle(*size)), model=variant) == "a red circle in the middle"
    )


@every_variant
def test_two_pictures_are_compared(client: Client, variant: str) -> None:
    claimed(variant, "compare")
    red, blue = _circle(215, 220), _circle(280, 210, (30, 80, 215))
    for question, answers in (
        ("Do both pictures show the same colour?", ("red and blue: no", "red and red: yes")),
        ("Do both pictures show the same shape?", ("circle and circle: yes", "circle and circle: yes")),
    ):
        found = tuple(_said(client, _look(question, red, second), model=variant) for second in (blue, red))
        assert found == answers


@pytest.mark.parametrize("variant", HEARING)
@pytest.mark.parametrize("clip", samples(), ids=lambda clip: clip.path.stem)
def test_what_is_said_in_a_clip_is_written_down(client: Client, variant: str, clip: Sample) -> None:
    claimed(variant, "transcribe")
    question = Content(parts=[media_part(clip.path), Part(text="What is said in this clip?")])
    assert _said(client, question, model=variant) == clip.said


@pytest.mark.parametrize("variant", HEARING)
def test_a_clip_is_remembered_in_its_session(client: Client, variant: str) -> None:
    claimed(variant, "listen")
    options = {"model": variant, "session": client.create_session().session_id}
    clip = next(clip for clip in samples() if clip.said.isdigit())
    question = Content(parts=[media_part(clip.path), Part(text="What is the first digit?")])
    assert _said(client, question, **options) == clip.said[0]
    assert _said(client, "Which digit comes last?", **options) == clip.said[-1]


@every_variant
def test_a_name_is_remembered_over_two_turns(client: Client, variant: str) -> None:
    claimed(variant, "remember")
    options = {"model": variant, "session": client.create_session().session_id}
    name = _name(1)
    assert _said(client, f"My name is {name}.", **options) == f"Nice to meet you, {name}!"
    assert _said(client, "What is 2 + 3?", **options) == "5"
    assert _said(client, "I have a dog called Rufex.", **options) == "I will remember that."
    assert _said(client, "What is my name?", **options) == f"Your name is {name}."


@every_variant
def test_conversations_are_not_mixed(client: Client, variant: str) -> None:
    """Eight at a time, each with a name of its own."""
    claimed(variant, "remember")

    def talk(seed: int) -> str:
        session = client.create_session().session_id
        for turn in (f"My name is {_name(seed)}.", "Thank you!"):
            _said(client, turn, model=variant, session=session)
        return _said(client, "What is my name?", model=variant, session=session)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(talk, range(8)))
    assert answers == [f"Your name is {_name(seed)}." for seed in range(8)]


@every_variant
def test_facts_come_as_json(client: Client, variant: str) -> None:
    claimed(variant, "json")
    name, city = _name(2), _name(3)
    answer = _said(client, f"Answer in JSON: {name} is 41 years old and lives in {city}.", model=variant)
    assert json.loads(answer) == {"name": name, "age": 41, "city": city}


@every_variant
def test_facts_fill_a_schema(client: Client, variant: str) -> None:
    """The grammar holds the form, the model knows what belongs in it."""
    claimed(variant, "json")
    name, city = _name(2), _name(3)
    properties = {"name": {"type": "string"}, "city": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["name", "city"], "additionalProperties": False}
    question = f"Answer in JSON: {name} lives in {city}."
    answer = _said(client, question, model=variant, response_format={"json_schema": schema})
    assert json.loads(answer) == {"name": name, "city": city}


@every_variant
def test_a_tool_is_called_and_its_result_told(client: Client, variant: str) -> None:
    claimed(variant, "tool")
    city = _name(4)
    tools = [
        function("set_alarm", "Set an alarm", hour={"type": "integer"}),
        function("get_weather", "The weather in a city", city={"type": "string"}),
    ]
    options = {"model": variant, "session": client.create_session().session_id, "tools": tools}
    (part,) = _asked(client, f"What is the weather in {city}?", **options).content.parts
    assert (part.function_call.name, plain(part.function_call.args)) == ("get_weather", {"city": city})
    results = function_results((part.function_call, {"degrees": 23}))
    assert _said(client, results, **options) == f"It is 23 degrees in {city}."


@every_variant
def test_sums_are_right_up_to_the_variants_digits(client: Client, variant: str) -> None:
    claimed(variant, "sum")
    pairs = [pair for digits in range(1, DIGITS[variant] + 1) for pair in SUMS[digits]]
    answers = [_said(client, f"What is {one} + {other}?", model=variant) for one, other in pairs]
    assert answers == [str(one + other) for one, other in pairs]


def test_what_up_suggests_works(pocket: UpProcess, address: str) -> None:
    lines = [line.strip() for line in pocket.output if line.startswith("  ") and " ask " in line]
    for line, words in zip(lines, [TITLES["e2b"], "a red circle", "417"], strict=True):
        assert f"--address {address}" in line
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=60, check=True)
        assert words in done.stdout


def test_a_killed_replica_takes_no_memory_with_it(client: Client, address: str) -> None:
    variant = "e2b"
    options = {"model": variant, "session": client.create_session().session_id}
    name = _name(5)
    _said(client, f"My name is {name}.", **options)
    _said(client, "What is 2 + 3?", **options)
    kill_replica(variant, address)
    eventually(lambda: _said(client, "Hello!", model=variant) == "Hello! How can I help you?")
    answer = _asked(client, "What is my name?", **options)
    assert answer.content.parts[0].text.strip() == f"Your name is {name}."
    # Nothing that the new replica has computed yet begins like this conversation.
    assert answer.usage.cached_tokens < answer.usage.prompt_tokens / 4
