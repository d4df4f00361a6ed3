"""One request inside the runtime: its tokens so far and how many of them the cache holds."""

import secrets
from collections.abc import Iterable

from model.constraint import Constraint
from model.runtime.page_keys import PageKeys
from model.runtime.prompt_media import PromptMedia
from model.runtime.sampling import SamplingParams


class Sequence:
    """Prompt and answer as one growing list of token ids.

    The next forward pass computes `num_pending` tokens: at first the prompt without what the cache has of it already
    (or everything again after a preemption, which sets `num_cached` back to 0), then one at a time. `row` is the
    cache's, -1 while the sequence waits, and has room for `num_slots` tokens; `num_reused` counts the prompt tokens
    that the cache had when it first ran.
    """

    def __init__(
        self,
        request_id: str,
        prompt: Iterable[int],
        params: SamplingParams,
        media: PromptMedia | None = None,
        constraint: Constraint | None = None,
        *,
        answered: Iterable[int] = (),
    ) -> None:
        """`answered` begins the answer: its tokens count as if they had been drawn here."""
        self.request_id = request_id
        self.params = params
        self.media = media
        self.constraint = constraint
        self.tokens = list(prompt)
        self.prompt_length = len(self.tokens)
        self.tokens += answered
        self.row = -1
        self.num_cached = 0
        self.num_slots = 0
        self.num_reused: int | None = None
        self.is_aborted = False
        self.seed = secrets.randbits(64) if params.seed is None else params.seed
        self._page_keys: PageKeys | None = None

    def check(self, max_context: int, vocab_size: int) -> None:
        """ValueError for a prompt, or a parameter, that a runtime with these limits cannot take."""
        if not self.prompt_length:
            raise ValueError("the prompt is empty")
        if self.prompt_length >= max_context:
            raise ValueError(f"the prompt's {self.prompt_length} tokens leave no room in a context of {max_context}")
        if self.num_generated >= min(self.params.max_tokens, max_context - self.prompt_length):
            raise ValueError(f"the answer is complete with the {self.num_generated} tokens that it has already")
        if min(self.tokens) < 0 or max(self.tokens) >= vocab_size:
            raise ValueError(f"token ids must be in 0..{vocab_size - 1}")
        if any(token_id >= vocab_size for token_id in self.params.logit_bias):
            raise ValueError(f"token ids of logit_bias must be in 0..{vocab_size - 1}")

    @property
    def num_pending(self) -> int:
        return len(self.tokens) - self.num_cached

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.prompt_length

    def page_keys(self, page_size: int) -> PageKeys:
        """The names of its full pages; always asked for with the same size."""
        if self._page_keys is None:
            self._page_keys = PageKeys(self.tokens, self.media, page_size)
        return self._page_keys

    def chunk_size(self, limit: int) -> int:
        """How many pending tokens to compute next: about `limit`, but never a part of an image that must see itself."""
        end = self.num_cached + min(limit, self.num_pending)
        if self.media is not None:
            end = self.media.whole_blocks(self.num_cached, end)
        return end - self.num_cached
