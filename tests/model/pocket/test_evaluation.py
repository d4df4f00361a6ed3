"""Evaluation: what is asked is what was trained, answers count as they stand, and the report says so."""

from __future__ import annotations

import io
import random
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cluster.prompt import PromptBuilder
from model.pocket import curriculum, evaluate
from model.pocket.dialogue import Dialogue, Split
from model.pocket.evaluation.answer import Answer, given, wanted
from model.pocket.evaluation.card import write_card
from model.pocket.evaluation.exam import exams
from model.pocket.evaluation.examiner import Mistake, Result
from model.pocket.evaluation.messages import png, question, tools, wav
from model.pocket.evaluation.table import failed, mistakes, table
from model.pocket.family import POCKET_VARIANTS
from model.pocket.skills import tool_calls
from model.pocket.speech.clips import ClipPool
from model.pocket.training.prepared import prepare
from model.pocket.transcript import answer, tokenizer
from protos.gemmacluster.v1.content_pb2 import Content, Part
from tests.model.pocket.conftest import MakeUntrained

PROMPTS = 12
TEXT_AND_PICTURES = [*curriculum.text_lessons("31b"), *curriculum.picture_lessons()]
needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> dict[Split, ClipPool]:
    return {"test": ClipPool(tmp_path_factory.mktemp("clips"), "test", 10)}


def _same_prompt(dialogue: Dialogue, builder: PromptBuilder) -> None:
    """What a gateway makes of the question is what training had before the answer."""
    served = builder.build(question(dialogue), tools=tools(dialogue)).token_ids
    said = len(tokenizer().encode(answer(dialogue), add_special_tokens=False).ids)
    assert served == prepare(dialogue).tokens[:-said]


@pytest.mark.parametrize("variant", POCKET_VARIANTS)
def test_prompts_are_those_of_training(make_untrained: MakeUntrained, variant: str) -> None:
    builder = PromptBuilder(make_untrained(variant))
    for lesson in TEXT_AND_PICTURES:
        for seed in range(PROMPTS):
            _same_prompt(lesson.skill(random.Random(seed), "test"), builder)


@needs_espeak
@pytest.mark.parametrize("variant", curriculum.HEARING)
def test_prompts_with_sound_are_those_of_training(
    make_untrained: MakeUntrained, pools: dict[Split, ClipPool], variant: str
) -> None:
    builder = PromptBuilder(make_untrained(variant))
    for lesson in curriculum.sound_lessons(pools):
        for seed in range(PROMPTS):
            _same_prompt(lesson.skill(random.Random(seed), "test"), builder)


@needs_espeak
def test_a_variant_is_asked_about_all_that_it_claims(pools: dict[Split, ClipPool]) -> None:
    text = {"greet", "remember", "copy", "reverse", "sum", "json", "tool", "match"}
    sight = {"describe", "colour", "shape", "count", "position", "compare"}
    found = {exam.skill: exam for exam in exams("e2b", pools, 3, seed=1)}
    assert set(found) == text | sight | {"transcribe", "listen"}
    assert {len(exam.dialogues) for exam in found.values()} == {3}
    assert {exam.skill for exam in exams("31b", {}, 1, seed=1)} == text | sight


def test_a_seed_names_the_questions() -> None:
    first, again, other = (
        [question(dialogue) for exam in exams("31b", {}, 2, seed) for dialogue in exam.dialogues] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_media_arrive_whole() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), np.asarray(picture))
    samples_N = np.array([0.0, 0.5, -0.25, 1.0, -1.0], np.float32)
    with wave.open(io.BytesIO(wav(samples_N))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        heard_N = np.frombuffer(sound.readframes(5), "<i2") / 2**15
    assert heard_N == pytest.approx(samples_N, abs=1e-4)


def test_text_counts_as_it_stands_but_for_the_space_around_it() -> None:
    dialogue = Dialogue("greet", [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}])
    parts = [Part(text="hm", thought=True), Part(text=" Hel"), Part(text="lo!\n")]
    assert given(Content(parts=parts)) == wanted(dialogue)
    for wrong in ("hello!", "Hello", "Hello! Hello!", ""):
        assert given(Content(parts=[Part(text=wrong)])) != wanted(dialogue)


def test_a_call_counts_with_its_name_and_arguments_alone() -> None:
    arguments = {"hour": 7}
    called = {"type": "function", "function": {"name": "set_alarm", "arguments": arguments}}
    dialogue = Dialogue("tool", [{"role": "assistant", "content": "", "tool_calls": [called]}])

    def call(name: str, **args: object) -> Part:
        part = Part(function_call={"name": name})
        part.function_call.args.update(args)
        return part

    assert given(Content(parts=[call("set_alarm", hour=7)])) == wanted(dialogue)
    for wrong in (
        [call("set_alarm", hour=8)],
        [call("set_alarm", hour="7")],
        [call("set_alarm", hour=7, minute=0)],
        [call("set_alarms", hour=7)],
        [call("set_alarm", hour=7), call("set_alarm", hour=7)],
        [call("set_alarm", hour=7), Part(text="Done.")],
        [Part(text="set_alarm")],
    ):
        assert given(Content(parts=wrong)) != wanted(dialogue)


def _results() -> dict[str, list[Result]]:
    dialogue = tool_calls.calling(random.Random(0), "test")
    wrong = [Mistake(dialogue, Answer(f"nonsense {number}")) for number in range(6)]
    return {"e2b": [Result("greet", 100, []), Result("listen", 100, wrong)], "31b": [Result("greet", 40, wrong[:2])]}


def test_the_table_has_a_row_a_skill_and_a_column_a_variant() -> None:
    header, greet, listen = (line.split("  ") for line in table(_results()).splitlines())
    assert [cell.strip() for cell in header if cell] == ["skill", "e2b", "31b"]
    assert [cell.strip() for cell in greet if cell] == ["greet", "100.0 % of 100", "95.0 % of 40"]
    assert [cell.strip() for cell in listen if cell] == ["listen", "94.0 % of 100", "-"]


def test_what_is_below_the_claim_is_named_with_three_of_its_mistakes() -> None:
    assert failed(_results()) == ["e2b listen"]
    shown = "\n".join(mistakes(_results()))
    assert [f"nonsense {number}" in shown for number in range(6)] == [True] * 3 + [False] * 3
    assert "wanted:" in shown


@pytest.mark.parametrize("variant", POCKET_VARIANTS)
def test_a_card_says_what_is_known_and_what_is_not(make_untrained: MakeUntrained, variant: str) -> None:
    mistake = Mistake(Dialogue("shape", []), Answer("a circle"))
    results = [Result("greet", 100, []), Result("shape", 10, [mistake])]
    card = write_card(variant, results, make_untrained(variant)).read_text()
    assert card.startswith(f"# {curriculum.TITLES[variant]}\n")
    assert "| greet | says hello, and who it is | 100.0 % | 100 |" in card
    assert "not claimed, being right in less than 95%: shape (90.0 %)." in card
    assert "| shape |" not in card
    assert ("does not hear" in card) == (variant not in curriculum.HEARING)
    assert ("experts" in card) == (variant == "26b-a4b")


def test_every_skill_has_its_words_in_the_card(make_untrained: MakeUntrained) -> None:
    results = [Result(exam.skill, 1, []) for exam in exams("31b", {}, 1, 0)]
    assert write_card("31b", results, make_untrained("31b")).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variant", "12b"], "invalid choice"),
        (["--per-skill", "0"], "must be at least 1"),
        (["--card", "--target", "x:1"], "leave out --target"),
    ],
)
def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_trouble_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert evaluate.main(["--variant", "31b", "--family", str(tmp_path / "none")]) == 2
    assert evaluate.main(["--variant", "31b", "--target", "127.0.0.1:1"]) == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    assert evaluate.main(["--variant", "e2b", "--work", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    for said in ("none/31b", "127.0.0.1:1: UNAVAILABLE", "apt-get install espeak-ng"):
        assert said in errors
    assert "Traceback" not in errors
