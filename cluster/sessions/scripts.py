"""The Lua scripts beside this file. Each runs on one session's keys alone, so it works in Redis Cluster too.

They are sent whole each time (EVAL): for a kilobyte a call, a restarted or failed-over Redis is no special case.
"""

from __future__ import annotations

from importlib.resources import files

SCHEMA = "1"
"""Version of the stored form. A gateway refuses sessions of another version instead of misreading them."""


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


CREATE = _script("create.lua")
READ = _script("read.lua")
APPEND_TURN = _script("append_turn.lua")
DELETE = _script("delete.lua")


def session_keys(session_id: str) -> list[str]:
    """A session's keys as every script takes them; the braces put them in one slot of Redis Cluster."""
    return [f"gemma-cluster:{{{session_id}}}:{part}" for part in ("meta", "contents", "media", "requests")]
