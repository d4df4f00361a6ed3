"""Results for people: a table of skills and variants, and what went wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.pocket.dialogue import Dialogue
from model.pocket.evaluation.answer import wanted
from model.pocket.evaluation.examiner import Mistake, Result

CLAIMED = 0.95
_EXAMPLES = 3
# By variant.
Results = Mapping[str, Sequence[Result]]


def table(results: Results) -> str:
    """A row a skill, a column a variant; - where the variant does not claim the skill."""
    skills = dict.fromkeys(result.skill for column in results.values() for result in column)
    found = {(variant, result.skill): result for variant, column in results.items() for result in column}
    rows = [("skill", *results)]
    rows += [(skill, *(_cell(found.get((variant, skill))) for variant in results)) for skill in skills]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def failed(results: Results) -> list[str]:
    """Which skills of which variants are below what is claimed."""
    return [
        f"{variant} {result.skill}"
        for variant, column in results.items()
        for result in column
        if result.accuracy < CLAIMED
    ]


def mistakes(results: Results) -> Iterator[str]:
    """Three wrong answers of each skill that is below what is claimed."""
    for variant, column in results.items():
        for result in column:
            if result.accuracy < CLAIMED:
                yield from (f"\n{variant} {result.skill}\n{_shown(one)}" for one in result.mistakes[:_EXAMPLES])


def _cell(result: Result | None) -> str:
    return "-" if result is None else f"{percent(result)} of {result.asked}"


def percent(result: Result) -> str:
    """Never rounded up to what is claimed."""
    return f"{int(result.accuracy * 1000 + 1e-9) / 10:.1f} %"


def _shown(mistake: Mistake) -> str:
    lines = [*_said(mistake.dialogue), f"  wanted: {wanted(mistake.dialogue)}", f"  given:  {mistake.answer}"]
    return "\n".join(lines)


def _said(dialogue: Dialogue) -> Iterator[str]:
    for message in dialogue.messages[:-1]:
        content, calls = message["content"], message.get("tool_calls", ())
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        called = [str(call["function"]) for call in calls]
        yield f"  {message['role']}: {' '.join([*map(_part, parts), *called])}"


def _part(part: dict[str, Any]) -> str:
    match part["type"]:
        case "image":
            return f"<picture {part['image'].width}x{part['image'].height}>"
        case "audio":
            return f"<clip {len(part['audio']) / 16_000:.1f} s: {' '.join(part['words'])}>"
    return str(part["text"])
