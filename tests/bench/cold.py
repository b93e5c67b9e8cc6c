"""
The first request to a model that is not in memory: by one caller, and by many at once.

Models become cold the way they do in use: there is room for just so many, and
one that is as large as all of them together comes and goes. What is asked for
afterwards finds room and is loaded while its request waits.

A request's time is split by what the adapter reports: the download, and the
server's load. The rest is the product's own, and has the store's answer to
what the object is in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from tests.bench.loader import Measured, once
from tests.bench.ranges import Series
from tests.bench.world import INSTANT_CONTENT, INSTANT_OBJECT, REAL, World, say, started
from tests.standalone.manifests import Document, serving_runtime, trained_model
from tests.standalone.models import BUCKET, SAMPLES
from tests.standalone.servers import repository
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until

CALLERS: Final = 16
_RUNTIME: Final = "narrow"
_FILLER: Final = "filler"
#: The adapter's: what a small model reserves, and what a byte on disk does.
_LEAST: Final = 1_000_000
_FACTOR: Final = 1.25
#: The store computes the checksum of a whole file for each part of it that is asked for: no file has many parts.
_PADDING: Final = 8 << 20
_WITHIN_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """Milliseconds of first requests, one after the other, in their order."""

    server: str
    total: Series
    download: Series
    load: Series

    @property
    def ours(self) -> Series:
        """What is neither download nor load."""
        return tuple(
            total - download - load for total, download, load in zip(self.total, self.download, self.load, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Milliseconds of first requests to so many models by so many callers at once; a number a round."""

    server: str
    callers: int
    models: int
    p50: Series
    p90: Series
    longest: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRequests:
    """What was seen."""

    cold: tuple[Cold, ...]
    crowd: tuple[Crowd, ...]


def measure(world: World) -> FirstRequests:
    """Raises BenchError."""
    real = world.effort.real
    counts = {"instant": world.effort.cold}
    if real:
        counts |= {"mlserver": world.effort.cold, "triton": world.effort.cold_triton}
    return FirstRequests(
        cold=tuple(_cold(world, server, count) for server, count in counts.items()),
        crowd=tuple(_crowd(world, server) for server in ("instant", *(["mlserver"] if real else []))),
    )


def _cold(world: World, server: str, count: int) -> Cold:
    with _room_for(world, server, count) as (stack, names):
        _make_cold(stack, server, names)
        say(f"cold: {server}, asks each of them")
        asked = once(stack.target, names, world.message, callers=1, within_s=_WITHIN_S)
        return split(server, names, asked, stack.listed())


def _crowd(world: World, server: str) -> Crowd:
    """On a stack of its own: the less there is room for, the sooner all of it is cold again."""
    effort, crowd = world.effort, []
    with _room_for(world, server, effort.crowd) as (stack, names):
        for number in range(effort.rounds):
            _make_cold(stack, server, names)
            say(f"cold: {server}, {CALLERS} callers, round {number + 1}")
            crowd.append(once(stack.target, names, world.message, callers=CALLERS))
    return Crowd(
        server=server,
        callers=CALLERS,
        models=effort.crowd,
        p50=tuple(each.p50 for each in crowd),
        p90=tuple(each.p90 for each in crowd),
        longest=tuple(each.longest for each in crowd),
    )


@contextmanager
def _room_for(world: World, server: str, count: int) -> Iterator[tuple[Stack, list[str]]]:
    """A stack with so many models loaded, and no room for another; and their names."""
    if server == "instant":
        stack, uri, size = world.instant(), INSTANT_OBJECT, len(INSTANT_CONTENT)
    else:
        file = world.models.file(SAMPLES[REAL[server]])
        stack, uri, size = world.real(), world.models.sample(REAL[server]), file.stat().st_size
    capacity = count * max(_LEAST, int(_FACTOR * size))
    runs = server if server in REAL else "mlserver"
    stack.apply(serving_runtime(_RUNTIME, runs, [REAL[runs]], memory=str(capacity)))
    _store_filler(world, uri, capacity)
    names = [f"cold-{number}" for number in range(count)]
    say(f"cold: {server}, loads {count} models")
    with started(stack, *(_model(server, name, uri) for name in names)):
        yield stack, names


def _model(server: str, name: str, uri: str) -> Document:
    return trained_model(name, uri, REAL.get(server, "sklearn"), runtime=_RUNTIME)


def _store_filler(world: World, uri: str, capacity: int) -> None:
    """The same model, and beside it files of nothing for which all others have to go."""
    directory = world.store.bucket(BUCKET) / _FILLER
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    content = world.store.content(uri)
    (directory / f"model{PurePosixPath(uri).suffix}").write_bytes(content)
    left = int(capacity / _FACTOR) - len(content) - 1
    for number, start in enumerate(range(0, left, _PADDING)):
        with (directory / f"padding-{number}").open("wb") as file:
            file.truncate(min(_PADDING, left - start))


def _make_cold(stack: Stack, server: str, names: Sequence[str]) -> None:
    """Return when none of these models is in memory, and each would be loaded on demand."""
    stack.apply(_model(server, _FILLER, f"s3://{BUCKET}/{_FILLER}"))
    stack.wait_ready(_FILLER, within=_WITHIN_S)
    stack.delete(_FILLER)
    left = repository(stack, _RUNTIME) / _FILLER
    wait_until(lambda: not left.exists(), f"{_FILLER} is not unloaded", within=_WITHIN_S)

    def warm() -> list[str]:
        models = stack.listed()
        return [name for name in names if models[name]["live"]["copies"] or not _stands_by(models[name])]

    wait_until(lambda: not warm(), lambda: f"still warm: {warm()[:5]}", within=_WITHIN_S)


def _stands_by(model: Document) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in model["status"]["conditions"])


def split(server: str, names: Sequence[str], asked: Measured, models: Mapping[str, Document]) -> Cold:
    """What was asked, beside what the admin API says of the copies that were made for it."""
    copies = {name: models[name]["live"]["copies"][0] for name in names}
    return Cold(
        server=server,
        total=tuple(asked.each[name] for name in names),
        download=tuple(1e3 * copies[name]["downloadSeconds"] for name in names),
        load=tuple(1e3 * copies[name]["loadSeconds"] for name in names),
    )
