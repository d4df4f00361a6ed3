"""Names of a sequence's pages by all that decides their content: every token up to their end, and their media."""

from array import array
from hashlib import blake2b

from model.runtime.prompt_media import PromptMedia


class PageKeys:
    """Keys of full pages, made once each as the tokens grow.

    Pages of equal key hold equal keys and values: a key is a hash over its page's tokens, the names of the media that
    reach into the page, and the key before it (as vLLM's prefix cache does).
    """

    def __init__(self, tokens: list[int], media: PromptMedia | None, page_size: int) -> None:
        """`tokens` is the sequence's own, growing list."""
        self._tokens = tokens
        self._media = media
        self._page_size = page_size
        self._keys: list[bytes] = []

    def first(self, count: int) -> list[bytes]:
        """Keys of the first `count` pages, which must be full."""
        while len(self._keys) < count:
            self._keys.append(self._next())
        return self._keys[:count]

    def __getitem__(self, page: int) -> bytes:
        """Key of one page."""
        if page >= len(self._keys):
            self.first(page + 1)
        return self._keys[page]

    def _next(self) -> bytes:
        start = len(self._keys) * self._page_size
        end = start + self._page_size
        digest = blake2b(self._keys[-1] if self._keys else b"", digest_size=16)
        digest.update(array("q", self._tokens[start:end]).tobytes())
        if self._media is not None:
            for name in self._media.names(start, end):
                digest.update(name)
        return digest.digest()
