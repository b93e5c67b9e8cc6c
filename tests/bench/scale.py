"""
Thousands of models: how long they take to register, what they weigh, what they connect.

All on the instant server, and all of one object in the store: what is measured
is the product, and one small download a model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import psutil

from tests.bench.loader import repeated
from tests.bench.ranges import Series
from tests.bench.world import INSTANT, World, instant_model, say, started
from tests.standalone.processes import Process
from tests.standalone.servers import address
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until

#: A thousand takes seconds; five thousand are not to fail because somebody else needs the machine.
_WITHIN_S: Final = 900.0
#: By the names of the table. The instant server runs in MLServer's place.
_MEASURED: Final = {role: role for role in ("supervisor", "controller", "activator", "envoy", "adapter")} | {
    "mlserver": "model server (instant)"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """So many files put into the directory at once, until all models are READY; seconds a round."""

    models: int
    seconds: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One process with so many models loaded, in MiB: what it has in memory, and its share of what it shares."""

    models: int
    process: str
    rss: float
    pss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Open at a server of which so many models have just been used, by so many callers."""

    models: int
    callers: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What was seen."""

    registrations: tuple[Registration, ...]
    weights: tuple[Weight, ...]
    connections: Connections


def measure(world: World) -> Scale:
    """Raises BenchError."""
    effort = world.effort
    registered = [_registered(world, effort.registered) for _ in range(effort.rounds - 1)]
    weights: list[Weight] = []
    larger: list[Registration] = []
    with started(world.instant()) as stack:
        weights += _weigh(stack, 0)
        stack.apply(instant_model("m-0"))
        stack.wait_ready("m-0")
        present = 1
        for size in effort.sizes:
            if size > present:
                seconds = _register(stack, present, size)
                if size == effort.registered:
                    registered.append(seconds)
                else:
                    larger.append(Registration(models=size - present, seconds=(seconds,)))
                present = size
            weights += _weigh(stack, present)
        connections = _connections(world, stack)
    timed = Registration(models=effort.registered, seconds=tuple(registered))
    return Scale(registrations=(timed, *larger), weights=tuple(weights), connections=connections)


def _registered(world: World, count: int) -> float:
    with started(world.instant(), instant_model("m-0")) as stack:
        return _register(stack, 1, count)


def _register(stack: Stack, first: int, end: int) -> float:
    """Seconds until the models of these numbers are READY, from the first file on."""
    names = [f"m-{number}" for number in range(first, end)]
    documents = [instant_model(name) for name in names]
    say(f"scale: registers {len(names)} models beside {first}")
    begun = time.monotonic()
    stack.apply(*documents)
    # One is cheap to ask for, the list of all is not: it would slow down what is timed.
    _wait_ready(stack, names[-1])
    while waiting := stack.not_ready(*names):
        _wait_ready(stack, waiting[-1])
    return time.monotonic() - begun


def _wait_ready(stack: Stack, name: str) -> None:
    wait_until(lambda: stack.condition(name).status == "True", f"{name} is not READY", within=_WITHIN_S, poll=0.02)


def _weigh(stack: Stack, models: int) -> list[Weight]:
    """Those that are there: without a model there is no pod, and neither adapter nor server in it."""
    return [_weight(p, name, models) for role, name in _MEASURED.items() for p in stack.processes(role)]


def _weight(process: Process, name: str, models: int) -> Weight:
    memory = process.process.memory_full_info()
    return Weight(models=models, process=name, rss=memory.rss / 2**20, pss=memory.pss / 2**20)


def _connections(world: World, stack: Stack) -> Connections:
    """Counted at the server, while the requests are still fresh."""
    names = [f"m-{number}" for number in range(world.effort.active)]
    callers = 16
    repeated(stack.target, names, world.message, callers=callers, metadata=True, warm_up_s=1.0, seconds=2.0)
    port = int(address(stack, INSTANT).rpartition(":")[2])
    server = stack.process("mlserver").process
    found = [
        each
        for each in server.net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
    ]
    return Connections(models=len(names), callers=callers, connections=len(found))
