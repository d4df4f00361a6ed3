"""Which pages of a cache are blank, held by sequences, or kept for their content once nobody holds them."""

from collections import OrderedDict
from collections.abc import Iterable


class PagePool:
    """Hands out page numbers and counts who holds each.

    A page whose content has been published under a key can be found and held again, by any number of sequences, until
    it is given to somebody else: blank pages go first, then kept ones, the longest unused first.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        # Popped from the end: low numbers first, so that the memory touched stays dense.
        self._blank = list(range(num_pages - 1, -1, -1))
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._num_holders = [0] * num_pages
        self._key_of: dict[int, bytes] = {}
        self._page_of: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        """Pages that `allocate` could give."""
        return len(self._blank) + len(self._kept)

    @property
    def num_used(self) -> int:
        """Pages that hold something, kept ones included."""
        return self.num_pages - len(self._blank)

    def allocate(self, count: int) -> list[int]:
        """New pages, held once. IndexError if fewer are free; the caller has asked."""
        if count > self.num_free:
            raise IndexError(f"{count} pages asked for, {self.num_free} free")
        pages = [self._take() for _ in range(count)]
        for page in pages:
            self._num_holders[page] = 1
        return pages

    def find(self, key: bytes) -> int | None:
        """The page with this content, if there still is one."""
        return self._page_of.get(key)

    def hold(self, pages: Iterable[int]) -> None:
        """One more holder for pages that were found."""
        for page in pages:
            self._kept.pop(page, None)
            self._num_holders[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """One holder less. Of pages released together the first are forgotten first."""
        for page in pages:
            self._num_holders[page] -= 1
            if self._num_holders[page] == 0:
                if page in self._key_of:
                    self._kept[page] = None
                else:
                    self._blank.append(page)

    def publish(self, page: int, key: bytes) -> None:
        """Makes a held page, whose content will not change any more, findable. The first of equals is found."""
        if key not in self._page_of:
            self._page_of[key] = page
            self._key_of[page] = key

    def _take(self) -> int:
        if self._blank:
            return self._blank.pop()
        page, _ = self._kept.popitem(last=False)
        del self._page_of[self._key_of.pop(page)]
        return page
