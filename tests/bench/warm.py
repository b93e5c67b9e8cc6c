"""
Requests to a model that is loaded: past the mesh and through it, taking turns.

The rounds of all paths are interleaved, so that a neighbour who makes the
machine slow for a while makes it slow for each of them. The instant server
shows what the mesh costs, and an Envoy that only forwards what of that is any
Envoy's; the real servers show what it means.

What Envoy itself costs is its processor time, which a busy machine changes
less: where everybody wants the same processors, requests a second say more of
the others. It depends on how many requests it finds when it looks: a caller
with a connection of its own costs it twice as much as one of many that share
some, as the clients of a service do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.bench.loader import Measured, repeated
from tests.bench.plain import plain
from tests.bench.ranges import Series
from tests.bench.world import INSTANT, REAL, World, instant_model, say, started
from tests.standalone.manifests import trained_model
from tests.standalone.servers import address, runtime_of
from tests.standalone.stack import Stack


class Shape(NamedTuple):
    """So many callers, and connections that they share."""

    callers: int
    connections: int


ONE: Final = Shape(1, 1)
EACH: Final = Shape(16, 16)
#: As many requests as Envoy can take; the real servers are slower than their callers with fewer.
CROWDED: Final = Shape(64, 4)
DIRECT, PLAIN, NAMED, UNNAMED = "direct", "plain Envoy", "mesh, metadata", "mesh, message"
PATHS: Final = (DIRECT, PLAIN, NAMED, UNNAMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """One way to one server; a number a round."""

    server: str
    callers: int
    connections: int
    path: str
    rate: Series
    p50_ms: Series
    p99_ms: Series
    #: CPU microseconds a request, of the Envoy on the way; none where there is none.
    envoy_us: Series


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    model: str
    #: Path → where it begins, and the Envoy on it.
    ways: dict[str, tuple[str, int | None]]


def measure(world: World) -> list[Warm]:
    """Raises BenchError."""
    rows: list[Warm] = []
    with (
        started(world.instant(), instant_model("instant")) as stack,
        plain(world.root / "plain", address(stack, INSTANT)) as forwarding,
    ):
        server = _server(stack, "instant", "instant", INSTANT)
        server.ways[PLAIN] = forwarding
        rows += _rounds(world, server, (ONE, EACH, CROWDED))
    if world.effort.real:
        documents = [trained_model(name, world.models.sample(name), name) for name in REAL.values()]
        with started(world.real(), *documents) as stack:
            for name, framework in REAL.items():
                rows += _rounds(world, _server(stack, name, framework, runtime_of(framework)), (ONE, EACH))
    return rows


def _server(stack: Stack, name: str, model: str, runtime: str) -> _Server:
    mesh = (stack.target, stack.process("envoy").pid)
    return _Server(name, model, {DIRECT: (address(stack, runtime), None), NAMED: mesh, UNNAMED: mesh})


def _rounds(world: World, server: _Server, shapes: Sequence[Shape]) -> Iterator[Warm]:
    seen: defaultdict[tuple[Shape, str], list[Measured]] = defaultdict(list)
    for number in range(world.effort.rounds):
        say(f"warm: {server.name}, round {number + 1}")
        for shape in shapes:
            for path in server.ways:
                seen[shape, path].append(_once(world, server, shape, path))
    for (shape, path), rounds in seen.items():
        envoy = server.ways[path][1]
        yield Warm(
            server=server.name,
            callers=shape.callers,
            connections=shape.connections,
            path=path,
            rate=tuple(each.rate for each in rounds),
            p50_ms=tuple(each.p50 for each in rounds),
            p99_ms=tuple(each.p99 for each in rounds),
            envoy_us=() if envoy is None else tuple(1e6 * each.cpu[envoy] / each.requests for each in rounds),
        )


def _once(world: World, server: _Server, shape: Shape, path: str) -> Measured:
    target, envoy = server.ways[path]
    return repeated(
        target,
        [server.model],
        world.message,
        callers=shape.callers,
        connections=shape.connections,
        metadata=path == NAMED,
        warm_up_s=world.effort.warm_up_s,
        seconds=world.effort.seconds,
        watch=[] if envoy is None else [envoy],
    )
