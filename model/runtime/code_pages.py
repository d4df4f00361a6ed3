"""Gives back memory that libraries' code takes and that only starting up has used.

Torch and a compiler map hundreds of megabytes of code, of which serving needs a tenth. Linux keeps what was once read
resident while memory is free, and counts it as the process's: on a phone, against what apps may have.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

_MAPS = Path("/proc/self/smaps")
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)")


class _Mapping(NamedTuple):
    start: int
    end: int
    permissions: str
    path: str
    kilobytes: dict[str, int]


def release_code() -> int:
    """Returns how many bytes are not resident any more; those that are needed again come back by themselves.

    Only pages that are nothing but a library file's, as no relocation or breakpoint has changed them. Does nothing on
    other systems than Linux.
    """
    if not _MAPS.exists():
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    released = 0
    for mapping in filter(_is_unchanged_code, list(_mappings())):
        if madvise(mapping.start, mapping.end - mapping.start, mmap.MADV_DONTNEED) == 0:
            released += mapping.kilobytes["Rss"] * 1024
    logger.info("gave back %.0f MB of code that starting up had read", released / 1e6)
    return released


def _is_unchanged_code(mapping: _Mapping) -> bool:
    is_library = re.search(r"\.so[.\d]*$", mapping.path) is not None
    return is_library and "w" not in mapping.permissions and mapping.kilobytes["Anonymous"] == 0


def _mappings() -> Iterator[_Mapping]:
    mapping = None
    for line in _MAPS.read_text(encoding="utf-8").splitlines():
        if header := _HEADER.match(line):
            start, end, permissions, path = header.groups()
            mapping = _Mapping(int(start, 16), int(end, 16), permissions, path, {})
        elif mapping is not None and line.endswith(" kB"):
            name, size = line.removesuffix(" kB").split(":")
            mapping.kilobytes[name] = int(size)
            if name == "Anonymous":
                yield mapping
