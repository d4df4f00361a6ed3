"""The pages of all layers that see equally far back: one page number stands for a page in each of them.

Shapes: R rows, W pages per row.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.runtime.page_keys import PageKeys
from model.runtime.page_pool import PagePool


@dataclass
class _Row:
    """The pages of one sequence from its `first`-th on, those before being out of the window."""

    first: int = 0
    pages: list[int] = field(default_factory=list)
    num_published: int = 0

    @property
    def end(self) -> int:
        return self.first + len(self.pages)


class PageGroup:
    """Page tables of the running sequences. Layers without a `window` keep all pages, others those still in it.

    `table_RW` has the page of token p of row r at [r, p // page_size % W]: all that the next token sees.
    """

    def __init__(self, num_pages: int, num_rows: int, max_context: int, page_size: int, window: int | None) -> None:
        self.page_size = page_size
        self.window = window
        self.pool = PagePool(num_pages)
        self._rows = [_Row() for _ in range(num_rows)]
        width = -(-max_context // page_size)
        if window is not None:
            width = min(width, self._pages_seen + 1)
        self.table_RW: NDArray[np.int64] = np.zeros((num_rows, width), np.int64)

    @property
    def _pages_seen(self) -> int:
        """Pages before a page's first token that this token still sees."""
        assert self.window is not None
        return -(-(self.window - 1) // self.page_size)

    def num_missing(self, row: int, length: int) -> int:
        """Pages that a row lacks to hold `length` tokens."""
        return max(0, -(-length // self.page_size) - self._rows[row].end)

    def extend(self, row: int, length: int) -> None:
        """Gives a row the pages it lacks; the caller has compared `num_missing` and `pool.num_free`."""
        self._append(row, self.pool.allocate(self.num_missing(row, length)))

    def reusable(self, keys: list[bytes]) -> list[bool]:
        """For each number of leading pages, from 0 on: does the pool have all of them that the next token sees?"""
        found, run = [True], 0
        for count, key in enumerate(keys, start=1):
            run = run + 1 if self.pool.find(key) is not None else 0
            found.append(run >= (count if self.window is None else min(count, self._pages_seen)))
        return found

    def adopt(self, row: int, keys: list[bytes]) -> None:
        """Begins an empty row with the pages of these keys, which are `reusable`."""
        first = 0 if self.window is None else max(0, len(keys) - self._pages_seen)
        pages = [page for key in keys[first:] if (page := self.pool.find(key)) is not None]
        self.pool.hold(pages)
        self._rows[row] = _Row(first, num_published=len(keys))
        self._append(row, pages)

    def publish(self, row: int, num_tokens: int, keys: PageKeys) -> None:
        """Makes the pages that `num_tokens` computed tokens have filled findable."""
        held = self._rows[row]
        for page in range(held.num_published, num_tokens // self.page_size):
            self.pool.publish(held.pages[page - held.first], keys[page])
        held.num_published = max(held.num_published, num_tokens // self.page_size)

    def forget_unseen(self, row: int, num_tokens: int) -> None:
        """Frees the pages that token number `num_tokens` and all after it cannot see."""
        if self.window is None:
            return
        held = self._rows[row]
        count = max(0, num_tokens - self.window + 1) // self.page_size - held.first
        if count > 0:
            self.pool.release(held.pages[:count])
            del held.pages[:count]
            held.first += count

    def free(self, row: int) -> None:
        """Empties a row. Its later pages are forgotten first: they are the least likely to be asked for again."""
        self.pool.release(reversed(self._rows[row].pages))
        self._rows[row] = _Row()

    def slots(self, row: int, start: int, end: int) -> NDArray[np.int64]:
        """Where tokens start..end of a row lie: page times page_size plus place in the page."""
        held, size = self._rows[row], self.page_size
        pages = np.array(held.pages[start // size - held.first : -(-end // size) - held.first], np.int64)
        slots = (pages[:, None] * size + np.arange(size)).reshape(-1)
        return slots[start % size : start % size + end - start]

    def _append(self, row: int, pages: list[int]) -> None:
        held = self._rows[row]
        width = self.table_RW.shape[1]
        for place, page in enumerate(pages, start=held.end):
            self.table_RW[row, place % width] = page
        held.pages += pages
