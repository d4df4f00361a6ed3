"""Asks a variant all of an exam, several conversations at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.client import Client
from model.pocket.dialogue import Dialogue
from model.pocket.evaluation.answer import Answer, given, wanted
from model.pocket.evaluation.exam import Exam
from model.pocket.evaluation.messages import question, tools

AT_A_TIME = 8
# Twice the longest answer that any skill has.
_MAX_OUTPUT_TOKENS = 128


@dataclass(frozen=True)
class Mistake:
    """An answer that is not the wanted one."""

    dialogue: Dialogue
    answer: Answer


@dataclass(frozen=True)
class Result:
    """How one variant did in one exam."""

    skill: str
    asked: int
    mistakes: list[Mistake]

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0..1."""
        return 1 - len(self.mistakes) / self.asked


def examine(client: Client, variant: str, exam: Exam, on_answer: Callable[[], None]) -> Result:
    """Greedy answers, each compared as it stands. Raises what the client raises."""

    def ask(dialogue: Dialogue) -> Answer:
        options = {"model": variant, "temperature": 0, "max_output_tokens": _MAX_OUTPUT_TOKENS}
        response = client.generate(question(dialogue), tools=tools(dialogue), **options)
        on_answer()
        return given(response.content)

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        answers = list(threads.map(ask, exam.dialogues))
    mistakes = [
        Mistake(dialogue, answer)
        for dialogue, answer in zip(exam.dialogues, answers, strict=True)
        if answer != wanted(dialogue)
    ]
    return Result(exam.skill, len(answers), mistakes)
