"""Tries a grammar in a process of its own, which can be ended: the library bounds most of its work, but not all.

Run as a script: reads a grammar, prints what is wrong with it, nothing if nothing is.
"""

import os
import resource
import subprocess
import sys

from llguidance import LLMatcher, LLTokenizer

from model.constraint.errors import ConstraintError
from model.constraint.grammar import parser_limits

CPU_S = 2
# For a machine so busy that it takes this long to give those.
_TIMEOUT_S = 30
_MAX_BYTES = 2 * 1024**3


def try_grammar(grammar: str) -> None:
    """Returns if it compiles within the bounds, and something matches it. Raises ConstraintError if not."""
    command = [sys.executable, "-c", "from model.constraint.trial import main; main()"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            command, input=grammar.encode(), env=env, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConstraintError("takes too long to compile") from error
    if done.returncode:
        raise ConstraintError("is too complex to compile")
    if done.stdout:
        raise ConstraintError.of_library(done.stdout.decode())


def main() -> None:
    """The script: bytes are tokens, so that no checkpoint is needed. Running answers go first."""
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    matcher = LLMatcher(LLTokenizer("byte"), sys.stdin.read(), log_level=0, limits=parser_limits())
    matcher.compute_bitmask()
    print(end=matcher.get_error())
