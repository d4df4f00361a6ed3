"""Where in its thoughts an answer begins, and a grammar that lets it have them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from model.constraint.vocabulary import CHANNEL_BEGIN, CHANNEL_END, THINK, control_ids
from model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Channel:
    """`may_open`: the prompt lets the answer begin with a channel of thoughts. `is_open`: it ends inside one."""

    may_open: bool
    is_open: bool

    @classmethod
    def after(cls, prompt: Sequence[int], tokenizer: Tokenizer) -> Self:
        """What the answer to a prompt may begin with."""
        control = control_ids(tokenizer)
        last = next((token for token in reversed(prompt) if token in control), None)
        is_open = last is not None and last == tokenizer.token_id(CHANNEL_BEGIN)
        return cls(tokenizer.token_id(THINK) in prompt, is_open)

    def lark(self, grammar: str) -> str:
        """A sound grammar in llguidance's Lark, after the thoughts that there may be: for engines of other makers."""
        (inner,) = json.loads(grammar)["grammars"]
        schema, lark = inner["json_schema"], inner["lark_grammar"]
        rules = f"answer: %json {json.dumps(schema)}" if lark is None else lark.replace("start:", "answer:", 1)
        thoughts = f"THOUGHTS {CHANNEL_END} answer"
        opened = f"answer | {CHANNEL_BEGIN} {thoughts}" if self.may_open else "answer"
        # The first line tells readers that guess that this is Lark. No regular expression matches a control token.
        return "\n".join(
            ["%llguidance {}", f"start: {thoughts if self.is_open else opened}", "THOUGHTS: /(?s:.*)/", rules]
        )
