"""What is done to the cluster, and when: the same for a seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import psutil

from tests.chaos.world import ECHO, NATIVE, World

# Serve needs seconds to bring back what was killed; what is hurt faster is hurt while something is away.
_PAUSE_S = (4.0, 12.0)
# A pause is shorter than replicas.silence_s, what vanishes is away for longer.
_Fault = Callable[[World, Random], None]
FAULTS: dict[str, _Fault] = {
    "kill a replica of echo": lambda world, random: world.kill_replica(ECHO, random),
    "kill a replica of native": lambda world, random: world.kill_replica(NATIVE, random),
    "pause a replica of echo": lambda world, random: world.pause_replica(ECHO, random, 1),
    "pause a replica of native": lambda world, random: world.pause_replica(NATIVE, random, 1),
    "let a replica of echo vanish": lambda world, random: world.pause_replica(ECHO, random, 6),
    "let a replica of native vanish": lambda world, random: world.pause_replica(NATIVE, random, 6),
    "kill a node": lambda world, random: world.kill_node(random),
    "let a node vanish": lambda world, random: world.pause_node(random, 6),
    "kill a gateway": lambda world, random: world.kill_gateway(random),
    "pause Valkey": lambda world, _: world.pause_valkey(1.5),
    "cut Valkey off": lambda world, _: world.cut_valkey_off(4),
    "restart Valkey": lambda world, _: world.restart_valkey(),
}


def hurt(world: World, seed: int, seconds: float) -> Iterator[str]:
    """Does one thing after the other for so long, and every one of them at least once; tells its name before it."""
    random, ends_at, done = Random(seed), time.monotonic() + seconds, 0
    while done < len(FAULTS) or time.monotonic() < ends_at:
        for name in random.sample(sorted(FAULTS), len(FAULTS)):
            if done >= len(FAULTS) and time.monotonic() >= ends_at:
                return
            yield name
            with suppress(psutil.Error, IndexError, StopIteration):  # it is away already
                FAULTS[name](world, random)
            done += 1
            time.sleep(random.uniform(*_PAUSE_S))
