"""
What a person waits for: a model that was applied, a product that was started, an Envoy that died.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import grpc

from tests.bench.ranges import Series
from tests.bench.world import REAL, World, instant_model, say, started
from tests.standalone.client import CallError, field_1
from tests.standalone.faults import kill
from tests.standalone.manifests import Document, trained_model
from tests.standalone.stack import Stack, listens
from tests.standalone.waiting import wait_until

_WITHIN_S: Final = 60.0
#: Much shorter than what is timed.
_POLL_S: Final = 0.002
#: Said by a product that is on its way up; any other refusal is a failure.
_NOT_YET: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """How long things took with this server, in seconds, each time."""

    server: str
    #: From a file in the directory to READY, while the pool runs.
    file: Series
    #: From the start of the product to the first answer of its one model.
    start: Series
    #: From the kill of Envoy to the next answer. Older results do not have it.
    away: Series = ()


def measure(world: World) -> list[Ready]:
    """Raises AssertionError when something does not come up."""
    return [_measure(world, server) for server in ("instant", *(REAL if world.effort.real else ()))]


def _measure(world: World, server: str) -> Ready:
    starts, aways = [], []
    for number in range(world.effort.starts):
        say(f"ready: {server}, start {number + 1}, and its Envoy killed")
        start, away = _start(world, server)
        starts.append(start)
        aways.append(away)
    say(f"ready: {server}, {world.effort.files} files")
    with started(_stack(world, server), _model(world, server, "first")) as stack:
        files = [_file(world, stack, server, f"file-{number}") for number in range(world.effort.files)]
    return Ready(server=server, file=tuple(files), start=tuple(starts), away=tuple(aways))


def _stack(world: World, server: str) -> Stack:
    return world.instant() if server == "instant" else world.real()


def _model(world: World, server: str, name: str) -> Document:
    if server == "instant":
        return instant_model(name)
    return trained_model(name, world.models.sample(REAL[server]), REAL[server])


def _file(world: World, stack: Stack, server: str, name: str) -> float:
    document = _model(world, server, name)
    begun = time.monotonic()
    stack.apply(document)
    wait_until(lambda: stack.condition(name).status == "True", f"{name} is not READY", within=_WITHIN_S, poll=_POLL_S)
    return time.monotonic() - begun


def _start(world: World, server: str) -> tuple[float, float]:
    """Until it answers; and, its Envoy killed then, until it does so again."""
    stack = _stack(world, server)
    stack.apply(_model(world, server, "first"))
    request = field_1("first") + world.message.read_bytes()
    begun = time.monotonic()
    stack.launch()
    try:
        answered = _answered(stack, request)
        killed = kill(stack.process("envoy"))
        return answered - begun, _answered(stack, request) - killed.start
    finally:
        stack.stop()


def _answered(stack: Stack, request: bytes) -> float:
    """The moment of its next answer."""
    wait_until(lambda: listens(stack.grpc_port), "nobody listens", within=_WITHIN_S, poll=_POLL_S)
    wait_until(lambda: _answers(stack, request), "no answer", within=_WITHIN_S, poll=_POLL_S)
    return time.monotonic()


def _answers(stack: Stack, request: bytes) -> bool:
    # A connection of its own each time: one that was refused would wait before it tries again.
    with stack.client() as client:
        try:
            return bool(client.call("ModelInfer", request, headers={"mm-vmodel-id": "first"}))
        except CallError as error:
            if error.code in _NOT_YET:
                return False
            raise
